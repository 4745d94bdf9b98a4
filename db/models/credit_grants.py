"""Credits that were given, what each paid for, promotion codes, and money that came past Stripe."""

from datetime import datetime
from decimal import Decimal

from sqlalchemy import CheckConstraint, ForeignKey, Identity, Index, Numeric, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from db.models.base import Base


class Credit(Base):
    """Money that a partner or a customer need not pay, until it is used up or expires. Minor units of `currency`."""

    __tablename__ = "credits"
    __table_args__ = (
        CheckConstraint("kind IN ('refund','promotional','goodwill','chargeback')", name="kind"),
        CheckConstraint("(api_key_prefix IS NULL) <> (user_id IS NULL)", name="one_owner"),
        CheckConstraint("amount_cents > 0 AND remaining_cents BETWEEN 0 AND amount_cents", name="remaining"),
        Index("ix_credits_api_key_prefix", "api_key_prefix", postgresql_where=text("api_key_prefix IS NOT NULL")),
        Index("ix_credits_user_id", "user_id", postgresql_where=text("user_id IS NOT NULL")),
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    api_key_prefix: Mapped[str | None]
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    kind: Mapped[str]
    currency: Mapped[str]
    amount_cents: Mapped[int]
    remaining_cents: Mapped[int]
    reason: Mapped[str]
    expires_at: Mapped[datetime | None]
    promo_code_id: Mapped[int | None] = mapped_column(ForeignKey("promo_codes.id"))
    created_at: Mapped[datetime]
    created_by: Mapped[str]
    voided_at: Mapped[datetime | None]


class CreditApplication(Base):
    """So much of a credit paid for an invoice of ours; undone when that invoice is voided."""

    __tablename__ = "credit_applications"
    __table_args__ = (
        CheckConstraint("amount_cents > 0", name="amount_cents"),
        UniqueConstraint("credit_id", "invoice_id"),
        Index("ix_credit_applications_invoice_id", "invoice_id"),
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    credit_id: Mapped[int] = mapped_column(ForeignKey("credits.id"))
    invoice_id: Mapped[int] = mapped_column(ForeignKey("invoices.id"))
    amount_cents: Mapped[int]
    created_at: Mapped[datetime]
    reversed_at: Mapped[datetime | None]


class PromoCode(Base):
    """A word that gives a credit, or so many percent off for some months."""

    __tablename__ = "promo_codes"
    __table_args__ = (
        CheckConstraint("(amount_cents IS NULL) <> (percent IS NULL)", name="one_kind"),
        CheckConstraint("amount_cents > 0", name="amount_cents"),
        CheckConstraint("(amount_cents IS NULL) = (currency IS NULL)", name="currency"),
        CheckConstraint("percent > 0 AND percent <= 100", name="percent"),
        CheckConstraint("redeemed >= 0 AND (max_redemptions IS NULL OR redeemed <= max_redemptions)", name="redeemed"),
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    code: Mapped[str] = mapped_column(unique=True)
    """In capitals."""
    amount_cents: Mapped[int | None]
    currency: Mapped[str | None]
    percent: Mapped[Decimal | None] = mapped_column(Numeric(7, 4))
    months: Mapped[int | None]
    """For how many months the percentage holds; None: for ever."""
    credit_days: Mapped[int | None]
    """In how many days the credit expires; None: never."""
    max_redemptions: Mapped[int | None]
    redeemed: Mapped[int] = mapped_column(server_default=text("0"))
    expires_at: Mapped[datetime | None]
    created_at: Mapped[datetime]
    created_by: Mapped[str]


class PromoRedemption(Base):
    """A partner or a customer used a promotion code; each may once."""

    __tablename__ = "promo_redemptions"
    __table_args__ = (
        CheckConstraint("(api_key_prefix IS NULL) <> (user_id IS NULL)", name="one_owner"),
        Index(
            "uq_promo_redemptions",
            "promo_code_id",
            "api_key_prefix",
            "user_id",
            unique=True,
            postgresql_nulls_not_distinct=True,
        ),
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    promo_code_id: Mapped[int] = mapped_column(ForeignKey("promo_codes.id"))
    api_key_prefix: Mapped[str | None]
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    credit_id: Mapped[int | None] = mapped_column(ForeignKey("credits.id"))
    redeemed_at: Mapped[datetime]
    ends_at: Mapped[datetime | None]
    """Until when a percentage holds."""


class ManualPayment(Base):
    """Money for an invoice of ours that came past Stripe: a bank transfer, a cheque. Minor units of its currency."""

    __tablename__ = "manual_payments"
    __table_args__ = (
        CheckConstraint("amount_cents > 0", name="amount_cents"),
        CheckConstraint(
            "(voided_at IS NULL) = (voided_by IS NULL) AND (voided_at IS NULL) = (void_reason IS NULL)", name="voided"
        ),
        Index(
            "uq_manual_payments_invoice_id_reference",
            "invoice_id",
            "reference",
            unique=True,
            postgresql_where=text("voided_at IS NULL"),
        ),
        Index("ix_manual_payments_invoice_id", "invoice_id"),
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    invoice_id: Mapped[int] = mapped_column(ForeignKey("invoices.id"))
    amount_cents: Mapped[int]
    currency: Mapped[str]
    method: Mapped[str]
    reference: Mapped[str]
    """What tells it from others, such as the bank's own: recording it twice is recording it once."""
    paid_at: Mapped[datetime]
    recorded_at: Mapped[datetime]
    recorded_by: Mapped[str]
    credit_id: Mapped[int | None] = mapped_column(ForeignKey("credits.id"))
    """The credit that was given for what came beyond what was due."""
    voided_at: Mapped[datetime | None]
    """When it was found to have been recorded by mistake: it counts for nothing since."""
    voided_by: Mapped[str | None]
    void_reason: Mapped[str | None]
