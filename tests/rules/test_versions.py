"""Of two snapshots exactly one is the newer, and it is the one that Stripe's life cycle says."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.rules import versions
from jobs.rules.versions import event_rank, price_version, version

VERSIONS = st.builds(
    version,
    created=st.integers(0, 4),
    event_type=st.sampled_from(["invoice.created", "invoice.updated", "invoice.deleted"]),
    content=st.integers(0, 3),
    final=st.booleans(),
    state=st.integers(0, 3),
    sums=st.tuples(st.integers(0, 3), st.integers(0, 3)),
)


@given(one=VERSIONS, other=VERSIONS)
def test_the_order_is_total_and_antisymmetric(one: tuple[int, ...], other: tuple[int, ...]) -> None:
    assert (one < other) + (other < one) + (one == other) == 1


@given(one=VERSIONS, two=VERSIONS, three=VERSIONS)
def test_the_order_is_transitive(one: tuple[int, ...], two: tuple[int, ...], three: tuple[int, ...]) -> None:
    first, second, third = sorted([one, two, three])
    assert first <= second <= third
    assert first <= third


@pytest.mark.parametrize(
    ("event_type", "rank"),
    [
        ("customer.created", 0),
        ("payment_method.attached", 0),
        ("customer.updated", 1),
        ("invoice.paid", 1),
        ("inlined", 1),
        ("customer.deleted", 2),
        ("payment_method.detached", 2),
    ],
)
def test_created_comes_before_updated_before_deleted(event_type: str, rank: int) -> None:
    assert event_rank(event_type) == rank


def _made(**changes: Any) -> tuple[int, ...]:
    told: dict[str, Any] = {"created": 100, "event_type": "invoice.updated", "content": 5, "state": 20, "sums": (0,)}
    return version(**(told | changes))


@pytest.mark.parametrize(
    ("newer", "older"),
    [
        ({"final": True}, {"created": 999}),
        ({"created": 101}, {"state": 90, "sums": (9,)}),
        ({"event_type": "invoice.updated"}, {"event_type": "invoice.created", "state": 90}),
        ({"event_type": "invoice.deleted"}, {"state": 90}),
        ({"state": 21}, {"sums": (9,)}),
        ({"sums": (1,)}, {"content": 99}),
        ({"content": 6}, {}),
    ],
)
def test_what_comes_first_in_a_version_decides(newer: dict[str, Any], older: dict[str, Any]) -> None:
    assert _made(**newer) > _made(**older)


@pytest.mark.parametrize(
    ("ranks", "life"),
    [
        (versions.INVOICE, ["draft", "open", "uncollectible", "paid"]),
        (versions.SUBSCRIPTION, ["incomplete", "trialing", "active", "past_due", "unpaid", "canceled"]),
        (versions.SUBSCRIPTION, ["trialing", "paused", "active"]),
        (versions.SUBSCRIPTION, ["incomplete", "incomplete_expired"]),
        (versions.PAYMENT_INTENT, ["requires_payment_method", "requires_action", "processing", "failed", "succeeded"]),
        (versions.CHARGE, ["pending", "failed"]),
        (versions.REFUND, ["pending", "succeeded", "failed"]),
        (versions.DISPUTE, ["warning_needs_response", "warning_under_review", "warning_closed"]),
        (versions.DISPUTE, ["needs_response", "under_review", "won", "lost"]),
        (versions.PAYOUT, ["pending", "in_transit", "paid", "failed"]),
        (versions.CHECKOUT, ["open", "complete"]),
        (versions.CREDIT_NOTE, ["issued", "void"]),
    ],
)
def test_states_rank_in_the_order_of_a_life(ranks: dict[str, int], life: list[str]) -> None:
    assert [ranks[state] for state in life] == sorted(ranks[state] for state in life)


def test_final_states_have_a_rank_of_their_object() -> None:
    ranks = {
        "invoice": versions.INVOICE,
        "subscription": versions.SUBSCRIPTION,
        "payment_intent": versions.PAYMENT_INTENT,
        "credit_note": versions.CREDIT_NOTE,
        "refund": versions.REFUND,
    }
    assert all(state in ranks[name] for name, states in versions.FINAL.items() for state in states)
    assert set(ranks) == set(versions.FINAL)


def _price(rendering: int, created: int, content: int = 1) -> tuple[int, ...]:
    return price_version(rendering=rendering, created=created, event_type="price.updated", content=content)


def test_a_prices_own_events_outrank_copies_inside_other_objects_and_the_old_shape() -> None:
    assert _price(versions.OWN_PRICE, 1) > _price(versions.OWN_PLAN, 99)
    assert _price(versions.OWN_PLAN, 1) > _price(versions.INLINED_PRICE, 99)
    assert _price(versions.INLINED_PRICE, 1) > _price(versions.INLINED_PLAN, 99)
    assert _price(versions.OWN_PRICE, 2) > _price(versions.OWN_PRICE, 1, content=9)


def test_an_inlined_copy_has_no_time_so_that_it_is_written_once() -> None:
    assert _price(versions.INLINED_PRICE, 1) == _price(versions.INLINED_PRICE, 99)
