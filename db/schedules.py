"""Which periods of a schedule have been run: one row each, so that no worker runs a period twice."""

from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection


async def last_period(conn: AsyncConnection, name: str) -> datetime | None:
    """The newest period of schedule `name` that was run or, at the very first look, was taken as the beginning."""
    return (
        await conn.execute(text("SELECT max(period) FROM schedule_runs WHERE name = :name"), {"name": name})
    ).scalar()


async def take_period(conn: AsyncConnection, name: str, period: datetime, *, now: datetime) -> bool:
    """Claim a period. False: another worker was first."""
    result = await conn.execute(
        text(
            "INSERT INTO schedule_runs (name, period, created_at) VALUES (:name, :period, :now)"
            " ON CONFLICT (name, period) DO NOTHING"
        ),
        {"name": name, "period": period, "now": now},
    )
    return result.rowcount == 1


async def record_job(conn: AsyncConnection, name: str, period: datetime, job_id: int | None) -> None:
    """Say which job runs the period."""
    await conn.execute(
        text("UPDATE schedule_runs SET job_id = :job_id WHERE name = :name AND period = :period"),
        {"name": name, "period": period, "job_id": job_id},
    )
