"""Usage is kept by month: the coming months' partitions are there before they are needed."""

from datetime import datetime, timedelta

from sqlalchemy.exc import DBAPIError

from db import usage_partitions
from db.states import QueueName
from worker.deps import Deps
from worker.errors import TryLater
from worker.registry import job, schedule

AHEAD = 2
"""Months after the present one."""

_GAVE_WAY = frozenset({"55P03", "40P01"})
"""lock_not_available, deadlock_detected: https://www.postgresql.org/docs/current/errcodes-appendix.html."""


@schedule("usage-partitions", "20 0 * * *")
@job(queue=QueueName.BATCH, timeout=timedelta(minutes=5))
async def make_usage_partitions(d: Deps, period: datetime) -> None:  # noqa: ARG001 - a missed day needs nothing of its own
    """Make the partitions of this month and the next two, and of months whose events lie in the default partition.

    The default partition takes what has none yet, so that nothing is ever refused; it is emptied month by month, each
    in a transaction of its own. Events keep coming meanwhile: they wait at most for one month's move.
    """
    async with d.tx() as tx:
        wanted = await usage_partitions.wanted(tx.conn, tx.now, ahead=AHEAD)
    for month in wanted:
        try:
            async with d.tx() as tx:
                await usage_partitions.make(tx.conn, month)
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) not in _GAVE_WAY:
                raise
            raise TryLater(f"the partition of {month:%Y-%m} gave way to live traffic") from error
