"""A staged letter is handed to its carrier and recorded; a second copy takes a crash between the two, and is told."""

import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from email.message import EmailMessage
from email.utils import parseaddr

from db import documents, emails
from db.documents import StoredDocument
from db.emails import StoredEmail
from db.states import EmailStatus, QueueName
from jobs.invoices.letterhead import letterhead, logos_of
from jobs.invoices.stored import pdf_of
from jobs.mail.brand import Brand, brand_from
from jobs.mail.guards import objection
from jobs.mail.render import Attachment, Rendered, message, render
from worker import telemetry
from worker.deps import Deps, Tx
from worker.errors import Refused, TryLater, Unclear, Undeliverable
from worker.failures import describe
from worker.registry import job
from worker.settings import ConfigurationError, Settings

OPERATORS = "operators"
"""Stands for BILLING_OPERATORS_MAIL in a letter's row: who decides on a letter knows no settings."""

TRIES = 24
"""The waits between them add up to about seven hours: a carrier's outage of an evening costs no letter."""

TIMEOUT = timedelta(minutes=4)
"""Above all that a carrier may take: its own limits tell whether it may have the letter, ours would not."""


UNCLEAR_WAIT = timedelta(minutes=15)
"""Before a letter is handed over again that may have been taken: greylisting servers and queues answer within that."""

MOST_UNCLEAR = 3
"""A carrier that takes letters and never says so must not flood one reader: then a person decides."""


@job(queue=QueueName.MAIL, tries=TRIES, timeout=TIMEOUT)
async def send_letter(d: Deps, email_id: int) -> None:
    """Send one letter. Losing it would be worse than a second copy under the same Message-ID."""
    async with d.tx() as tx:
        letter = await emails.begin(tx.conn, email_id)
        if letter is None:
            return
        why = await _silent(tx, letter, d.settings)
        attached = await documents.of_ids(tx.conn, letter.document_ids) if letter.document_ids else []
        pictures = await documents.assets(tx.conn, logos_of(attached)) if attached else {}
    async with _given_back_on_error(d, letter):
        why = why or await objection(d, letter)
    if why is not None:
        async with d.tx() as tx:
            await emails.not_sent(tx.conn, letter.id, EmailStatus.SUPPRESSED, why, tx.now)
        _count(letter, EmailStatus.SUPPRESSED)
        return
    async with _given_back_on_error(d, letter):
        _complete(letter, attached)
        pdfs = [Attachment(_file_name(each), await pdf_of(d.files, each)) for each in attached]
        brand = letterhead(_brand(d.settings), attached, pictures)
        rendered, envelope = _written(d.settings, letter, brand, pdfs)
    try:
        provider_id = await d.mailer.send(envelope)
    except Undeliverable as error:
        await _bounced(d, letter, error)
    except Unclear as error:
        raise await _unclear(d, letter, error) from error
    except (TryLater, Refused) as error:
        await _not_taken(d, letter, error)
        raise
    except Exception as error:
        raise await _unclear(d, letter, Unclear(describe(error))) from error
    else:
        async with d.last_tx() as tx:
            await emails.sent(tx.conn, letter.id, subject=rendered.subject, provider_id=provider_id, now=tx.now)
        _count(letter, EmailStatus.SENT)
        _count(letter, "possible_copy", letter.copies - 1)


@asynccontextmanager
async def _given_back_on_error(d: Deps, letter: StoredEmail) -> AsyncGenerator[None]:
    """What fails before the carrier was asked leaves no copy."""
    try:
        yield
    except Exception as error:
        await _not_taken(d, letter, error)
        raise


async def _silent(tx: Tx, letter: StoredEmail, settings: Settings) -> str | None:
    """Why this letter is not sent at all; None: it is."""
    if letter.template in settings.billing_stripe_mails:
        return "Stripe mails this (BILLING_STRIPE_MAILS)"
    age = timedelta(days=settings.billing_mail_max_age_days)
    if tx.now - letter.occurred_at > age:
        return f"old news: it happened on {letter.occurred_at:%Y-%m-%d} (BILLING_MAIL_MAX_AGE_DAYS is {age.days})"
    recipient = address_of(settings, letter.recipient)
    if letter.recipient == OPERATORS and not recipient:
        return "BILLING_OPERATORS_MAIL is not set: set it to hear of this by mail"
    return await emails.suppression(tx.conn, recipient)


