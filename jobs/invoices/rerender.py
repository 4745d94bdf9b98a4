"""A document that was issued is never rendered again: who wants another one gets a copy, which is marked as one."""

import secrets

import msgspec

from db import documents
from db.documents import NewDocument, StoredDocument
from jobs.invoices.document import Stamp
from jobs.invoices.render_document import frozen, stage_rendering
from worker.deps import Tx
from worker.errors import Refused


async def rerender(tx: Tx, document: StoredDocument, *, stamp: Stamp = Stamp.COPY, key: str | None = None) -> int:
    """Stage a copy of what `document` says, marked with `stamp`. Returns the copy's id; the original stays as it is.

    `key` tells which copy it is (`void/invoice/17`): the same one is made once; None: it is one more. It shows what was
    frozen, by today's template. Raises Refused when the original's row was changed since it was issued.

    Whether the original's own bytes are those that were issued, `jobs.invoices.stored.pdf_of` tells.
    """
    original = document
    if document.copy_of is not None:
        found = await documents.get(tx.conn, document.copy_of)
        if found is None:
            raise Refused(f"document {document.id} is a copy of {document.copy_of}, which is gone")
        original = found
    says = frozen(original)
    copy = NewDocument(
        key=key or f"copy/{original.id}/{secrets.token_hex(8)}",
        kind=original.kind,
        number=original.number,
        locale=original.locale,
        currency=original.currency,
        total_cents=original.total_cents,
        content=msgspec.to_builtins(says),
        issued_at=original.issued_at,
        invoice_id=original.invoice_id,
        stripe_invoice_id=original.stripe_invoice_id,
        stripe_object_id=original.stripe_object_id,
        user_id=original.user_id,
        stamp=stamp,
        copy_of=original.id,
    )
    made = await documents.add(tx.conn, copy, now=tx.now)
    if made is not None:
        await stage_rendering(tx, [made])
        return made
    same = await documents.of_key(tx.conn, copy.key)
    assert same is not None
    return same.id
