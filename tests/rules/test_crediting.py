"""Credit notes about one invoice add up to it, and each bears its part of the tax, to the cent."""

from collections.abc import Callable
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from db.money import rounded
from jobs.rules.crediting import Group, Part, by_price, by_total, divide, nothing, on_top, rest, together
from jobs.rules.crediting import given as given_back

rates = st.sampled_from([0, 5, 7, 19, 20, 25, 27])


@st.composite
def groups(draw: st.DrawFn) -> Group:
    price, rate, contained = draw(st.integers(1, 5000)), draw(rates), draw(st.booleans())
    if contained:
        return Group(price, (rounded(Fraction(price * rate, 100 + rate)),), (False,))
    second = draw(st.sampled_from([None, 9, 10]))
    taxes = [rate] if second is None else [rate, second]
    return Group(price, tuple(rounded(Fraction(price * each, 100)) for each in taxes), (True,) * len(taxes))


@given(groups(), st.lists(st.integers(1, 2000), max_size=8), st.sampled_from([by_price, by_total]))
def test_notes_add_up_to_the_whole(group: Group, amounts: list[int], take: Callable[[Group, Part, int], Part]) -> None:
    by_prices = take is by_price
    taken = nothing(group)
    for wanted in amounts:
        left = rest(group, taken)
        have = left.price if by_prices else given_back(group, left)
        if have <= 0:
            break
        try:
            part = take(group, taken, min(wanted, have))
        except ValueError:
            assume(wanted < 3)  # too little for a price and two taxes
            continue
        assert (part.price if by_prices else given_back(group, part)) == min(wanted, have)
        assert all(each >= 0 for each in (part.price, *part.taxes))
        taken = together(taken, part)
        for tax, had in zip(group.taxes, taken.taxes, strict=True):
            base = (taken.price, group.price) if by_prices else (given_back(group, taken), group.total)
            assert abs(Fraction(tax * base[0], base[1]) - had) <= 1, "the tax goes with what was given back"
    left = rest(group, taken)
    if given_back(group, left) > 0:
        taken = together(taken, by_total(group, taken, given_back(group, left)))
    assert taken == Part(group.price, group.taxes)


@given(st.lists(groups(), min_size=1, max_size=4), st.integers(1, 10_000))
def test_an_amount_is_divided_by_what_is_left(all_: list[Group], amount: int) -> None:
    whole = sum(group.total for group in all_)
    amount = min(amount, whole)
    assume(amount > 3 * len(all_))
    taken = [nothing(group) for group in all_]
    parts = divide(all_, taken, amount)
    assert sum(given_back(group, part) for group, part in zip(all_, parts, strict=True)) == amount
    if amount == whole:
        assert parts == [Part(group.price, group.taxes) for group in all_]


def test_more_than_is_left_is_refused() -> None:
    group = Group(100, (20,), (True,))
    with pytest.raises(ValueError, match="121 is not between 1 and the 120"):
        by_total(group, nothing(group), 121)
    with pytest.raises(ValueError, match="101 is not between 1 and the 100"):
        by_price(group, nothing(group), 101)
    with pytest.raises(ValueError, match="121 is not between 1 and the 120"):
        divide([group], [nothing(group)], 121)
    with pytest.raises(ValueError, match="0 is not between"):
        by_total(group, nothing(group), 0)


def test_so_little_that_it_cannot_be_divided() -> None:
    group = Group(2, (2, 2), (True, True))
    with pytest.raises(ValueError, match="too little"):
        by_total(group, Part(1, (0, 0)), 1)


def test_what_gives_back_nothing_takes_nothing() -> None:
    group, none = Group(100, (19,), (True,)), Group(0)
    assert divide([none, group], [nothing(none), nothing(group)], 119) == [Part(0), Part(100, (19,))]
    assert on_top(Group(100, (16,), (False,)), (16,)) == 0
