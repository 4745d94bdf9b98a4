"""A payment that was recorded by mistake is voided: it stays in the books, and its invoice is owed again."""

from dataclasses import dataclass

import msgspec

from db import collecting, credit_notes, manual_payments
from db import credits as credit_rows
from db.manual_payments import ManualPayment, Standing
from db.operators.actions import Actor, write_audit
from jobs.dunning.follow import reopen_own
from jobs.invoices.credit_note_parts import Parts
from jobs.invoices.own_receipt import void_receipt
from jobs.invoices.pay import settled
from jobs.partners import credits as credits_
from jobs.partners.credits import money
from jobs.partners.push_to_stripe import stage_push
from worker.deps import Tx
from worker.errors import Refused


@dataclass(frozen=True, slots=True)
class Voided:
    """A payment that was voided; `new` is False when it was before. Amounts are minor units."""

    payment: ManualPayment
    invoice: Standing
    new: bool = True
    receipt_id: int | None = None
    """The copy of its receipt that says so; None: there was no receipt."""


async def _named(tx: Tx, invoice: Standing, reference: str) -> ManualPayment:
    """The payment of this reference: one that counts, else the last one that was voided."""
    known = await manual_payments.of_invoice(tx.conn, invoice.id)
    same = [one for one in known if one.reference == reference.strip()]
    if not same:
        told = ", ".join(one.reference for one in known if one.counts) or "none"
        raise Refused(f"{reference} was not recorded for {invoice.number}; recorded are: {told}")
    return next((one for one in same if one.counts), same[-1])


async def _over(tx: Tx, payment: ManualPayment, by: Actor) -> int:
    """Take back the credit that came of what was paid too much; how much that was."""
    if payment.credit_id is None:
        return 0
    credit = await credit_rows.get(tx.conn, payment.credit_id, lock=True)
    assert credit is not None, "credits are never removed"
    await credits_.take_back(tx, credit.id, None, by)
    return credit.amount_cents


async def _possible(tx: Tx, invoice: Standing, payment: ManualPayment, over: int) -> None:
    """Raises Refused, with what to do, where something stands on this money that cannot be undone."""
    left = invoice.paid - (payment.amount_cents - over)
    notes = await credit_notes.of_invoice(tx.conn, invoice.id)
    parts = [(note.number, msgspec.convert(note.parts, Parts).money) for note in notes]
    back = sum(minor for _, minor in parts)
    if left < back:
        numbers = ", ".join(number for number, minor in parts if minor)
        raise Refused(
            f"{numbers} gave back {money(back, invoice.currency)} of what was paid for {invoice.number}, and a credit"
            " note stays: leave the payment, void the credit that the note gave (`billing credits void`), and invoice"
            " what is still owed anew (`billing invoices issue`)"
        )
    if invoice.overpaid > over and payment.amount_cents > over:
        others = [one for one in await manual_payments.of_invoice(tx.conn, invoice.id) if one.counts and one.credit_id]
        twice = money(invoice.overpaid - over, invoice.currency)
        if others and sum(1 for one in others if one.id != payment.id):
            named = ", ".join(one.reference for one in others if one.id != payment.id)
            raise Refused(
                f"{twice} came for {invoice.number} too much, and became a credit: void {named} first, then this one,"
                f" and record {named} again"
            )
        raise Refused(
            f"{twice} came for {invoice.number} through Stripe as well, and became a credit: leave this payment, and"
            " void that credit (`billing credits list`, `billing credits void`): then the invoice is paid, once"
        )


async def void_payment(tx: Tx, invoice_id: int, reference: str, *, by: Actor) -> Voided:
    """Take a payment back that was recorded by mistake: the invoice is open again over what it brought.

    What dunning had closed because of it goes on where it stood, with as many days more as it was closed; what had been
    collected at Stripe is collected again. The credit that came of a surplus is taken back, and a copy of the receipt
    says that it is void. Raises Refused, with what to do, when that credit was spent, or a credit note gave back what
    was paid; and without a reason.
    """
    why = (by.why or "").strip()
    if not why:
        raise Refused("say why the payment is void: auditors will ask")
    seen = await manual_payments.standing(tx.conn, invoice_id, lock=False)
    if seen is None:
        raise Refused(f"invoice {invoice_id} is none of ours, or a draft: Stripe's payments are refunded at Stripe")
    named = await _named(tx, seen, reference)
    over = await _over(tx, named, by)  # credits before invoices, everywhere
    invoice = await manual_payments.standing(tx.conn, invoice_id)
    assert invoice is not None, "what was issued is never removed"
    # That very one: a twin may have voided it meanwhile, and the same reference may be recorded rightly since.
    payment = next(one for one in await manual_payments.of_invoice(tx.conn, invoice.id) if one.id == named.id)
    if not payment.counts:
        return Voided(payment, invoice, new=False)
    await _possible(tx, invoice, payment, over)
    await manual_payments.void(tx.conn, payment.id, why=why, by=by.who, now=tx.now)
    stands = await manual_payments.stand(
        tx.conn,
        invoice,
        paid=invoice.paid - (payment.amount_cents - over),
        overpaid=invoice.overpaid - over,
        credited=invoice.credited,
        paid_at=invoice.paid_at or tx.now,
        now=tx.now,
    )
    details = {
        "amount_cents": payment.amount_cents,
        "currency": invoice.currency,
        "reference": payment.reference,
        "credit": payment.credit_id,
    }
    await write_audit(tx.conn, by, "invoices.void_payment", invoice.number, now=tx.now, details=details)
    await _followed(tx, stands)
    copy = await void_receipt(tx, payment.id)
    return Voided(payment, stands, receipt_id=copy)


async def _followed(tx: Tx, stands: Standing) -> None:
    """What had ended because the invoice was paid goes on."""
    if stands.remaining:
        await reopen_own(tx, stands.id)
        if any(one.withdrawn for one in await collecting.of_ours(tx.conn, stands.id)):
            await stage_push(tx, stands.id)
    await settled(tx, stands.id)
