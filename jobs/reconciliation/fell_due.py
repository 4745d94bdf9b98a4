"""An invoice became overdue while no event came, and Stripe keeps that event no more: its dunning begins all the same.

Nothing but `invoice.overdue` tells of it, no object does, and only where the account has an automation that sends it:
https://docs.stripe.com/changelog/acacia/2024-09-30/billing-due-date-webhooks.
"""

import asyncio
from datetime import UTC, datetime, timedelta

import structlog

from db import outages
from db.operators.actions import Actor, write_audit
from jobs.derive.books import Entry, enter, hold
from jobs.events.apply import facts_of
from jobs.follow import follow
from jobs.mrr.mend import stage_wanted
from jobs.reconciliation.found import Suspect
from jobs.reconciliation.lists import EVENTS_KEPT, present
from jobs.reconciliation.looking import Run
from jobs.reconciliation.snapshot_kinds import Ask, Missing
from jobs.reconciliation.snapshots import A_MOMENT, TRIES, WHO
from jobs.stripe_objects import Obj, StripeEvent
from worker.deps import Deps

log = structlog.get_logger()

MARGIN = timedelta(hours=1)
"""What Stripe's list of events may lack at its old end: this much younger events are asked for."""


async def tell_overdue(run: Run) -> int:
    """Tell the books of each invoice that should have been told overdue in the time of which nobody can tell any more.

    How long after its day is as it was for others of the account; without any such, none is. One that a worker holds
    all the while is skipped, so that the next run comes here again. Returns how many were told. Raises as `Ask.one`.
    """
    since, until = run.span.unheard_since, present(run.d, run.stripe) - EVENTS_KEPT + MARGIN
    if since is None or since >= until:
        return 0
    stripe, told = run.stripe, 0
    async with run.d.tx() as tx:
        found = await outages.fell_due(tx.conn, stripe.account, since, until, livemode=stripe.livemode)
    for name, at in found:
        try:
            invoice = await Ask(run.d, stripe.account).one(f"invoices/{name}")
        except Missing:
            continue
        if invoice.text("status") != "open":
            continue
        if await _tell(run, invoice, at):
            told += 1
        else:
            run.skip(Suspect("invoice", name), "a worker was at it all the while, and its dunning did not begin")
    if told:
        log.info("invoices had become overdue while no event came", invoices=told, since=since.isoformat())
    return told


async def _tell(run: Run, invoice: Obj, at: datetime) -> bool:
    """As the event would have told it. False: another worker holds the invoice or its customer."""
    who = f"{WHO}:{run.report.run}"
    event = StripeEvent(who, "invoice.overdue", int(at.timestamp()), run.stripe.livemode, run.stripe.account, invoice)
    for attempt in range(TRIES):
        await asyncio.sleep(A_MOMENT * attempt)
        if await _told(run.d, event, who):
            return True
    return False


async def _told(d: Deps, event: StripeEvent, who: str) -> bool:
    async with d.tx() as tx:
        entry = Entry(who, list(facts_of(event)))
        if not await hold(tx.conn, [entry]):
            return False
        await stage_wanted(tx, await enter(tx, [entry]), [entry])
        await follow(tx, [event])
        details = {"overdue_at": datetime.fromtimestamp(event.created, UTC).isoformat()}
        await write_audit(
            tx.conn, Actor(WHO), "reconciliation.overdue", f"invoice {event.object.id()}", now=tx.now, details=details
        )
    return True
