"""An event is remembered before it is acknowledged, and read back to be applied."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, TypeAlias

import asyncpg
from sqlalchemy import bindparam, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import Boolean, DateTime, LargeBinary, Text

from db.engine import asyncpg_dsn
from db.models.inbox import WebhookEvent
from db.states import QueueName


class NewEvent(NamedTuple):
    """A webhook event that just came in; the order of the fields is that of the columns."""

    id: str
    type: str
    api_version: str | None
    livemode: bool
    account: str | None
    object_id: str | None
    customer_id: str | None
    payload: bytes
    created_at: datetime
    received_at: datetime


REMEMBER = """
    WITH arrived AS (
        INSERT INTO webhook_events (id, type, api_version, livemode, account, object_id, customer_id,
                                    payload, created_at, received_at)
        SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::bool[], $5::text[], $6::text[], $7::text[],
                             $8::bytea[], $9::timestamptz[], $10::timestamptz[])
        ON CONFLICT (id) DO NOTHING
        RETURNING id, type, received_at
    ), queued AS (
        INSERT INTO queue (queue, name, event_id, due_at) SELECT 'events', type, id, received_at FROM arrived
    )
    SELECT id FROM arrived
"""
"""Remembers a batch and makes it work to do, in one statement; answers with the ids that are new."""

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


async def connect(url: str, *, timeout: float, application_name: str) -> Connection:  # noqa: ASYNC109 - both bounds, one number
    """A plain connection for REMEMBER. No statement and no wait for a lock outlasts `timeout` (seconds)."""
    milliseconds = str(int(timeout * 1000))
    return await asyncpg.connect(
        asyncpg_dsn(url),
        timeout=timeout,
        server_settings={
            "timezone": "UTC",
            "application_name": application_name,
            "statement_timeout": milliseconds,
            "lock_timeout": milliseconds,
        },
    )


async def remember(conn: Connection, events: Sequence[NewEvent]) -> set[str]:
    """Commit `events`, whose ids must differ. Returns the ids that were new; the others were remembered before.

    The rows go in sorted by id: two batches that overlap in another order would deadlock.
    """
    columns = zip(*sorted(events), strict=True)
    return {row[0] for row in await conn.fetch(REMEMBER, *columns)}


_PUT = text(
    """
    WITH arrived AS (
        INSERT INTO webhook_events (id, type, api_version, livemode, account, object_id, customer_id,
                                    payload, created_at, received_at, source)
        SELECT e.*, 'events_api' FROM unnest(
            CAST(:id AS text[]), CAST(:type AS text[]), CAST(:api_version AS text[]), CAST(:livemode AS bool[]),
            CAST(:account AS text[]), CAST(:object_id AS text[]), CAST(:customer_id AS text[]),
            CAST(:payload AS bytea[]), CAST(:created_at AS timestamptz[]), CAST(:received_at AS timestamptz[])
        ) AS e
        ON CONFLICT (id) DO NOTHING
        RETURNING id, type, created_at, received_at
    ), queued AS (
        INSERT INTO queue (queue, name, event_id, due_at, priority)
        SELECT 'events', type, id, received_at, :priority FROM arrived ORDER BY created_at, id
    )
    SELECT id FROM arrived
    """
).bindparams(
    *(
        bindparam(name, type_=ARRAY(kind))
        for name, kind in zip(
            NewEvent._fields, (Text, Text, Text, Boolean, Text, Text, Text, LargeBinary), strict=False
        )
    ),
    *(bindparam(name, type_=ARRAY(DateTime(timezone=True))) for name in ("created_at", "received_at")),
)


async def put(conn: AsyncConnection, events: Sequence[NewEvent], *, priority: int) -> set[str]:
    """Put events into the inbox that Stripe's Events API told, as `remember` does for those that webhooks bring.

    Their ids must differ. Returns the ids that were new. Of one batch the oldest are applied first.
    """
    ordered = sorted(events)
    columns: dict[str, object] = {
        name: [event[place] for event in ordered] for place, name in enumerate(NewEvent._fields)
    }
    rows = await conn.execute(_PUT, columns | {"priority": priority})
    return set(rows.scalars())


_KNOWN = text("SELECT id, status FROM webhook_events WHERE id = ANY(:ids)").bindparams(
    bindparam("ids", type_=ARRAY(Text))
)


async def known(conn: AsyncConnection, ids: Sequence[str]) -> dict[str, str]:
    """Those of these events that are in the inbox, each with its status."""
    return {row[0]: row[1] for row in await conn.execute(_KNOWN, {"ids": list(ids)})}


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event as it lies in the inbox; `payload` are the very bytes that Stripe signed, or its API gave."""

    id: str
    type: str
    livemode: bool
    account: str | None
    created_at: datetime
    received_at: datetime
    payload: bytes


async def load(conn: AsyncConnection, ids: Sequence[str]) -> list[StoredEvent]:
    """The events with these ids, in no particular order."""
    rows = await conn.execute(
        select(
            WebhookEvent.id,
            WebhookEvent.type,
            WebhookEvent.livemode,
            WebhookEvent.account,
            WebhookEvent.created_at,
            WebhookEvent.received_at,
            WebhookEvent.payload,
        ).where(WebhookEvent.id.in_(ids))
    )
    return [StoredEvent(*row) for row in rows]


async def customers(conn: AsyncConnection, ids: Sequence[str]) -> dict[str, str]:
    """The customer of each of these events that names one."""
    rows = await conn.execute(
        select(WebhookEvent.id, WebhookEvent.customer_id).where(
            WebhookEvent.id.in_(ids), WebhookEvent.customer_id.is_not(None)
        )
    )
    return {event: customer for event, customer in rows if customer is not None}


@dataclass(frozen=True, slots=True)
class Depth:
    """How much work waits in a queue: `ready` may start now, the oldest of it since `oldest_ready_seconds`."""

    ready: int = 0
    oldest_ready_seconds: float = 0.0
    dead: int = 0


_DEPTHS = text(
    """
    SELECT queue, count(*) FILTER (WHERE dead_reason IS NULL), min(due_at) FILTER (WHERE dead_reason IS NULL),
           count(*) FILTER (WHERE dead_reason IS NOT NULL)
    FROM queue WHERE lease_token IS NULL AND (dead_reason IS NOT NULL OR due_at <= :now)
    GROUP BY queue
    """
)


async def depths(conn: AsyncConnection, now: datetime) -> dict[str, Depth]:
    """The depth of each queue at `now`; every queue is named, the empty ones too."""
    found = {name.value: Depth() for name in QueueName}
    for queue, ready, oldest, dead in await conn.execute(_DEPTHS, {"now": now}):
        age = 0.0 if oldest is None else (now - oldest).total_seconds()
        found[queue] = Depth(ready, age, dead)
    return found
