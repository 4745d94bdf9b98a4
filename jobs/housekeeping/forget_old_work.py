"""Finished work is forgotten after a season, so that the tables of the engine stay small."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from db import housekeeping, workers
from db.states import QueueName
from worker.deps import Deps
from worker.registry import job, schedule

KEEP_JOBS = timedelta(days=90)
KEEP_ATTEMPTS = timedelta(days=180)
KEEP_WORKERS = timedelta(days=1)

Delete = Callable[[AsyncConnection, datetime], Awaitable[int]]


@schedule("housekeeping", "17 3 * * *")
@job(queue=QueueName.BATCH, tries=3, timeout=timedelta(seconds=55))
async def forget_old_work(d: Deps, period: datetime) -> None:
    """Delete done jobs, attempts and dead workers' rows that are older than they are kept, counted from `period`."""
    await _in_chunks(d, housekeeping.delete_done_jobs, period - KEEP_JOBS)
    await _in_chunks(d, housekeeping.delete_attempts, period - KEEP_ATTEMPTS)
    async with d.last_tx() as tx:
        await workers.forget_before(tx.conn, period - KEEP_WORKERS)


async def _in_chunks(d: Deps, delete: Delete, before: datetime) -> None:
    while True:
        async with d.tx() as tx:
            if await delete(tx.conn, before) < housekeeping.CHUNK:
                return
