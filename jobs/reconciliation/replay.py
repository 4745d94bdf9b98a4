"""Events that never reached us are fetched from Stripe's Events API, and applied as if their webhooks had come.

Stripe keeps events for 30 days: https://docs.stripe.com/api/events. They go into the same inbox by the same key as
webhooks, so that it may be done again, be killed anywhere, and meet the webhook itself.
"""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import msgspec
import structlog

from db import envelope, inbox
from db.envelope import MalformedError
from db.inbox import NewEvent
from db.queue import BULK
from db.states import EventStatus, QueueName
from jobs.events.apply import READERS
from jobs.reconciliation.found import Stripe
from jobs.reconciliation.lists import EVENTS_KEPT, each_page, newest, present
from worker.deps import Deps
from worker.errors import Refused
from worker.registry import job
from worker.settings import StripeMode

log = structlog.get_logger()

LATE = timedelta(days=1)
"""What has not come by then was hardly held up; Stripe goes on trying for three days."""

LOST = timedelta(hours=1)
"""What has not come by then is no straggler: the door was away, or is."""

MARGIN = timedelta(hours=1)
"""Clocks differ, and time passes while we ask: who asks for 30 days gets what is left of them."""

BATCH = 500
"""Events of one transaction at most."""

BATCH_BYTES = 8 * 1024 * 1024
"""Their bodies, together; but always one."""

SPAN, LONGEST, SHORTEST = timedelta(hours=8), timedelta(hours=128), timedelta(minutes=15)
"""How much time is looked through at once, so that the oldest events are put in first: as long as few are missing."""

FEW, MANY = 200, 5_000
"""Missing events in a span, after which the next one is longer, or shorter."""

TYPES_AT_ONCE = 20
"""Types that Stripe lists in one request: https://docs.stripe.com/api/events/list."""


Raw = msgspec.Raw | msgspec.UnsetType


class EventRow(msgspec.Struct, kw_only=True):
    """https://docs.stripe.com/api/events/object, in Stripe's order; what is not read here stays as Stripe wrote it."""

    id: str
    object: Raw = msgspec.UNSET
    account: Raw = msgspec.UNSET
    api_version: Raw = msgspec.UNSET
    context: Raw = msgspec.UNSET
    created: int
    data: Raw = msgspec.UNSET
    livemode: bool = False
    pending_webhooks: Raw = msgspec.UNSET
    request: Raw = msgspec.UNSET
    type: str


class _Missed(NamedTuple):
    """An event that the inbox lacks; it holds no more of the page that it was on."""

    created: int
    id: str
    payload: bytes


_encode = msgspec.json.Encoder().encode


@dataclass(slots=True)
class Replayed:
    """What a replay found. `missed` events were not in the inbox, `put` are those that are now; `by_type` the missed.

    `late` are the missed ones that happened more than a day ago: those that are younger may still be on their way.
    `lost` are those of more than an hour ago; `oldest` is when the oldest of the missed happened, in Stripe's seconds.

    `dead` were in the inbox, and given up there: they stay so until somebody retries them. `unread` could not be read
    as events, `other_mode` are not of STRIPE_MODE.
    """

    seen: int = 0
    missed: int = 0
    late: int = 0
    lost: int = 0
    oldest: int | None = None
    put: int = 0
    by_type: Counter[str] = field(default_factory=Counter[str])
    dead: int = 0
    unread: int = 0
    other_mode: int = 0


def nobody(seen: int) -> None:
    """Tell nobody."""
    del seen


