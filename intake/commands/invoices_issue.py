"""An invoice that was written by hand, as a draft to look at, or issued for good."""

from datetime import datetime
from typing import Any

import msgspec

from db.operators.actions import Actor, write_audit
from jobs.invoices.document import Document, Stamp
from jobs.invoices.drafts import Draft, read_draft
from jobs.invoices.issue import Issued, issue, livemode, preview
from jobs.invoices.page import request
from jobs.invoices.sellers import Sellers, sellers_from
from worker.adapters.pdf import PdfPool
from worker.deps import Tx
from worker.errors import Refused
from worker.settings import ConfigurationError, Settings, load_settings

BUILDER = "jobs.invoices.page:build"
NUMBER = "DRAFT"
"""Stands where the number will: a draft has none, and must not seem to have one."""


def _given(raw: bytes, settings: Settings) -> tuple[Draft, Sellers]:
    try:
        return read_draft(raw), sellers_from(settings)
    except ConfigurationError as error:
        raise Refused(str(error)) from error


async def draft(raw: bytes, now: datetime, *, pdf: bool) -> tuple[Document, bytes | None]:
    """What an invoice would say if it were issued at `now`; with `pdf` as a PDF that is marked as a draft.

    Raises Refused with all that is wrong.
    """
    settings = load_settings()
    given, sellers = _given(raw, settings)
    document = msgspec.structs.replace(preview(given, sellers, now=now), number=NUMBER)
    if not pdf:
        return document, None
    logo = sellers.profile(given.seller).logo
    pictures = {logo.sha256: logo.content} if logo is not None else {}
    pool = PdfPool(BUILDER, processes=1, seconds=settings.billing_pdf_seconds, megabytes=settings.billing_pdf_megabytes)
    try:
        return document, await pool.render(request(document, pictures, stamp=Stamp.DRAFT))
    finally:
        await pool.close()


async def issue_by_hand(tx: Tx, raw: bytes, settings: Settings, by: Actor) -> Issued:
    """Issue it, and write down who did. Raises Refused with all that is wrong: then nothing is left of it."""
    given, sellers = _given(raw, settings)
    made = await issue(tx, given, sellers, livemode=livemode(settings))
    if made.new:
        await write_audit(tx.conn, by, "invoices.issue", made.number, now=tx.now, details={"key": given.key})
    return made


def as_json(document: Document) -> Any:
    """What it says, as JSON."""
    return msgspec.to_builtins(document)
