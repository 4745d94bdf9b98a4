"""A price list that is wrong is told as a whole, each field by its name; one that is right is let pass."""

from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

from jobs.rules.pricing import Part, Terms, Tier, problems, quote, rate, unused

ENDLESS = Tier(up_to=None, unit_price=Decimal(5))
GOOD: dict[str, dict[str, Any]] = {
    "flat": {"monthly_flat_fee": 100},
    "per_deed": {"per_deed_price": Decimal("2.5"), "included_units": 10},
    "per_request": {"per_1000_requests": Decimal(50), "package_size": 500, "package_rounding": "up"},
    "hybrid": {"per_deed_price": Decimal(250), "per_1000_requests": Decimal(50)},
    "tiered": {"tiers": (Tier(up_to=10, flat_fee=5), Tier(up_to=20, unit_price=Decimal(1)), ENDLESS)},
}


def terms(model: Any, **more: Any) -> Terms:
    fields: dict[str, Any] = {"model": model, "currency": "usd"} | GOOD[model] | more
    return Terms(**fields)


def of(model: Any, **more: Any) -> list[str]:
    """All that somebody who types it is told."""
    found = terms(model, **more)
    return [*problems(found), *unused(found)]


@pytest.mark.parametrize("model", GOOD)
@pytest.mark.parametrize("currency", ["usd", "jpy", "kwd"])
def test_a_good_one_is_let_pass(model: str, currency: str) -> None:
    limits = {"minimum_commitment": 200, "cap": 200, "discount_percent": Decimal("12.5")}
    assert of(model, currency=currency) == of(model, currency=currency, **limits) == []


@pytest.mark.parametrize("percent", [Decimal(0), Decimal(100), None])
def test_a_discount_is_anything_from_nothing_to_all(percent: Decimal | None) -> None:
    assert of("flat", discount_percent=percent) == []


def test_a_hybrid_may_have_tiers_for_its_requests() -> None:
    assert of("hybrid", per_1000_requests=Decimal(0), tiers=(ENDLESS,)) == []


@pytest.mark.parametrize(
    "prices",
    [
        {"per_deed_price": Decimal(0)},
        {"per_1000_requests": Decimal(0)},
        {"per_deed_price": Decimal(0), "per_1000_requests": Decimal(0), "tiers": (ENDLESS,)},
    ],
)
def test_the_fee_of_a_hybrid_may_pay_for_deeds_or_for_requests(prices: dict[str, Any]) -> None:
    assert of("hybrid", monthly_flat_fee=4_900, **prices) == []
    assert problems(terms("hybrid", **prices)) == []


@pytest.mark.parametrize("model", GOOD)
def test_prices_that_are_never_charged_change_no_amount(model: str) -> None:
    """They may stand in a row that is there: the amount is the same, also where a later version has others."""
    used = {"deed.created": Decimal(30), "api.request": Decimal(2_345)}
    edges = [datetime(2026, 10, day, tzinfo=UTC) for day in (1, 11)] + [datetime(2026, 11, 1, tzinfo=UTC)]
    plain = terms(model)
    all_prices = {"per_deed_price": Decimal(7), "per_1000_requests": Decimal(70), "tiers": (ENDLESS,)}
    needed = {*GOOD[model], *({"tiers"} if model == "hybrid" else ())}
    idle = {name: price for name, price in all_prices.items() if name not in needed}
    full = terms(model, **idle)
    assert problems(full) == []
    assert [line.partition(":")[0] for line in unused(full)] == [
        {"per_1000_requests": "per_1000_requests_cents", "per_deed_price": "per_deed_price_cents"}.get(name, name)
        for name in idle
    ]
    assert quote(full, used, edges[0], edges[2]) == quote(plain, used, edges[0], edges[2])

    def parts(*versions: Terms) -> list[Part]:
        return [
            Part(terms=one, start=start, end=end, usage=used)
            for one, (start, end) in zip(versions, pairwise(edges), strict=True)
        ]

    assert rate(edges[0], edges[2], 1, parts(plain, full)) == rate(edges[0], edges[2], 1, parts(plain, plain))


