"""Money that moves: payment attempts, and Stripe's intents, charges, refunds, disputes and payouts behind them."""

from datetime import datetime
from typing import ClassVar

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Identity, Index, func, text
from sqlalchemy.orm import Mapped, mapped_column

from db.models.base import Base
from db.models.mirror import LATELY, Keep, Mirror, WithMetadata


class PaymentIntent(Mirror, WithMetadata):
    """Stripe's intent to collect a payment; each of its attempts is a charge."""

    __tablename__ = "payment_intents"
    __table_args__ = (Index("ix_payment_intents_stripe_customer_id", "stripe_customer_id"),)
    ledger_key: ClassVar = ("stripe_payment_intent_id",)

    stripe_payment_intent_id: Mapped[str] = mapped_column(unique=True)
    stripe_customer_id: Mapped[str | None]
    status: Mapped[str]
    currency: Mapped[str | None]
    amount_cents: Mapped[int]
    amount_received_cents: Mapped[int | None]
    amount_capturable_cents: Mapped[int | None]
    capture_method: Mapped[str | None]
    latest_stripe_charge_id: Mapped[str | None]
    payment_method_id: Mapped[str | None]
    payment_method_type: Mapped[str | None]
    failure_code: Mapped[str | None]
    failure_message: Mapped[str | None]
    decline_code: Mapped[str | None]
    canceled_at: Mapped[datetime | None]
    cancel_reason: Mapped[str | None]
    description: Mapped[str | None]


class Charge(Mirror, WithMetadata):
    """One attempt to move money. A row without amount is the stub of a charge that only its intent has told of."""

    __tablename__ = "charges"
    __table_args__ = (
        Index("ix_charges_stripe_payment_intent_id", "stripe_payment_intent_id"),
        Index("ix_charges_stripe_customer_id", "stripe_customer_id"),
        Index(
            "ix_charges_without_fee",
            "stripe_created_at",
            postgresql_where=text("status = 'succeeded' AND captured AND stripe_fee_cents IS NULL"),
        ),
    )
    ledger_key: ClassVar = ("stripe_charge_id",)
    ledger_sticky: ClassVar[dict[str, Keep]] = {
        "stripe_payment_intent_id": "max",
        "stripe_fee_cents": "max",
        "net_amount_cents": "max",
        "settlement_currency": "max",
        "refund_seen_at": "max",
        "expired_at": "min",
    }

    stripe_charge_id: Mapped[str] = mapped_column(unique=True)
    stripe_payment_intent_id: Mapped[str | None]
    stripe_customer_id: Mapped[str | None]
    status: Mapped[str | None]
    currency: Mapped[str | None]
    amount_cents: Mapped[int | None]
    amount_captured_cents: Mapped[int | None]
    amount_refunded_cents: Mapped[int | None]
    captured: Mapped[bool | None]
    refunded: Mapped[bool | None]
    disputed: Mapped[bool | None]
    failure_code: Mapped[str | None]
    failure_message: Mapped[str | None]
    decline_code: Mapped[str | None]
    payment_method: Mapped[str | None]
    payment_method_id: Mapped[str | None]
    card_brand: Mapped[str | None]
    card_last4: Mapped[str | None]
    balance_transaction_id: Mapped[str | None]
    receipt_url: Mapped[str | None]
    description: Mapped[str | None]
    stripe_fee_cents: Mapped[int | None]
    net_amount_cents: Mapped[int | None]
    settlement_currency: Mapped[str | None]
    """Of the fee and the net amount: that of the balance, which need not be the payment's."""
    refund_seen_at: Mapped[datetime | None]
    """When Stripe last said `charge.refunded`; stands in for a refund object that never came."""
    expired_at: Mapped[datetime | None]


