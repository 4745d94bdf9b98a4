"""Who has an allowance, and about how much of it is used: cheap enough to be asked every few minutes."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import DateTime, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import BigInteger, Text

from db.contract_synonyms import as_ours

Row = Mapping[str, Any]

_LIMITED = text(
    """
    SELECT * FROM api_partner_contracts c
    WHERE api_key_prefix IN (SELECT api_key_prefix FROM api_partner_contracts WHERE monthly_request_limit > 0)
    ORDER BY api_key_prefix, valid_from, version
    """
)


async def limited(conn: AsyncConnection) -> list[Row]:
    """All versions of the contracts that ever had a monthly limit, by partner and day."""
    rows = await conn.execute(_LIMITED)
    return [as_ours(row) for row in rows.mappings()]


# A day's sum is counted whole where the month begins or ends within it: this is never less than what was used.
_AT_MOST = """
    SELECT w.owner, sum(r.cost_units)
    FROM unnest(:owners, :since, :until) AS w (owner, since, until)
    JOIN usage_rollups r ON {of} AND r.granularity = 'day' AND r.billable
        AND r.bucket_start > w.since - interval '1 day' AND r.bucket_start < w.until
    GROUP BY w.owner
"""
_BOUNDS = (
    bindparam("since", type_=ARRAY(DateTime(timezone=True))),
    bindparam("until", type_=ARRAY(DateTime(timezone=True))),
)
_AT_MOST_PARTNERS = text(_AT_MOST.format(of="r.api_key_prefix = w.owner AND r.user_id IS NULL")).bindparams(
    bindparam("owners", type_=ARRAY(Text)), *_BOUNDS
)
_AT_MOST_USERS = text(_AT_MOST.format(of="r.api_key_prefix IS NULL AND r.user_id = w.owner")).bindparams(
    bindparam("owners", type_=ARRAY(BigInteger)), *_BOUNDS
)


async def at_most_of_partners(
    conn: AsyncConnection, wanted: Mapping[str, tuple[datetime, datetime]]
) -> dict[str, Decimal]:
    """The billable units that each of these partners used in its period, or a little more; without who used none."""
    since, until = zip(*wanted.values(), strict=True) if wanted else ((), ())
    values = {"owners": list(wanted), "since": list(since), "until": list(until)}
    return {row[0]: row[1] for row in await conn.execute(_AT_MOST_PARTNERS, values)}


async def at_most_of_users(
    conn: AsyncConnection, wanted: Mapping[int, tuple[datetime, datetime]]
) -> dict[int, Decimal]:
    """The same of customers."""
    since, until = zip(*wanted.values(), strict=True) if wanted else ((), ())
    values = {"owners": list(wanted), "since": list(since), "until": list(until)}
    return {row[0]: row[1] for row in await conn.execute(_AT_MOST_USERS, values)}


_USERS = text(
    """
    SELECT u.* FROM users u
    WHERE u.deleted_at IS NULL AND EXISTS (
        SELECT FROM usage_rollups r WHERE r.api_key_prefix IS NULL AND r.user_id = u.id AND r.granularity = 'day'
          AND r.bucket_start > :since AND r.bucket_start <= :now)
      AND EXISTS (
        SELECT FROM subscriptions s
        WHERE (s.user_id = u.id OR (s.user_id IS NULL AND s.stripe_customer_id = u.stripe_customer_id))
          AND s.stripe_price_id = ANY(:prices))
    ORDER BY u.id
    """
).bindparams(bindparam("prices", type_=ARRAY(Text)))


async def users_at_work(conn: AsyncConnection, prices: Collection[str], *, since: datetime, now: datetime) -> list[Row]:
    """Customers who used anything after `since`, and have or had a subscription at one of these prices."""
    values = {"prices": list(prices), "since": since, "now": now}
    return [dict(row) for row in (await conn.execute(_USERS, values)).mappings()]


_TOLD = text("SELECT key FROM emails WHERE key = ANY(:keys)").bindparams(bindparam("keys", type_=ARRAY(Text)))


async def told(conn: AsyncConnection, keys: Sequence[str]) -> set[str]:
    """Those of these letters that exist."""
    return set((await conn.execute(_TOLD, {"keys": list(keys)})).scalars())
