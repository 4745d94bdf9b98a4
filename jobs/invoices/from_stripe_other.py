"""Stripe's credit notes and payments become credit notes and receipts of ours, with Stripe's own amounts."""

from jobs.invoices.document import Amount, Document, Kind, Line, Party, Payment, Reference, Stamp
from jobs.invoices.from_stripe import invoice_document
from jobs.invoices.from_stripe_parts import Known, address, amounts, buyer, instant, line, taxes, taxes_in
from jobs.invoices.from_stripe_words import REASONS, Word
from jobs.invoices.receipts import confirmed
from jobs.stripe_objects import Json, Obj
from worker.errors import Refused


def credit_note_document(json: Json, invoice: Json, known: Known) -> Document:
    """The document of a credit note (https://docs.stripe.com/api/credit_notes/object), complete, on its `invoice`.

    It is shown as issued, also after it was voided. Raises Refused for incomplete lines, Malformed.
    """
    obj, on = Obj(json, "credit_note"), Obj(invoice, "invoice")
    number = obj.link("number") or obj.id()
    if not obj.complete("lines"):
        raise Refused(f"{obj.id()} came with the first of its lines only: ask Stripe for all")
    total, issued = obj.need("total"), obj.integer("effective_at") or obj.need("created")
    exclusive = sum(tax.minor for tax in taxes_in(obj) if not tax.inclusive)
    bears = taxes(obj, known, taxable=total - exclusive)
    shipping = obj.sub("shipping_cost").number("amount_subtotal") if obj.number("amount_shipping") else 0
    subtotal = obj.need("subtotal") + shipping
    off = _off_all(obj, known, subtotal + exclusive - total)
    rows = [line(entry, known, bears=bears) for entry in obj.each("lines")]
    if shipping:
        rows.append(Line(description=known.word(Word.SHIPPING), amount_minor=shipping))
    # What is off single lines is in Stripe's subtotal already, and not told apart from what is off the whole.
    if rest := sum(row.amount_minor for row in rows) - subtotal:
        rows.append(Line(description=known.word(Word.DISCOUNT), amount_minor=-rest))
    finalized = on.integer("effective_at") or on.sub("status_transitions").integer("finalized_at")
    dated = known.day(finalized) if finalized is not None and finalized <= issued else None
    notes = [note for note in (obj.words("memo"),) if note]
    return Document(
        kind=Kind.CREDIT_NOTE,
        number=number,
        currency=(obj.text("currency") or "").lower(),
        locale=known.locale,
        timezone=known.timezone,
        issued_on=known.day(issued),
        seller=known.seller,
        buyer=buyer(on),
        lines=tuple(rows),
        subtotal_minor=subtotal,
        total_minor=total,
        due_minor=0,
        discount_minor=sum(one.minor for one in off),
        tax_minor=sum(tax.amount_minor for tax in bears.shown),
        discounts=off,
        taxes=bears.shown,
        credits=_settled(obj, known, total),
        reference=Reference(on.link("number") or on.id(), dated),
        notes=tuple(notes),
        reason=known.word(Word(reason)) if (reason := obj.text("reason")) in REASONS else reason,
    )


def _off_all(obj: Obj, known: Known, wanted: int) -> tuple[Amount, ...]:
    """The discounts that lie between subtotal and total: by name where the names add up to that, else in one."""
    named = tuple(amount for _, amount in amounts(obj.each("discount_amounts"), {}, known))
    if sum(one.minor for one in named) == wanted:
        return named
    return (Amount(known.word(Word.DISCOUNT), wanted),) if wanted > 0 else ()


def _settled(obj: Obj, known: Known, total: int) -> tuple[Amount, ...]:
    """How the customer got it: off an open invoice, back, to the balance, or otherwise. It adds up to the total."""
    parts: dict[Word, int] = {
        Word.OFF_INVOICE: obj.integer("pre_payment_amount") or (total if obj.text("type") == "pre_payment" else 0),
        Word.REFUNDED: sum(one.number("amount_refunded") for one in obj.each("refunds")),
        Word.OUTSIDE: obj.number("out_of_band_amount"),
    }
    rest = total - sum(parts.values())
    if rest < 0:
        parts, rest = {}, total
    if rest and obj.ref("customer_balance_transaction") is not None and obj.ref("refund") is None:
        parts[Word.TO_BALANCE] = rest
    elif rest and obj.ref("refund") is not None and obj.ref("customer_balance_transaction") is None:
        parts[Word.REFUNDED] = parts.get(Word.REFUNDED, 0) + rest
    elif rest:
        parts[Word.OUTSIDE] = parts.get(Word.OUTSIDE, 0) + rest
    return tuple(Amount(known.word(which), minor) for which, minor in parts.items() if minor > 0)


