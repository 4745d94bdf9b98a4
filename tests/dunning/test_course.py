"""The course of a case: who does not pay is written to step by step, and nobody is once the money has come."""

from datetime import timedelta

from tests.dunning.kit import TUESDAY, Scene

PAID = ["payment_failed", "dunning_reminder", "recovered"]


async def test_nobody_pays(scene: Scene) -> None:
    await scene.fail()
    await scene.work()
    assert await scene.letters() == ["payment_failed"]
    assert await scene.status() == "warning"
    await scene.days(16)
    assert await scene.letters() == ["payment_failed", "dunning_reminder", "final_notice", "access_suspended"]
    assert await scene.steps() == [(n, "taken") for n in range(4)]
    assert await scene.status() == "blocked"
    case = await scene.case()
    assert (case["status"], case["final_action"]) == ("open", "mark_blocked")
    await scene.days(31, step=5)
    case = await scene.case()
    assert (case["status"], case["outcome"]) == ("closed", "lost")
    assert await scene.status() == "blocked"
    assert await scene.parked() == []


async def test_each_letter_goes_on_its_day_by_the_customers_clock(scene: Scene) -> None:
    await scene.fail()
    await scene.days(15, step=1 / 24)
    due = await scene.query("SELECT due_at - taken_at FROM dunning_steps ORDER BY position")
    assert all(timedelta(0) >= late[0] >= timedelta(hours=-1) for late in due)
    when = await scene.query("SELECT due_at FROM dunning_steps ORDER BY position")
    assert [(one[0] - TUESDAY).days for one in when] == [0, 3, 7, 14]


async def test_the_money_comes(scene: Scene) -> None:
    await scene.fail()
    await scene.days(4)
    await scene.deliver(scene.pay())
    await scene.days(20, step=1)
    assert await scene.letters() == PAID
    case = await scene.case()
    assert (case["outcome"], case["recovered_cents"], case["recovered_after_step"]) == ("recovered", 1000, 1)
    assert await scene.status() == "active"
    letter = await scene.letter("recovered/in_1")
    assert (letter["restored"], letter["amount"]) == (False, {"amount": 1000, "currency": "usd"})
