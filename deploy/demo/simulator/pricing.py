"""What a quantity costs at a price: per unit, in packages, or by tiers.

https://docs.stripe.com/products-prices/pricing-models. Amounts are minor units; decimals may hold fractions of one.
"""

from decimal import Decimal
from typing import Any

from deploy.demo.simulator.account import Account
from deploy.demo.simulator.amounts import times, whole
from deploy.demo.simulator.currencies import THREE_DECIMAL, ZERO_DECIMAL, grain
from deploy.demo.simulator.errors import Json

SYMBOLS = {"usd": "$", "eur": "€", "gbp": "£", "jpy": "¥", "aud": "A$", "cad": "CA$", "inr": "₹", "krw": "₩"}


def cost(a: Account, price: Json, quantity: int) -> int:
    """What `quantity` costs, rounded once, half away from zero."""
    units, least = packages(price, quantity), grain(price["currency"])
    if price["billing_scheme"] == "per_unit":
        return times(price["unit_amount_decimal"] or "0", units, least)
    tiers: list[Json] = a.store.hidden(price["id"])["tiers"]
    return whole(_graduated(tiers, units) if price["tiers_mode"] == "graduated" else _volume(tiers, units), least)


def packages(price: Json, quantity: int) -> int:
    """The quantity that is priced: `transform_quantity` counts in packages."""
    transform = price["transform_quantity"]
    if transform is None:
        return quantity
    full, rest = divmod(quantity, transform["divide_by"])
    return full + (1 if rest and transform["round"] == "up" else 0)


def _volume(tiers: list[Json], units: int) -> Decimal:
    """All units at the price of the tier that the quantity reaches."""
    tier = next(tier for tier in tiers if tier["up_to"] is None or units <= tier["up_to"])
    return _flat(tier) + _unit(tier) * units


def _graduated(tiers: list[Json], units: int) -> Decimal:
    """Each unit at the price of its own tier; a tier's flat fee falls due when the quantity enters it."""
    total, below = Decimal(0), 0
    for tier in tiers:
        within = (units if tier["up_to"] is None else min(units, tier["up_to"])) - below
        if within <= 0 and below > 0:
            break
        total += _flat(tier) + _unit(tier) * within
        below += within
    return total


def _unit(tier: Json) -> Decimal:
    return Decimal(tier["unit_amount_decimal"] or 0)


def _flat(tier: Json) -> Decimal:
    return Decimal(tier["flat_amount_decimal"] or 0)


def both(amount: int | None, decimal: str | None) -> tuple[int | None, str | None]:
    """An amount as Stripe shows it: whole (null when it has a fraction), and as a decimal."""
    if amount is not None:
        return amount, str(amount)
    if decimal is None:
        return None, None
    value = Decimal(decimal)
    plain = format(value.normalize(), "f")
    return (int(value) if value == value.to_integral_value() else None), plain


def money(amount: Decimal | int | str, currency: str) -> str:
    """An amount in minor units as people read it: `$25.00`, `¥1,200`, `CHF 9.50`."""
    places = 0 if currency in ZERO_DECIMAL else 3 if currency in THREE_DECIMAL else 2
    value = Decimal(amount) / 10**places
    fraction = value.normalize().as_tuple().exponent
    shown = f"{value:,.{max(places, -fraction if isinstance(fraction, int) else places)}f}"
    return f"{SYMBOLS[currency]}{shown}" if currency in SYMBOLS else f"{currency.upper()} {shown}"


def rhythm(recurring: Json) -> str:
    """`month`, or `every 3 months`."""
    count: Any = recurring["interval_count"]
    return recurring["interval"] if count == 1 else f"every {count} {recurring['interval']}s"
