"""Unfinished work: staged, claimed under a lease, finished, put off, parked, and given back."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import BigInteger, Integer, Text

from db import documents
from db.states import AttemptOutcome, DeadReason, EventStatus, JobStatus, QueueName

BULK = 1
"""The priority of what is set going again in bulk: live work (0) goes first."""

LOST_LIMIT = 5
"""So many leases may run out on one piece of work before it is parked: it is probably what kills its workers."""


class LeaseLost(Exception):  # noqa: N818 - a fact about the lease; whoever holds the work now will finish it
    """The work was given to somebody else meanwhile: nothing of what was done here may be committed."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """One claimed row. `token` guards every later write about it."""

    id: int
    queue: str
    name: str
    event_id: str | None
    job_id: int | None
    due_at: datetime
    attempts: int
    lost: int
    token: int
    claimed_at: datetime


@dataclass(frozen=True, slots=True)
class Failure:
    """One attempt that did not succeed. `dead` parks the work; otherwise it is run again at `next_at`."""

    outcome: AttemptOutcome
    error: str
    fingerprint: str | None
    traceback: str | None
    next_at: datetime
    dead: DeadReason | None


@dataclass(frozen=True, slots=True)
class FinishedEvent:
    """How an event ended: processed or, with a reason, ignored; `effects` is its story as JSON."""

    id: str
    status: EventStatus
    reason: str | None
    effects: str | None


_STAGE = text(
    """
    WITH staged AS (
        INSERT INTO jobs (name, queue, args, unique_key, staged_by, created_at)
        VALUES (:name, :queue, :args, :unique_key, :staged_by, :now)
        ON CONFLICT (unique_key) WHERE unique_key IS NOT NULL DO NOTHING
        RETURNING id
    )
    INSERT INTO queue (queue, name, job_id, priority, due_at)
    SELECT :queue, :name, id, :priority, :due_at FROM staged
    RETURNING job_id
    """
).bindparams(bindparam("args", type_=JSONB))


async def stage_job(
    conn: AsyncConnection,
    *,
    name: str,
    queue: QueueName,
    args: Mapping[str, Any],
    now: datetime,
    due_at: datetime,
    unique_key: str | None = None,
    staged_by: str | None = None,
    priority: int = 0,
) -> int | None:
    """Write a job and its place in the queue. Returns its id; None when `unique_key` was staged before."""
    result = await conn.execute(
        _STAGE,
        {
            "name": name,
            "queue": queue,
            "args": dict(args),
            "unique_key": unique_key,
            "staged_by": staged_by,
            "now": now,
            "due_at": due_at,
            "priority": priority,
        },
    )
    return result.scalar()


# Leases are measured on the database's clock, which all workers share; `due_at` on the clock that is handed in.
# The arrays are sub-selects without a reference to the row, so that PostgreSQL reads the pauses once a claim.
_CLAIM = text(
    """
    WITH due AS (
        SELECT id FROM queue
        WHERE queue = :queue AND lease_token IS NULL AND dead_reason IS NULL AND due_at <= :now
          AND (lost > 0) = :suspects
          AND name <> ALL (ARRAY(SELECT target FROM pauses WHERE scope = 'name'))
          AND NOT EXISTS (SELECT FROM pauses WHERE scope = 'queue' AND target = :queue)
        ORDER BY priority, due_at, id LIMIT :limit FOR UPDATE SKIP LOCKED
    )
    UPDATE queue q SET lease_token = :token, lease_until = clock_timestamp() + :lease, leased_by = :worker
    FROM due WHERE q.id = due.id
    RETURNING q.id, q.queue, q.name, q.event_id, q.job_id, q.due_at, q.attempts, q.lost
    """
)


async def claim(
    conn: AsyncConnection,
    *,
    queue: str,
    limit: int,
    worker: str,
    lease: timedelta,
    now: datetime,
    suspects: bool = False,
) -> list[Claimed]:
    """Take up to `limit` due rows, live ones first, oldest first.

    Rows whose lease once ran out are `suspects`: they may have killed their worker. They are never claimed together
    with others, so that they cannot drag them down.
    """
    token = secrets.randbits(62)
    rows = await conn.execute(
        _CLAIM,
        {
            "queue": queue,
            "now": now,
            "limit": limit,
            "worker": worker,
            "token": token,
            "lease": lease,
            "suspects": suspects,
        },
    )
    return sorted((Claimed(*row, token=token, claimed_at=now) for row in rows), key=lambda row: row.id)


# A row that is locked is being finished, or held by its own transaction: nobody can take it, and to wait for it while
# holding others would be a deadlock with a batch that finishes several.
_RENEW = text(
    """
    WITH ours AS (
        SELECT id FROM queue WHERE lease_token = ANY(:tokens) AND leased_by = :worker FOR UPDATE SKIP LOCKED
    )
    UPDATE queue q SET lease_until = clock_timestamp() + :lease FROM ours WHERE q.id = ours.id
    """
).bindparams(bindparam("tokens", type_=ARRAY(BigInteger)))


async def renew(conn: AsyncConnection, *, tokens: Sequence[int], worker: str, lease: timedelta) -> None:
    """Keep the leases of everything that this process runs, in one statement."""
    await conn.execute(_RENEW, {"tokens": list(tokens), "worker": worker, "lease": lease})


_HOLD = text("SELECT 1 FROM queue WHERE id = :id AND lease_token = :token FOR UPDATE")


async def hold(conn: AsyncConnection, row: Claimed) -> None:
    """Lock the claimed row until this transaction ends. Raises LeaseLost when it is not ours any more."""
    if (await conn.execute(_HOLD, {"id": row.id, "token": row.token})).first() is None:
        raise LeaseLost(f"the lease on {row.name} ({row.event_id or row.job_id}) ran out")


_DELETE = text("DELETE FROM queue WHERE id = ANY(:ids) AND lease_token = :token").bindparams(
    bindparam("ids", type_=ARRAY(BigInteger))
)

_FINISH_EVENTS = text(
    """
    UPDATE webhook_events e
    SET status = f.status, processed_at = :now, attempts = f.attempts, last_error = f.reason,
        effects = coalesce(f.effects::jsonb, e.effects)
    FROM unnest(:ids, :statuses, :attempts, :reasons, :effects) AS f(id, status, attempts, reason, effects)
    WHERE e.id = f.id
    """
).bindparams(
    bindparam("ids", type_=ARRAY(Text)),
    bindparam("statuses", type_=ARRAY(Text)),
    bindparam("attempts", type_=ARRAY(Integer)),
    bindparam("reasons", type_=ARRAY(Text)),
    bindparam("effects", type_=ARRAY(Text)),
)


async def finish_events(
    conn: AsyncConnection, rows: Sequence[Claimed], finished: Sequence[FinishedEvent], *, now: datetime, worker: str
) -> None:
    """Record, in the transaction of their effects, that events are done. Raises LeaseLost if any is not ours any more.

    `rows` and `finished` go in step and share one claim.
    """
    deleted = await conn.execute(_DELETE, {"ids": [row.id for row in rows], "token": rows[0].token})
    if deleted.rowcount != len(rows):
        raise LeaseLost(f"{len(rows) - deleted.rowcount} of {len(rows)} leases ran out")
    await conn.execute(
        _FINISH_EVENTS,
        {
            "now": now,
            "ids": [f.id for f in finished],
            "statuses": [f.status.value for f in finished],
            "attempts": [row.attempts + 1 for row in rows],
            "reasons": [f.reason for f in finished],
            "effects": [f.effects for f in finished],
        },
    )
    for row in rows:
        if row.attempts or row.lost:
            await _add_attempt(conn, row, AttemptOutcome.DONE, now=now, worker=worker)


_FINISH_JOB = text(
    "UPDATE jobs SET status = 'done', finished_at = :now, attempts = :attempts, last_error = NULL WHERE id = :id"
)


async def finish_job(conn: AsyncConnection, row: Claimed, *, now: datetime, worker: str) -> None:
    """Record that a job is done. Raises LeaseLost if it is not ours any more."""
    deleted = await conn.execute(_DELETE, {"ids": [row.id], "token": row.token})
    if deleted.rowcount != 1:
        raise LeaseLost(f"the lease on {row.name} ({row.job_id}) ran out")
    await conn.execute(_FINISH_JOB, {"now": now, "attempts": row.attempts + 1, "id": row.job_id})
    if row.attempts or row.lost:
        await _add_attempt(conn, row, AttemptOutcome.DONE, now=now, worker=worker)


_ADD_ATTEMPT = text(
    """
    INSERT INTO job_attempts (event_id, job_id, name, worker, started_at, ended_at, outcome,
                              error, fingerprint, traceback, next_at)
    VALUES (:event_id, :job_id, :name, :worker, :claimed_at, :now, :outcome, :error, :fingerprint, :traceback, :next_at)
    """
)


async def _add_attempt(
    conn: AsyncConnection,
    row: Claimed,
    outcome: AttemptOutcome,
    *,
    now: datetime,
    worker: str,
    failure: Failure | None = None,
) -> None:
    await conn.execute(
        _ADD_ATTEMPT,
        {
            "event_id": row.event_id,
            "job_id": row.job_id,
            "name": row.name,
            "worker": worker,
            "claimed_at": row.claimed_at,
            "now": now,
            "outcome": outcome,
            "error": failure and failure.error,
            "fingerprint": failure and failure.fingerprint,
            "traceback": failure and failure.traceback,
            "next_at": None if failure is None or failure.dead else failure.next_at,
        },
    )


_FAIL = text(
    """
    UPDATE queue
    SET lease_token = NULL, lease_until = NULL, leased_by = NULL, attempts = attempts + 1,
        due_at = :next_at, dead_reason = CAST(:dead AS text),
        dead_at = CASE WHEN CAST(:dead AS text) IS NULL THEN NULL ELSE CAST(:now AS timestamptz) END
    WHERE id = :id AND lease_token = :token
    """
)
_FAIL_EVENT = text(
    "UPDATE webhook_events SET status = :status, attempts = :attempts, last_error = :error WHERE id = :id"
)
_FAIL_JOB = text("UPDATE jobs SET status = :status, attempts = :attempts, last_error = :error WHERE id = :id")


async def fail(conn: AsyncConnection, row: Claimed, failure: Failure, *, now: datetime, worker: str) -> None:
    """Record a failed attempt: run again at `failure.next_at`, or parked. Raises LeaseLost if it is not ours."""
    updated = await conn.execute(
        _FAIL, {"id": row.id, "token": row.token, "now": now, "next_at": failure.next_at, "dead": failure.dead}
    )
    if updated.rowcount != 1:
        raise LeaseLost(f"the lease on {row.name} ({row.event_id or row.job_id}) ran out")
    await _mark(conn, row, failure)
    if failure.dead and row.queue == QueueName.PDF:
        await documents.park_stranded(conn)
    await _add_attempt(conn, row, failure.outcome, now=now, worker=worker, failure=failure)


async def _mark(conn: AsyncConnection, row: Claimed, failure: Failure) -> None:
    if row.event_id is not None:
        status = EventStatus.DEAD if failure.dead else EventStatus.RETRYING
        statement, ref = _FAIL_EVENT, row.event_id
    else:
        status = JobStatus.DEAD if failure.dead else JobStatus.RETRYING
        statement, ref = _FAIL_JOB, row.job_id
    await conn.execute(statement, {"id": ref, "status": status, "attempts": row.attempts + 1, "error": failure.error})


_RELEASE = text(
    """
    UPDATE queue SET lease_token = NULL, lease_until = NULL, leased_by = NULL, due_at = greatest(due_at, :due_at)
    WHERE id = ANY(:ids) AND lease_token = :token
    """
).bindparams(bindparam("ids", type_=ARRAY(BigInteger)))


async def release(conn: AsyncConnection, rows: Sequence[Claimed], *, due_at: datetime) -> None:
    """Give rows of one claim back without burning a try; they are due again at `due_at`."""
    if rows:
        await conn.execute(_RELEASE, {"ids": [row.id for row in rows], "token": rows[0].token, "due_at": due_at})


_RELEASE_WORKER = text(
    """
    WITH released AS (
        UPDATE queue SET lease_token = NULL, lease_until = NULL, leased_by = NULL
        WHERE leased_by = :worker AND lease_token IS NOT NULL
        RETURNING event_id, job_id, name
    )
    INSERT INTO job_attempts (event_id, job_id, name, worker, ended_at, outcome, error)
    SELECT event_id, job_id, name, :worker, clock_timestamp(), 'released', 'its worker stopped; no try was burnt'
    FROM released
    RETURNING name
    """
)


async def release_worker(conn: AsyncConnection, worker: str) -> int:
    """Give back everything that `worker` holds because it stops. Returns how many rows."""
    return len((await conn.execute(_RELEASE_WORKER, {"worker": worker})).all())


_EXPIRE_WORKER = text("UPDATE queue SET lease_until = clock_timestamp() WHERE leased_by = :worker")


async def expire_worker(conn: AsyncConnection, worker: str) -> None:
    """Let the leases of a worker that is known to be dead run out now; the next sweep counts them as lost."""
    await conn.execute(_EXPIRE_WORKER, {"worker": worker})


_SWEEP = text(
    f"""
    WITH expired AS (
        SELECT id FROM queue WHERE lease_token IS NOT NULL AND lease_until < clock_timestamp()
        ORDER BY lease_until LIMIT 1000 FOR UPDATE SKIP LOCKED
    ), freed AS (
        UPDATE queue q
        SET lost = q.lost + 1, lease_token = NULL, lease_until = NULL,
            dead_reason = CASE WHEN q.lost + 1 >= {LOST_LIMIT} THEN 'worker_lost' END,
            dead_at = CASE WHEN q.lost + 1 >= {LOST_LIMIT} THEN CAST(:now AS timestamptz) END
        FROM expired WHERE q.id = expired.id
        RETURNING q.event_id, q.job_id, q.name, q.queue, q.leased_by, q.lost, q.dead_reason
    ), story AS (
        INSERT INTO job_attempts (event_id, job_id, name, worker, ended_at, outcome, error)
        SELECT event_id, job_id, name, leased_by, :now, 'lost',
               'its worker ' || coalesce(leased_by, '?') || ' died or froze (' || lost || ' of {LOST_LIMIT} times)'
        FROM freed
    ), dead_events AS (
        UPDATE webhook_events e SET status = 'dead', last_error = 'its worker died {LOST_LIMIT} times while it ran'
        FROM freed WHERE e.id = freed.event_id AND freed.dead_reason IS NOT NULL
    ), dead_jobs AS (
        UPDATE jobs j SET status = 'dead', last_error = 'its worker died {LOST_LIMIT} times while it ran'
        FROM freed WHERE j.id = freed.job_id AND freed.dead_reason IS NOT NULL
    )
    SELECT queue, name, dead_reason FROM freed
    """  # noqa: S608 - the only value that is formatted in is a constant of this module
)


async def sweep(conn: AsyncConnection, *, now: datetime) -> list[tuple[str, str, str | None]]:
    """Take back what dead workers held. Returns (queue, name, dead reason) of each row.

    A document whose job is parked so is parked with it.
    """
    freed = [(row[0], row[1], row[2]) for row in await conn.execute(_SWEEP, {"now": now})]
    if any(reason is not None for _, _, reason in freed):
        await documents.park_stranded(conn)
    return freed


_DUE = text(
    """
    SELECT DISTINCT queue FROM queue
    WHERE queue = ANY(:queues) AND lease_token IS NULL AND dead_reason IS NULL AND due_at <= :now
      AND name <> ALL (ARRAY(SELECT target FROM pauses WHERE scope = 'name'))
      AND queue <> ALL (ARRAY(SELECT target FROM pauses WHERE scope = 'queue'))
    """
).bindparams(bindparam("queues", type_=ARRAY(Text)))


async def due_queues(conn: AsyncConnection, queues: Sequence[str], *, now: datetime) -> list[str]:
    """Which of `queues` have work that could start now."""
    return list((await conn.execute(_DUE, {"queues": list(queues), "now": now})).scalars())
