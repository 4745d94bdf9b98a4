"""Billing periods never drift, and no cent is lost between what is used and what is given back."""

import calendar
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.demo.simulator.account import DAY
from deploy.demo.simulator.periods import Interval, Unit, around, boundary
from deploy.demo.simulator.proration import unused, used

MOMENTS = st.integers(946_684_800, 2_524_608_000)  # 2000 to 2050
UNITS: st.SearchStrategy[Unit] = st.sampled_from(["day", "week", "month", "year"])
INTERVALS = st.builds(Interval, UNITS, st.integers(1, 12))


def at(year: int, month: int, day: int, hour: int = 0) -> int:
    return int(datetime(year, month, day, hour, tzinfo=UTC).timestamp())


def test_the_last_day_of_january_comes_back_in_march() -> None:
    anchor = at(2026, 1, 31, 15)
    days = [datetime.fromtimestamp(boundary(anchor, Interval("month"), steps), UTC) for steps in range(5)]
    assert [f"{day:%m-%d %H}" for day in days] == ["01-31 15", "02-28 15", "03-31 15", "04-30 15", "05-31 15"]


def test_a_year_from_the_29th_of_february() -> None:
    days = [datetime.fromtimestamp(boundary(at(2024, 2, 29), Interval("year"), steps), UTC) for steps in range(5)]
    assert [f"{day:%Y-%m-%d}" for day in days] == ["2024-02-29", "2025-02-28", "2026-02-28", "2027-02-28", "2028-02-29"]


def test_a_quarter_is_three_months() -> None:
    assert around(at(2025, 11, 30), Interval("month", 3), at(2026, 2, 28)) == (at(2026, 2, 28), at(2026, 5, 30))


@given(anchor=MOMENTS, interval=INTERVALS, moment=MOMENTS)
def test_every_moment_is_in_one_period(anchor: int, interval: Interval, moment: int) -> None:
    start, end = around(anchor, interval, moment)
    assert start <= moment < end
    assert around(anchor, interval, end)[0] == end
    assert around(anchor, interval, start - 1)[1] == start


@given(anchor=MOMENTS, count=st.integers(1, 12), steps=st.integers(-60, 120))
def test_months_keep_the_anchors_day(anchor: int, count: int, steps: int) -> None:
    first = datetime.fromtimestamp(anchor, UTC)
    then = datetime.fromtimestamp(boundary(anchor, Interval("month", count), steps), UTC)
    assert then.day == min(first.day, calendar.monthrange(then.year, then.month)[1])
    assert (then.year - first.year) * 12 + then.month - first.month == steps * count
    assert then.time() == first.time()


@given(anchor=MOMENTS, count=st.integers(1, 60), steps=st.integers(-100, 100))
def test_days_and_weeks_are_so_many_seconds(anchor: int, count: int, steps: int) -> None:
    for interval, length in ((Interval("day", count), DAY), (Interval("week", count), 7 * DAY)):
        assert boundary(anchor, interval, steps) - anchor == steps * count * length


@given(amount=st.integers(-(10**9), 10**9), start=MOMENTS, length=st.integers(1, 10**8), moment=MOMENTS)
def test_unused_and_used_are_the_price(amount: int, start: int, length: int, moment: int) -> None:
    period = (start, start + length)
    assert unused(amount, period, moment) + used(amount, period, moment) == amount
    assert min(0, amount) <= unused(amount, period, moment) <= max(0, amount)


@pytest.mark.parametrize(("moment", "left"), [(0, 3000), (10, 3000), (25, 1500), (40, 0), (99, 0)])
def test_half_a_period_is_half_the_price(moment: int, left: int) -> None:
    assert unused(3000, (10, 40), moment) == left


def test_a_period_of_no_length_gives_nothing_back() -> None:
    assert unused(3000, (10, 10), 10) == 0
