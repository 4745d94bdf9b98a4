"""Invoices of our own that were not paid by their day get a case, as Stripe's get one when Stripe says so."""

from datetime import datetime, timedelta

from db.dunning import Touched
from db.dunning_own import Overdue, overdue
from db.states import QueueName
from jobs.dunning.follow import open_own
from worker.deps import Deps
from worker.registry import job, schedule

AT_ONCE = 100
"""In one transaction: it holds the locks of so many customers for a moment."""

MOST = 1_000
"""In one run; what is left waits for the next hour, so that no carrier is flooded."""


@schedule("own-invoices-overdue", "7 * * * *")
@job(queue=QueueName.BATCH, timeout=timedelta(minutes=5))
async def open_own_cases(d: Deps, period: datetime) -> None:  # noqa: ARG001 - what is overdue is so at any hour
    """Open the cases that are missing, oldest first. A customer whom another worker holds waits for the next hour."""
    last: Overdue | None = None
    for _ in range(MOST // AT_ONCE):
        async with d.tx() as tx:
            found = await overdue(tx.conn, now=tx.now, limit=AT_ONCE, after=last)
            await open_own(tx, [Touched(one.invoice, one.lock, None) for one in found])
        if len(found) < AT_ONCE:
            return
        last = found[-1]
