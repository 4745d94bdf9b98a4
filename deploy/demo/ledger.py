"""What the demo asks the ledger: how far it is, what it holds, and where it differs from Stripe's books."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
from sqlalchemy.types import BigInteger

from db import tokens
from db.engine import create_engine
from db.operators.actions import Actor
from db.tokens import TokenScope
from deploy.demo import fates
from deploy.demo.compare import differences, dunning_figures, unfinished
from deploy.demo.compare_dunning import Figures
from deploy.demo.compare_letters import in_mailbox
from deploy.demo.compare_partners import differences as partners_differ
from deploy.demo.compare_rows import Books, Difference
from worker.doorbell import Doorbell

T = TypeVar("T")

_PROGRESS = text(
    """
    SELECT count(*), count(*) FILTER (WHERE status IN ('processed', 'ignored')),
           count(*) FILTER (WHERE status = 'dead'),
           coalesce(extract(epoch FROM CAST(:now AS timestamptz)
                            - min(received_at) FILTER (WHERE status IN ('received', 'retrying'))), 0)
    FROM webhook_events
    """
)

SOON = timedelta(seconds=10)
"""Who finds a lock held comes again within this time of the machine's clock; that is no day to come."""

# What waits for a day to come (a discount that will run out) is no backlog.
_BACKLOG = text(
    """
    SELECT count(*) FILTER (WHERE dead_reason IS NULL
                              AND (event_id IS NOT NULL OR attempts > 0 OR lease_token IS NOT NULL OR due_at <= :soon)),
           count(*) FILTER (WHERE dead_reason IS NOT NULL)
    FROM queue
    """
)

_DUE = text("SELECT count(*) FROM queue WHERE dead_reason IS NULL AND (due_at <= :now OR lease_token IS NOT NULL)")

_RECONCILING = text("SELECT EXISTS (SELECT FROM queue WHERE name = 'reconcile_books' AND dead_reason IS NULL)")

_WAITING = text(
    """
    SELECT q.id, q.queue, j.created_at, q.due_at, q.attempts > 0
    FROM queue q JOIN jobs j ON j.id = q.job_id
    WHERE q.lease_token IS NULL AND q.dead_reason IS NULL AND q.due_at > :now
    """
)
_SET_GOING = text(
    "UPDATE queue SET due_at = :now WHERE id = ANY(:ids) AND lease_token IS NULL AND due_at > :now"
).bindparams(bindparam("ids", type_=ARRAY(BigInteger)))

_UNPAID = text(
    "SELECT api_key_prefix, invoice_number, finalized_at FROM invoices"
    " WHERE kind = 'partner' AND status = 'open' ORDER BY id"
)

_MRR = text("SELECT currency, sum(mrr_cents) FROM subscriptions WHERE mrr_cents > 0 GROUP BY currency ORDER BY 2 DESC")

