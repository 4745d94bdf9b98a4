"""Subscriptions, their items, and every state that they were ever in."""

from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar

from sqlalchemy import BigInteger, ForeignKey, Identity, Index, UniqueConstraint, func, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from db.models.base import Base
from db.models.mirror import Mirror, WithMetadata


class Subscription(Mirror, WithMetadata):
    """A subscription; `status` is Stripe's, an open enum.

    `stripe_price_id` and `quantity` are those of the first licensed item; `subscription_items` has them all.
    `mrr_incomplete` says that `mrr_cents` leaves something out: a coupon that is not known yet, or a tiered price.
    """

    __tablename__ = "subscriptions"
    __table_args__ = (
        Index("ix_subscriptions_stripe_customer_id", "stripe_customer_id"),
        Index("ix_subscriptions_user_id", "user_id"),
        Index("ix_subscriptions_status", "status"),
    )
    ledger_key: ClassVar = ("stripe_subscription_id",)
    ledger_own: ClassVar = frozenset({"user_id", "mrr_cents", "mrr_incomplete"})

    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    stripe_subscription_id: Mapped[str] = mapped_column(unique=True)
    stripe_customer_id: Mapped[str | None]
    stripe_price_id: Mapped[str | None]
    status: Mapped[str]
    tier: Mapped[str | None]
    quantity: Mapped[int | None]
    mrr_cents: Mapped[int] = mapped_column(server_default=text("0"))
    mrr_incomplete: Mapped[bool] = mapped_column(server_default=text("false"))
    currency: Mapped[str | None]
    billing_cycle: Mapped[str | None]
    collection_method: Mapped[str | None]
    current_period_start: Mapped[datetime | None]
    current_period_end: Mapped[datetime | None]
    trial_start: Mapped[datetime | None]
    trial_end: Mapped[datetime | None]
    cancel_at_period_end: Mapped[bool | None]
    cancel_at: Mapped[datetime | None]
    canceled_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    cancel_reason: Mapped[str | None]
    pause_behavior: Mapped[str | None]
    """`pause_collection`: invoices are drafted, voided or written off meanwhile; the status stays what it was."""
    pause_resumes_at: Mapped[datetime | None]
    items: Mapped[list[Any]]
    items_complete: Mapped[bool]
    """False when Stripe sent only the first items of a longer list."""
    discount_ids: Mapped[list[Any]]
    latest_stripe_invoice_id: Mapped[str | None]
    default_payment_method_id: Mapped[str | None]
    stripe_schedule_id: Mapped[str | None]
    started_at: Mapped[datetime | None]
    description: Mapped[str | None]


class SubscriptionItem(Base):
    """One item of a subscription as it is now; follows `subscriptions.items`."""

    __tablename__ = "subscription_items"
    __table_args__ = (UniqueConstraint("stripe_subscription_id", "stripe_subscription_item_id"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    stripe_subscription_id: Mapped[str]
    stripe_subscription_item_id: Mapped[str]
    position: Mapped[int]
    stripe_price_id: Mapped[str | None]
    stripe_product_id: Mapped[str | None]
    quantity: Mapped[int | None]
    currency: Mapped[str | None]
    unit_amount_decimal: Mapped[Decimal | None]
    """Minor units, with up to twelve decimal places."""
    interval: Mapped[str | None]
    interval_count: Mapped[int | None]
    usage_type: Mapped[str | None]
    billing_scheme: Mapped[str | None]
    divide_by: Mapped[int | None]
    divide_round: Mapped[str | None]
    current_period_start: Mapped[datetime | None]
    current_period_end: Mapped[datetime | None]
    discount_ids: Mapped[list[Any] | None]


class SubscriptionHistory(Base):
    """A state that a subscription was in at `occurred_at` (Stripe's time).

    A set: events may come in any order, twice, or under two ids, and the rows are the same. `version` orders states
    of one second. `mrr_cents` is what the subscription was worth then, mended when a coupon becomes known later.
    """

    __tablename__ = "subscription_history"
    __table_args__ = (
        UniqueConstraint("stripe_subscription_id", "occurred_at", "fingerprint"),
        Index("ix_subscription_history_occurred_at", "occurred_at"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    stripe_subscription_id: Mapped[str]
    occurred_at: Mapped[datetime]
    fingerprint: Mapped[str]
    version: Mapped[list[int]] = mapped_column(ARRAY(BigInteger))
    stripe_customer_id: Mapped[str | None]
    status: Mapped[str]
    stripe_price_id: Mapped[str | None]
    quantity: Mapped[int | None]
    currency: Mapped[str | None]
    items: Mapped[list[Any]]
    items_complete: Mapped[bool]
    discount_ids: Mapped[list[Any]]
    current_period_start: Mapped[datetime | None]
    current_period_end: Mapped[datetime | None]
    trial_end: Mapped[datetime | None]
    cancel_at_period_end: Mapped[bool | None]
    cancel_at: Mapped[datetime | None]
    pause_behavior: Mapped[str | None]
    mrr_cents: Mapped[int] = mapped_column(server_default=text("0"))
    mrr_incomplete: Mapped[bool] = mapped_column(server_default=text("false"))
    recorded_at: Mapped[datetime] = mapped_column(server_default=func.now())
