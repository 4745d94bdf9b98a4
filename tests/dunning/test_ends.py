"""What ends or suspends a case, told by events or found when the invoice is read afresh; and what opens none at all."""

from typing import Any

import pytest

from db.ledger import try_lock
from tests.dunning.kit import EMPTY, Scene
from tests.events import objects
from tests.events.kit import Json, rows

ENDS: dict[str, tuple[str, str, Json, str]] = {
    "void": ("invoice.voided", "in_1", {"status": "void"}, "void"),
    "uncollectible": ("invoice.marked_uncollectible", "in_1", {"status": "uncollectible"}, "lost"),
    "canceled by the customer": (
        "customer.subscription.deleted",
        "sub_1",
        {"status": "canceled", "cancellation_details": {"reason": "cancellation_requested"}},
        "canceled",
    ),
    "given up by Stripe": (
        "customer.subscription.deleted",
        "sub_1",
        {"status": "canceled", "cancellation_details": {"reason": "payment_failed"}},
        "lost",
    ),
    "the customer opts out": ("customer.updated", "cus_1", {"metadata": {"dunning": "off"}}, "exempt"),
    "the subscription opts out": (
        "customer.subscription.updated",
        "sub_1",
        {"metadata": {"dunning": "Off "}},
        "exempt",
    ),
    "credited": (
        "invoice.updated",
        "in_1",
        {"status": "paid", "amount_due": 0, "amount_remaining": 0, "amount_paid": 0},
        "void",
    ),
}


@pytest.mark.parametrize("how", ["its event comes", "it is read afresh"])
@pytest.mark.parametrize("name", ENDS)
async def test_an_end(scene: Scene, name: str, how: str) -> None:
    kind, thing, changes, outcome = ENDS[name]
    await scene.fail()
    await scene.work()
    scene.stripe.things[thing] |= changes
    if how == "its event comes":
        await scene.tell(kind, thing)
    await scene.days(4)
    assert await scene.letters() == ["payment_failed"]
    case = await scene.case()
    assert (case["status"], case["outcome"], case["next_step_at"]) == ("closed", outcome, None)
    assert await scene.status() == "active"
    await scene.tell(kind, thing)
    assert (await scene.case())["closed_at"] == case["closed_at"]


async def test_a_deleted_customer_ends_it(scene: Scene) -> None:
    await scene.fail()
    await scene.work()
    await scene.tell("customer.deleted", {"id": "cus_1", "object": "customer", "deleted": True})
    assert (await scene.case())["outcome"] == "canceled"


async def test_a_customer_deleted_at_stripe_only_ends_it(scene: Scene) -> None:
    await scene.fail()
    await scene.work()
    scene.stripe.things["cus_1"] = {"id": "cus_1", "object": "customer", "deleted": True}
    await scene.days(4)
    assert (await scene.case())["outcome"] == "canceled"
    assert await scene.letters() == ["payment_failed"]


@pytest.mark.parametrize("told", [True, False])
async def test_paused_collection_suspends_it_and_it_goes_on_afterwards(scene: Scene, *, told: bool) -> None:
    await scene.fail()
    await scene.work()
    subscription = scene.stripe.things["sub_1"]
    subscription["pause_collection"] = {"behavior": "void"}
    if told:
        await scene.tell("customer.subscription.updated", subscription)
    await scene.days(9)
    case = await scene.case()
    assert (case["status"], case["paused_by"]) == ("paused", "stripe")
    assert await scene.letters() == ["payment_failed"]
    subscription["pause_collection"] = None
    if told:
        await scene.tell("customer.subscription.updated", subscription)
    await scene.days(4)
    assert await scene.letters() == ["payment_failed", "final_notice"]
    assert await scene.steps() == [(0, "taken"), (1, "collapsed"), (2, "taken")]


async def test_an_open_dispute_of_what_was_paid_ends_it(scene: Scene) -> None:
    await scene.fail()
    await scene.work()
    scene.pay()
    scene.stripe.things["ch_1"]["disputed"] = True
    scene.stripe.put(objects.dispute(charge="ch_1"))
    await scene.days(4)
    assert (await scene.case())["outcome"] == "disputed"
    assert await scene.letters() == ["payment_failed"]


async def test_a_dispute_that_was_won_hides_no_payment(scene: Scene) -> None:
    await scene.fail()
    await scene.work()
    scene.pay()
    scene.stripe.things["ch_1"]["disputed"] = True
    scene.stripe.put(objects.dispute("won", charge="ch_1"))
    await scene.days(4)
    assert (await scene.case())["outcome"] == "recovered"


async def test_what_was_given_back_is_not_recovered(scene: Scene) -> None:
    await scene.fail()
    await scene.work()
    scene.pay()
    scene.stripe.things["ch_1"]["refunded"] = True
    await scene.days(4)
    assert (await scene.case())["outcome"] == "refunded"
    assert await scene.letters() == ["payment_failed"]


