"""The final action of a case is done at Stripe, once; only then its customer is told."""

from datetime import timedelta
from functools import partial
from typing import Any

from db import dunning as rows
from db.dunning import Case
from db.states import CaseOutcome, CaseStatus, QueueName
from jobs.dunning import letters
from jobs.dunning.calls import RESUME_COLLECTION, action_of
from jobs.dunning.cases import BY_STRIPE, action_key, close, effective, judge, keep, plan_of
from jobs.dunning.fresh import MARK, for_account, read_afresh
from jobs.dunning.reading import Reading
from jobs.dunning.take_step import TRIES, lock
from jobs.rules.dunning import OVER, SETTLED, Action, Ended, ended
from jobs.spent_keys import with_new_key
from worker.deps import Deps, Tx
from worker.errors import Refused
from worker.registry import job

PAID_TOO_LATE = (
    "{invoice} was settled in the very moment in which {subscription} was canceled because it was not paid: make the "
    "subscription anew at Stripe, or give the money back; then cancel this job"
)
CANCELED = Ended(CaseOutcome.LOST, "the subscription was canceled because it was not paid")


@job(queue=QueueName.BATCH, tries=TRIES, timeout=timedelta(seconds=90))
async def act_at_stripe(d: Deps, case_id: int, action: str) -> None:
    """Do `action` for a case. Each try first looks whether an earlier one, whose answer was lost, has done it.

    Raises Unconfigured without an API key, and Refused when the money came in the moment of our cancellation: then a
    person is needed, and the parked job says for what.
    """
    await with_new_key(partial(_look_and_act, d, case_id, action))


async def _look_and_act(d: Deps, case_id: int, action: str, number: int) -> None:
    async with d.tx() as tx:
        case = await rows.case_by_id(tx.conn, case_id)
    if case is None:
        return
    seen = await read_afresh(d, case)
    if action == RESUME_COLLECTION:
        if seen.mark == action_key(case, Action.PAUSE_COLLECTION) and not _over(seen):
            await _do(d, case, action, number)
        return
    if not _done(case, action, seen):
        async with d.tx() as tx:
            case = await _still_wanted(tx, case_id, action, seen)
        if case is None:
            return
        await _do(d, case, action, number)
        if action == Action.CANCEL_AT_STRIPE:
            seen = await read_afresh(d, case)  # the money may have come in between
    async with d.tx() as tx:
        too_late = await _record(tx, case, action, seen)
    if too_late:
        raise Refused(PAID_TOO_LATE.format(invoice=case.stripe_invoice_id, subscription=case.stripe_subscription_id))


def _over(seen: Reading) -> bool:
    return seen.standing.subscription in OVER


def _done(case: Case, action: str, seen: Reading) -> bool:
    """Whether Stripe shows that we did it already."""
    if seen.mark != action_key(case, action):
        return False
    return _over(seen) if action == Action.CANCEL_AT_STRIPE else seen.standing.collection_paused


async def _still_wanted(tx: Tx, case_id: int, action: str, seen: Reading) -> Case | None:
    """The case, if its action is still to be done by what was just read."""
    case = await rows.case_by_id(tx.conn, case_id)
    if case is None or case.acting != action or case.status == CaseStatus.CLOSED:
        return None
    await lock(tx, case)
    case = await rows.case_by_id(tx.conn, case_id)
    if case is None or case.acting != action:
        return None
    if await judge(tx, case, seen):
        await keep(tx, [case])
    return case if case.status == CaseStatus.OPEN else None


async def _do(d: Deps, case: Case, action: str, number: int) -> None:
    mark, path = action_key(case, action), f"subscriptions/{case.stripe_subscription_id}"
    key = f"{mark}/{number}" if number else mark
    account = for_account(case)
    if action == Action.CANCEL_AT_STRIPE:
        await d.stripe.act("delete", path, idempotency_key=key, cancellation_details={"comment": mark}, **account)
        return
    changes: dict[str, Any] = {"pause_collection": {"behavior": "void"}, "metadata": {MARK: mark}}
    if action == RESUME_COLLECTION:
        changes = {"pause_collection": "", "metadata": {MARK: ""}}
    await d.stripe.act("post", path, idempotency_key=key, **changes, **account)


async def _record(tx: Tx, case: Case, action: str, seen: Reading) -> bool:
    """It is done: the customer is told, unless the money came then. Returns whether we canceled all the same."""
    await lock(tx, case)
    found = await rows.case_by_id(tx.conn, case.id)
    if found is None or found.acting != action:
        return False
    canceled = action == Action.CANCEL_AT_STRIPE
    if canceled and isinstance(verdict := ended(effective(found, seen)), Ended) and verdict.outcome in SETTLED:
        await judge(tx, found, seen)
    found.acting, found.final_action = None, action
    if found.status != CaseStatus.CLOSED:
        if found.paused_by == BY_STRIPE:  # our own pause, seen by its event before it was recorded here
            found.status, found.paused_by, found.reason = CaseStatus.OPEN, None, None
        position = found.last
        _, email = await letters.stage_step(tx, found, seen, plan_of(found), position)
        detail = letters.NO_ADDRESS if email is None else None
        await rows.told_of_step(tx.conn, found.id, position, email_id=email, detail=detail)
        if canceled:
            await close(tx, found, CANCELED, seen)
    elif action == Action.PAUSE_COLLECTION and found.outcome != CaseOutcome.LOST:
        # The money came while we paused: the job that goes on at Stripe may have looked before there was a pause.
        await tx.stage(action_of(found, RESUME_COLLECTION), unique_key=f"{action_key(found, RESUME_COLLECTION)}/late")
    await keep(tx, [found])
    return canceled and found.outcome in SETTLED