COUNTS = {
    "customers": "SELECT count(*) FROM users WHERE deleted_at IS NULL",
    "subscriptions": "SELECT count(*) FROM subscriptions",
    "of these active": "SELECT count(*) FROM subscriptions WHERE status IN ('active', 'past_due', 'trialing')",
    "invoices": "SELECT count(*) FROM invoices WHERE kind IS NULL",
    "of these paid": "SELECT count(*) FROM invoices WHERE kind IS NULL AND status = 'paid'",
    "payments": "SELECT count(*) FROM payment_history",
    "of these declined": "SELECT count(*) FROM payment_history WHERE failure_code IS NOT NULL",
    "refunds": "SELECT count(*) FROM refunds",
    "disputes": "SELECT count(*) FROM disputes",
    "usage events of API partners": "SELECT count(*) FROM usage_events",
    "invoices to API partners": "SELECT count(*) FROM invoices WHERE kind = 'partner'",
    "of these as PDF": "SELECT count(*) FROM documents WHERE status = 'stored'",
}
"""What the summary counts, each with its question."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """A job that waits for its time; both times are the machine's. `tried`: it failed, and waits to be tried again."""

    id: int
    queue: str
    staged_at: datetime
    due_at: datetime
    tried: bool


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the events are. `lag` is for how many seconds the oldest unfinished one has waited."""

    received: int
    finished: int
    dead: int
    lag: float


class Ledger:
    """The ledger's database, for one thread that knows no event loop."""

    def __init__(self, url: str, redis: str, now: Callable[[], datetime]) -> None:
        """`now` is the machine's clock, by which work is due; `redis` is where workers are rung for."""
        self._runner = asyncio.Runner()
        self._url = url
        self._redis = redis
        self._now = now
        self._engine: AsyncEngine | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._engine is not None:
            self._runner.run(self._engine.dispose())
        self._runner.close()

    def _ask(self, question: Callable[[AsyncConnection], Coroutine[Any, Any, T]]) -> T:
        async def answer() -> T:
            async with self._connected().begin() as conn:
                return await question(conn)

        return self._runner.run(answer())

    def _connected(self) -> AsyncEngine:
        if self._engine is None:
            self._engine = create_engine(self._url, pool_size=1, application_name="billing-demo")
        return self._engine

    def progress(self) -> Progress:
        """How far the events are."""

        async def ask(conn: AsyncConnection) -> Progress:
            received, finished, dead, lag = (await conn.execute(_PROGRESS, {"now": self._now()})).one()
            return Progress(received, finished, dead, float(lag))

        return self._ask(ask)

    def backlog(self) -> tuple[int, int]:
        """How much work is left to do now, and how much of it is parked as dead."""

        async def ask(conn: AsyncConnection) -> tuple[int, int]:
            left, dead = (await conn.execute(_BACKLOG, {"soon": self._now() + SOON})).one()
            return left, dead

        return self._ask(ask)

    def due(self) -> int:
        """How much work could be done at this moment."""

        async def ask(conn: AsyncConnection) -> int:
            return (await conn.execute(_DUE, {"now": self._now()})).scalar_one()

        return self._ask(ask)

    def reconciling(self) -> bool:
        """Whether a comparison with Stripe goes on, or waits for its turn."""

        async def ask(conn: AsyncConnection) -> bool:
            return bool((await conn.execute(_RECONCILING)).scalar_one())

        return self._ask(ask)

    def waiting(self) -> list[Waiting]:
        """The jobs that are not due yet."""

        async def ask(conn: AsyncConnection) -> list[Waiting]:
            return [Waiting(*row) for row in await conn.execute(_WAITING, {"now": self._now()})]

        return self._ask(ask)

    def set_going(self, work: Sequence[Waiting]) -> None:
        """These jobs are due now; the workers are rung for."""

        async def ask(conn: AsyncConnection) -> None:
            await conn.execute(_SET_GOING, {"ids": [one.id for one in work], "now": self._now()})

        if work:
            self._ask(ask)
            self._runner.run(self._ring({one.queue for one in work}))

    async def _ring(self, queues: set[str]) -> None:
        bell = Doorbell(self._redis)
        for queue in queues:
            bell.ring(queue)
        await bell.close()

    def mrr(self) -> dict[str, int]:
        """Monthly recurring revenue by currency, in minor units, the largest first."""

        async def ask(conn: AsyncConnection) -> dict[str, int]:
            return {row[0]: int(row[1]) for row in await conn.execute(_MRR)}

        return self._ask(ask)

    def counts(self) -> dict[str, int]:
        """What the summary tells."""

        async def ask(conn: AsyncConnection) -> dict[str, int]:
            return {name: (await conn.execute(text(query))).scalar_one() for name, query in COUNTS.items()}

        return self._ask(ask)

    def differences(self, books: Books, at: int, heard: timedelta | None = None) -> list[Difference]:
        """Where ledger and books differ at the business's time `at` (seconds since 1970): by it discounts end.

        Work that was given up counts, too. `heard` is how late the ledger heard of anything at most.
        """

        async def both() -> list[Difference]:
            engine = self._connected()
            return [*await differences(engine, books, at=at, heard=heard), *await unfinished(engine)]

        return self._runner.run(both())

    def dunning(self, books: Books, at: int, heard: timedelta | None = None) -> tuple[Figures, Figures]:
        """What became of invoices that were not paid in time: by Stripe's books, and here."""
        return self._runner.run(dunning_figures(self._connected(), books, at=at, heard=heard))

    def make_key(self, prefix: str) -> str:
        """A key of an API partner, as `billing tokens create` makes it."""

        async def ask(conn: AsyncConnection) -> str:
            made = await tokens.create(
                conn, prefix, list(TokenScope), Actor("the demo", None), now=self._now(), name="their own software"
            )
            return made[1]

        return self._ask(ask)

    def unpaid(self) -> list[tuple[str, str, datetime]]:
        """The partners' invoices that are open, oldest first: prefix, number, and when it was issued."""

        async def ask(conn: AsyncConnection) -> list[tuple[str, str, datetime]]:
            return [(row[0], row[1], row[2]) for row in await conn.execute(_UNPAID)]

        return self._ask(ask)

    def partners(self, seed: int, start: int, at: int) -> list[Difference]:
        """Where usage and partners' invoices are not what the partners reported, by a reckoning of its own."""
        return self._runner.run(partners_differ(self._connected(), seed=seed, start=start, at=at))

    def fates(self) -> list[fates.Fate]:
        """Whose payments failed, and what became of them."""
        return self._runner.run(fates.read(self._connected()))

    def in_mailbox(self, folder: Path) -> list[Difference]:
        """Where the files in a Maildir are not the letters that were sent."""
        return self._runner.run(in_mailbox(self._connected(), folder))
