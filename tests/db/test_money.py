"""No cent is lost or made, whatever is divided by whatever."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.money import CurrencyMismatch, Money, allocate, decimals, rounded

AMOUNTS = st.integers(-(10**12), 10**12)
WEIGHTS = st.lists(st.integers(0, 10**9), min_size=1, max_size=20).filter(any)


@given(total=AMOUNTS, weights=WEIGHTS)
def test_parts_add_up_to_the_whole(total: int, weights: list[int]) -> None:
    assert sum(allocate(total, weights)) == total


@given(total=AMOUNTS, weights=WEIGHTS)
def test_no_part_is_further_than_one_unit_from_its_exact_share(total: int, weights: list[int]) -> None:
    for part, weight in zip(allocate(total, weights), weights, strict=True):
        assert abs(part - Fraction(total * weight, sum(weights))) < 1


@given(total=AMOUNTS, weights=WEIGHTS)
def test_a_credit_is_divided_as_the_mirror_of_a_charge(total: int, weights: list[int]) -> None:
    assert allocate(-total, weights) == [-part for part in allocate(total, weights)]


def test_the_largest_remainder_gets_the_odd_cent_and_a_tie_the_first() -> None:
    assert allocate(100, [1, 1, 1]) == [34, 33, 33]
    assert allocate(10, [1, 6, 3]) == [1, 6, 3]
    assert allocate(11, [10, 25, 65]) == [1, 3, 7]


@pytest.mark.parametrize("weights", [[], [0], [0, 0], [1, -1], [3, -1]])
def test_impossible_weights_are_refused(weights: list[int]) -> None:
    with pytest.raises(ValueError, match="weights must not be"):
        allocate(1, weights)


@pytest.mark.parametrize(
    ("value", "expected"),
    [("1/2", 1), ("-1/2", -1), ("1/3", 0), ("2/3", 1), ("5/2", 3), ("-5/2", -3), ("0", 0), ("7", 7), ("-7/3", -2)],
)
def test_a_half_goes_away_from_zero(value: str, expected: int) -> None:
    assert rounded(Fraction(value)) == expected


@given(value=st.fractions())
def test_rounding_is_symmetric_and_near(value: Fraction) -> None:
    assert rounded(-value) == -rounded(value)
    assert abs(rounded(value) - value) <= Fraction(1, 2)


@given(minor=AMOUNTS, part=st.integers(0, 10**9), whole=st.integers(1, 10**9))
def test_a_share_and_its_rest_add_up(minor: int, part: int, whole: int) -> None:
    money = Money(minor, "usd")
    share = money.share(part, whole)
    assert share + (money - share) == money


def test_money_reckons_within_one_currency_only() -> None:
    one, two = Money(150, "usd"), Money(250, "usd")
    assert one + two == Money(400, "usd")
    assert two - one == Money(100, "usd")
    assert -one == Money(-150, "usd")
    assert one < two
    assert one <= two
    assert not two <= one
    assert two.split([1, 1, 1]) == [Money(84, "usd"), Money(83, "usd"), Money(83, "usd")]
    with pytest.raises(CurrencyMismatch, match="usd and eur"):
        _ = one + Money(1, "eur")


@pytest.mark.parametrize(("currency", "digits"), [("usd", 2), ("JPY", 0), ("kwd", 3), ("huf", 2), ("xyz", 2)])
def test_currencies_have_their_digits(currency: str, digits: int) -> None:
    assert decimals(currency) == digits
