"""What is sold and at what price: products, prices, coupons, promotion codes, discounts.

Merchants choose the ids of prices and coupons, so these are unique only within an account and a mode.
"""

from datetime import datetime
from decimal import Decimal
from typing import ClassVar

from sqlalchemy import Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from db.models.mirror import Mirror, WithMetadata


class Product(Mirror, WithMetadata):
    """Something that is sold."""

    __tablename__ = "products"
    __table_args__ = (UniqueConstraint("stripe_product_id", "stripe_account", "livemode"),)
    ledger_key: ClassVar = ("stripe_product_id", "stripe_account", "livemode")

    stripe_product_id: Mapped[str]
    name: Mapped[str | None]
    description: Mapped[str | None]
    active: Mapped[bool | None]
    unit_label: Mapped[str | None]
    tax_code: Mapped[str | None]


class Price(Mirror, WithMetadata):
    """A price of a product. Stripe's old `plan` and new `price` are two renderings of the same row."""

    __tablename__ = "prices"
    __table_args__ = (UniqueConstraint("stripe_price_id", "stripe_account", "livemode"),)
    ledger_key: ClassVar = ("stripe_price_id", "stripe_account", "livemode")

    stripe_price_id: Mapped[str]
    stripe_product_id: Mapped[str | None]
    nickname: Mapped[str | None]
    lookup_key: Mapped[str | None]
    active: Mapped[bool | None]
    currency: Mapped[str | None]
    unit_amount_decimal: Mapped[Decimal | None]
    """Minor units, with up to twelve decimal places."""
    billing_scheme: Mapped[str | None]
    tiers_mode: Mapped[str | None]
    interval: Mapped[str | None]
    interval_count: Mapped[int | None]
    usage_type: Mapped[str | None]
    trial_period_days: Mapped[int | None]
    divide_by: Mapped[int | None]
    divide_round: Mapped[str | None]


class Coupon(Mirror, WithMetadata):
    """A reduction by percent or by an amount, for a time."""

    __tablename__ = "coupons"
    __table_args__ = (UniqueConstraint("stripe_coupon_id", "stripe_account", "livemode"),)
    ledger_key: ClassVar = ("stripe_coupon_id", "stripe_account", "livemode")

    stripe_coupon_id: Mapped[str]
    name: Mapped[str | None]
    percent_off: Mapped[Decimal | None]
    amount_off_cents: Mapped[int | None]
    currency: Mapped[str | None]
    duration: Mapped[str | None]
    duration_in_months: Mapped[int | None]
    redeem_by: Mapped[datetime | None]
    max_redemptions: Mapped[int | None]
    valid: Mapped[bool | None]


class PromotionCode(Mirror, WithMetadata):
    """A code that customers type to get a coupon."""

    __tablename__ = "promotion_codes"
    ledger_key: ClassVar = ("stripe_promotion_code_id",)

    stripe_promotion_code_id: Mapped[str] = mapped_column(unique=True)
    code: Mapped[str | None]
    stripe_coupon_id: Mapped[str | None]
    stripe_customer_id: Mapped[str | None]
    active: Mapped[bool | None]
    expires_at: Mapped[datetime | None]
    max_redemptions: Mapped[int | None]


class Discount(Mirror):
    """A coupon as it applies to a customer, a subscription, one of its items, or an invoice."""

    __tablename__ = "discounts"
    __table_args__ = (
        Index("ix_discounts_stripe_customer_id", "stripe_customer_id"),
        Index("ix_discounts_stripe_subscription_id", "stripe_subscription_id"),
        Index("ix_discounts_stripe_coupon_id", "stripe_coupon_id"),
    )
    ledger_key: ClassVar = ("stripe_discount_id",)

    stripe_discount_id: Mapped[str] = mapped_column(unique=True)
    stripe_coupon_id: Mapped[str | None]
    stripe_promotion_code_id: Mapped[str | None]
    stripe_customer_id: Mapped[str | None]
    stripe_subscription_id: Mapped[str | None]
    stripe_subscription_item_id: Mapped[str | None]
    stripe_invoice_id: Mapped[str | None]
    start_at: Mapped[datetime | None]
    end_at: Mapped[datetime | None]
