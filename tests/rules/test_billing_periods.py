"""Periods are whole calendar months of the contract's own time zone, one after the other, without a gap."""

from datetime import UTC, date, datetime, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.rules.billing_periods import (
    MONTHS,
    Agreed,
    agreed_on,
    local_day,
    midnight,
    month_named,
    months_later,
    named,
    periods,
    stretches,
)

ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "America/Asuncion",
    "Africa/Casablanca",
    "Pacific/Chatham",
)
DAYS = st.dates(date(2010, 1, 1), date(2040, 12, 31))
AGREEMENTS = st.lists(
    st.builds(Agreed, DAYS, st.sampled_from(["monthly", "quarterly", "yearly"]), st.sampled_from(ZONES)),
    min_size=1,
    max_size=4,
    unique_by=lambda one: one.valid_from,
)


def agreed(cycle: str = "monthly", zone: str = "UTC", since: date = date(2026, 1, 1)) -> Agreed:
    return Agreed(since, cycle, zone)


def test_a_contract_that_begins_within_a_month_has_that_month_as_its_first_period() -> None:
    first, second = islice(periods(date(2026, 10, 15), None, [agreed(zone="Europe/Berlin")]), 2)
    assert (first.name, first.start, first.end) == (
        "2026-10",
        datetime(2026, 9, 30, 22, tzinfo=UTC),
        datetime(2026, 10, 31, 23, tzinfo=UTC),
    ), "summer time ends in October"
    assert (second.name, second.start, second.months) == ("2026-11", first.end, 1)


def test_quarters_and_years_are_the_contracts_own() -> None:
    quarters = list(islice(periods(date(2026, 2, 10), None, [agreed("quarterly")]), 3))
    assert [one.name for one in quarters] == ["2026-02", "2026-05", "2026-08"]
    (year,) = islice(periods(date(2026, 2, 10), None, [agreed("yearly")]), 1)
    assert (year.months, year.after, year.end) == (12, date(2027, 2, 1), datetime(2027, 2, 1, tzinfo=UTC))
    assert year.holds(date(2027, 1, 31))
    assert not year.holds(date(2027, 2, 1))


def test_a_new_cycle_and_a_new_zone_hold_from_the_next_period_on() -> None:
    changed = [agreed("quarterly"), agreed("monthly", "Asia/Tokyo", date(2026, 2, 1))]
    first, second, third = islice(periods(date(2026, 1, 1), None, changed), 3)
    assert [first.name, second.name, third.name] == ["2026-01", "2026-04", "2026-05"]
    assert first.end == second.start == datetime(2026, 4, 1, tzinfo=UTC)
    assert second.end == datetime(2026, 4, 30, 15, tzinfo=UTC)


def test_a_contract_has_no_period_after_its_last_day() -> None:
    found = list(periods(date(2026, 1, 31), date(2026, 3, 1), [agreed()]))
    assert [one.name for one in found] == ["2026-01", "2026-02", "2026-03"]
    assert list(periods(date(2200, 12, 31), None, [agreed()]))[-1].name == "2200-12"


def test_midnight_that_does_not_exist_is_right_after_the_gap() -> None:
    at = midnight(date(2017, 10, 1), "America/Asuncion")
    assert at == datetime(2017, 10, 1, 4, tzinfo=UTC)
    assert local_day(at, "America/Asuncion") == date(2017, 10, 1)
    assert local_day(at - timedelta(microseconds=1), "America/Asuncion") == date(2017, 9, 30)


def test_closed_is_some_hours_after_the_end() -> None:
    (october,) = islice(periods(date(2026, 10, 1), None, [agreed()]), 1)
    grace = timedelta(hours=6)
    assert not october.closed(datetime(2026, 11, 1, 5, 59, 59, tzinfo=UTC), grace)
    assert october.closed(datetime(2026, 11, 1, 6, tzinfo=UTC), grace)


