"""The day of a step has come: the invoice is read afresh, and what is due is done, once; or the case ends."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta

from db import dunning as rows
from db import ledger
from db.dunning import Case, StepRow
from db.states import CaseOutcome, CaseStatus, QueueName
from jobs.dunning import letters
from jobs.dunning.books import from_books
from jobs.dunning.cases import (
    BY_OPERATOR,
    BY_STRIPE,
    LOOK_AGAIN,
    OLD_NEWS,
    go_on,
    judge,
    keep,
    next_turn,
    plan_of,
    stage_action,
)
from jobs.dunning.cases import close as close_case
from jobs.dunning.fresh import read_afresh
from jobs.dunning.reading import STRIPE, Reading, zone
from jobs.rules.dunning import LAST_LOOK, Action, Ended, Plan
from worker.deps import Deps, Tx
from worker.errors import Held
from worker.registry import job

TRIES = 100
"""Stripe may be away for a day or two (a try waits an hour at most): no step is lost by that."""

SHORT_WAITS = (0.05, 0.1, 0.2)
"""Seconds: a batch of the customer's events holds the lock for a moment, outside of which a step may well be taken."""

BUSY = timedelta(seconds=1)
"""After that the step lets other work pass."""


@job(queue=QueueName.BATCH, tries=TRIES, timeout=timedelta(seconds=90))
async def take_step(d: Deps, case_id: int, turn: int, forced: bool = False) -> None:  # noqa: FBT001, FBT002 - a job's arguments have names
    """Take what is due of a case in its present `turn`; a job of an older turn does nothing."""
    async with d.tx() as tx:
        case = await rows.case_by_id(tx.conn, case_id)
    if case is None or case.turn != turn or case.status == CaseStatus.CLOSED:
        return
    for wait in SHORT_WAITS:
        with suppress(Held):
            await _taken(d, case, turn, forced=forced)
            return
        await asyncio.sleep(wait)
    await _taken(d, case, turn, forced=forced)


async def _taken(d: Deps, case: Case, turn: int, *, forced: bool) -> None:
    """Read the invoice, and do what is due. Raises Held: then what was read is old before the lock is had."""
    seen = await read_afresh(d, case)
    async with d.tx() as tx:
        await lock(tx, case)
        found = await rows.case_by_id(tx.conn, case.id)
        if found is None or found.turn != turn or found.status == CaseStatus.CLOSED:
            return
        found.timezone = str(zone(seen.person.timezone, d.settings.billing_default_timezone))
        await judge(tx, found, seen)
        if found.status != CaseStatus.CLOSED and found.turn == turn and not _too_old(d, tx, found, seen):
            await _turn(tx, found, seen, forced=forced)
        await keep(tx, [found])


def _too_old(d: Deps, tx: Tx, case: Case, seen: Reading) -> bool:
    """Whether the case waits for an operator, as nothing but old books tell of it and nobody was written to yet.

    Its letters would not be sent any more, and the action at the end would come without a warning. So does an invoice
    of ours whose case was opened long after its day, as when dunning begins: somebody may have paid past the books.
    """
    if seen.source == STRIPE or case.taken or case.status != CaseStatus.OPEN or case.done_step >= case.last:
        return False
    most = timedelta(days=d.settings.billing_mail_max_age_days)
    known_at = case.opened_at if case.own else tx.now
    if known_at - plan_of(case).due(case.done_step + 1) <= most:
        return False
    case.status, case.paused_by, case.next_step_at = CaseStatus.PAUSED, BY_OPERATOR, None
    days = (tx.now - case.failed_at).days
    what = f"it failed {days} days ago, and without STRIPE_SECRET_KEY nobody knows whether it is still owed"
    if case.own:
        what = f"it was due {days} days ago: see whether it was paid and nobody wrote that down"
    case.reason = f"{OLD_NEWS}: {what}; resume it to begin today, or close it"
    return True


