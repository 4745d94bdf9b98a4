"""What Stripe tells, and what becomes of invoices of our own, opens, suspends and closes dunning cases."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from db import dunning as rows
from db import ledger
from db.dunning import About, Case, Touched
from db.dunning_own import own_name
from db.states import CaseOutcome
from jobs.dunning.books import from_books
from jobs.dunning.calls import look_of
from jobs.dunning.cases import go_on, judge, keep, next_turn
from jobs.dunning.policies import choose, hours_json, policies, steps_json
from jobs.dunning.reading import Booked
from jobs.follow import follows
from jobs.rules.dunning import Marks, OpenedBy, arrears
from jobs.stripe_objects import Obj, StripeEvent
from worker.deps import Tx
from worker.errors import Refused

FAILURES = {
    "invoice.payment_failed": OpenedBy.PAYMENT_FAILED,
    "invoice.payment_action_required": OpenedBy.PAYMENT_ACTION_REQUIRED,
    "invoice.overdue": OpenedBy.OVERDUE,
}
DAY = timedelta(days=1)
BY_PAYMENT = frozenset({CaseOutcome.RECOVERED, CaseOutcome.VOID})
"""How a case ends when its invoice is paid: the second, when what came before it was opened is all that was paid."""


@follows(
    *FAILURES,
    "invoice.paid",
    "invoice.payment_succeeded",
    "invoice.voided",
    "invoice.marked_uncollectible",
    "invoice.updated",
    "invoice.deleted",
    "customer.subscription.created",
    "customer.subscription.updated",
    "customer.subscription.deleted",
    "customer.subscription.paused",
    "customer.subscription.resumed",
    "charge.dispute.created",
    "charge.dispute.updated",
    "charge.dispute.closed",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.funds_reinstated",
    "charge.refunded",
    "credit_note.created",
    "credit_note.updated",
    "credit_note.voided",
    "customer.updated",
    "customer.deleted",
)
async def follow_arrears(tx: Tx, events: Sequence[StripeEvent]) -> None:
    """Let the cases of all that these events are about follow the books; open those that are missing."""
    found = await rows.touched(tx.conn, about(events))
    if not found:
        return
    # Disputes do not hold their customer's lock. It is tried; where another worker has it, the case follows later.
    had = await ledger.try_lock(tx.conn, {one.lock for one in found})
    for one in found:
        if one.lock not in had and one.case_id is not None:
            await tx.stage(look_of(one.case_id))
    await _settle(tx, [one for one in found if one.lock in had], first_told(events))


async def follow_own(tx: Tx, invoice_id: int) -> None:
    """An invoice of ours was paid, voided or credited in this transaction: its case follows, if it has one.

    The caller has written that already. Nobody waits: where another worker holds the case, it follows right after.
    """
    name = own_name(invoice_id)
    case = (await rows.cases_of(tx.conn, [name])).get(name)
    if case is None:
        return
    if await ledger.try_lock(tx.conn, {case.lock}):
        await _settle(tx, [Touched(name, case.lock, case.id)], {})
    else:
        await tx.stage(look_of(case.id))


async def reopen_own(tx: Tx, invoice_id: int) -> None:
    """A payment of an invoice of ours was a mistake: the case that it had closed goes on where it stood.

    No step is taken twice, and none comes sooner for the days in which the case was closed. An invoice without a case
    gets one when its day has passed. Raises Refused while another worker holds the customer.
    """
    name = own_name(invoice_id)
    case = (await rows.cases_of(tx.conn, [name])).get(name)
    if case is None or case.closed_at is None or case.outcome not in BY_PAYMENT:
        return
    if not await ledger.try_lock(tx.conn, {case.lock}):
        raise Refused(f"a worker is at the case of {name} just now: try again")
    closed = tx.now - case.closed_at
    case.grace_days += -(-closed // DAY)
    if case.warned_at is not None:
        case.warned_at += closed  # else the last look at it would be over at once, and the invoice be given up
    case.outcome = case.closed_at = case.recovered_cents = case.recovered_after_step = None
    await go_on(tx, case)
    await keep(tx, [case])


async def open_own(tx: Tx, overdue: Sequence[Touched]) -> None:
    """Open the cases of these invoices of ours, whose day has passed; but for customers whom another worker holds."""
    if overdue:
        had = await ledger.try_lock(tx.conn, {one.lock for one in overdue})
        await _settle(tx, [one for one in overdue if one.lock in had], {})


def about(events: Iterable[StripeEvent]) -> About:
    """Which objects the events are about."""
    found = About()
    for event in events:
        obj, kind = event.object, event.type.partition(".")[0]
        if kind == "invoice":
            _add(found.invoices, obj.ref("id"))
        elif kind == "credit_note":
            _add(found.invoices, obj.ref("invoice"))
        elif event.type.startswith("customer.subscription."):
            _add(found.subscriptions, obj.ref("id"))
        elif kind == "customer":
            _add(found.customers, obj.ref("id"))
        else:
            _add(found.payments, *_payment(event.type, obj))
    return found


def _payment(event_type: str, obj: Obj) -> tuple[str | None, ...]:
    """A charge's id, or that of the charge that is disputed; and its intent's."""
    charge = obj.ref("charge") if event_type.startswith("charge.dispute.") else obj.ref("id")
    return charge, obj.ref("payment_intent")


def _add(to: set[str], *names: str | None) -> None:
    to.update(name for name in names if name is not None)


def first_told(events: Iterable[StripeEvent]) -> dict[str, Marks]:
    """When these events told for the first time that an invoice was not paid: the ledger keeps only the last time."""
    found: dict[str, dict[OpenedBy, datetime]] = {}
    for event in events:
        if (by := FAILURES.get(event.type)) is not None:
            at = datetime.fromtimestamp(event.created, UTC)
            told = found.setdefault(event.object.id(), {})
            told[by] = min(at, told.get(by, at))
    return {
        invoice: Marks(
            told.get(OpenedBy.PAYMENT_FAILED),
            told.get(OpenedBy.PAYMENT_ACTION_REQUIRED),
            told.get(OpenedBy.OVERDUE),
        )
        for invoice, told in found.items()
    }


def _earliest(booked: Marks, told: Marks | None) -> Marks:
    if told is None:
        return booked
    return replace(
        booked,
        failed_at=told.failed_at or booked.failed_at,
        action_required_at=told.action_required_at or booked.action_required_at,
        overdue_at=told.overdue_at or booked.overdue_at,
    )


async def _settle(tx: Tx, found: Sequence[Touched], told: Mapping[str, Marks]) -> None:
    names = [one.invoice for one in found]
    books = await from_books(tx.conn, names)
    cases = await rows.cases_of(tx.conn, names)
    changed: list[Case] = []
    missing: list[tuple[Case, Booked]] = []
    for name in names:
        booked = books.get(name)
        if booked is None:
            continue
        marks = _earliest(booked.reading.marks, told.get(name))
        since = arrears(booked.reading.standing, marks)
        case = cases.get(name)
        if case is None and since is not None:
            missing.append((_case(tx, booked, *since), booked))
        elif case is not None:
            earlier = since is not None and since[1] < case.failed_at
            if earlier and since is not None:
                case.failed_at = since[1]
            if await judge(tx, case, booked.reading) or earlier:
                if earlier and case.status == "open":
                    await go_on(tx, case)
                changed.append(case)
    await keep(tx, changed)
    if missing:
        await _open(tx, missing)


def _case(tx: Tx, booked: Booked, by: OpenedBy, at: datetime) -> Case:
    row = booked.row
    return Case(
        stripe_invoice_id=row["stripe_invoice_id"],
        invoice_id=row["id"],
        user_id=row["user_id"],
        stripe_customer_id=row["stripe_customer_id"],
        stripe_subscription_id=row["stripe_subscription_id"],
        livemode=row["livemode"],
        stripe_account=row["stripe_account"],
        opened_by=by,
        currency=booked.reading.currency,
        amount_cents=booked.reading.standing.remaining,
        paid_at_opening_cents=booked.reading.paid,
        policy="",
        steps=[],
        hours={},
        failed_at=at,
        opened_at=tx.now,
    )


async def _open(tx: Tx, missing: Sequence[tuple[Case, Booked]]) -> None:
    """Open cases, each by the first policy that fits; their first turn is now."""
    known = await policies(tx.conn)
    for case, booked in missing:
        policy = choose(
            known,
            tier=booked.row["tier"],
            currency=case.currency,
            amount=case.amount_cents,
            collection_method=booked.row["collection_method"],
        )
        case.policy, case.steps, case.hours = policy.name, steps_json(policy), hours_json(policy)
    cases = [case for case, _ in missing]
    await rows.open_cases(tx.conn, cases)
    for case, booked in missing:
        await judge(tx, case, booked.reading)
        if case.status == "open":
            await next_turn(tx, case, tx.now)
    await keep(tx, cases)