async def test_a_dispute_told_by_the_books_suspends_it_and_ends_it_when_it_is_paid(scene: Scene) -> None:
    await scene.fail()
    await scene.work()
    charge = objects.charge("ch_part", invoice="in_1", payment_intent=None)
    await scene.tell("charge.succeeded", charge)
    dispute = objects.dispute(charge="ch_part", payment_intent=None)
    await scene.tell("charge.dispute.created", dispute)
    assert (await scene.case())["status"] == "paused"
    await scene.deliver(scene.pay())
    assert (await scene.case())["outcome"] == "disputed"


async def test_a_dispute_that_meets_another_worker_is_followed_later(scene: Scene) -> None:
    """Disputes do not name their customer: while somebody else holds it, a job is staged."""
    await scene.fail()
    await scene.work()
    await scene.tell("charge.succeeded", objects.charge("ch_part", invoice="in_1", payment_intent=None))
    async with scene.engine.begin() as other:
        assert await try_lock(other, {"cus_1"})
        await scene.tell("charge.dispute.created", objects.dispute(charge="ch_part", payment_intent=None))
        assert (await scene.case())["status"] == "open"
    await scene.work()
    assert (await scene.case())["status"] == "paused"


async def test_a_late_failure_of_a_paid_invoice_opens_nothing(scene: Scene) -> None:
    late = scene.failed()
    await scene.deliver(scene.pay())
    await scene.deliver(late)
    await scene.work()
    assert await rows(scene.engine, "dunning_cases") == []


async def test_both_in_one_batch_open_nothing(scene: Scene) -> None:
    await scene.deliver(scene.failed(), scene.pay())
    assert await rows(scene.engine, "dunning_cases") == []


async def test_who_leaves_the_checkout_page_is_not_dunned(scene: Scene) -> None:
    scene.invoice(billing_reason="subscription_create")
    scene.stripe.things["sub_1"]["status"] = "incomplete"
    await scene.tell("customer.subscription.updated", "sub_1")
    made = scene.failed()
    scene.stripe.things["sub_1"]["status"] = "incomplete"
    await scene.deliver(made)
    await scene.days(5)
    assert await rows(scene.engine, "dunning_cases") == []
    await scene.change("customer.subscription.updated", "sub_1", status="incomplete_expired")
    assert await rows(scene.engine, "dunning_cases") == []


async def test_a_first_invoice_whose_subscription_is_not_known_yet_waits_for_it(scene: Scene) -> None:
    await scene.begin("2")
    scene.invoice("2", billing_reason="subscription_create", parent=_parent("sub_9"))
    subscription = objects.subscription("sub_9", customer="cus_2", status="past_due", latest_invoice="in_2")
    scene.stripe.put(subscription, pause_collection=None)
    await scene.fail("2")
    assert await rows(scene.engine, "dunning_cases") == []
    await scene.tell("customer.subscription.created", "sub_9")
    assert (await scene.case("2"))["stripe_subscription_id"] == "sub_9"


def _parent(subscription: str) -> dict[str, Any]:
    return {"type": "subscription_details", "subscription_details": {"subscription": subscription}}


async def test_failures_cause_one_case_however_often_they_are_told(scene: Scene) -> None:
    first = await scene.fail()
    await scene.work()
    await scene.deliver(first)
    await scene.days(1)
    await scene.fail(again=5)
    await scene.work()
    case = await scene.case()
    assert case["attempt_count"] == 2
    assert case["failed_at"].startswith("2026-03-03T14:30")
    assert await scene.letters() == ["payment_failed"]


async def test_an_earlier_failure_that_comes_late_moves_the_days(scene: Scene) -> None:
    early = scene.failed()
    await scene.days(2)
    await scene.fail()
    assert (await scene.case())["failed_at"].startswith("2026-03-05")
    await scene.deliver(early)
    assert (await scene.case())["failed_at"].startswith("2026-03-03")
    await scene.work()
    assert (await scene.case())["next_step_at"].startswith("2026-03-06")


async def test_a_lost_invoice_that_is_paid_after_all_is_recovered(scene: Scene) -> None:
    await scene.fail()
    await scene.work()
    await scene.change("invoice.marked_uncollectible", "in_1", status="uncollectible")
    assert (await scene.case())["outcome"] == "lost"
    await scene.deliver(scene.pay())
    assert (await scene.case())["outcome"] == "recovered"
    assert await scene.letters() == ["payment_failed", "recovered"]


async def test_paid_before_anybody_was_written_to_needs_no_thanks(scene: Scene) -> None:
    await scene.fail()
    await scene.deliver(scene.pay())
    await scene.work()
    assert await scene.letters() == EMPTY
    assert (await scene.case())["outcome"] == "recovered"
    assert await scene.status() == "active"
