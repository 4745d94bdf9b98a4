"""Quota letters: at 80 % and at 100 %, each once in a month, and never late or doubled."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.rules.months import month_of, month_typed
from jobs.rules.quotas import STEPS, letter_due, percent, reached, whole

amounts = st.decimals(0, 2000, places=6)


@pytest.mark.parametrize(
    ("used", "limit", "step"),
    [
        ("0", 100, None),
        ("79.999999", 100, None),
        ("80", 100, 80),
        ("99.999999", 100, 80),
        ("100", 100, 100),
        ("250", 100, 100),
        ("0.99", 1, None),
        ("1", 1, 100),
        ("799", 999, None),
        ("800", 999, 80),
    ],
)
def test_a_step_is_reached_by_whole_units_only(used: str, limit: int, step: int | None) -> None:
    assert reached(Decimal(used), limit) == step


def test_who_is_at_the_limit_is_not_told_of_four_fifths() -> None:
    assert letter_due(Decimal(120), 100, ()) == 100
    assert letter_due(Decimal(120), 100, {100}) is None


def test_a_raised_limit_makes_no_second_letter_of_one_step() -> None:
    assert letter_due(Decimal(100), 120, {80, 100}) is None
    assert letter_due(Decimal(100), 120, {100}) == 80
    assert letter_due(Decimal(120), 120, {80, 100}) is None


@given(uses=st.lists(amounts, max_size=30), limits=st.lists(st.integers(1, 1500), min_size=1, max_size=30))
def test_in_a_month_each_step_has_at_most_one_letter_and_none_is_untrue(uses: list[Decimal], limits: list[int]) -> None:
    told: list[int] = []
    for place, used in enumerate(accumulate(uses)):
        limit = limits[place % len(limits)]
        step = letter_due(used, limit, told)
        if step is not None:
            assert percent(used, limit) >= step
            assert step == 100 or used < limit
            told.append(step)
        elif percent(used, limit) >= 100:
            assert 100 in told
    assert len(told) == len(set(told)) <= len(STEPS)


@given(used=amounts, limit=st.integers(1, 2000))
def test_a_hundred_is_said_only_when_it_is_true(used: Decimal, limit: int) -> None:
    assert (percent(used, limit) >= 100) == (used >= limit)
    assert whole(used) <= used


@given(
    at=st.datetimes(datetime(2001, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - hypothesis adds it
    zone=st.sampled_from(
        ["UTC", "Asia/Kolkata", "America/New_York", "Pacific/Apia", "America/Asuncion", "Europe/Berlin"]
    ),
)
def test_months_follow_one_another_without_gap_or_overlap(at: datetime, zone: str) -> None:
    month = month_of(at, zone)
    assert month.start <= at < month.end
    assert month_typed(month.name, zone) == month
    following = month_of(month.end, zone)
    assert following.start == month.end
    assert month_of(month.start - timedelta(microseconds=1), zone).end == month.start


@pytest.mark.parametrize("text", ["", "2026", "2026-13", "26-11", "2026-1", "November", "1999-12", "2201-01"])
def test_what_is_no_month_is_told(text: str) -> None:
    with pytest.raises(ValueError, match=r"2026-10|2000 to 2200"):
        month_typed(text, "UTC")
