"""All that an invoice's amounts follow from is written down with it, so that it comes to the same cents years later."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import msgspec
from msgspec import Struct

from db import contracts as contract_rows
from db import usage
from db.documents import content_sha256
from db.usage import Owner
from jobs.invoices.document import Party, TaxCategory
from jobs.invoices.drafts import DraftDiscount, DraftTax
from jobs.invoices.sellers import Sellers, Terms
from jobs.partners import contracts
from jobs.partners.contracts import Contract
from jobs.rules import billing_periods, pricing
from jobs.rules.billing_periods import Agreed, Period
from worker.deps import Tx
from worker.errors import Refused

FORM = 1
"""Of what is frozen. A later form gets the next number, and this one can still be read."""

TERMS: Mapping[str, Terms] = {
    "immediate": "due_on_receipt",
    "net_15": "net_15",
    "net_30": "net_30",
    "net_60": "net_60",
    "end_of_month": "end_of_month",
}
"""A contract's words for when it is paid, as invoices have them."""

Used = dict[str, Decimal]
"""Billable cost units by event type."""


class FrozenPart(Struct, frozen=True, kw_only=True):
    """`[start, end)` of the period, its price list, and what was used in it."""

    terms: pricing.Terms
    start: datetime
    end: datetime
    usage: Used
    contract: dict[str, Any] = {}
    """The whole version, as it was written."""


class Taken(Struct, frozen=True, kw_only=True):
    """What a credit gave back of the invoice of a row: `net` of its lines, `gross` of its total. Minor units."""

    usage_invoice: int
    net: int
    gross: int


class Adjustment(Struct, frozen=True, kw_only=True):
    """A closed period whose usage came late: what it comes to now, less what was charged so far. Minor units."""

    usage_invoice: int
    name: str
    start: datetime
    end: datetime
    months: int
    timezone: str
    parts: tuple[FrozenPart, ...]
    before: tuple[Used, ...]
    """The usage that was charged so far, by part."""
    charged: int
    now: int
    credit: int | None = None
    """What was given as a credit instead of a line: less is to be charged than was."""
    took: tuple[Taken, ...] = ()
    """Of which invoices that credit gave back how much."""
    credit_id: int | None = None
    replanned: bool = False
    """Whether `parts` are those of plans that became known after it was invoiced; a contract's never change so."""
    turn: int = 0
    """The how manieth time the period was set right: an older one that was parked may do so after a younger one. 0:
    before this was written down."""

    @property
    def amount(self) -> int:
        """What is still to be charged; below zero for what was charged too much."""
        return self.now - self.charged


class PlannedCredit(Struct, frozen=True, kw_only=True):
    """So much (minor units) of a credit pays for this invoice."""

    id: int
    name: str
    minor: int


class Frozen(Struct, frozen=True, kw_only=True):
    """A partner's period as it is invoiced; nothing else is looked at to reckon it again. Times are UTC."""

    form: int = FORM
    rounding: str
    prefix: str
    name: str
    """The period's first month: `2026-10`."""
    first: date
    after: date
    """The first day of the next period."""
    months: int
    start: datetime
    end: datetime
    timezone: str
    billed_from: date
    billed_to: date
    """The first day, and the one after the last day, that the contract holds in the period."""
    currency: str
    parts: tuple[FrozenPart, ...]
    buyer: Party
    seller: str | None
    locale: str
    seller_timezone: str
    """By whose days the document is dated, and its period shown."""
    payment: Terms
    buyer_reference: str | None
    taxes: tuple[DraftTax, ...]
    discounts: tuple[DraftDiscount, ...]
    adjustments: tuple[Adjustment, ...] = ()
    credits: tuple[PlannedCredit, ...] = ()
    at_stripe: bool = False
    outside: Used = {}
    """Used in the period, but before the contract began or after it ended: told, and not charged."""

    @property
    def used(self) -> bool:
        """Whether anything billable was used."""
        return any(units for part in self.parts for units in part.usage.values())


def as_json(frozen: Frozen) -> dict[str, Any]:
    """What is stored; decimals are texts, times ISO 8601."""
    plain: dict[str, Any] = msgspec.to_builtins(frozen)
    return plain


def read(stored: Mapping[str, Any]) -> Frozen:
    """What was stored, read again. Raises Refused when it is none of our forms."""
    try:
        return msgspec.convert(stored, Frozen, strict=False)
    except msgspec.ValidationError as error:
        raise Refused(f"what was frozen cannot be read: {error}") from error


def sha256(stored: Mapping[str, Any]) -> str:
    """The SHA-256 of what is stored, whatever the order of its fields."""
    return content_sha256(stored)


@dataclass(frozen=True, slots=True)
class Book:
    """A partner's contract: all its versions, by the day from which they hold; the newest rules the whole."""

    prefix: str
    versions: tuple[Contract, ...]

    @property
    def newest(self) -> Contract:
        """The version that says whether the contract is alive, and how long."""
        return self.versions[-1]

    @property
    def begins(self) -> date:
        """Its first day."""
        return self.newest.contract_start_date

    @property
    def ends(self) -> date | None:
        """Its last day."""
        return self.newest.contract_end_date

    @property
    def billed(self) -> bool:
        """Whether it is invoiced at present; an ended one is, up to its last day."""
        return self.newest.status == "active" or (self.newest.status == "ended" and self.ends is not None)

    @property
    def agreed(self) -> list[Agreed]:
        """What the versions say about periods."""
        return [Agreed(one.valid_from, one.billing_cycle, one.timezone) for one in self.versions]

    def periods(self, until: datetime) -> list[Period]:
        """Its periods that begin before `until`, oldest first."""
        found: list[Period] = []
        for period in billing_periods.periods(self.begins, self.ends, self.agreed):
            if period.start >= until:
                break
            found.append(period)
        return found