class Refund(Mirror, WithMetadata):
    """Money given back, or on its way back."""

    __tablename__ = "refunds"
    __table_args__ = (
        Index("ix_refunds_stripe_charge_id", "stripe_charge_id"),
        Index("ix_refunds_stripe_payment_intent_id", "stripe_payment_intent_id"),
    )
    ledger_key: ClassVar = ("stripe_refund_id",)
    ledger_sticky: ClassVar[dict[str, Keep]] = {"failed_at": "min"}

    stripe_refund_id: Mapped[str] = mapped_column(unique=True)
    stripe_charge_id: Mapped[str | None]
    stripe_payment_intent_id: Mapped[str | None]
    amount_cents: Mapped[int]
    currency: Mapped[str | None]
    status: Mapped[str | None]
    reason: Mapped[str | None]
    failure_reason: Mapped[str | None]
    balance_transaction_id: Mapped[str | None]
    failed_at: Mapped[datetime | None]


class Dispute(Mirror, WithMetadata):
    """A customer's bank asks (`warning_*`) or takes the money back."""

    __tablename__ = "disputes"
    __table_args__ = (Index("ix_disputes_stripe_charge_id", "stripe_charge_id"),)
    ledger_key: ClassVar = ("stripe_dispute_id",)
    ledger_sticky: ClassVar[dict[str, Keep]] = {
        "funds_withdrawn_at": "min",
        "funds_reinstated_at": "min",
        "closed_at": "max",
    }

    stripe_dispute_id: Mapped[str] = mapped_column(unique=True)
    stripe_charge_id: Mapped[str | None]
    stripe_payment_intent_id: Mapped[str | None]
    amount_cents: Mapped[int | None]
    currency: Mapped[str | None]
    status: Mapped[str | None]
    reason: Mapped[str | None]
    evidence_due_by: Mapped[datetime | None]
    funds_withdrawn_at: Mapped[datetime | None]
    funds_reinstated_at: Mapped[datetime | None]
    closed_at: Mapped[datetime | None]


class EarlyFraudWarning(Mirror):
    """A card network suspects fraud: often the forerunner of a dispute."""

    __tablename__ = "early_fraud_warnings"
    __table_args__ = (Index("ix_early_fraud_warnings_stripe_charge_id", "stripe_charge_id"),)
    ledger_key: ClassVar = ("stripe_early_fraud_warning_id",)

    stripe_early_fraud_warning_id: Mapped[str] = mapped_column(unique=True)
    stripe_charge_id: Mapped[str | None]
    stripe_payment_intent_id: Mapped[str | None]
    fraud_type: Mapped[str | None]
    actionable: Mapped[bool | None]


class InvoicePayment(Mirror):
    """Which payment pays which invoice. Old objects name each other; new ones are joined by `invoice_payment` only."""

    __tablename__ = "invoice_payments"
    __table_args__ = (
        Index("uq_invoice_payments_invoice_payment", "stripe_invoice_id", "payment_id", unique=True),
        Index("ix_invoice_payments_payment_id", "payment_id"),
    )
    ledger_key: ClassVar = ("stripe_invoice_id", "payment_id")

    stripe_invoice_id: Mapped[str]
    payment_id: Mapped[str]
    """The payment intent's id; the charge's where there was no intent."""
    stripe_invoice_payment_id: Mapped[str | None]
    status: Mapped[str | None]
    currency: Mapped[str | None]
    amount_requested_cents: Mapped[int | None]
    amount_paid_cents: Mapped[int | None]
    is_default: Mapped[bool | None]
    paid_at: Mapped[datetime | None]