def receipt_document(json: Json, invoice: Json | None, known: Known) -> Document:
    """The receipt of one payment, a charge (https://docs.stripe.com/api/charges/object), for `invoice` or for nothing.

    Where the charge paid all that was due it repeats the invoice's lines, else it has one line. Refunds are told by
    credit notes, not here. Raises Refused for a charge that brought no money, Malformed.
    """
    obj = Obj(json, "charge")
    amount = paid_by(obj)
    if amount <= 0:
        raise Refused(f"{obj.id()} brought no money: there is nothing to confirm")
    created, paid_at = obj.need("created"), instant(obj, "created")
    assert paid_at is not None  # it was needed a line before
    number = obj.link("receipt_number") or obj.id()
    payment = Payment(paid_at, amount, method=_method(obj), reference=obj.id())
    if invoice is not None:
        return _for_invoice(invoice, payment, known, number=number, created=created)
    paid_for = obj.words("description") or known.word(Word.PAYMENT)
    details = obj.sub("billing_details")
    return Document(
        kind=Kind.RECEIPT,
        number=number,
        currency=(obj.text("currency") or "").lower(),
        locale=known.locale,
        timezone=known.timezone,
        issued_on=known.day(created),
        seller=known.seller,
        buyer=Party(
            name=details.words("name")
            or details.link("email")
            or obj.link("receipt_email")
            or obj.ref("customer")
            or "?",
            address=address(details.sub("address")),
            email=details.link("email") or obj.link("receipt_email"),
            phone=details.link("phone"),
        ),
        lines=(Line(description=paid_for, amount_minor=amount),),
        subtotal_minor=amount,
        total_minor=amount,
        due_minor=0,
        payments=(payment,),
        stamp=Stamp.PAID,
    )


def outside_receipt(invoice: Json, known: Known) -> Document:
    """The receipt of what was paid for an invoice out of band: Stripe saw no charge, and tells only that it is paid.

    Raises Refused where charges brought all of it.
    """
    obj = Obj(invoice, "invoice")
    paid_at = instant(obj.sub("status_transitions"), "paid_at")
    paid, amount = obj.sub("status_transitions").integer("paid_at"), paid_outside(obj)
    if paid_at is None or paid is None or amount <= 0:
        raise Refused(f"{obj.id()} was not paid out of band: there is nothing to confirm")
    return _for_invoice(invoice, Payment(paid_at, amount), known, number=obj.link("number") or obj.id(), created=paid)


def paid_outside(invoice: Obj) -> int:
    """What was paid of an invoice without a charge, in minor units; 0 as long as that is not known for sure.

    Before basil `paid_out_of_band` tells it; since then the payments do, which Stripe shows when it is asked for them
    (https://docs.stripe.com/changelog/basil/2025-03-31/add-support-for-multiple-partial-payments-on-invoices).
    """
    if invoice.text("status") != "paid":
        return 0
    paid = invoice.number("amount_due") - invoice.number("amount_remaining")
    if invoice.flag("paid_out_of_band"):
        return paid
    if "payments" not in invoice or not invoice.complete("payments") or "paid_out_of_band" in invoice:
        return 0
    charged = 0
    for one in invoice.each("payments"):
        how = one.sub("payment")
        if one.text("status") == "paid" and (how.ref("payment_intent") or how.ref("charge")):
            charged += one.number("amount_paid")
    return max(paid - charged, 0)


def paid_by(charge: Obj) -> int:
    """What a charge brought, in minor units: an authorisation alone brings nothing."""
    if charge.text("status") != "succeeded" or charge.flag("captured") is False:
        return 0
    captured = charge.integer("amount_captured")
    return captured if captured is not None else charge.number("amount")


def _for_invoice(invoice: Json, payment: Payment, known: Known, *, number: str, created: int) -> Document:
    return confirmed(invoice_document(invoice, known, as_finalized=True), payment, number=number, on=known.day(created))


_NAMES = {
    "visa": "Visa",
    "mastercard": "Mastercard",
    "amex": "American Express",
    "diners": "Diners Club",
    "jcb": "JCB",
    "unionpay": "UnionPay",
    "cartes_bancaires": "Cartes Bancaires",
    "sepa_debit": "SEPA",
    "us_bank_account": "ACH",
    "bacs_debit": "Bacs",
    "au_becs_debit": "BECS",
    "paypal": "PayPal",
    "ideal": "iDEAL",
    "link": "Link",
}


def _method(charge: Obj) -> str | None:
    """`Visa •••• 4242`: https://docs.stripe.com/api/charges/object#charge_object-payment_method_details."""
    details = charge.sub("payment_method_details")
    kind = details.text("type")
    if kind is None:
        return None
    inner = details.sub(kind)
    name = inner.text("brand") or kind
    shown = _NAMES.get(name, name.replace("_", " ").title())
    last4 = inner.text("last4")
    return f"{shown} •••• {last4}" if last4 else shown
