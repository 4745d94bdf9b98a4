"""Forks a child for every await of a partner's monthly invoice, kills it there, and lets a second one finish."""

import asyncio
import json
import os
import sys
from collections.abc import Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import text

from db import queue
from db.engine import create_engine
from jobs.partners.run import partner_invoices
from tests.conftest import MovedClock
from tests.crash.kit import DiesAt
from tests.partners.run_kit import Firm, at
from worker.registry import discover
from worker.runner import Runner

MOST_POINTS = 2_000
REGISTRY = discover("jobs")
NOW = at("2026-12-01 12:00")
FINISH = (
    "UPDATE queue SET lease_until = now() - interval '1 second' WHERE lease_token IS NOT NULL",
    "UPDATE queue SET due_at = '2026-12-01 12:00+00' WHERE due_at > '2026-12-01 12:00+00'",
)


async def prepared(url: str, folder: Path) -> None:
    """A partner whose October is invoiced, of which usage came late; November is due."""
    engine = create_engine(url)
    firm = Firm(engine, MovedClock(NOW), folder)
    await firm.contract(contract_start_date="2026-10-01", tax_percent="19", alarm_factor=0)
    await firm.use("2026-10-05 12:00", 10_000)
    await firm.on("2026-11-01 12:00")
    await firm.use("2026-10-06 12:00", 2_000)
    await firm.use("2026-11-05 12:00", 4_000)
    await firm.execute(
        "INSERT INTO credits (api_key_prefix, kind, currency, amount_cents, remaining_cents, reason, created_at,"
        " created_by) VALUES ('nw', 'goodwill', 'eur', 500, 500, 'sorry', now(), 'ada')"
    )
    await engine.dispose()


async def staged(url: str, folder: Path) -> None:
    """The hour has come."""
    engine = create_engine(url)
    firm = Firm(engine, MovedClock(NOW), folder)
    await firm.execute("DELETE FROM queue")
    async with firm.deps.tx() as tx:
        await tx.stage(partner_invoices.call(period=NOW))
    await engine.dispose()


async def work(url: str, folder: Path) -> None:
    """Claim and run in one task, so that each wait is a point of this coroutine."""
    engine = create_engine(url)
    firm = Firm(engine, MovedClock(NOW), folder)
    runner = Runner(firm.deps, REGISTRY, queues=["batch"], worker="w", lease=timedelta(seconds=15))
    async with runner.autocommit() as conn:
        await queue.sweep(conn, now=NOW)
    for suspects in (False, True, False):
        while rows := await runner.claim("batch", 1, suspects=suspects):
            await runner.run_job(rows[0])
    await engine.dispose()


def forked(make: Coroutine[Any, Any, None], n: int | None) -> int:
    """Work in a child, killed at its n-th await. Returns the wait status."""
    child = os.fork()
    if child == 0:

        async def main() -> None:
            await (make if n is None else DiesAt(make, n))

        asyncio.run(main())
        os._exit(0)
    make.close()
    return os.waitpid(child, 0)[1]


async def look(url: str) -> dict[str, Any]:
    engine = create_engine(url)
    found: dict[str, Any] = {}
    async with engine.connect() as conn:
        for name, sql in {
            "periods": "SELECT status, total_cents, billed_cents FROM usage_invoices ORDER BY period_start",
            "invoices": "SELECT invoice_number, status, total_cents, amount_due_cents FROM invoices ORDER BY id",
            "credits": "SELECT remaining_cents FROM credits ORDER BY id",
            "spent": "SELECT sum(amount_cents)::bigint FROM credit_applications",
            "next": "SELECT next_number FROM invoice_series",
            "renderings": "SELECT count(*) FROM jobs WHERE name = 'render_document'",
            "left": "SELECT name FROM queue WHERE queue = 'batch'",
        }.items():
            found[name] = [list(row) for row in await conn.execute(text(sql))]
    await engine.dispose()
    return found


async def settle(url: str) -> None:
    engine = create_engine(url)
    async with engine.begin() as conn:
        for sql in FINISH:
            await conn.execute(text(sql))
    await engine.dispose()


async def copied(server: str, template: str, name: str) -> None:
    """A database of its own for one point."""
    engine = create_engine(server)
    async with engine.connect() as conn:
        await conn.execution_options(isolation_level="AUTOCOMMIT")
        await conn.execute(text(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
        await conn.execute(text(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY"))
    await engine.dispose()


def main(url: str, server: str, folder: Path, stride: int) -> None:
    """One line of JSON for each point: how the books stand after a crash there and a second, whole run."""
    name = url.split("/")[3].partition("?")[0]
    asyncio.run(prepared(url, folder))
    asyncio.run(staged(url, folder))
    own = url.replace(name, f"{name}_x")
    for n in range(1, MOST_POINTS, stride):
        asyncio.run(copied(server, name, f"{name}_x"))
        status = forked(work(own, folder), n)
        crashed = asyncio.run(look(own))
        if status:
            asyncio.run(settle(own))
        finished = forked(work(own, folder), None)
        told = {"point": n, "killed": status, "finished": finished, "crashed": crashed, **asyncio.run(look(own))}
        sys.stdout.write(json.dumps(told) + "\n")
        if status == 0:
            break


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
