"""A document whose job can no longer tell of its end is parked with it, and an operator's retry renders it."""

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from db import documents, queue
from db.operators import jobs as operators
from db.operators.actions import Actor
from db.queue import LOST_LIMIT
from db.states import DeadReason
from jobs.invoices.issue import Issued
from tests.conftest import MovedClock
from tests.invoices.office import Office
from worker.failures import classify


@pytest.fixture
def office(engine: AsyncEngine, clock: MovedClock, tmp_path: Path) -> Office:
    return Office(engine, clock, tmp_path)


async def is_parked(office: Office, issued: Issued, why: str) -> None:
    row = await office.document(issued)
    assert (row.status, row.reason, row.sha256) == ("dead", why, None)
    async with office.engine.connect() as conn:
        assert await documents.parked(conn) == (1, row.job_id)


async def is_mended(office: Office, issued: Issued) -> None:
    await office.retry((await office.document(issued)).job_id)
    async with office.engine.connect() as conn:
        assert await documents.parked(conn) == (0, None)
    await office.work()
    row = await office.document(issued)
    assert (row.status, row.reason) == ("stored", None)
    assert len(await office.letters()) == 1


async def test_its_worker_died_again_and_again(office: Office) -> None:
    issued = await office.issue()
    for _ in range(LOST_LIMIT):
        async with office.engine.begin() as conn:
            (row,) = await queue.claim(
                conn, queue="pdf", limit=1, worker="w", lease=timedelta(seconds=9), now=office.clock.now(),
                suspects=(await office.query("SELECT lost FROM queue"))[0]["lost"] > 0,
            )  # fmt: skip
            assert row.name == "render_document"
            await queue.expire_worker(conn, "w")
        async with office.engine.begin() as conn:
            await queue.sweep(conn, now=office.clock.now())
    assert (await office.job((await office.document(issued)).job_id))["dead_reason"] == "worker_lost"
    await is_parked(office, issued, f"its worker died {LOST_LIMIT} times while it ran")
    await is_mended(office, issued)


async def test_its_time_was_up(office: Office) -> None:
    """What a cancelled attempt cannot write down, who parks the job does."""
    issued = await office.issue()
    async with office.engine.begin() as conn:
        (row,) = await queue.claim(
            conn, queue="pdf", limit=1, worker="w", lease=timedelta(seconds=9), now=office.clock.now()
        )
        failure = classify(TimeoutError(), attempt=24, tries=24, now=office.clock.now(), chance=0)
        assert failure.dead is DeadReason.TIMEOUT
        await queue.fail(conn, row, failure, now=office.clock.now(), worker="w")
    await is_parked(office, issued, failure.error)
    await is_mended(office, issued)


async def test_an_operator_took_its_job_away(office: Office) -> None:
    issued = await office.issue()
    job = (await office.document(issued)).job_id or 0
    async with office.engine.begin() as conn:
        wanted = await operators.cancel_of_ids(conn, [job])
        await operators.cancel(conn, wanted, Actor("ada"), now=office.clock.now())
    await is_parked(office, issued, "its job was cancelled")
    await is_mended(office, issued)
