"""Who owes by Stripe's books is dunned, nobody else is, and each case stands and ends as its invoice does.

It knows the promises of docs/dunning.md and the steps of the policy that each case keeps, and shares no code with what
it checks.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeAlias

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from deploy.demo.compare_rows import Difference, Either, Rows, View, part, ref, sub, when

Row: TypeAlias = Mapping[Any, Any]

TOLD = ("invoice.payment_failed", "invoice.payment_action_required", "invoice.overdue")
"""What Stripe tells of an invoice that was not paid in time."""

OVERDUE = TOLD[2:]
"""What it tells of one that customers pay by hand."""

GONE = ("canceled", "incomplete_expired")
GIVEN_UP = ("lost", "canceled", "exempt")
"""Ways in which a case may have ended before its invoice did."""

DAY = timedelta(days=1)

WEEKEND = timedelta(days=3)
"""A step that falls on a Friday evening waits until Monday."""

A_MOVE = timedelta(days=1)
"""The clock of a simulation moves so far at most at once: a letter may have been under way at that moment."""

LAST_LOOK = timedelta(days=30)
"""So long after the last step money is waited for (docs/dunning.md)."""

_CASES = text(
    """
    SELECT c.*, coalesce((
        SELECT jsonb_agg(jsonb_build_object(
            'position', s.position, 'outcome', s.outcome, 'at', extract(epoch FROM s.taken_at)::float
        ) ORDER BY s.position)
        FROM dunning_steps s WHERE s.case_id = c.id), '[]') AS done
    FROM dunning_cases c WHERE c.stripe_invoice_id IS NOT NULL ORDER BY c.stripe_invoice_id
    """
)
_FAILED = text(
    """
    SELECT count(*) FROM invoices WHERE deleted_at IS NULL AND (overdue_at IS NOT NULL OR (
        collection_method IS DISTINCT FROM 'send_invoice' AND billing_reason IS DISTINCT FROM 'subscription_create'
        AND (payment_failed_at IS NOT NULL OR payment_action_required_at IS NOT NULL)))
    """
)
_STATUSES = text("SELECT stripe_customer_id, dunning_status FROM users ORDER BY 1")


@dataclass(frozen=True, slots=True)
class Debt:
    """An invoice that was not paid in time, as Stripe's books tell it."""

    id: str
    invoice: Row
    since: datetime
    """When Stripe told of it first."""
    last: datetime
    """When it told of it last."""
    until: datetime
    """When it was settled or given up at Stripe; the present while it is not."""
    ends: tuple[str | None, ...]
    """How a case about it may stand: outcomes, and None for one that goes on."""
    first: bool
    """Of a subscription's first payment: its customer stands at the checkout page, and is not dunned."""

    @property
    def recovered(self) -> int:
        """What of it came in, in minor units."""
        paid: int = self.invoice["amount_paid"]
        return paid or self.invoice["amount_due"]


@dataclass(slots=True)
class Dunning:
    """Both sides of dunning. `heard` is how late the ledger hears of something at most; None: nobody knows."""

    view: View
    heard: timedelta | None
    debts: dict[str, Debt]
    cases: dict[str, Row]
    failed: int
    """Invoices that were not paid in time, as the ledger counts them."""
    by_customer: dict[str | None, list[Row]] = field(default_factory=dict[str | None, list[Row]])

    @property
    def now(self) -> datetime:
        """The present at Stripe."""
        found = when(self.view.at)
        assert found is not None
        return found

    def must_be_dunned(self, debt: Debt) -> bool:
        """Whether the ledger has heard of the debt, however late it hears, while it was one."""
        if debt.first:
            return False
        return debt.ends[0] is None if self.heard is None else debt.until - debt.since > self.heard


async def read(conn: AsyncConnection, view: View, heard: timedelta | None) -> Dunning:
    """Gather what Stripe's books and the ledger say of dunning."""
    debts = {debt.id: debt for debt in _debts(view)}
    cases: dict[str, Row] = {row["stripe_invoice_id"]: dict(row) for row in (await conn.execute(_CASES)).mappings()}
    failed: int = (await conn.execute(_FAILED)).scalar_one()
    found = Dunning(view, heard, debts, cases, failed)
    for row in cases.values():
        found.by_customer.setdefault(row["stripe_customer_id"], []).append(row)
    return found