@pytest.mark.parametrize(
    ("model", "more", "begins"),
    [
        ("flat", {"currency": "USD"}, "currency: 'USD' is none"),
        ("flat", {"currency": "xyz"}, "currency: 'xyz' is none"),
        ("flat", {"monthly_flat_fee": 0}, "monthly_flat_fee_cents is 0"),
        ("flat", {"monthly_flat_fee": -1}, "monthly_flat_fee_cents is -1: write 0 or more"),
        ("flat", {"monthly_flat_fee": 10**16}, "monthly_flat_fee_cents is beyond"),
        ("flat", {"per_deed_price": Decimal(1)}, "per_deed_price_cents: a flat contract never charges it"),
        ("flat", {"per_1000_requests": Decimal(1)}, "per_1000_requests_cents: a flat contract never charges it"),
        ("flat", {"tiers": (ENDLESS,)}, "tiers: a flat contract never charges by them"),
        ("flat", {"included_units": 1}, "included_units: the fee of a flat contract pays for all"),
        ("flat", {"package_rounding": "up"}, "package_rounding is up, but nothing"),
        ("flat", {"discount_percent": Decimal("100.1")}, "discount_percent is 100.1"),
        ("flat", {"discount_percent": Decimal(-1)}, "discount_percent is -1"),
        ("flat", {"discount_percent": Decimal("sNaN")}, "discount_percent is sNaN"),
        ("flat", {"cap": 99}, "cap_cents is 0.99 USD, less than monthly_flat_fee_cents, 1.00 USD"),
        (
            "flat",
            {"cap": 199, "minimum_commitment": 200},
            "cap_cents is 1.99 USD, less than minimum_commitment_cents, 2.00 USD",
        ),
        ("flat", {"minimum_commitment": -2}, "minimum_commitment_cents is -2"),
        ("per_deed", {"per_deed_price": Decimal(0)}, "per_deed_price_cents is 0, so that a per_deed contract"),
        ("per_deed", {"per_deed_price": Decimal("NaN")}, "per_deed_price_cents is no number"),
        ("per_deed", {"per_deed_price": Decimal("1e-13")}, "per_deed_price_cents has more than 12"),
        ("per_deed", {"included_units": -1}, "included_units is -1"),
        ("per_deed", {"deed_events": ()}, "deed_events: none is named"),
        ("per_deed", {"deed_events": ("", " ")}, "deed_events: none is named"),
        ("per_request", {"per_1000_requests": Decimal(0)}, "per_1000_requests_cents is 0"),
        ("per_request", {"package_size": 0}, "package_size is 0"),
        ("per_request", {"package_size": 10**16}, "package_size is 1"),
        ("hybrid", {"per_deed_price": Decimal(0)}, "per_deed_price_cents is 0, and there is no monthly_flat_fee_cents"),
        ("hybrid", {"per_1000_requests": Decimal(0)}, "per_1000_requests_cents is 0, and there is no monthly_flat"),
        (
            "hybrid",
            {"monthly_flat_fee": 5, "per_deed_price": Decimal(0), "per_1000_requests": Decimal(0)},
            "per_deed_price_cents and per_1000_requests_cents are 0",
        ),
        ("hybrid", {"tiers": (ENDLESS,)}, "per_1000_requests_cents: the tiers price the requests already"),
        ("tiered", {"tiers": ()}, "tiers: there are none"),
        ("tiered", {"package_rounding": "down"}, "package_rounding is down"),
        ("tiered", {"tiers": (Tier(up_to=None),)}, "tiers: none of them has a price"),
        ("tiered", {"tiers": (Tier(up_to=5, flat_fee=1),)}, "tiers[0].up_to is 5, so that more would have no price"),
        ("tiered", {"tiers": (ENDLESS, ENDLESS)}, "tiers[0].up_to is left out"),
        ("tiered", {"tiers": (Tier(up_to=0), ENDLESS)}, "tiers[0].up_to is 0"),
        ("tiered", {"tiers": (Tier(up_to=9), Tier(up_to=9), ENDLESS)}, "tiers[1].up_to is 9, which the tier before"),
        ("tiered", {"tiers": (Tier(up_to=9), Tier(up_to=8), ENDLESS)}, "tiers[1].up_to is 8, which the tier before"),
        ("tiered", {"tiers": (Tier(up_to=9, flat_fee=-1), ENDLESS)}, "tiers[0].flat_fee_cents is -1"),
        ("tiered", {"tiers": (Tier(up_to=None, unit_price=Decimal(-1)),)}, "tiers[0].unit_price_cents is -1"),
    ],
)
def test_each_mistake_is_told_by_itself(model: str, more: dict[str, Any], begins: str) -> None:
    (told,) = of(model, **more)
    assert told.startswith(begins)


def test_all_mistakes_are_told_at_once() -> None:
    told = of(
        "per_request", currency="", per_1000_requests=Decimal(0), per_deed_price=Decimal(9), cap=5, package_size=-1
    )
    assert [each.partition(" ")[0].rstrip(":") for each in told] == [
        "currency",
        "package_size",
        "per_1000_requests_cents",
        "per_deed_price_cents",
    ]
