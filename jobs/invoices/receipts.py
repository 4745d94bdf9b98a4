"""What came for an invoice is confirmed: the receipt says what the invoice does, or, of a part, only how much came."""

from datetime import date

from msgspec.structs import replace

from jobs.invoices.document import Document, Kind, Line, Payment, Reference, Stamp
from jobs.invoices.from_stripe_words import Word, word


def confirmed(invoice: Document, payment: Payment, *, number: str, on: date) -> Document:
    """The receipt of `payment` for `invoice`, issued `on` that day of the seller.

    Where the payment is all that was due it repeats the invoice's lines, else it has one line.
    """
    # A merchant may date an invoice ahead (`effective_at`): then the receipt names it without its date.
    about = Reference(invoice.number, invoice.issued_on if invoice.issued_on <= on else None)
    common = {
        "kind": Kind.RECEIPT,
        "number": number,
        "issued_on": on,
        "due_minor": 0,
        "payments": (payment,),
        "reference": about,
        "stamp": Stamp.PAID,
        "due_on": None,
        "terms": None,
        "pay_url": None,
    }
    amount = payment.amount_minor
    if invoice.due_minor == amount:
        return replace(invoice, **common)
    paid_for = word(Word.PAYMENT_FOR, invoice.locale, number=invoice.number)
    return replace(
        invoice,
        **common,
        lines=(Line(description=paid_for, amount_minor=amount),),
        subtotal_minor=amount,
        total_minor=amount,
        discount_minor=0,
        tax_minor=0,
        discounts=(),
        taxes=(),
        credits=(),
        period=None,
    )


def key_of(payment_id: int) -> str:
    """What names the receipt of a payment among all documents."""
    return f"receipt/payment-{payment_id}"


def payment_of(document_key: str) -> int | None:
    """The payment past Stripe that a receipt confirms; None: it is none of these."""
    told = document_key.removeprefix("receipt/payment-")
    return int(told) if told != document_key and told.isdecimal() else None
