"""Comparisons with Stripe are remembered: what each covered, what it found, and where the next one begins."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import Text

from db.states import DifferenceClass

SILENT = timedelta(seconds=45)
"""A run that showed no sign of life for so long was killed, and holds up no other. It shows one every 5 seconds."""

Row = dict[str, Any]
Address = tuple[str, str, str, str]
"""Which difference: kind, object, class and field."""

Compared = tuple[datetime, datetime]
"""From when until when a run compared, by Stripe's clock."""


class RunLost(Exception):  # noqa: N818 - a fact about the run: another one was begun in its place
    """The run was taken for dead and another one begun: nothing of this one may be recorded any more."""


@dataclass(frozen=True, slots=True)
class NewRun:
    """A comparison that is to be made."""

    account: str
    livemode: bool | None
    asked_by: str
    since: datetime
    until: datetime
    repairs: frozenset[DifferenceClass]
    dry_run: bool
    stripe_id: str | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """A difference that a run found; `mended` by the same run."""

    kind: str
    object_id: str
    class_: DifferenceClass
    field: str
    here: str | None
    there: str | None
    currency: str | None
    mended: bool

    @property
    def address(self) -> Address:
        """What tells it from others."""
        return self.kind, self.object_id, self.class_.value, self.field


_GIVE_UP = text(
    """
    UPDATE reconciliation_runs SET status = 'failed', finished_at = :now,
           error = 'it was killed, or its machine was lost: the next run does it all again'
    WHERE stripe_account = :account AND status = 'running'
      AND heartbeat_at < clock_timestamp() - CAST(:silent AS interval)
    """
)
_BEGIN = text(
    """
    INSERT INTO reconciliation_runs (stripe_account, stripe_id, livemode, asked_by, since, until, repairs, dry_run,
                                     status, started_at, heartbeat_at)
    VALUES (:account, :stripe_id, :livemode, :asked_by, :since, :until, :repairs, :dry_run,
            'running', :now, clock_timestamp())
    ON CONFLICT (stripe_account) WHERE status = 'running' DO NOTHING RETURNING id
    """
).bindparams(bindparam("repairs", type_=JSONB))


_UNDER_WAY = text(
    """
    SELECT EXISTS (SELECT FROM reconciliation_runs
                   WHERE stripe_account = :account AND status = 'running'
                     AND heartbeat_at >= clock_timestamp() - CAST(:silent AS interval))
    """
)


async def under_way(conn: AsyncConnection, account: str) -> bool:
    """Whether a run of this account lives: `begin` would be refused now."""
    return bool((await conn.execute(_UNDER_WAY, {"account": account, "silent": SILENT})).scalar())


async def begin(conn: AsyncConnection, new: NewRun, now: datetime) -> int | None:
    """Begin a run; one that was killed is written off first. None: another one of this account is under way.

    Signs of life are measured on the database's clock, which all machines share.
    """
    await conn.execute(_GIVE_UP, {"account": new.account, "now": now, "silent": SILENT})
    values = _values(new) | {"now": now}
    return (await conn.execute(_BEGIN, values)).scalar()


def _values(new: NewRun) -> Row:
    return {
        "account": new.account,
        "stripe_id": new.stripe_id,
        "livemode": new.livemode,
        "asked_by": new.asked_by,
        "since": new.since,
        "until": new.until,
        "repairs": sorted(new.repairs),
        "dry_run": new.dry_run,
    }


_COULD_NOT = text(
    """
    INSERT INTO reconciliation_runs (stripe_account, livemode, asked_by, since, until, repairs, dry_run, status, error,
                                     started_at, heartbeat_at, finished_at)
    VALUES (:account, :livemode, :asked_by, :since, :until, :repairs, :dry_run, 'failed', :error,
            :now, clock_timestamp(), :now)
    """
).bindparams(bindparam("repairs", type_=JSONB))


async def could_not(conn: AsyncConnection, new: NewRun, error: str, now: datetime) -> None:
    """Write down that a run could not even begin."""
    await conn.execute(_COULD_NOT, _values(new) | {"error": error, "now": now})


_BEAT = text("UPDATE reconciliation_runs SET heartbeat_at = clock_timestamp() WHERE id = :id AND status = 'running'")
_HOLD = text("SELECT 1 FROM reconciliation_runs WHERE id = :id AND status = 'running' FOR UPDATE")


async def beat(conn: AsyncConnection, run: int) -> None:
    """Show a sign of life. Raises RunLost when it is too late."""
    if (await conn.execute(_BEAT, {"id": run})).rowcount != 1:
        raise RunLost(f"run {run} was taken for dead, and another one begun")


async def hold(conn: AsyncConnection, run: int) -> None:
    """Keep the run until this transaction ends. Raises RunLost when another one was begun in its place."""
    if (await conn.execute(_HOLD, {"id": run})).first() is None:
        raise RunLost(f"run {run} was taken for dead, and another one begun")


