"""Operators look at the jobs that we staged, tell one job's story, set jobs going again, or cancel what waits."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, literal, select, union_all, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from db import documents
from db.models.inbox import QueueRow
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
from db.operators.events import attempts_of, staged_by
from db.operators.filters import BadFilterError, JobFilter
from db.queue import BULK
from db.states import JobStatus

_LISTED = (
    Job.id,
    Job.name,
    Job.queue,
    Job.status,
    Job.attempts,
    Job.args,
    Job.unique_key,
    Job.staged_by,
    Job.created_at,
    Job.finished_at,
    Job.last_error,
    QueueRow.due_at,
    QueueRow.lost,
    QueueRow.leased_by,
    QueueRow.dead_reason,
    QueueRow.dead_at,
    func.coalesce(running(), False).label("running"),
)
_WITH_QUEUE = QueueRow.job_id == Job.id
CANCELLABLE = (JobStatus.QUEUED, JobStatus.RETRYING, JobStatus.DEAD)
"""The states that a job may be cancelled in, as long as it is not running."""


async def list_jobs(
    conn: AsyncConnection, wanted: JobFilter, *, limit: int, after: int | None = None
) -> list[dict[str, Any]]:
    """The jobs that match, newest first; `after` is the last id of the page before."""
    query = select(*_LISTED).outerjoin(QueueRow, _WITH_QUEUE).where(wanted.conditions())
    if after is not None:
        query = query.where(Job.id < after)
    rows = await conn.execute(query.order_by(Job.id.desc()).limit(limit))
    return [dict(row) for row in rows.mappings()]


async def job_story(conn: AsyncConnection, job_id: int) -> dict[str, Any]:
    """All that is known of a job: its row, attempts, what it staged, what operators did. Raises UnknownIdsError."""
    query = select(*_LISTED).outerjoin(QueueRow, _WITH_QUEUE).where(Job.id == job_id)
    row = (await conn.execute(query)).mappings().first()
    if row is None:
        raise UnknownIdsError("job", [str(job_id)])
    history = await attempts_of(conn, JobAttempt.job_id == job_id)
    staged = await staged_by(conn, f"job:{job_id}")
    return {**row, "history": history, "staged": staged, "audit": await audit_of(conn, "job", str(job_id))}


async def check_ids(conn: AsyncConnection, ids: Sequence[int], allowed: Sequence[JobStatus], refusal: str) -> JobFilter:
    """The filter of exactly these ids. Raises UnknownIdsError, or NotAllowedError by `refusal`."""
    rows = await conn.execute(
        select(Job.id, Job.status, running()).outerjoin(QueueRow, _WITH_QUEUE).where(Job.id.in_(ids))
    )
    found = {row[0]: (row[1], row[2]) for row in rows}
    if unknown := [str(job_id) for job_id in ids if job_id not in found]:
        raise UnknownIdsError("job", unknown)
    reasons: list[str] = []
    for job_id, (status, is_running) in found.items():
        if is_running:
            reasons.append(f"job {job_id} is running now: wait for its end")
        elif status not in allowed:
            reasons.append(f"job {job_id} {refusal.format(status=status)}")
    if reasons:
        raise NotAllowedError(reasons)
    return JobFilter(ids=tuple(dict.fromkeys(ids)))


def retryable(*, again: bool) -> tuple[JobStatus, ...]:
    """The states that a retry may start from: what was already done is done again only when asked for."""
    return tuple(JobStatus) if again else tuple(one for one in JobStatus if one is not JobStatus.DONE)


async def retry_of_ids(conn: AsyncConnection, ids: Sequence[int], *, again: bool) -> JobFilter:
    """These ids, when all of them can be retried. Raises UnknownIdsError or NotAllowedError."""
    return await check_ids(conn, ids, retryable(again=again), "is already {status}: --again does it once more")


async def cancel_of_ids(conn: AsyncConnection, ids: Sequence[int]) -> JobFilter:
    """These ids, when all of them can be cancelled. Raises UnknownIdsError or NotAllowedError."""
    return await check_ids(conn, ids, CANCELLABLE, "is already {status}: there is nothing to cancel")


def bulk(wanted: JobFilter, *, again: bool = False) -> JobFilter:
    """A filter that may be acted on in bulk; without a status it means the dead. Raises BadFilterError."""
    if wanted.status is JobStatus.DONE and not again:
        raise BadFilterError("status", "these jobs are done: --again does them once more")
    if wanted == JobFilter():
        raise BadFilterError("filter", "name ids, or say which: --status dead, --name send_letter, --since 2h")
    return wanted if wanted.status else replace(wanted, status=JobStatus.DEAD)


async def count(conn: AsyncConnection, wanted: JobFilter) -> int:
    """How many jobs match."""
    return await conn.scalar(select(func.count()).select_from(Job).where(wanted.conditions())) or 0


async def retry(
    conn: AsyncConnection, wanted: JobFilter, actor: Actor, *, now: datetime, again: bool = False
) -> tuple[Done, set[str]]:
    """Set jobs going again, due at once and with their counts at zero, in one statement.

    Many go behind the live ones (priority BULK). What a worker holds at this moment is left alone.
    Returns what was done, and the queues that have work now.
    """
    matched = await count(conn, wanted)
    priority = 0 if wanted.ids is not None and len(wanted.ids) <= FEW else BULK
    waiting = (
        select(QueueRow.id)
        .join(Job, _WITH_QUEUE)
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
        .returning(QueueRow.job_id)
        .cte("reset")
    )
    finished = [one.value for one in retryable(again=again) if one not in CANCELLABLE]
    staged = (
        upsert(QueueRow)
        .from_select(
            ["queue", "name", "job_id", "priority", "due_at"],
            select(Job.queue, Job.name, Job.id, literal(priority), literal(now))
            .where(wanted.conditions(), Job.status.in_(finished))
            .order_by(Job.id),
        )
        .on_conflict_do_nothing(index_elements=["job_id"], index_where=QueueRow.job_id.is_not(None))
        .returning(QueueRow.job_id)
        .cte("staged")
    )
    going = union_all(select(reset.c.job_id), select(staged.c.job_id)).subquery("going")
    rows = await conn.execute(
        update(Job)
        .where(Job.id == going.c.job_id)
        .values(status=JobStatus.QUEUED.value, attempts=0, last_error=None, finished_at=None)
        .returning(Job.id, Job.queue)
    )
    changed = [(row[0], row[1]) for row in rows]
    done = await _audited(
        conn, actor, "jobs.retry", matched=matched, wanted=wanted, ids=[i for i, _ in changed], now=now
    )
    return done, {queue for _, queue in changed}


async def cancel(conn: AsyncConnection, wanted: JobFilter, actor: Actor, *, now: datetime) -> Done:
    """Take jobs that have not begun, or that are dead, out of the queue; they stay in the books as `cancelled`.

    A document that waited for one of them is parked; a retry of the job renders it all the same.
    """
    matched = await count(conn, wanted)
    waiting = (
        select(QueueRow.id)
        .join(Job, _WITH_QUEUE)
        .where(wanted.conditions(), idle())
        .with_for_update(of=QueueRow, skip_locked=True)
        .cte("waiting")
    )
    gone = delete(QueueRow).where(QueueRow.id == waiting.c.id).returning(QueueRow.job_id).cte("gone")
    rows = await conn.execute(
        update(Job)
        .where(Job.id == gone.c.job_id)
        .values(status=JobStatus.CANCELLED.value, finished_at=now)
        .returning(Job.id)
    )
    ids = list(rows.scalars())
    if ids:
        await documents.park_stranded(conn)
    return await _audited(conn, actor, "jobs.cancel", matched=matched, wanted=wanted, ids=ids, now=now)


async def _audited(
    conn: AsyncConnection,
    actor: Actor,
    action: str,
    *,
    matched: int,
    wanted: JobFilter,
    ids: Sequence[int],
    now: datetime,
) -> Done:
    done = Done(matched, tuple(str(job_id) for job_id in sorted(ids)))
    if done.ids:
        single = len(done.ids) == 1 and wanted.ids is not None
        asked = {
            name: value.isoformat() if isinstance(value, datetime) else value
            for name, value in asdict(wanted).items()
            if value is not None and name != "ids"
        }
        details = {"count": len(done.ids), "filter": asked, "ids": list(done.ids[:AUDITED_IDS])}
        target = done.ids[0] if single else f"{len(done.ids)} jobs"
        await write_audit(conn, actor, action, target, now=now, details=details)
    return done
