"""Which worker processes live: each writes a row again and again."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

_BEAT = text(
    """
    INSERT INTO workers (id, host, pid, queues, started_at, heartbeat_at, running)
    VALUES (:worker, :host, :pid, :queues, :now, :now, :running)
    ON CONFLICT (id) DO UPDATE SET heartbeat_at = excluded.heartbeat_at, running = excluded.running
    """
).bindparams(bindparam("queues", type_=JSONB))


async def beat(
    conn: AsyncConnection, *, worker: str, host: str, pid: int, queues: Sequence[str], running: int, now: datetime
) -> None:
    """Show a sign of life; `running` is how many leases the process holds."""
    await conn.execute(
        _BEAT,
        {"worker": worker, "host": host, "pid": pid, "queues": list(queues), "running": running, "now": now},
    )


async def remove(conn: AsyncConnection, worker: str) -> None:
    """The process stopped cleanly."""
    await conn.execute(text("DELETE FROM workers WHERE id = :worker"), {"worker": worker})


async def forget_before(conn: AsyncConnection, moment: datetime) -> int:
    """Drop the rows of processes that died without a word before `moment`. Returns how many."""
    return (await conn.execute(text("DELETE FROM workers WHERE heartbeat_at < :moment"), {"moment": moment})).rowcount