_END = text(
    """
    UPDATE reconciliation_runs
    SET status = :status, advances = :advances, finished_at = :now, error = :error, report = :report
    WHERE id = :id AND status = 'running'
    """
).bindparams(bindparam("report", type_=JSONB))


async def finish(conn: AsyncConnection, run: int, report: Mapping[str, Any], *, advances: bool, now: datetime) -> None:
    """The run is done; with `advances` the next one begins at its end. Raises RunLost."""
    values = {"id": run, "status": "done", "advances": advances, "now": now, "error": None, "report": dict(report)}
    if (await conn.execute(_END, values)).rowcount != 1:
        raise RunLost(f"run {run} was taken for dead, and another one begun")


async def fail(conn: AsyncConnection, run: int, error: str, now: datetime) -> None:
    """The run did not come to its end; nothing happens when it was written off before."""
    values = {"id": run, "status": "failed", "advances": False, "now": now, "error": error, "report": None}
    await conn.execute(_END, values)


_CURSOR = text(
    """
    SELECT max(until) FROM reconciliation_runs
    WHERE stripe_account = :account AND livemode = :livemode AND status = 'done' AND advances
      AND (CAST(:whose AS text) IS NULL OR stripe_id IS NULL OR stripe_id = :whose)
    """
)


async def cursor(conn: AsyncConnection, account: str, *, livemode: bool, whose: str | None = None) -> datetime | None:
    """Until when all was compared without a gap (Stripe's time); None: never yet, with a key of `whose` (acct_…)."""
    return (await conn.execute(_CURSOR, {"account": account, "livemode": livemode, "whose": whose})).scalar()


_OLDEST = text(
    """
    SELECT least(
        (SELECT min(created_at) FROM payment_history WHERE stripe_account = :account AND livemode = :livemode),
        (SELECT min(stripe_created_at) FROM invoices
         WHERE kind IS NULL AND stripe_account = :account AND livemode = :livemode)
    )
    """
)


async def oldest(conn: AsyncConnection, account: str, *, livemode: bool) -> datetime | None:
    """When the first payment or invoice that we have of an account was made (Stripe's time)."""
    return (await conn.execute(_OLDEST, {"account": account, "livemode": livemode})).scalar()


_ACCOUNTS = text(
    """
    SELECT DISTINCT stripe_account FROM payment_history WHERE created_at >= :since AND stripe_account <> ''
    UNION SELECT DISTINCT stripe_account FROM subscriptions
          WHERE status NOT IN ('canceled', 'incomplete_expired') AND stripe_account <> ''
    UNION SELECT DISTINCT stripe_account FROM reconciliation_differences
          WHERE settled_at IS NULL AND stripe_account <> ''
    ORDER BY 1
    """
)


async def connected(conn: AsyncConnection, since: datetime) -> list[str]:
    """Connected accounts that were paid since then, or have subscriptions or open differences."""
    return list((await conn.execute(_ACCOUNTS, {"since": since})).scalars())


_OPEN = text(
    """
    SELECT d.kind, d.object_id, d.class, d.field,
           least(r.since, CAST(r.report -> 'older' ->> 'since' AS timestamptz)), r.until
    FROM reconciliation_differences d JOIN reconciliation_runs r ON r.id = d.last_run_id
    WHERE d.stripe_account = :account AND d.livemode = :livemode AND d.settled_at IS NULL
    """
)


async def open_differences(conn: AsyncConnection, account: str, *, livemode: bool) -> dict[Address, Compared]:
    """The differences that are open, each with what the run compared that saw it last, from its oldest piece on."""
    rows = await conn.execute(_OPEN, {"account": account, "livemode": livemode})
    return {(row[0], row[1], row[2], row[3]): (row[4], row[5]) for row in rows}


_SUBSCRIPTIONS_OF = text(
    """
    SELECT stripe_subscription_item_id, stripe_subscription_id FROM subscription_items
    WHERE stripe_subscription_item_id = ANY(:items)
    """
).bindparams(bindparam("items", type_=ARRAY(Text)))


async def subscriptions_of(conn: AsyncConnection, items: Sequence[str]) -> dict[str, str]:
    """The subscription of each of these items that is still here."""
    if not items:
        return {}
    return {row[0]: row[1] for row in await conn.execute(_SUBSCRIPTIONS_OF, {"items": list(items)})}


