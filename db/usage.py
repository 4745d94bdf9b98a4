"""What was used is remembered once, with its sums by hour and day, and added up over any period."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import asyncpg
import msgspec
from sqlalchemy import ARRAY, BigInteger, BindParameter, DateTime, Text, TextClause, bindparam, text
from sqlalchemy.ext.asyncio import AsyncConnection

from db.inbox import Connection

HOUR = timedelta(hours=1)

DAY = timedelta(days=1)

MICRO = Decimal("0.000001")
"""The smallest part of a cost unit."""

_json = msgspec.json.Encoder(order="deterministic").encode


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose usage it is: a partner's (by key prefix) or a customer's (`users.id`); exactly one of the two."""

    api_key_prefix: str | None = None
    user_id: int | None = None

    def __post_init__(self) -> None:
        if (self.api_key_prefix is None) is (self.user_id is None):
            raise ValueError("usage has exactly one owner: a partner's prefix or a user's id")


class NewUsage(NamedTuple):
    """A usage event that just came in (made by `new_usage`); the order of the fields is that of ADD's arrays."""

    digest: bytes
    content: bytes
    occurred_at: datetime
    idempotency_key: str
    api_key_prefix: str | None
    user_id: int | None
    event_type: str
    resource_id: str | None
    billable: bool
    cost_units: Decimal
    unit_price_cents: int | None
    metadata: str | None
    received_at: datetime
    source: str


def new_usage(
    owner: Owner,
    idempotency_key: str,
    event_type: str,
    *,
    received_at: datetime,
    occurred_at: datetime | None = None,
    resource_id: str | None = None,
    billable: bool = True,
    cost_units: Decimal = Decimal(1),
    unit_price_cents: int | None = None,
    metadata: dict[str, Any] | None = None,
    source: str = "api",
) -> NewUsage:
    """An event as it is remembered, and what it is recognized by.

    `idempotency_key` is the owner's own: two owners may use the same. What is sent under it again must be the same as
    it was sent first; `occurred_at` left out (it is `received_at` then) is the same as left out. `cost_units` has at
    most six decimals; text holds neither U+0000 nor lone surrogates. `source` is `api` or a file's name, and is no
    part of the content.
    """
    units = cost_units.quantize(MICRO)
    stored = None if metadata is None else _json(metadata)
    at = None if occurred_at is None else occurred_at.astimezone(UTC)
    key = _json((owner.api_key_prefix, owner.user_id, idempotency_key))
    content = _json(
        (
            event_type,
            resource_id,
            billable,
            str(units),
            unit_price_cents,
            at and at.isoformat(),
            stored and str(stored, "utf-8"),
        )
    )
    return NewUsage(
        hashlib.blake2b(key, digest_size=16).digest(),
        hashlib.blake2b(content, digest_size=16).digest(),
        at or received_at,
        idempotency_key,
        owner.api_key_prefix,
        owner.user_id,
        event_type,
        resource_id,
        billable,
        units,
        unit_price_cents,
        None if stored is None else str(stored, "utf-8"),
        received_at,
        source,
    )


class Added(NamedTuple):
    """What a request came to: events that are new, and those that were remembered before with the same content."""

    accepted: int
    duplicates: int


class Clash(NamedTuple):
    """Nothing of the request was stored: these of its rows (from 0) use a key that other content was sent under."""

    rows: tuple[int, ...]


