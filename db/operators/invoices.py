"""Operators look at invoices and documents: ours and Stripe's, by any of their names, with what became of the PDF."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from db import documents
from db.documents import StoredDocument
from db.operators.actions import NotAllowedError, UnknownIdsError
from db.operators.filters import one_of, period, plain

Row = dict[str, Any]


class InvoiceStatus(StrEnum):
    """Where an invoice stands (https://docs.stripe.com/invoicing/overview)."""

    DRAFT = "draft"
    OPEN = "open"
    PAID = "paid"
    VOID = "void"
    UNCOLLECTIBLE = "uncollectible"


class DocumentStatus(StrEnum):
    """Where a document's PDF stands."""

    WAITING = "waiting"
    STORED = "stored"
    DEAD = "dead"


class DocumentKind(StrEnum):
    """What a document is."""

    INVOICE = "invoice"
    CREDIT_NOTE = "credit_note"
    RECEIPT = "receipt"


@dataclass(frozen=True, slots=True)
class InvoiceFilter:
    """Invoices by what is known of them; None leaves a field open. `since` ≤ finalized (or created) < `until`."""

    status: str | None = None
    customer: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    @classmethod
    def read(
        cls,
        *,
        now: datetime,
        status: str | None = None,
        customer: str | None = None,
        since: str | None = None,
        until: str | None = None,
    ) -> "InvoiceFilter":
        """The filter that was typed. Raises BadFilterError."""
        return cls(
            one_of("status", status, InvoiceStatus),
            plain("customer", customer),
            *period(since, until, now),
        )


@dataclass(frozen=True, slots=True)
class DocumentFilter:
    """Documents by what is known of them; None leaves a field open. `since` ≤ issued < `until`."""

    status: str | None = None
    kind: str | None = None
    customer: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    @classmethod
    def read(
        cls,
        *,
        now: datetime,
        status: str | None = None,
        kind: str | None = None,
        customer: str | None = None,
        since: str | None = None,
        until: str | None = None,
    ) -> "DocumentFilter":
        """The filter that was typed. Raises BadFilterError."""
        return cls(
            one_of("status", status, DocumentStatus),
            one_of("kind", kind, DocumentKind),
            plain("customer", customer),
            *period(since, until, now),
        )


_COLUMNS = """
    i.id, i.invoice_number, i.stripe_invoice_id, i.kind, i.status, i.stripe_customer_id, i.api_key_prefix,
    coalesce(u.name, i.customer_name) AS name, coalesce(u.email, i.customer_email) AS email, i.currency,
    i.subtotal_cents, i.discount_cents, i.tax_cents, i.total_cents, i.amount_due_cents, i.amount_paid_cents,
    i.amount_remaining_cents, coalesce(i.finalized_at, i.stripe_created_at) AS dated_at, i.due_date, i.paid_at,
    i.voided_at, i.void_reason, i.invoice_pdf_url, i.hosted_invoice_url, d.id AS document_id,
    d.status AS document_status, d.reason AS document_reason
"""
_FROM = """
    FROM invoices i
    LEFT JOIN users u ON u.id = coalesce(
        i.user_id, (SELECT k.id FROM users k WHERE k.stripe_customer_id = i.stripe_customer_id)
    )
    LEFT JOIN LATERAL (
        SELECT o.id, o.status, o.reason FROM documents o
        WHERE (o.invoice_id = i.id OR o.stripe_object_id = i.stripe_invoice_id)
          AND o.kind = 'invoice' AND o.copy_of IS NULL
        ORDER BY o.id LIMIT 1
    ) d ON true
"""
_LIST = text(
    f"""
    SELECT {_COLUMNS} {_FROM}
    WHERE (CAST(:status AS text) IS NULL OR i.status = :status)
      AND (CAST(:customer AS text) IS NULL
           OR :customer IN (i.stripe_customer_id, i.api_key_prefix, u.email, i.customer_email))
      AND (CAST(:since AS timestamptz) IS NULL OR coalesce(i.finalized_at, i.stripe_created_at) >= :since)
      AND (CAST(:until AS timestamptz) IS NULL OR coalesce(i.finalized_at, i.stripe_created_at) < :until)
      AND (CAST(:after AS bigint) IS NULL OR i.id < :after) AND i.status IS NOT NULL
    ORDER BY i.id DESC LIMIT :limit
    """
)
_ONE = text(f"SELECT {_COLUMNS}, i.line_items, i.line_items_complete, i.notes, i.description {_FROM} WHERE i.id = :id")
_NAMED = text(
    """
    SELECT id, stripe_invoice_id, invoice_number FROM invoices
    WHERE stripe_invoice_id = :ref OR invoice_number = :ref OR stripe_number = :ref OR own_key = :ref
       OR id = CAST(:id AS bigint)
    ORDER BY id
    """
)
_DOCUMENTS = text(
    """
    SELECT d.id, d.key, d.kind, d.number, d.status, d.reason, d.invoice_id, d.stripe_invoice_id, d.stripe_object_id,
           u.stripe_customer_id, u.name, u.email, d.locale, d.currency, d.total_cents, d.stamp, d.attempts, d.job_id,
           d.file, d.sha256, d.size_bytes, d.copy_of, d.issued_at, d.created_at, d.stored_at
    FROM documents d LEFT JOIN users u ON u.id = d.user_id
    WHERE (CAST(:status AS text) IS NULL OR d.status = :status) AND (CAST(:kind AS text) IS NULL OR d.kind = :kind)
      AND (CAST(:customer AS text) IS NULL OR :customer IN (u.stripe_customer_id, u.email))
      AND (CAST(:since AS timestamptz) IS NULL OR d.issued_at >= :since)
      AND (CAST(:until AS timestamptz) IS NULL OR d.issued_at < :until)
      AND (CAST(:after AS bigint) IS NULL OR d.id < :after)
    ORDER BY d.id DESC LIMIT :limit
    """
)
_AUDIT = text(
    """
    SELECT created_at, who, action, why FROM audit_log
    WHERE target = ANY(CAST(:targets AS text[])) AND action LIKE 'invoices.%' ORDER BY id
    """
)


async def list_invoices(
    conn: AsyncConnection, wanted: InvoiceFilter, *, limit: int, after: int | None = None
) -> list[Row]:
    """Invoices, newest first; `after` is the id of the last one of the page before."""
    asked = {"status": wanted.status, "customer": wanted.customer, "since": wanted.since, "until": wanted.until}
    return _rows(await conn.execute(_LIST, {**asked, "limit": limit, "after": after}))


async def list_documents(
    conn: AsyncConnection, wanted: DocumentFilter, *, limit: int, after: int | None = None
) -> list[Row]:
    """Documents, newest first; `after` is the id of the last one of the page before."""
    asked = {
        "status": wanted.status,
        "kind": wanted.kind,
        "customer": wanted.customer,
        "since": wanted.since,
        "until": wanted.until,
    }
    return _rows(await conn.execute(_DOCUMENTS, {**asked, "limit": limit, "after": after}))


@dataclass(frozen=True, slots=True)
class Found:
    """What a name stands for: an invoice with all that was written about it, or a document without an invoice row."""

    invoice: Row | None
    documents: tuple[StoredDocument, ...]
    main: StoredDocument | None
    """The document that was meant: an invoice's own, or the credit note or receipt that was named."""

    @property
    def target(self) -> str:
        """What the audit log calls it."""
        if self.invoice is not None:
            return self.invoice["stripe_invoice_id"] or self.invoice["invoice_number"] or str(self.invoice["id"])
        return self.documents[0].key


async def find(conn: AsyncConnection, ref: str) -> Found:
    """The invoice or document of a name: our number, our id, Stripe's id (`in_…`, `cn_…`, `ch_…`), a key.

    Raises UnknownIdsError, and NotAllowedError when several things have this name.
    """
    name = plain("id", ref.strip())
    if name is None:
        raise UnknownIdsError("invoice", [ref])
    digits = int(name) if name.isascii() and name.isdigit() and len(name) <= 18 else None  # noqa: PLR2004 - of a bigint
    named = (await conn.execute(_NAMED, {"ref": name, "id": digits})).all()
    if len(named) > 1:
        raise NotAllowedError([f"{name} may be {_either(named)}: name it by its id"])
    if named:
        return await of_id(conn, named[0][0])
    found = [one for one in await documents.find(conn, name) if name in {one.number, one.stripe_object_id, one.key}]
    originals = [one for one in found if one.copy_of is None] or found[:1]
    if not originals:
        raise UnknownIdsError("invoice or document", [ref])
    if len(originals) > 1:
        raise NotAllowedError([f"{name} may be {' or '.join(one.key for one in originals)}: name it by its key"])
    return Found(None, tuple(found), originals[0])


async def of_id(conn: AsyncConnection, invoice_id: int) -> Found:
    """The invoice of an id of ours. Raises UnknownIdsError."""
    rows = _rows(await conn.execute(_ONE, {"id": invoice_id}))
    if not rows:
        raise UnknownIdsError("invoice", [str(invoice_id)])
    about = await documents.of_invoice(conn, invoice_id=invoice_id, stripe_invoice_id=rows[0]["stripe_invoice_id"])
    own = [one for one in about if one.kind == "invoice" and one.copy_of is None]
    return Found(rows[0], tuple(about), own[0] if own else None)


def _either(named: Any) -> str:
    return " or ".join(f"invoice {one[0]} ({one[2] or one[1] or 'a draft'})" for one in named)


async def audit_of(conn: AsyncConnection, found: Found) -> list[Row]:
    """What operators did about it, oldest first."""
    targets = {found.target, *(one.key for one in found.documents)}
    return _rows(await conn.execute(_AUDIT, {"targets": sorted(targets)}))


def _rows(found: Any) -> list[Row]:
    return [dict(row) for row in found.mappings()]
