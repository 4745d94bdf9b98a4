"""Forks a child for every await of rendering, storing and mailing, kills it there, and lets a second one finish."""

import asyncio
import hashlib
import json
import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import text

from db import queue
from db.engine import create_engine
from jobs.invoices.issue import issue
from jobs.invoices.sellers import sellers_from
from tests.crash.kit import DiesAt
from tests.invoices.office import FakePdf, draft
from tests.mail.carriers import FakeMailer
from tests.worker.kit import NoStripe, World
from worker.adapters.storage_local import LocalFiles
from worker.clock import SystemClock
from worker.deps import Deps
from worker.registry import discover
from worker.runner import Runner
from worker.settings import Settings

MOST_POINTS = 500
SETTINGS = Settings(mail_from="billing@nordlicht.example", billing_home=Path("/nonexistent"))
REGISTRY = discover("jobs")
FINISH = (
    "UPDATE queue SET lease_until = now() - interval '1 second' WHERE lease_token IS NOT NULL",
    "UPDATE queue SET due_at = now() WHERE due_at > now()",
)
FOUND = """
SELECT d.status, d.file, d.sha256, d.attempts, i.invoice_pdf_url AS url, i.invoice_number AS number,
       (SELECT count(*) FROM emails e WHERE e.document_ids = ARRAY[d.id]) AS letters
FROM documents d JOIN invoices i ON i.id = d.invoice_id WHERE d.id = :id
"""


class OtherPdf(FakePdf):
    """A renderer that never makes the same bytes twice: another version after each crash."""

    async def render(self, document: bytes) -> bytes:
        await asyncio.sleep(0)
        return await super().render(document + os.urandom(8))


async def reset(url: str) -> int:
    """Nothing is queued but one new document."""
    engine = create_engine(url)
    world = World(engine, url)
    await world.execute("TRUNCATE queue, job_attempts")
    async with world.deps.tx() as tx:
        made = await issue(tx, draft(), sellers_from(SETTINGS), livemode=False)
    await engine.dispose()
    assert made.document_id is not None
    return made.document_id


async def work(url: str, folder: Path) -> None:
    """Claim and render in one task, so that each wait is a point of this coroutine."""
    engine = create_engine(url)
    deps = Deps(
        engine=engine,
        clock=SystemClock(),
        stripe=NoStripe(),
        mailer=FakeMailer(),
        settings=SETTINGS,
        pdf=OtherPdf(),
        files=LocalFiles(folder),
    )
    runner = Runner(deps, REGISTRY, queues=["pdf"], worker="w", lease=timedelta(seconds=15))
    async with runner.autocommit() as conn:
        await queue.sweep(conn, now=runner.deps.clock.now())
    for suspects in (False, True):
        while rows := await runner.claim("pdf", 1, suspects=suspects):
            await runner.run_job(rows[0])
    await engine.dispose()


def forked(url: str, folder: Path, n: int | None) -> int:
    """Work in a child, killed at its n-th await. Returns the wait status."""
    child = os.fork()
    if child == 0:

        async def main() -> None:
            await (work(url, folder) if n is None else DiesAt(work(url, folder), n))

        asyncio.run(main())
        os._exit(0)
    return os.waitpid(child, 0)[1]


async def look(url: str, folder: Path, document_id: int) -> dict[str, Any]:
    engine = create_engine(url)
    world = World(engine, url)
    async with engine.connect() as conn:
        row = dict((await conn.execute(text(FOUND), {"id": document_id})).mappings().one())
    for statement in FINISH:
        await world.execute(statement)
    await engine.dispose()
    path = folder / row["file"]
    row["kept"] = hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None
    return row


def main(url: str, folder: Path) -> None:
    """One line of JSON for each point: the document after the crash at it, and after a second, whole run."""
    for n in range(1, MOST_POINTS):
        document_id = asyncio.run(reset(url))
        status = forked(url, folder, n)
        crashed = asyncio.run(look(url, folder, document_id))
        finished = 0 if status == 0 else forked(url, folder, None)
        told = {"point": n, "finished": finished, "crashed": crashed, **asyncio.run(look(url, folder, document_id))}
        sys.stdout.write(f"{json.dumps(told)}\n")
        sys.stdout.flush()  # a child that is forked next must not write it, too
        if status == 0:
            break


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    main(sys.argv[1], Path(sys.argv[2]))
