"""An operator takes a case in hand: pauses it, lets it go on, skips a step, sends now, gives time, or lets it be."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

from db import dunning as rows
from db.dunning import Case, StepRow
from db.operators.actions import Actor, NotAllowedError, UnknownIdsError, write_audit
from db.states import CaseOutcome, CaseStatus
from jobs.dunning.books import from_books
from jobs.dunning.cases import BY_OPERATOR, OLD_NEWS, close, go_on, keep, next_turn, plan_of
from jobs.rules.dunning import LAST_LOOK, Ended
from worker.deps import Tx

LONGEST_GRACE = 365
"""Days; who is given more is not dunned at all: close the case."""

LONGEST_PAUSE = timedelta(days=366)
"""A year; who is to be left alone for longer is not dunned at all: close the case."""

ANOTHER_WORD = frozenset({CaseOutcome.LOST, CaseOutcome.CANCELED})
"""Closed cases whose customer an operator may still let be: it ends what the final action began."""


async def pause(tx: Tx, invoice: str, actor: Actor, *, until: datetime | None = None) -> Case:
    """Nobody is written to until somebody resumes the case, or until `until`. Payment still closes it.

    Raises UnknownIdsError, or NotAllowedError when it is closed or paused by an operator already; so do all here.
    """
    case = await _held(tx, invoice)
    if case.paused_by == BY_OPERATOR:
        raise NotAllowedError([f"the case of {invoice} is paused already: {case.reason}"])
    if until is not None and not tx.now < until <= tx.now + LONGEST_PAUSE:
        wrong = "is past" if until <= tx.now else "is more than a year away"
        raise NotAllowedError([f"{until.isoformat()} {wrong}: pause until a time that is to come, or without an end"])
    case.status, case.paused_by, case.paused_until = CaseStatus.PAUSED, BY_OPERATOR, until
    case.reason = f"{actor.who}: {actor.why}" if actor.why else actor.who
    if until is not None:
        await next_turn(tx, case, until)
    else:
        case.turn, case.next_step_at = case.turn + 1, None
    return await _done(tx, case, actor, "pause", until=until and until.isoformat())


async def resume(tx: Tx, invoice: str, actor: Actor) -> Case:
    """A paused case goes on; what became due meanwhile collapses to one letter. What was old news begins today."""
    case = await _held(tx, invoice)
    if case.paused_by != BY_OPERATOR:
        raise NotAllowedError([f"the case of {invoice} is not paused by an operator: {case.reason or case.status}"])
    if (case.reason or "").startswith(OLD_NEWS):
        late = tx.now - plan_of(case).due(case.done_step + 1)
        case.grace_days = min(case.grace_days + late.days, LONGEST_GRACE)
    await go_on(tx, case)
    return await _done(tx, case, actor, "resume")


async def skip(tx: Tx, invoice: str, actor: Actor, *, position: int) -> Case:
    """The next step, which must be the one at `position`, is left out; the one after it keeps its day."""
    case = await _next(tx, invoice, position)
    plan = plan_of(case)
    step = StepRow(
        case.id,
        position,
        "skipped",
        plan.due(position),
        tx.now,
        plan.steps[position].letter,
        detail=f"{actor.who}: {actor.why}" if actor.why else actor.who,
    )
    await rows.add_steps(tx.conn, [step])
    case.done_step = position
    await next_turn(tx, case, plan.next(position) or tx.now + LAST_LOOK)
    return await _done(tx, case, actor, "skip", position=position)


async def send_now(tx: Tx, invoice: str, actor: Actor, *, position: int) -> Case:
    """The next step, which must be the one at `position`, is taken now, at whatever hour.

    The invoice is read afresh before, as always.
    """
    case = await _next(tx, invoice, position)
    await next_turn(tx, case, tx.now, forced=True)
    return await _done(tx, case, actor, "send_now", position=position)


async def extend(tx: Tx, invoice: str, actor: Actor, *, days: int) -> Case:
    """All steps that are not taken yet come `days` later."""
    case = await _held(tx, invoice)
    if case.done_step >= case.last:
        raise NotAllowedError([f"no step is left in the case of {invoice}: there is nothing to put off"])
    if not 0 < days <= LONGEST_GRACE - case.grace_days:
        raise NotAllowedError([f"{days} days: give between 1 and {LONGEST_GRACE - case.grace_days}"])
    case.grace_days += days
    if case.status == CaseStatus.OPEN:
        await go_on(tx, case)
    return await _done(tx, case, actor, "extend", days=days)


async def let_be(tx: Tx, invoice: str, actor: Actor, *, outcome: CaseOutcome = CaseOutcome.EXEMPT) -> Case:
    """The case is closed by hand: as exempt, or as lost. When the invoice is paid later, it is recovered all the same.

    A case that is closed as lost or canceled may be let be as well (exempt): its customer is not blocked any more, and
    what we paused at Stripe goes on. Raises NotAllowedError for other outcomes: those are Stripe's to tell.
    """
    if outcome not in {CaseOutcome.EXEMPT, CaseOutcome.LOST}:
        raise NotAllowedError([f"{outcome} is told by Stripe: by hand a case is closed as exempt or as lost"])
    case = await _held(tx, invoice, closed=ANOTHER_WORD if outcome is CaseOutcome.EXEMPT else ())
    reason = f"{actor.who}: {actor.why}" if actor.why else actor.who
    booked = (await from_books(tx.conn, [invoice])).get(invoice)
    await close(tx, case, Ended(outcome, reason), booked and booked.reading)
    return await _done(tx, case, actor, "close", outcome=outcome.value)


async def _held(tx: Tx, invoice: str, *, closed: Collection[str] = ()) -> Case:
    """The case, with its lock, for which a person may wait a moment; closed ones are not touched, but these."""
    found = (await rows.cases_of(tx.conn, [invoice])).get(invoice)
    if found is None:
        raise UnknownIdsError("dunning case", [invoice])
    await rows.wait_for(tx.conn, found)
    case = (await rows.cases_of(tx.conn, [invoice]))[invoice]
    if case.status == CaseStatus.CLOSED and case.outcome not in closed:
        raise NotAllowedError([f"the case of {invoice} is closed ({case.outcome}): {case.reason}"])
    return case


async def _next(tx: Tx, invoice: str, position: int) -> Case:
    """The case, if it goes on and the step at `position` is its next one: who clicks twice means one step."""
    case = await _held(tx, invoice)
    if case.status != CaseStatus.OPEN:
        raise NotAllowedError([f"the case of {invoice} is paused ({case.reason}): resume it first"])
    if case.done_step >= case.last:
        raise NotAllowedError([f"no step is left in the case of {invoice}"])
    if position <= case.done_step:
        raise NotAllowedError([f"step {position + 1} of {invoice} was taken meanwhile: look at the case again"])
    if position > case.done_step + 1:
        raise NotAllowedError([f"step {position + 1} of {invoice} is not its next one: that is {case.done_step + 2}"])
    return case


async def _done(tx: Tx, case: Case, actor: Actor, action: str, **details: Any) -> Case:
    await keep(tx, [case])
    told = {name: value for name, value in details.items() if value is not None}
    await write_audit(tx.conn, actor, f"dunning.{action}", case.invoice, now=tx.now, details=told)
    return case
