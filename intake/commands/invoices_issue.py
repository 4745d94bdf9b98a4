"""An invoice that was written by hand, as a draft to look at, or issued for good."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy.ext.asyncio import AsyncEngine

from db import issued, issuing
from db.operators.actions import Actor, write_audit
from intake.dunning import money
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


@dataclass(frozen=True, slots=True)
class Drafted:
    """What an invoice would say; `before` is the number that its key was invoiced under, with the same total."""

    document: Document
    pdf: bytes | None
    before: str | None


async def draft(engine: AsyncEngine, raw: bytes, now: datetime, *, pdf: bool) -> Drafted:
    """What an invoice would say if it were issued at `now`; with `pdf` also as a PDF that is marked as a draft.

    Raises Refused with all that is wrong, also with what only the books know: a key that was invoiced otherwise, a
    customer that there is not. The database is asked only about those.
    """
    settings = load_settings()
    given, sellers = _given(raw, settings)
    document = msgspec.structs.replace(preview(given, sellers, now=now), number=NUMBER)
    before = await _by_the_books(engine, given, document)
    content = await _drawn(given, sellers, document, settings) if pdf else None
    return Drafted(document, content, before)


async def _by_the_books(engine: AsyncEngine, given: Draft, document: Document) -> str | None:
    """The number that the draft's key was invoiced under before, over the same. Raises Refused, as `issue` would."""
    if given.key is None and given.user_id is None:
        return None
    async with engine.connect() as conn:
        if given.user_id is not None and not await issued.users(conn, [given.user_id]):
            raise Refused(f"user_id: there is no customer {given.user_id}")
        before = (await issuing.of_keys(conn, [given.key])).get(given.key) if given.key is not None else None
        if before is None:
            return None
        total, currency = (await issued.totals(conn, [before.id]))[before.id]
    if (total, currency) != (document.total_minor, document.currency):
        raise Refused(
            f"key: {given.key!r} was invoiced as {before.number} over {money(total, currency)}, and not over"
            f" {money(document.total_minor, document.currency)}: void that one first, or name another key"
        )
    return before.number


async def _drawn(given: Draft, sellers: Sellers, document: Document, settings: Settings) -> bytes:
    logo = sellers.profile(given.seller).logo
    pictures = {logo.sha256: logo.content} if logo is not None else {}
    pool = PdfPool(BUILDER, processes=1, seconds=settings.billing_pdf_seconds, megabytes=settings.billing_pdf_megabytes)
    try:
        return await pool.render(request(document, pictures, stamp=Stamp.DRAFT))
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
