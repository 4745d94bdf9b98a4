"""Work that another worker is at goes back as if nothing had been, and what is staged here is looked at here."""

from datetime import UTC, datetime, timedelta

from tests.conftest import MovedClock
from tests.worker.kit import World, effect, job, run_until_idle, stage, until
from worker.deps import Deps
from worker.errors import Held


async def test_what_is_held_burns_no_try_and_is_no_failure(world: World) -> None:
    asked: list[str] = []

    async def note(d: Deps, what: str) -> None:
        asked.append(what)
        if len(asked) == 1:
            raise Held("another worker is at work on the same customer", after=timedelta(seconds=1))
        async with d.tx() as tx:
            await effect(tx, what)

    world.clock = MovedClock(datetime.now(UTC))
    await stage(world, job(world.registry, note), "once")
    await run_until_idle(world)
    assert await world.rows("SELECT attempts, due_at FROM queue") == [(0, world.clock.now() + timedelta(seconds=1))]
    assert await world.rows("SELECT attempts, status FROM jobs") == [(0, "queued")]
    world.clock.move(timedelta(seconds=2))
    await run_until_idle(world)
    assert asked == ["once", "once"]
    assert await world.effects() == ["once"]
    assert await world.rows("SELECT 1 FROM job_attempts") == []


async def test_what_is_staged_here_is_done_without_a_ring(world: World) -> None:
    async def note(d: Deps, what: str) -> None:
        async with d.tx() as tx:
            await effect(tx, what)

    call = job(world.registry, note)
    async with world.runner() as runner:  # it neither sweeps nor hears rings
        async with runner.deps.tx() as tx:
            await tx.stage(call.call("next"))
        await until(lambda: _done(world), why="nobody looked")


async def _done(world: World) -> bool:
    return await world.effects() == ["next"]
