"""What would happen with an unpaid invoice in the coming weeks, if nobody paid and nobody stepped in."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from db import dunning as rows
from db.states import CaseStatus
from jobs.dunning.books import from_books
from jobs.dunning.cases import plan_of
from jobs.dunning.policies import choose, policies
from jobs.dunning.reading import zone
from jobs.rules.dunning import LAST_LOOK, Action, Ended, Plan, Suspended, ended, letter_for

DAYS = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Planned:
    """A step to come. `at` is in the customer's time zone."""

    position: int
    at: datetime
    letter: str
    action: str


@dataclass(frozen=True, slots=True)
class Preview:
    """The coming steps of an invoice; `why` tells why there are none, or what must happen first."""

    invoice: str
    policy: str
    steps: tuple[Planned, ...] = ()
    why: str | None = None
    given_up_at: datetime | None = None
    """When the case would be closed as lost."""


async def preview(conn: AsyncConnection, invoice: str, now: datetime, *, within: timedelta = DAYS) -> Preview | None:
    """What the ledger says will happen `within` that time; None when it does not know the invoice.

    An invoice without a case is shown as if its payment failed now; one of ours, as if nobody paid by its day.
    """
    booked = (await from_books(conn, [invoice])).get(invoice)
    if booked is None:
        return None
    seen = booked.reading
    case = (await rows.cases_of(conn, [invoice])).get(invoice)
    if case is None:
        policy = choose(
            await policies(conn),
            tier=booked.row["tier"],
            currency=seen.currency,
            amount=seen.standing.remaining,
            collection_method=booked.row["collection_method"],
        )
        name, done, warnings = policy.name, -1, 0
        since, why = now, "no payment of it failed: as if one failed now"
        if seen.own and seen.marks.overdue_at is not None:
            since = seen.marks.overdue_at
            why = "it is overdue, and gets a case within the hour" if since < now else "it is not due yet"
            now = max(now, since)
        plan = Plan(policy.steps, policy.hours, since, zone(seen.person.timezone), at_once=not seen.own)
        verdict = ended(seen.standing)
        why = verdict.reason if isinstance(verdict, Ended) else why
        stopped = isinstance(verdict, Ended)
    else:
        name, done, warnings, plan = case.policy, case.done_step, case.taken, plan_of(case)
        stopped = case.status == CaseStatus.CLOSED or (case.status == CaseStatus.PAUSED and case.paused_until is None)
        why = None if case.status == CaseStatus.OPEN else f"{case.status}: {case.reason}"
        if case.paused_until is not None:
            now = max(now, case.paused_until)
    if isinstance(verdict := ended(seen.standing), Suspended) and (why is None or (seen.own and case is None)):
        stopped, why = True, verdict.reason
    if stopped:
        return Preview(invoice, name, why=why)
    steps = [
        Planned(position, at, letter_for(step.letter, sent=seen.sent, confirm=seen.confirm), step.action.value)
        for position, at in plan.forecast(done, now, warnings=warnings)
        for step in (plan.steps[position],)
    ]
    end = steps[-1].at if steps else (plan.warned_at or now)
    canceled = bool(steps) and steps[-1].action == Action.CANCEL_AT_STRIPE
    given_up = end if canceled else end + LAST_LOOK
    horizon = now + within
    return Preview(invoice, name, tuple(step for step in steps if step.at <= horizon), why, given_up)
