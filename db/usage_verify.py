"""The sums of usage are reckoned anew from the events: each row of theirs that differs is named."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

PATIENCE = 600.0
"""Seconds that a month may take: all of its events are read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RollupDifference:
    """A sum that is not that of its events. Without sum the `rollup_` values are None, without events the others."""

    granularity: str
    bucket_start: datetime
    api_key_prefix: str | None
    user_id: int | None
    event_type: str
    billable: bool
    rollup_events: int | None
    rollup_units: Decimal | None
    events: int | None
    units: Decimal | None


# Owners are compared as one text: a NULL equals nothing, and PostgreSQL joins by equality only.
_DIFFERENCES = """
    WITH hours AS (
        SELECT date_trunc('hour', occurred_at, 'UTC') AS bucket_start, api_key_prefix, user_id, event_type, billable,
               count(*) AS events, sum(cost_units) AS units
        FROM usage_events WHERE occurred_at >= $1 AND occurred_at < $2
        GROUP BY 1, 2, 3, 4, 5
    ), counted AS (
        SELECT 'hour' AS granularity, * FROM hours
        UNION ALL
        SELECT 'day', date_trunc('day', bucket_start, 'UTC'), api_key_prefix, user_id, event_type, billable,
               sum(events)::bigint, sum(units)
        FROM hours GROUP BY 1, 2, 3, 4, 5, 6
    ), kept AS (
        SELECT granularity, bucket_start, api_key_prefix, user_id, event_type, billable, events, cost_units
        FROM usage_rollups WHERE bucket_start >= $1 AND bucket_start < $2
    )
    SELECT coalesce(k.granularity, c.granularity) AS granularity,
           coalesce(k.bucket_start, c.bucket_start) AS bucket_start,
           coalesce(k.api_key_prefix, c.api_key_prefix) AS api_key_prefix, coalesce(k.user_id, c.user_id) AS user_id,
           coalesce(k.event_type, c.event_type) AS event_type, coalesce(k.billable, c.billable) AS billable,
           k.events AS rollup_events, k.cost_units AS rollup_units, c.events, c.units
    FROM kept k FULL JOIN counted c
        ON k.granularity = c.granularity AND k.bucket_start = c.bucket_start AND k.event_type = c.event_type
        AND k.billable = c.billable
        AND coalesce('p' || k.api_key_prefix, 'u' || k.user_id) = coalesce('p' || c.api_key_prefix, 'u' || c.user_id)
    WHERE (k.events, k.cost_units) IS DISTINCT FROM (c.events, c.units)
    ORDER BY 1, 2, 3, 4, 5, 6 LIMIT $3
"""


async def rollup_differences(
    conn: AsyncConnection, since: datetime, until: datetime, *, limit: int = 1000
) -> list[RollupDifference]:
    """The first `limit` sums of hours and days in `[since, until)` that are not those of their events.

    Both ends are midnights in UTC. Sums and events are read in one statement, so what comes meanwhile is in both or in
    neither.
    """
    raw: Any = (await conn.get_raw_connection()).driver_connection
    rows = await raw.fetch(_DIFFERENCES, since, until, limit, timeout=PATIENCE)
    return [RollupDifference(**dict(row)) for row in rows]


_EXTENT = text(
    """
    SELECT min(first), max(last) FROM (
        SELECT min(bucket_start), max(bucket_start) FROM usage_rollups WHERE granularity = 'day'
        UNION ALL
        SELECT min(occurred_at), max(occurred_at) FROM usage_events
    ) AS both_tables (first, last)
    """
)


async def months_kept(conn: AsyncConnection) -> list[tuple[datetime, datetime]]:
    """The months (UTC, `[start, end)`) that have usage, from the first to the last."""
    first, last = (await conn.execute(_EXTENT)).one()
    return list(_months(first, last)) if first is not None else []


def _months(first: datetime, last: datetime) -> Iterator[tuple[datetime, datetime]]:
    start = datetime(first.year, first.month, 1, tzinfo=UTC)
    while start <= last:
        end = datetime(start.year + start.month // 12, start.month % 12 + 1, 1, tzinfo=UTC)
        yield start, end
        start = end
