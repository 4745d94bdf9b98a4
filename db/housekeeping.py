"""What may be forgotten, and when: never an event, never a key that keeps an effect from happening twice."""

from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

CHUNK = 5_000
"""Rows that one statement deletes at most, so that no lock is held for long."""

_DONE_JOBS = text(
    """
    DELETE FROM jobs WHERE id IN (
        SELECT id FROM jobs
        WHERE status IN ('done', 'cancelled') AND unique_key IS NULL AND created_at < :before AND finished_at < :before
        LIMIT :chunk
    )
    """
)
_ATTEMPTS = text(
    """
    DELETE FROM job_attempts WHERE id IN (
        SELECT a.id FROM job_attempts a
        WHERE a.ended_at < :before
          AND NOT EXISTS (SELECT FROM queue q WHERE q.event_id = a.event_id OR q.job_id = a.job_id)
        LIMIT :chunk
    )
    """
)


async def delete_done_jobs(conn: AsyncConnection, before: datetime) -> int:
    """Delete up to CHUNK jobs that ended before `before` and that no unique key protects. Returns how many."""
    return (await conn.execute(_DONE_JOBS, {"before": before, "chunk": CHUNK})).rowcount


async def delete_attempts(conn: AsyncConnection, before: datetime) -> int:
    """Delete up to CHUNK attempts older than `before` at work that is finished. Returns how many."""
    return (await conn.execute(_ATTEMPTS, {"before": before, "chunk": CHUNK})).rowcount