ADD = """
    WITH sent AS MATERIALIZED (
        SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::timestamptz[], $4::text[], $5::text[], $6::bigint[],
                             $7::text[], $8::text[], $9::bool[], $10::numeric[], $11::bigint[], $12::text[],
                             $13::timestamptz[], $14::text[])
            AS s (digest, content, occurred_at, idempotency_key, api_key_prefix, user_id, event_type, resource_id,
                  billable, cost_units, unit_price_cents, metadata, received_at, source)
    ), fresh AS (
        INSERT INTO usage_keys (digest, content) SELECT digest, content FROM sent
        ON CONFLICT (digest) DO NOTHING RETURNING digest
    ), stored AS (
        INSERT INTO usage_events (occurred_at, idempotency_key, api_key_prefix, user_id, event_type, resource_id,
                                  billable, cost_units, unit_price_cents, metadata, received_at, source)
        SELECT occurred_at, idempotency_key, api_key_prefix, user_id, event_type, resource_id,
               billable, cost_units, unit_price_cents, metadata::jsonb, received_at, source
        FROM sent WHERE (digest IN (SELECT digest FROM fresh)) IS TRUE
        RETURNING occurred_at, api_key_prefix, user_id, event_type, billable, cost_units
    ), rolled AS (
        INSERT INTO usage_rollups AS r (api_key_prefix, user_id, granularity, bucket_start, event_type, billable,
                                        events, cost_units)
        SELECT api_key_prefix, user_id, granularity, date_trunc(granularity, occurred_at, 'UTC'), event_type, billable,
               count(*), sum(cost_units)
        FROM stored CROSS JOIN (VALUES ('hour'), ('day')) AS of (granularity)
        GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 1, 2, 3, 4, 5, 6
        ON CONFLICT (api_key_prefix, user_id, granularity, bucket_start, event_type, billable)
            DO UPDATE SET events = r.events + excluded.events, cost_units = r.cost_units + excluded.cost_units
    )
    SELECT ARRAY(SELECT digest FROM fresh),
           1 / (NOT EXISTS (
               SELECT FROM sent WHERE (digest IN (SELECT digest FROM fresh)) IS NOT TRUE
                   AND content IS DISTINCT FROM (SELECT k.content FROM usage_keys k WHERE k.digest = sent.digest)
           ))::int
"""
"""Remembers a batch with its sums, or nothing of it, in one statement; answers with the digests that are new.

A key that is neither new nor known with the same content divides by zero, which takes everything back: it clashes, or
somebody else is just using it. `IS TRUE` makes the test a look-up in a hash, however large the batch is.
Keys are locked before sums, and both in order: batches that overlap wait for each other, and never deadlock.
"""


async def add(conn: Connection, requests: Sequence[Sequence[NewUsage]]) -> list[Added | Clash]:
    """Commit `requests`, each as a whole or not at all. Returns what each came to, in their order.

    Within a transaction of `conn`'s it belongs to that one. To call it again with the same requests changes nothing
    more. Raises asyncpg's errors; nothing is known then, and the same may be sent again.
    """
    results: dict[int, Added | Clash] = {}
    waiting: list[int] = []
    for number, request in enumerate(requests):
        if clashing := _clashing(request, {}):
            results[number] = Clash(clashing)
        else:
            waiting.append(number)
    hindered = False
    while waiting:
        if hindered:  # so it is not the usual case: what stands in the way is looked up
            known = await _known(conn, [row for number in waiting for row in requests[number]])
            clashes = {number: _clashing(requests[number], dict(known)) for number in waiting}
            results |= {number: Clash(rows) for number, rows in clashes.items() if rows}
            waiting = [number for number in waiting if not clashes[number]]
        hindered = True
        rows: dict[bytes, NewUsage] = {}
        together: list[int] = []
        for number in waiting:  # of two that clash with each other the first comes first
            if all(rows.get(row.digest, row).content == row.content for row in requests[number]):
                together.append(number)
                for row in requests[number]:
                    rows.setdefault(row.digest, row)
        if (fresh := await _store(conn, rows)) is None:
            continue
        for number in together:
            mine = {row.digest for row in requests[number]} & fresh
            fresh -= mine
            results[number] = Added(len(mine), len(requests[number]) - len(mine))
        waiting = [number for number in waiting if number not in results]
    return [results[number] for number in range(len(requests))]


async def add_many(conn: Connection, rows: Sequence[NewUsage]) -> list[Added | Clash]:
    """Commit `rows`, each for itself: one that clashes keeps no other out. Else as `add`; some 1,000 at a time."""
    return await add(conn, [[row] for row in rows])


def _clashing(request: Sequence[NewUsage], known: dict[bytes, bytes]) -> tuple[int, ...]:
    """The rows whose key has other content among `known`, or in a row before; `known` is extended."""
    return tuple(
        number for number, row in enumerate(request) if known.setdefault(row.digest, row.content) != row.content
    )


