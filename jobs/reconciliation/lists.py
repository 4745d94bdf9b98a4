"""Stripe's lists are read whole: many pages at once where time can be cut, and never more than fit into memory."""

import asyncio
import math
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, Generic, Protocol, TypeVar, cast

import msgspec

from jobs.reconciliation.found import Stripe
from jobs.stripe_objects import Malformed, parse
from worker.backoff import delay
from worker.deps import Deps
from worker.errors import Refused, TryLater
from worker.ports import Dated

ROWS = 100
"""The largest page that Stripe gives: https://docs.stripe.com/api/pagination."""

TRIES = 8
"""How often one page is asked for, before the whole reading fails."""

FIRST_WAIT, LONGEST_WAIT = timedelta(seconds=1), timedelta(seconds=30)
"""Between two tries, when Stripe does not say how long."""

RESTARTS = 5
"""How often a list is begun anew at the same place, when the object to go on from is there no more."""

EVENTS_KEPT = timedelta(days=30)
"""What happened longer ago the list of events does not tell: https://docs.stripe.com/api/events."""

Sleep = Callable[[float], Awaitable[object]]


class Row(Protocol):
    """What is read of each object. A `msgspec.Struct` with these and whatever else is wanted."""

    @property
    def id(self) -> str:
        """Stripe's id."""
        ...

    @property
    def created(self) -> int:
        """Seconds since 1970."""
        ...


T = TypeVar("T", bound=Row)


class Page(msgspec.Struct, Generic[T]):
    """One page of a list: https://docs.stripe.com/api/pagination."""

    data: list[T]
    has_more: bool


def on_behalf(account: str) -> dict[str, str]:
    """The option that makes a request one for a connected account; none for our own (""): docs.stripe.com/connect."""
    return {"stripe_account": account} if account else {}


def by_stripe(d: Deps) -> datetime:
    """Stripe's present, by the newest of its answers; ours where whoever stands in for Stripe tells no time.

    Our clock may be wrong: what Stripe did seconds ago would seem old, and its webhook lost.
    """
    told = d.stripe.told_at if isinstance(d.stripe, Dated) else None
    return told or (d.business or d.clock).now()


def present(d: Deps, stripe: Stripe) -> datetime:
    """Stripe's present: on a quiet account its newest event may be days old."""
    return max(stripe.as_of, by_stripe(d))


async def newest(d: Deps, account: str) -> Stripe:
    """The account as of the newest event that Stripe lists: ask this first, and all that follows is at least as new.

    Without any event in 30 days nothing changed in them: then it is as of a day ago, which is newer than all that we
    were told, and older than all that may happen from now on, even by a clock that is wrong by hours. Raises as
    `StripeApi.retrieve`.
    """
    events = await d.stripe.retrieve("events", limit=1, **on_behalf(account))
    balance = await d.stripe.retrieve("balance", **on_behalf(account))
    if events["data"]:
        as_of = datetime.fromtimestamp(events["data"][0]["created"], UTC)
    else:
        as_of = by_stripe(d).replace(microsecond=0) - timedelta(days=1)
    return Stripe(account, bool(balance["livemode"]), as_of)


async def each_page(
    d: Deps,
    path: str,
    row: type[T],
    *,
    account: str,
    since: datetime | None = None,
    until: datetime | None = None,
    parallel: int = 4,
    sleep: Sleep = asyncio.sleep,
    **params: Any,
) -> AsyncGenerator[list[T]]:
    """All objects of a list that were created in [since, until), page by page and in no order.

    An object may come twice, when others were created or deleted while the list was read; none that is there all the
    time is left out. At most twice `parallel` pages wait to be taken. Strings hold U+FFFD where PostgreSQL could not
    hold what Stripe sent. Put it into `contextlib.aclosing` when you may leave it before its end. Raises what remains
    after TRIES: TryLater when Stripe is away, Refused when it does not give this list.
    """
    pages: type[Page[T]] = cast("Any", Page)[row]
    lowest = None if since is None else math.floor(since.timestamp())
    highest = None if until is None else math.ceil(until.timestamp())
    if lowest is not None and highest is not None and lowest >= highest:
        return
    ask = _Ask(d, path, {"limit": ROWS} | params | on_behalf(account), msgspec.json.Decoder(pages), sleep)
    reading = _Reading(ask, parallel)
    reading.begin(_Slice(lowest, highest))
    try:
        while True:
            found = await reading.found.get()
            if found is None:
                return
            if isinstance(found, BaseException):
                raise found
            yield found
            reading.room.release()
    finally:
        await reading.close()


