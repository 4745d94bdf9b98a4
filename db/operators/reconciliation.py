"""Operators look at comparisons with Stripe and at what did not agree, and put away what they know."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from db.operators.actions import Actor, NotAllowedError, UnknownIdsError, audit_of, write_audit
from db.states import DifferenceClass

Row = dict[str, Any]

_RUN = """
    r.id, r.stripe_account, r.livemode, r.asked_by, r.since, r.until, r.repairs, r.dry_run, r.advances, r.status,
    r.started_at, r.finished_at, r.error, r.report
"""

_RUNS = text(
    f"""
    SELECT {_RUN} FROM reconciliation_runs r
    WHERE (CAST(:after AS bigint) IS NULL OR r.id < :after) ORDER BY r.id DESC LIMIT :limit
    """  # noqa: S608 - a constant
)


async def runs(conn: AsyncConnection, *, limit: int, after: int | None = None) -> list[Row]:
    """Comparisons, newest first."""
    return [dict(row) for row in (await conn.execute(_RUNS, {"limit": limit, "after": after})).mappings()]


_ONE = text(f"SELECT {_RUN} FROM reconciliation_runs r WHERE r.id = :id")  # noqa: S608 - a constant

_DIFFERENCE = """
    d.id, d.stripe_account, d.livemode, d.class, d.kind, d.object_id, d.field, d.here, d.there, d.currency,
    d.first_seen_at, d.last_seen_at, d.first_run_id, d.last_run_id, d.settled_at, d.settled_how, d.settled_run_id
"""

_OF_RUN = text(
    f"""
    SELECT {_DIFFERENCE} FROM reconciliation_differences d
    WHERE d.last_run_id = :id OR d.first_run_id = :id OR d.settled_run_id = :id
    ORDER BY d.settled_at IS NOT NULL, d.kind, d.object_id, d.field, d.id LIMIT :limit
    """  # noqa: S608 - a constant
)


async def run_story(conn: AsyncConnection, run: int, *, limit: int) -> Row:
    """One comparison with up to `limit` of its differences, open ones first. Raises UnknownIdsError."""
    row = (await conn.execute(_ONE, {"id": run})).mappings().first()
    if row is None:
        raise UnknownIdsError("comparison", [str(run)])
    found = (await conn.execute(_OF_RUN, {"id": run, "limit": limit})).mappings()
    return dict(row) | {"differences": [dict(one) for one in found]}


_DIFFERENCES = text(
    f"""
    SELECT {_DIFFERENCE} FROM reconciliation_differences d
    WHERE (:all OR d.settled_at IS NULL)
      AND (CAST(:class AS text) IS NULL OR d.class = :class)
      AND (CAST(:object AS text) IS NULL OR d.object_id = :object)
      AND (CAST(:account AS text) IS NULL OR d.stripe_account = :account)
      AND (CAST(:after AS bigint) IS NULL OR d.id < :after)
    ORDER BY d.id DESC LIMIT :limit
    """  # noqa: S608 - a constant
)


async def differences(
    conn: AsyncConnection,
    *,
    limit: int,
    all_: bool = False,
    class_: DifferenceClass | None = None,
    object_id: str | None = None,
    account: str | None = None,
    after: int | None = None,
) -> list[Row]:
    """Differences that are open (or all), newest first; `account` is a connected one, empty for our own."""
    values = {"limit": limit, "all": all_, "class": class_, "object": object_id, "account": account, "after": after}
    return [dict(row) for row in (await conn.execute(_DIFFERENCES, values)).mappings()]


_LAST = text(
    """
    SELECT DISTINCT ON (r.stripe_account) r.id, r.stripe_account, r.status, r.error, r.started_at
    FROM reconciliation_runs r WHERE NOT r.dry_run AND r.status <> 'running'
    ORDER BY r.stripe_account, r.id DESC
    """
)

STILL = timedelta(days=3)
"""An account that was not even tried for so long is compared no more: what it ended with is history."""


async def failed(conn: AsyncConnection) -> list[Row]:
    """Accounts whose last comparison did not come to its end, with why; those that are compared still."""
    last = [dict(row) for row in (await conn.execute(_LAST)).mappings()]
    newest: datetime | None = max((row["started_at"] for row in last), default=None)
    return [row for row in last if row["status"] == "failed" and newest and newest - row["started_at"] <= STILL]


_OF = text(
    """
    SELECT d.id FROM reconciliation_differences d
    WHERE d.settled_at IS NULL AND (CAST(:class AS text) IS NULL OR d.class = :class)
      AND (CAST(:account AS text) IS NULL OR d.stripe_account = :account)
    ORDER BY d.id
    """
)


async def open_ids(conn: AsyncConnection, *, class_: DifferenceClass | None, account: str | None) -> list[int]:
    """The differences that are open, of a class, or of an account (empty: our own), or of both."""
    return list((await conn.execute(_OF, {"class": class_, "account": account})).scalars())


_HOLD = text(
    f"SELECT {_DIFFERENCE} FROM reconciliation_differences d WHERE d.id = ANY(:ids) ORDER BY d.id FOR UPDATE"  # noqa: S608 - a constant
)
_PUT_AWAY = text(
    """
    UPDATE reconciliation_differences SET settled_at = :now, settled_how = 'dismissed'
    WHERE id = ANY(:ids) AND settled_at IS NULL
    """
)


async def dismiss(conn: AsyncConnection, ids: Sequence[int], by: Actor, *, now: datetime) -> list[Row]:
    """Put differences away: with the same values they are not told again, with others they are.

    Raises UnknownIdsError, and NotAllowedError for those that are settled already; then nothing was changed.
    """
    found = {row["id"]: dict(row) for row in (await conn.execute(_HOLD, {"ids": list(ids)})).mappings()}
    if missing := [str(one) for one in ids if one not in found]:
        raise UnknownIdsError("difference", missing)
    settled = [f"difference {one['id']} is {one['settled_how']} already" for one in found.values() if one["settled_at"]]
    if settled:
        raise NotAllowedError(settled)
    await conn.execute(_PUT_AWAY, {"ids": list(ids), "now": now})
    for one in found.values():
        details = {name: one[name] for name in ("kind", "object_id", "class", "field", "here", "there", "currency")}
        await write_audit(conn, by, "reconciliation_differences.dismiss", str(one["id"]), now=now, details=details)
    return list(found.values())


async def audit(conn: AsyncConnection, difference: int) -> list[Row]:
    """What operators did about a difference."""
    return await audit_of(conn, "reconciliation_difference", str(difference))
