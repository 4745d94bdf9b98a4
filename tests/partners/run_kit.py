"""A firm with partners: contracts as rows, usage as it is reported, and the monthly run by the real worker."""

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import count
from typing import Any

import asyncpg
import msgspec

from db.engine import asyncpg_dsn
from db.operators.actions import Actor
from db.usage import NewUsage, Owner, add, new_usage
from jobs.invoices.document import Document
from jobs.partners import release
from jobs.partners.preview import Preview, preview
from jobs.partners.run import partner_invoices
from tests.invoices.office import Office
from tests.worker.kit import until, without_rounds
from worker.deps import Tx
from worker.runner import Runner

_WORKERS = count(1)
_KEYS = count(1)
ADA = Actor("ada", "looked into it")
BATCH = (
    "SELECT count(*) FROM queue WHERE dead_reason IS NULL AND queue = 'batch'"
    " AND (lease_token IS NOT NULL OR due_at <= :now)"
)
ADDRESS = {"line1": "Ring 1", "city": "Hamburg", "postal_code": "20095", "country": "DE"}
PLAIN: dict[str, Any] = {
    "company": "Northwind Analytics Ltd",
    "pricing_model": "per_request",
    "per_1000_requests_cents": 250,
    "contract_start_date": date(2026, 1, 1),
    "currency": "eur",
    "billing_email": "ap@northwind.example",
    "address": ADDRESS,
    "seller": "north",
    "locale": "en",
}


def at(text: str) -> datetime:
    """`2026-10-05 12:00`, in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


class Firm(Office):
    """Its books, its clock, and what its operators do."""

    async def contract(self, prefix: str = "nw", **values: Any) -> int:
        """A version of a contract, inserted as a row."""
        row = {"api_key_prefix": prefix, **PLAIN, **values}
        if row["pricing_model"] not in {"per_request", "hybrid"}:
            row.pop("per_1000_requests_cents")
        names = ", ".join(row)
        async with self.engine.begin() as conn:
            found = await conn.exec_driver_sql(
                f"INSERT INTO api_partner_contracts ({names}) SELECT {names} FROM"  # noqa: S608 - the tests' own names
                " jsonb_populate_record(NULL::api_partner_contracts, CAST($1::text AS jsonb)) RETURNING id",
                (json.dumps(row, default=str),),
            )
            made: int = found.scalar_one()
        return made

    async def add(self, events: Sequence[NewUsage]) -> None:
        connection = await asyncpg.connect(asyncpg_dsn(self.engine.url.render_as_string(hide_password=False)))
        try:
            await add(connection, [events])
        finally:
            await connection.close()

    async def use(
        self, when: str, units: int | str = 1, kind: str = "api.request", prefix: str = "nw", *, billable: bool = True
    ) -> None:
        """One event of so many units."""
        event = new_usage(
            Owner(api_key_prefix=prefix),
            f"k{next(_KEYS)}",
            kind,
            received_at=self.clock.now(),
            occurred_at=at(when),
            cost_units=Decimal(units),
            billable=billable,
        )
        await self.add([event])

    async def use_daily(self, first: date, after: date, units: int = 100, prefix: str = "nw") -> None:
        """Units on each day, at noon UTC."""
        days = [first + timedelta(days=number) for number in range((after - first).days)]
        await self.add(
            [
                new_usage(
                    Owner(api_key_prefix=prefix),
                    f"k{next(_KEYS)}",
                    "api.request",
                    received_at=self.clock.now(),
                    occurred_at=datetime(day.year, day.month, day.day, 12, tzinfo=UTC),
                    cost_units=Decimal(units),
                )
                for day in days
            ]
        )

    async def run(self) -> None:
        """The schedule's hour has come: what is due is staged, and worked off."""
        async with self.deps.tx() as tx:
            await tx.stage(partner_invoices.call(period=self.clock.now()))
        await self.batch()

    async def batch(self) -> None:
        """Work off the queue `batch`."""
        runner = Runner(
            self.deps, without_rounds(), queues=["batch"], worker=f"b{next(_WORKERS)}", lease=timedelta(seconds=15)
        )
        try:
            while (await self.query(BATCH, now=self.clock.now()))[0]["count"]:
                await runner.sweep()
                runner.wake("batch")
                await until(self._unleased, why="a job never ends")
        finally:
            await runner.stop(timedelta(seconds=5))

    async def on(self, when: str) -> None:
        """It is that time now, and the run runs."""
        self.clock.time = at(when)
        await self.run()

    async def periods(self, prefix: str = "nw") -> list[dict[str, Any]]:
        """What became of each period, oldest first."""
        return await self.query(
            "SELECT u.*, i.invoice_number FROM usage_invoices u LEFT JOIN invoices i ON i.id = u.invoice_id"
            " WHERE u.api_key_prefix = :prefix ORDER BY u.period_start, u.id",
            prefix=prefix,
        )

    async def stands(self, prefix: str = "nw") -> list[tuple[str, str, int | None]]:
        """Month, status and total of each period."""
        return [
            (f"{(row['period_start'] + timedelta(hours=14)):%Y-%m}", row["status"], row["total_cents"])
            for row in await self.periods(prefix)
        ]

    async def says(self, number: str) -> Document:
        """What an issued invoice says."""
        (row,) = await self.query(
            "SELECT content FROM documents WHERE number = :number AND copy_of IS NULL", number=number
        )
        return msgspec.convert(row["content"], Document)

    async def numbers(self) -> list[str]:
        """All numbers, in order."""
        rows = await self.query("SELECT invoice_number FROM invoices WHERE invoice_number IS NOT NULL ORDER BY id")
        return [row["invoice_number"] for row in rows]

    async def preview(self, month: str | None = None, prefix: str = "nw") -> Preview:
        """A preview; what it wrote, if anything, is undone."""
        async with self.engine.connect() as conn:
            tx = Tx(conn, self.clock.now(), self.clock.now())
            made = await preview(tx, prefix, month, self.sellers)
            await conn.rollback()
        return made

    async def invoice_now(self, month: str, prefix: str = "nw") -> release.Done:
        """By hand, now."""
        async with self.deps.tx() as tx:
            return await release.invoice_now(tx, prefix, month, self.settings, ADA)

    async def release(self, month: str, prefix: str = "nw") -> release.Done:
        async with self.deps.tx() as tx:
            return await release.release(tx, prefix, month, self.settings, ADA)

    async def void(self, month: str, prefix: str = "nw") -> tuple[str, str]:
        async with self.deps.tx() as tx:
            return await release.void(tx, prefix, month, ADA)

    async def guards(self, prefix: str = "nw") -> list[str]:
        """Why the newest period is parked."""
        (*_, row) = await self.periods(prefix)
        concerns: list[dict[str, Any]] = row["reasons"] or []
        return [one["guard"] for one in concerns if one["stops"]]
