"""Documents that were issued, what they say, and where their PDF is kept; and the series that number our own."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Identity, Index, LargeBinary, SmallInteger, text
from sqlalchemy.orm import Mapped, mapped_column

from db.models.base import Base


class IssuedDocument(Base):
    """One invoice, credit note or receipt, or a marked copy. What it says and its stored bytes never change.

    `key` tells what it is for (`invoice/17`, `receipt/ch_…`, `copy/…`): issuing it twice is issuing it once. Triggers
    refuse to change or remove what was issued, here and in the two tables below (migration 0004).
    """

    __tablename__ = "documents"
    __table_args__ = (
        CheckConstraint("kind IN ('invoice','credit_note','receipt')", name="kind"),
        CheckConstraint("status IN ('waiting','stored','dead')", name="status"),
        CheckConstraint(
            "(status = 'stored') = (sha256 IS NOT NULL) AND (sha256 IS NULL) = (size_bytes IS NULL)"
            " AND (sha256 IS NULL) = (stored_at IS NULL)",
            name="stored",
        ),
        CheckConstraint("status <> 'dead' OR reason IS NOT NULL", name="dead"),
        CheckConstraint("invoice_id IS NOT NULL OR stripe_object_id IS NOT NULL", name="about"),
        Index("ix_documents_invoice_id", "invoice_id", postgresql_where=text("invoice_id IS NOT NULL")),
        Index(
            "ix_documents_stripe_invoice_id",
            "stripe_invoice_id",
            postgresql_where=text("stripe_invoice_id IS NOT NULL"),
        ),
        Index(
            "ix_documents_stripe_object_id", "stripe_object_id", postgresql_where=text("stripe_object_id IS NOT NULL")
        ),
        Index("ix_documents_number", "number"),
        Index("ix_documents_user_id", "user_id", postgresql_where=text("user_id IS NOT NULL")),
        Index("ix_documents_issued_at", "issued_at"),
        Index("ix_documents_status", "status", postgresql_where=text("status <> 'stored'")),
        Index("ix_documents_copy_of", "copy_of", postgresql_where=text("copy_of IS NOT NULL")),
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    key: Mapped[str] = mapped_column(unique=True)
    kind: Mapped[str]
    invoice_id: Mapped[int | None] = mapped_column(ForeignKey("invoices.id"))
    stripe_invoice_id: Mapped[str | None]
    """The invoice at Stripe that it is, or is about."""
    stripe_object_id: Mapped[str | None]
    """The object at Stripe that it was made of: an invoice, a credit note, a charge; None: it is our own."""
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    number: Mapped[str]
    locale: Mapped[str]
    currency: Mapped[str]
    total_cents: Mapped[int]
    content: Mapped[dict[str, Any]]
    """Frozen: the JSON of `jobs.invoices.document.Document`."""
    content_sha256: Mapped[str]
    stamp: Mapped[str | None]
    """What is stamped across it beside what `content` says: `copy`, `void`."""
    mailed: Mapped[bool] = mapped_column(server_default=text("false"))
    """Whether a letter takes it to the customer once it is stored."""
    status: Mapped[str] = mapped_column(server_default="waiting")
    reason: Mapped[str | None]
    """Why it waits longer than it should, or was parked."""
    attempts: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    job_id: Mapped[int | None]
    """The job that renders it."""
    file: Mapped[str] = mapped_column(unique=True)
    """Its name in the storage, chosen when it is issued; nobody can guess it."""
    sha256: Mapped[str | None]
    """Of the stored bytes, in hexadecimal."""
    size_bytes: Mapped[int | None]
    copy_of: Mapped[int | None] = mapped_column(ForeignKey("documents.id"))
    issued_at: Mapped[datetime]
    created_at: Mapped[datetime]
    stored_at: Mapped[datetime | None]


class DocumentAsset(Base):
    """A picture that documents show, such as a logo: kept as long as they are, whatever becomes of its file."""

    __tablename__ = "document_assets"

    sha256: Mapped[str] = mapped_column(primary_key=True)
    media_type: Mapped[str]
    content: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime]


class InvoiceSeries(Base):
    """Where a series of numbers stands in a year. The row is locked until the invoice of the number taken is there.

    A transaction that takes numbers and does not give each of them to an invoice is refused at its end.
    """

    __tablename__ = "invoice_series"
    __table_args__ = (CheckConstraint("next_number >= 1", name="next_number"),)

    series: Mapped[str] = mapped_column(primary_key=True)
    year: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    next_number: Mapped[int]
