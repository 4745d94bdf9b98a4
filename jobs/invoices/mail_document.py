"""A document that is stored goes to its customer by mail, once, with its PDF attached."""

import msgspec

from db import collecting, credit_notes, documents, issuing, manual_payments
from db.documents import StoredDocument
from db.emails import StoredEmail
from db.money import Money
from jobs.invoices.credit_note_parts import Parts
from jobs.invoices.document import Document, Kind
from jobs.invoices.receipts import payment_of
from jobs.mail.contexts import Amount, CreditNote, Days, Line, PartnerInvoice, Receipt
from jobs.mail.guards import guards
from jobs.mail.letters import Recipient, stage_letter
from worker.deps import Deps, Tx

MOST_LINES = 30
"""A letter with more lines than that tells the sum only: the PDF has them all."""

USAGE = frozenset({"partner", "overage"})
"""The kinds of invoice whose letter speaks of the use of the API."""


async def stage_mail(tx: Tx, document: StoredDocument) -> int | None:
    """Stage the letter that takes `document` to its customer. None: it has one already, or nobody is to have it.

    An invoice that was voided before its PDF was there is not sent. Stripe's credit notes, and receipts of what Stripe
    collected, have no letter of ours that takes them.
    """
    if document.kind == Kind.CREDIT_NOTE and document.stripe_object_id is None and document.copy_of is None:
        return await _stage_note(tx, document)
    if document.kind == Kind.RECEIPT and document.invoice_id is not None and document.copy_of is None:
        return await _stage_receipt(tx, document, document.invoice_id)
    if document.kind != Kind.INVOICE:
        return None
    says = msgspec.convert(document.content, Document)
    if says.buyer.email is None or says.due_on is None:
        return None
    kind = link = None
    if document.invoice_id is not None:
        status, kind = await issuing.status(tx.conn, document.invoice_id)
        if status == "void":
            return None
        link = await collecting.link_of(tx.conn, document.invoice_id)
    context = letter(says, of_usage=kind in USAGE, link=link)
    return await _to_its_customer(tx, document, says, "partner_invoice", context)


async def _to_its_customer(
    tx: Tx, document: StoredDocument, says: Document, name: str, context: CreditNote | PartnerInvoice | Receipt
) -> int | None:
    """Stage the letter `name`, whose attachment is the document, once."""
    assert says.buyer.email is not None, "who has no address is told nothing"
    return await stage_letter(
        tx,
        name,
        context,
        key=f"document/{document.id}",
        to=Recipient(says.buyer.email, says.buyer.name, says.locale, says.timezone, document.user_id),
        occurred_at=tx.now,  # the news is that it can be read: an invoice that waited for its storage is no old news
        stripe_invoice_id=document.stripe_invoice_id if document.kind == Kind.INVOICE else None,
        document_ids=[document.id],
    )


async def _stage_note(tx: Tx, document: StoredDocument) -> int | None:
    """Stage the letter that takes a credit note of ours to its customer."""
    says = msgspec.convert(document.content, Document)
    note = await credit_notes.get(tx.conn, int(document.key.split("/")[1]))
    if note is None or says.buyer.email is None or says.reference is None:
        return None
    parts, sent = msgspec.convert(note.parts, Parts), note.out_of_band_cents

    def amount(minor: int) -> Amount | None:
        return Amount(minor, says.currency) if minor else None

    context = CreditNote(
        name=says.buyer.name,
        number=says.number,
        invoice=says.reference.number,
        amount=Amount(says.total_minor, says.currency),
        reason=says.reason,
        set_off=amount(parts.set_off),
        kept=amount(parts.money + parts.credits - sent),
        paid_out=amount(sent),
        link=await collecting.link_of(tx.conn, note.invoice_id),
        attached=True,
    )
    return await _to_its_customer(tx, document, says, "credit_note", context)


async def _stage_receipt(tx: Tx, document: StoredDocument, invoice_id: int) -> int | None:
    """Stage the letter that takes the receipt of a payment past Stripe to its customer."""
    says = msgspec.convert(document.content, Document)
    stands = await manual_payments.standing(tx.conn, invoice_id, lock=False)
    payment_id = payment_of(document.key)
    if stands is None or payment_id is None or says.buyer.email is None or says.reference is None:
        return None
    if await manual_payments.voided(tx.conn, payment_id):
        return None
    (came,) = says.payments
    context = Receipt(
        name=says.buyer.name,
        number=says.reference.number,
        amount=Amount(came.amount_minor, says.currency),
        paid_at=came.paid_at,
        remaining=Amount(stands.remaining, says.currency) if stands.remaining else None,
        link=stands.hosted_invoice_url if stands.remaining else None,
        attached=True,
    )
    return await _to_its_customer(tx, document, says, "receipt", context)


@guards("document")
async def still_owed(d: Deps, letter: StoredEmail) -> str | None:
    """A letter that waited for its carrier, or is sent again, asks nobody to pay what was voided meanwhile.

    What was paid meanwhile is still sent: it is the invoice that the customer's books need. A receipt is not, when the
    payment turned out to be a mistake.
    """
    async with d.tx() as tx:
        document = await documents.get(tx.conn, int(letter.key.split("/")[1]))
        if document is None or document.invoice_id is None:
            return None  # a document that is gone parks the letter, where its attachment is fetched
        payment_id = payment_of(document.key)
        if payment_id is not None and await manual_payments.voided(tx.conn, payment_id):
            return f"the payment that {document.number} confirms was voided"
        status, _ = await issuing.status(tx.conn, document.invoice_id)
    return f"{document.number} was voided: nobody is to pay it" if status == "void" else None


def letter(says: Document, *, of_usage: bool, link: str | None = None) -> PartnerInvoice:
    """What the letter about an invoice tells: lines, discounts and credits that add up to what is due.

    `link` is where it can be paid, where the invoice itself does not say so: it was written at Stripe after it.
    """
    assert says.due_on is not None

    def amount(minor: int) -> Amount:
        return Amount.of(Money(minor, says.currency))

    off = [each for each in (*says.discounts, *says.credits) if each.minor]
    lines = [Line(description=line.description, amount=amount(line.amount_minor)) for line in says.lines]
    lines += [Line(description=each.name, amount=amount(-each.minor)) for each in off]
    added = sum(tax.amount_minor for tax in says.taxes if not tax.inclusive)
    period = None
    if of_usage and says.period is not None:
        period = Days.of(says.period.start, says.period.end, says.timezone)
    return PartnerInvoice(
        name=says.buyer.name,
        number=says.number,
        amount=amount(says.due_minor),
        link=says.pay_url or link,
        period=period,
        due_on=says.due_on,
        lines=lines if len(lines) <= MOST_LINES else [],
        tax=amount(added) if added else None,
        attached=True,
    )
