"""A contract's price is told in one sentence, as a salesperson would say it."""

import re
from datetime import date
from decimal import Decimal
from functools import lru_cache

from babel import Locale
from babel.numbers import NumberPattern, format_currency, parse_pattern

from db.money import decimals
from jobs.partners.contract_fields import ContractTier
from jobs.partners.contracts import Contract, terms
from jobs.rules.pricing_terms import uses_tiers

_ENGLISH = Locale("en")
_CODE_MEETS_DIGIT = re.compile(r"(?<=[A-Za-z])(?=\d)")
"""CLDR's currencySpacing, which Babel leaves out: https://www.unicode.org/reports/tr35/tr35-numbers.html#Currencies."""

_DUE = {
    "immediate": "due at once",
    "net_15": "due within 15 days",
    "net_30": "due within 30 days",
    "net_60": "due within 60 days",
    "end_of_month": "due at the end of the month",
}


@lru_cache(maxsize=16)
def _pattern(digits: int) -> NumberPattern:
    pattern = parse_pattern(_ENGLISH.currency_formats["standard"].pattern)
    pattern.frac_prec = (digits, digits)
    return pattern


def money(minor: int | Decimal, currency: str) -> str:
    """Minor units as a price list shows them: `€49.00`, `¥500`, `$0.0005`; no digit is lost."""
    places = decimals(currency)
    value = Decimal(minor).scaleb(-places).normalize()
    exponent = value.as_tuple().exponent
    finer = max(places, -exponent if isinstance(exponent, int) else 0)
    shown = format_currency(value, currency.upper(), format=_pattern(finer), locale=_ENGLISH, currency_digits=False)
    return _CODE_MEETS_DIGIT.sub(" ", shown)


def number(value: int) -> str:
    """`12,000`."""
    return f"{value:,}"


def _many(value: int, thing: str) -> str:
    return f"{number(value)} {thing}" + ("" if value == 1 else "s")


def _requests(contract: Contract) -> str:
    """`€2.50 per 1,000 requests`, with the package's rounding where there is one."""
    c = contract
    said = f"{money(c.per_1000_requests_cents, c.currency)} per {_many(c.package_size, 'request').removeprefix('1 ')}"
    match c.package_rounding:
        case "up":
            return f"{said}, each package begun"
        case "down":
            return f"{said}, full packages only"
        case "exact":
            return said


def _tier(tier: ContractTier, currency: str) -> str:
    parts = (
        [f"{money(tier.unit_price_cents, currency)} each"] if tier.unit_price_cents or not tier.flat_fee_cents else []
    )
    parts += [money(tier.flat_fee_cents, currency)] if tier.flat_fee_cents else []
    return " plus ".join(parts)


def _tiers(contract: Contract) -> str:
    """`units 1 to 1,000 €0.50 each, from 1,001 €0.40 each`; in volume mode all units have the price of the last."""
    told: list[str] = []
    before = 0
    for tier in contract.tiers:
        edge = f"from {number(before + 1)}" if tier.up_to is None else f"{number(before + 1)} to {number(tier.up_to)}"
        told.append(f"{edge} {_tier(tier, contract.currency)}")
        before = tier.up_to or before
    said = ", ".join(told)
    if contract.tier_mode == "volume":
        return f"all units at the price of the tier that they reach: {said}"
    return f"units {said}"


_COUNTED = {"per_deed": "deed", "per_request": "request", "hybrid": "request", "tiered": "unit"}
"""What is included is counted in."""


def _usage(contract: Contract) -> list[str]:
    """What usage costs, part by part; what is included stands before what it lessens."""
    c, model = contract, contract.pricing_model
    if model == "flat":
        return []
    deeds = f"{money(c.per_deed_price_cents, c.currency)} per deed"
    last = deeds if model == "per_deed" else _tiers(c) if uses_tiers(terms(c)) else _requests(c)
    said = [deeds] if model == "hybrid" and c.per_deed_price_cents else []
    if said and not (c.tiers or c.per_1000_requests_cents):
        return said  # the fee pays for the requests
    if c.included_units:
        included = f"{_many(c.included_units, _COUNTED[model])} included"
        return [*said, included if c.monthly_flat_fee_cents else f"{included} each month", f"then {last}"]
    return [*said, last]


def price(contract: Contract) -> str:
    """The price in words: `€49.00 a month, 1,000 requests included, then €2.50 per 1,000 requests`."""
    c = contract
    said = [f"{money(c.monthly_flat_fee_cents, c.currency)} a month"] if c.monthly_flat_fee_cents else []
    said += _usage(c)
    if not said:
        said.append("nothing is charged")
    if c.minimum_commitment_cents:
        said.append(f"at least {money(c.minimum_commitment_cents, c.currency)} a month")
    if c.cap_cents is not None:
        said.append(f"at most {money(c.cap_cents, c.currency)} a month")
    if c.discount_percent:
        said.append(f"{c.discount_percent:f} % off")
    return ", ".join(said)


def tax(contract: Contract) -> str:
    """`VAT 19 %`, `reverse charge`, or nothing."""
    if contract.reverse_charge:
        return "reverse charge"
    if contract.tax_percent is None:
        return ""
    return f"{contract.tax_name} {contract.tax_percent:f} %"


def billing(contract: Contract) -> str:
    """`invoiced quarterly, due within 30 days, VAT 19 %`."""
    parts = [f"invoiced {contract.billing_cycle}", _DUE[contract.payment_terms], tax(contract)]
    return ", ".join(part for part in parts if part)


def standing(contract: Contract, today: date) -> str:
    """How the whole contract stands on a day of its zone; `contract` is its newest version."""
    last = contract.contract_end_date
    if contract.status in {"draft", "paused"}:
        return contract.status
    if last is not None and last < today:
        return f"ended {last}"
    if contract.status == "ended":
        return f"ends {last}" if last is not None else "ended"
    if today < contract.contract_start_date:
        return f"begins {contract.contract_start_date}"
    return "active" if last is None else f"active until {last}"
