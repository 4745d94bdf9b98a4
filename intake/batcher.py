"""Requests that arrive together share one commit, each is answered after its own, and whoever sends much waits."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Generic, Protocol, TypeVar

import asyncpg
import structlog

from db import inbox
from db.inbox import Connection, NewEvent
from db.states import QueueName

log = structlog.get_logger()

BATCH = 64
"""Requests of one statement at most: larger batches gain nothing and wait longer."""

BATCH_BYTES = 4 * 1024 * 1024
"""Bodies of one statement at most, but always one."""

BATCH_ROWS = 2000
"""Rows of one statement at most, but always one request: even on a slow machine a statement is done within its time."""

MANY_ROWS = BATCH
"""An owner with more rows than these in a statement is in half of the writers' at most: the others are for others."""

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

_SHARE = 4
"""Of what may wait an owner gets this part, once half of the room is taken."""

_TICK = 0.1
"""Seconds between looks at the deadlines: one timer for all requests, not one each."""

_A_ROWS_FAULT = ("22", "23", "40", "54")
"""Classes of SQLSTATE that one row alone may have caused: bad data, a broken constraint, a conflict, a limit."""

_SERVER_GOING = ("08", "57P")
"""SQLSTATEs of a server that is going or gone; it may be back, or have a successor, before the deadline."""


Item = TypeVar("Item")
Result = TypeVar("Result")
Item_contra = TypeVar("Item_contra", contravariant=True)
Result_co = TypeVar("Result_co", covariant=True)


class UnavailableError(Exception):
    """What was sent is not known to be remembered: the caller must send it again."""


class Bell(Protocol):
    """Tells the workers that there is work; it never raises and never waits."""

    def ring(self, queue: str) -> None:
        """`queue` has new work."""
        ...


class Write(Protocol[Item_contra, Result_co]):
    """Remembers what was sent together."""

    async def __call__(self, conn: Connection, items: Sequence[Item_contra], /) -> Sequence[Result_co]:
        """Commit `items`, and return what each came to, in their order. To be called again, it must be idempotent."""
        ...


class RememberEvents:
    """Webhook events go into the inbox, each once, and the workers are rung for."""

    def __init__(self, bell: Bell) -> None:
        self._bell = bell

    async def __call__(self, conn: Connection, items: Sequence[NewEvent], /) -> list[bool]:
        """Whether each event was there before."""
        first: dict[str, NewEvent] = {}
        twins = [first.setdefault(event.id, event) is not event for event in items]
        new = await inbox.remember(conn, list(first.values()))
        if new:
            self._bell.ring(QueueName.EVENTS)
        return [twin or event.id not in new for twin, event in zip(twins, items, strict=True)]


class _Waiting(Generic[Item, Result]):
    """A request that waits for its commit."""

    __slots__ = ("answer", "deadline", "item", "owner", "rows", "size")

    def __init__(
        self, item: Item, answer: asyncio.Future[Result], deadline: float, *, size: int, rows: int, owner: Hashable
    ) -> None:
        self.item = item
        self.size = size
        self.rows = rows
        self.owner = owner
        self.answer = answer
        self.deadline = deadline

    def remembered(self, result: Result) -> None:
        if not self.answer.done():  # else it was told that its time is over, or the client is gone
            self.answer.set_result(result)

    def failed(self, why: str) -> None:
        if not self.answer.done():
            self.answer.set_exception(UnavailableError(why))


