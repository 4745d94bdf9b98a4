"""A document becomes a PDF, once: rendered, stored for ever, recorded, and its letter staged."""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import timedelta

import msgspec

from db import documents, issuing
from db.documents import StoredDocument
from db.states import QueueName
from jobs.invoices.document import Document, Stamp
from jobs.invoices.mail_document import stage_mail
from jobs.invoices.page import request
from worker.deps import Deps, Tx
from worker.errors import Refused, TryLater
from worker.failures import describe
from worker.registry import job

TRIES = 24
"""The waits between them add up to about seven hours: a storage's outage of an evening parks no document."""

TIMEOUT = timedelta(minutes=15)
"""Above BILLING_PDF_SECONDS at its most, and all that a storage may take."""


@job(queue=QueueName.PDF, tries=TRIES, timeout=TIMEOUT)
async def render_document(d: Deps, document_id: int) -> None:
    """Render and store one document. A crash at any point leaves one file, one row, and one letter."""
    async with d.tx() as tx:
        document = await documents.begin(tx.conn, document_id)
        if document is None:
            return
        logo = document.content.get("seller", {}).get("logo")
        pictures = await documents.assets(tx.conn, [logo] if logo else [])
    try:
        content = await _stored(d, document, pictures)
    except Exception as error:
        await _not_stored(d, document, error)
        raise
    async with d.last_tx() as tx:
        sha256 = hashlib.sha256(content).hexdigest()
        await documents.stored(tx.conn, document.id, sha256=sha256, size=len(content), now=tx.now)
        if document.copy_of is None and document.kind == "invoice" and document.invoice_id is not None:
            await issuing.pdf_at(tx.conn, document.invoice_id, d.files.url(document.file), now=tx.now)
        if document.mailed:
            await stage_mail(tx, document)


async def _stored(d: Deps, document: StoredDocument, pictures: Mapping[str, bytes]) -> bytes:
    """The bytes that are in the storage under the document's name: those of before, or else new ones."""
    says = frozen(document)
    for name, picture in pictures.items():
        if hashlib.sha256(picture).hexdigest() != name:
            raise Refused(f"the picture {name} was changed after it was issued: restore its row of document_assets")
    if document.attempts > 1:  # who tried before may have stored it, and died before it was recorded
        try:
            return _adopted(document, await d.files.read(document.file))
        except FileNotFoundError:
            pass
    stamp = Stamp(document.stamp) if document.stamp else None
    content = await d.pdf.render(request(says, pictures, stamp=stamp))
    if await d.files.create(document.file, content, media_type="application/pdf"):
        return content
    return _adopted(document, await d.files.read(document.file))


def _adopted(document: StoredDocument, content: bytes) -> bytes:
    if not content.startswith(b"%PDF-"):
        raise Refused(f"{document.file} is no PDF, and was not written by us: look who else writes to the storage")
    return content


def frozen(document: StoredDocument) -> Document:
    """What a document says. Raises Refused when its row was changed since it was issued, or cannot be read any more."""
    if documents.content_sha256(document.content) != document.content_sha256:
        raise Refused(f"document {document.id} ({document.number}) was changed after it was issued: restore its row")
    try:
        return msgspec.convert(document.content, Document)
    except msgspec.ValidationError as error:
        raise Refused(f"document {document.id} ({document.number}) cannot be read: {error}") from error


async def _not_stored(d: Deps, document: StoredDocument, error: Exception) -> None:
    """Record why there is no PDF yet, or that it is parked until an operator runs its job again."""
    reason = error.reason if isinstance(error, TryLater | Refused) else describe(error)
    last = d.lease is not None and d.lease.attempts + 1 >= TRIES
    async with d.tx() as tx:
        await documents.not_stored(tx.conn, document.id, reason, dead=last or isinstance(error, Refused))


async def stage_rendering(tx: Tx, ids: Sequence[int]) -> None:
    """Stage the rendering of documents, once each, in one statement for all."""
    if ids:
        await documents.stage(tx.conn, ids, job=render_document.name, queue=QueueName.PDF, now=tx.wall, by=tx.staged_by)
        tx.rings.add(QueueName.PDF)
