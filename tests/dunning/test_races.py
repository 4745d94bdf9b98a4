"""Two workers, a clock that goes back, a job that is set going by hand: each step is taken once, in its time."""

import asyncio
from datetime import timedelta

import pytest

from db.ledger import try_lock
from jobs.dunning.take_step import take_step
from tests.dunning.kit import Scene
from tests.events.kit import rows
from worker.errors import TryLater
from worker.telemetry import QueueCollector


async def args(scene: Scene, *, back: int = 0) -> dict[str, int]:
    case = await scene.case()
    return {"case_id": case["id"], "turn": case["turn"] - back}


async def test_two_workers_take_a_step_once(scene: Scene) -> None:
    await scene.fail()
    given = await args(scene)
    async with asyncio.timeout(20):
        ended = await asyncio.gather(*[take_step.run(scene.deps, given) for _ in range(5)], return_exceptions=True)
    assert all(one is None or isinstance(one, TryLater) for one in ended), ended
    assert await scene.steps() == [(0, "taken")]
    assert await scene.letters() == ["payment_failed"]


async def test_while_its_customer_is_held_a_step_waits(scene: Scene) -> None:
    await scene.fail()
    async with scene.engine.begin() as other:
        assert await try_lock(other, {"cus_1"})
        with pytest.raises(TryLater, match="another worker"):
            await take_step.run(scene.deps, await args(scene))
    assert await scene.letters() == []
    await scene.work()
    assert await scene.letters() == ["payment_failed"]


async def test_an_old_turn_does_nothing(scene: Scene) -> None:
    await scene.fail()
    await scene.work()
    scene.clock.move(timedelta(days=4))
    await take_step.run(scene.deps, await args(scene, back=1))
    assert await scene.letters() == ["payment_failed"]


async def test_a_turn_that_runs_early_takes_nothing_and_is_staged_for_its_day(scene: Scene) -> None:
    await scene.fail()
    await scene.work()
    due = (await scene.case())["next_step_at"]
    scene.clock.move(timedelta(days=-1))
    await take_step.run(scene.deps, await args(scene))
    case = await scene.case()
    assert case["next_step_at"] == due
    assert await scene.letters() == ["payment_failed"]
    scene.clock.move(timedelta(days=1))
    await scene.days(4)
    assert await scene.letters() == ["payment_failed", "dunning_reminder"]


async def test_a_step_that_fails_while_it_is_recorded_leaves_nothing(scene: Scene) -> None:
    """A crash before the commit: no row, no letter; the next try does it all."""
    await scene.fail()
    await scene.query("SELECT 1")
    async with scene.engine.begin() as conn:
        await conn.exec_driver_sql("ALTER TABLE emails ADD CONSTRAINT broken CHECK (template <> 'payment_failed')")
    await scene.work()
    assert await scene.letters() == []
    assert await rows(scene.engine, "dunning_steps") == []
    async with scene.engine.begin() as conn:
        await conn.exec_driver_sql("ALTER TABLE emails DROP CONSTRAINT broken")
    await scene.days(0.5)
    assert await scene.letters() == ["payment_failed"]


async def test_the_open_cases_are_counted(scene: Scene) -> None:
    await scene.fail()
    collector = QueueCollector(scene.engine)
    await collector.refresh(scene.clock.now())
    found = {sample.name: sample.value for family in collector.collect() for sample in family.samples}
    assert found["billing_dunning_open"] == 1
