"""What an owner used, by its own days: from the hours' sums, and from the events where an hour lies in two days."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from sqlalchemy import TextClause, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import BigInteger, LargeBinary, Text

from db.usage import Owner


@dataclass(frozen=True, slots=True)
class DaySum:
    """What was used of one type on one day."""

    day: date
    event_type: str
    billable: bool
    events: int
    units: Decimal


OF_ROLLUPS = {
    True: "api_key_prefix = :owner AND user_id IS NULL",
    False: "api_key_prefix IS NULL AND user_id = :owner",
}
"""Whether a sum is a partner's, or a customer's: both columns are named, because the unique index begins with them."""

_OF_EVENTS = {True: "e.api_key_prefix = :owner", False: "e.user_id = :owner"}


def _by_day(*, partner: bool) -> TextClause:
    return text(
        f"""
        WITH kept AS (
            SELECT bucket_start, event_type, billable, events, cost_units,
                   bucket_start >= :since AND bucket_start + interval '1 hour' <= :until
                   AND (bucket_start AT TIME ZONE :zone)::date
                       = ((bucket_start + interval '59 minutes 59.999999 seconds') AT TIME ZONE :zone)::date AS whole
            FROM usage_rollups
            WHERE {OF_ROLLUPS[partner]} AND granularity = 'hour'
              AND bucket_start > CAST(:since AS timestamptz) - interval '1 hour' AND bucket_start < :until
        ), parts AS (
            SELECT (bucket_start AT TIME ZONE :zone)::date AS day, event_type, billable, events, cost_units
            FROM kept WHERE whole
            UNION ALL
            SELECT (e.occurred_at AT TIME ZONE :zone)::date, e.event_type, e.billable, 1, e.cost_units
            FROM (SELECT DISTINCT bucket_start FROM kept WHERE NOT whole) h
            JOIN usage_events e ON e.occurred_at >= h.bucket_start
                AND e.occurred_at < h.bucket_start + interval '1 hour'
            WHERE {_OF_EVENTS[partner]} AND e.occurred_at >= :since AND e.occurred_at < :until
        )
        SELECT day, event_type, billable, sum(events)::bigint, sum(cost_units) FROM parts
        GROUP BY day, event_type, billable ORDER BY day, event_type, billable
        """  # noqa: S608 - constants
    ).bindparams(bindparam("zone", type_=Text), bindparam("owner", type_=Text if partner else BigInteger))


_BY_DAY = {partner: _by_day(partner=partner) for partner in (True, False)}


def _owner(owner: Owner) -> str | int | None:
    return owner.user_id if owner.api_key_prefix is None else owner.api_key_prefix


async def by_day(conn: AsyncConnection, owner: Owner, since: datetime, until: datetime, timezone: str) -> list[DaySum]:
    """What `owner` used in `[since, until)`, by days of the IANA zone `timezone`, in order. Exact for any bounds.

    An hour that does not lie in one day and in the period as a whole is counted by its events.
    """
    values = {"owner": _owner(owner), "since": since, "until": until, "zone": timezone}
    return [DaySum(*row) for row in await conn.execute(_BY_DAY[owner.api_key_prefix is not None], values)]


_ANY = {
    partner: text(f"SELECT true FROM usage_rollups WHERE {of} LIMIT 1")  # noqa: S608 - constants
    for partner, of in OF_ROLLUPS.items()
}


async def has_usage(conn: AsyncConnection, owner: Owner) -> bool:
    """Whether anything was ever reported of `owner`."""
    found = await conn.execute(_ANY[owner.api_key_prefix is not None], {"owner": _owner(owner)})
    return found.scalar() is not None


_KEYS = text("SELECT digest, content FROM usage_keys WHERE digest = ANY(:digests)").bindparams(
    bindparam("digests", type_=ARRAY(LargeBinary))
)


async def known_keys(conn: AsyncConnection, digests: Sequence[bytes]) -> dict[bytes, bytes]:
    """What was sent under those of these keys that are known."""
    return {row[0]: row[1] for row in await conn.execute(_KEYS, {"digests": list(digests)})}
