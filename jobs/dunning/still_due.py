"""A dunning letter that waited for its carrier is not sent to somebody who has paid meanwhile."""

from datetime import timedelta

from db import dunning as rows
from db.dunning import Case
from db.emails import StoredEmail
from db.states import CaseOutcome, CaseStatus
from jobs.dunning.cases import judge, keep
from jobs.dunning.fresh import read_afresh
from jobs.dunning.take_step import lock
from jobs.mail.guards import guards
from worker.deps import Deps

FRESH = timedelta(minutes=5)
"""So long a letter counts as just decided on: Stripe was asked then."""


@guards("dunning")
async def still_due(d: Deps, letter: StoredEmail) -> str | None:
    """Look into the books; for a letter that has waited, ask Stripe as well, and let the case follow."""
    invoice = letter.key.split("/")[1]
    async with d.tx() as tx:
        case = (await rows.cases_of(tx.conn, [invoice])).get(invoice)
        waited = tx.now - letter.created_at > FRESH
    if case is None:
        return None
    objection = _objection(case, letter)
    if objection is not None or not waited or case.status == CaseStatus.CLOSED:
        return objection
    seen = await read_afresh(d, case)
    async with d.tx() as tx:
        await lock(tx, case)
        now = await rows.case_by_id(tx.conn, case.id)
        assert now is not None, "cases are never deleted"
        if await judge(tx, now, seen):
            await keep(tx, [now])
    return _objection(now, letter)


def _objection(case: Case, letter: StoredEmail) -> str | None:
    if case.status == CaseStatus.PAUSED:
        return f"dunning is paused: {case.reason or case.paused_by}"
    # The letter about a final action is decided on as its case is closed as lost.
    last_word = case.outcome == CaseOutcome.LOST and case.closed_at is not None and letter.created_at >= case.closed_at
    if case.status == CaseStatus.CLOSED and not last_word:
        return f"the case is closed ({case.outcome}): {case.reason}"
    return None
