"""Every hour each partner's months that have ended in its own time zone are to be invoiced, the oldest first."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import structlog

from db import contracts, usage_invoices
from db.states import QueueName
from db.usage_invoices import NewPeriod
from jobs.partners.contract_periods import periods_of_rows
from jobs.partners.invoice_partner import stage_next
from jobs.rules.billing_periods import Period
from worker.deps import Deps, Tx
from worker.registry import job, schedule

log = structlog.get_logger()

CATCH_UP = timedelta(days=366)
"""What ended longer ago is invoiced by hand only: such a contract was most likely billed elsewhere before."""

PAGE = 1_000
"""So many partners' contracts are read at once."""


def closed_periods(rows: Sequence[Mapping[str, Any]], now: datetime, grace: timedelta) -> Iterator[Period]:
    """The periods of a contract (its versions as they are stored) that are to be invoiced by `now`, oldest first.

    The newest version says whether it is billed at all.
    """
    newest = max(rows, key=lambda row: (row["valid_from"], row["version"]))
    if newest["status"] not in {"active", "ended"} or (
        newest["status"] == "ended" and newest["contract_end_date"] is None
    ):
        return
    for period in periods_of_rows(rows):
        if not period.closed(now, grace):
            return
        if period.end > now - CATCH_UP:
            yield period


async def plan(tx: Tx, grace: timedelta) -> int:
    """Write down which periods are to be invoiced, and stage the oldest one of each partner. Returns how many.

    A period that was looked at before, or voided, is left alone, and so is one that shares more than a day with such
    a one: somebody may have written another zone or cycle into the contract's rows. A later one waits for an earlier
    one that is not looked at yet; it does not wait for one that is parked, which somebody may look into for weeks.
    """
    known = await usage_invoices.known(tx.conn, tx.now - CATCH_UP)
    after = ""
    while page := await contracts.prefixes(tx.conn, after=after, limit=PAGE):
        new = [
            NewPeriod(prefix, period.start, period.end, period.timezone)
            for prefix, rows in (await contracts.versions_of(tx.conn, page)).items()
            for period in closed_periods(rows, tx.now, grace)
            if not any(one.shares(period.start, period.end) for one in known.get(prefix, ()))
        ]
        await usage_invoices.add(tx.conn, new, now=tx.now)
        after = page[-1]
    return await stage_next(tx)


@schedule("partner-invoices", "0 * * * *")
@job(queue=QueueName.BATCH, tries=10, timeout=timedelta(minutes=5))
async def partner_invoices(d: Deps, period: datetime) -> None:
    """Look each hour whose month has ended: the 1st begins at another hour in each time zone."""
    async with d.last_tx() as tx:
        staged = await plan(tx, timedelta(hours=d.settings.billing_partner_grace_hours))
    log.info("partners' periods looked for", hour=period.isoformat(), staged=staged)
