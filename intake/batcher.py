"""Requests that arrive together share one commit, and each is answered after its own."""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Protocol

import asyncpg
import structlog

from db import inbox
from db.inbox import Connection, NewEvent
from db.states import QueueName

log = structlog.get_logger()

BATCH = 64
"""Rows of one statement at most: larger batches gain nothing and wait longer."""

BATCH_BYTES = 4 * 1024 * 1024
"""Bodies of one statement at most, but always one."""

DEADLINE = 2.5
"""Seconds until a request that could not be remembered is told so; the answer is promised within 3."""

STATEMENT_TIMEOUT = 2.0
"""Seconds that one statement, or the making of a connection, may take."""

MAX_WAITING = 4096
"""Requests that may wait for a writer."""

MAX_WAITING_BYTES = 64 * 1024 * 1024
"""Their bodies, together."""

BACKOFF = (0.0, 0.05, 0.1, 0.2, 0.5)
"""Seconds between attempts to reach a database that is away; the last one is kept."""

_TICK = 0.1
"""Seconds between looks at the deadlines: one timer for all requests, not one each."""

_A_ROWS_FAULT = ("22", "23", "40", "54")
"""Classes of SQLSTATE that one row alone may have caused: bad data, a broken constraint, a conflict, a limit."""

_SERVER_GOING = ("08", "57P")
"""SQLSTATEs of a server that is going or gone; it may be back, or have a successor, before the deadline."""


class UnavailableError(Exception):
    """The event is not known to be remembered: Stripe must send it again."""


class Bell(Protocol):
    """Tells the workers that there is work; it never raises and never waits."""

    def ring(self, queue: str) -> None:
        """`queue` has new work."""
        ...


class _Waiting:
    """A request that waits for its commit."""

    __slots__ = ("answer", "deadline", "event")

    def __init__(self, event: NewEvent, answer: asyncio.Future[bool], deadline: float) -> None:
        self.event = event
        self.answer = answer
        self.deadline = deadline

    def remembered(self, *, duplicate: bool) -> None:
        if not self.answer.done():  # else it was told that its time is over, or the client is gone
            self.answer.set_result(duplicate)

    def failed(self, why: str) -> None:
        if not self.answer.done():
            self.answer.set_exception(UnavailableError(why))


