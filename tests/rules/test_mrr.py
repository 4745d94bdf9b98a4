"""What a subscription is worth in a month: to the cent, with discounts, intervals and what we do not know."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.rules.mrr import Coupon, Discount, Item, Mrr, measure, monthly

NOW = datetime(2026, 3, 1, tzinfo=UTC)
LATER = NOW + timedelta(days=30)
CO_1 = ("co_1", "", False)
CO_C = ("co_c", "", False)


def item(amount: str | None = "1000", **changes: Any) -> Item:
    told: dict[str, Any] = {"currency": "usd"}
    return Item(unit_amount=None if amount is None else Decimal(amount), **(told | changes))


def worth(*items: Item, **changes: Any) -> Mrr:
    told: dict[str, Any] = {
        "status": "active",
        "items": items or (item(),),
        "discount_ids": (),
        "customer_discount_ids": (),
        "discounts": {},
        "coupons": {},
        "at": NOW,
    }
    return measure(**(told | changes))


def discounted(coupon: Coupon | None, *items: Item, end: datetime | None = None, **changes: Any) -> Mrr:
    told: dict[str, Any] = {
        "discount_ids": ["di_1"],
        "discounts": {"di_1": Discount("di_1", CO_1, end)},
        "coupons": {CO_1: coupon} if coupon is not None else {},
    }
    return worth(*items, **(told | changes))


@pytest.mark.parametrize(
    ("made", "cents"),
    [
        (item("1000"), 1000),
        (item("1000", quantity=3), 3000),
        (item("1000", quantity=None), 1000),
        (item("1000", quantity=0), 0),
        (item("12000", interval="year"), 1000),
        (item("24000", interval="year", interval_count=2), 1000),
        (item("3000", interval_count=3), 1000),
        (item("1200", interval="week"), 5200),
        (item("1200", interval="week", interval_count=2), 2600),
        (item("120", interval="day"), 3650),
        (item("1000", interval_count=None), 1000),
        (item("1000", interval="year"), 83),
        (item("1002", interval="year"), 84),
        (item("0.5", quantity=3), 2),
        (item("0.000381", quantity=1_000_000), 381),
        (item("1000", metered=True), 0),
        (item(None, metered=True), 0),
        (item("500", quantity=25, divide_by=10, divide_up=True), 1500),
        (item("500", quantity=25, divide_by=10), 1000),
        (item("500", quantity=20, divide_by=10, divide_up=True), 1000),
    ],
)
def test_an_amount_is_normalised_to_a_month(made: Item, cents: int) -> None:
    assert worth(made) == Mrr(cents)


@pytest.mark.parametrize(
    ("status", "cents"),
    [
        ("active", 1000),
        ("past_due", 1000),
        ("trialing", 0),
        ("incomplete", 0),
        ("incomplete_expired", 0),
        ("unpaid", 0),
        ("paused", 0),
        ("canceled", 0),
        ("a_status_of_2030", 0),
    ],
)
def test_only_active_and_past_due_count(status: str, cents: int) -> None:
    assert worth(status=status).cents == cents


def test_items_are_added_before_the_one_rounding() -> None:
    third = item("100", interval_count=3)
    assert worth(third, third, third).cents == 100


@pytest.mark.parametrize(
    "unknown", [item(None), item("5", tiered=True), item("5", interval=None), item("5", interval="fortnight")]
)
def test_what_has_no_price_that_we_know_is_left_out_and_said(unknown: Item) -> None:
    found = worth(item(), unknown)
    assert (found.cents, found.unpriced, found.incomplete) == (1000, True, True)


def test_a_cut_off_list_of_items_is_said() -> None:
    assert worth(complete=False).incomplete


@pytest.mark.parametrize(
    ("coupon", "cents"),
    [
        (Coupon("forever", percent_off=Decimal("25.5")), 745),
        (Coupon("repeating", percent_off=Decimal(10)), 900),
        (Coupon("once", percent_off=Decimal(10)), 1000),
        (Coupon("forever", amount_off=300, currency="usd"), 700),
        (Coupon("forever", amount_off=300, currency="eur"), 1000),
        (Coupon("forever", amount_off=5000, currency="usd"), 0),
        (Coupon("forever", percent_off=Decimal(100)), 0),
        (Coupon("forever"), 1000),
    ],
)
def test_a_discount_lowers_it_while_it_lasts(coupon: Coupon, cents: int) -> None:
    assert discounted(coupon) == Mrr(cents)


def test_an_amount_off_is_per_invoice() -> None:
    coupon = Coupon("forever", amount_off=1200, currency="usd")
    assert discounted(coupon, item("12000", interval="year")).cents == 900


def test_a_repeating_discount_ends_and_says_when() -> None:
    coupon = Coupon("repeating", percent_off=Decimal(10))
    assert discounted(coupon, end=LATER) == Mrr(900, changes_at=LATER)
    assert discounted(coupon, end=NOW) == Mrr(1000)


def test_a_deleted_discount_applies_no_longer() -> None:
    coupon = Coupon("forever", percent_off=Decimal(10))
    gone = {"di_1": Discount("di_1", CO_1, deleted_at=NOW)}
    assert discounted(coupon, discounts=gone) == Mrr(1000)
    assert discounted(coupon, discounts={"di_1": Discount("di_1", CO_1, deleted_at=LATER)}) == Mrr(900)


def test_while_a_coupon_or_discount_is_unknown_it_is_undiscounted_and_says_so() -> None:
    found = discounted(None)
    assert (found.cents, found.unknown_coupons, found.incomplete) == (1000, {CO_1}, True)
    found = discounted(None, discounts={})
    assert (found.cents, found.unknown_discounts, found.incomplete) == (1000, {"di_1"}, True)
    found = discounted(None, discounts={"di_1": Discount("di_1", None)})
    assert found.unknown_discounts == {"di_1"}


def test_a_customers_discount_applies_only_where_the_subscription_has_none() -> None:
    discounts = {"di_1": Discount("di_1", CO_1), "di_c": Discount("di_c", CO_C)}
    coupons = {CO_1: Coupon("forever", percent_off=Decimal(10)), CO_C: Coupon("forever", percent_off=Decimal(50))}
    both: dict[str, Any] = {"discounts": discounts, "coupons": coupons, "customer_discount_ids": ["di_c"]}
    assert worth(discount_ids=["di_1"], **both).cents == 900
    assert worth(discount_ids=[], **both).cents == 500


def test_discounts_apply_one_after_the_other() -> None:
    discounts = {"a": Discount("a", CO_1), "b": Discount("b", CO_C)}
    coupons = {
        CO_1: Coupon("forever", percent_off=Decimal(50)),
        CO_C: Coupon("forever", amount_off=200, currency="usd"),
    }
    assert worth(discount_ids=["a", "b"], discounts=discounts, coupons=coupons).cents == 300
    assert worth(discount_ids=["b", "a"], discounts=discounts, coupons=coupons).cents == 400


def test_an_items_own_discount_lowers_only_that_item() -> None:
    coupons = {CO_1: Coupon("forever", percent_off=Decimal(50))}
    discounts = {"di_1": Discount("di_1", CO_1)}
    found = worth(item(discounts=("di_1",)), item("400"), discounts=discounts, coupons=coupons)
    assert found.cents == 900


def test_a_subscription_of_metered_items_only_is_worth_nothing() -> None:
    assert discounted(Coupon("forever", percent_off=Decimal(10)), item(metered=True)) == Mrr(0)


ITEMS = st.builds(
    item,
    st.integers(0, 10**7).map(str),
    quantity=st.integers(0, 1000),
    interval=st.sampled_from(["day", "week", "month", "year"]),
    interval_count=st.integers(1, 12),
)


@given(made=ITEMS, percent=st.decimals(0, 100, places=2))
def test_a_percentage_lies_between_nothing_and_all(made: Item, percent: Decimal) -> None:
    full = worth(made).cents
    assert 0 <= discounted(Coupon("forever", percent_off=percent), made).cents <= full


@given(made=ITEMS)
def test_the_worth_is_within_half_a_cent_of_the_exact_one(made: Item) -> None:
    exact = monthly(made)
    assert exact is not None
    assert abs(worth(made).cents - exact) <= Fraction(1, 2)


@given(amount=st.integers(0, 10**9), count=st.integers(1, 36))
def test_n_months_at_n_times_the_price_are_worth_the_same(amount: int, count: int) -> None:
    assert worth(item(str(amount * count), interval_count=count)) == worth(item(str(amount)))


@given(items=st.lists(ITEMS, min_size=1, max_size=5), seed=st.randoms())
def test_the_order_of_items_does_not_matter(items: list[Item], seed: Any) -> None:
    shuffled = list(items)
    seed.shuffle(shuffled)
    assert worth(*items) == worth(*shuffled)
