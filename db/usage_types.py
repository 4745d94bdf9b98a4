"""An owner's event types of a month are counted, so that a sum for each hour stays a sum, and no list of everything."""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta

from db.inbox import Connection
from db.usage import Owner

DAYS = 31
KINDS = 2
"""A type has at most so many sums in a day: what is billable, and what is not."""

_OF = {True: "r.api_key_prefix = $1 AND r.user_id IS NULL", False: "r.api_key_prefix IS NULL AND r.user_id = $1"}
"""Whether a partner's or a customer's: both columns are named, because the unique index begins with them."""

_KNOWN = {
    partner: f"""
        SELECT named.event_type FROM unnest($3::text[]) AS named (event_type)
        WHERE EXISTS (SELECT FROM usage_rollups r WHERE {of} AND r.granularity = 'day'
                      AND r.bucket_start = ANY($2::timestamptz[]) AND r.event_type = named.event_type)
    """  # noqa: S608 - constants
    for partner, of in _OF.items()
}
_COUNT = {
    partner: f"""
        SELECT count(DISTINCT event_type)::int AS types, count(*)::int AS sums FROM (
            SELECT r.event_type FROM usage_rollups r
            WHERE {of} AND r.granularity = 'day' AND r.bucket_start = ANY($2::timestamptz[]) LIMIT $3
        ) AS one
    """  # noqa: S608 - constants
    for partner, of in _OF.items()
}


def month(at: datetime) -> tuple[int, int]:
    """The month (UTC) that an instant lies in: its types are counted together."""
    day = at.astimezone(UTC)
    return day.year, day.month


def _days(of: tuple[int, int]) -> list[datetime]:
    first = datetime(*of, 1, tzinfo=UTC)
    days = (first + timedelta(days=number) for number in range(DAYS))
    return [day for day in days if day.month == first.month]


def _id(owner: Owner) -> str | int | None:
    return owner.user_id if owner.api_key_prefix is None else owner.api_key_prefix


async def known(conn: Connection, owner: Owner, of: tuple[int, int], types: Collection[str]) -> set[str]:
    """Which of these types the owner has used in the month `of`."""
    rows = await conn.fetch(_KNOWN[owner.api_key_prefix is not None], _id(owner), _days(of), list(types))
    return {row["event_type"] for row in rows}


async def count(conn: Connection, owner: Owner, of: tuple[int, int], *, most: int) -> int:
    """How many types the owner has used in the month `of`; for more than `most`, some number above it.

    However many there are, no more sums are looked at than `most` types can have.
    """
    sums = most * DAYS * KINDS + 1
    (row,) = await conn.fetch(_COUNT[owner.api_key_prefix is not None], _id(owner), _days(of), sums)
    types: int = row["types"]
    seen: int = row["sums"]
    return max(types, most + 1) if seen == sums else types
