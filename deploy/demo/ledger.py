"""What the demo asks the ledger: how far it is, what it holds, and where it differs from Stripe's books."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Self, TypeVar

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from db.engine import create_engine
from deploy.demo.compare import differences, unfinished
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

# What waits for a day to come (a discount that will run out) is no backlog.
_BACKLOG = text(
    """
    SELECT count(*) FILTER (WHERE dead_reason IS NULL
                              AND (event_id IS NOT NULL OR attempts > 0 OR lease_token IS NOT NULL OR due_at <= :now)),
           count(*) FILTER (WHERE dead_reason IS NOT NULL)
    FROM queue
    """
)

_DUE = text("SELECT count(*) FROM queue WHERE dead_reason IS NULL AND (due_at <= :now OR lease_token IS NOT NULL)")

_NEARER = text(
    """
    UPDATE queue SET due_at = due_at - make_interval(secs => :seconds)
    WHERE job_id IS NOT NULL AND lease_token IS NULL AND dead_reason IS NULL AND due_at > :now
    RETURNING queue, due_at <= :now
    """
)

_MRR = text("SELECT currency, sum(mrr_cents) FROM subscriptions WHERE mrr_cents > 0 GROUP BY currency ORDER BY 2 DESC")

COUNTS = {
    "customers": "SELECT count(*) FROM users WHERE deleted_at IS NULL",
    "subscriptions": "SELECT count(*) FROM subscriptions",
    "of these active": "SELECT count(*) FROM subscriptions WHERE status IN ('active', 'past_due', 'trialing')",
    "invoices": "SELECT count(*) FROM invoices",
    "of these paid": "SELECT count(*) FROM invoices WHERE status = 'paid'",
    "payments": "SELECT count(*) FROM payment_history",
    "of these declined": "SELECT count(*) FROM payment_history WHERE failure_code IS NOT NULL",
    "refunds": "SELECT count(*) FROM refunds",
    "disputes": "SELECT count(*) FROM disputes",
    "invoices dunned": "SELECT count(*) FROM dunning_cases",
    "of these recovered": "SELECT count(*) FROM dunning_cases WHERE outcome = 'recovered'",
    "of these lost": "SELECT count(*) FROM dunning_cases WHERE outcome IN ('lost', 'canceled')",
}
"""What the summary counts, each with its question."""


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
            left, dead = (await conn.execute(_BACKLOG, {"now": self._now()})).one()
            return left, dead

        return self._ask(ask)

    def due(self) -> int:
        """How much work could be done at this moment."""

        async def ask(conn: AsyncConnection) -> int:
            return (await conn.execute(_DUE, {"now": self._now()})).scalar_one()

        return self._ask(ask)

    def come_nearer(self, seconds: int) -> None:
        """Work that waits for a day of the business is due that much earlier; for what is due now it rings."""

        async def ask(conn: AsyncConnection) -> set[str]:
            rows = await conn.execute(_NEARER, {"seconds": seconds, "now": self._now()})
            return {queue for queue, due in rows if due}

        if due := self._ask(ask):
            self._runner.run(self._ring(due))

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

    def differences(self, books: Books, at: int) -> list[Difference]:
        """Where ledger and books differ at the business's time `at` (seconds since 1970): by it discounts end.

        Work that was given up counts, too.
        """

        async def both() -> list[Difference]:
            engine = self._connected()
            return [*await differences(engine, books, at=at), *await unfinished(engine)]

        return self._runner.run(both())
