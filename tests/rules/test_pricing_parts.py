"""A period in which a contract begins, ends, pauses or changes its prices: what holds when is charged when it holds."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from jobs.rules.pricing import Part, Rated, Terms, Tier, adjustment, rate

START, END = datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC)
BY_REQUEST = Terms(model="per_request", currency="usd", per_1000_requests=Decimal(10), package_size=1)
NOON = START + timedelta(hours=12)
PLAIN = Terms(model="flat", currency="usd", monthly_flat_fee=100)
WHOLE = Part(terms=PLAIN, start=START, end=END, usage={})


def tiered(*tiers: tuple[int | None, str, int], **more: Any) -> Terms:
    made = tuple(Tier(up_to=up_to, unit_price=Decimal(price), flat_fee=fee) for up_to, price, fee in tiers)
    return Terms(model="tiered", currency="usd", tiers=made, **more)


def test_versions_that_include_other_units_count_apart() -> None:
    middle = START + timedelta(days=10)
    parts = [
        Part(terms=replace(BY_REQUEST, included_units=31), start=START, end=middle, usage={"x": Decimal(12)}),
        Part(terms=replace(BY_REQUEST, included_units=62), start=middle, end=END, usage={"x": Decimal(41)}),
    ]
    assert [(line.kind, line.quantity, line.amount) for line in rate(START, END, 1, parts).lines] == [
        ("included", Decimal(10), 0),
        ("requests", Decimal(2), 20),
        ("included", Decimal(41), 0),
    ]


def test_what_another_version_began_is_not_counted_by_the_next_where_prices_differ() -> None:
    old = tiered((10, "10", 100), (None, "5", 0))
    middle = START + timedelta(days=10)
    parts = [
        Part(terms=old, start=START, end=middle, usage={"x": Decimal(10)}),
        Part(terms=tiered((10, "8", 50), (None, "5", 0)), start=middle, end=END, usage={"x": Decimal(10)}),
    ]
    rated = rate(START, END, 1, parts)
    assert [(line.part, line.amount, line.start, line.end) for line in rated.lines] == [
        (0, 100, START, middle),
        (0, 100, START, middle),
        (1, 80, middle, END),
        (1, 50, middle, END),
    ]


def test_a_pause_is_not_charged_and_does_not_begin_the_count_anew() -> None:
    terms = tiered((10, "10", 0), (None, "5", 0), monthly_flat_fee=3100)
    ten, twenty = START + timedelta(days=10), START + timedelta(days=20)
    parts = [
        Part(terms=terms, start=START, end=ten, usage={"x": Decimal(10)}),
        Part(terms=terms, start=twenty, end=END, usage={"x": Decimal(10)}),
    ]
    rated = rate(START, END, 1, parts)
    assert [line.amount for line in rated.lines] == [2100, 100, 50]
    assert rated.lines[0].facts["share"] == "21/31"


def test_a_month_in_which_the_clocks_change_is_divided_by_its_seconds() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    start, end = (datetime(2026, month, 1, tzinfo=berlin).astimezone(UTC) for month in (10, 11))
    middle = datetime(2026, 10, 26, tzinfo=berlin).astimezone(UTC)  # 25 days and an hour
    terms = Terms(model="flat", currency="usd", monthly_flat_fee=74_500)
    (line,) = rate(start, end, 1, [Part(terms=terms, start=start, end=middle, usage={})]).lines
    assert (line.amount, line.facts["share"], line.facts["share_unit"]) == (60_100, "601/745", "hours")
    odd = rate(start, end, 1, [Part(terms=terms, start=start, end=middle + timedelta(seconds=1), usage={})])
    assert odd.lines[0].facts["share_unit"] == "seconds"


def test_without_parts_there_is_nothing() -> None:
    assert rate(START, END, 1, []) == Rated(lines=(), subtotal=0)


def test_a_closed_period_is_set_right_by_the_difference() -> None:
    line = adjustment(START, END, currency="usd", before=1000, now=850)
    assert (line.kind, line.amount, line.start, line.end) == ("adjustment", -150, START, END)


@pytest.mark.parametrize(
    ("start", "end", "months", "parts", "why"),
    [
        (START.replace(tzinfo=None), END, 1, [], "time zone"),
        (START, END + timedelta(microseconds=1), 1, [], "whole seconds"),
        (END, START, 1, [], "end after its start"),
        (START, END, 0, [], "months"),
        (NOON, END, 1, [WHOLE], "within the period"),
        (START, NOON, 1, [WHOLE], "within the period"),
        (START, END, 1, [replace(WHOLE, start=END)], "not empty"),
        (START, END, 1, [WHOLE, replace(WHOLE, start=NOON)], "one after the other"),
        (
            START,
            END,
            1,
            [replace(WHOLE, end=NOON), replace(WHOLE, start=NOON, terms=replace(PLAIN, currency="eur"))],
            "eur and usd",
        ),
        (START, END, 1, [replace(WHOLE, usage={"x": Decimal(-1)})], "from 0 on"),
        (START, END, 1, [replace(WHOLE, usage={"x": Decimal("NaN")})], "from 0 on"),
        (START, END, 1, [replace(WHOLE, terms=Terms(model="tiered", currency="usd"))], "has tiers"),
    ],
)
def test_what_cannot_be_one_invoice_is_refused(start: Any, end: Any, months: int, parts: list[Part], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        rate(start, end, months, parts)
