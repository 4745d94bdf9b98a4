"""The demo knows when the workers are done: what stands still until a day comes is no work left, a held lock is."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from db import queue
from db.states import QueueName
from deploy.demo.ledger import Ledger
from jobs.reconciliation.daily import reconcile_books
from tests.conftest import MovedClock
from tests.worker.kit import NoStripe
from worker.deps import Deps


@pytest.mark.parametrize(("wait", "left"), [(timedelta(0), 1), (timedelta(seconds=1), 1), (timedelta(days=1), 0)])
async def test_what_comes_again_at_once_is_left_to_do(
    engine: AsyncEngine, database_url: str, clock: MovedClock, wait: timedelta, left: int
) -> None:
    now = clock.now()
    async with engine.begin() as conn:
        await queue.stage_job(
            conn, name="mend", queue=QueueName.BATCH, args={}, now=now, due_at=now, unique_key=None, staged_by=None
        )
        (row,) = await queue.claim(
            conn, queue=QueueName.BATCH, worker="w", limit=1, lease=timedelta(seconds=15), now=now
        )
        await queue.release(conn, [row], due_at=now + wait)

    def backlog() -> tuple[int, int]:
        with Ledger(database_url, "redis://127.0.0.1:1", clock.now) as ledger:
            return ledger.backlog()

    assert await asyncio.to_thread(backlog) == (left, 0)


async def test_a_comparison_with_stripe_goes_on_until_its_job_is_done(
    engine: AsyncEngine, database_url: str, clock: MovedClock
) -> None:
    """The job's name stands in a row: were it another one, the demo's clock would wait for nothing."""

    def going_on() -> bool:
        with Ledger(database_url, "redis://127.0.0.1:1", clock.now) as ledger:
            return ledger.reconciling()

    assert not await asyncio.to_thread(going_on)
    async with Deps(engine, clock, NoStripe()).tx() as tx:
        await tx.stage(reconcile_books.call(period=clock.now()))
    assert await asyncio.to_thread(going_on)
    async with engine.begin() as conn:
        await conn.execute(text("DELETE FROM queue"))
    assert not await asyncio.to_thread(going_on)
