"""An invoice of ours is voided: nobody is to pay it, and its number stays, so that the series has no gap."""

from db import documents, issuing
from jobs.invoices.document import Stamp
from jobs.invoices.rerender import rerender
from worker.deps import Tx
from worker.errors import Refused


async def void(tx: Tx, invoice_id: int, *, reason: str) -> bool:
    """Void one invoice of ours, and stage a copy of its document that is marked so. False: it was void already.

    Raises Refused when it is not ours, or money came for it: then a credit note is what the law wants. The document
    that was issued stays as it is; a letter that waits is not sent. The same thing can be invoiced anew, under the same
    key and another number.
    """
    invoice = await issuing.locked(tx.conn, invoice_id)
    if invoice is None:
        raise Refused(f"invoice {invoice_id} is none of ours: Stripe's are voided at Stripe")
    if not reason.strip():
        raise Refused("say why it is voided: auditors will ask")
    if invoice.status == "void":
        return False
    if invoice.status not in {"open", "uncollectible"} or invoice.amount_paid_cents:
        raise Refused(f"{invoice.number} is {invoice.status}: what was paid is given back by a credit note")
    await issuing.void(tx.conn, invoice_id, reason=reason.strip(), now=tx.now)
    if invoice.document_id is not None:
        document = await documents.get(tx.conn, invoice.document_id)
        if document is not None:
            await rerender(tx, document, stamp=Stamp.VOID, key=f"void/{document.key}")
    return True
