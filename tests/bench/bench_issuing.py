"""How many invoices a second are created, numbered, frozen and staged, their PDFs left to the queue."""

import argparse
import json
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import psutil
import uvloop
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from db.engine import create_engine
from db.migrate import migrate
from jobs.invoices.document import Address, Party
from jobs.invoices.drafts import Draft, DraftLine, DraftTax
from jobs.invoices.issue import Issued, issue_many
from jobs.invoices.sellers import Sellers, sellers_from
from worker.deps import Tx
from worker.embedded import EmbeddedPostgres
from worker.settings import Settings

WANTED = 100
"""To reach, a second."""


def draft(number: int, lines: int) -> Draft:
    """A partner's month: so many lines with quantities, prices with digits below the cent, one rate of tax."""
    return Draft(
        kind="partner",
        currency="eur",
        buyer=Party(f"Partner {number} GmbH", Address("Ring 1", city="Hamburg", postal_code="20095", country="DE")),
        lines=tuple(
            DraftLine(f"API calls, part {line}", quantity=Decimal(1000 + number), unit_price_minor=Decimal("0.25"))
            for line in range(lines)
        ),
        taxes=(DraftTax("MwSt.", Decimal(19)),),
        key=f"bench/{number}",
    )


async def issued(engine: AsyncEngine, sellers: Sellers, drafts: list[Draft], each: int) -> float:
    """Issue them, so many in a transaction, one transaction after the other. Returns the seconds that it took."""
    began = time.monotonic()
    for start in range(0, len(drafts), each):
        async with engine.connect() as conn:
            now = datetime.now(UTC)
            answers = await issue_many(Tx(conn, now, now), drafts[start : start + each], sellers, livemode=False)
            await conn.commit()
        assert all(isinstance(one, Issued) and one.new for one in answers), answers
    return time.monotonic() - began


async def measured(server: EmbeddedPostgres, rounds: int, count: int, lines: int) -> dict[str, float]:
    """By the size of a batch: invoices a second, the median of some rounds, after one that is not counted."""
    engine = create_engine(server.url())
    await migrate(engine)
    assert server.process is not None
    postgres = psutil.Process(server.process.pid)
    sellers = sellers_from(Settings())
    found: dict[str, float] = {}
    number = 0
    for each in (1, 10, 100, 1000):
        rates: list[float] = []
        several = min(count, each * 100)  # one by one, each commit is waited for
        mine = theirs = 0.0
        for round_ in range(rounds + 1):
            drafts = [draft(number + index, lines) for index in range(several)]
            number += several
            before, clock = _cpu(postgres), time.process_time()
            seconds = await issued(engine, sellers, drafts, each)
            if round_:
                rates.append(several / seconds)
                mine, theirs = mine + time.process_time() - clock, theirs + _cpu(postgres) - before
        rate, whole = statistics.median(rates), several * rounds
        print(
            f"{each:5} in a transaction: {rate:7,.0f} a second, "
            f"CPU {mine / whole * 1e6:,.0f} µs each here, {theirs / whole * 1e6:,.0f} in PostgreSQL"
        )
        found[f"issued_{each}"] = round(rate, 1)
    async with engine.connect() as conn:
        staged = await conn.scalar(text("SELECT count(*) FROM queue WHERE name = 'render_document'"))
        numbers = await conn.scalar(text("SELECT count(DISTINCT invoice_number) FROM invoices"))
    assert staged == numbers == number, (staged, numbers, number)
    await engine.dispose()
    return found


def _cpu(process: psutil.Process) -> float:
    """Seconds of CPU that it and its children, dead or alive, have used."""
    alive = sum(sum(child.cpu_times()[:2]) for child in process.children(recursive=True))
    return sum(process.cpu_times()[:4]) + alive


def main() -> None:
    """Print everything."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--count", type=int, default=2000, help="invoices in a round, at most")
    words.add_argument("--lines", type=int, default=10)
    words.add_argument("--rounds", type=int, default=3)
    given = words.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        server = EmbeddedPostgres(Path(folder) / "postgres")
        server.start()
        try:
            print(f"invoices of {given.lines} lines created, numbered, frozen and staged (to reach: {WANTED}/s)")
            found = uvloop.run(measured(server, given.rounds, given.count, given.lines))
            print(json.dumps({"bench": "issuing", **found}))
        finally:
            server.stop()


if __name__ == "__main__":
    main()
