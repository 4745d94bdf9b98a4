"""A post office for tests: letters are staged as the business does it, and sent by the real worker."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

from prometheus_client import REGISTRY
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from jobs.mail.letters import Recipient, stage_letter
from jobs.mail.samples import SAMPLES
from tests.conftest import MovedClock
from tests.mail.carriers import FakeMailer
from tests.worker.kit import NoStripe, until
from worker.deps import Deps, Tx
from worker.ports import Mailer
from worker.registry import discover
from worker.runner import Runner
from worker.settings import Settings

_NUMBERS = count(1)
ADA = Recipient("ada@example.com", "Ada Lovelace", "de-DE", "Europe/Berlin")
NOBODY_DUE = (
    "SELECT count(*) FROM queue WHERE dead_reason IS NULL AND (lease_token IS NOT NULL OR due_at <= :now) "
    "AND queue = 'mail'"
)


def counted(template: str, outcome: str) -> float:
    """What `billing_emails_total` stands at."""
    return REGISTRY.get_sample_value("billing_emails_total", {"template": template, "outcome": outcome}) or 0.0


@dataclass
class Post:
    """The books, a carrier, and a clock that is moved."""

    engine: AsyncEngine
    clock: MovedClock
    mailer: Mailer = field(default_factory=FakeMailer)
    settings: Settings = field(
        default_factory=lambda: Settings(
            mail_from="Northwind <billing@northwind.example>", billing_home=Path("/nonexistent")
        )
    )

    @property
    def deps(self) -> Deps:
        return Deps(engine=self.engine, clock=self.clock, stripe=NoStripe(), mailer=self.mailer, settings=self.settings)

    def set(self, **values: Any) -> None:
        """Run with these settings from now on."""
        self.settings = self.settings.model_copy(update=values)

    async def stage(
        self, key: str, template: str = "receipt", to: Recipient = ADA, *, occurred_at: datetime | None = None
    ) -> int | None:
        """Stage a sample letter."""
        async with self.deps.tx() as tx:
            return await self.stage_in(tx, key, template, to, occurred_at=occurred_at)

    async def stage_in(
        self, tx: Tx, key: str, template: str = "receipt", to: Recipient = ADA, *, occurred_at: datetime | None = None
    ) -> int | None:
        """The same in a transaction of the test's."""
        at = occurred_at or self.clock.now()
        return await stage_letter(tx, template, SAMPLES[template][0], key=key, to=to, occurred_at=at)

    async def work(self) -> None:
        """Send what is due now, and wait for the end of it."""
        runner = Runner(
            self.deps, discover("jobs"), queues=["mail"], worker=f"w{next(_NUMBERS)}", lease=timedelta(seconds=15)
        )
        try:
            await runner.sweep()
            await until(self._idle, why="the mail queue is never empty")
        finally:
            await runner.stop(timedelta(seconds=5))

    async def work_in_real_time(self) -> None:
        """Send what is due by the machine's clock: the doors stage by it."""
        self.clock.time = datetime.now(UTC)
        await self.work()

    async def work_on(self) -> None:
        """Send until nothing is left to try, moving the clock to each retry."""
        await self.work()
        while (due := (await self.query(NEXT))[0]["due"]) is not None:
            self.clock.move(max(due - self.clock.now(), timedelta()))
            await self.work()

    async def _idle(self) -> bool:
        (row,) = await self.query(NOBODY_DUE, now=self.clock.now())
        return row["count"] == 0

    async def query(self, sql: str, **values: object) -> list[dict[str, Any]]:
        async with self.engine.connect() as conn:
            return [dict(row) for row in (await conn.execute(text(sql), values)).mappings()]

    async def execute(self, sql: str, **values: object) -> None:
        async with self.engine.begin() as conn:
            await conn.execute(text(sql), values)

    async def letter(self, key: str) -> dict[str, Any]:
        """The letter's row."""
        (row,) = await self.query("SELECT * FROM emails WHERE key = :key", key=key)
        return row

    async def job(self, key: str) -> dict[str, Any]:
        """The row of the job that sends the letter, with why it is dead."""
        (row,) = await self.query(
            "SELECT j.*, q.dead_reason FROM jobs j LEFT JOIN queue q ON q.job_id = j.id "
            "WHERE j.unique_key = 'letter/' || :key",
            key=key,
        )
        return row

    async def suppressed(self) -> dict[str, str]:
        """The suppressed addresses, each with who said so."""
        return {row["address"]: row["source"] for row in await self.query("SELECT * FROM suppressed_addresses")}


NEXT = "SELECT min(due_at) AS due FROM queue WHERE dead_reason IS NULL AND queue = 'mail'"