class _Queue(Generic[Item, Result]):
    """What waits, in a line for each owner; the lines have their turns, one request each, however long they are."""

    def __init__(self, at_once: int) -> None:
        """An owner has many rows in `at_once` statements at most."""
        self._at_once = at_once
        self._lines: dict[Hashable, deque[_Waiting[Item, Result]]] = {}  # who was served last is last
        self._under_way = Counter[Hashable]()
        self._count = 0
        self._bytes = 0

    def __iter__(self) -> Iterator[_Waiting[Item, Result]]:
        return (waiting for line in self._lines.values() for waiting in line)

    def has_room(self, owner: Hashable, size: int) -> bool:
        """Whether one more of `size` bytes may wait. None is no owner, and may take all."""
        if self._count >= MAX_WAITING or self._bytes + size > MAX_WAITING_BYTES:
            return False
        if owner is None or (self._count < MAX_WAITING // 2 and self._bytes < MAX_WAITING_BYTES // 2):
            return True
        line = self._lines.get(owner, ())
        return len(line) < MAX_WAITING // _SHARE and sum(one.size for one in line) < MAX_WAITING_BYTES // _SHARE

    def add(self, waiting: _Waiting[Item, Result]) -> None:
        self._lines.setdefault(waiting.owner, deque()).append(waiting)
        self._count += 1
        self._bytes += waiting.size

    def put_back(self, batch: Sequence[_Waiting[Item, Result]]) -> None:
        """It comes before all that its owners have waiting."""
        for waiting in reversed(batch):
            self._lines.setdefault(waiting.owner, deque()).appendleft(waiting)
            self._count += 1
            self._bytes += waiting.size

    def take(self, most: int) -> list[_Waiting[Item, Result]]:
        """Take a batch of `most` rows at most, or of one request; it is told to `done` afterwards. May be empty."""
        batch: list[_Waiting[Item, Result]] = []
        size = rows = 0
        turns = deque(owner for owner in self._lines if self._under_way[owner] < self._at_once)
        while turns and len(batch) < BATCH and size < BATCH_BYTES:
            owner = turns.popleft()
            if batch and rows + self._lines[owner][0].rows > most:
                continue  # it is first in the next one
            waiting = self._pop(owner)
            batch.append(waiting)
            size += waiting.size
            rows += waiting.rows
            if owner in self._lines:
                turns.append(owner)
        self._under_way.update(_with_many_rows(batch))
        return batch

    def done(self, batch: Sequence[_Waiting[Item, Result]]) -> bool:
        """A batch that was taken is not under way any more. Returns whether an owner has its turn by that."""
        owners = _with_many_rows(batch)
        for owner in owners:
            self._under_way[owner] -= 1
            if not self._under_way[owner]:
                del self._under_way[owner]
        return any(owner in self._lines for owner in owners)

    def late(self, now: float) -> Iterator[_Waiting[Item, Result]]:
        """Take those whose deadline is over."""
        for owner in list(self._lines):
            while (line := self._lines.get(owner)) and line[0].deadline <= now:
                yield self._pop(owner)

    def _pop(self, owner: Hashable) -> _Waiting[Item, Result]:
        line = self._lines.pop(owner)
        waiting = line.popleft()
        if line:
            self._lines[owner] = line
        self._count -= 1
        self._bytes -= waiting.size
        return waiting


def _with_many_rows(batch: Sequence[_Waiting[Item, Result]]) -> list[Hashable]:
    if sum(waiting.rows for waiting in batch) <= MANY_ROWS:
        return []
    rows = Counter[Hashable]()
    for waiting in batch:
        rows[waiting.owner] += waiting.rows
    return [owner for owner, count in rows.items() if count > MANY_ROWS]


def _one(_: object) -> int:
    return 1


def _nobody(_: object) -> None:
    return None


class Batcher(Generic[Item, Result]):
    """N writers, each with a connection: while one batch commits, the next collects. There is no timer to tune."""

    def __init__(
        self,
        url: str,
        write: Write[Item, Result],
        *,
        size: Callable[[Item], int],
        name: Callable[[Item], str],
        rows: Callable[[Item], int] = _one,
        owner: Callable[[Item], Hashable] = _nobody,
        writers: int = 4,
        deadline: float = DEADLINE,
    ) -> None:
        """`url` is PostgreSQL's; `size` is an item's in bytes, `name` its name in the log; `deadline` is in seconds.

        `rows` is how many an item adds to a statement. Items of an `owner` keep their order, and owners take turns.
        """
        self._url = url
        self._commit = write
        self._size = size
        self._name = name
        self._count = writers
        self._deadline = deadline
        self._rows = rows
        self._owner = owner
        self._waiting = _Queue[Item, Result](max(1, writers // 2))
        self._most_rows = BATCH_ROWS
        self._idle: list[asyncio.Future[None]] = []
        self._in_flight: dict[int, Sequence[_Waiting[Item, Result]]] = {}
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

    async def remember(self, item: Item) -> Result:
        """Return what the item came to, after the commit. Raises UnavailableError after `deadline`."""
        size, owner = self._size(item), self._owner(item)
        if not self._open or not self._waiting.has_room(owner, size):
            raise UnavailableError("full" if self._open else "closing")
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Result] = loop.create_future()
        deadline = loop.time() + self._deadline
        self._waiting.add(_Waiting(item, answer, deadline, size=size, rows=self._rows(item), owner=owner))
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
                        batch = self._in_flight[number] = await self._take()
                        try:
                            if conn.is_closed():
                                raise ConnectionResetError("the database hung up")
                            await self._write(conn, batch)
                        finally:
                            if self._waiting.done(batch):
                                self._wake()
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

    async def _take(self) -> list[_Waiting[Item, Result]]:
        """Wait for work, and take what has collected."""
        while not (batch := self._waiting.take(self._most_rows)):
            idle = asyncio.get_running_loop().create_future()
            self._idle.append(idle)
            await idle
        return batch

    async def _write(self, conn: Connection, batch: Sequence[_Waiting[Item, Result]]) -> None:
        """Commit `batch` and answer it. Raises if the connection is of no more use; a part may be answered then."""
        try:
            async with asyncio.timeout(STATEMENT_TIMEOUT):
                results = await self._commit(conn, [waiting.item for waiting in batch])
        except asyncpg.PostgresError as error:
            if not (error.sqlstate or "").startswith(_A_ROWS_FAULT):
                raise
            state = error.sqlstate
        except TimeoutError:
            self._most_rows = max(BATCH, self._most_rows // 2)
            raise
        else:
            self._most_rows = min(BATCH_ROWS, self._most_rows * 2)
            for waiting, result in zip(batch, results, strict=True):
                waiting.remembered(result)
            return
        if len(batch) > 1:  # one bad row harms only itself
            for waiting in batch:
                await self._write(conn, [waiting])
        else:
            log.error("an event cannot be stored", id=self._name(batch[0].item), sqlstate=state)
            batch[0].failed("unstorable")

    def _give_up(self, batch: Sequence[_Waiting[Item, Result]], error: Exception) -> None:
        """If the server went, the rows go to its successor should it come before their deadline; else they failed.

        Where a commit was done and only its reply was lost, they will be found to be there already.
        """
        unanswered = [waiting for waiting in batch if not waiting.answer.done()]
        state = error.sqlstate if isinstance(error, asyncpg.PostgresError) else None
        if isinstance(error, TimeoutError) or (state and not state.startswith(_SERVER_GOING)):
            for waiting in unanswered:
                waiting.failed(type(error).__name__)
            return
        self._waiting.put_back(unanswered)
        for _ in unanswered[::BATCH]:
            self._wake()

    async def _watch(self) -> None:
        """Tell each request in time that it was not remembered, also when a writer hangs in a frozen database."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_TICK)
            now = loop.time()
            for late in self._waiting.late(now):
                late.failed("deadline")
            for batch in self._in_flight.values():
                for waiting in batch:
                    if waiting.deadline <= now:
                        waiting.failed("deadline")
