"""An office for tests: invoices are issued as the business does it; the real worker renders, stores and mails."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from db import documents
from db.documents import StoredDocument
from db.operators import jobs as operators
from db.operators.actions import Actor
from jobs.invoices.document import Address, Party, Period
from jobs.invoices.drafts import Draft, DraftLine, DraftTax
from jobs.invoices.issue import Issued, issue, issue_many
from jobs.invoices.sellers import Sellers, sellers_from
from tests.conftest import MovedClock
from tests.contract.storages import MemoryFiles
from tests.mail.carriers import FakeMailer
from tests.worker.kit import NoStripe, until
from worker.deps import Deps, assert_outside_transaction
from worker.errors import Refused
from worker.ports import Files, Mailer, Pdf
from worker.registry import discover
from worker.runner import Runner
from worker.settings import Settings

_WORKERS = count(1)
GRACE = Party("Hopper Analytics Ltd", Address("1 High St", city="Leeds", country="GB"), email="grace@hopper.example")
VAT = DraftTax("VAT", Decimal(20))
NOVEMBER = Period(datetime(2026, 11, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC))
BUSY = (
    "SELECT count(*) FROM queue WHERE dead_reason IS NULL AND queue IN ('pdf', 'mail')"
    " AND (lease_token IS NOT NULL OR due_at <= :now)"
)
NEXT = "SELECT min(due_at) AS due FROM queue WHERE dead_reason IS NULL AND queue IN ('pdf', 'mail')"

SELLERS = """
default = "north"

[sellers.north]
name = "Nordlicht GmbH"
address = { line1 = "Torstraße 1", city = "Berlin", postal_code = "10119", country = "DE" }
tax_ids = [{ type = "eu_vat", value = "DE123456789" }]
timezone = "Europe/Berlin"
locale = "de"
terms = "net_15"

[sellers.isles]
name = "Northern Isles Ltd"
timezone = "Pacific/Auckland"
series = { manual = "isles" }

[series.isles]
format = "NI/{year}/{number:03}"
"""


def draft(key: str | None = None, **changes: Any) -> Draft:
    """An invoice over 120.00 of tax included."""
    made = Draft(
        kind="partner",
        currency="gbp",
        buyer=GRACE,
        lines=(DraftLine("API calls", quantity=Decimal(40000), unit_price_minor=Decimal("0.25")),),
        taxes=(VAT,),
        key=key,
    )
    return msgspec.structs.replace(made, **changes)


class FakePdf:
    """Renders nothing, but what it makes of a document is always the same; its `answers` come first."""

    def __init__(self) -> None:
        self.rendered: list[bytes] = []
        self.answers: list[Exception] = []

    async def render(self, document: bytes) -> bytes:
        assert_outside_transaction("rendering")
        if self.answers:
            raise self.answers.pop(0)
        self.rendered.append(document)
        return b"%PDF-1.7\n" + hashlib.sha256(document).hexdigest().encode() + b"\n%%EOF\n"

    async def close(self) -> None:
        """It has no processes."""


@dataclass
class Office:
    """The books, a renderer, a storage, a carrier, and a clock that is moved."""

    engine: AsyncEngine
    clock: MovedClock
    folder: Path
    mailer: Mailer = field(default_factory=FakeMailer)
    pdf: Pdf = field(default_factory=FakePdf)
    files: Files = field(default_factory=MemoryFiles)

    def __post_init__(self) -> None:
        file = self.folder / "sellers.toml"
        file.write_text(SELLERS)
        self.settings = Settings(
            mail_from="Nordlicht <billing@nordlicht.example>",
            billing_home=self.folder,
            billing_sellers_file=file,
        )

    @property
    def sellers(self) -> Sellers:
        return sellers_from(self.settings)

    @property
    def deps(self) -> Deps:
        return Deps(
            engine=self.engine,
            clock=self.clock,
            stripe=NoStripe(),
            mailer=self.mailer,
            settings=self.settings,
            pdf=self.pdf,
            files=self.files,
        )

    async def issue(self, one: Draft | None = None) -> Issued:
        async with self.deps.tx() as tx:
            return await issue(tx, one or draft(), self.sellers, livemode=False)

    async def issue_many(self, drafts: Sequence[Draft]) -> list[Issued | Refused]:
        async with self.deps.tx() as tx:
            return await issue_many(tx, drafts, self.sellers, livemode=False)

    async def document(self, issued: Issued) -> StoredDocument:
        assert issued.document_id is not None
        return await self.get(issued.document_id)

    async def get(self, document_id: int) -> StoredDocument:
        async with self.engine.connect() as conn:
            found = await documents.get(conn, document_id)
        assert found is not None
        return found

    async def work(self) -> None:
        """Do what is due now, and what follows from it at once."""
        runner = Runner(
            self.deps,
            discover("jobs"),
            queues=["pdf", "mail"],
            worker=f"w{next(_WORKERS)}",
            lease=timedelta(seconds=15),
        )
        try:
            while not await self._idle():
                await runner.sweep()
                for queue in ("pdf", "mail"):
                    runner.wake(queue)
                await until(self._unleased, why="a job never ends")
        finally:
            await runner.stop(timedelta(seconds=5))

    async def work_on(self) -> None:
        """Work until nothing is left to try, moving the clock to each retry."""
        await self.work()
        while (due := (await self.query(NEXT))[0]["due"]) is not None:
            self.clock.move(max(due - self.clock.now(), timedelta()))
            await self.work()

    async def retry(self, job_id: int | None) -> None:
        """Run a parked job again, as an operator does."""
        async with self.engine.begin() as conn:
            wanted = await operators.retry_of_ids(conn, [job_id or 0], again=False)
            await operators.retry(conn, wanted, Actor("ada"), now=self.clock.now())

    async def _idle(self) -> bool:
        return (await self.query(BUSY, now=self.clock.now()))[0]["count"] == 0

    async def _unleased(self) -> bool:
        return (await self.query("SELECT count(*) FROM queue WHERE lease_token IS NOT NULL"))[0]["count"] == 0

    async def query(self, sql: str, **values: object) -> list[dict[str, Any]]:
        async with self.engine.connect() as conn:
            return [dict(row) for row in (await conn.execute(text(sql), values)).mappings()]

    async def execute(self, sql: str, **values: object) -> None:
        async with self.engine.begin() as conn:
            await conn.execute(text(sql), values)

    async def invoice(self, issued: Issued) -> dict[str, Any]:
        (row,) = await self.query("SELECT * FROM invoices WHERE id = :id", id=issued.invoice_id)
        return row

    async def letters(self) -> list[dict[str, Any]]:
        return await self.query("SELECT * FROM emails ORDER BY id")

    async def job(self, job_id: int | None) -> dict[str, Any]:
        (row,) = await self.query(
            "SELECT j.*, q.dead_reason FROM jobs j LEFT JOIN queue q ON q.job_id = j.id WHERE j.id = :id", id=job_id
        )
        return row
