"""How the work stands at this moment: queues, events, workers, schedules and pauses, each in one cheap question."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import and_, case, func, select, text
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncConnection

from db.models.inbox import QueueRow, WebhookEvent
from db.models.operations import Job, Pause, ScheduleRun, WorkerRow
from db.operators.actions import idle, running
from db.states import EventStatus, QueueName

EXACT_UP_TO = 2_000_000
"""Finished events are counted exactly up to so many rows (0.25 s a million, measured); beyond, a sample is enough."""

SAMPLE_ROWS = 200_000
"""About so many rows are read for an estimate; it is off by some percent for a rare state."""

FORGET_WORKERS = timedelta(days=1)
"""A worker whose heart has not beaten for so long is history, not news."""


async def queues(conn: AsyncConnection, now: datetime) -> dict[str, dict[str, Any]]:
    """The counts of each queue, empty ones too, and of the unfinished events among them (`events` in each).

    ready: never failed, due, nobody holds it. scheduled: the same, not due yet. running: a worker holds it.
    retrying: failed before, waits for its next try. dead: parked. `oldest_ready_seconds`: for how long the oldest row
    that could run now (a due retry too) has waited; 0 when none does.
    """
    alive = QueueRow.dead_reason.is_(None)
    fresh, waiting, due = QueueRow.attempts == 0, and_(alive, idle()), QueueRow.due_at <= now
    event = QueueRow.event_id.is_not(None)
    columns = {
        "ready": and_(waiting, fresh, due),
        "scheduled": and_(waiting, fresh, ~due),
        "running": and_(alive, running()),
        "retrying": and_(waiting, ~fresh),
        "dead": ~alive,
        "events_received": and_(event, alive, fresh),
        "events_retrying": and_(event, alive, ~fresh),
        "events_dead": and_(event, ~alive),
    }
    query = select(
        QueueRow.queue,
        func.min(case((and_(waiting, due), QueueRow.due_at))).label("oldest"),
        *(func.count().filter(condition).label(name) for name, condition in columns.items()),
    ).group_by(QueueRow.queue)
    found: dict[str, dict[str, Any]] = {row["queue"]: dict(row) for row in (await conn.execute(query)).mappings()}
    told: dict[str, dict[str, Any]] = {}
    for name in (*QueueName, *sorted(set(found) - set(QueueName))):
        row: dict[str, Any] = found.get(name, {})
        oldest: datetime | None = row.get("oldest")
        told[str(name)] = {
            **{column: row.get(column, 0) for column in columns},
            "oldest_ready_seconds": round((now - oldest).total_seconds(), 3) if oldest else 0.0,
        }
    return told


async def finished_events(conn: AsyncConnection) -> tuple[dict[str, int], bool]:
    """How many events are processed and ignored; and whether that is an estimate, because the table is large."""
    size: int = (
        await conn.scalar(text("SELECT reltuples::bigint FROM pg_class WHERE oid = 'webhook_events'::regclass")) or 0
    )
    if size <= EXACT_UP_TO:
        table, scale = WebhookEvent.__table__, 1.0
    else:
        table = WebhookEvent.__table__.tablesample(func.system(100 * SAMPLE_ROWS / size), name="sample")
        scale = size / SAMPLE_ROWS
    states = (EventStatus.PROCESSED, EventStatus.IGNORED)
    rows = await conn.execute(
        select(table.c.status, func.count())
        .where(table.c.status.in_([s.value for s in states]))
        .group_by(table.c.status)
    )
    found = {row[0]: row[1] for row in rows}
    return {state.value: int(found.get(state, 0) * scale) for state in states}, size > EXACT_UP_TO


async def workers(conn: AsyncConnection, now: datetime) -> list[dict[str, Any]]:
    """The worker processes whose heart beat within the last day."""
    rows = await conn.execute(
        select(WorkerRow).where(WorkerRow.heartbeat_at > now - FORGET_WORKERS).order_by(WorkerRow.id)
    )
    return [
        {
            "id": row["id"],
            "host": row["host"],
            "pid": row["pid"],
            "queues": row["queues"],
            "started_at": row["started_at"],
            "heartbeat_age_seconds": round(max((now - row["heartbeat_at"]).total_seconds(), 0.0), 3),
            "running": row["running"],
        }
        for row in rows.mappings()
    ]


async def schedule_runs(conn: AsyncConnection) -> dict[str, dict[str, Any]]:
    """The newest run of each schedule: its period, when it was staged, and its job's state.

    A period without a job is the first look ever, when nothing was due before.
    """
    rows = await conn.execute(
        select(ScheduleRun.name, ScheduleRun.period, ScheduleRun.created_at, ScheduleRun.job_id, Job.status)
        .ext(distinct_on(ScheduleRun.name))
        .join(Job, Job.id == ScheduleRun.job_id)
        .order_by(ScheduleRun.name, ScheduleRun.period.desc())
    )
    return {row["name"]: dict(row) for row in rows.mappings()}


async def pauses(conn: AsyncConnection) -> list[dict[str, Any]]:
    """What is paused, by whom, and why."""
    rows = await conn.execute(
        select(Pause.scope, Pause.target, Pause.who, Pause.why, Pause.created_at).order_by(Pause.scope, Pause.target)
    )
    return [dict(row) for row in rows.mappings()]
