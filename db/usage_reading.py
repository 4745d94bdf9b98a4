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
    """What was used on one day, of all types."""

    day: date
    billable: bool
    events: int
    units: Decimal


@dataclass(frozen=True, slots=True)
class TypeSum:
    """What was used of one type in the whole period."""

    event_type: str
    billable: bool
    events: int
    units: Decimal


@dataclass(frozen=True, slots=True)
class Others:
    """What was used of types that are too many to be told one by one."""

    event_types: int
    events: int
    units: Decimal


@dataclass(frozen=True, slots=True)
class Sums:
    """A period's usage by day, and by type; `others` are the types of which least was used."""

    days: tuple[DaySum, ...]
    types: tuple[TypeSum, ...]
    others: Others | None


OF_ROLLUPS = {
    True: "api_key_prefix = :owner AND user_id IS NULL",
    False: "api_key_prefix IS NULL AND user_id = :owner",
}
"""Whether a sum is a partner's, or a customer's: both columns are named, because the unique index begins with them."""

_OF_EVENTS = {True: "e.api_key_prefix = :owner", False: "e.user_id = :owner"}


def _sums(*, partner: bool) -> TextClause:
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
        ), summed AS MATERIALIZED (
            SELECT day, event_type, billable, sum(events)::bigint AS events, sum(cost_units) AS units
            FROM parts GROUP BY GROUPING SETS ((day, billable), (event_type, billable))
        ), ranked AS MATERIALIZED (
            SELECT *, row_number() OVER (ORDER BY units DESC, event_type, billable) AS place
            FROM summed WHERE day IS NULL
        )
        SELECT day, NULL, billable, events, units, 0::bigint FROM summed WHERE day IS NOT NULL
        UNION ALL
        SELECT NULL, event_type, billable, events, units, 0::bigint FROM ranked WHERE place <= :most
        UNION ALL
        SELECT NULL, NULL, NULL, sum(events)::bigint, sum(units), count(DISTINCT event_type)
        FROM ranked WHERE place > :most HAVING count(*) > 0
        ORDER BY 1, 2, 3
        """  # noqa: S608 - constants
    ).bindparams(bindparam("zone", type_=Text), bindparam("owner", type_=Text if partner else BigInteger))


_SUMS = {partner: _sums(partner=partner) for partner in (True, False)}


def _owner(owner: Owner) -> str | int | None:
    return owner.user_id if owner.api_key_prefix is None else owner.api_key_prefix


async def sums(
    conn: AsyncConnection, owner: Owner, since: datetime, until: datetime, timezone: str, *, most: int
) -> Sums:
    """What `owner` used in `[since, until)`, by days of the IANA zone `timezone`, and by type, in order.

    Exact for any bounds: an hour that does not lie in one day and in the period as a whole is counted by its events.
    Of more than `most` types (billable or not) those that were used most are told, and the sum of the others.
    """
    values = {"owner": _owner(owner), "since": since, "until": until, "zone": timezone, "most": most}
    days: list[DaySum] = []
    types: list[TypeSum] = []
    others: Others | None = None
    for day, event_type, billable, events, units, left in await conn.execute(
        _SUMS[owner.api_key_prefix is not None], values
    ):
        if day is not None:
            days.append(DaySum(day, billable, events, units))
        elif event_type is not None:
            types.append(TypeSum(event_type, billable, events, units))
        else:
            others = Others(left, events, units)
    return Sums(tuple(days), tuple(types), others)


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
