"""What earlier comparisons with Stripe told, for those that follow: whose key it was, what is left, what is known."""

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


_WRONG_BEFORE = text(
    """
    SELECT report ->> 'wrong' FROM reconciliation_runs
    WHERE stripe_account = :account AND livemode = :livemode AND status = 'done' AND NOT dry_run AND id < :run
    ORDER BY id DESC LIMIT 1
    """
)


async def wrong_before(conn: AsyncConnection, run: int, account: str, *, livemode: bool) -> str | None:
    """What the run before this one left to be done, as its report has it."""
    return (await conn.execute(_WRONG_BEFORE, {"account": account, "livemode": livemode, "run": run})).scalar()


_LAST_DONE = text(
    "SELECT max(id) FROM reconciliation_runs WHERE stripe_account = :account AND status = 'done' AND NOT dry_run"
)


async def last_done(conn: AsyncConnection, account: str) -> int | None:
    """The newest run of an account that came to its end."""
    return (await conn.execute(_LAST_DONE, {"account": account})).scalar()


_LAST_ERROR = text(
    """
    SELECT error FROM reconciliation_runs WHERE stripe_account = '' AND status = 'failed' AND NOT dry_run
    ORDER BY id DESC LIMIT 1
    """
)


async def last_error(conn: AsyncConnection) -> str | None:
    """With what the newest run of our own account ended that did not come to its end."""
    return (await conn.execute(_LAST_ERROR)).scalar()


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
