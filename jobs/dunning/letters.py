"""The letters of a dunning case: which one a step means, and what it tells, as it was read just before."""

from datetime import datetime
from typing import Any

from db.dunning import Case
from jobs.dunning.reading import STRIPE, Reading
from jobs.invoices.document import Bank
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
NOTHING_TO_ACT_ON = "the invoice has no subscription: there was nothing to {action}"
NOBODY_TO_BLOCK = "the invoice is for nobody with an account here: there was nobody to block"


def impossible(case: Case, action: Action) -> str | None:
    """Why `action` cannot be done in this case, so that no letter announces it; None: it can."""
    if action in {Action.CANCEL_AT_STRIPE, Action.PAUSE_COLLECTION} and case.stripe_subscription_id is None:
        return NOTHING_TO_ACT_ON.format(action=action.partition("_")[0])
    return NOBODY_TO_BLOCK if action is Action.MARK_BLOCKED and case.own and case.stripe_customer_id is None else None


async def stage_step(tx: Tx, case: Case, seen: Reading, plan: Plan, position: int) -> tuple[str, int | None]:
    """Stage the letter of a step. Returns its name and its id; None when the customer has no address.

    `plan` is as it is after the step. Without an API key the letter is as old as the step's day: who has nothing but
    the ledger, and reads of it long afterwards, does not know whether it still holds. Of our own invoices it tells all.
    The PDF of one of ours goes with the letter.
    """
    name = letter_for(plan.steps[position].letter, sent=seen.sent, confirm=seen.confirm)
    to = _recipient(case, seen)
    if to is None:
        return name, None
    context = _context(name, case, seen, plan, tx.now)
    happened = tx.now if case.own or seen.source == STRIPE else min(plan.due(position), tx.now)
    email = await stage_letter(
        tx,
        name,
        context,
        key=f"dunning/{case.invoice}/{position}",
        to=to,
        occurred_at=happened,
        stripe_invoice_id=case.stripe_invoice_id,
        document_ids=[seen.document_id] if seen.document_id is not None else (),
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
        link=None if case.own else link(seen.link),  # ours is a page to pay at: there is nothing left to pay
        paid_at=paid_at,
        restored=restored,
        method=seen.method,
    )
    await stage_letter(
        tx,
        "recovered",
        context,
        key=f"recovered/{case.invoice}",
        to=to,
        occurred_at=paid_at,
        stripe_invoice_id=case.stripe_invoice_id,
    )


def _recipient(case: Case, seen: Reading) -> Recipient | None:
    person = seen.person
    if not person.email:
        return None
    return Recipient(person.email, person.name, person.locale, case.timezone or person.timezone, case.user_id)


def final_on(case: Case, plan: Plan) -> datetime | None:
    """When the final action follows; None: there is none."""
    last = plan.steps[-1].action
    return None if last is Action.NONE or impossible(case, last) else plan.due(len(plan.steps) - 1)


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
    last = plan.steps[-1].action
    action = ACTIONS[Action.NONE if impossible(case, last) else last]
    how: dict[str, Any] = {"account": _account(seen.bank), "attached": seen.document_id is not None}
    since = (seen.due_date if case.own else None) or case.failed_at
    late: dict[str, Any] = {
        "due_since": since,
        "days_overdue": _days(plan, since, now),
        "action": action,
        "final_on": final_on(case, plan),
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
            return c.InvoiceOverdue(**whose, **how, due_on=since, days_overdue=_days(plan, since, now))
        case "dunning_reminder":
            return c.DunningReminder(**whose, **late, reminder=case.reminders + 1, next_payment_attempt=again)
        case "final_notice":
            return c.FinalNotice(**whose, **how, **late)
        case _:
            return c.AccessSuspended(**whose, **how, action=action, suspended_at=now, product=seen.product)


def _account(bank: Bank | None) -> c.Account | None:
    if bank is None:
        return None
    iban = (bank.iban or "").replace(" ", "")
    grouped = "\N{NO-BREAK SPACE}".join(iban[at : at + 4] for at in range(0, len(iban), 4))
    return c.Account(holder=bank.holder, iban=grouped or None, bic=bank.bic, bank=bank.name, number=bank.account)
