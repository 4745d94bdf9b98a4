"""Forks a child for every await of processing, kills it there, and lets a second one finish the work."""

import asyncio
import json
import os
import sys
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any

import structlog

from db import queue
from db.engine import create_engine
from db.states import QueueName
from tests.crash.kit import DiesAt
from tests.worker.kit import NoStripe, World, apply_noted, effect, new_event, remember
from worker.clock import SystemClock
from worker.deps import Deps
from worker.registry import JobSpec, Registry
from worker.runner import Runner

EVENTS = 4
MOST_POINTS = 500


async def noted(d: Deps) -> None:
    """A job whose effect and end are one transaction."""
    async with d.tx():
        pass
    async with d.last_tx() as tx:
        await effect(tx, "job")


SPEC: JobSpec[...] = JobSpec("noted", noted, QueueName.BATCH, 3, timedelta(seconds=5))


async def reset(url: str) -> None:
    engine = create_engine(url)
    world = World(engine, url)
    await world.execute("TRUNCATE webhook_events, queue, jobs, job_attempts, effects")
    await remember(url, [new_event(n, "test.poison" if n == 0 else "test.noted") for n in range(EVENTS)])
    async with world.deps.tx() as tx:
        await tx.stage(SPEC.call())
    await engine.dispose()


async def work(url: str) -> None:
    """Claim and run everything in one task, so that each wait is a point of this coroutine."""
    engine = create_engine(url)
    registry = Registry(apply_events=apply_noted)
    registry.jobs["noted"] = SPEC
    deps = Deps(engine=engine, clock=SystemClock(), stripe=NoStripe())
    runner = Runner(deps, registry, queues=["events", "batch"], worker="w", lease=timedelta(seconds=15))
    async with runner.autocommit() as conn:
        await queue.sweep(conn, now=runner.deps.clock.now())
    for suspects in (False, True):
        while rows := await runner.claim("events", 1 if suspects else 100, suspects=suspects):
            await runner.events.apply(rows)
        while rows := await runner.claim("batch", 1, suspects=suspects):
            await runner.run_job(rows[0])
    await engine.dispose()


def forked(make: Coroutine[Any, Any, None], n: int | None) -> int:
    """Run in a child, killed at its n-th await. Returns the wait status."""
    child = os.fork()
    if child == 0:

        async def main() -> None:
            await (make if n is None else DiesAt(make, n))

        asyncio.run(main())
        os._exit(0)
    make.close()
    return os.waitpid(child, 0)[1]


async def look(url: str, *, expire: bool) -> dict[str, Any]:
    engine = create_engine(url)
    world = World(engine, url)
    if expire:
        await world.execute("UPDATE queue SET lease_until = now() - interval '1 second' WHERE lease_token IS NOT NULL")
        await world.execute("UPDATE queue SET due_at = now() WHERE due_at > now() AND name <> 'test.poison'")
    found = {
        "effects": await world.effects(),
        "statuses": await world.statuses(),
        "queue": [list(row) for row in await world.rows("SELECT name, dead_reason FROM queue")],
        "jobs": [row[0] for row in await world.rows("SELECT status FROM jobs")],
    }
    await engine.dispose()
    return found


def main(url: str) -> None:
    """One line of JSON for each point: how the world looks after the crash at it and a second, whole run."""
    for n in range(1, MOST_POINTS):
        asyncio.run(reset(url))
        status = forked(work(url), n)
        if status == 0:
            break
        asyncio.run(look(url, expire=True))
        finished = forked(work(url), None)
        print(json.dumps({"point": n, "killed": status, "finished": finished, **asyncio.run(look(url, expire=False))}))


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    main(sys.argv[1])
