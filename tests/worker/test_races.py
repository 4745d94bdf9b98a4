"""Moments between two awaits at which work could be held for ever, doubled or forgotten, each forced to happen."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from db import inbox, queue
from db.inbox import StoredEvent
from tests.worker.kit import World, effect, job, new_event, processed, remember, run_until_idle, stage, until
from worker.deps import Deps, Tx
from worker.registry import Applied, Busy, Outcome


async def test_an_error_between_claim_and_work_gives_the_events_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL hiccups after a large claim: the events are not held for as long as the worker lives."""
    real, failed = inbox.customers, asyncio.Event()

    async def hiccup(conn: AsyncConnection, ids: list[str]) -> dict[str, str]:
        if not failed.is_set():
            failed.set()
            raise ConnectionResetError("gone for a moment")
        return await real(conn, ids)

    monkeypatch.setattr(inbox, "customers", hiccup)
    await remember(world.url, [new_event(n) for n in range(300)])
    async with world.runner() as runner:
        await runner.start()
        await until(lambda: processed(world, 300), within=15)
        assert failed.is_set()
        assert runner.running.tokens == {}


async def test_orphans_that_come_while_others_are_released_are_released_too(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await remember(world.url, [new_event(n) for n in range(4)])
    async with world.runner() as runner:
        first, second = await runner.claim("events", 2), await runner.claim("events", 2)
        runner.orphan(first)
        real, interrupted = queue.release, asyncio.Event()

        async def interrupting(conn: AsyncConnection, rows: list[queue.Claimed], *, due_at: datetime) -> None:
            await real(conn, rows, due_at=due_at)
            if not interrupted.is_set():
                interrupted.set()
                runner.orphan(second)

        monkeypatch.setattr(queue, "release", interrupting)
        await runner.start()
        await until(lambda: processed(world, 4), within=10)


async def test_a_job_claimed_while_the_worker_stops_is_not_started(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody would wait for it: its outside effect would come twice."""
    sent: list[str] = []

    async def mail(d: Deps) -> None:
        sent.append(d.worker)
        async with d.last_tx() as tx:
            await effect(tx, "mailed")

    await stage(world, job(world.registry, mail))
    real, claimed, go_on = queue.claim, asyncio.Event(), asyncio.Event()

    async def slow(*args: Any, **options: Any) -> list[queue.Claimed]:
        rows = await real(*args, **options)
        if rows:
            claimed.set()
            await go_on.wait()
        return rows

    monkeypatch.setattr(queue, "claim", slow)
    async with world.runner(worker="stops") as runner:
        runner.wake("batch")
        await claimed.wait()
        stopping = asyncio.create_task(runner.stop(timedelta(seconds=10)))
        await until(lambda: runner.stopping)
        go_on.set()
        await stopping
    monkeypatch.setattr(queue, "claim", real)
    await run_until_idle(world, worker="next")
    assert sent == ["next"]
    assert await world.effects() == ["mailed"]


async def test_a_busy_event_does_not_wait_for_the_sweep(world: World) -> None:
    """Its customer is free again in a moment; the drain that put it back looks again by itself."""
    busy_once: set[str] = set()

    async def apply(tx: Tx, events: Sequence[StoredEvent]) -> Mapping[str, Outcome]:
        outcomes: dict[str, Outcome] = {}
        for event in events:
            if event.id == "evt_000001" and event.id not in busy_once:
                busy_once.add(event.id)
                outcomes[event.id] = Busy()
            else:
                await effect(tx, event.id)
                outcomes[event.id] = Applied()
        return outcomes

    world.registry.apply_events = apply
    await remember(world.url, [new_event(1), new_event(2)])
    async with world.runner() as runner:  # without its loops: nothing sweeps
        drain = runner.wake("events")
        assert drain is not None
        await drain
    assert await world.effects() == ["evt_000001", "evt_000002"]


async def test_running_an_event_again_keeps_the_story_of_what_it_changed(world: World) -> None:
    async def apply(tx: Tx, events: Sequence[StoredEvent]) -> Mapping[str, Outcome]:
        first = not await world.effects()
        await effect(tx, "applied")
        return {event.id: Applied(effects={"changed": ["users"] if first else []}) for event in events}

    world.registry.apply_events = apply
    await remember(world.url, [new_event(1)])
    await run_until_idle(world)
    await world.execute("INSERT INTO queue (queue, name, event_id, due_at) VALUES ('events', 'x', 'evt_000001', now())")
    await run_until_idle(world)
    assert await world.effects() == ["applied", "applied"]
    assert await world.rows("SELECT effects FROM webhook_events") == [({"changed": ["users"]},)]


async def test_leases_are_renewed_around_rows_that_are_being_finished(world: World) -> None:
    """A batch that finishes its rows one by one and a heartbeat that renews them all never wait for each other."""
    await remember(world.url, [new_event(n) for n in range(3)])
    lease = timedelta(minutes=5)
    async with world.runner() as runner:
        rows = await runner.claim("events", 3)
        async with world.engine.begin() as batch:
            await queue.hold(batch, rows[1])
            async with asyncio.timeout(5), world.engine.begin() as heartbeat:
                tokens = sorted({row.token for row in rows})
                await queue.renew(heartbeat, tokens=tokens, worker=runner.worker, lease=lease)
        renewed = await world.rows("SELECT id FROM queue WHERE lease_until > clock_timestamp() + interval '1 minute'")
        assert {id_ for (id_,) in renewed} == {rows[0].id, rows[2].id}
