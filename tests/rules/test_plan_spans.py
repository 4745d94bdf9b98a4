"""Which plan a subscriber had when: by the second, at plan changes, pauses, new prices and several subscriptions."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.rules.plan_spans import Plan, SeveralCurrencies, Span, State, included, spans, together

START, END = datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)
DAY = timedelta(days=1)
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


def plan(
    price: str = "small", units: int = 1000, cents: int = 200, *, since: date = date(2026, 1, 1), **more: str
) -> Plan:
    return Plan(
        ids=(hash((price, since)) % 1000,),
        stripe_price_id=price,
        valid_from=since,
        currency=more.get("currency", "eur"),
        included_units=units,
        package_size=1000,
        package_price_cents=cents,
        package_rounding="exact",
        tax_name="VAT",
        tax_percent=Decimal(19),
    )


SMALL, LARGE = plan(), plan("large", 5000, 100)
PLANS = [SMALL, LARGE]


def state(at: datetime, price: str | None = "small", status: str = "active", subscription: str = "sub_1") -> State:
    return State(subscription, at, status, price)


def test_a_plan_holds_for_the_whole_month() -> None:
    assert spans([state(LONG_AGO)], PLANS, START, END, "UTC") == (Span(START, END, SMALL),)


def test_a_change_of_plan_divides_the_month_at_its_second() -> None:
    at = START + 10 * DAY + timedelta(seconds=7)
    found = spans([state(LONG_AGO), state(at, "large")], PLANS, START, END, "UTC")
    assert found == (Span(START, at, SMALL), Span(at, END, LARGE))
    assert included(found, START, END) == 334 + 3334  # a begun unit is given whole, in each of the two


def test_what_begins_within_the_month_includes_its_share() -> None:
    found = spans([state(START + 15 * DAY)], PLANS, START, END, "UTC")
    assert found == (Span(START + 15 * DAY, END, SMALL),)
    assert included(found, START, END) == 500


@pytest.mark.parametrize(
    "status", ["canceled", "unpaid", "incomplete", "incomplete_expired", "paused", "something_new"]
)
def test_a_subscription_that_is_not_alive_has_no_plan(status: str) -> None:
    found = spans([state(LONG_AGO), state(START + 3 * DAY, status=status)], PLANS, START, END, "UTC")
    assert found == (Span(START, START + 3 * DAY, SMALL),)


def test_a_pause_leaves_a_gap_and_both_sides_count_together() -> None:
    course = [state(LONG_AGO), state(START + 10 * DAY, status="paused"), state(START + 20 * DAY)]
    found = spans(course, PLANS, START, END, "UTC")
    assert [(span.start, span.end) for span in found] == [(START, START + 10 * DAY), (START + 20 * DAY, END)]
    assert included(found, START, END) == 667


def test_a_state_that_changes_nothing_divides_nothing() -> None:
    course = [state(LONG_AGO), state(START + DAY, status="past_due"), state(START + 2 * DAY, status="trialing")]
    assert spans(course, PLANS, START, END, "UTC") == (Span(START, END, SMALL),)


def test_a_new_price_holds_from_its_day_in_the_customers_zone() -> None:
    dearer = plan(cents=300, since=date(2026, 11, 11))
    found = spans([state(LONG_AGO)], [SMALL, dearer], START, END, "America/New_York")
    edge = datetime(2026, 11, 11, 5, tzinfo=UTC)
    assert found == (Span(START, edge, SMALL), Span(edge, END, dearer))


def test_a_plan_that_is_not_valid_yet_includes_nothing() -> None:
    later = plan("new", since=date(2027, 1, 1))
    assert spans([state(LONG_AGO, "new")], [later], START, END, "UTC") == ()
    assert spans([state(LONG_AGO, None)], PLANS, START, END, "UTC") == ()
    assert included((), START, END) == 0


def test_two_subscriptions_add_up_and_more_costs_as_in_the_larger() -> None:
    found = spans([state(LONG_AGO), state(LONG_AGO, "large", subscription="sub_2")], PLANS, START, END, "UTC")
    assert [span.plan.included_units for span in found] == [6000]
    assert found[0].plan.package_price_cents == 100
    assert found[0].plan.ids == tuple(sorted(SMALL.ids + LARGE.ids))


def test_two_currencies_at_once_are_not_reckoned() -> None:
    dollars = plan("dollars", currency="usd")
    with pytest.raises(SeveralCurrencies, match="two currencies"):
        together([SMALL, dollars])
    with pytest.raises(ValueError, match="empty"):
        together([])


@given(
    changes=st.lists(
        st.tuples(
            st.integers(-40 * 86400, 40 * 86400),
            st.sampled_from(["small", "large", "unknown"]),
            st.sampled_from(["active", "canceled", "past_due"]),
        ),
        max_size=8,
    )
)
def test_spans_cover_exactly_the_moments_with_a_plan(changes: list[tuple[int, str, str]]) -> None:
    course = [state(START + timedelta(seconds=at), price, status) for at, price, status in sorted(changes)]
    found = spans(course, PLANS, START, END, "UTC")
    edges = [START, *(span.start for span in found), *(span.end for span in found)]
    assert all(START <= edge <= END for edge in edges)
    assert all(one.end <= two.start for one, two in pairwise(found))
    for probe in (START, START + 9 * DAY, END - timedelta(seconds=1), *(each.at for each in course)):
        if not START <= probe < END:
            continue
        held = [each for each in course if each.at <= probe]
        expected = None
        if held and held[-1].status != "canceled" and held[-1].price != "unknown":
            expected = held[-1].price
        actual = [span.plan.stripe_price_id for span in found if span.start <= probe < span.end]
        assert actual == ([] if expected is None else [expected])
    assert included(found, START, END) <= 5000 + len(found)


@given(cut=st.integers(1, 30 * 86400 - 1), units=st.integers(0, 10**9))
def test_a_plan_that_is_renewed_at_the_same_price_includes_what_it_did(cut: int, units: int) -> None:
    """Proration divides nothing that stays the same."""
    one, two = plan(units=units), plan(units=units, since=date(2026, 2, 1))
    at = START + timedelta(seconds=cut)
    assert included((Span(START, at, one), Span(at, END, two)), START, END) == units
