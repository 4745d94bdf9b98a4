"""Whether work stood still for a while, and whether Stripe's webhooks stopped coming: by the rows that both leave."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import Text

_BEFORE = text("SELECT max(period) FROM schedule_runs WHERE name = :name AND period < :period")


async def period_before(conn: AsyncConnection, name: str, period: datetime) -> datetime | None:
    """The period of a schedule that was taken before this one: any worker that lives takes each as it is due."""
    return (await conn.execute(_BEFORE, {"name": name, "period": period})).scalar()


# A period without a job is the schedule's first look ever; jobs of long ago are deleted when they are done.
_DONE = text(
    """
    SELECT max(r.period) FILTER (WHERE j.id IS NULL OR j.status = 'done')
    FROM schedule_runs r LEFT JOIN jobs j ON j.id = r.job_id WHERE r.name = :name
    """
)


async def last_done(conn: AsyncConnection, name: str) -> datetime | None:
    """The newest period of a schedule whose job came to its end, or the schedule's beginning; None: it never began."""
    return (await conn.execute(_DONE, {"name": name})).scalar()


_COMPARED = text(
    """
    SELECT max(until) FROM reconciliation_runs
    WHERE stripe_account = '' AND livemode = :livemode AND status = 'done' AND NOT dry_run
    """
)


async def compared_until(conn: AsyncConnection, *, livemode: bool) -> datetime | None:
    """Until when (Stripe's time) our own account was compared, with gaps or without; None: never."""
    return (await conn.execute(_COMPARED, {"livemode": livemode})).scalar()


# One that went to Stripe's newest event; whoever asked for a time in the past saw less than the run before.
_SINCE = text(
    """
    SELECT r.stripe_account, r.since, r.started_at FROM reconciliation_runs r
    WHERE r.status = 'done' AND NOT r.dry_run AND r.started_at > :done
      AND (CAST(:livemode AS boolean) IS NULL OR r.livemode = :livemode)
      AND NOT EXISTS (
        SELECT FROM reconciliation_runs o
        WHERE o.stripe_account = r.stripe_account AND o.livemode = r.livemode AND o.status = 'done' AND NOT o.dry_run
          AND o.id < r.id AND o.until > r.until
      )
    ORDER BY r.id
    """
)


async def compared_since(conn: AsyncConnection, done: datetime, *, livemode: bool | None) -> dict[str, datetime]:
    """By account, when the last run began that left no gap to what was compared by `done`, whoever asked for it.

    Accounts without such a run are not in it. `livemode` None: in either mode.
    """
    found: dict[str, datetime] = {}
    for account, since, started_at in await conn.execute(_SINCE, {"done": done, "livemode": livemode}):
        if since <= found.get(account, done):
            found[account] = started_at
    return found


_LACKING = text(
    """
    SELECT asked.id FROM unnest(:ids) AS asked (id)
    WHERE NOT EXISTS (SELECT FROM webhook_events e WHERE e.id = asked.id)
    """
).bindparams(bindparam("ids", type_=ARRAY(Text)))


async def lacking(conn: AsyncConnection, ids: Sequence[str]) -> set[str]:
    """Those of these events that did not come in any way."""
    return set((await conn.execute(_LACKING, {"ids": list(ids)})).scalars())


# How long after its day Stripe tells of an invoice is set there: by those that it has told of, at the soonest.
_FELL_DUE = text(
    """
    SELECT i.stripe_invoice_id, i.due_date + told.after
    FROM invoices i CROSS JOIN (
        SELECT min(overdue_at - due_date) AS after FROM invoices
        WHERE kind IS NULL AND stripe_account = :account AND livemode = :livemode AND overdue_at >= due_date
    ) told
    WHERE i.kind IS NULL AND i.stripe_account = :account AND i.livemode = :livemode
      AND i.status = 'open' AND i.collection_method = 'send_invoice' AND i.deleted_at IS NULL AND i.overdue_at IS NULL
      AND i.due_date + told.after >= :since AND i.due_date + told.after < :until
    ORDER BY 2, 1
    """
)


async def fell_due(
    conn: AsyncConnection, account: str, since: datetime, until: datetime, *, livemode: bool
) -> list[tuple[str, datetime]]:
    """Open invoices of Stripe's of which it should have told in [since, until) that they are overdue, and when.

    None, where it never told so of any: an automation of the account sends these events, or nothing does.
    """
    values = {"account": account, "livemode": livemode, "since": since, "until": until}
    return [(row[0], row[1]) for row in await conn.execute(_FELL_DUE, values)]


_CAME = text(
    """
    SELECT received_at FROM webhook_events WHERE source = 'webhook' AND received_at < :before
    ORDER BY received_at DESC LIMIT 1
    """
)


async def last_webhook(conn: AsyncConnection, before: datetime) -> datetime | None:
    """When the last webhook came before a moment; None: none did."""
    return (await conn.execute(_CAME, {"before": before})).scalar()
