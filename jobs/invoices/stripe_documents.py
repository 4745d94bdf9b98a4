"""Where it is switched on, Stripe's invoices, credit notes and payments are written as documents of ours, each once."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import msgspec
import structlog

from db import documents, told
from db.collecting import MARK
from db.documents import NewDocument
from db.states import QueueName
from jobs.follow import follows
from jobs.invoices.document import Document, Kind
from jobs.invoices.facturx import obstacles
from jobs.invoices.from_stripe import invoice_document
from jobs.invoices.from_stripe_ask import Material, Source, material
from jobs.invoices.from_stripe_other import (
    credit_note_document,
    outside_receipt,
    paid_by,
    paid_outside,
    receipt_document,
)
from jobs.invoices.from_stripe_parts import Known
from jobs.invoices.render_document import stage_rendering
from jobs.invoices.sellers import SellerProfile, sellers_from
from jobs.mail.words import negotiate
from jobs.rules.documents import problems
from jobs.stripe_objects import Obj, StripeEvent
from worker.deps import Deps, Tx
from worker.errors import Refused
from worker.registry import job
from worker.settings import ConfigurationError

log = structlog.get_logger()

OUTSIDE = "outside"
"""A receipt of an invoice that was paid out of band: no charge tells of it."""

TRIES = 12

_SWITCHES: Mapping[str, str] = {
    "invoice": "invoice",
    "credit_note": "credit_note",
    "receipt": "receipt",
    OUTSIDE: "receipt",
}
"""Which word of BILLING_STRIPE_DOCUMENTS switches a kind on."""


@follows("invoice.finalized", "invoice.paid", "credit_note.created", "charge.succeeded", "charge.captured")
async def stripe_documents(tx: Tx, events: Sequence[StripeEvent]) -> None:
    """Stage a job for each object that wants a document; repeated and late events find that it was staged before."""
    for event, kind in wanted(events, switched_on=tx.documents):
        name = event.object.id()
        call = write_stripe_document.call(kind, name, event.id, livemode=event.livemode)
        # The event tells what it staged: the transaction is of a whole batch.
        await replace(tx, staged_by=event.id).stage(call, unique_key=f"stripe_document/{kind}/{name}")


def wanted(events: Iterable[StripeEvent], *, switched_on: frozenset[str]) -> Iterator[tuple[StripeEvent, str]]:
    """The events that a document follows from, each with its kind.

    A charge is one payment, and so has one receipt, whatever it pays; what was paid out of band has no charge, and is
    told by `invoice.paid`. Connected accounts sell in their own name: nothing is written for them.
    """
    for event in events:
        if not event.account and (kind := _kind(event)) is not None and _SWITCHES[kind] in switched_on:
            yield event, kind


def _kind(event: StripeEvent) -> str | None:
    obj = event.object
    match event.type:
        case "invoice.finalized":
            # One that collects an invoice of ours is no second invoice about the same thing.
            return None if MARK in obj.sub("metadata").json else "invoice"
        case "credit_note.created":
            return "credit_note"
        case "invoice.paid":
            # Since basil the event does not tell how it was paid; 0 is known before and since.
            known = obj.flag("paid_out_of_band")
            return OUTSIDE if known or (known is None and obj.number("amount_paid") > 0) else None
        case _:
            return "receipt" if paid_by(obj) > 0 else None


@job(queue=QueueName.PDF, tries=TRIES, timeout=timedelta(seconds=120))
async def write_stripe_document(d: Deps, kind: str, object_id: str, event_id: str, *, livemode: bool) -> None:
    """Ask Stripe for the object as it is now, and freeze what its document says; the PDF is rendered by a job after it.

    Refused, and so parked with why, when the document would not add up: nothing is frozen then, and a retry asks again.
    """
    if _SWITCHES.get(kind) not in d.settings.billing_stripe_documents:
        return
    source = Source(kind, object_id, event_id, livemode=livemode)
    key = key_of(source)
    async with d.tx() as tx:
        if await documents.of_key(tx.conn, key) is not None:
            return
    found = await material(d, source)
    if kind == OUTSIDE and paid_outside(Obj(found.json, "invoice")) <= 0:
        return  # charges brought all of it, and have receipts of their own
    try:
        profile = sellers_from(d.settings).profile()
    except ConfigurationError as error:
        raise Refused(str(error)) from error
    async with d.tx() as tx:
        reader = await told.reader(tx.conn, found.customer)
        coupons = await told.coupon_names(tx.conn, found.coupons, account="", livemode=livemode)
    locale = negotiate(reader.locale if reader else None, profile.locale)
    # Days are the seller's, as on invoices of our own: the tax period that a sale is in hangs on them.
    known = Known(profile.seller, str(locale).replace("_", "-"), profile.timezone, found.tax_rates, coupons)
    document = sayable(sound(made(source, found, known), object_id))
    await _issue(d, source, document, profile, found, user_id=reader.user_id if reader else None)


def key_of(source: Source) -> str:
    """What the document is for."""
    return f"{'receipt' if source.kind == OUTSIDE else source.kind}/{source.object_id}"


def made(source: Source, found: Material, known: Known) -> Document:
    """The document of what was found. Raises Refused, Malformed."""
    if source.kind == "invoice":
        return invoice_document(found.json, known, as_finalized=True)
    if source.kind == OUTSIDE:
        return outside_receipt(found.json, known)
    if source.kind == "credit_note":
        if found.invoice is None:
            raise Refused(f"the invoice of {source.object_id} is not known")
        return credit_note_document(found.json, found.invoice, known)
    return receipt_document(found.json, found.invoice, known)


def sound(document: Document, object_id: str) -> Document:
    """The document, if it adds up. Raises Refused with all that does not."""
    wrong = problems(document, by_stripe=True)
    if wrong:
        raise Refused(f"the document of {object_id} does not add up: {'; '.join(wrong)}")
    return document


def sayable(document: Document) -> Document:
    """The document, without its XML where EN 16931 cannot say it: the invoice is Stripe's, and is out already.

    Why is frozen with it, for who asks where the XML is.
    """
    if not document.seller.factur_x or document.kind is Kind.RECEIPT or not (why := obstacles(document)):
        return document
    log.warning("a document of Stripe's gets no Factur-X", number=document.number, why=why)
    plain = msgspec.structs.replace(document.seller, factur_x=False)
    return msgspec.structs.replace(document, seller=plain, without_factur_x=tuple(why))


async def _issue(
    d: Deps, source: Source, document: Document, profile: SellerProfile, found: Material, *, user_id: int | None
) -> None:
    obj = Obj(found.json, source.kind)
    about = Obj(found.invoice, "invoice").ref("id") if found.invoice is not None else None
    new = NewDocument(
        key=key_of(source),
        kind=document.kind.value,
        number=document.number,
        locale=document.locale,
        currency=document.currency,
        total_cents=document.total_minor,
        content=msgspec.to_builtins(document),
        issued_at=_issued_at(document.kind, obj, outside=source.kind == OUTSIDE),
        stripe_invoice_id=about,
        stripe_object_id=source.object_id,
        user_id=user_id,
    )
    async with d.last_tx() as tx:
        if profile.logo is not None:
            logo = {profile.logo.sha256: (profile.logo.media_type, profile.logo.content)}
            await documents.keep_assets(tx.conn, logo, now=tx.now)
        document_id = await documents.add(tx.conn, new, now=tx.now)
        if document_id is None:
            return  # a twin was first
        await stage_rendering(tx, [document_id])


def _issued_at(kind: Kind, obj: Obj, *, outside: bool) -> datetime:
    moments = obj.sub("status_transitions")
    if outside:
        seconds = moments.integer("paid_at")
    elif kind is Kind.INVOICE:
        seconds = obj.integer("effective_at") or moments.integer("finalized_at")
    else:
        seconds = obj.integer("effective_at")
    return datetime.fromtimestamp(seconds or obj.need("created"), UTC)