async def _known(conn: Connection, rows: Sequence[NewUsage]) -> dict[bytes, bytes]:
    found = await conn.fetch(
        "SELECT digest, content FROM usage_keys WHERE digest = ANY($1::bytea[])", list({row.digest for row in rows})
    )
    return {row["digest"]: row["content"] for row in found}


async def _store(conn: Connection, rows: dict[bytes, NewUsage]) -> set[bytes] | None:
    """The digests of `rows` that are new; None if a key stands in the way, and nothing was stored."""
    if not rows:
        return set()
    columns = zip(*sorted(rows.values()), strict=True)  # by digest
    try:
        if not conn.is_in_transaction():
            stored = await conn.fetchrow(ADD, *columns)
        else:
            async with conn.transaction():
                stored = await conn.fetchrow(ADD, *columns)
    except asyncpg.DivisionByZeroError:
        return None
    assert stored is not None
    return set(stored[0])


@dataclass(frozen=True, slots=True)
class UsageSum:
    """What was used of one event type: so many events, of so many units."""

    event_type: str
    billable: bool
    events: int
    cost_units: Decimal


class Spans(NamedTuple):
    """A period in parts, each [start, end): whole days (UTC), whole hours beside them, and the edges that are left."""

    days: tuple[datetime, datetime]
    hours: tuple[tuple[datetime, datetime], ...]
    edges: tuple[tuple[datetime, datetime], ...]


def spans(start: datetime, end: datetime) -> Spans:
    """Part [start, end), so that few sums are added instead of many events. Empty parts are left out."""
    start, end = start.astimezone(UTC), end.astimezone(UTC)
    first_hour, last_hour = _up(start, HOUR), _down(end, HOUR)
    if first_hour >= last_hour:
        return Spans((start, start), (), ((start, end),) if start < end else ())
    first_day, last_day = _up(first_hour, DAY), _down(last_hour, DAY)
    edges = _nonempty((start, first_hour), (last_hour, end))
    if first_day >= last_day:
        return Spans((start, start), ((first_hour, last_hour),), edges)
    return Spans((first_day, last_day), _nonempty((first_hour, first_day), (last_day, last_hour)), edges)


def _nonempty(*parts: tuple[datetime, datetime]) -> tuple[tuple[datetime, datetime], ...]:
    return tuple(part for part in parts if part[0] < part[1])


def _down(at: datetime, unit: timedelta) -> datetime:
    return at - (at - datetime(1970, 1, 1, tzinfo=UTC)) % unit


def _up(at: datetime, unit: timedelta) -> datetime:
    return _down(at + unit - timedelta.resolution, unit)


_ROLLUPS = {
    True: "usage_rollups WHERE api_key_prefix = :owner AND user_id IS NULL",
    False: "usage_rollups WHERE api_key_prefix IS NULL AND user_id = :owner",
}
"""Whether a partner's or a customer's: both columns are named, because the unique index begins with them."""

_EVENTS = {True: "usage_events WHERE api_key_prefix = :owner", False: "usage_events WHERE user_id = :owner"}

_OWNER = {True: bindparam("owner", type_=Text()), False: bindparam("owner", type_=BigInteger())}

_INSTANTS = [f"{part}_{side}" for part in ("day", "hour1", "hour2", "edge1", "edge2") for side in ("from", "to")]


def _at(name: str, *, many: bool = False) -> BindParameter[Any]:
    kind = DateTime(timezone=True)
    return bindparam(name, type_=ARRAY(kind) if many else kind)


def _id(owner: Owner) -> str | int | None:
    return owner.user_id if owner.api_key_prefix is None else owner.api_key_prefix


def _totals(*, partner: bool) -> TextClause:
    parts = [
        f"SELECT event_type, billable, {sums} FROM {of} AND {column} >= :{part}_from AND {column} < :{part}_to"  # noqa: S608 - constants
        for part, sums, of, column in (
            ("day", "events, cost_units", f"{_ROLLUPS[partner]} AND granularity = 'day'", "bucket_start"),
            ("hour1", "events, cost_units", f"{_ROLLUPS[partner]} AND granularity = 'hour'", "bucket_start"),
            ("hour2", "events, cost_units", f"{_ROLLUPS[partner]} AND granularity = 'hour'", "bucket_start"),
            ("edge1", "1, cost_units", _EVENTS[partner], "occurred_at"),
            ("edge2", "1, cost_units", _EVENTS[partner], "occurred_at"),
        )
    ]
    return text(
        f"SELECT event_type, billable, sum(events)::bigint, sum(cost_units) FROM ({' UNION ALL '.join(parts)}) AS parts"  # noqa: S608 - constants
        " GROUP BY event_type, billable ORDER BY event_type, billable"
    ).bindparams(_OWNER[partner], *map(_at, _INSTANTS))


