"""Customers, and what belongs to a customer: payment methods, mandates, tax ids."""

from typing import Any, ClassVar

from sqlalchemy import CheckConstraint, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from db.models.mirror import Mirror, WithMetadata


class User(Mirror, WithMetadata):
    """A customer. A row without email and name may be the stub of a customer whose own event has not come yet."""

    __tablename__ = "users"
    __table_args__ = (
        CheckConstraint("dunning_status IN ('active','warning','blocked')", name="dunning_status"),
        Index("ix_users_email", "email"),
    )
    ledger_key: ClassVar = ("stripe_customer_id",)
    ledger_own: ClassVar = frozenset({"dunning_status"})

    stripe_customer_id: Mapped[str | None] = mapped_column(unique=True)
    email: Mapped[str | None]
    name: Mapped[str | None]
    company: Mapped[str | None]
    phone: Mapped[str | None]
    description: Mapped[str | None]
    address: Mapped[dict[str, Any] | None]
    currency: Mapped[str | None]
    locale: Mapped[str | None]
    timezone: Mapped[str | None]
    balance_cents: Mapped[int | None]
    delinquent: Mapped[bool | None]
    tax_exempt: Mapped[str | None]
    default_payment_method_id: Mapped[str | None]
    stripe_discount_id: Mapped[str | None]
    dunning_status: Mapped[str] = mapped_column(server_default=text("'active'"))


class PaymentMethod(Mirror, WithMetadata):
    """A card or bank account, as far as Stripe shows it: brand and last four digits, never the number."""

    __tablename__ = "payment_methods"
    __table_args__ = (Index("ix_payment_methods_stripe_customer_id", "stripe_customer_id"),)
    ledger_key: ClassVar = ("stripe_payment_method_id",)

    stripe_payment_method_id: Mapped[str] = mapped_column(unique=True)
    stripe_customer_id: Mapped[str | None]
    type: Mapped[str | None]
    brand: Mapped[str | None]
    last4: Mapped[str | None]
    exp_month: Mapped[int | None]
    exp_year: Mapped[int | None]
    country: Mapped[str | None]
    funding: Mapped[str | None]
    fingerprint: Mapped[str | None]
    billing_email: Mapped[str | None]
    billing_name: Mapped[str | None]


class Mandate(Mirror):
    """A customer's permission to debit a payment method."""

    __tablename__ = "mandates"
    ledger_key: ClassVar = ("stripe_mandate_id",)

    stripe_mandate_id: Mapped[str] = mapped_column(unique=True)
    stripe_payment_method_id: Mapped[str | None]
    status: Mapped[str | None]
    type: Mapped[str | None]


class TaxId(Mirror):
    """A customer's tax number (VAT, ABN …) and whether it was verified."""

    __tablename__ = "tax_ids"
    __table_args__ = (Index("ix_tax_ids_stripe_customer_id", "stripe_customer_id"),)
    ledger_key: ClassVar = ("stripe_tax_id",)

    stripe_tax_id: Mapped[str] = mapped_column(unique=True)
    stripe_customer_id: Mapped[str | None]
    type: Mapped[str | None]
    value: Mapped[str | None]
    country: Mapped[str | None]
    verification_status: Mapped[str | None]