def address_of(settings: Settings, recipient: str) -> str:
    """The address that a letter's `recipient` stands for; empty when nobody is named."""
    return parseaddr(settings.billing_operators_mail or "")[1] if recipient == OPERATORS else recipient


def _complete(letter: StoredEmail, attached: Sequence[StoredDocument]) -> None:
    """Raises Refused when a document that the letter speaks of is not there: without it the letter would be untrue."""
    missing = set(letter.document_ids or ()) - {each.id for each in attached}
    if missing:
        names = ", ".join(str(one) for one in sorted(missing))
        raise Refused(f"document {names} is to be attached, and is gone: restore the table documents from a backup")


def _file_name(document: StoredDocument) -> str:
    """What the PDF is called on the reader's disk."""
    return re.sub(r"[^\w.-]+", "-", document.number).strip("-.") + ".pdf"


def _brand(settings: Settings) -> Brand:
    try:
        return brand_from(settings)
    except ConfigurationError as error:
        raise Refused(str(error)) from error


def _written(
    settings: Settings, letter: StoredEmail, brand: Brand, attachments: Sequence[Attachment]
) -> tuple[Rendered, EmailMessage]:
    """The letter in its envelope; the same bytes for each copy of it. Raises Refused when it cannot be written."""
    rendered = render(letter.template, letter.context, locale=letter.locale, timezone=letter.timezone, brand=brand)
    domain = parseaddr(settings.mail_from)[1].rpartition("@")[2]
    envelope = message(
        rendered,
        sender=settings.mail_from,
        recipient=address_of(settings, letter.recipient),
        recipient_name=letter.recipient_name,
        message_id=f"<{letter.message_id}@{domain.encode('idna').decode()}>",
        date=letter.created_at,
        brand=brand,
        attachments=attachments,
    )
    return rendered, envelope


async def _bounced(d: Deps, letter: StoredEmail, error: Undeliverable) -> None:
    """The address was refused for good: no letter goes there any more."""
    async with d.last_tx() as tx:
        await emails.not_sent(tx.conn, letter.id, EmailStatus.BOUNCED, error.reason, tx.now)
        address = address_of(d.settings, letter.recipient)
        await emails.suppress(tx.conn, address, reason=error.reason, source="carrier", email_id=letter.id, now=tx.now)
    _count(letter, EmailStatus.BOUNCED)


async def _unclear(d: Deps, letter: StoredEmail, told: Unclear) -> Refused | Unclear:
    """The carrier may have it: wait long before the next copy, and after the last one leave it to a person."""
    last = _is_last(d) or letter.copies >= MOST_UNCLEAR
    reason = told.reason
    if last:
        job = d.lease.job_id if d.lease is not None else "JOB"
        reason = (
            f"the recipient may have it: {letter.copies} times nobody knows whether it was taken ({told.reason}). "
            f"Look for {letter.message_id} in the carrier's log, or ask the recipient; if it did not arrive, "
            f"`billing mail resend {letter.id}` sends it; if it did, `billing jobs cancel {job}` puts it away"
        )
    async with d.tx() as tx:
        await emails.unclear(tx.conn, letter.id, reason, last=last)
    _count(letter, "unclear")
    if last:
        _count(letter, EmailStatus.DEAD)
        return Refused(reason)
    return Unclear(reason, after=max(told.after or timedelta(), UNCLEAR_WAIT))


async def _not_taken(d: Deps, letter: StoredEmail, error: Exception) -> None:
    """Record what became of a letter that its carrier did not take."""
    reason = error.reason if isinstance(error, TryLater | Refused) else describe(error)
    dead = _is_last(d) or isinstance(error, Refused)
    async with d.tx() as tx:
        if dead:
            await emails.not_sent(tx.conn, letter.id, EmailStatus.DEAD, reason, tx.now)
        else:
            await emails.give_back(tx.conn, letter.id, reason)
    _count(letter, EmailStatus.DEAD if dead else "later")


def _is_last(d: Deps) -> bool:
    return d.lease is not None and d.lease.attempts + 1 >= TRIES


def _count(letter: StoredEmail, outcome: str, by: int = 1) -> None:
    if by:
        telemetry.EMAILS.labels(letter.template, outcome).inc(by)