def charges_of(view: View, invoice: str) -> list[Row]:
    """The charges that paid something of an invoice."""
    payments = [one["payment"] for one in view.by("invoice_payment", "invoice", invoice) if one["status"] == "paid"]
    intents = [ref(one.get("payment_intent")) for one in payments]
    charges = [charge for one in intents if one is not None for charge in view.by("charge", "payment_intent", one)]
    charges += [view.whole("charge", one.get("charge")) for one in payments if one.get("charge") is not None]
    return [charge for charge in charges if charge["status"] == "succeeded"]


def _debts(view: View) -> Iterator[Debt]:
    for invoice in view.all("invoice"):
        sent = invoice["collection_method"] == "send_invoice"
        told = OVERDUE if sent else TOLD
        since, last = view.first(invoice["id"], *told), view.last(invoice["id"], *told)
        if since is not None and last is not None:
            first = invoice["billing_reason"] == "subscription_create" and not sent
            until, ends = _standing(view, invoice)
            yield Debt(invoice["id"], invoice, since, last, until, ends, first)


def _standing(view: View, invoice: Row) -> tuple[datetime, tuple[str | None, ...]]:
    """Since when an invoice is settled or given up (else: the present), and how its case may stand for that."""
    moments = invoice["status_transitions"]
    match invoice["status"]:
        case "paid":
            return _or_now(view, moments["paid_at"]), _paid(view, invoice)
        case "void":
            return _or_now(view, moments["voided_at"]), ("void", *GIVEN_UP)
        case "uncollectible":
            return _or_now(view, moments["marked_uncollectible_at"]), GIVEN_UP
        case _:
            return _unpaid(view, invoice)


def _paid(view: View, invoice: Row) -> tuple[str | None, ...]:
    if invoice["amount_paid"] == 0 and invoice["amount_due"] == 0:
        return ("void", *GIVEN_UP)  # a credit note or the balance took its place
    taken_back = any(charge["disputed"] or charge["amount_refunded"] for charge in charges_of(view, invoice["id"]))
    return ("recovered", "disputed", "refunded") if taken_back else ("recovered",)


def _unpaid(view: View, invoice: Row) -> tuple[datetime, tuple[str | None, ...]]:
    customer = view.whole("customer", ref(invoice["customer"]))
    subscription = view.whole("subscription", sub(invoice, "parent", "subscription_details", "subscription"))
    says = [str(part(one, "metadata").get("dunning")).strip().lower() for one in (customer, subscription)]
    exempt = ("exempt",) if "off" in says else ()
    if not customer or customer.get("deleted"):
        return _or_now(view, subscription.get("ended_at")), ("canceled", "lost", *exempt)
    if subscription.get("status") in GONE:
        unpaid = sub(subscription, "cancellation_details", "reason") == "payment_failed"
        ends = ("lost", *exempt) if unpaid else ("canceled", "lost", *exempt)
        return _or_now(view, subscription["ended_at"]), ends
    return _or_now(view, None), exempt or (None, "lost")


def _or_now(view: View, seconds: int | None) -> datetime:
    found = when(view.at if seconds is None else seconds)
    assert found is not None
    return found


def differences(found: Dunning) -> Iterator[Difference]:
    """Where the cases and their steps are not what Stripe's books ask for."""
    for debt in found.debts.values():
        if debt.id not in found.cases and found.must_be_dunned(debt):
            yield Difference("dunning_case", debt.id, "exists", there=True, here=False)
    for id_, case in found.cases.items():
        debt = found.debts.get(id_)
        if debt is None or (debt.first and _never_began(found.view, debt.invoice)):
            yield Difference("dunning_case", id_, "exists", there=False, here=True)
        else:
            yield from _case(found, debt, case)
            yield from _steps(found, debt, case)
    yield from _recovered(found)


