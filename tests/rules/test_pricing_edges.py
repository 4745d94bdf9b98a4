"""One less, exactly, one more: at each edge of packages, tiers, included units, minimum and cap."""

from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from jobs.rules.pricing import Rated, Terms, Tier, amount, quote

START, END = datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC)
CURRENCIES = ("jpy", "usd", "kwd")
THREE = (
    Tier(up_to=10, unit_price=Decimal(7), flat_fee=3),
    Tier(up_to=20, unit_price=Decimal("6.5"), flat_fee=20),
    Tier(up_to=None, unit_price=Decimal(6), flat_fee=40),
)


def used(terms: Terms, units: str, name: str = "search") -> Rated:
    return quote(terms, {name: Decimal(units)}, START, END)


@pytest.mark.parametrize("currency", CURRENCIES)
@pytest.mark.parametrize(
    ("rounding", "size", "units", "packages"),
    [
        ("exact", 1000, "999", "0.999"),
        ("exact", 1000, "1000", "1"),
        ("exact", 1000, "1001", "1.001"),
        ("exact", 7, "6", "6/7"),
        ("exact", 7, "8", "8/7"),
        ("up", 1000, "0.000001", "1"),
        ("up", 1000, "999", "1"),
        ("up", 1000, "1000", "1"),
        ("up", 1000, "1000.000001", "2"),
        ("up", 1000, "1001", "2"),
        ("up", 1, "2", "2"),
        ("down", 1000, "999", "0"),
        ("down", 1000, "999.999999", "0"),
        ("down", 1000, "1000", "1"),
        ("down", 1000, "1001", "1"),
        ("down", 1000, "1999", "1"),
        ("down", 1, "2.5", "2"),
    ],
)
def test_packages(currency: str, rounding: Any, size: int, units: str, packages: str) -> None:
    for model in ("per_request", "hybrid"):
        terms = Terms(
            model=model,
            currency=currency,
            per_1000_requests=Decimal(5000),
            package_size=size,
            package_rounding=rounding,
        )
        (line,) = used(terms, units).lines
        exact = 5000 * Fraction(packages)
        assert line.amount == (exact if exact.denominator == 1 else int(exact + Fraction(1, 2)))
        assert line.unit == ("request" if rounding == "exact" else "package")


@pytest.mark.parametrize("currency", CURRENCIES)
@pytest.mark.parametrize(
    ("units", "graduated", "volume"),
    [
        ("0", [3], [3]),
        ("1", [7, 3], [7, 3]),
        ("9", [63, 3], [63, 3]),
        ("10", [70, 3], [70, 3]),
        ("10.5", [70, 3, 3, 20], [68, 20]),  # 3.25, and 68.25
        ("11", [70, 3, 7, 20], [72, 20]),  # 6.5, and 71.5: halves go away from zero
        ("19", [70, 3, 59, 20], [124, 20]),  # 58.5, and 123.5
        ("20", [70, 3, 65, 20], [130, 20]),
        ("21", [70, 3, 65, 20, 6, 40], [126, 40]),
        ("1000000", [70, 3, 65, 20, 5_999_880, 40], [6_000_000, 40]),
    ],
)
def test_tiers(currency: str, units: str, graduated: list[int], volume: list[int]) -> None:
    terms = Terms(model="tiered", currency=currency, tiers=THREE)
    assert [line.amount for line in used(terms, units).lines] == graduated
    by_volume = Terms(model="tiered", currency=currency, tiers=THREE, tier_mode="volume")
    assert [line.amount for line in used(by_volume, units).lines] == volume


@pytest.mark.parametrize("currency", CURRENCIES)
@pytest.mark.parametrize(
    ("model", "name"), [("per_deed", "deed.created"), ("per_request", "search"), ("hybrid", "search"), ("tiered", "x")]
)
@pytest.mark.parametrize(
    ("units", "charged"), [("0", "0"), ("99", "0"), ("100", "0"), ("100.5", "0.5"), ("101", "1"), ("250", "150")]
)
def test_included_units(currency: str, model: Any, name: str, units: str, charged: str) -> None:
    terms = Terms(
        model=model,
        currency=currency,
        per_deed_price=Decimal(10),
        per_1000_requests=Decimal(0 if model == "tiered" else 10),
        tiers=(Tier(up_to=None, unit_price=Decimal(10)),) if model == "tiered" else (),
        package_size=1,
        included_units=100,
    )
    rated = used(terms, units, name)
    assert rated.subtotal == 10 * Decimal(charged)
    assert [line.quantity for line in rated.lines if line.kind == "included"] == [
        min(Decimal(units), Decimal(100)) for _ in range(units != "0")
    ]


def test_a_hybrids_deeds_are_not_among_the_included_units() -> None:
    terms = Terms(model="hybrid", currency="usd", per_deed_price=Decimal(10), included_units=100)
    assert used(terms, "5", "deed.created").subtotal == 50


@pytest.mark.parametrize("currency", CURRENCIES)
@pytest.mark.parametrize(
    ("deeds", "kinds", "subtotal"),
    [
        ("99", ["flat_fee", "deeds", "minimum"], 1100),
        ("100", ["flat_fee", "deeds"], 1100),
        ("101", ["flat_fee", "deeds"], 1110),
        ("199", ["flat_fee", "deeds"], 2090),
        ("200", ["flat_fee", "deeds"], 2100),
        ("201", ["flat_fee", "deeds", "cap"], 2100),
    ],
)
def test_minimum_and_cap(currency: str, deeds: str, kinds: list[str], subtotal: int) -> None:
    terms = Terms(
        model="per_deed",
        currency=currency,
        monthly_flat_fee=100,
        per_deed_price=Decimal(10),
        minimum_commitment=1100,
        cap=2100,
    )
    rated = used(terms, deeds, "deed.created")
    assert ([line.kind for line in rated.lines], rated.subtotal) == (kinds, subtotal)


def test_a_cap_below_the_minimum_which_no_contract_may_have_still_holds() -> None:
    terms = Terms(model="flat", currency="usd", monthly_flat_fee=1, minimum_commitment=20, cap=10)
    rated = used(terms, "1")
    assert [(line.kind, line.amount) for line in rated.lines] == [("flat_fee", 1), ("minimum", 19), ("cap", -10)]


@pytest.mark.parametrize(
    ("minor", "currency", "told"),
    [
        ("0", "usd", "0.00 USD"),
        (5, "usd", "0.05 USD"),
        (-123456, "usd", "-1,234.56 USD"),
        (Decimal("0.05"), "usd", "0.0005 USD"),
        (Decimal("10.50"), "usd", "0.105 USD"),
        (1234, "jpy", "1,234 JPY"),
        (Decimal("0.5"), "jpy", "0.5 JPY"),
        (Decimal("1E+3"), "jpy", "1,000 JPY"),
        (1005, "kwd", "1.005 KWD"),
        (10**15, "usd", "10,000,000,000,000.00 USD"),
        (Decimal("999999999999999.999999999999"), "kwd", "999,999,999,999.999999999999999 KWD"),
    ],
)
def test_amounts_are_written_exactly(minor: Any, currency: str, told: str) -> None:
    assert amount(minor, currency) == told
