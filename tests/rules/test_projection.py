"""A projection goes on as things went so far, and ends where the month does."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from jobs.rules.pricing_terms import Part, Terms
from jobs.rules.projection import projected

START, END = datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)
DAY = timedelta(days=1)
TERMS = Terms(model="per_request", currency="eur")


def part(start: datetime, end: datetime, **usage: int) -> Part:
    return Part(terms=TERMS, start=start, end=end, usage={name: Decimal(units) for name, units in usage.items()})


def test_ten_days_of_thirty_are_a_third() -> None:
    (found,) = projected([part(START, END, call=100, deed=1)], START, END, START + 10 * DAY)
    assert found.usage == {"call": Decimal(300), "deed": Decimal(3)}


def test_a_period_that_is_over_or_has_not_begun_is_as_it_is() -> None:
    parts = (part(START, END, call=100),)
    for now in (START - DAY, START, END, END + DAY):
        assert projected(parts, START, END, now) == parts


def test_what_comes_falls_on_the_parts_that_are_still_to_come() -> None:
    parts = [
        part(START, START + 5 * DAY, call=50),
        part(START + 5 * DAY, START + 20 * DAY, call=50),
        part(START + 20 * DAY, END),
    ]
    found = projected(parts, START, END, START + 10 * DAY)
    assert [one.usage.get("call") for one in found] == [Decimal(50), Decimal(150), Decimal(100)]


@given(units=st.decimals(0, 10**9, places=6), seconds=st.integers(1, 30 * 86400 - 1))
def test_a_projection_is_never_less_than_what_was_used(units: Decimal, seconds: int) -> None:
    now = START + timedelta(seconds=seconds)
    (found,) = projected([Part(terms=TERMS, start=START, end=END, usage={"call": units})], START, END, now)
    assert found.usage["call"] >= units
    assert abs(found.usage["call"] * seconds - units * 30 * 86400) <= Decimal("0.000001") * seconds
