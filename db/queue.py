"""Unfinished work: staged, claimed under a lease, finished, put off, parked, and set going again."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from db.states import AttemptOutcome, DeadReason, EventStatus, JobStatus, QueueName

BULK = 1
"""The priority of what is set going again in bulk: live work (0) goes first."""

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
