"""The partitions of usage events, one for each month (UTC)."""

from datetime import date, datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

_WANTED = text(
    """
    SELECT month FROM (
        SELECT (date_trunc('month', CAST(:now AS timestamptz) AT TIME ZONE 'UTC') + make_interval(months => n))::date
        FROM generate_series(0, CAST(:ahead AS int)) AS n
        UNION
        SELECT DISTINCT date_trunc('month', occurred_at AT TIME ZONE 'UTC')::date FROM usage_events_default
    ) AS wanted (month)
    WHERE to_regclass('usage_events_' || to_char(month, 'YYYY_MM')) IS NULL
    ORDER BY month
    """
)


async def wanted(conn: AsyncConnection, now: datetime, *, ahead: int) -> list[date]:
    """The first days of months that have no partition and need one: `now`'s, the next ones, and what came before."""
    return list((await conn.execute(_WANTED, {"now": now, "ahead": ahead})).scalars())


async def make(conn: AsyncConnection, month: date) -> bool:
    """Make a month's partition, and move there what the default one holds of it. False: it was there before."""
    made = await conn.execute(text("SELECT usage_partition(CAST(:month AS date))"), {"month": month})
    return bool(made.scalar())
