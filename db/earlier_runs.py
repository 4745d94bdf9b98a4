"""What earlier comparisons with Stripe told, for those that follow: whose key it was, what is left, what is known."""

from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

Row = dict[str, Any]

_WHOSE = text(
    """
    SELECT stripe_id FROM reconciliation_runs
    WHERE stripe_account = :account AND livemode = :livemode AND status = 'done' AND NOT dry_run
      AND stripe_id IS NOT NULL
    ORDER BY id DESC LIMIT 1
    """
)


async def whose(conn: AsyncConnection, account: str, *, livemode: bool) -> str | None:
    """The account at Stripe (acct_…) that the last run compared which came to its end, and could read that."""
    return (await conn.execute(_WHOSE, {"account": account, "livemode": livemode})).scalar()


# Whoever asked for a time in the past saw less than the run before, which went to Stripe's newest event.
_BEFORE = text(
    """
    SELECT r.id, r.report, NOT EXISTS (
        SELECT FROM reconciliation_runs o
        WHERE o.stripe_account = r.stripe_account AND o.livemode = r.livemode AND o.status = 'done' AND NOT o.dry_run
          AND o.id < r.id AND o.until > r.until
    ) AS newest
    FROM reconciliation_runs r
    WHERE r.stripe_account = :account AND r.livemode = :livemode AND r.status = 'done' AND NOT r.dry_run AND r.id < :run
    ORDER BY r.id DESC LIMIT 1
    """
)


async def before(conn: AsyncConnection, run: int, account: str, *, livemode: bool) -> Row | None:
    """The run that came to its end before this one: `id`, `report`, and `newest`: whether none before went further."""
    found = await conn.execute(_BEFORE, {"account": account, "livemode": livemode, "run": run})
    row = found.mappings().first()
    return None if row is None else dict(row)


_LAST_DONE = text(
    "SELECT max(id) FROM reconciliation_runs WHERE stripe_account = :account AND status = 'done' AND NOT dry_run"
)


async def last_done(conn: AsyncConnection, account: str) -> int | None:
    """The newest run of an account that came to its end."""
    return (await conn.execute(_LAST_DONE, {"account": account})).scalar()


_LAST_ERROR = text(
    """
    SELECT concat_ws(': ', nullif(f.stripe_account, ''), f.error) FROM reconciliation_runs f
    WHERE f.status = 'failed' AND NOT f.dry_run AND f.started_at >= :since AND NOT EXISTS (
        SELECT FROM reconciliation_runs r
        WHERE r.stripe_account = f.stripe_account AND r.status = 'done' AND NOT r.dry_run AND r.id > f.id
    )
    ORDER BY f.id DESC LIMIT 1
    """
)


async def last_error(conn: AsyncConnection, since: datetime) -> str | None:
    """With what the newest run of an account ended that came to no end since then, and has not been made up for."""
    return (await conn.execute(_LAST_ERROR, {"since": since})).scalar()


_CURRENCIES = text(
    """
    SELECT DISTINCT t ->> 'currency'
    FROM (SELECT report FROM reconciliation_runs
          WHERE stripe_account = :account AND livemode = :livemode AND status = 'done' AND NOT dry_run
          ORDER BY id DESC LIMIT 1) AS r
    CROSS JOIN LATERAL jsonb_array_elements(r.report -> 'totals') AS t
    """
)


async def currencies(conn: AsyncConnection, account: str, *, livemode: bool) -> set[str]:
    """The currencies of the last run's sums: each run tells of all that the one before told of."""
    return set((await conn.execute(_CURRENCIES, {"account": account, "livemode": livemode})).scalars())


_LOOKED_BACK = text(
    """
    SELECT CAST(report -> 'older' ->> 'since' AS timestamptz), CAST(report -> 'older' ->> 'until' AS timestamptz)
    FROM reconciliation_runs
    WHERE stripe_account = :account AND livemode = :livemode AND status = 'done' AND NOT dry_run
      AND jsonb_typeof(report -> 'older') = 'object'
    ORDER BY id DESC LIMIT 1
    """
)


async def looked_back(conn: AsyncConnection, account: str, *, livemode: bool) -> tuple[datetime, datetime] | None:
    """The piece of the past that was compared once more by the newest run that did so: from when until when."""
    row = (await conn.execute(_LOOKED_BACK, {"account": account, "livemode": livemode})).first()
    return None if row is None else (row[0], row[1])


_OWN = text("SELECT DISTINCT stripe_id FROM reconciliation_runs WHERE stripe_account = '' AND stripe_id IS NOT NULL")


async def own_ids(conn: AsyncConnection) -> set[str]:
    """The ids at Stripe (acct_…) that our own account was compared under."""
    return set((await conn.execute(_OWN)).scalars())


_LEFT = text(
    """
    SELECT report -> 'again' FROM reconciliation_runs
    WHERE stripe_account = :account AND livemode = :livemode AND status = 'done' AND NOT dry_run
    ORDER BY id DESC LIMIT 1
    """
)


async def left(conn: AsyncConnection, account: str, *, livemode: bool) -> list[Row]:
    """What the last run that came to its end left to the next one, as it stands in its report."""
    return list((await conn.execute(_LEFT, {"account": account, "livemode": livemode})).scalar() or ())
