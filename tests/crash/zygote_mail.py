"""Forks a child for every await of sending a letter, kills it there, and lets a second one finish the work."""

import asyncio
import json
import os
import ssl
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import structlog

from db import queue
from db.engine import create_engine
from jobs.mail.brand import brand_from
from jobs.mail.letters import Recipient, stage_letter
from jobs.mail.render import render
from jobs.mail.samples import SAMPLES
from tests.crash.kit import DiesAt
from tests.worker.kit import NoStripe, World
from worker.adapters.mail_smtp import SmtpMailer
from worker.clock import SystemClock
from worker.deps import Deps
from worker.registry import discover
from worker.runner import Runner
from worker.settings import Settings

MOST_POINTS = 500
SETTINGS = Settings(mail_from="billing@northwind.example", billing_home=Path("/nonexistent"))
REGISTRY = discover("jobs")
TRUST = ssl.create_default_context()
FACTS: dict[str, Any] = msgspec.to_builtins(SAMPLES["receipt"][0])
FINISH = (
    "UPDATE queue SET lease_until = now() - interval '1 second' WHERE lease_token IS NOT NULL",
    "UPDATE queue SET due_at = now() WHERE due_at > now()",
)
LETTER = """
SELECT e.message_id, e.status, e.copies, e.attempts, j.status AS job FROM emails e JOIN jobs j ON j.id = e.job_id
WHERE e.key = :key
"""


async def reset(url: str, key: str) -> None:
    """Nothing is queued but this letter."""
    engine = create_engine(url)
    world = World(engine, url)
    await world.execute("TRUNCATE queue, job_attempts")
    async with world.deps.tx() as tx:
        to = Recipient("ada@example.com", "Ada Lovelace")
        await stage_letter(tx, "receipt", SAMPLES["receipt"][0], key=key, to=to, occurred_at=tx.now)
    await engine.dispose()


async def work(url: str, port: int) -> None:
    """Claim and send in one task, so that each wait is a point of this coroutine."""
    engine = create_engine(url)
    mailer = SmtpMailer(f"smtp://127.0.0.1:{port}", context=TRUST)
    deps = Deps(engine=engine, clock=SystemClock(), stripe=NoStripe(), mailer=mailer, settings=SETTINGS)
    runner = Runner(deps, REGISTRY, queues=["mail"], worker="w", lease=timedelta(seconds=15))
    async with runner.autocommit() as conn:
        await queue.sweep(conn, now=runner.deps.clock.now())
    for suspects in (False, True):
        while rows := await runner.claim("mail", 1, suspects=suspects):
            await runner.run_job(rows[0])
    await mailer.close()
    await engine.dispose()


def forked(url: str, port: int, n: int | None) -> int:
    """Work in a child, killed at its n-th await. Returns the wait status."""
    child = os.fork()
    if child == 0:

        async def main() -> None:
            await (work(url, port) if n is None else DiesAt(work(url, port), n))

        asyncio.run(main())
        os._exit(0)
    return os.waitpid(child, 0)[1]


async def look(url: str, key: str) -> dict[str, Any]:
    engine = create_engine(url)
    world = World(engine, url)
    ((message_id, status, copies, attempts, job),) = await world.rows(LETTER, key=key)
    for statement in FINISH:
        await world.execute(statement)
    await engine.dispose()
    return {"message_id": message_id, "status": status, "copies": copies, "attempts": attempts, "job": job}


def main(url: str, port: int) -> None:
    """One line of JSON for each point: the letter after the crash at it, and after a second, whole run."""
    render("receipt", FACTS, locale=None, timezone=None, brand=brand_from(SETTINGS))  # once, for all children
    for n in range(1, MOST_POINTS):
        key = f"receipt/in_{n}"
        asyncio.run(reset(url, key))
        status = forked(url, port, n)
        crashed = asyncio.run(look(url, key))
        finished = 0 if status == 0 else forked(url, port, None)
        told = {"point": n, "finished": finished, "crashed": crashed, **asyncio.run(look(url, key))}
        sys.stdout.write(json.dumps(told) + "\n")
        if status == 0:
            break


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    main(sys.argv[1], int(sys.argv[2]))