def _never_began(view: View, invoice: Row) -> bool:
    name = sub(invoice, "parent", "subscription_details", "subscription")
    return view.whole("subscription", name).get("status") in {"incomplete", "incomplete_expired"}


def _case(found: Dunning, debt: Debt, case: Row) -> Iterator[Difference]:
    invoice = debt.invoice
    whole = invoice["amount_due"] + invoice["pre_payment_credit_notes_amount"]
    expected: dict[str, Any] = {
        "stripe_customer_id": ref(invoice["customer"]),
        "currency": invoice["currency"],
        "outcome": Either(_possible(found, debt, case)),
    }
    if case["outcome"] == "recovered":
        expected["recovered_cents"] = debt.recovered
    for name, there in expected.items():
        here = case[name]
        if not (here in there.values if isinstance(there, Either) else here == there):
            yield Difference("dunning_case", debt.id, name, there, here)
    if not 0 < case["amount_cents"] <= whole:
        yield Difference("dunning_case", debt.id, "amount_cents", whole, case["amount_cents"])
    # What was heard too late, when nothing was owed any more, moved nothing.
    latest = debt.since if found.must_be_dunned(debt) else debt.last
    if not debt.since <= case["failed_at"] <= latest:
        yield Difference("dunning_case", debt.id, "failed_at", debt.since, case["failed_at"])


def _possible(found: Dunning, debt: Debt, case: Row) -> tuple[str | None, ...]:
    """How the case may stand. It is lost for want of an answer only a month after its last step."""
    waited = found.now >= case["failed_at"] + DAY * case["steps"][-1]["day"] + LAST_LOOK
    acted = case["final_action"] == "cancel_at_stripe"
    keep = waited or acted or debt.ends[0] is not None
    return tuple(end for end in debt.ends if keep or end != "lost")


def _steps(found: Dunning, debt: Debt, case: Row) -> Iterator[Difference]:
    done: Rows = case["done"]
    steps: Rows = case["steps"]
    for position, one in enumerate(done):
        name = f"{debt.id} {one['position']}"
        at = when(one["at"])
        assert at is not None
        if one["position"] != position or position >= len(steps):
            yield Difference("dunning_step", name, "position", position, one["position"])
            return
        day = case["failed_at"] + DAY * steps[position]["day"]
        if one["outcome"] != "skipped" and at < day - timedelta(hours=2):  # a day of 23 hours, or two
            yield Difference("dunning_step", name, "taken_at", f"not before {day}", at)
        if one["outcome"] == "taken" and at > debt.until + A_MOVE and debt.ends[0] is not None:
            yield Difference("dunning_step", name, "taken_at", f"settled on {debt.until}", at)
    if case["done_step"] != len(done) - 1:
        yield Difference("dunning_case", debt.id, "done_step", len(done) - 1, case["done_step"])
    for position in range(len(done), len(steps)):
        if _was_due(found, debt, case, steps, position):
            yield Difference("dunning_step", f"{debt.id} {position}", "exists", there=True, here=False)


def _was_due(found: Dunning, debt: Debt, case: Row, steps: Rows, position: int) -> bool:
    """Whether a step's day had come, with all that may put it off, while the debt stood."""
    late, stopped = found.heard, case["paused_by"] is not None or case["outcome"] == "exempt"
    if late is None or stopped or case["acting"] is not None:
        return False  # whoever slept, and woke at night, writes in the morning
    step = steps[position]
    if step["action"] != "none":  # it leaves time after the last warning
        late += WEEKEND + DAY * (step["day"] - steps[position - 1]["day"] if position else 0)
    return case["failed_at"] + DAY * (step["day"] + case["grace_days"]) + WEEKEND + late < debt.until


def _recovered(found: Dunning) -> Iterator[Difference]:
    """What dunning brought in, by currency: once from Stripe's invoices, once from the cases."""
    there, here = money(found)
    for currency in sorted(there.keys() | here.keys()):
        if there.get(currency, 0) != here.get(currency, 0):
            yield Difference(
                "sum of dunning_cases", currency, "recovered", there.get(currency, 0), here.get(currency, 0)
            )


