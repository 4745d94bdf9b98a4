"""A partner's contract is read as it was agreed, or each thing that does not make sense is told in words."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from difflib import get_close_matches
from typing import Any, Literal, TypeAlias, get_args

import msgspec
from msgspec import Struct

from db.contract_synonyms import WORDS, ours
from jobs.invoices.codes import CURRENCIES
from jobs.invoices.document import Address, Party, TaxId
from jobs.invoices.sellers import Sellers
from jobs.partners import contract_fields as fields
from jobs.partners.contract_fields import ContractTier, Reader, WrongError
from jobs.rules import pricing
from worker.errors import Refused

PricingModel: TypeAlias = Literal["flat", "per_deed", "per_request", "hybrid", "tiered"]
BillingCycle: TypeAlias = Literal["monthly", "quarterly", "yearly"]
PaymentTerms: TypeAlias = Literal["immediate", "net_15", "net_30", "net_60", "end_of_month"]
Status: TypeAlias = Literal["draft", "active", "paused", "ended"]


class Contract(Struct, frozen=True, kw_only=True):
    """One version of a contract: the columns of `api_partner_contracts`. Money is minor units of `currency`."""

    api_key_prefix: str
    company: str
    pricing_model: PricingModel
    contract_start_date: date
    valid_from: date
    """The first day of this version, in `timezone`."""
    currency: str = "usd"
    timezone: str = "UTC"
    monthly_flat_fee_cents: int = 0
    per_deed_price_cents: int = 0
    per_1000_requests_cents: int = 0
    billing_cycle: BillingCycle = "monthly"
    payment_terms: PaymentTerms = "net_30"
    payment_method: str = "bank_transfer"
    monthly_request_limit: int | None = None
    rate_limit_per_minute: int | None = None
    status: Status = "active"
    contract_end_date: date | None = None
    """The last day of all, in `timezone`."""
    notes: str | None = None
    deed_events: tuple[str, ...] = ("*deed*",)
    tiers: tuple[ContractTier, ...] = ()
    tier_mode: Literal["graduated", "volume"] = "graduated"
    package_size: int = 1000
    package_rounding: Literal["exact", "up", "down"] = "exact"
    included_units: int = 0
    minimum_commitment_cents: int = 0
    cap_cents: int | None = None
    discount_percent: Decimal | None = None
    tax_name: str = "VAT"
    tax_percent: Decimal | None = None
    reverse_charge: bool = False
    billing_email: str | None = None
    contact_name: str | None = None
    address: Address = Address()
    tax_ids: tuple[TaxId, ...] = ()
    locale: str | None = None
    buyer_reference: str | None = None
    seller: str | None = None
    stripe_customer_id: str | None = None
    push_to_stripe: bool = False
    alarm_factor: int = 5
    id: int | None = None
    """None: it was not stored yet, as are those below."""
    version: int | None = None
    created_at: datetime | None = None
    created_by: str | None = None


@dataclass(frozen=True, slots=True)
class _Field:
    read: Reader
    needed: str | None = None
    """What to write where it is missing; None: it has a default."""


def _stored(value: Any, _: str) -> Any:
    return value


def _at(value: Any, _: str) -> datetime:
    return value if isinstance(value, datetime) else datetime.fromisoformat(value)


def _word(column: str) -> Reader:
    """One of our words, or what is commonly said for it: `annual`, `NET30`."""
    one_of = fields.choice(*WORDS[column])
    return lambda value, code: one_of(ours(column, value), code)


_LINE, _MINOR = fields.text(200), fields.amount

# In the order in which mistakes are told; the currency is known before the amounts.
FIELDS: Mapping[str, _Field] = {
    "api_key_prefix": _Field(fields.prefix, "what the partner's keys begin with, such as nw_live"),
    "company": _Field(_LINE, "the company's name, as invoices show it"),
    "currency": _Field(fields.currency),
    "timezone": _Field(fields.time_zone),
    "contract_start_date": _Field(fields.day, "the first day that is billed, such as 2026-11-01"),
    "contract_end_date": _Field(fields.day),
    "valid_from": _Field(fields.day),
    "pricing_model": _Field(
        _word("pricing_model"),
        "flat, per_deed, per_request, hybrid or tiered",
    ),
    "monthly_flat_fee_cents": _Field(_MINOR),
    "per_deed_price_cents": _Field(_MINOR),
    "per_1000_requests_cents": _Field(_MINOR),
    "tiers": _Field(fields.tiers),
    "tier_mode": _Field(fields.choice("graduated", "volume")),
    "package_size": _Field(fields.count(1)),
    "package_rounding": _Field(fields.choice("exact", "up", "down")),
    "included_units": _Field(fields.count(0)),
    "minimum_commitment_cents": _Field(_MINOR),
    "cap_cents": _Field(_MINOR),
    "discount_percent": _Field(fields.percent),
    "deed_events": _Field(fields.patterns),
    "billing_cycle": _Field(_word("billing_cycle")),
    "payment_terms": _Field(_word("payment_terms")),
    "payment_method": _Field(_LINE),
    "monthly_request_limit": _Field(fields.count(1)),
    "rate_limit_per_minute": _Field(fields.count(1)),
    "status": _Field(_word("status")),
    "tax_name": _Field(_LINE),
    "tax_percent": _Field(fields.percent),
    "reverse_charge": _Field(fields.switch),
    "billing_email": _Field(fields.email),
    "contact_name": _Field(_LINE),
    "address": _Field(fields.address),
    "tax_ids": _Field(fields.tax_ids),
    "locale": _Field(fields.locale),
    "buyer_reference": _Field(_LINE),
    "seller": _Field(_LINE),
    "stripe_customer_id": _Field(fields.customer),
    "push_to_stripe": _Field(fields.switch),
    "alarm_factor": _Field(fields.count(0, 1_000)),
    "notes": _Field(fields.text(5_000, lines=True)),
    "id": _Field(_stored),
    "version": _Field(_stored),
    "created_at": _Field(_at),
    "created_by": _Field(_stored),
}
KEPT = ("id", "version", "created_at", "created_by")
"""What the database says of a version, and nobody else."""

OF_THE_VERSION = (
    *("api_key_prefix", "valid_from", "pricing_model", "monthly_flat_fee_cents", "per_deed_price_cents"),
    *("per_1000_requests_cents", "billing_cycle", "contract_start_date", "currency", "timezone", "deed_events"),
    *("tiers", "tier_mode", "package_size", "package_rounding", "included_units", "minimum_commitment_cents"),
    *("cap_cents", "discount_percent", "tax_name", "tax_percent", "reverse_charge"),
)
"""What amounts follow from: the database keeps it as it is once an invoice was issued by it (migration 0005)."""


def _empty(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _read_fields(raw: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """What was understood, and the mistakes by field."""
    code = raw.get("currency")
    code = "usd" if _empty(code) else code.strip().lower() if isinstance(code, str) else ""
    code = code if code in CURRENCIES else ""
    values: dict[str, Any] = {}
    wrong: dict[str, list[str]] = {
        name: [f"{name}: is unknown{fields.near(name, tuple(FIELDS))}"] for name in raw if name not in FIELDS
    }
    for name, field in FIELDS.items():
        given = raw.get(name)
        if _empty(given):
            if field.needed is not None:
                wrong[name] = [f"{name}: is missing: {field.needed}"]
            continue
        try:
            values[name] = field.read(given, code)
        except WrongError as error:
            wrong[name] = [f"{name}{place}: {said}" for place, said in error.told]
    if "valid_from" not in wrong and "contract_start_date" in values:
        values.setdefault("valid_from", values["contract_start_date"])
    return values, wrong


def _crossed(contract: Contract, wrong: Mapping[str, Any], sellers: Sellers | None) -> list[str]:
    """What no field tells by itself; silent about fields that are wrong already."""
    found: list[str] = []

    def told(sure: bool, message: str, *of: str) -> None:  # noqa: FBT001 - the condition comes first
        if sure and not wrong.keys() & set(of):
            found.append(message)

    c, start, end = contract, contract.contract_start_date, contract.contract_end_date
    told(
        end is not None and end < start,
        f"contract_end_date: {end} is before contract_start_date, {start}: correct one of them",
        *("contract_end_date", "contract_start_date"),
    )
    told(
        c.reverse_charge and bool(c.tax_percent),
        "reverse_charge: the partner pays the tax, so there is no tax_percent: leave one of the two out",
        *("reverse_charge", "tax_percent"),
    )
    told(
        c.reverse_charge and not c.tax_ids,
        "tax_ids: are missing: reverse charge needs the partner's VAT number, such as eu_vat and ATU12345678",
        *("reverse_charge", "tax_ids"),
    )
    told(
        c.push_to_stripe and c.stripe_customer_id is None,
        "stripe_customer_id: is missing: invoices go to Stripe (push_to_stripe), so write whose they are there, cus_…",
        *("push_to_stripe", "stripe_customer_id"),
    )
    if sellers is not None and c.seller is not None and c.seller not in sellers.profiles:
        hint = fields.near(c.seller, tuple(sellers.profiles))
        known = ", ".join(sorted(sellers.profiles))
        told(True, f"seller: no seller is named {c.seller!r}{hint or f': there are {known}'}", "seller")  # noqa: FBT003 - the condition
    return found


_STAND_IN: Mapping[str, Any] = {
    "api_key_prefix": "x",
    "company": "x",
    "pricing_model": "flat",
    "contract_start_date": date(2026, 1, 1),
    "valid_from": date(2026, 1, 1),
}
"""What stands for fields that could not be read, while what others say is looked at."""


@dataclass(frozen=True, slots=True)
class Looked:
    """A version as far as it could be read: what stands in the fields `unread` is made up."""

    contract: Contract
    wrong: tuple[str, ...]
    """A line for each mistake."""
    unread: frozenset[str]

    def sure(self, lines: Iterable[str]) -> list[str]:
        """Those of these lines that speak of nothing that could not be read."""
        return [line for line in lines if not any(re.search(rf"\b{re.escape(one)}\b", line) for one in self.unread)]

    def made(self) -> Contract:
        """The version. Raises Refused with all mistakes."""
        if self.wrong:
            raise Refused("\n".join(self.wrong))
        return self.contract


def _look(raw: Mapping[str, Any], sellers: Sellers | None, look: Callable[[pricing.Terms], list[str]]) -> Looked:
    """A version; `look` tells what is wrong with its prices, and is believed about what could be read."""
    values, wrong = _read_fields(raw)
    contract = Contract(**{**_STAND_IN, **values})
    found = [line for lines in wrong.values() for line in lines]
    found += _crossed(contract, wrong, sellers)
    # A name that was misspelt may be any that it is near to, and without the currency no sum is one.
    meant = {one for name in wrong if name not in FIELDS for one in get_close_matches(name, FIELDS)}
    sums = {name for name in FIELDS if name.endswith("_cents")} if "currency" in wrong else set[str]()
    looked = Looked(contract, (), frozenset({*wrong, *meant, *sums}))
    if "pricing_model" in wrong:
        told = [look(terms(msgspec.structs.replace(contract, pricing_model=model))) for model in get_args(PricingModel)]
        prices = [line for line in told[0] if all(line in others for others in told)]
    else:
        prices = look(terms(contract))
    return Looked(contract, (*found, *looked.sure(prices)), frozenset(wrong))


def read(raw: Mapping[str, Any], sellers: Sellers | None = None) -> Contract:
    """A version of a contract from a row, a file or a request; what is left out has the table's default.

    Amounts are whole minor units, or major ones with the currency (`"2.50 EUR"`); numbers may be written as texts.
    Given `sellers`, the contract's seller must be one of them. A price that the model never charges is let stand, as
    rows have it (`unused` tells of it). Raises Refused with a line for each mistake, which names the field and the fix.
    """
    return _look(raw, sellers, pricing.problems).made()


def looked(raw: Mapping[str, Any], sellers: Sellers | None = None, *, base: Contract | None = None) -> Looked:
    """A version that somebody writes now, with its mistakes: as `read`, but a price that is never charged is one too.

    What `base`, the version that it is made from, has of that already is let stand.
    """
    standing = frozenset(unused(base)) if base is not None else frozenset[str]()

    def look(prices: pricing.Terms) -> list[str]:
        return [*pricing.problems(prices), *(line for line in pricing.unused(prices) if line not in standing)]

    return _look(raw, sellers, look)


def mistakes(raw: Mapping[str, Any], sellers: Sellers | None = None) -> list[str]:
    """What `read` would refuse, line by line; none when all is well."""
    try:
        read(raw, sellers)
    except Refused as refused:
        return refused.reason.splitlines()
    return []


def unused(contract: Contract) -> list[str]:
    """Prices that are never charged, and usage that has none: each with its field and the fix."""
    return pricing.unused(terms(contract))


def terms(contract: Contract) -> pricing.Terms:
    """The price list of a version, as the rules of pricing take it. Minor units."""
    c = contract
    return pricing.Terms(
        model=c.pricing_model,
        currency=c.currency,
        monthly_flat_fee=c.monthly_flat_fee_cents,
        per_deed_price=Decimal(c.per_deed_price_cents),
        per_1000_requests=Decimal(c.per_1000_requests_cents),
        tiers=tuple(
            pricing.Tier(up_to=one.up_to, unit_price=one.unit_price_cents, flat_fee=one.flat_fee_cents)
            for one in c.tiers
        ),
        tier_mode=c.tier_mode,
        package_size=c.package_size,
        package_rounding=c.package_rounding,
        included_units=c.included_units,
        minimum_commitment=c.minimum_commitment_cents,
        cap=c.cap_cents,
        discount_percent=c.discount_percent,
        deed_events=c.deed_events,
    )


def party(contract: Contract) -> Party:
    """Whom its invoices go to."""
    return Party(
        name=contract.company,
        address=contract.address,
        email=contract.billing_email,
        tax_ids=contract.tax_ids,
    )


def written(contract: Contract) -> dict[str, Any]:
    """A version as JSON: what `read` takes, without what the database says of it and what is not set."""
    plain: dict[str, Any] = msgspec.to_builtins(contract)
    return {name: plain[name] for name in FIELDS if name not in KEPT and plain.get(name) not in (None, [], {})}


def columns(contract: Contract) -> dict[str, Any]:
    """A version as the values of its row, without what the database gives it."""
    plain: dict[str, Any] = msgspec.to_builtins(contract)
    row = {name: getattr(contract, name) for name in FIELDS if name not in KEPT}
    return row | {
        "deed_events": list(contract.deed_events),
        "tiers": plain["tiers"] or None,
        "address": plain["address"] or None,
        "tax_ids": plain["tax_ids"] or None,
    }
