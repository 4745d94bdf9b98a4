"""What the engine's tests share: a registry of their own jobs, an applier that notes what it applied, rows."""

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from db import inbox, queue
from db.inbox import NewEvent, StoredEvent
from db.states import QueueName
from worker.clock import SystemClock
from worker.deps import Deps, Tx
from worker.ports import Clock
from worker.registry import Applied, JobSpec, Outcome, Registry, discover
from worker.runner import Runner

ROUNDS = {"verify", "reconcile", "stripe-fees", "outages"}
"""Schedules with suites of their own: where months pass in a moment they would only run once more for each."""

EFFECTS = "CREATE TABLE IF NOT EXISTS effects (id bigint GENERATED ALWAYS AS IDENTITY, what text, pid int)"


def without_rounds() -> Registry:
    """All the jobs there are, and the schedules but for `ROUNDS`."""
    known = discover("jobs")
    return replace(known, schedules={name: spec for name, spec in known.schedules.items() if name not in ROUNDS})


class NoStripe:
    """Stripe's API, for work that must not ask it anything."""

    async def retrieve(self, path: str, **params: Any) -> dict[str, Any]:
        raise AssertionError(f"Stripe was asked for {path} {params}")

    async def read(self, path: str, **params: Any) -> bytes:
        raise AssertionError(f"Stripe was asked for {path} {params}")

    async def act(self, method: str, path: str, *, idempotency_key: str, **params: Any) -> dict[str, Any]:
        raise AssertionError(f"Stripe was told to {method} {path} {params} as {idempotency_key}")


def new_event(number: int, kind: str = "test.noted", payload: bytes = b"{}") -> NewEvent:
    now = datetime.now(UTC)
    return NewEvent(f"evt_{number:06}", kind, "2026-10-28.endive", False, None, None, None, payload, now, now)  # noqa: FBT003 - a row


async def remember(url: str, events: Sequence[NewEvent]) -> None:
    connection = await inbox.connect(url, timeout=5, application_name="test")
    await inbox.remember(connection, events)
    await connection.close()


async def effect(tx: Tx, what: str) -> None:
    """The effect that must happen exactly once."""
    await tx.conn.execute(
        text("INSERT INTO effects (what, pid) VALUES (:what, :pid)"), {"what": what, "pid": os.getpid()}
    )


async def apply_noted(tx: Tx, events: Sequence[StoredEvent]) -> Mapping[str, Outcome]:
    """Notes each event as an effect; an event of type `test.poison` fails its whole batch."""
    for event in events:
        if event.type == "test.poison":
            raise ValueError(f"poison: {event.id}")
        await effect(tx, event.id)
    return {event.id: Applied() for event in events}


@dataclass
class World:
    """A database with runners on it."""

    engine: AsyncEngine
    url: str
    clock: Clock = field(default_factory=SystemClock)
    registry: Registry = field(default_factory=lambda: Registry(apply_events=apply_noted))

    @property
    def deps(self) -> Deps:
        return Deps(engine=self.engine, clock=self.clock, stripe=NoStripe())

    @asynccontextmanager
    async def runner(
        self, *, worker: str = "w1", lease: float = 15, queues: Sequence[str] = ("events", "batch"), grace: float = 5
    ) -> AsyncGenerator[Runner]:
        made = Runner(
            self.deps, self.registry, queues=queues, worker=worker, lease=timedelta(seconds=lease), slots={"batch": 4}
        )
        try:
            yield made
        finally:
            await made.stop(timedelta(seconds=grace))

    async def rows(self, sql: str, **values: object) -> list[tuple[Any, ...]]:
        async with self.engine.connect() as conn:
            return [tuple(row) for row in await conn.execute(text(sql), values)]

    async def execute(self, sql: str, **values: object) -> None:
        async with self.engine.begin() as conn:
            await conn.execute(text(sql), values)

    async def effects(self) -> list[str]:
        return [row[0] for row in await self.rows("SELECT what FROM effects ORDER BY what")]

    async def statuses(self) -> dict[str, int]:
        return {row[0]: row[1] for row in await self.rows("SELECT status, count(*) FROM webhook_events GROUP BY 1")}


async def until(condition: Callable[[], Any], *, within: float = 30, why: str = "") -> None:
    """Wait until `condition` (sync or async) holds; fail with `why` after `within` seconds."""
    async with asyncio.timeout(within):
        while True:
            answer = condition()
            if asyncio.iscoroutine(answer):
                answer = await answer
            if answer:
                return
            await asyncio.sleep(0.02)  # a condition's poll, bounded by the timeout: not a guess at a duration
    raise AssertionError(why)


async def processed(world: World, count: int) -> bool:
    """Whether exactly `count` events are processed."""
    return (await world.statuses()).get("processed") == count


def job(
    registry: Registry, fn: object, *, tries: int = 3, timeout: float = 5, on: QueueName = QueueName.BATCH
) -> JobSpec[...]:
    """Register `fn` with this test's registry only."""
    spec: JobSpec[...] = JobSpec(fn.__name__, fn, on, tries, timedelta(seconds=timeout))  # type: ignore[attr-defined,arg-type] - any function
    registry.jobs[spec.name] = spec
    return spec


async def stage(world: World, spec: JobSpec[...], *args: object, unique_key: str | None = None) -> int | None:
    async with world.deps.tx() as tx:
        return await tx.stage(spec.call(*args), unique_key=unique_key)


async def run_until_idle(world: World, **options: object) -> None:
    """Drain until no row is due (what waits for a retry stays)."""
    async with world.runner(**options) as runner:  # type: ignore[arg-type] - handed on
        await runner.sweep()
        await until(lambda: idle(world, runner.queues))


async def idle(world: World, queues: tuple[str, ...]) -> bool:
    async with world.engine.connect() as conn:
        leased = (await conn.execute(text("SELECT count(*) FROM queue WHERE lease_token IS NOT NULL"))).scalar_one()
        return not leased and not await queue.due_queues(conn, queues, now=world.clock.now())
