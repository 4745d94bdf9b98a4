"""Bugs that other billing systems had, each by its name."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from jobs.dunning.take_step import take_step
from tests.conftest import MovedClock
from tests.dunning.kit import TUESDAY, Scene


@pytest.fixture
async def scene(engine: AsyncEngine) -> Scene:
    """A customer with an active subscription."""
    made = Scene(engine, MovedClock(TUESDAY))
    await made.begin()
    return made


async def test_attempt_count_off_by_one(scene: Scene) -> None:
    for attempt in (1, 2, 3):
        await scene.fail(again=3)
        await scene.work()
        assert (await scene.case())["attempt_count"] == attempt
    assert (await scene.letter("dunning/in_1/0"))["attempt_count"] == 1


async def test_a_step_anchored_to_run_time_and_so_skipped(scene: Scene) -> None:
    """The worker was away between the days of two steps: the next one keeps the day that the failure gives it."""
    await scene.fail()
    await scene.work()
    for _ in range(3):
        [(due,)] = await scene.query("SELECT next_step_at FROM dunning_cases")
        scene.clock.move(due - scene.clock.now() + timedelta(hours=2))  # each time it comes late
        await scene.work()
    days = [(due - TUESDAY).days for (due,) in await scene.query("SELECT due_at FROM dunning_steps ORDER BY position")]
    assert days == [0, 3, 7, 14]
    assert [outcome for _, outcome in await scene.steps()] == ["taken"] * 4


async def test_retries_after_cancel(scene: Scene) -> None:
    await scene.fail()
    await scene.work()
    await scene.change("customer.subscription.deleted", "sub_1", status="canceled")
    await scene.fail()
    await scene.days(20)
    assert await scene.letters() == ["payment_failed"]
    assert scene.stripe.acts == []


async def test_renewed_and_failed_both_sent(scene: Scene) -> None:
    failed, paid = scene.failed(), scene.pay()
    await scene.deliver(paid)
    await scene.deliver(failed)
    await scene.days(20)
    assert await scene.letters() == []
    assert await scene.query("SELECT key FROM emails") == [("receipt/in_1",)]


async def test_one_click_on_send_now_and_five_workers(scene: Scene) -> None:
    await scene.fail()
    await scene.work()
    case = await scene.case()
    args = {"case_id": case["id"], "turn": case["turn"], "forced": True}
    turns = [take_step.run(scene.deps, args) for _ in range(5)]
    await asyncio.gather(*turns, return_exceptions=True)
    assert [outcome for _, outcome in await scene.steps()] == ["taken", "taken"]
    assert len(await scene.letters()) == 2