_TOTALS = {partner: _totals(partner=partner) for partner in (True, False)}


async def totals(conn: AsyncConnection, owner: Owner, start: datetime, end: datetime) -> list[UsageSum]:
    """What was used in [start, end), whatever instants these are: exactly what the events add up to.

    One statement reads sums and events, so that nothing is counted twice while more comes in.
    """
    parts = spans(start, end)
    none = (parts.days[0], parts.days[0])
    padded = (parts.days, *(*parts.hours, none, none)[:2], *(*parts.edges, none, none)[:2])
    values = dict(zip(_INSTANTS, (instant for part in padded for instant in part), strict=True))
    rows = await conn.execute(_TOTALS[owner.api_key_prefix is not None], {"owner": _id(owner), **values})
    return [UsageSum(*row) for row in rows]


async def billable_units(conn: AsyncConnection, owner: Owner, start: datetime, end: datetime) -> dict[str, Decimal]:
    """The billable cost units of each event type in [start, end), exactly."""
    return {row.event_type: row.cost_units for row in await totals(conn, owner, start, end) if row.billable}


_HOURS = {
    partner: text(
        f"SELECT DISTINCT bucket_start FROM {_ROLLUPS[partner]}"  # noqa: S608 - constants
        " AND granularity = 'hour' AND bucket_start >= :since AND bucket_start < :until"
    ).bindparams(_OWNER[partner], _at("since"), _at("until"))
    for partner in (True, False)
}

_USED = {
    partner: text(
        f"""
        SELECT piece.number FROM unnest(:begins, :ends) WITH ORDINALITY AS piece (begins, ends, number)
        WHERE EXISTS (SELECT FROM {_EVENTS[partner]} AND occurred_at >= piece.begins AND occurred_at < piece.ends)
        """  # noqa: S608 - constants
    ).bindparams(_OWNER[partner], _at("begins", many=True), _at("ends", many=True))
    for partner in (True, False)
}


async def days_with_usage(
    conn: AsyncConnection, owner: Owner, start: datetime, end: datetime, timezone: str
) -> set[date]:
    """The days, as `timezone` (IANA) has them, on which anything was used in [start, end), billable or not.

    Where a day begins within an hour of UTC (India, Nepal), the events of that hour tell which day they belong to.
    """
    zone, partner = ZoneInfo(timezone), owner.api_key_prefix is not None
    start, end = start.astimezone(UTC), end.astimezone(UTC)
    asked = {"owner": _id(owner), "since": _down(start, HOUR), "until": end}
    found: set[date] = set()
    unclear: list[tuple[datetime, datetime, date]] = []
    for (hour,) in await conn.execute(_HOURS[partner], asked):
        pieces = _by_day(max(hour, start), min(hour + HOUR, end), zone)
        if len(pieces) == 1 and start <= hour and hour + HOUR <= end:
            found.add(pieces[0][2])
        else:
            unclear += pieces
    if unclear := [piece for piece in unclear if piece[2] not in found]:
        begins, ends, days = zip(*unclear, strict=True)
        rows = await conn.execute(_USED[partner], {"owner": _id(owner), "begins": list(begins), "ends": list(ends)})
        found |= {days[number - 1] for (number,) in rows}
    return found


def _by_day(start: datetime, end: datetime, zone: ZoneInfo) -> list[tuple[datetime, datetime, date]]:
    """An hour, or a part of one, by the days that it lies in."""
    first, last = start.astimezone(zone).date(), (end - timedelta.resolution).astimezone(zone).date()
    if first == last:
        return [(start, end, first)]
    midnight = datetime.combine(last, time(), zone).astimezone(UTC)
    return [(start, midnight, first), (midnight, end, last)]
