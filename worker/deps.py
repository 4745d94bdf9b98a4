"""What work is given: a transaction with one fixed time, or the ports to the outside; never both at once."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from db import queue
from worker.ports import Clock, StripeApi

if TYPE_CHECKING:
    from worker.registry import Call

_in_transaction: ContextVar[bool] = ContextVar("in_transaction", default=False)


def assert_outside_transaction(what: str) -> None:
    """Adapters call this first: the network is never touched while a transaction is open."""
    if _in_transaction.get():
        raise RuntimeError(f"{what} was called inside an open transaction: load, act, then record")


@dataclass(frozen=True, slots=True)
class Tx:
    """One open transaction. `now` is fixed for all of it; `staged_by` names the event or job that is at work."""

    conn: AsyncConnection
    now: datetime
    staged_by: str | None = None
    rings: set[str] = field(default_factory=set[str])

    async def stage(
        self, call: "Call", *, due_at: datetime | None = None, unique_key: str | None = None, priority: int = 0
    ) -> int | None:
        """Stage a job: it exists if and only if this transaction commits. None: `unique_key` was staged before."""
        job_id = await queue.stage_job(
            self.conn,
            name=call.name,
            queue=call.queue,
            args=call.args,
            now=self.now,
            due_at=due_at or self.now,
            unique_key=unique_key,
            staged_by=self.staged_by,
            priority=priority,
        )
        if job_id is not None and (due_at is None or due_at <= self.now):
            self.rings.add(call.queue)
        return job_id


@dataclass(frozen=True, slots=True)
class Deps:
    """All that a job ever gets. `after_commit` is told which queues have new work.

    With a `lease` (the job's own), each transaction holds it: a job that was given to another worker commits nothing.
    """

    engine: AsyncEngine
    clock: Clock
    stripe: StripeApi
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
                tx = Tx(conn, self.clock.now(), self.staged_by)
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
            await queue.finish_job(tx.conn, self.lease, now=tx.now, worker=self.worker)
        self.finished.append(True)