def money(found: Dunning) -> tuple[dict[str, int], dict[str, int]]:
    """What was recovered in minor units by currency: by Stripe's invoices, and by the cases.

    Of what was paid and then disputed or given back Stripe cannot tell which came first: there the case's word counts.
    """
    there: dict[str, int] = {}
    here: dict[str, int] = {}
    for id_, case in found.cases.items():
        debt = found.debts.get(id_)
        currency = case["currency"]
        here[currency] = here.get(currency, 0) + (case["recovered_cents"] or 0)
        if debt is not None and "recovered" in debt.ends and (len(debt.ends) == 1 or case["outcome"] == "recovered"):
            currency = debt.invoice["currency"]
            there[currency] = there.get(currency, 0) + debt.recovered
    return there, here


async def customers(conn: AsyncConnection, found: Dunning) -> list[Difference]:
    """Whose `users.dunning_status` is not what their invoices at Stripe make it."""
    wrong: list[Difference] = []
    for row in (await conn.execute(_STATUSES)).mappings():
        owed = found.by_customer.get(row["stripe_customer_id"], []) if row["stripe_customer_id"] else []
        there = _status(found, owed)
        if row["dunning_status"] not in there.values:
            wrong.append(
                Difference("customer", str(row["stripe_customer_id"]), "dunning_status", there, row["dunning_status"])
            )
    return wrong


def _status(found: Dunning, owed: Sequence[Row]) -> Either:
    """`blocked` after a final action while its invoice is unpaid, `warning` while a letter waits for an answer."""
    stands: set[str] = {"active"}
    maybe: set[str] = set()
    for case in owed:
        debt = found.debts.get(case["stripe_invoice_id"])
        taken = [one for one in case["done"] if one["outcome"] == "taken"]
        if debt is None or not taken or "recovered" in debt.ends:
            continue
        final = taken[-1]["position"] == len(case["steps"]) - 1 and case["steps"][-1]["action"] != "none"
        if final and case["acting"] is None and case["outcome"] != "exempt":
            (maybe if "void" in debt.ends else stands).add("blocked")
        elif debt.ends[0] is None and not _lost(found, debt):
            stands.add("warning")
    worst = next(name for name in ("blocked", "warning", "active") if name in stands)
    return Either((worst, *sorted(maybe)))


@dataclass(frozen=True, slots=True)
class Figures:
    """What became of invoices that were not paid in time, counted; `money` is in minor units by currency."""

    failed: int
    dunned: int
    recovered: int
    lost: int
    open: int
    money: Mapping[str, int]


def figures(found: Dunning) -> tuple[Figures, Figures]:
    """The same numbers twice: by Stripe's books, and by the cases."""
    there, here = money(found)
    cases = list(found.cases.values())
    dunned = [
        debt
        for debt in found.debts.values()
        if found.must_be_dunned(debt) or (debt.id in found.cases and not _never_began(found.view, debt.invoice))
    ]
    failed = [debt for debt in found.debts.values() if not debt.first]
    unpaid = [debt for debt in dunned if debt.invoice["status"] in {"open", "uncollectible"}]
    standing = [debt for debt in unpaid if debt.ends[0] is None and not _lost(found, debt)]
    return (
        Figures(
            len(failed),
            len(dunned),
            sum(debt.invoice["status"] == "paid" and "void" not in debt.ends for debt in dunned),
            len(unpaid) - len(standing),
            len(standing),
            there,
        ),
        Figures(
            found.failed,
            len(cases),
            sum(case["outcome"] in {"recovered", "disputed", "refunded"} for case in cases),
            sum(case["outcome"] in GIVEN_UP for case in cases),
            sum(case["outcome"] is None for case in cases),
            here,
        ),
    )


def _lost(found: Dunning, debt: Debt) -> bool:
    """Whether a case that Stripe's books leave open was given up by our own calendar."""
    case = found.cases.get(debt.id)
    return case is not None and case["outcome"] == "lost" and "lost" in _possible(found, debt, case)