@job(queue=QueueName.BATCH, tries=TRIES)
async def follow_case(d: Deps, case_id: int) -> None:
    """An event concerned the case while another worker held its customer: the case follows the books now."""
    async with d.tx() as tx:
        case = await rows.case_by_id(tx.conn, case_id)
        if case is None:
            return
        await lock(tx, case)
        case = await rows.case_by_id(tx.conn, case_id)
        if case is not None:
            found = await from_books(tx.conn, [case.invoice])
            if case.invoice in found and await judge(tx, case, found[case.invoice].reading):
                await keep(tx, [case])


async def lock(tx: Tx, case: Case) -> None:
    """Hold the case's customer until the transaction ends. Raises Held: nobody waits for a lock in a transaction."""
    if not await ledger.try_lock(tx.conn, {case.lock}):
        raise Held("another worker is at work on the same customer", after=BUSY)


async def _turn(tx: Tx, case: Case, seen: Reading, *, forced: bool) -> None:
    """What this turn brings; each way out stages the next one."""
    if case.paused_by == BY_STRIPE:
        await next_turn(tx, case, tx.now + LOOK_AGAIN)
        return
    if case.paused_by == BY_OPERATOR:
        if case.paused_until is None or case.paused_until > tx.now:
            return
        await go_on(tx, case)
        return
    if case.done_step >= case.last:
        await _last_look(tx, case, seen)
        return
    plan = plan_of(case)
    position = case.done_step + 1 if forced else plan.take(case.done_step, tx.now)
    at = tx.now if forced else _opens(plan, case, position, tx.now)
    if position is None or at > tx.now:
        await next_turn(tx, case, at)
    else:
        await _take(tx, case, seen, plan, position)


def _opens(plan: Plan, case: Case, position: int | None, now: datetime) -> datetime:
    """When the next step may be taken: when it is due, and not at night."""
    if position is None:
        return plan.next(case.done_step) or now
    return plan.opening(position, now)


async def _last_look(tx: Tx, case: Case, seen: Reading) -> None:
    if case.acting is not None or (case.next_step_at is not None and case.next_step_at > tx.now):
        await next_turn(tx, case, max(case.next_step_at or tx.now, tx.now + LOOK_AGAIN))
        return
    reason = f"nothing came in the {LAST_LOOK.days} days after the last step"
    await close_case(tx, case, Ended(CaseOutcome.LOST, reason), seen)


async def _take(tx: Tx, case: Case, seen: Reading, plan: Plan, position: int) -> None:
    """Do the step at `position`, and write down those that it takes the place of."""
    now, step = tx.now, plan.steps[position]
    passed = [
        StepRow(case.id, n, "collapsed", plan.due(n), now, plan.steps[n].letter, read_from=seen.source)
        for n in range(case.done_step + 1, position)
    ]
    due = plan.due(position)
    after = replace(plan, warned_at=now, only_warning=case.taken == 0)
    action, letter, email, detail = step.action, None, None, letters.impossible(case, step.action)
    told = None if action is Action.NONE else action.value
    if detail is not None and case.own:
        skipped = StepRow(case.id, position, "skipped", due, now, None, told, None, seen.source, detail)
        await rows.add_steps(tx.conn, [*passed, skipped])
        case.done_step = position
        await next_turn(tx, case, now + LAST_LOOK)
        return
    if action in {Action.CANCEL_AT_STRIPE, Action.PAUSE_COLLECTION}:
        case.acting = None if detail is not None else action
    else:
        letter, email = await letters.stage_step(tx, case, seen, after, position)
        detail = letters.NO_ADDRESS if email is None else None
        if action is Action.MARK_BLOCKED:
            case.final_action = action
    taken = StepRow(case.id, position, "taken", due, now, letter, told, email, seen.source, detail)
    await rows.add_steps(tx.conn, [*passed, taken])
    case.done_step, case.taken, case.last_taken, case.warned_at = position, case.taken + 1, position, now
    await next_turn(tx, case, after.next(position) or now + LAST_LOOK)
    if case.acting is not None:
        await stage_action(tx, case)
