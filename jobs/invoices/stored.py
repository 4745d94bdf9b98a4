"""The PDF of a document as it was stored: whoever mails or shows it gets these very bytes, or is told why not."""

import hashlib

from db.documents import StoredDocument
from worker.errors import Refused, TryLater
from worker.ports import Files


async def pdf_of(files: Files, document: StoredDocument) -> bytes:
    """The stored bytes, which are those that were recorded.

    Raises TryLater when the storage is away or the document is not stored yet, and Refused when it was parked, its file
    is gone, or holds something else: then somebody changed what was issued.
    """
    if document.status == "dead":
        raise Refused(f"document {document.id} ({document.number}) was parked: {document.reason}")
    if document.sha256 is None:
        raise TryLater(f"document {document.id} ({document.number}) is not stored yet")
    try:
        content = await files.read(document.file)
    except FileNotFoundError:
        raise Refused(f"the file of {document.number} is gone: {files.url(document.file)}; bring it back") from None
    found = hashlib.sha256(content).hexdigest()
    if found != document.sha256:
        raise Refused(
            f"the file of {document.number} is not what was issued: {files.url(document.file)} has SHA-256 {found},"
            f" recorded was {document.sha256}; bring the original back"
        )
    return content
