"""Each morning our books are laid beside Stripe's, those of each connected account too."""

from datetime import datetime, timedelta

import structlog

from db import reconciliation as rows
from db.reconciliation import NewRun
from db.states import DifferenceClass, QueueName
from jobs.reconciliation import letters
from jobs.reconciliation.run import OVERLAP, NotBegun, reconcile
from worker.deps import Deps
from worker.errors import Refused, TryLater, Unconfigured
from worker.registry import job, schedule

log = structlog.get_logger()

LATELY = timedelta(days=35)
"""A connected account that was paid since then is compared."""

SCHEDULE = "schedule"
"""Who asks for the daily run."""


@schedule("reconcile", "0 6 * * *")
@job(queue=QueueName.BATCH, tries=8, timeout=timedelta(hours=6))
async def reconcile_books(d: Deps, period: datetime) -> None:
    """Compare our own account, and each connected one that was paid of late; BILLING_RECONCILE_REPAIR is mended.

    The period is only when it is due: a run that comes late compares until now.
    """
    repairs = frozenset(DifferenceClass(one) for one in d.settings.billing_reconcile_repair)
    async with d.tx() as tx:
        accounts = ["", *await rows.connected(tx.conn, tx.now - LATELY)]
    put_off: TryLater | None = None
    for account in accounts:
        try:
            await reconcile(d, asked_by=SCHEDULE, repairs=repairs, account=account, look_back=True)
        except Unconfigured as error:
            await _not_begun(d, account, repairs, error)
            return
        except NotBegun as error:  # an account that was disconnected hides none of the others
            await _not_begun(d, account, repairs, error)
        except Refused as error:
            log.warning("the comparison with Stripe was refused", account=account, why=error.reason)
            async with d.tx() as tx:
                await letters.uncompared(tx, account, error.reason, d.settings)
        except TryLater as error:
            put_off = put_off or error
    if put_off is not None:
        log.info("a comparison with Stripe is put off", period=period.isoformat(), why=put_off.reason)
        raise put_off


async def _not_begun(d: Deps, account: str, repairs: frozenset[DifferenceClass], error: Refused) -> None:
    """A job that dies each morning helps nobody: that nothing was compared is told with the runs, and by a letter."""
    log.warning("the books were not compared with Stripe", account=account, why=error.reason)
    async with d.tx() as tx:
        new = NewRun(account, None, SCHEDULE, tx.now - OVERLAP, tx.now, repairs, dry_run=False)
        await rows.could_not(tx.conn, new, error.reason, tx.now)
        await letters.uncompared(tx, account, error.reason, d.settings)
