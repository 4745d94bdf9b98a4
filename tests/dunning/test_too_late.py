"""The money comes in the very moment in which the subscription is canceled for want of it: a person is told."""

from typing import Any

import pytest

from jobs.dunning.policies import put, read_policy
from tests.dunning.kit import ADA, Scene
from tests.events.kit import Json

STEPS: list[Json] = [
    {"day": 0, "letter": "payment_failed"},
    {"day": 3, "letter": "access_suspended", "action": "cancel_at_stripe"},
]


@pytest.mark.parametrize("told", [True, False])
async def test_paid_while_we_cancel_is_not_passed_over(scene: Scene, *, told: bool) -> None:
    async with scene.deps.tx() as tx:
        await put(tx.conn, read_policy({"name": "cancel", "steps": STEPS}), ADA, now=tx.now)
    await scene.fail()
    answer = scene.stripe.act

    async def paid_meanwhile(*given: Any, **params: Any) -> Json:
        paid = scene.pay()
        if told:
            await scene.deliver(paid)
        else:
            scene.late.append(paid)
        return await answer(*given, **params)

    scene.stripe.act = paid_meanwhile  # type: ignore[method-assign] - the money comes at that moment
    await scene.days(4)
    case = await scene.case()
    assert scene.stripe.things["sub_1"]["status"] == "canceled"
    assert (case["outcome"], case["final_action"], case["acting"]) == ("recovered", "cancel_at_stripe", None)
    [why] = await scene.parked()
    assert "in_1 was settled in the very moment in which sub_1 was canceled" in why
    assert "make the subscription anew at Stripe" in why
    assert await scene.letters() == ["payment_failed", "recovered"]
    await scene.deliver(*scene.late)
    assert await scene.letters() == ["payment_failed", "recovered"]
    assert await scene.status() == "active"
