"""What a contract charges, in the form that prices are reckoned from, and the lines that come of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Literal

Model = Literal["flat", "per_deed", "per_request", "hybrid", "tiered"]
TierMode = Literal["graduated", "volume"]
PackageRounding = Literal["exact", "up", "down"]
Kind = Literal["flat_fee", "deeds", "requests", "tier", "included", "minimum", "cap", "adjustment"]

DEED_EVENTS = ("*deed*",)
"""Event types that are deeds where a contract does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """The units after the tier before, up to and including `up_to` (None: all further ones), and what they cost.

    `unit_price` and `flat_fee` are minor units; the fee is charged once when the tier is reached.
    """

    up_to: int | None
    unit_price: Decimal = Decimal(0)
    flat_fee: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """One version's prices, in minor units of `currency` (lower case). Sums are of one month; tiers are of a period.

    `per_1000_requests` is the price of one package, of `package_size` requests.
    """

    model: Model
    currency: str
    monthly_flat_fee: int = 0
    per_deed_price: Decimal = Decimal(0)
    per_1000_requests: Decimal = Decimal(0)
    tiers: tuple[Tier, ...] = ()
    tier_mode: TierMode = "graduated"
    package_size: int = 1000
    package_rounding: PackageRounding = "exact"
    included_units: int = 0
    minimum_commitment: int = 0
    cap: int | None = None
    discount_percent: Decimal | None = None
    """Not applied here: the invoice's own discount does it, on all lines."""
    deed_events: tuple[str, ...] = DEED_EVENTS


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A stretch of a period in which one version holds, [`start`, `end`) in aware instants of whole seconds.

    `usage` is the billable cost units of it by event type.
    """

    terms: Terms
    start: datetime
    end: datetime
    usage: Mapping[str, Decimal]


@dataclass(frozen=True, slots=True, kw_only=True)
class RatedLine:
    """One amount (minor units), for [`start`, `end`).

    Where both `quantity` and `unit_price` (minor units) are told, `amount` is their product, rounded. `part` is the
    first of the parts that it is for; `facts` are the numbers that it follows from, all of them as text.
    """

    kind: Kind
    part: int
    amount: int
    quantity: Decimal | None
    unit_price: Decimal | None
    unit: str | None
    """`deed`, `request`, `unit`, `package`, `month`."""
    start: datetime
    end: datetime
    facts: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rated:
    """All that a period costs before discounts and taxes; `subtotal` (minor units) is the sum of the lines.

    `flags` are in words, for those who look over the invoice before it goes.
    """

    lines: tuple[RatedLine, ...]
    subtotal: int
    flags: tuple[str, ...] = ()


def is_deed(terms: Terms, event_type: str) -> bool:
    """Whether an event of that type counts as a deed: one of the patterns fits, upper and lower case told apart."""
    return any(fnmatchcase(event_type, pattern) for pattern in terms.deed_events)


def uses_tiers(terms: Terms) -> bool:
    """Whether tiers price its requests: always when it is tiered, and in a hybrid that has some."""
    return terms.model == "tiered" or (terms.model == "hybrid" and bool(terms.tiers))
