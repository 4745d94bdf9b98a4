"""The letters of a dunning case: which one a step means, and what it tells, as it was read just before."""

from datetime import datetime
from typing import Any

from db.dunning import Case
from jobs.dunning.reading import STRIPE, Reading
from jobs.mail import contexts as c
from jobs.mail.contexts import Amount
from jobs.mail.letters import Recipient, stage_letter
from jobs.mail.notice_staging import link
from jobs.rules.dunning import Action, Plan, is_hard, letter_for
from worker.deps import Tx

ACTIONS = {
    Action.MARK_BLOCKED: c.Action.BLOCK,
    Action.CANCEL_AT_STRIPE: c.Action.CANCEL,
    Action.PAUSE_COLLECTION: c.Action.PAUSE,
    Action.NONE: c.Action.NONE,
}

NO_ADDRESS = "the customer has no e-mail address"


async def stage_step(tx: Tx, case: Case, seen: Reading, plan: Plan, position: int) -> tuple[str, int | None]:
    """Stage the letter of a step. Returns its name and its id; None when the customer has no address.

    `plan` is as it is after the step. Without an API key the letter is as old as the step's day: who has nothing but
    the ledger, and reads of it long afterwards, does not know whether it still holds.
    """
    name = letter_for(plan.steps[position].letter, sent=seen.sent, confirm=seen.confirm)
    to = _recipient(case, seen)
    if to is None:
        return name, None
    context = _context(name, case, seen, plan, tx.now)
    happened = tx.now if seen.source == STRIPE else min(plan.due(position), tx.now)
    key = f"dunning/{case.stripe_invoice_id}/{position}"
    email = await stage_letter(
        tx, name, context, key=key, to=to, occurred_at=happened, stripe_invoice_id=case.stripe_invoice_id
    )
    return name, email


async def stage_recovered(tx: Tx, case: Case, seen: Reading, paid: int, *, restored: bool) -> None:
    """Thank whoever was written to and has paid, for what was `paid` since (minor units)."""
    to = _recipient(case, seen)
    if to is None:
        return
    paid_at = seen.paid_at or tx.now
    context = c.Recovered(
        name=seen.person.name,
        number=seen.number,
        amount=Amount(paid, seen.currency),
        link=link(seen.link),
        paid_at=paid_at,
        restored=restored,
        method=seen.method,
    )
    await stage_letter(
        tx,
        "recovered",
        context,
        key=f"recovered/{case.stripe_invoice_id}",
        to=to,
        occurred_at=paid_at,
        stripe_invoice_id=case.stripe_invoice_id,
    )


def _recipient(case: Case, seen: Reading) -> Recipient | None:
    person = seen.person
    if not person.email:
        return None
    return Recipient(person.email, person.name, person.locale, case.timezone or person.timezone, case.user_id)


def final_on(plan: Plan) -> datetime | None:
    """When the final action follows; None: there is none."""
    return None if plan.steps[-1].action is Action.NONE else plan.due(len(plan.steps) - 1)


def _days(plan: Plan, since: datetime, now: datetime) -> int:
    """Days by the customer's calendar, at least one."""
    return max(1, (now.astimezone(plan.zone).date() - since.astimezone(plan.zone).date()).days)


def _context(name: str, case: Case, seen: Reading, plan: Plan, now: datetime) -> c.Context:
    hard = is_hard(seen.decline_code, seen.failure_code)
    again = None if hard else seen.next_payment_attempt
    whose: dict[str, Any] = {
        "name": seen.person.name,
        "number": seen.number,
        "amount": Amount(seen.standing.remaining, seen.currency),
        "link": link(seen.link),
    }
    action = ACTIONS[plan.steps[-1].action]
    late: dict[str, Any] = {
        "due_since": case.failed_at,
        "days_overdue": _days(plan, case.failed_at, now),
        "action": action,
        "final_on": final_on(plan),
    }
    match name:
        case "payment_failed":
            return c.PaymentFailed(
                **whose,
                hard=hard,
                decline_code=seen.decline_code or seen.failure_code,
                attempt_count=seen.attempt_count or 0,
                next_payment_attempt=again,
                method=seen.method,
            )
        case "action_required":
            return c.ActionRequired(**whose, method=seen.method)
        case "invoice_overdue":
            since = seen.due_date or case.failed_at
            return c.InvoiceOverdue(**whose, due_on=since, days_overdue=_days(plan, since, now))
        case "dunning_reminder":
            return c.DunningReminder(**whose, **late, reminder=case.reminders + 1, next_payment_attempt=again)
        case "final_notice":
            return c.FinalNotice(**whose, **late)
        case _:
            return c.AccessSuspended(**whose, action=action, suspended_at=now, product=seen.product)
