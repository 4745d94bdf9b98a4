"""A case goes on, is suspended, or ends, by how its invoice stands; whoever calls holds the lock of its customer."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from db import dunning as rows
from db import dunning_own as own
from db.dunning import Case
from db.states import CaseOutcome, CaseStatus
from jobs.dunning import letters
from jobs.dunning.calls import RESUME_COLLECTION, action_of, turn_of
from jobs.dunning.policies import hours_of, steps_of
from jobs.dunning.reading import STRIPE, Reading, zone
from jobs.rules.dunning import LAST_LOOK, Action, Ended, Plan, Standing, Suspended, ended, replaces
from worker.deps import Tx

BY_STRIPE, BY_OPERATOR = "stripe", "operator"
"""Who paused a case."""

OLD_NEWS = "nobody was told in time"
"""How the reason of a pause begins that we made ourselves, because only old books tell of the failure."""

LOOK_AGAIN = timedelta(days=3)
"""While collection is paused at Stripe: events come up to three days late, and one that is lost does not matter."""


def plan_of(case: Case) -> Plan:
    """The case's steps in time."""
    return Plan(
        steps_of(case.steps),
        hours_of(case.hours),
        case.failed_at,
        zone(case.timezone),
        case.grace_days,
        case.warned_at,
        only_warning=case.taken == 1,
        at_once=not case.own,
    )


def action_key(case: Case, action: str) -> str:
    """The idempotency key of an action at Stripe: the same for each try at it (Stripe's `Idempotency-Key`).

    It is the invoice's, not the row's: in a ledger that is built anew another case may get the same number.
    """
    return f"dunning/{case.invoice}/{case.last}/{action}"


def effective(case: Case, seen: Reading) -> Standing:
    """How the invoice stands, without what we did to its subscription ourselves: that ends and suspends nothing.

    What had been paid before the case was opened is no payment of it: when the rest is credited, nothing came.
    """
    standing = seen.standing
    if standing.invoice == "paid" and max(seen.paid, seen.due) <= case.paid_at_opening_cents and not seen.out_of_band:
        standing = replace(standing, credited=True)
    if Action.PAUSE_COLLECTION in {case.final_action, case.acting}:
        standing = replace(standing, collection_paused=False)
    # While we cancel, the books cannot tell whose cancellation they saw: the job that does it finds out from Stripe.
    ours = seen.source != STRIPE or seen.mark == action_key(case, Action.CANCEL_AT_STRIPE)
    if case.acting == Action.CANCEL_AT_STRIPE and ours:
        standing = replace(standing, subscription=None, canceled_for=None)
    return standing


async def judge(tx: Tx, case: Case, seen: Reading) -> bool:
    """Let the case follow what was seen; the caller saves it. Returns whether anything about it changed."""
    before = replace(case)
    verdict = ended(effective(case, seen))
    if case.status == CaseStatus.CLOSED:
        if isinstance(verdict, Ended) and replaces(case.outcome, verdict):
            await close(tx, case, verdict, seen)
        return case != before
    _learn(case, seen)
    if isinstance(verdict, Ended):
        await close(tx, case, verdict, seen)
    elif isinstance(verdict, Suspended):
        if case.status == CaseStatus.OPEN:
            case.status, case.paused_by, case.reason = CaseStatus.PAUSED, BY_STRIPE, verdict.reason
            await next_turn(tx, case, tx.now + LOOK_AGAIN)
    elif case.paused_by == BY_STRIPE:
        await go_on(tx, case)
    return case != before


def _learn(case: Case, seen: Reading) -> None:
    """What Stripe counts only grows: an older snapshot takes nothing back."""
    if (seen.attempt_count or 0) >= (case.attempt_count or 0):
        case.attempt_count, case.next_payment_attempt = seen.attempt_count, seen.next_payment_attempt
    case.decline_code = seen.decline_code or seen.failure_code or case.decline_code


async def close(tx: Tx, case: Case, verdict: Ended, seen: Reading | None) -> None:
    """The case is over. Who was written to and has paid is told so, once; what we paused at Stripe goes on there.

    An invoice of ours that is lost becomes uncollectible, as Stripe's do at Stripe: it can still be paid.
    """
    restored = case.final_action in {Action.MARK_BLOCKED, Action.PAUSE_COLLECTION}
    end(case, verdict, tx.now)
    if case.own and case.invoice_id is not None and verdict.outcome is CaseOutcome.LOST:
        await own.give_up(tx.conn, case.invoice_id, now=tx.now)
    if seen is not None:
        came = min(paid_since(case, seen), case.amount_cents)
        case.credited_cents = max(case.amount_cents - came - max(seen.standing.remaining, 0), 0)
        if verdict.outcome is CaseOutcome.RECOVERED:
            case.recovered_cents = came
            case.recovered_after_step = await rows.last_taken_by(tx.conn, case.id, seen.paid_at or tx.now)
            if case.taken and not seen.paid_at_stripe:
                await letters.stage_recovered(tx, case, seen, paid_since(case, seen), restored=restored)
    if Action.PAUSE_COLLECTION in {case.final_action, case.acting} and verdict.outcome is not CaseOutcome.LOST:
        await tx.stage(action_of(case, RESUME_COLLECTION), unique_key=action_key(case, RESUME_COLLECTION))


def paid_since(case: Case, seen: Reading) -> int:
    """What was paid of the invoice since the case was opened, in minor units: never what was credited."""
    paid = seen.paid - case.paid_at_opening_cents
    if paid <= 0 and seen.standing.invoice == "paid":  # by a transfer or cash, which not all API versions count
        paid = seen.due - case.paid_at_opening_cents
    return max(paid, 0)


def end(case: Case, verdict: Ended, now: datetime) -> None:
    """Write down that and how it ended."""
    case.status, case.outcome, case.reason = CaseStatus.CLOSED, verdict.outcome, verdict.reason
    case.closed_at, case.next_step_at, case.paused_by, case.paused_until = now, None, None, None


async def next_turn(tx: Tx, case: Case, at: datetime, *, forced: bool = False) -> None:
    """The case is looked at again at `at`; an older turn that is still staged does nothing any more."""
    case.turn += 1
    case.next_step_at = at
    await tx.stage(turn_of(case, forced=forced), due_at=at, unique_key=f"dunning/{case.id}/{case.turn}")


async def go_on(tx: Tx, case: Case) -> None:
    """An open case waits for what comes next: its action, its next step, or the last look at it."""
    case.status, case.paused_by, case.paused_until, case.reason = CaseStatus.OPEN, None, None, None
    if case.acting is not None:
        await stage_action(tx, case)
    due = plan_of(case).next(case.done_step)
    await next_turn(tx, case, due or (case.warned_at or tx.now) + LAST_LOOK)


async def stage_action(tx: Tx, case: Case) -> None:
    """Have the action under way done at Stripe. In a later turn it is staged anew, under the same idempotency key."""
    action = str(case.acting)
    await tx.stage(action_of(case, action), unique_key=f"{action_key(case, action)}/{case.turn}")


async def keep(tx: Tx, cases: Sequence[Case]) -> None:
    """Write changed cases, and what follows for their customers."""
    if cases:
        await rows.save(tx.conn, cases)
        await rows.follow_users(tx.conn, cases)
