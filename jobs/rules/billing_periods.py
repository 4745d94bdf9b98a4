"""A contract is billed by whole calendar months of its own time zone: which make a period, and when it ends."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

MONTHS = {"monthly": 1, "quarterly": 3, "yearly": 12}
"""How many months a period of each billing cycle has."""

LATEST = 2200
"""No contract is billed beyond that year: what lies there is a mistake."""

DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Agreed:
    """What is agreed about periods from a day on, until the next agreement."""

    valid_from: date
    cycle: str
    timezone: str


@dataclass(frozen=True, slots=True)
class Period:
    """`[start, end)` in UTC: `months` whole calendar months of `timezone`, the first of them begins with `first`."""

    first: date
    months: int
    start: datetime
    end: datetime
    timezone: str

    @property
    def name(self) -> str:
        """What people call it, by its first month: `2026-10`."""
        return f"{self.first:%Y-%m}"

    @property
    def after(self) -> date:
        """The first day of the next period."""
        return months_later(self.first, self.months)

    def holds(self, month: date) -> bool:
        """Whether the month that `month` is a day of belongs to the period."""
        return self.first <= month.replace(day=1) < self.after

    def closed(self, now: datetime, grace: timedelta) -> bool:
        """Whether it has ended for so long that usage on its way has come."""
        return now >= self.end + grace


def months_later(first: date, months: int) -> date:
    """The first of the month that comes so many months after that of `first`."""
    year, month = divmod(first.year * 12 + first.month - 1 + months, 12)
    return date(year, month + 1, 1)


def midnight(day: date, timezone: str) -> datetime:
    """The instant (UTC) at which `day` begins there: where clocks go forward at midnight, right after the gap."""
    return datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(timezone)).astimezone(UTC)


def local_day(at: datetime, timezone: str) -> date:
    """The day that the calendars of `timezone` show at `at`."""
    return at.astimezone(ZoneInfo(timezone)).date()


def agreed_on(day: date, agreements: Sequence[Agreed]) -> Agreed:
    """What holds on `day`: the newest agreement by then; before the first one, the first."""
    return max((one for one in agreements if one.valid_from <= day), key=_since, default=min(agreements, key=_since))


def _since(one: Agreed) -> date:
    return one.valid_from


def periods(begins: date, ends: date | None, agreements: Sequence[Agreed]) -> Iterator[Period]:
    """The periods of a contract from day `begins` to day `ends` (its last; None: without end), one after the other.

    They are counted from the month in which the contract begins: a quarter or a year is the contract's own, and not the
    calendar's. A new cycle or time zone holds from the next period on, and a period begins at the very instant at which
    the one before it ends: no usage falls between two, none into both.
    """
    first = begins.replace(day=1)
    start = midnight(first, agreed_on(begins, agreements).timezone)
    while (ends is None or first <= ends) and first.year <= LATEST:
        held = agreed_on(max(first, begins), agreements)
        after = months_later(first, MONTHS[held.cycle])
        period = Period(first, MONTHS[held.cycle], start, midnight(after, held.timezone), held.timezone)
        yield period
        first, start = period.after, period.end


def month_named(text: str) -> date:
    """The first day of a month that was typed as `2026-10`. Raises ValueError saying how it is written."""
    found = re.fullmatch(r"([0-9]{4})-(0[1-9]|1[0-2])", text.strip())
    if found is None or found[1] == "0000":
        raise ValueError(f"{text!r} is no period: write its month, such as 2026-10")
    return date(int(found[1]), int(found[2]), 1)


def named(found: Sequence[Period], text: str) -> Period:
    """The one of `found` that `text` (a month of it) names. Raises ValueError saying which there are."""
    month = month_named(text)
    for period in found:
        if period.holds(month):
            return period
    there = f"its periods are {found[0].name} to {found[-1].name}" if found else "it has no period yet"
    raise ValueError(f"the contract has no period {text}: {there}")


@dataclass(frozen=True, slots=True)
class Stretch:
    """`[start, end)` in UTC: the part of a period in which agreement number `index` holds."""

    index: int
    start: datetime
    end: datetime


def stretches(period: Period, begins: date, ends: date | None, valid_from: Sequence[date]) -> list[Stretch]:
    """The parts of `period` by the agreements (`valid_from`, in any order) that hold in it, without what lies outside.

    Days are those of the period's time zone. Empty: the contract has no day in it.
    """
    zone = period.timezone
    order = sorted(range(len(valid_from)), key=valid_from.__getitem__)
    first = max(period.start, midnight(begins, zone))
    last = period.end if ends is None else min(period.end, midnight(ends + DAY, zone))
    found: list[Stretch] = []
    for place, index in enumerate(order):
        start = first if place == 0 else max(first, midnight(valid_from[index], zone))
        end = last if place + 1 == len(order) else min(last, midnight(valid_from[order[place + 1]], zone))
        if start < end:
            found.append(Stretch(index, start, end))
    return found
