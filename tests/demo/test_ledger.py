"""The demo knows when the workers are done: what stands still until a day comes is no work left, a held lock is."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from db import queue
from db.states import QueueName
from deploy.demo.ledger import Ledger
from tests.conftest import MovedClock


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
