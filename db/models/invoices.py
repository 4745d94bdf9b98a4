"""Invoices, what Stripe announces to invoice next, and credit notes."""

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import CheckConstraint, ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from db.models.mirror import LATELY, Keep, Mirror, WithMetadata


class Invoice(Mirror, WithMetadata):
    """An invoice; amounts and dates of Stripe's invoices are Stripe's own values, never recomputed.

    `invoice_number` is unique per account and mode. `stripe_number` is what Stripe sent: it may come twice, after test
    data was deleted at Stripe; then the older invoice keeps the number and the other one's gets its id behind it.
    An invoice of our own has a `kind`, and no id at Stripe; a trigger keeps its number for ever (migration 0004).
    """

    __tablename__ = "invoices"
    __table_args__ = (
        CheckConstraint("status IN ('draft','open','paid','void','uncollectible')", name="status"),
        CheckConstraint("kind IN ('partner','overage','manual')", name="kind"),
        CheckConstraint("kind IS NULL OR stripe_invoice_id IS NULL", name="own"),
        CheckConstraint(
            "kind IS NULL OR status = 'draft' OR (invoice_number IS NOT NULL AND finalized_at IS NOT NULL)",
            name="numbered",
        ),
        UniqueConstraint("invoice_number", "stripe_account", "livemode"),
        Index("uq_invoices_own_key", "own_key", unique=True, postgresql_where=text("own_key IS NOT NULL")),
        Index("ix_invoices_stripe_number", "stripe_number"),
        Index(
            "ix_invoices_collects_invoice_id",
            "collects_invoice_id",
            postgresql_where=text("collects_invoice_id IS NOT NULL"),
        ),
        Index("ix_invoices_api_key_prefix", "api_key_prefix", postgresql_where=text("api_key_prefix IS NOT NULL")),
        Index("ix_invoices_stripe_customer_id", "stripe_customer_id"),
        Index("ix_invoices_stripe_subscription_id", "stripe_subscription_id"),
        Index("ix_invoices_user_id", "user_id"),
        Index("ix_invoices_stripe_created_at", "stripe_created_at"),
        Index("ix_invoices_updated_at", "updated_at", **LATELY),
    )
    ledger_key: ClassVar = ("stripe_invoice_id",)
    ledger_sticky: ClassVar[dict[str, Keep]] = {
        "paid_out_of_band": "max",
        "amount_overpaid_cents": "max",
        "sent_at": "min",
        "overdue_at": "min",
        "payment_failed_at": "max",
        "payment_action_required_at": "max",
        "finalization_failed_at": "max",
    }
    ledger_own: ClassVar = frozenset(
        {
            "user_id",
            "invoice_number",
            "api_key_prefix",
            "notes",
            "kind",
            "own_key",
            "seller",
            "series",
            "void_reason",
            "collects_invoice_id",
        }
    )

    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    api_key_prefix: Mapped[str | None]
    stripe_invoice_id: Mapped[str | None] = mapped_column(unique=True)
    stripe_customer_id: Mapped[str | None]
    stripe_subscription_id: Mapped[str | None]
    invoice_number: Mapped[str | None]
    stripe_number: Mapped[str | None]
    kind: Mapped[str | None]
    """What an invoice of our own is for; None: it is Stripe's."""
    own_key: Mapped[str | None]
    """Names the thing that an invoice of our own is for (`partner/nw_live/2026-11`): it is issued once."""
    seller: Mapped[str | None]
    series: Mapped[str | None]
    """Which series of the sellers file an invoice of our own is numbered in."""
    void_reason: Mapped[str | None]
    collects_invoice_id: Mapped[int | None] = mapped_column(ForeignKey("invoices.id"))
    """The invoice of ours that this one of Stripe's was made to collect: it is the same money, not more."""
    status: Mapped[str | None]
    billing_reason: Mapped[str | None]
    collection_method: Mapped[str | None]
    currency: Mapped[str | None]
    subtotal_cents: Mapped[int] = mapped_column(server_default=text("0"))
    tax_cents: Mapped[int] = mapped_column(server_default=text("0"))
    discount_cents: Mapped[int] = mapped_column(server_default=text("0"))
    total_cents: Mapped[int] = mapped_column(server_default=text("0"))
    amount_due_cents: Mapped[int] = mapped_column(server_default=text("0"))
    amount_paid_cents: Mapped[int] = mapped_column(server_default=text("0"))
    amount_remaining_cents: Mapped[int] = mapped_column(server_default=text("0"))
    amount_overpaid_cents: Mapped[int | None]
    starting_balance_cents: Mapped[int | None]
    ending_balance_cents: Mapped[int | None]
    pre_payment_credit_cents: Mapped[int | None]
    post_payment_credit_cents: Mapped[int | None]
    billing_period_start: Mapped[datetime | None]
    billing_period_end: Mapped[datetime | None]
    due_date: Mapped[datetime | None]
    finalized_at: Mapped[datetime | None]
    paid_at: Mapped[datetime | None]
    voided_at: Mapped[datetime | None]
    marked_uncollectible_at: Mapped[datetime | None]
    paid_out_of_band: Mapped[bool | None]
    attempt_count: Mapped[int | None]
    attempted: Mapped[bool | None]
    auto_advance: Mapped[bool | None]
    next_payment_attempt: Mapped[datetime | None]
    payment_failed_at: Mapped[datetime | None]
    payment_action_required_at: Mapped[datetime | None]
    finalization_failed_at: Mapped[datetime | None]
    finalization_error: Mapped[str | None]
    sent_at: Mapped[datetime | None]
    overdue_at: Mapped[datetime | None]
    customer_email: Mapped[str | None]
    customer_name: Mapped[str | None]
    line_items: Mapped[list[Any] | None]
    line_items_complete: Mapped[bool | None]
    """False when Stripe sent only the first lines of a longer list."""
    discount_ids: Mapped[list[Any] | None]
    description: Mapped[str | None]
    notes: Mapped[str | None]
    hosted_invoice_url: Mapped[str | None]
    invoice_pdf_url: Mapped[str | None]