async def replay(
    d: Deps,
    stripe: Stripe,
    since: datetime,
    *,
    dry_run: bool,
    told: Callable[[int], None] = nobody,
    until: datetime | None = None,
    types: Collection[str] = (),
) -> Replayed:
    """Put all events since `since` into the inbox that it does not have, oldest first; workers are rung for.

    Those of types that nobody handles are left out, unless `types` (Stripe's words: `invoice.paid`, `invoice.*`) ask
    for them. With `dry_run` they are only counted. `told` hears how many events were seen so far. Raises Refused when
    Stripe does not keep events for so long, TryLater when it is away: what was put in then, stays.
    """
    now = present(d, stripe)
    kept = now - EVENTS_KEPT
    if since < kept - MARGIN:
        raise Refused(
            f"Stripe keeps events for {EVENTS_KEPT.days} days, so there are none before {kept:%Y-%m-%d %H:%M} UTC: "
            "begin there, and let `billing reconcile --repair` ask for what changed before"
        )
    end = min(until or now + MARGIN, now + MARGIN)
    run = _Replay(d, stripe, dry_run, told, types, int((now - LATE).timestamp()), int((now - LOST).timestamp()))
    begin, span = max(since, kept).replace(microsecond=0), SPAN
    while begin < end:
        until_then, before = min(begin + span, end), run.found.missed
        await run.look_through(begin, until_then)
        begin, missed = until_then, run.found.missed - before
        span = min(span * 2, LONGEST) if missed <= FEW else max(span // 2, SHORTEST) if missed > MANY else span
    if run.found.put:
        log.info("events were fetched that no webhook had brought", put=run.found.put, since=since.isoformat())
    return run.found


@dataclass(slots=True)
class _Replay:
    d: Deps
    stripe: Stripe
    dry_run: bool
    told: Callable[[int], None]
    types: Collection[str]
    late: int
    """What happened before, in Stripe's seconds, should have come by now."""
    lost: int
    """What happened before did not come when it should have."""
    found: Replayed = field(default_factory=Replayed)
    seen: set[str] = field(default_factory=set[str])
    """The missed ones of this span: a list may show an object twice."""

    async def look_through(self, since: datetime, until: datetime) -> None:
        """All events of [since, until) by Stripe's clock."""
        self.seen.clear()
        missing: list[_Missed] = []
        size = 0
        for asked in self._asked():
            pages = each_page(
                self.d, "events", EventRow, account=self.stripe.account, since=since, until=until, **asked
            )
            async with aclosing(pages):
                async for page in pages:
                    found = [_Missed(row.created, row.id, _encode(row)) for row in await self._missing(page)]
                    size += sum(len(one.payload) for one in found)
                    missing += found
                    if len(missing) >= MANY or size >= 4 * BATCH_BYTES:  # a flood: memory counts more than the order
                        await self._put(missing)
                        missing, size = [], 0
        await self._put(missing)

    def _asked(self) -> list[dict[str, Any]]:
        """Stripe takes one pattern, or some exact types."""
        exact = sorted(name for name in self.types if "*" not in name)
        asked: list[dict[str, Any]] = [{"type": name} for name in sorted(self.types) if "*" in name]
        asked += [{"types": exact[at : at + TYPES_AT_ONCE]} for at in range(0, len(exact), TYPES_AT_ONCE)]
        return asked or [{}]

    async def _missing(self, page: Sequence[EventRow]) -> list[EventRow]:
        """Those of a page that the inbox lacks."""
        rows = [row for row in page if row.id not in self.seen and (self.types or row.type in READERS)]
        self.found.seen += len(rows)
        self.told(self.found.seen)
        mine = [row for row in rows if _in_mode(row, self.d.settings.stripe_mode)]
        self.found.other_mode += len(rows) - len(mine)
        if not mine:
            return []
        async with self.d.engine.connect() as conn:
            here = await inbox.known(conn, [row.id for row in mine])
        self.found.dead += sum(status == EventStatus.DEAD for status in here.values())
        missing = [row for row in mine if row.id not in here]
        self.seen |= {row.id for row in missing}
        self.found.missed += len(missing)
        self.found.late += sum(row.created < self.late for row in missing)
        self.found.lost += sum(row.created < self.lost for row in missing)
        times = [row.created for row in missing]
        self.found.oldest = min(times if self.found.oldest is None else [*times, self.found.oldest], default=None)
        self.found.by_type.update(row.type for row in missing)
        return missing

    async def _put(self, missing: Sequence[_Missed]) -> None:
        if self.dry_run:
            return
        batch: list[NewEvent] = []
        size = 0
        for one in sorted(missing):
            try:
                event = envelope.read(one.payload, self.d.clock.now())
            except MalformedError as error:
                self.found.unread += 1
                log.warning("Stripe listed an event that cannot be read", id=one.id, why=str(error))
                continue
            batch.append(event._replace(account=event.account or self.stripe.account or None))
            size += len(one.payload)
            if len(batch) >= BATCH or size >= BATCH_BYTES:
                await self._remember(batch)
                batch, size = [], 0
        if batch:
            await self._remember(batch)

    async def _remember(self, batch: Sequence[NewEvent]) -> None:
        async with self.d.tx() as tx:
            new = await inbox.put(tx.conn, batch, priority=BULK)
            if new:
                tx.rings.add(QueueName.EVENTS)
        self.found.put += len(new)


def _in_mode(row: EventRow, mode: StripeMode) -> bool:
    return mode is StripeMode.ANY or row.livemode is (mode is StripeMode.LIVE)


@job(queue=QueueName.BATCH, tries=8, timeout=timedelta(hours=6))
async def backfill_events(d: Deps, since: datetime, until: datetime | None = None, account: str = "") -> None:
    """Replay what the inbox lacks of [since, until), of our own account or a connected one."""
    await replay(d, await newest(d, account), since, dry_run=False, until=until)
