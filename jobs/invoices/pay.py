"""Money comes for an invoice of ours, past Stripe or through an invoice at Stripe: it is paid when nothing remains."""

from dataclasses import dataclass
from datetime import datetime

import structlog

from db import collecting, manual_payments
from db import credits as credit_rows
from db.credits import NewCredit
from db.manual_payments import Standing
from db.money import Money
from db.operators.actions import Actor, write_audit
from db.usage import Owner
from jobs.dunning.follow import follow_own
from jobs.invoices.own_receipt import Came, write_receipt
from jobs.partners.credits import money
from jobs.partners.push_to_stripe import follow_ours, look_into_collection
from jobs.rules.documents import LARGEST
from worker.deps import Tx
from worker.errors import Refused

log = structlog.get_logger()

PAYABLE = frozenset({"open", "uncollectible", "paid"})
LONGEST = 200
"""Characters of a method and of a reference."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """A payment as it was recorded; `new` is False when it was recorded before. Amounts are minor units."""

    payment_id: int
    invoice: Standing
    new: bool = True
    over: int = 0
    credit_id: int | None = None
    """The credit that the customer got for what was paid too much."""
    receipt_id: int | None = None
    """The document that confirms it; None: it was recorded before, or the invoice has no document."""


async def settled(tx: Tx, invoice_id: int) -> None:
    """What remains of an invoice of ours changed: dunning and what is collected at Stripe follow."""
    await follow_own(tx, invoice_id)
    await follow_ours(tx, invoice_id)


def owner_of(invoice: Standing) -> Owner | None:
    """Whose credit a surplus would be; None: an invoice by hand to somebody who is neither partner nor customer."""
    if invoice.api_key_prefix is not None:
        return Owner(api_key_prefix=invoice.api_key_prefix)
    return Owner(user_id=invoice.user_id) if invoice.user_id is not None else None


def _problems(amount: Money, method: str, reference: str, paid_at: datetime, now: datetime) -> list[str]:
    found: list[str] = []
    if not 0 < amount.minor <= LARGEST:
        found.append(f"amount: {money(amount.minor, amount.currency)} is not above 0")
    for name, value in (("method", method), ("reference", reference)):
        if not value.strip() or len(value) > LONGEST or not value.isprintable():
            found.append(f"{name}: is one line of at most {LONGEST} characters, and not empty")
    if paid_at > now:
        found.append(f"on: {paid_at:%Y-%m-%d} is to come: record what has arrived")
    return found


async def _payable(tx: Tx, invoice_id: int) -> Standing:
    invoice = await manual_payments.standing(tx.conn, invoice_id)
    if invoice is None:
        raise Refused(f"invoice {invoice_id} is none of ours, or a draft: Stripe's are paid at Stripe")
    if invoice.status not in PAYABLE:
        raise Refused(f"{invoice.number} is {invoice.status}: give the money back, or record it for the right invoice")
    return invoice


async def record(
    tx: Tx,
    invoice_id: int,
    amount: int,
    *,
    method: str,
    reference: str,
    paid_at: datetime,
    by: Actor,
    over_as_credit: bool = False,
) -> Recorded:
    """Record `amount` (minor units of the invoice's currency) that came past Stripe at `paid_at` (aware).

    The same `reference` is recorded once. Several payments may make up the whole; when nothing remains, the invoice is
    paid. Raises Refused, with what to do, when it is void, Stripe's, or less is due: `over_as_credit` keeps the
    surplus as a credit of kind `refund`.
    """
    invoice = await _payable(tx, invoice_id)
    wrong = _problems(Money(amount, invoice.currency), method, reference, paid_at, tx.now)
    if wrong:
        raise Refused("; ".join(wrong))
    reference, method = reference.strip(), method.strip()
    known = await manual_payments.of_invoice(tx.conn, invoice.id)
    before = next((one for one in known if one.counts and one.reference == reference), None)
    if before is not None:
        if before.amount_cents != amount:
            came = money(before.amount_cents, invoice.currency)
            raise Refused(
                f"{reference} was recorded for {invoice.number} over {came}, and not over"
                f" {money(amount, invoice.currency)}: name another reference if it is another payment"
            )
        return Recorded(before.id, invoice, new=False)
    over = max(0, amount - invoice.remaining)
    if over and not over_as_credit:
        raise Refused(
            f"{money(invoice.remaining, invoice.currency)} of {invoice.number} are due, and"
            f" {money(amount, invoice.currency)} came: record what is due and pay the rest back, or keep the rest as a"
            " credit (--over-as-credit)"
        )
    credit = await _surplus(tx, invoice, over, reason=f"paid too much for {invoice.number}: {reference}", by=by.who)
    made = await manual_payments.add(
        tx.conn,
        invoice,
        amount,
        method=method,
        reference=reference,
        paid_at=paid_at,
        by=by.who,
        now=tx.now,
        credit_id=credit,
    )
    stands = await _received(tx, invoice, amount, over, paid_at=paid_at)
    details = {"amount_cents": amount, "currency": invoice.currency, "reference": reference, "credit": credit}
    await write_audit(tx.conn, by, "invoices.paid", invoice.number, now=tx.now, details=details)
    await settled(tx, invoice.id)
    mistakes = tuple(one.id for one in known if not one.counts)
    came = Came(made, len(known) + 1, amount, method, reference, paid_at, mistakes)
    return Recorded(made, stands, over=over, credit_id=credit, receipt_id=await write_receipt(tx, stands, came))


async def _surplus(tx: Tx, invoice: Standing, over: int, *, reason: str, by: str) -> int | None:
    """Keep what was paid too much as a credit. Raises Refused when nobody is there to have it."""
    if not over:
        return None
    owner = owner_of(invoice)
    if owner is None:
        raise Refused(f"{invoice.number} belongs to neither a partner nor a customer: pay the surplus back")
    new = NewCredit(owner=owner, kind="refund", currency=invoice.currency, amount_cents=over, reason=reason)
    return await credit_rows.add(tx.conn, new, by=by, now=tx.now)


async def _received(tx: Tx, invoice: Standing, amount: int, over: int, *, paid_at: datetime) -> Standing:
    return await manual_payments.stand(
        tx.conn,
        invoice,
        paid=invoice.paid + amount - over,
        overpaid=invoice.overpaid + over,
        credited=invoice.credited,
        paid_at=paid_at,
        now=tx.now,
    )


async def collected(tx: Tx, invoice_id: int) -> None:
    """Let an invoice of ours follow what Stripe collected for it: exactly once, in whatever order its events come.

    What came in all, past Stripe and through it, is reckoned from the rows, and only what is new is put to the
    invoice. What came twice, or for a void one, becomes a credit, and operators are told.
    """
    invoice = await manual_payments.standing(tx.conn, invoice_id)
    if invoice is None:
        return
    by_hand = await manual_payments.of_invoice(tx.conn, invoice.id)
    by_stripe = await collecting.of_ours(tx.conn, invoice.id)
    received = sum(one.amount_cents for one in by_hand if one.counts) + sum(one.collected for one in by_stripe)
    new = received - invoice.paid - invoice.overpaid
    if new <= 0:
        return
    newest = max((one for one in by_stripe if one.collected), key=lambda one: one.paid_at or tx.now)
    over = new if invoice.status == "void" else max(0, new - invoice.remaining)
    if over:
        await _told_of_surplus(tx, invoice, over, newest.stripe_invoice_id)
    if invoice.status == "void":
        await manual_payments.came_for_void(tx.conn, invoice.id, invoice.overpaid + over, now=tx.now)
    else:
        await _received(tx, invoice, new, over, paid_at=newest.paid_at or tx.now)
    details = {"amount_cents": new, "currency": invoice.currency, "reference": newest.stripe_invoice_id}
    await write_audit(tx.conn, Actor("stripe"), "invoices.paid", invoice.number, now=tx.now, details=details)
    await settled(tx, invoice.id)


async def _told_of_surplus(tx: Tx, invoice: Standing, over: int, name: str) -> None:
    """Money came twice: nobody can refuse it any more, so it is kept, and a person looks into it."""
    try:
        reason = f"paid too much for {invoice.number}: {name}"
        credit = await _surplus(tx, invoice, over, reason=reason, by="stripe")
        kept = f"it is kept as credit {credit}: leave it, or give it back at Stripe and void the credit"
    except Refused:
        kept = "give it back at Stripe"
    state = "void" if invoice.status == "void" else "paid already"
    why = f"{money(over, invoice.currency)} came through {name} for {invoice.number}, which is {state}: {kept}"
    log.warning("money came twice", invoice=invoice.number, stripe_invoice=name, minor=over)
    call = look_into_collection.call(invoice.id, name, why)
    await tx.stage(call, unique_key=f"collection/{name}/over/{invoice.overpaid + over}")
