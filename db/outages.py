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


_LACKING = text(
    """
    SELECT asked.id FROM unnest(:ids) AS asked (id)
    WHERE NOT EXISTS (SELECT FROM webhook_events e WHERE e.id = asked.id)
    """
).bindparams(bindparam("ids", type_=ARRAY(Text)))


async def lacking(conn: AsyncConnection, ids: Sequence[str]) -> set[str]:
    """Those of these events that did not come in any way."""
    return set((await conn.execute(_LACKING, {"ids": list(ids)})).scalars())


_CAME = text(
    """
    SELECT received_at FROM webhook_events WHERE source = 'webhook' AND received_at < :before
    ORDER BY received_at DESC LIMIT 1
    """
)


async def last_webhook(conn: AsyncConnection, before: datetime) -> datetime | None:
    """When the last webhook came before a moment; None: none did."""
    return (await conn.execute(_CAME, {"before": before})).scalar()