@dataclass(slots=True)
class _Slice:
    """Objects created in [since, until), in seconds; those after the object `after` remain."""

    since: int | None
    until: int | None
    after: str | None = None

    def params(self) -> dict[str, Any]:
        """As Stripe wants them."""
        created = {name: at for name, at in (("gte", self.since), ("lt", self.until)) if at is not None}
        made: dict[str, Any] = {"created": created} if created else {}
        return made if self.after is None else made | {"starting_after": self.after}

    def cut(self, oldest: int, parts: int) -> "list[_Slice]":
        """Leave to others what can be left to them, after a page whose oldest object is of the second `oldest`.

        What remains is of `oldest` or before, so it is cut there into up to `parts`; the newest stays with this one.
        """
        if self.since is None:
            return []
        parts = min(parts, oldest - self.since + 1)
        if parts <= 1:
            return []
        width = oldest + 1 - self.since
        bounds = [self.since + width * number // parts for number in range(parts)]
        self.since = bounds[-1]
        return [_Slice(begin, end) for begin, end in pairwise(bounds)]


@dataclass(frozen=True, slots=True)
class _Ask(Generic[T]):
    """One list, and how it is asked for."""

    d: Deps
    path: str
    params: Mapping[str, Any]
    decoder: msgspec.json.Decoder[Page[T]]
    sleep: Sleep

    async def page(self, part: _Slice) -> Page[T]:
        """The next page of a slice. A Stripe that is away or busy is asked again, TRIES times in all."""
        tries = 0
        while True:
            tries += 1
            try:
                return self._decoded(await self.d.stripe.read(self.path, **self.params, **part.params()))
            except TryLater as later:
                if tries >= TRIES:
                    raise
                wait = later.after
                if wait is None:
                    wait = delay(tries, 0.5 + random.random() / 2, base=FIRST_WAIT, cap=LONGEST_WAIT)  # noqa: S311 - spreads retries, guards nothing
            await self.sleep(wait.total_seconds())

    def _decoded(self, body: bytes) -> Page[T]:
        if b"\\" not in body or rb"\u0000" not in body:  # the first is found, or not, many times faster
            try:
                return self.decoder.decode(body)
            except msgspec.ValidationError:
                raise
            except msgspec.DecodeError:  # a lone surrogate is JSON too
                pass
        try:
            return self.decoder.decode(msgspec.json.encode(parse(body)))
        except Malformed as error:
            raise TryLater(f"what answered GET /v1/{self.path} is no JSON: {body[:80]!r}") from error


class _Reading(Generic[T]):
    """A list on its way: one task for each slice, at most `parallel`. Who finds more than a page shares it out."""

    def __init__(self, ask: _Ask[T], parallel: int) -> None:
        self.found: asyncio.Queue[list[T] | BaseException | None] = asyncio.Queue()
        """Pages; an error; None at the end."""
        self.room = asyncio.Semaphore(2 * parallel)
        """Pages that may be asked for before one more is taken."""
        self._ask = ask
        self._parallel = parallel
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, part: _Slice) -> None:
        """Read a slice in a task of its own."""
        task = asyncio.create_task(self._read(part))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        if (error := task.exception()) is not None:
            self.found.put_nowait(error)
        elif not self._tasks:
            self.found.put_nowait(None)

    async def close(self) -> None:
        """End all tasks."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self, part: _Slice) -> None:
        restarts, oldest = 0, None
        while True:
            await self.room.acquire()
            try:
                page = await self._ask.page(part)
            except Refused:
                # The object to go on from was deleted meanwhile (resource_missing): from its second on anew.
                if part.after is None or oldest is None or restarts >= RESTARTS:
                    raise
                restarts, part.after, part.until = restarts + 1, None, oldest + 1
                self.room.release()
                continue
            if not page.data:
                self.room.release()
                return
            last = page.data[-1]
            restarts = restarts if last.created == oldest else 0
            part.after, oldest = last.id, last.created
            self.found.put_nowait(page.data)
            if not page.has_more:
                return
            for other in part.cut(last.created, 1 + self._parallel - len(self._tasks)):
                self.begin(other)
