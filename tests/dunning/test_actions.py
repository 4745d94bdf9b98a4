"""The final action is done at Stripe once, whatever becomes of the answer; only then its customer is told."""

from typing import Any

import pytest

from db.operators.actions import Actor
from jobs.dunning.act import act_at_stripe
from jobs.dunning.calls import action_of, look_of, turn_of
from jobs.dunning.policies import put, read_policy
from jobs.dunning.take_step import follow_case, take_step
from tests.dunning.kit import Scene
from worker.errors import Unclear

LETTERS = ["payment_failed", "access_suspended"]


async def with_policy(scene: Scene, action: str) -> None:
    """A short policy that ends with `action`."""
    steps = [{"day": 0, "letter": "payment_failed"}, {"day": 3, "letter": "access_suspended", "action": action}]
    async with scene.deps.tx() as tx:
        await put(tx.conn, read_policy({"name": action, "steps": steps}), Actor("ada"), now=tx.now)


def test_the_names_by_which_jobs_stage_each_other_are_theirs() -> None:
    case: Any = type("C", (), {"id": 7, "turn": 3})()
    assert turn_of(case, forced=True) == take_step.call(case_id=7, turn=3, forced=True)
    assert action_of(case, "mark_blocked") == act_at_stripe.call(case_id=7, action="mark_blocked")
    assert look_of(7) == follow_case.call(case_id=7)


async def test_the_subscription_is_canceled(scene: Scene) -> None:
    await with_policy(scene, "cancel_at_stripe")
    await scene.fail()
    await scene.days(4)
    [(method, path, key, params)] = scene.stripe.acts
    case = await scene.case()
    assert (method, path, key) == ("delete", "subscriptions/sub_1", "dunning/in_1/1/cancel_at_stripe")
    assert params == {"cancellation_details": {"comment": key}}
    assert (case["status"], case["outcome"], case["final_action"]) == ("closed", "lost", "cancel_at_stripe")
    assert await scene.letters() == LETTERS
    assert await scene.status() == "blocked"
    await scene.tell("customer.subscription.deleted", "sub_1")
    assert (await scene.case())["outcome"] == "lost"
    await scene.deliver(scene.pay())
    assert (await scene.case())["outcome"] == "recovered"
    assert (await scene.letter("recovered/in_1"))["restored"] is False
    assert await scene.status() == "active"


async def test_collection_is_paused_and_goes_on_when_the_money_has_come(scene: Scene) -> None:
    await with_policy(scene, "pause_collection")
    await scene.fail()
    await scene.days(4)
    assert [act[0] for act in scene.stripe.acts] == ["post"]
    await scene.tell("customer.subscription.updated", "sub_1")
    case = await scene.case()
    assert (case["status"], case["final_action"], case["acting"]) == ("open", "pause_collection", None)
    assert await scene.status() == "blocked"
    await scene.days(3)
    assert (await scene.case())["status"] == "open"
    await scene.deliver(scene.pay())
    await scene.work()
    assert scene.stripe.things["sub_1"]["pause_collection"] is None
    assert (await scene.letter("recovered/in_1"))["restored"] is True
    assert await scene.letters() == [*LETTERS, "recovered"]
    assert await scene.status() == "active"


async def test_a_pause_that_is_not_ours_is_left_alone(scene: Scene) -> None:
    await with_policy(scene, "pause_collection")
    await scene.fail()
    await scene.days(4)
    scene.stripe.things["sub_1"]["metadata"] = {}
    await scene.deliver(scene.pay())
    await scene.work()
    assert scene.stripe.things["sub_1"]["pause_collection"] is not None


@pytest.mark.parametrize("action", ["cancel_at_stripe", "pause_collection"])
@pytest.mark.parametrize("silent", ["before", "after", "failed"])
async def test_an_unclear_answer_is_looked_up_before_it_is_repeated(scene: Scene, action: str, silent: str) -> None:
    await with_policy(scene, action)
    await scene.fail()
    await scene.work()
    scene.stripe.silent = silent
    await scene.days(4)
    assert len(scene.stripe.acts) == 1
    assert (await scene.case())["final_action"] == action
    assert await scene.letters() == LETTERS


