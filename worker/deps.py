"""What work is given: a transaction with one fixed time, or the ports to the outside; never both at once."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.message import EmailMessage
from typing import TYPE_CHECKING, Any

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from db import queue
from worker.ports import Clock, Files, Mailer, Pdf, StripeApi
from worker.settings import Settings

if TYPE_CHECKING:
    from worker.registry import Call

_in_transaction: ContextVar[bool] = ContextVar("in_transaction", default=False)


def assert_outside_transaction(what: str) -> None:
    """Adapters call this first: the network is never touched while a transaction is open."""
    if _in_transaction.get():
        raise RuntimeError(f"{what} was called inside an open transaction: load, act, then record")


@dataclass(frozen=True, slots=True)
class Tx:
    """One open transaction; its times are fixed for all of it. `staged_by` names the event or job that is at work.

    `now` is the business's time: it dates what we decide and what we know of Stripe. `wall` is the machine's, by which
    work is staged, due and retried. They are the same, but in a demo, where a year passes in minutes.
    """

    conn: AsyncConnection
    now: datetime
    wall: datetime
    staged_by: str | None = None
    rings: set[str] = field(default_factory=set[str])
    documents: frozenset[str] = frozenset()
    """Documents of Stripe's objects that are switched on (BILLING_STRIPE_DOCUMENTS)."""

    async def stage(
        self, call: "Call", *, due_at: datetime | None = None, unique_key: str | None = None, priority: int = 0
    ) -> int | None:
        """Stage a job: it exists if and only if this transaction commits. None: `unique_key` was staged before.

        `due_at` is a time of the business.
        """
        wait = max(due_at - self.now, timedelta()) if due_at is not None else timedelta()
        job_id = await queue.stage_job(
            self.conn,
            name=call.name,
            queue=call.queue,
            args=call.args,
            now=self.wall,
            due_at=self.wall + wait,
            unique_key=unique_key,
            staged_by=self.staged_by,
            priority=priority,
        )
        if job_id is not None and not wait:
            self.rings.add(call.queue)
        return job_id


class Nobody:
    """Carries no letters: stands where no carrier was handed in."""

    async def send(self, message: EmailMessage) -> str | None:
        """Raise: whoever sends letters hands a carrier in."""
        raise RuntimeError(f"no carrier was handed in for {message['message-id']}")

    async def close(self) -> None:
        """Nothing is held open."""


class Nothing:
    """Neither renders nor keeps files: stands where nobody was handed in who does."""

    async def render(self, document: bytes) -> bytes:
        """Raise: whoever renders hands a renderer in."""
        raise RuntimeError(f"no renderer was handed in for {len(document)} bytes")

    async def create(self, name: str, content: bytes, *, media_type: str) -> bool:
        """Raise: whoever keeps files hands a storage in."""
        raise RuntimeError(f"no storage was handed in for {name} ({media_type}, {len(content)} bytes)")

    async def read(self, name: str) -> bytes:
        """Raise, as `create` does."""
        raise RuntimeError(f"no storage was handed in for {name}")

    def url(self, name: str) -> str:
        """Raise, as `create` does."""
        raise RuntimeError(f"no storage was handed in for {name}")

    async def close(self) -> None:
        """Nothing is held open."""


@dataclass(frozen=True, slots=True)
class Deps:
    """All that a job ever gets. `after_commit` is told which queues have new work.

    With a `lease` (the job's own), each transaction holds it: a job that was given to another worker commits nothing.
    """

    engine: AsyncEngine
    clock: Clock
    stripe: StripeApi
    mailer: Mailer = field(default_factory=Nobody)
    settings: Settings = field(default_factory=Settings.model_construct)
    """What a deployment has set; by default what it is when nothing is set."""
    pdf: Pdf = field(default_factory=Nothing)
    files: Files = field(default_factory=Nothing)
    business: Clock | None = None
    """What `tx.now` is read from; None: `clock`."""
    after_commit: Callable[[set[str]], Any] = field(default=lambda _: None)
    staged_by: str | None = None
    lease: queue.Claimed | None = None
    worker: str = ""
    finished: list[bool] = field(default_factory=list[bool])

    @asynccontextmanager
    async def tx(self) -> AsyncGenerator[Tx]:
        """Open a transaction; it commits when the block ends, and rolls back when the block raises."""
        if _in_transaction.get():
            raise RuntimeError("a transaction is already open in this task")
        mark = _in_transaction.set(True)
        try:
            async with self.engine.begin() as conn:
                wall = self.clock.now()
                now, wanted = self.business.now() if self.business else wall, self.settings.billing_stripe_documents
                tx = Tx(conn, now, wall, self.staged_by, documents=wanted)
                if self.lease is not None:
                    await queue.hold(conn, self.lease)
                yield tx
        finally:
            _in_transaction.reset(mark)
        if tx.rings:
            self.after_commit(tx.rings)

    @asynccontextmanager
    async def last_tx(self) -> AsyncGenerator[Tx]:
        """The transaction that records the job's outcome *and* that the job is done: no crash falls between the two."""
        if self.lease is None:
            raise RuntimeError("only a running job can be finished")
        async with self.tx() as tx:
            yield tx
            await queue.finish_job(tx.conn, self.lease, now=tx.wall, worker=self.worker)
        self.finished.append(True)