class CheckoutSession(Mirror, WithMetadata):
    """A visit to Stripe's payment page."""

    __tablename__ = "checkout_sessions"
    __table_args__ = (Index("ix_checkout_sessions_stripe_customer_id", "stripe_customer_id"),)
    ledger_key: ClassVar = ("stripe_checkout_session_id",)
    ledger_sticky: ClassVar[dict[str, Keep]] = {
        "completed_at": "min",
        "expired_at": "min",
        "async_payment_failed_at": "min",
    }

    stripe_checkout_session_id: Mapped[str] = mapped_column(unique=True)
    stripe_customer_id: Mapped[str | None]
    stripe_subscription_id: Mapped[str | None]
    stripe_invoice_id: Mapped[str | None]
    stripe_payment_intent_id: Mapped[str | None]
    mode: Mapped[str | None]
    status: Mapped[str | None]
    payment_status: Mapped[str | None]
    currency: Mapped[str | None]
    amount_subtotal_cents: Mapped[int | None]
    amount_total_cents: Mapped[int | None]
    client_reference_id: Mapped[str | None]
    customer_email: Mapped[str | None]
    completed_at: Mapped[datetime | None]
    expired_at: Mapped[datetime | None]
    async_payment_failed_at: Mapped[datetime | None]


class Payout(Mirror, WithMetadata):
    """Money that Stripe sends to our bank."""

    __tablename__ = "payouts"
    ledger_key: ClassVar = ("stripe_payout_id",)

    stripe_payout_id: Mapped[str] = mapped_column(unique=True)
    status: Mapped[str | None]
    currency: Mapped[str | None]
    amount_cents: Mapped[int | None]
    arrival_date: Mapped[datetime | None]
    automatic: Mapped[bool | None]
    method: Mapped[str | None]
    type: Mapped[str | None]
    reconciliation_status: Mapped[str | None]
    balance_transaction_id: Mapped[str | None]
    failure_code: Mapped[str | None]
    failure_message: Mapped[str | None]
    description: Mapped[str | None]


class Payment(Base):
    """One payment attempt: a charge, or an intent while it has no charge. Derived, never two rows.

    `amount_cents` and fees are Stripe's own values. `created_at` is Stripe's time of the charge or the intent.
    """

    __tablename__ = "payment_history"
    __table_args__ = (
        CheckConstraint(
            "status IN ('succeeded','failed','pending','refunded','partially_refunded','disputed')", name="status"
        ),
        Index(
            "uq_payment_history_intent_without_charge",
            "stripe_payment_intent_id",
            unique=True,
            postgresql_where=text("stripe_charge_id IS NULL"),
        ),
        Index("ix_payment_history_stripe_payment_intent_id", "stripe_payment_intent_id"),
        Index("ix_payment_history_stripe_invoice_id", "stripe_invoice_id"),
        Index("ix_payment_history_invoice_id", "invoice_id"),
        Index("ix_payment_history_user_id", "user_id"),
        Index("ix_payment_history_created_at", "created_at"),
        Index("ix_payment_history_updated_at", "updated_at", **LATELY),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    invoice_id: Mapped[int | None] = mapped_column(ForeignKey("invoices.id"))
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    stripe_customer_id: Mapped[str | None]
    stripe_invoice_id: Mapped[str | None]
    stripe_payment_intent_id: Mapped[str | None]
    stripe_charge_id: Mapped[str | None] = mapped_column(unique=True)
    livemode: Mapped[bool] = mapped_column(server_default=text("false"))
    stripe_account: Mapped[str] = mapped_column(server_default=text("''"))
    amount_cents: Mapped[int]
    currency: Mapped[str]
    status: Mapped[str]
    captured: Mapped[bool] = mapped_column(server_default=text("false"))
    stripe_fee_cents: Mapped[int | None]
    net_amount_cents: Mapped[int | None]
    settlement_currency: Mapped[str | None]
    """Of the fee and the net amount: that of the balance, which need not be `currency`."""
    payment_method: Mapped[str | None]
    payment_method_id: Mapped[str | None]
    card_brand: Mapped[str | None]
    card_last4: Mapped[str | None]
    failure_code: Mapped[str | None]
    failure_message: Mapped[str | None]
    decline_code: Mapped[str | None]
    refunded_at: Mapped[datetime | None]
    refund_reason: Mapped[str | None]
    refund_amount_cents: Mapped[int] = mapped_column(server_default=text("0"))
    dispute_status: Mapped[str | None]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())