@pytest.mark.parametrize("told", [True, False])
async def test_a_crash_between_acting_and_recording(scene: Scene, *, told: bool) -> None:
    """The event of our own cancellation may come first: it is not taken for the customer's."""
    await with_policy(scene, "cancel_at_stripe")
    await scene.fail()
    await scene.work()
    answer = scene.stripe.act

    async def crash(*given: Any, **params: Any) -> dict[str, Any]:
        await answer(*given, **params)
        raise Unclear("the worker is gone")

    scene.stripe.act = crash  # type: ignore[method-assign] - the one who asked never hears the answer
    scene.clock.move(
        scene_days := (await scene.query("SELECT next_step_at FROM dunning_cases"))[0][0] - scene.clock.now()
    )
    assert scene_days
    await scene.work()
    assert (await scene.case())["final_action"] is None
    if told:
        await scene.tell("customer.subscription.deleted", "sub_1")
        assert (await scene.case())["status"] == "open"
    scene.stripe.act = answer  # type: ignore[method-assign] - as it was
    await scene.days(1)
    case = await scene.case()
    assert (case["outcome"], case["final_action"]) == ("lost", "cancel_at_stripe")
    assert len(scene.stripe.acts) == 1
    assert await scene.letters() == LETTERS


async def test_whoever_pays_before_the_action_keeps_the_subscription(scene: Scene) -> None:
    await with_policy(scene, "cancel_at_stripe")
    await scene.fail()
    await scene.days(2)
    async with scene.deps.tx() as tx:  # Stripe is away just when the action is due
        await tx.stage(turn_of(_case(await scene.case())))
    scene.stripe.silent = "before"
    scene.clock.time = (await scene.query("SELECT next_step_at FROM dunning_cases"))[0][0]
    await scene.work()
    assert (await scene.case())["acting"] == "cancel_at_stripe"
    await scene.deliver(scene.pay())
    await scene.days(1)
    assert scene.stripe.acts == []
    assert scene.stripe.things["sub_1"]["status"] == "active"
    assert await scene.letters() == ["payment_failed", "recovered"]


def _case(row: dict[str, Any]) -> Any:
    return type("C", (), {"id": row["id"], "turn": row["turn"]})()


async def test_a_customer_who_cancels_at_that_moment_was_not_lost_to_us(scene: Scene) -> None:
    await with_policy(scene, "cancel_at_stripe")
    await scene.fail()
    await scene.days(2)
    scene.stripe.silent = "before"
    scene.clock.time = (await scene.query("SELECT next_step_at FROM dunning_cases"))[0][0]
    await scene.work()
    details = {"reason": "cancellation_requested", "comment": "too dear"}
    await scene.change("customer.subscription.deleted", "sub_1", status="canceled", cancellation_details=details)
    await scene.days(1)
    assert scene.stripe.acts == []
    assert (await scene.case())["outcome"] == "canceled"
    assert await scene.letters() == ["payment_failed"]


async def test_without_a_key_the_action_is_parked_and_says_so(scene: Scene) -> None:
    await with_policy(scene, "cancel_at_stripe")
    scene.keyless = True
    await scene.fail()
    await scene.days(4)
    [why] = await scene.parked()
    assert "STRIPE_SECRET_KEY is not set" in why
    assert await scene.letters() == ["payment_failed"]
    case = await scene.case()
    assert (case["status"], case["acting"], case["final_action"]) == ("open", "cancel_at_stripe", None)


async def test_an_invoice_without_a_subscription_has_nothing_to_cancel(scene: Scene) -> None:
    await with_policy(scene, "cancel_at_stripe")
    scene.invoice(parent=None, billing_reason="manual")
    await scene.fail()
    await scene.days(4)
    assert scene.stripe.acts == []
    assert await scene.letters() == ["payment_failed"]
    found = await scene.query("SELECT detail FROM dunning_steps WHERE position = 1")
    assert found == [("the invoice has no subscription: there was nothing to cancel",)]
    await scene.days(31, step=5)
    assert (await scene.case())["outcome"] == "lost"
    assert await scene.parked() == []


async def test_paid_while_we_paused_it_goes_on_all_the_same(scene: Scene) -> None:
    await with_policy(scene, "pause_collection")
    await scene.fail()
    await scene.work()
    answer = scene.stripe.act

    async def paid_meanwhile(*given: Any, **params: Any) -> dict[str, Any]:
        scene.stripe.act = answer  # type: ignore[method-assign] - once
        await scene.deliver(scene.pay())
        await scene.work()
        return await answer(*given, **params)

    scene.stripe.act = paid_meanwhile  # type: ignore[method-assign] - the money comes at that moment
    await scene.days(4)
    assert [act[3]["pause_collection"] for act in scene.stripe.acts] == [{"behavior": "void"}, ""]
    assert scene.stripe.things["sub_1"]["pause_collection"] is None
    assert await scene.letters() == ["payment_failed", "recovered"]
    assert await scene.status() == "active"
