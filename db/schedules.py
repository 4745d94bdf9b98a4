"""Which periods of a schedule have been run: one row each, so that no worker runs a period twice."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import DateTime, bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection


async def last_period(conn: AsyncConnection, name: str) -> datetime | None:
    """The newest period of schedule `name` that was run or, at the very first look, was taken as the beginning."""
    return (
        await conn.execute(text("SELECT max(period) FROM schedule_runs WHERE name = :name"), {"name": name})
    ).scalar()


async def take_period(
    conn: AsyncConnection, name: str, period: datetime, *, now: datetime, next_period: datetime | None = None
) -> bool:
    """Claim a period; `next_period` is when the schedule is due again. False: another worker was first."""
    result = await conn.execute(
        text(
            "INSERT INTO schedule_runs (name, period, next_period, created_at) VALUES (:name, :period, :next, :now)"
            " ON CONFLICT (name, period) DO NOTHING"
        ),
        {"name": name, "period": period, "next": next_period, "now": now},
    )
    return result.rowcount == 1


async def expect_only(conn: AsyncConnection, names: Collection[str]) -> None:
    """Wait for no other schedules any more: a new version may have lost some."""
    await conn.execute(
        text("UPDATE schedule_runs SET next_period = NULL WHERE next_period IS NOT NULL AND name <> ALL(:names)"),
        {"names": list(names)},
    )


async def record_job(conn: AsyncConnection, name: str, period: datetime, job_id: int | None) -> None:
    """Say which job runs the period."""
    await conn.execute(
        text("UPDATE schedule_runs SET job_id = :job_id WHERE name = :name AND period = :period"),
        {"name": name, "period": period, "job_id": job_id},
    )


_LATE = text(
    """
    WITH RECURSIVE names AS (
        (SELECT name FROM schedule_runs ORDER BY name LIMIT 1)
        UNION ALL
        SELECT (SELECT r.name FROM schedule_runs r WHERE r.name > n.name ORDER BY r.name LIMIT 1)
        FROM names n WHERE n.name IS NOT NULL
    )
    SELECT n.name, greatest(extract(epoch FROM :now - newest.next_period), 0)::float
    FROM names n CROSS JOIN LATERAL (
        SELECT r.next_period FROM schedule_runs r WHERE r.name = n.name ORDER BY r.period DESC LIMIT 1
    ) newest
    WHERE newest.next_period IS NOT NULL
    """
).bindparams(bindparam("now", type_=DateTime(timezone=True)))
"""A few steps along the index for each name, however many periods there were."""


async def late(conn: AsyncConnection, now: datetime) -> dict[str, float]:
    """By schedule: for how many seconds a period is due that no worker has taken; 0 where none is."""
    found = await conn.execute(_LATE, {"now": now})
    return {one[0]: one[1] for one in found}


@dataclass(frozen=True, slots=True)
class Run:
    """What is known of a period that was taken; without `job_id` nothing was staged for it. `again`: how often more."""

    job_id: int | None
    status: str | None
    again: int


async def hold_period(conn: AsyncConnection, name: str, period: datetime) -> Run:
    """Lock a taken period until the transaction ends, and tell how it stands."""
    found = await conn.execute(
        text(
            """
            SELECT r.job_id, j.status,
                   (SELECT count(*) FROM audit_log a WHERE a.action = 'schedules.run' AND a.target = r.name
                      AND a.details ->> 'again' = 'true'
                      AND (a.details ->> 'period')::timestamptz = r.period) AS again
            FROM schedule_runs r LEFT JOIN jobs j ON j.id = r.job_id
            WHERE r.name = :name AND r.period = :period FOR UPDATE OF r
            """
        ),
        {"name": name, "period": period},
    )
    return Run(*found.one())