@pytest.mark.parametrize("typed", ["", "october", "2026", "2026-13", "2026-1", "26-10", "2026-10-01", "2026-0x"])
def test_a_period_that_cannot_be_read_is_told_how_to_write_it(typed: str) -> None:
    with pytest.raises(ValueError, match="such as 2026-10"):
        month_named(typed)


def test_a_period_is_named_by_any_of_its_months() -> None:
    found = list(islice(periods(date(2026, 1, 1), None, [agreed("quarterly")]), 2))
    assert named(found, "2026-05") == found[1]
    with pytest.raises(ValueError, match="no period 2026-07: its periods are 2026-01 to 2026-04"):
        named(found, "2026-07")
    with pytest.raises(ValueError, match="it has no period yet"):
        named([], "2026-07")


@given(begins=DAYS, ends=st.none() | DAYS, agreements=AGREEMENTS)
def test_periods_lie_end_to_end_and_hold_every_day(begins: date, ends: date | None, agreements: list[Agreed]) -> None:
    found = list(islice(periods(begins, ends, agreements), 30))
    if ends is not None and ends < begins.replace(day=1):
        assert found == []
        return
    assert found[0].holds(begins)
    assert found[0].start <= midnight(begins, found[0].timezone)
    for one, other in pairwise(found):
        assert (one.end, one.after) == (other.start, other.first)
    for one in found:
        held = agreed_on(max(one.first, begins), agreements)
        assert (one.months, one.timezone) == (MONTHS[held.cycle], held.timezone)
        assert one.start < one.end
        assert midnight(one.after, one.timezone) == one.end
        assert local_day(one.end, one.timezone) == one.after
        assert local_day(one.end - timedelta(microseconds=1), one.timezone) < one.after
    if ends is not None and len(found) < 30:
        assert found[-1].first <= ends < found[-1].after


@given(begins=DAYS, agreements=AGREEMENTS, later=st.integers(1, 400))
def test_a_later_agreement_changes_no_period_before_it(begins: date, agreements: list[Agreed], later: int) -> None:
    before = list(islice(periods(begins, None, agreements), 12))
    since = max(before[-1].after, *(one.valid_from for one in agreements)) + timedelta(days=later)
    after = list(islice(periods(begins, None, [*agreements, Agreed(since, "yearly", "Asia/Kolkata")]), 12))
    assert before == after


@given(
    begins=DAYS,
    length=st.none() | st.integers(0, 900),
    zone=st.sampled_from(ZONES),
    changes=st.lists(DAYS, min_size=1, max_size=5, unique=True),
    cycle=st.sampled_from(["monthly", "quarterly"]),
)
def test_stretches_cover_what_the_contract_has_of_a_period(
    begins: date, length: int | None, zone: str, changes: list[date], cycle: str
) -> None:
    ends = None if length is None else begins + timedelta(days=length)
    for period in islice(periods(begins, ends, [Agreed(begins, cycle, zone)]), 6):
        found = stretches(period, begins, ends, changes)
        starts = max(period.start, midnight(begins, zone))
        stops = period.end if ends is None else min(period.end, midnight(ends + timedelta(days=1), zone))
        if starts >= stops:
            assert found == []
            continue
        assert (found[0].start, found[-1].end) == (starts, stops)
        assert all(one.end == other.start for one, other in pairwise(found))
        for one in found:
            day = local_day(one.start, zone)
            holding = [each for each in changes if each <= day]
            assert changes[one.index] == max(holding, default=min(changes))


@given(first=DAYS, months=st.integers(0, 100))
def test_months_are_counted_over_years(first: date, months: int) -> None:
    later = months_later(first, months)
    assert later.day == 1
    assert (later.year - first.year) * 12 + later.month - first.month == months


@given(day=DAYS, zone=st.sampled_from(ZONES))
def test_midnight_is_the_first_moment_of_its_day(day: date, zone: str) -> None:
    at = midnight(day, zone)
    if not (zone == "Pacific/Apia" and day == date(2011, 12, 30)):  # Samoa had no such day
        assert at.astimezone(ZoneInfo(zone)).date() == day
        assert (at - timedelta(microseconds=1)).astimezone(ZoneInfo(zone)).date() < day
