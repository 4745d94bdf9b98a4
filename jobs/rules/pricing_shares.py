"""A contract that holds for part of a period is charged for the seconds of that part."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import groupby, pairwise
from typing import TypeVar

from db.money import allocate, rounded
from jobs.rules.documents import PLACES
from jobs.rules.pricing_terms import Kind, Part, RatedLine

SECOND = timedelta(seconds=1)
UNITS = (("days", 86_400), ("hours", 3_600), ("seconds", 1))

T = TypeVar("T")


def seconds(start: datetime, end: datetime) -> int:
    """How long [`start`, `end`) is, whatever clocks were set forward or back in between."""
    return (end - start) // SECOND


def runs(items: Sequence[T], key: Callable[[T], Hashable]) -> list[list[T]]:
    """Neighbours that agree, taken together."""
    return [list(found) for _, found in groupby(items, key)]


def plain(value: Decimal) -> str:
    """A decimal without an exponent, and without zeros that say nothing."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def exact(value: Fraction) -> Decimal | None:
    """The very value as a decimal of at most 12 places, or None where it has no end. No context rounds it."""
    if value.denominator == 1:
        return Decimal(value.numerator)
    scaled = value * 10**PLACES
    if scaled.denominator != 1:
        return None
    number, places = scaled.numerator, PLACES
    while number % 10 == 0:
        number, places = number // 10, places - 1
    return Decimal((int(number < 0), tuple(map(int, str(abs(number)))), -places))


@dataclass(frozen=True, slots=True)
class Stretch:
    """Parts that are reckoned together, and the period that they are of."""

    parts: tuple[tuple[int, Part], ...]
    """Each with its number among all parts."""
    months: int
    period_seconds: int

    @property
    def seconds(self) -> int:
        """Of the parts alone: a pause between them does not count."""
        return sum(seconds(part.start, part.end) for _, part in self.parts)

    @property
    def share(self) -> Fraction:
        """By which what is agreed for a month is multiplied."""
        return Fraction(self.months * self.seconds, self.period_seconds)

    def of_month(self, amount: int) -> int:
        """So much of a month's `amount` (minor units)."""
        return rounded(amount * self.share)

    def units_of_month(self, units: int) -> int:
        """So much of a month's `units`; a broken one is given whole, in the customer's favour."""
        return -((-units * self.share.numerator) // self.share.denominator)

    def facts(self) -> dict[str, str]:
        """How many months, and which share of them: `15/31` `days`, in the largest unit that divides both."""
        told = {"months": str(self.months)}
        if self.seconds != self.period_seconds:
            name, size = next(
                (name, size) for name, size in UNITS if self.seconds % size == 0 and self.period_seconds % size == 0
            )
            told |= {"share": f"{self.seconds // size}/{self.period_seconds // size}", "share_unit": name}
        return told

    def line(
        self,
        kind: Kind,
        amount: int,
        facts: dict[str, str],
        *,
        quantity: Decimal | None = None,
        unit_price: Decimal | None = None,
        unit: str | None = None,
    ) -> RatedLine:
        """A line for these parts."""
        number, first = self.parts[0]
        return RatedLine(
            kind=kind,
            part=number,
            amount=amount,
            quantity=quantity,
            unit_price=unit_price,
            unit=unit,
            start=first.start,
            end=self.parts[-1][1].end,
            facts={"currency": first.terms.currency, **facts},
        )


def fees(parts: Sequence[Part], months: int, period_seconds: int) -> list[int]:
    """What of the flat fee falls on each part. Where the fee stays the same they add up to what one part would pay."""
    found: list[int] = []
    for run in runs(parts, lambda part: part.terms.monthly_flat_fee):
        weights = [seconds(part.start, part.end) for part in run]
        whole = rounded(Fraction(run[0].terms.monthly_flat_fee * months * sum(weights), period_seconds))
        found += allocate(whole, weights)
    return found


def checked(start: datetime, end: datetime, months: int, parts: Sequence[Part]) -> None:
    """Raises ValueError where [`start`, `end`) and `parts` are none that can be charged on one invoice."""
    instants = [start, *(at for part in parts for at in (part.start, part.end)), end]
    if any(at.utcoffset() is None or at.microsecond for at in instants):
        raise ValueError("a period and its parts begin and end at whole seconds, with their time zone")
    if start >= end or months < 1:
        raise ValueError(f"a period has an end after its start, and months: {start}, {end}, {months}")
    if any(earlier > later for earlier, later in pairwise(instants)) or any(p.start == p.end for p in parts):
        raise ValueError("parts lie within the period, one after the other, and are not empty")
    currencies = sorted({part.terms.currency for part in parts})
    if len(currencies) > 1:
        raise ValueError(f"one invoice has one currency, and these versions have {' and '.join(currencies)}")
    if any(not units.is_finite() or units < 0 for part in parts for units in part.usage.values()):
        raise ValueError("units are numbers from 0 on")
