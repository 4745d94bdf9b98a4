"""The sums of usage by hour and day are those of their events: of all months, or where events came in of late."""

import json
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from db import usage_verify
from db.usage_verify import RollupDifference
from db.verify.invariant import FIRST, Found, Invariant, Row, Span, fetch

MARGIN = 20_000
"""Events before the mark that are looked at once more: a transaction may commit later than one with greater ids."""


def _hours(owner: str, other: str) -> tuple[str, str]:
    """The events and the sums of an owner's hours, each found by its index."""
    events = f"""
        SELECT 'hour' AS granularity, t.bucket, t.owner, e.event_type, e.billable, e.events, e.units
        FROM (SELECT DISTINCT {owner} AS id, hour AS bucket, owner FROM touched WHERE {owner} IS NOT NULL) AS t
        CROSS JOIN LATERAL (
            SELECT event_type, billable, count(*) AS events, sum(cost_units) AS units FROM usage_events
            WHERE {owner} = t.id AND occurred_at >= t.bucket AND occurred_at < t.bucket + interval '1 hour'
            GROUP BY 1, 2
        ) AS e
    """  # noqa: S608 - names of ours
    sums = f"""
        SELECT t.granularity, t.bucket, t.owner, r.event_type, r.billable, r.events, r.units
        FROM (
            SELECT DISTINCT {owner} AS id, 'hour' AS granularity, hour AS bucket, owner FROM touched
            WHERE {owner} IS NOT NULL
            UNION ALL
            SELECT DISTINCT {owner}, 'day', date_trunc('day', hour, 'UTC'), owner FROM touched WHERE {owner} IS NOT NULL
        ) AS t
        CROSS JOIN LATERAL (
            SELECT event_type, billable, events, cost_units AS units FROM usage_rollups
            WHERE {owner} = t.id AND {other} IS NULL AND granularity = t.granularity AND bucket_start = t.bucket
            OFFSET 0
        ) AS r
    """  # noqa: S608 - names of ours
    return events, sums


def _days(owner: str, other: str) -> str:
    """What the sums by hour of an owner's days come to."""
    return f"""
        SELECT 'day', t.bucket, t.owner, r.event_type, r.billable, r.events, r.units
        FROM (
            SELECT DISTINCT {owner} AS id, date_trunc('day', hour, 'UTC') AS bucket, owner FROM touched
            WHERE {owner} IS NOT NULL
        ) AS t
        CROSS JOIN LATERAL (
            SELECT event_type, billable, sum(events)::bigint AS events, sum(cost_units) AS units FROM usage_rollups
            WHERE {owner} = t.id AND {other} IS NULL AND granularity = 'hour'
              AND bucket_start >= t.bucket AND bucket_start < t.bucket + interval '1 day'
            GROUP BY 1, 2
        ) AS r
    """  # noqa: S608 - names of ours


_PARTNER, _USER = ("api_key_prefix", "user_id"), ("user_id", "api_key_prefix")
_EVENTS_P, _SUMS_P = _hours(*_PARTNER)
_EVENTS_U, _SUMS_U = _hours(*_USER)

SINCE_MARK = f"""
    WITH touched AS MATERIALIZED (
        SELECT DISTINCT api_key_prefix, user_id, date_trunc('hour', occurred_at, 'UTC') AS hour,
               coalesce('partner ' || api_key_prefix, 'customer ' || user_id) AS owner
        FROM usage_events WHERE id > $1
    ), counted AS MATERIALIZED (
        {_EVENTS_P} UNION ALL {_EVENTS_U} UNION ALL {_days(*_PARTNER)} UNION ALL {_days(*_USER)}
    ), kept AS MATERIALIZED (
        {_SUMS_P} UNION ALL {_SUMS_U}
    ), broken AS MATERIALIZED (
        SELECT granularity, bucket AS bucket_start, owner, event_type, billable, k.events AS rollup_events,
               k.units::text AS rollup_units, c.events, c.units::text AS units
        FROM kept k FULL JOIN counted c USING (granularity, bucket, owner, event_type, billable)
        WHERE (k.events, k.units) IS DISTINCT FROM (c.events, c.units)
    )
    SELECT (SELECT count(*) FROM broken),
           (SELECT coalesce(jsonb_agg(to_jsonb(f)), '[]')::text
            FROM (SELECT * FROM broken ORDER BY 1, 2, 3, 4, 5 LIMIT {FIRST}) AS f)
"""  # noqa: S608 - names of ours
"""$1: events with greater ids are looked at, each with all of its owner's hour."""


def _row(one: RollupDifference) -> Row:
    owner = f"partner {one.api_key_prefix}" if one.api_key_prefix is not None else f"customer {one.user_id}"
    return {
        "granularity": one.granularity,
        "bucket_start": one.bucket_start.isoformat(),
        "owner": owner,
        "event_type": one.event_type,
        "billable": one.billable,
        "rollup_events": one.rollup_events,
        "rollup_units": None if one.rollup_units is None else str(one.rollup_units),
        "events": one.events,
        "units": None if one.units is None else str(one.units),
    }


async def rollups(conn: AsyncConnection, span: Span) -> Found:
    """Hold sums against events: those of each owner's hours that got events since the mark, or of all months."""
    newest: Any = (await fetch(conn, "SELECT coalesce(max(id), 0) FROM usage_events", [], whole=True))[0][0]
    if span.since is not None and span.mark is not None:
        broken, first = (await fetch(conn, SINCE_MARK, [max(span.mark - MARGIN, 0)], whole=False))[0]
        return Found(broken, json.loads(first), newest)
    count, rows = 0, list[Row]()
    for since, until in await usage_verify.months_kept(conn):
        found = await usage_verify.rollup_differences(conn, since, until)
        count += len(found)
        rows += [_row(one) for one in found[: FIRST - len(rows)]]
    return Found(count, rows, newest)


INVARIANTS = (
    Invariant(
        name="usage-sums-are-events",
        holds="The sums of usage by hour and day are those of their events.",
        mend="`billing usage verify` names each; see the runbook before any of these partners is invoiced",
        check=rollups,
    ),
)
