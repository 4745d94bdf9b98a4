"""Old finished work goes; what guards against doing things twice stays, and so does what is not finished."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from db import housekeeping
from jobs.housekeeping.forget_old_work import forget_old_work
from tests.worker.kit import World
from worker.registry import Registry

NOW = datetime.now(UTC)


@pytest.fixture
def world(engine: AsyncEngine, database_url: str) -> World:
    registry = Registry()
    registry.jobs[forget_old_work.name] = forget_old_work  # type: ignore[assignment] - ParamSpec is invariant
    return World(engine, database_url, registry=registry)


async def put_job(world: World, name: str, *, status: str, age: timedelta, key: str | None = None) -> None:
    await world.execute(
        "INSERT INTO jobs (name, queue, args, status, unique_key, created_at, finished_at)"
        " VALUES (:name, 'batch', '{}', :status, :key, :then, :then)",
        name=name,
        status=status,
        key=key,
        then=NOW - age,
    )


async def test_only_what_is_old_done_and_unguarded_is_forgotten(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(housekeeping, "CHUNK", 2)
    old, young = timedelta(days=400), timedelta(days=2)
    for number in range(5):
        await put_job(world, f"old done {number}", status="done", age=old)
    await put_job(world, "old dead", status="dead", age=old)
    await put_job(world, "old but guarded", status="done", age=old, key="receipt/in_1")
    await put_job(world, "young", status="done", age=young)
    await world.execute(
        "INSERT INTO job_attempts (event_id, name, ended_at, outcome) VALUES ('evt_old', 'x', :old, 'failed'),"
        " ('evt_young', 'x', :young, 'failed')",
        old=NOW - old,
        young=NOW - young,
    )
    await world.execute(
        "INSERT INTO workers VALUES ('gone', 'h', 1, '[]', :old, :old, 0), ('here', 'h', 2, '[]', :now, :now, 0)",
        old=NOW - old,
        now=NOW,
    )
    async with world.deps.tx() as tx:
        await tx.stage(forget_old_work.call(period=NOW))
    async with world.runner(queues=["batch"]) as runner:
        [row] = await runner.claim("batch", 1)
        await runner.run_job(row)
    names = await world.rows("SELECT name FROM jobs WHERE name <> 'forget_old_work' ORDER BY name")
    assert names == [("old but guarded",), ("old dead",), ("young",)]
    assert await world.rows("SELECT event_id FROM job_attempts") == [("evt_young",)]
    assert await world.rows("SELECT id FROM workers") == [("here",)]
    assert await world.rows("SELECT status FROM jobs WHERE name = 'forget_old_work'") == [("done",)]
