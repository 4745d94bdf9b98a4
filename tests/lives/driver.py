"""Events are handed to the registered applier as the worker would hand them: in batches, with what is busy put back."""

import asyncio
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from db.inbox import StoredEvent
from tests.conftest import MovedClock
from tests.lives.ledger import TABLES
from tests.lives.shapes import Shape
from tests.lives.stripe_world import Told, World, WorldEvent
from worker.deps import Deps
from worker.errors import Refused, TryLater, Unconfigured
from worker.registry import Applied, Busy, Registry, discover


@dataclass(frozen=True, slots=True)
class Still:
    """A clock that stands at the end of a life."""

    time: datetime

    def now(self) -> datetime:
        """The end of the life."""
        return self.time


@dataclass(frozen=True, slots=True)
class WorldStripe:
    """Stripe's API, answering from one or more worlds."""

    worlds: Sequence[World]

    async def retrieve(self, path: str, **_params: Any) -> dict[str, Any]:
        """`GET /v1/{path}`."""
        for world in self.worlds:
            if (found := world.retrieve(path)) is not None:
                return found
        if path.startswith("invoices/"):
            raise Unconfigured("a world shows no whole invoices: the books are read instead")
        raise Refused(f"no such object: {path}")

    async def read(self, path: str, **params: Any) -> bytes:
        """The same as bytes."""
        return json.dumps(await self.retrieve(path, **params)).encode()

    async def act(self, method: str, path: str, *, idempotency_key: str, **_params: Any) -> dict[str, Any]:
        """Nothing is changed at Stripe in these tests."""
        raise Refused(f"no {method} {path} here ({idempotency_key})")


@dataclass(frozen=True, slots=True)
class Delivery:
    """An event on its way to us, in a shape, perhaps under another id than the first time."""

    event: WorldEvent
    shape: Shape = Shape.NEW
    event_id: str | None = None

    @property
    def told(self) -> Told:
        """What it tells beyond its object."""
        return self.event.told(self.shape)

    def stored(self) -> StoredEvent:
        """As it lies in the inbox."""
        return self.event.stored(self.shape, event_id=self.event_id)


class NotAppliedError(AssertionError):
    """An event failed, or stayed busy though nobody else was at work."""


def in_order(world: World, shape: Shape = Shape.NEW) -> list[Delivery]:
    """Each event once, in order, in one shape."""
    return [Delivery(event, shape) for event in world.events]


def registry() -> Registry:
    """The real handlers and jobs."""
    return discover("jobs")


def deps(engine: AsyncEngine, *worlds: World) -> Deps:
    """What work gets, at the end of the first of these worlds."""
    return Deps(engine, Still(worlds[0].at()), WorldStripe(worlds))


async def clear(engine: AsyncEngine) -> None:
    """Empty the ledger, the inbox and the queue. Few rows in many tables: DELETE takes a tenth of TRUNCATE's time."""
    after = ["dunning_steps", "dunning_cases", "suppressed_addresses", "emails"]
    tables = [*after, *TABLES, "webhook_events", "queue", "jobs", "job_attempts"]
    parts = [f"d{number} AS (DELETE FROM {name})" for number, name in enumerate(tables)]  # noqa: S608 - our own names
    async with engine.begin() as conn:
        await conn.execute(text(f"WITH {', '.join(parts)} SELECT"))


async def _apply(d: Deps, batch: Sequence[StoredEvent]) -> list[StoredEvent]:
    """Apply a batch in one transaction. Returns what was busy; an error is raised."""
    applier = registry().apply_events
    assert applier is not None
    async with d.tx() as tx:
        outcomes: Mapping[str, object] = await applier(tx, batch)
    assert outcomes.keys() == {e.id for e in batch}
    for event in batch:
        outcome = outcomes[event.id]
        if isinstance(outcome, Exception):
            raise NotAppliedError(f"{event.type} {event.id} failed:\n{event.payload.decode()}") from outcome
        assert isinstance(outcome, Applied | Busy)
        assert not (isinstance(outcome, Applied) and outcome.ignored), f"{event.type} was ignored"
    return [e for e in batch if isinstance(outcomes[e.id], Busy)]


