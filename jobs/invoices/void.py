"""An invoice of ours is voided: nobody is to pay it, and its number stays, so that the series has no gap."""

from db import credit_notes, documents, issuing
from jobs.invoices.document import Stamp
from jobs.invoices.pay import settled
from jobs.invoices.rerender import rerender
from jobs.partners import credits as credits_
from jobs.partners import late
from worker.deps import Tx
from worker.errors import Refused


async def void(tx: Tx, invoice_id: int, *, reason: str) -> bool:
    """Void one invoice of ours, and stage a copy of its document that is marked so. False: it was void already.

    Raises Refused when it is not ours, or money came for it: then a credit note is what the law wants. The document
    that was issued stays as it is; a letter that waits is not sent. The same thing can be invoiced anew, under the same
    key and another number. Credits that paid for it can be spent again; what collects it at Stripe is withdrawn.
    """
    await late.hold(tx, invoice_id)
    await credits_.lock(tx, invoice_id)  # credits before invoices, everywhere
    invoice = await issuing.locked(tx.conn, invoice_id)
    if invoice is None:
        raise Refused(f"invoice {invoice_id} is none of ours: Stripe's are voided at Stripe")
    if not reason.strip():
        raise Refused("say why it is voided: auditors will ask")
    if invoice.status == "void":
        return False
    if invoice.status == "draft" or invoice.amount_paid_cents:  # what credits alone have paid brought no money
        raise Refused(f"{invoice.number} is {invoice.status}: what was paid is given back by a credit note")
    if notes := await credit_notes.of_invoice(tx.conn, invoice_id):
        raise Refused(f"{invoice.number} has the credit note {notes[0].number}: credit the rest of it, too")
    await late.freed(tx, invoice_id)
    await issuing.void(tx.conn, invoice_id, reason=reason.strip(), now=tx.now)
    await credits_.give_back(tx, invoice_id)
    if invoice.document_id is not None:
        document = await documents.get(tx.conn, invoice.document_id)
        if document is not None:
            await rerender(tx, document, stamp=Stamp.VOID, key=f"void/{document.key}")
    await settled(tx, invoice_id)
    return True
