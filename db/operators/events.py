"""Operators look into the webhook inbox, tell one event's story, set events going again, or put dead ones away."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, func, literal, or_, select, union_all, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from db.models.inbox import QueueRow, WebhookEvent
from db.models.operations import Job, JobAttempt
from db.operators.actions import (
    AUDITED_IDS,
    FEW,
    Actor,
    Done,
    NotAllowedError,
    UnknownIdsError,
    audit_of,
    idle,
    running,
    write_audit,
)
from db.operators.filters import BadFilterError, EventFilter
from db.queue import BULK
from db.states import EventStatus, QueueName

_LISTED = (
    WebhookEvent.id,
    WebhookEvent.type,
    WebhookEvent.status,
    WebhookEvent.attempts,
    WebhookEvent.customer_id,
    WebhookEvent.object_id,
    WebhookEvent.account,
    WebhookEvent.livemode,
    WebhookEvent.api_version,
    WebhookEvent.created_at,
    WebhookEvent.received_at,
    WebhookEvent.processed_at,
    WebhookEvent.last_error,
    QueueRow.due_at,
    QueueRow.lost,
    QueueRow.leased_by,
    QueueRow.dead_reason,
    QueueRow.dead_at,
    func.coalesce(running(), False).label("running"),
)
_WITH_QUEUE = QueueRow.event_id == WebhookEvent.id
_UNFINISHED = (EventStatus.RECEIVED, EventStatus.RETRYING, EventStatus.DEAD)


async def list_events(
    conn: AsyncConnection, wanted: EventFilter, *, limit: int, after: str | None = None
) -> list[dict[str, Any]]:
    """The events that match, newest first; `after` is the last id of the page before."""
    query = select(*_LISTED).outerjoin(QueueRow, _WITH_QUEUE).where(wanted.conditions())
    if after is not None:
        last = select(WebhookEvent.received_at).where(WebhookEvent.id == after).scalar_subquery()
        query = query.where(
            or_(WebhookEvent.received_at < last, and_(WebhookEvent.received_at == last, WebhookEvent.id < after))
        )
    query = query.order_by(WebhookEvent.received_at.desc(), WebhookEvent.id.desc()).limit(limit)
    return [dict(row) for row in (await conn.execute(query)).mappings()]


async def recent_types(conn: AsyncConnection) -> list[str]:
    """The types of the last 5,000 events, to guess what somebody meant."""
    recent = select(WebhookEvent.type).order_by(WebhookEvent.received_at.desc()).limit(5_000).subquery()
    return list((await conn.execute(select(recent.c.type).distinct())).scalars())


async def payload_of(conn: AsyncConnection, event_id: str) -> bytes:
    """The very bytes that Stripe signed. Raises UnknownIdsError."""
    payload = await conn.scalar(select(WebhookEvent.payload).where(WebhookEvent.id == event_id))
    if payload is None:
        raise UnknownIdsError("event", [event_id])
    return payload


async def event_story(conn: AsyncConnection, event_id: str) -> dict[str, Any]:
    """All that is known of an event: its row, attempts, what it changed and staged, what operators did about it.

    `payload` are bytes. Raises UnknownIdsError.
    """
    query = select(*_LISTED, WebhookEvent.payload, WebhookEvent.effects).outerjoin(QueueRow, _WITH_QUEUE)
    row = (await conn.execute(query.where(WebhookEvent.id == event_id))).mappings().first()
    if row is None:
        raise UnknownIdsError("event", [event_id])
    story = dict(row)
    effects: dict[str, Any] = story.pop("effects") or {}
    return {
        **story,
        "history": await attempts_of(conn, JobAttempt.event_id == event_id),
        "changed": effects.get("changed", []),
        "effects": effects,
        "staged": await staged_by(conn, event_id),
        "audit": await audit_of(conn, "event", event_id),
    }


async def attempts_of(conn: AsyncConnection, whose: ColumnElement[bool]) -> list[dict[str, Any]]:
    """The attempts that did not simply succeed at once, oldest first."""
    rows = await conn.execute(
        select(
            JobAttempt.started_at,
            JobAttempt.ended_at,
            JobAttempt.worker,
            JobAttempt.outcome,
            JobAttempt.error,
            JobAttempt.fingerprint,
            JobAttempt.traceback,
            JobAttempt.next_at,
        )
        .where(whose)
        .order_by(JobAttempt.id)
    )
    return [dict(row) for row in rows.mappings()]


async def staged_by(conn: AsyncConnection, who: str) -> list[dict[str, Any]]:
    """The jobs that an event (its id) or a job (`job:7`) staged, oldest first."""
    rows = await conn.execute(
        select(Job.id, Job.name, Job.queue, Job.status, Job.args, Job.created_at, Job.last_error)
        .where(Job.staged_by == who)
        .order_by(Job.id)
    )
    return [dict(row) for row in rows.mappings()]


async def check_ids(
    conn: AsyncConnection, ids: Sequence[str], allowed: Sequence[EventStatus], refusal: str
) -> EventFilter:
    """The filter of exactly these ids. Raises UnknownIdsError, or NotAllowedError by `refusal`."""
    rows = await conn.execute(
        select(WebhookEvent.id, WebhookEvent.status, running())
        .outerjoin(QueueRow, _WITH_QUEUE)
        .where(WebhookEvent.id.in_(ids))
    )
    found = {row[0]: (row[1], row[2]) for row in rows}
    if unknown := [event_id for event_id in ids if event_id not in found]:
        raise UnknownIdsError("event", unknown)
    reasons: list[str] = []
    for event_id, (status, is_running) in found.items():
        if is_running:
            reasons.append(f"{event_id} is running now: wait for its end")
        elif status not in allowed:
            reasons.append(f"{event_id} {refusal.format(status=status)}")
    if reasons:
        raise NotAllowedError(reasons)
    return EventFilter(ids=tuple(dict.fromkeys(ids)))


def retryable(*, again: bool) -> tuple[EventStatus, ...]:
    """The states that a retry may start from: what was already applied is applied again only when asked for."""
    return tuple(EventStatus) if again else tuple(one for one in EventStatus if one is not EventStatus.PROCESSED)


async def retry_of_ids(conn: AsyncConnection, ids: Sequence[str], *, again: bool) -> EventFilter:
    """These ids, when all of them can be retried. Raises UnknownIdsError or NotAllowedError."""
    return await check_ids(conn, ids, retryable(again=again), "is already {status}: --again applies it once more")


def retry_of_filter(wanted: EventFilter, *, again: bool) -> EventFilter:
    """A filter that may be retried in bulk; without a status it means the dead. Raises BadFilterError."""
    if wanted.status is EventStatus.PROCESSED and not again:
        raise BadFilterError("status", "processed events were already applied: --again applies them once more")
    if wanted == EventFilter():
        raise BadFilterError("filter", "name ids, or say which: --status dead, --type 'invoice.*', --since 2h")
    return wanted if wanted.status else replace(wanted, status=EventStatus.DEAD)


async def count(conn: AsyncConnection, wanted: EventFilter) -> int:
    """How many events match."""
    return await conn.scalar(select(func.count()).select_from(WebhookEvent).where(wanted.conditions())) or 0


async def retry(
    conn: AsyncConnection, wanted: EventFilter, actor: Actor, *, now: datetime, again: bool = False
) -> Done:
    """Set events going again, due at once and with their counts at zero, in one statement.

    Many go behind the live ones (priority BULK). What a worker holds at this moment is left alone.
    """
    matched = await count(conn, wanted)
    priority = 0 if wanted.ids is not None and len(wanted.ids) <= FEW else BULK
    waiting = (
        select(QueueRow.id)
        .join(WebhookEvent, _WITH_QUEUE)
        .where(wanted.conditions(), idle())
        .order_by(QueueRow.id)
        .with_for_update(of=QueueRow, skip_locked=True)
        .cte("waiting")
    )
    reset = (
        update(QueueRow)
        .where(QueueRow.id == waiting.c.id)
        .values(priority=priority, due_at=now, attempts=0, lost=0, leased_by=None, lease_token=None, lease_until=None)
        .values(dead_reason=None, dead_at=None)
        .returning(QueueRow.event_id)
        .cte("reset")
    )
    finished = [one.value for one in retryable(again=again) if one not in _UNFINISHED]
    staged = (
        upsert(QueueRow)
        .from_select(
            ["queue", "name", "event_id", "priority", "due_at"],
            select(literal(QueueName.EVENTS.value), WebhookEvent.type, WebhookEvent.id, literal(priority), literal(now))
            .where(wanted.conditions(), WebhookEvent.status.in_(finished))
            .order_by(WebhookEvent.id),
        )
        .on_conflict_do_nothing(index_elements=["event_id"], index_where=QueueRow.event_id.is_not(None))
        .returning(QueueRow.event_id)
        .cte("staged")
    )
    going = union_all(select(reset.c.event_id), select(staged.c.event_id)).subquery("going")
    rows = await conn.execute(
        update(WebhookEvent)
        .where(WebhookEvent.id == going.c.event_id)
        .values(status=EventStatus.RECEIVED.value, attempts=0, last_error=None, processed_at=None)
        .returning(WebhookEvent.id)
    )
    done = Done(matched, tuple(sorted(rows.scalars())))
    await _audit(conn, actor, "events.retry", wanted=wanted, done=done, now=now)
    return done


async def discardable(conn: AsyncConnection, ids: Sequence[str]) -> EventFilter:
    """These ids, when all of them are dead. Raises UnknownIdsError or NotAllowedError."""
    refusal = "is {status}: only dead events are discarded"
    return await check_ids(conn, ids, (EventStatus.DEAD,), refusal)


def discard_of_filter(wanted: EventFilter) -> EventFilter:
    """A filter whose dead events may be discarded in bulk. Raises BadFilterError."""
    if wanted.status not in (None, EventStatus.DEAD):
        raise BadFilterError("status", "only dead events are discarded")
    if wanted == EventFilter():
        raise BadFilterError("filter", "name ids, or say which: --status dead, --type 'invoice.*', --since 2h")
    return replace(wanted, status=EventStatus.DEAD)


async def discard(conn: AsyncConnection, wanted: EventFilter, actor: Actor, *, now: datetime) -> Done:
    """Put dead events away as `ignored`, with the reason; their payload is kept, and they can be retried later."""
    matched = await count(conn, wanted)
    dead = (
        select(QueueRow.id)
        .join(WebhookEvent, _WITH_QUEUE)
        .where(wanted.conditions(), QueueRow.dead_reason.is_not(None))
        .with_for_update(of=QueueRow, skip_locked=True)
        .cte("dead")
    )
    gone = delete(QueueRow).where(QueueRow.id == dead.c.id).returning(QueueRow.event_id).cte("gone")
    rows = await conn.execute(
        update(WebhookEvent)
        .where(WebhookEvent.id == gone.c.event_id)
        .values(
            status=EventStatus.IGNORED.value,
            processed_at=now,
            last_error=f"discarded by {actor.who}: {actor.why or 'no reason was given'}",
        )
        .returning(WebhookEvent.id)
    )
    done = Done(matched, tuple(sorted(rows.scalars())))
    await _audit(conn, actor, "events.discard", wanted=wanted, done=done, now=now)
    return done


async def _audit(
    conn: AsyncConnection, actor: Actor, action: str, *, wanted: EventFilter, done: Done, now: datetime
) -> None:
    if not done.ids:
        return
    single = len(done.ids) == 1 and wanted.ids is not None
    asked = {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in asdict(wanted).items()
        if value is not None and name != "ids"
    }
    details = {"count": len(done.ids), "filter": asked, "ids": list(done.ids[:AUDITED_IDS])}
    await write_audit(
        conn, actor, action, done.ids[0] if single else f"{len(done.ids)} events", now=now, details=details
    )
