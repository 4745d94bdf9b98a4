"""What operators see beside a contract: how much was used of late, what periods came to, and who may report usage."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import DateTime, Text, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection

Row = dict[str, Any]

# Whole days (UTC) come from the daily sums; the hours between the month's beginning and the first of them from the
# hourly ones. Where a zone is off by half an hour, so is this figure; `billing partners show` and invoices are exact.
_USED = text(
    """
    WITH asked AS (
        SELECT prefix, starts, date_trunc('day', starts + interval '1 day' - interval '1 microsecond', 'UTC') AS whole
        FROM unnest(:prefixes, :starts) AS a (prefix, starts)
    )
    SELECT a.prefix, coalesce(sum(r.cost_units), 0) AS units
    FROM asked a JOIN usage_rollups r ON r.api_key_prefix = a.prefix AND r.billable AND (
        (r.granularity = 'day' AND r.bucket_start >= a.whole)
        OR (r.granularity = 'hour' AND r.bucket_start >= a.starts AND r.bucket_start < a.whole))
    GROUP BY a.prefix
    """
).bindparams(bindparam("prefixes", type_=ARRAY(Text)), bindparam("starts", type_=ARRAY(DateTime(timezone=True))))


async def used_since(conn: AsyncConnection, starts: Mapping[str, datetime]) -> dict[str, Any]:
    """How many billable units each partner used since an instant of their own (UTC); who used none is left out."""
    rows = await conn.execute(_USED, {"prefixes": list(starts), "starts": list(starts.values())})
    return {row[0]: row[1] for row in rows}


_INVOICES = text(
    """
    SELECT u.id, u.period_start, u.period_end, u.timezone, u.status, u.reasons, u.currency, u.total_cents, u.invoice_id,
           i.invoice_number, i.status AS invoice_status, u.created_at
    FROM usage_invoices u LEFT JOIN invoices i ON i.id = u.invoice_id
    WHERE u.kind = 'partner' AND u.api_key_prefix = :prefix
    ORDER BY u.period_start DESC, u.id DESC LIMIT :limit
    """
)


async def usage_invoices(conn: AsyncConnection, prefix: str, *, limit: int = 24) -> list[Row]:
    """What the newest periods of a contract came to, newest first."""
    rows = await conn.execute(_INVOICES, {"prefix": prefix, "limit": limit})
    return [dict(row) for row in rows.mappings()]


_PARKED = text(
    """
    SELECT api_key_prefix, count(*) FROM usage_invoices
    WHERE kind = 'partner' AND status = 'parked' AND api_key_prefix = ANY(:prefixes) GROUP BY 1
    """
).bindparams(bindparam("prefixes", type_=ARRAY(Text)))


async def parked(conn: AsyncConnection, prefixes: list[str]) -> dict[str, int]:
    """How many periods of each contract wait for an operator; who has none is left out."""
    rows = await conn.execute(_PARKED, {"prefixes": prefixes})
    return {row[0]: row[1] for row in rows}


_KEYS = text(
    """
    SELECT id, name, shown, scopes, created_at, created_by, expires_at, revoked_at, last_used_at
    FROM api_tokens WHERE api_key_prefix = :prefix ORDER BY revoked_at IS NOT NULL, id DESC
    """
)


async def keys(conn: AsyncConnection, prefix: str) -> list[Row]:
    """The keys by which a partner reports and reads usage; those that are revoked stand last."""
    return [dict(row) for row in (await conn.execute(_KEYS, {"prefix": prefix})).mappings()]


async def waiting(conn: AsyncConnection, prefix: str | None = None) -> list[dict[str, Any]]:
    """Periods that are parked, and those that wait for a job that will not run by itself any more, oldest first.

    `job_status` is `dead`, `cancelled`, or None where there is no such job any more.
    """
    found = await conn.execute(
        text(
            """
            SELECT u.id, u.api_key_prefix, u.period_start, u.period_end, u.timezone, u.status, u.reasons, u.currency,
                   u.total_cents, u.input ->> 'name' AS name, u.job_id, j.status AS job_status,
                   j.last_error, u.updated_at
            FROM usage_invoices u LEFT JOIN jobs j ON j.id = u.job_id
            WHERE u.kind = 'partner' AND (u.status = 'parked' OR (u.status = 'pending' AND u.job_id IS NOT NULL
                  AND coalesce(j.status, 'dead') NOT IN ('queued', 'retrying')))
              AND (CAST(:prefix AS text) IS NULL OR u.api_key_prefix = :prefix)
            ORDER BY u.period_start, u.api_key_prefix
            """
        ),
        {"prefix": prefix},
    )
    return [dict(row) for row in found.mappings()]
