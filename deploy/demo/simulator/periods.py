"""Billing periods keep the anchor's day: 31 January, 28 February, 31 March.

https://docs.stripe.com/billing/subscriptions/billing-cycle: where a month lacks the day, its last day stands in.
All in UTC, in seconds since 1970.
"""

import calendar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

Unit = Literal["day", "week", "month", "year"]

SECONDS = {"day": 86_400, "week": 7 * 86_400}
MONTHS = {"month": 1, "year": 12}
YEAR = 12


@dataclass(frozen=True, slots=True)
class Interval:
    """How often a price recurs."""

    unit: Unit
    count: int = 1


def boundary(anchor: int, interval: Interval, steps: int) -> int:
    """The moment `steps` intervals after the anchor (before it, when negative)."""
    if (seconds := SECONDS.get(interval.unit)) is not None:
        return anchor + steps * interval.count * seconds
    start = datetime.fromtimestamp(anchor, UTC)
    year, month = divmod(start.year * YEAR + start.month - 1 + steps * interval.count * MONTHS[interval.unit], YEAR)
    day = min(start.day, calendar.monthrange(year, month + 1)[1])
    return int(start.replace(year=year, month=month + 1, day=day).timestamp())


def around(anchor: int, interval: Interval, at: int) -> tuple[int, int]:
    """The period that holds `at`: its start is at or before it, its end after it."""
    steps = _guess(anchor, interval, at)
    while boundary(anchor, interval, steps) > at:
        steps -= 1
    while boundary(anchor, interval, steps + 1) <= at:
        steps += 1
    return boundary(anchor, interval, steps), boundary(anchor, interval, steps + 1)


def _guess(anchor: int, interval: Interval, at: int) -> int:
    if (seconds := SECONDS.get(interval.unit)) is not None:
        return (at - anchor) // (seconds * interval.count)
    start, then = datetime.fromtimestamp(anchor, UTC), datetime.fromtimestamp(at, UTC)
    months = (then.year - start.year) * YEAR + then.month - start.month
    return months // (interval.count * MONTHS[interval.unit])


def day(at: int) -> str:
    """A day as Stripe writes it into descriptions."""
    return f"{datetime.fromtimestamp(at, UTC):%d %b %Y}"


def in_days(at: int, days: int) -> int:
    """So many days of 24 hours later."""
    return at + int(timedelta(days=days).total_seconds())