# Who dismissed a difference knows these very values: as long as they stay, it is not told again.
_DISMISSED = text(
    """
    UPDATE reconciliation_differences d SET last_seen_at = :now, last_run_id = :run
    FROM jsonb_to_recordset(CAST(:rows AS jsonb))
         AS f (kind text, object_id text, class text, field text, here text, there text)
    WHERE d.stripe_account = :account AND d.settled_how = 'dismissed'
      AND (d.kind, d.object_id, d.class, d.field) = (f.kind, f.object_id, f.class, f.field)
      AND d.here IS NOT DISTINCT FROM f.here AND d.there IS NOT DISTINCT FROM f.there
    RETURNING d.kind, d.object_id, d.class, d.field
    """
)
_KEEP = text(
    """
    INSERT INTO reconciliation_differences AS d
        (stripe_account, livemode, class, kind, object_id, field, here, there, currency,
         first_seen_at, last_seen_at, first_run_id, last_run_id)
    SELECT :account, :livemode, class, kind, object_id, field, here, there, currency, :now, :now, :run, :run
    FROM jsonb_to_recordset(CAST(:rows AS jsonb))
         AS f (kind text, object_id text, class text, field text, here text, there text, currency text)
    ORDER BY kind, object_id, class, field
    ON CONFLICT (stripe_account, kind, object_id, class, field) WHERE settled_at IS NULL
    DO UPDATE SET here = excluded.here, there = excluded.there, currency = excluded.currency,
                  last_seen_at = excluded.last_seen_at, last_run_id = excluded.last_run_id
    """
)
_SETTLE = text(
    """
    UPDATE reconciliation_differences d SET settled_at = :now, settled_how = :how, settled_run_id = :run
    FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS f (kind text, object_id text, class text, field text)
    WHERE d.stripe_account = :account AND d.settled_at IS NULL
      AND (d.kind, d.object_id, d.class, d.field) = (f.kind, f.object_id, f.class, f.field)
    """
)


def _json(found: Iterable[Found]) -> str:
    rows = [
        dict(zip(("kind", "object_id", "class", "field"), one.address, strict=True))
        | {"here": one.here, "there": one.there, "currency": one.currency}
        for one in found
    ]
    return msgspec.json.encode(rows).decode()


def _addresses(settled: Iterable[Address]) -> str:
    rows = [dict(zip(("kind", "object_id", "class", "field"), one, strict=True)) for one in settled]
    return msgspec.json.encode(rows).decode()


async def record(
    conn: AsyncConnection, run: int, account: str, found: Sequence[Found], *, livemode: bool, now: datetime
) -> set[Address]:
    """Keep what a run found: new ones, ones seen before, and those that it mended. Returns the dismissed ones."""
    if not found:
        return set()
    common: Row = {"account": account, "run": run, "now": now}
    left = [one for one in found if not one.mended]
    rows = await conn.execute(_DISMISSED, common | {"rows": _json(left)})
    dismissed: set[Address] = {(row[0], row[1], row[2], row[3]) for row in rows}
    kept = {one.address: one for one in found if one.address not in dismissed}
    await conn.execute(_KEEP, common | {"livemode": livemode, "rows": _json(kept.values())})
    mended = [address for address, one in kept.items() if one.mended]
    await conn.execute(_SETTLE, common | {"how": "repaired", "rows": _addresses(mended)})
    return dismissed


async def agree(conn: AsyncConnection, run: int, account: str, gone: Iterable[Address], now: datetime) -> None:
    """These differences are there no more: something else has mended them."""
    values = {"account": account, "run": run, "now": now, "how": "agrees", "rows": _addresses(gone)}
    await conn.execute(_SETTLE, values)


_COUNTS = text("SELECT class, count(*) FROM reconciliation_differences WHERE settled_at IS NULL GROUP BY 1")


async def open_counts(conn: AsyncConnection) -> dict[str, int]:
    """How many differences of each class are open, of all accounts; every class is named."""
    found = {row[0]: row[1] for row in await conn.execute(_COUNTS)}
    return {one.value: found.get(one.value, 0) for one in DifferenceClass}


# Events that were fetched again, that nobody has tried yet: a worker applies them now, if one is alive.
_ON_THEIR_WAY = text(
    """
    SELECT count(*) FROM queue q JOIN webhook_events e ON e.id = q.event_id
    WHERE q.event_id IS NOT NULL AND q.dead_reason IS NULL AND q.attempts = 0 AND e.source = 'events_api'
    """
)


async def on_their_way(conn: AsyncConnection) -> int:
    """How many events of Stripe's list of events wait to be applied for the first time."""
    return (await conn.execute(_ON_THEIR_WAY)).scalar_one()


_IN_INBOX = text("SELECT id FROM webhook_events WHERE id = ANY(:ids)").bindparams(bindparam("ids", type_=ARRAY(Text)))


async def in_inbox(conn: AsyncConnection, ids: Sequence[str]) -> set[str]:
    """Those of these events that came, in whatever way."""
    return set((await conn.execute(_IN_INBOX, {"ids": list(ids)})).scalars())
