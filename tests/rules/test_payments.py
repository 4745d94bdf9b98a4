"""One row for each attempt to pay, and the right word for how it stands."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.states import PaymentStatus
from jobs.rules.payments import (
    NOT_REFUNDED,
    Charge,
    Dispute,
    Intent,
    PaymentRow,
    Refund,
    decisive,
    payment_rows,
    refunded_total,
)

START = datetime(2026, 3, 1, tzinfo=UTC)
AT = int(START.timestamp())


def intent(status: str = "succeeded", **changes: Any) -> Intent:
    told: dict[str, Any] = {"amount": 1000, "currency": "usd", "created": START}
    return Intent("pi_1", status, **(told | changes))


def charge(name: str = "ch_1", **changes: Any) -> Charge:
    told: dict[str, Any] = {
        "seen_at": AT,
        "status": "succeeded",
        "amount": 1000,
        "currency": "usd",
        "created": START,
        "captured": True,
    }
    return Charge(name, **(told | changes))


def refund(amount: int, *, after: int = 0, status: str = "succeeded", name: str = "re_1", **changes: Any) -> Refund:
    told: dict[str, Any] = {"charge": "ch_1"}
    return Refund(name, amount=amount, status=status, created=AT + after, **(told | changes))


def only(rows: list[PaymentRow]) -> PaymentRow:
    (row,) = rows
    return row


def of(made: Charge, *refunds: Refund, disputes: tuple[Dispute, ...] = (), parent: Intent | None = None) -> PaymentRow:
    return only(payment_rows(parent, [made], refunds, disputes))


@pytest.mark.parametrize(
    ("made", "status"),
    [
        (intent("requires_payment_method"), "pending"),
        (intent("requires_confirmation"), "pending"),
        (intent("requires_action"), "pending"),
        (intent("processing"), "pending"),
        (intent("a_status_of_2030"), "pending"),
        (intent("requires_payment_method", failure_code="card_declined"), "failed"),
        (intent("canceled"), "failed"),
        (intent("succeeded"), "succeeded"),
    ],
)
def test_an_intent_without_a_charge_has_one_row_of_its_own(made: Intent, status: str) -> None:
    row = only(payment_rows(made, [], [], []))
    assert (row.intent, row.charge, row.status, row.amount) == ("pi_1", None, status, 1000)


def test_a_failed_intents_reason_is_shown_while_it_failed() -> None:
    told = {"failure_code": "card_declined", "decline_code": "insufficient_funds", "failure_message": "No."}
    failed = only(payment_rows(intent("requires_payment_method", **told), [], [], []))
    assert (failed.failure_code, failed.decline_code, failed.failure_message) == tuple(told.values())
    assert only(payment_rows(intent("processing", **told), [], [], [])).failure_code is None


def test_a_charge_takes_the_place_of_its_bare_intent() -> None:
    row = of(charge(), parent=intent("succeeded", customer="cus_1"))
    assert (row.charge, row.intent, row.customer, row.status) == ("ch_1", "pi_1", "cus_1", "succeeded")


def test_each_further_charge_has_its_own_row_oldest_first() -> None:
    charges = [
        charge("ch_3", created=START + timedelta(minutes=2)),
        charge("ch_1", status="failed", captured=False, failure_code="card_declined"),
        charge("ch_2", status="failed", captured=False, created=START + timedelta(minutes=1)),
    ]
    rows = payment_rows(intent(), charges, [], [])
    assert [(row.charge, row.status) for row in rows] == [
        ("ch_1", "failed"),
        ("ch_2", "failed"),
        ("ch_3", "succeeded"),
    ]


@pytest.mark.parametrize(
    ("status", "latest", "expected"),
    [
        ("succeeded", "ch_1", "succeeded"),
        ("processing", "ch_1", "pending"),
        ("requires_capture", "ch_1", "pending"),
        ("requires_payment_method", "ch_1", "failed"),
        ("requires_action", "ch_1", "failed"),
        ("canceled", "ch_1", "failed"),
        ("succeeded", "ch_2", "failed"),
        ("processing", None, "failed"),
    ],
)
def test_an_attempt_that_only_its_intent_told_of_has_a_row_too(status: str, latest: str | None, expected: str) -> None:
    row = of(Charge("ch_1"), parent=intent(status, latest_charge=latest))
    assert (row.charge, row.status, row.amount) == ("ch_1", expected, 1000)


def test_refunds_and_disputes_count_on_a_charge_that_only_its_intent_told_of() -> None:
    paid = intent(latest_charge="ch_1", customer="cus_1", payment_method="card", payment_method_id="pm_1")
    row = of(Charge("ch_1"), refund(400, after=5, reason="duplicate"), parent=paid)
    assert (row.status, row.refund_amount, row.refunded_at) == ("partially_refunded", 400, AT + 5)
    assert (row.refund_reason, row.captured, row.amount, row.customer) == ("duplicate", True, 1000, "cus_1")
    assert (row.payment_method, row.payment_method_id) == ("card", "pm_1")
    assert of(Charge("ch_1"), refund(1000, charge=None), parent=paid).status is PaymentStatus.REFUNDED
    lost = of(Charge("ch_1"), disputes=(Dispute("dp_1", "ch_1", "lost", AT),), parent=paid)
    assert (lost.status, lost.dispute_status) == ("disputed", "lost")


def test_a_charge_of_which_nothing_is_known_has_no_row_yet() -> None:
    assert payment_rows(None, [Charge("ch_1")], [], []) == []
    assert payment_rows(None, [], [], []) == []


@pytest.mark.parametrize(
    ("made", "status"),
    [
        (charge(status="pending", captured=False), "pending"),
        (charge(status="failed", captured=False), "failed"),
        (charge(), "succeeded"),
        (charge(captured=False), "pending"),
        (charge(captured=False, amount_refunded=1000, refunded=True), "failed"),
        (charge(captured=False, refunded=True), "failed"),
        (charge(captured=False, amount_refunded=1000), "failed"),
        (charge(captured=False, expired=True), "failed"),
        (charge(amount_refunded=400), "partially_refunded"),
        (charge(amount_refunded=1000), "refunded"),
        (charge(amount_refunded=700, refunded=True), "refunded"),
        (charge(amount=0), "succeeded"),
    ],
)
def test_how_a_charge_stands(made: Charge, status: str) -> None:
    assert of(made).status == status


def test_a_canceled_intent_releases_its_authorised_charge() -> None:
    assert of(charge(captured=False), parent=intent("canceled")).status is PaymentStatus.FAILED
    assert of(charge(captured=False), parent=intent("requires_capture")).status is PaymentStatus.PENDING


def test_a_released_authorisation_is_no_refund() -> None:
    row = of(charge(captured=False, amount_refunded=1000, refunded=True), refund(1000, after=-5, reason="duplicate"))
    assert (row.status, row.refund_amount, row.refunded_at, row.refund_reason) == ("failed", 0, None, None)


@pytest.mark.parametrize(
    ("seen", "refunds", "total"),
    [
        (0, [], 0),
        (300, [], 300),
        (300, [refund(300, after=-9)], 300),
        (0, [refund(300, after=5)], 300),
        (300, [refund(300, after=-9), refund(200, after=5, name="re_2")], 500),
        # In the second of the snapshot: counted once, whether or not the snapshot had it.
        (300, [refund(300)], 300),
        (0, [refund(300)], 300),
        (300, [refund(300, after=-9), refund(200, name="re_2")], 500),
        # A failed one comes off if the snapshot still had it, and only then.
        (300, [refund(300, after=-9, status="failed", failed_at=AT + 5)], 0),
        (0, [refund(300, after=-9, status="failed", failed_at=AT - 5)], 0),
        (0, [refund(300, after=5, status="canceled", failed_at=AT + 9)], 0),
        (500, [refund(300, after=-9), refund(200, after=-9, name="re_2", status="failed", failed_at=AT + 5)], 300),
        (300, [refund(300, after=-9), refund(200, after=-9, name="re_2", status="failed", failed_at=AT)], 300),
        (500, [refund(300, after=-9), refund(200, after=-9, name="re_2", status="failed", failed_at=AT)], 300),
        (0, [refund(300, after=-9, status="failed")], 0),
        (100, [refund(300, after=-9, status="pending")], 300),
    ],
)
def test_stripes_sum_is_corrected_by_what_came_after_it(seen: int, refunds: list[Refund], total: int) -> None:
    assert refunded_total(charge(amount_refunded=seen), refunds) == total


def test_a_refund_tells_when_and_why() -> None:
    first, second = refund(100, after=10, reason="duplicate"), refund(200, after=20, name="re_2")
    row = of(charge(refund_seen_at=START), first, second)
    assert (row.status, row.refund_amount) == ("partially_refunded", 300)
    assert (row.refunded_at, row.refund_reason) == (AT + 20, "duplicate")


def test_without_a_refund_object_the_charges_event_tells_when() -> None:
    row = of(charge(amount_refunded=1000, refund_seen_at=START))
    assert (row.refunded_at, row.refund_reason) == (AT, None)
    assert of(charge(amount_refunded=1000)).refunded_at is None


def test_a_refund_that_names_only_the_intent_is_of_the_charge_that_succeeded() -> None:
    parent = intent(latest_charge="ch_2")
    failed, paid = charge("ch_1", status="failed", captured=False), charge("ch_2", created=START + timedelta(hours=1))
    rows = payment_rows(parent, [failed, paid], [refund(400, after=5, charge=None)], [])
    assert [(row.charge, row.refund_amount) for row in rows] == [("ch_1", 0), ("ch_2", 400)]


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("needs_response", "disputed"),
        ("under_review", "disputed"),
        ("warning_needs_response", "disputed"),
        ("appeal_under_review", "disputed"),
        ("lost", "disputed"),
        ("won", "partially_refunded"),
        ("warning_closed", "partially_refunded"),
        ("prevented", "partially_refunded"),
        ("charge_refunded", "partially_refunded"),
    ],
)
def test_a_dispute_counts_while_it_is_open_and_after_it_is_lost(state: str, status: str) -> None:
    row = of(charge(amount_refunded=100), disputes=(Dispute("dp_1", "ch_1", state, AT),))
    assert (row.status, row.dispute_status) == (status, state)


def test_what_was_never_paid_cannot_be_disputed() -> None:
    row = of(charge(status="failed", captured=False), disputes=(Dispute("dp_1", "ch_1", "lost", AT),))
    assert (row.status, row.dispute_status) == ("failed", "lost")


def test_an_open_or_lost_dispute_decides_before_a_later_settled_one() -> None:
    lost, won, other = (
        Dispute("a", "ch_1", "lost", AT),
        Dispute("b", "ch_1", "won", AT + 9),
        Dispute("c", "x", "lost", 1),
    )
    assert decisive("ch_1", [lost, won, other]) == lost
    assert decisive("ch_1", [won]) == won
    assert decisive("ch_2", [lost, won, other]) is None


STATES = st.sampled_from(["pending", "succeeded", "failed", "canceled"])


@st.composite
def stories(draw: st.DrawFn) -> tuple[Charge, list[Refund]]:
    """A charge as Stripe showed it at some second, and all of its refunds as they stand in the end."""
    refunds: list[Refund] = []
    left = 1000
    for number in range(draw(st.integers(0, 4))):
        amount = draw(st.integers(1, max(left, 1)))
        status, created = draw(STATES), draw(st.integers(-5, 5))
        failed_at = AT + created + draw(st.integers(0, 5)) if status in NOT_REFUNDED else None
        refunds.append(refund(amount, after=created, status=status, name=f"re_{number}", failed_at=failed_at))
        left = max(left - amount, 0)
    seen = sum(r.amount for r in refunds if r.created <= AT and (r.failed_at is None or r.failed_at > AT))
    return charge(amount_refunded=seen), refunds


@given(story=stories())
def test_when_all_refunds_are_known_their_sum_is_the_total(story: tuple[Charge, list[Refund]]) -> None:
    made, refunds = story
    assert refunded_total(made, refunds) == sum(r.amount for r in refunds if r.status not in NOT_REFUNDED)


@given(story=stories(), seed=st.randoms())
def test_rows_do_not_depend_on_the_order_of_facts(story: tuple[Charge, list[Refund]], seed: Any) -> None:
    made, refunds = story
    charges = [made, charge("ch_0", status="failed", captured=False), charge("ch_2", captured=False)]
    disputes = [Dispute("a", "ch_1", "won", AT), Dispute("b", "ch_1", "lost", AT)]
    rows = payment_rows(intent(), charges, refunds, disputes)
    for facts in (charges, refunds, disputes):
        seed.shuffle(facts)
    assert payment_rows(intent(), charges, refunds, disputes) == rows
    assert len({row.charge for row in rows}) == len(rows) == 3
