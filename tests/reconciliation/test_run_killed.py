"""A comparison that is stopped wherever it waits leaves nothing that the next one does not put right."""

import asyncio
import random
from collections.abc import Callable, Coroutine, Generator
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from db.operators import reconciliation as desk
from db.states import DifferenceClass
from jobs.reconciliation.report import Report
from jobs.reconciliation.run import reconcile
from tests.reconciliation.looking_kit import ALL, World, small_life

WRONG = (
    "UPDATE invoices SET total_cents = total_cents + 1 WHERE status = 'open'",
    "UPDATE subscriptions SET status = 'unpaid' WHERE status = 'active'",
    "DELETE FROM refunds",
    "UPDATE payment_history SET refund_amount_cents = refund_amount_cents + 5 WHERE refund_amount_cents > 0",
)

PASSED = "UPDATE reconciliation_runs SET heartbeat_at = heartbeat_at - interval '1 minute' WHERE status = 'running'"

POINTS = 25
"""Of some hundreds of places where a run waits, so many are tried, by a seed."""


class Waits:
    """Runs `work`, counts how often it waits (for PostgreSQL, Stripe, other tasks), and stops it at the `fatal`th."""

    def __init__(self, work: Coroutine[Any, Any, Report], fatal: int = 0) -> None:
        self.work = work
        self.fatal = fatal
        self.seen = 0

    def __await__(self) -> Generator[Any, Any, Report]:
        inner = self.work.__await__()
        go_on: Callable[[], Any] = partial(inner.send, None)
        while True:
            try:
                waited = go_on()
            except StopIteration as end:
                return end.value
            self.seen += 1
            if self.seen == self.fatal:
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
            try:
                yield waited
                go_on = partial(inner.send, None)
            except BaseException as error:  # noqa: BLE001 - it is the run's, which is told of it
                go_on = partial(inner.throw, error)


@pytest.fixture
async def world(engine: AsyncEngine) -> World:
    world = World(engine, small_life())
    await world.tell()
    return world


async def spoil(world: World) -> None:
    """Make wrong again what the last run has mended.

    A run that is stopped while its beginning is committed cannot say so: it holds up others until it is taken for dead.
    """
    async with world.engine.begin() as conn:
        for sql in (*WRONG, PASSED):
            await conn.execute(text(sql))


async def mend(world: World, fatal: int = 0) -> tuple[Report, int]:
    """The report, and how often the run waited."""
    waits = Waits(
        reconcile(
            world.deps,
            asked_by="ada",
            patience=timedelta(),
            repairs=ALL - {DifferenceClass.MISSING_THERE},
            since=(await world.stripe()).as_of - timedelta(days=400),
        ),
        fatal,
    )

    async def run() -> Report:
        return await waits

    return await asyncio.create_task(run()), waits.seen


async def test_stopped_wherever_it_waits_and_made_again(world: World) -> None:
    chance = random.Random(7)  # noqa: S311 - which places are tried guards nothing
    _, length = await mend(world)
    stopped = 0
    for _ in range(POINTS):
        await spoil(world)
        try:
            await mend(world, chance.randint(1, length))
        except asyncio.CancelledError:
            stopped += 1
    await spoil(world)
    report, _ = await mend(world)
    assert stopped > POINTS // 2
    assert report.left == 0
    assert await world.oracle() == []
    assert (await mend(world))[0].found == 0
    async with world.engine.connect() as conn:
        assert await desk.differences(conn, limit=100) == []
        found = await desk.runs(conn, limit=100)
    assert {one["status"] for one in found} == {"done", "failed"}
    assert "it was stopped" in {one["error"] for one in found}