def split(events: Sequence[StoredEvent], cuts: Sequence[int]) -> list[list[StoredEvent]]:
    """Cut at these places; in one batch an event comes once, as the queue guarantees."""
    batches: list[list[StoredEvent]] = [[]]
    for index, event in enumerate(events):
        if index in cuts or any(e.id == event.id for e in batches[-1]):
            batches.append([])
        batches[-1].append(event)
    return [batch for batch in batches if batch]


async def _run_due(d: Deps) -> tuple[int, int]:
    """Run each due job once, but send no letters. Returns how many there were, and how many of them have to wait."""
    async with d.engine.connect() as conn:
        found = await conn.execute(
            text(
                "SELECT q.id, j.name, j.args FROM queue q JOIN jobs j ON j.id = q.job_id"
                " WHERE q.due_at <= :now AND q.queue <> 'mail' ORDER BY q.id"
            ),
            {"now": d.clock.now()},
        )
        due = found.all()
    waiting = 0
    for row, name, args in due:
        try:
            await registry().jobs[name].run(d, args)
        except TryLater:
            waiting += 1
            continue
        async with d.engine.begin() as conn:
            await conn.execute(text("DELETE FROM queue WHERE id = :id"), {"id": row})
    return len(due), waiting


async def run_jobs(d: Deps) -> None:
    """Run the jobs that are due, and those that these stage, until none is left. Nobody else is at work."""
    for _ in range(20):
        due, waiting = await _run_due(d)
        if waiting:
            raise NotAppliedError("a job has to wait, though nobody else is at work")
        if not due:
            return
    raise NotAppliedError("jobs stage jobs without end")


async def apply_batch(d: Deps, batch: Sequence[StoredEvent]) -> None:
    """Apply a batch while nobody else is at work: nothing may be busy."""
    busy = await _apply(d, batch)
    if busy:
        raise NotAppliedError(f"busy, though nobody else is at work: {[e.type for e in busy]}")


async def apply_all(
    engine: AsyncEngine, world: World, deliveries: Sequence[Delivery], cuts: Sequence[int] = (), *, jobs: bool = True
) -> None:
    """Apply the deliveries in this order, cut into batches, and run what they stage."""
    d = deps(engine, world)
    for batch in split([x.stored() for x in deliveries], cuts):
        await apply_batch(d, batch)
    if jobs:
        await run_jobs(d)


async def apply_as_it_happens(engine: AsyncEngine, world: World, deliveries: Sequence[Delivery]) -> None:
    """Each event comes a second after it happened, and the jobs run when they are due; the clock ends with the life."""
    clock = MovedClock(deliveries[0].event.at())
    d = Deps(engine, clock, WorldStripe([world]))
    for delivery in deliveries:
        clock.move(max(delivery.event.at() + timedelta(seconds=1) - clock.now(), timedelta(0)))
        await run_jobs(d)
        await apply_batch(d, [delivery.stored()])
    clock.move(world.at() - clock.now())
    await run_jobs(d)


async def apply_at_once(d: Deps, deliveries: Sequence[Delivery], *, workers: int, seed: int, largest: int = 12) -> None:
    """Several workers take batches from the front until nothing is left, while another runs the jobs they stage."""
    dice = random.Random(seed)  # noqa: S311 - a test's dice, from a seed that is printed
    waiting = [x.stored() for x in deliveries]
    at_work = 0

    async def work() -> None:
        nonlocal at_work
        while waiting or at_work:
            batch: list[StoredEvent] = []
            for event in waiting[: dice.randint(1, largest)]:
                if all(e.id != event.id for e in batch):
                    batch.append(event)
                    waiting.remove(event)
            if not batch:
                await asyncio.sleep(0.001)
                continue
            at_work += 1
            try:
                for event in await _apply(d, batch):
                    waiting.insert(min(dice.randint(0, largest), len(waiting)), event)
            finally:
                at_work -= 1

    async def run() -> None:
        while waiting or at_work:
            await _run_due(d)
            await asyncio.sleep(0.005)

    async with asyncio.TaskGroup() as group:
        group.create_task(run())
        for _ in range(workers):
            group.create_task(work())
    await run_jobs(d)