class Batcher:
    """N writers, each with a connection: while one batch commits, the next collects. There is no timer to tune."""

    def __init__(self, url: str, bell: Bell, *, writers: int = 4, deadline: float = DEADLINE) -> None:
        """`url` is PostgreSQL's; `deadline` is in seconds."""
        self._url = url
        self._bell = bell
        self._count = writers
        self._deadline = deadline
        self._waiting: deque[_Waiting] = deque()
        self._waiting_bytes = 0
        self._idle: list[asyncio.Future[None]] = []
        self._in_flight: dict[int, Sequence[_Waiting]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._open = False

    async def open(self) -> None:
        """Start the writers. They connect by themselves, now or when the database comes back."""
        self._open = True
        self._tasks = [asyncio.create_task(self._writer(number)) for number in range(self._count)]
        self._tasks.append(asyncio.create_task(self._watch()))

    async def close(self) -> None:
        """Take no more, let what waits be committed as long as its deadline allows, and disconnect."""
        self._open = False
        answers = [waiting.answer for batch in (self._waiting, *self._in_flight.values()) for waiting in batch]
        if answers:
            await asyncio.wait(answers)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def remember(self, event: NewEvent) -> bool:
        """Return after the commit; True if the event was there before. Raises UnavailableError after `deadline`."""
        size = len(event.payload)
        if not self._open or len(self._waiting) >= MAX_WAITING or self._waiting_bytes + size > MAX_WAITING_BYTES:
            raise UnavailableError("full" if self._open else "closing")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[bool] = loop.create_future()
        self._waiting.append(_Waiting(event, answer, loop.time() + self._deadline))
        self._waiting_bytes += size
        self._wake()
        return await answer

    def _wake(self) -> None:
        while self._idle:
            idle = self._idle.pop()
            if not idle.done():
                idle.set_result(None)
                return

    async def _writer(self, number: int) -> None:
        failures = 0
        while True:
            try:
                conn = await self._connect()
                try:
                    while True:
                        batch = await self._take(conn)
                        self._in_flight[number] = batch
                        await self._write(conn, batch)
                        del self._in_flight[number]
                        failures = 0
                finally:
                    conn.terminate()
            except Exception as error:  # noqa: BLE001 - whatever it is, a writer that ended would shut the door
                self._give_up(self._in_flight.pop(number, ()), error)
                if failures.bit_count() <= 1:  # the 1st, 2nd, 3rd, 5th, 9th …: an outage does not flood the log
                    log.warning("the door cannot write", error=repr(error), failures=failures + 1)
                await asyncio.sleep(BACKOFF[min(failures, len(BACKOFF) - 1)])
                failures += 1

    async def _connect(self) -> Connection:
        async with asyncio.timeout(STATEMENT_TIMEOUT):
            return await inbox.connect(self._url, timeout=STATEMENT_TIMEOUT, application_name="billing-intake")

    async def _take(self, conn: Connection) -> list[_Waiting]:
        """Wait for work, and take what has collected."""
        while not self._waiting:
            idle = asyncio.get_running_loop().create_future()
            self._idle.append(idle)
            await idle
        if conn.is_closed():
            self._wake()
            raise ConnectionResetError("the database hung up")
        batch: list[_Waiting] = []
        size = 0
        while self._waiting and len(batch) < BATCH and size < BATCH_BYTES:
            waiting = self._waiting.popleft()
            size += len(waiting.event.payload)
            batch.append(waiting)
        self._waiting_bytes -= size
        return batch

    async def _write(self, conn: Connection, batch: Sequence[_Waiting]) -> None:
        """Commit `batch` and answer it. Raises if the connection is of no more use; a part may be answered then."""
        try:
            await self._commit(conn, batch)
        except asyncpg.PostgresError as error:
            if not (error.sqlstate or "").startswith(_A_ROWS_FAULT):
                raise
            state = error.sqlstate
        else:
            return
        if len(batch) > 1:  # one bad row harms only itself
            for waiting in batch:
                await self._write(conn, [waiting])
        else:
            log.error("an event cannot be stored", id=batch[0].event.id, sqlstate=state)
            batch[0].failed("unstorable")

    async def _commit(self, conn: Connection, batch: Sequence[_Waiting]) -> None:
        first: dict[str, _Waiting] = {}
        twins = [waiting for waiting in batch if first.setdefault(waiting.event.id, waiting) is not waiting]
        async with asyncio.timeout(STATEMENT_TIMEOUT):
            new = await inbox.remember(conn, [waiting.event for waiting in first.values()])
        for id_, waiting in first.items():
            waiting.remembered(duplicate=id_ not in new)
        for waiting in twins:
            waiting.remembered(duplicate=True)
        if new:
            self._bell.ring(QueueName.EVENTS)

    def _give_up(self, batch: Sequence[_Waiting], error: Exception) -> None:
        """If the server went, the rows go to its successor should it come before their deadline; else they failed.

        Where a commit was done and only its reply was lost, they will be found to be there already.
        """
        unanswered = [waiting for waiting in batch if not waiting.answer.done()]
        state = error.sqlstate if isinstance(error, asyncpg.PostgresError) else None
        if isinstance(error, TimeoutError) or (state and not state.startswith(_SERVER_GOING)):
            for waiting in unanswered:
                waiting.failed(type(error).__name__)
            return
        self._waiting.extendleft(reversed(unanswered))
        self._waiting_bytes += sum(len(waiting.event.payload) for waiting in unanswered)
        for _ in unanswered[::BATCH]:
            self._wake()

    async def _watch(self) -> None:
        """Tell each request in time that it was not remembered, also when a writer hangs in a frozen database."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_TICK)
            now = loop.time()
            while self._waiting and self._waiting[0].deadline <= now:
                late = self._waiting.popleft()
                self._waiting_bytes -= len(late.event.payload)
                late.failed("deadline")
            for batch in self._in_flight.values():
                for waiting in batch:
                    if waiting.deadline <= now:
                        waiting.failed("deadline")
