"""Whatever is charged can be told: each line has a text, and an explanation that ends in its amount."""

import string
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from jobs.rules.pricing import (
    AMOUNTS,
    TEXTS,
    Part,
    RatedLine,
    Terms,
    Tier,
    adjustment,
    amount,
    described,
    explain,
    rate,
    text,
)
from jobs.rules.pricing_words import counted

TIMES = "\N{MULTIPLICATION SIGN}"
START, END = datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC)
TIERS = (Tier(up_to=10, unit_price=Decimal(7)), Tier(up_to=None, unit_price=Decimal(6), flat_fee=5))
USAGE = {"deed": Decimal(12), "search": Decimal(30)}


def lines() -> list[RatedLine]:
    """One of every kind, whole and prorated."""
    common: dict[str, Any] = {"currency": "usd", "monthly_flat_fee": 100, "included_units": 2}
    some = [
        Terms(model="per_deed", per_deed_price=Decimal(10), minimum_commitment=5000, **common),
        Terms(model="per_request", per_1000_requests=Decimal(9), cap=99, **common),
        Terms(model="per_request", per_1000_requests=Decimal(9), package_rounding="up", **common),
        Terms(model="tiered", tiers=TIERS, **common),
        Terms(model="tiered", tiers=TIERS, tier_mode="volume", **common),
    ]
    made: list[RatedLine] = []
    for terms in some:
        for end in (END, END - timedelta(days=16)):
            made += rate(START, END, 1, [Part(terms=terms, start=START, end=end, usage=USAGE)]).lines
    return [*made, adjustment(START, END, currency="usd", before=1, now=5)]


def test_every_text_is_used_and_told_with_the_very_numbers_that_it_names() -> None:
    seen: set[str] = set()
    for line in lines():
        key, told = described(line)
        seen.add(key)
        assert set(told) == {name for _, name, _, _ in string.Formatter().parse(TEXTS[key]) if name}
        assert "{" not in text(line)
    assert seen == set(TEXTS)
    assert {"minimum", "cap"} == AMOUNTS


def test_an_explanation_ends_in_the_amount() -> None:
    for line in lines():
        reckoned, _, came = explain(line).rpartition(" = ")
        assert reckoned
        assert came == amount(line.amount, "usd")


def test_a_fee_whose_share_is_not_what_one_would_reckon_says_so() -> None:
    """Two halves of 5 are 3 and 2."""
    middle = START + (END - START) / 2
    halves = [
        Part(
            terms=Terms(model="flat", currency="usd", monthly_flat_fee=5, cap=cap),
            start=start,
            end=end,
            usage=dict[str, Decimal](),
        )
        for cap, start, end in ((8, START, middle), (9, middle, END))
    ]
    assert [explain(line) for line in rate(START, END, 1, halves).lines] == [
        f"0.05 USD a month {TIMES} 372 of 744 hours = 0.03 USD",
        f"0.05 USD a month {TIMES} 372 of 744 hours, divided without losing anything = 0.02 USD",
    ]


def test_an_adjustment_tells_both_sums() -> None:
    line = adjustment(START, END, currency="usd", before=1000, now=850)
    assert explain(line) == "8.50 USD with all that is known now - 10.00 USD before = -1.50 USD"
    assert text(line) == "Usage reported late"


def test_one_is_no_plural() -> None:
    assert [counted(number, "line") for number in (0, 1, 1_234)] == ["0 lines", "1 line", "1,234 lines"]