class UpcomingInvoice(Mirror):
    """What Stripe announced to invoice next, some days ahead. It has no id at Stripe: `key` is its subscription's."""

    __tablename__ = "upcoming_invoices"
    ledger_key: ClassVar = ("key",)

    key: Mapped[str] = mapped_column(unique=True)
    stripe_customer_id: Mapped[str | None]
    stripe_subscription_id: Mapped[str | None]
    currency: Mapped[str | None]
    subtotal_cents: Mapped[int | None]
    total_cents: Mapped[int | None]
    amount_due_cents: Mapped[int | None]
    billing_period_start: Mapped[datetime | None]
    billing_period_end: Mapped[datetime | None]
    next_payment_attempt: Mapped[datetime | None]
    line_items: Mapped[list[Any] | None]


class CreditNote(Mirror, WithMetadata):
    """A reduction of a finalized invoice; one of our own has our invoice's id, and a number of our own."""

    __tablename__ = "credit_notes"
    __table_args__ = (
        CheckConstraint(
            "stripe_credit_note_id IS NOT NULL OR (invoice_id IS NOT NULL AND number IS NOT NULL)", name="own"
        ),
        Index("ix_credit_notes_stripe_invoice_id", "stripe_invoice_id"),
        Index("ix_credit_notes_invoice_id", "invoice_id", postgresql_where=text("invoice_id IS NOT NULL")),
        Index(
            "uq_credit_notes_own_number",
            "number",
            unique=True,
            postgresql_where=text("stripe_credit_note_id IS NULL"),
        ),
    )
    ledger_key: ClassVar = ("stripe_credit_note_id",)
    ledger_own: ClassVar = frozenset({"invoice_id", "series"})

    stripe_credit_note_id: Mapped[str | None] = mapped_column(unique=True)
    invoice_id: Mapped[int | None] = mapped_column(ForeignKey("invoices.id"))
    stripe_invoice_id: Mapped[str | None]
    stripe_customer_id: Mapped[str | None]
    number: Mapped[str | None]
    series: Mapped[str | None]
    """Which series of the sellers file one of our own is numbered in; triggers keep it for ever (migration 0007)."""
    status: Mapped[str | None]
    type: Mapped[str | None]
    reason: Mapped[str | None]
    memo: Mapped[str | None]
    currency: Mapped[str | None]
    amount_cents: Mapped[int | None]
    subtotal_cents: Mapped[int | None]
    tax_cents: Mapped[int | None]
    discount_cents: Mapped[int | None]
    total_cents: Mapped[int | None]
    out_of_band_cents: Mapped[int | None]
    refund_ids: Mapped[list[Any] | None]
    voided_at: Mapped[datetime | None]
    pdf_url: Mapped[str | None]