def book(prefix: str, rows: Sequence[Mapping[str, Any]]) -> Book:
    """The contract in these rows. Raises Refused with all that does not make sense in it."""
    if not rows:
        raise Refused(f"there is no contract with {prefix}: `billing partners list` names all")
    found = sorted((contracts.read(row) for row in rows), key=lambda one: (one.valid_from, one.version or 0))
    return Book(prefix, tuple(found))


async def book_of(tx: Tx, prefix: str) -> Book:
    """The contract as it stands. Raises Refused as `book` does."""
    return book(prefix, await contract_rows.versions(tx.conn, prefix))


def plain_units(units: Mapping[str, Decimal]) -> Used:
    """Units without zeros that say nothing, so that the same usage is written alike; types without any are left out."""
    found: Used = {}
    for name, value in sorted(units.items()):
        text = f"{value:f}"
        short = Decimal(text.rstrip("0").rstrip(".") if "." in text else text)
        if short:
            found[name] = short
    return found


def _sum(many: Iterable[Mapping[str, Decimal]]) -> Used:
    total: Used = {}
    for units in many:
        for name, value in units.items():
            total[name] = total.get(name, Decimal(0)) + value
    return plain_units(total)


async def _used(tx: Tx, prefix: str, start: datetime, end: datetime) -> Used:
    if start >= end:
        return {}
    return plain_units(await usage.billable_units(tx.conn, Owner(api_key_prefix=prefix), start, end))


async def parts_of(tx: Tx, found: Book, period: Period) -> tuple[FrozenPart, ...]:
    """The parts of `period` by the versions that hold in it, with what was used in each."""
    spans = billing_periods.stretches(period, found.begins, found.ends, [one.valid_from for one in found.versions])
    parts: list[FrozenPart] = []
    for span in spans:
        version = found.versions[span.index]
        parts.append(
            FrozenPart(
                terms=contracts.terms(version),
                start=span.start,
                end=span.end,
                usage=await _used(tx, found.prefix, span.start, span.end),
                contract=msgspec.to_builtins(version),
            )
        )
    return tuple(parts)


def taxes_of(version: Contract) -> tuple[DraftTax, ...]:
    """The tax that a version says; reverse charge is a rate of 0 with its reason (EN 16931, category AE)."""
    if version.reverse_charge:
        return (DraftTax(name=version.tax_name, percent=Decimal(0), category=TaxCategory.REVERSE_CHARGE),)
    if version.tax_percent is None:
        return ()
    return (DraftTax(name=version.tax_name, percent=version.tax_percent),)


async def frozen_period(tx: Tx, found: Book, period: Period, sellers: Sellers) -> tuple[Frozen, Contract]:
    """A period's own usage and terms, without what other periods, promotions and credits bring; and the last version.

    The last version that holds in the period says whom the invoice goes to, and how it is taxed and paid. Raises
    Refused when the contract does not hold in the period at all, ConfigurationError for a seller that there is not.
    """
    parts = await parts_of(tx, found, period)
    if not parts:
        raise Refused(f"the contract of {found.prefix} does not hold in {period.name}")
    spans = billing_periods.stretches(period, found.begins, found.ends, [one.valid_from for one in found.versions])
    version = found.versions[spans[-1].index]
    profile = sellers.profile(version.seller)
    outside = [
        await _used(tx, found.prefix, period.start, parts[0].start),
        await _used(tx, found.prefix, parts[-1].end, period.end),
    ]
    frozen = Frozen(
        rounding=pricing.ROUNDING,
        prefix=found.prefix,
        name=period.name,
        first=period.first,
        after=period.after,
        months=period.months,
        start=period.start,
        end=period.end,
        timezone=period.timezone,
        billed_from=billing_periods.local_day(parts[0].start, period.timezone),
        billed_to=billing_periods.local_day(parts[-1].end, period.timezone),
        currency=version.currency,
        parts=parts,
        buyer=contracts.party(version),
        seller=profile.name,
        locale=version.locale or profile.locale,
        seller_timezone=profile.timezone,
        payment=TERMS[version.payment_terms],
        buyer_reference=version.buyer_reference,
        taxes=taxes_of(version),
        discounts=(),
        at_stripe=version.push_to_stripe,
        outside=_sum(outside),
    )
    return frozen, version


def rated(frozen: Frozen) -> pricing.Rated:
    """What the period's own usage comes to. Raises ValueError for what cannot be one invoice (two currencies)."""
    return pricing.rate(frozen.start, frozen.end, frozen.months, rated_parts(frozen.parts))


def rated_parts(parts: Sequence[FrozenPart]) -> list[pricing.Part]:
    """Parts as the rules of pricing take them."""
    return [pricing.Part(terms=one.terms, start=one.start, end=one.end, usage=one.usage) for one in parts]


def reckoned(adjustment: Adjustment) -> int:
    """What a closed period comes to with the usage that is known now (minor units)."""
    found = pricing.rate(adjustment.start, adjustment.end, adjustment.months, rated_parts(adjustment.parts))
    return found.subtotal
