"""Contracts with API partners, plans' limits, and what each period of usage came to."""

from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import CheckConstraint, Date, ForeignKey, Identity, Index, Numeric, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import BigInteger, Text

from db.contract_synonyms import check
from db.models.base import Base


class ApiPartnerContract(Base):
    """One version of a partner's contract: what is agreed from `valid_from` until the next version's.

    Words may be written otherwise than here (`annual`, `NET30`): `db.contracts` reads ours (`db.contract_synonyms`).
    A new price is a new row. What an issued invoice was reckoned by is not changed any more: a trigger refuses it
    (migration 0005). Money is minor units of `currency`.
    """

    __tablename__ = "api_partner_contracts"
    __table_args__ = (
        CheckConstraint("api_key_prefix ~ '^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$'", name="api_key_prefix"),
        CheckConstraint(check("pricing_model"), name="pricing_model"),
        CheckConstraint(check("billing_cycle"), name="billing_cycle"),
        CheckConstraint(check("payment_terms"), name="payment_terms"),
        CheckConstraint(check("status"), name="status"),
        CheckConstraint("tier_mode IN ('graduated','volume')", name="tier_mode"),
        CheckConstraint("package_rounding IN ('exact','up','down')", name="package_rounding"),
        CheckConstraint("package_size >= 1", name="package_size"),
        CheckConstraint(
            "monthly_flat_fee_cents >= 0 AND per_deed_price_cents >= 0 AND per_1000_requests_cents >= 0"
            " AND included_units >= 0 AND minimum_commitment_cents >= 0 AND cap_cents >= 0",
            name="not_negative",
        ),
        CheckConstraint("contract_end_date >= contract_start_date", name="dates"),
        UniqueConstraint("api_key_prefix", "version"),
        UniqueConstraint("api_key_prefix", "valid_from"),
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    api_key_prefix: Mapped[str]
    version: Mapped[int]
    """Counted from 1; left out, it is the next one."""
    valid_from: Mapped[date] = mapped_column(Date)
    """The first day, in `timezone`; left out, it is the contract's first."""
    company: Mapped[str]
    pricing_model: Mapped[str]
    monthly_flat_fee_cents: Mapped[int] = mapped_column(server_default=text("0"))
    per_deed_price_cents: Mapped[int] = mapped_column(server_default=text("0"))
    per_1000_requests_cents: Mapped[int] = mapped_column(server_default=text("0"))
    billing_cycle: Mapped[str] = mapped_column(server_default="monthly")
    payment_terms: Mapped[str] = mapped_column(server_default="net_30")
    payment_method: Mapped[str] = mapped_column(server_default="bank_transfer")
    monthly_request_limit: Mapped[int | None]
    rate_limit_per_minute: Mapped[int | None]
    status: Mapped[str] = mapped_column(server_default="active")
    contract_start_date: Mapped[date] = mapped_column(Date)
    contract_end_date: Mapped[date | None] = mapped_column(Date)
    """The last day of all, in `timezone`."""
    notes: Mapped[str | None]
    currency: Mapped[str] = mapped_column(server_default="usd")
    timezone: Mapped[str] = mapped_column(server_default="UTC")
    deed_events: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{*deed*}'"))
    """Event types that are deeds, as patterns; all other billable ones are requests."""
    tiers: Mapped[list[Any] | None]
    """`[{"up_to": 1000, "unit_price_cents": "0.5", "flat_fee_cents": 0}, …, {"up_to": null, …}]`."""
    tier_mode: Mapped[str] = mapped_column(server_default="graduated")
    package_size: Mapped[int] = mapped_column(server_default=text("1000"))
    package_rounding: Mapped[str] = mapped_column(server_default="exact")
    included_units: Mapped[int] = mapped_column(server_default=text("0"))
    """Units of a month that the flat fee pays for."""
    minimum_commitment_cents: Mapped[int] = mapped_column(server_default=text("0"))
    cap_cents: Mapped[int | None]
    discount_percent: Mapped[Decimal | None] = mapped_column(Numeric(7, 4))
    tax_name: Mapped[str] = mapped_column(server_default="VAT")
    tax_percent: Mapped[Decimal | None] = mapped_column(Numeric(7, 4))
    reverse_charge: Mapped[bool] = mapped_column(server_default=text("false"))
    billing_email: Mapped[str | None]
    contact_name: Mapped[str | None]
    address: Mapped[dict[str, Any] | None]
    tax_ids: Mapped[list[Any] | None]
    """`[{"type": "eu_vat", "value": "DE123456789"}]`."""
    locale: Mapped[str | None]
    buyer_reference: Mapped[str | None]
    seller: Mapped[str | None]
    stripe_customer_id: Mapped[str | None]
    push_to_stripe: Mapped[bool] = mapped_column(server_default=text("false"))
    """Whether its invoices are written at Stripe too, to be paid there."""
    alarm_factor: Mapped[int] = mapped_column(server_default=text("5"))
    """An invoice over so many times the average of the last ones waits for an operator; 0: never."""
    created_at: Mapped[datetime | None]
    created_by: Mapped[str | None]


class OveragePlan(Base):
    """What a subscriber's plan includes in a month, and what more costs. A new price is a new row."""

    __tablename__ = "overage_plans"
    __table_args__ = (
        CheckConstraint("package_rounding IN ('exact','up','down')", name="package_rounding"),
        CheckConstraint("package_size >= 1 AND included_units >= 0 AND package_price_cents >= 0", name="not_negative"),
        UniqueConstraint("stripe_price_id", "valid_from"),
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    stripe_price_id: Mapped[str]
    """The price that a subscription has at Stripe."""
    valid_from: Mapped[date] = mapped_column(Date)
    currency: Mapped[str]
    included_units: Mapped[int]
    package_size: Mapped[int] = mapped_column(server_default=text("1000"))
    package_price_cents: Mapped[int]
    package_rounding: Mapped[str] = mapped_column(server_default="exact")
    tax_name: Mapped[str] = mapped_column(server_default="VAT")
    tax_percent: Mapped[Decimal | None] = mapped_column(Numeric(7, 4))
    created_at: Mapped[datetime | None]
    created_by: Mapped[str | None]


class UsageInvoice(Base):
    """One period of a partner, or of a subscriber over the plan's limit: what was frozen, and what became of it.

    `input` is all that the amounts follow from, so that they can be reckoned again years later; it never changes.
    `billed_usage` and `billed_cents` grow when usage that came late is charged with a later period.
    """

    __tablename__ = "usage_invoices"
    __table_args__ = (
        CheckConstraint("kind IN ('partner','overage')", name="kind"),
        CheckConstraint("(api_key_prefix IS NULL) <> (user_id IS NULL)", name="one_owner"),
        CheckConstraint("status IN ('pending','parked','issued','empty','void')", name="status"),
        CheckConstraint("(status = 'issued') <= (invoice_id IS NOT NULL)", name="issued"),
        Index(
            "uq_usage_invoices_period",
            "kind",
            "api_key_prefix",
            "user_id",
            "period_start",
            unique=True,
            postgresql_nulls_not_distinct=True,
            postgresql_where=text("status <> 'void'"),
        ),
        Index("ix_usage_invoices_invoice_id", "invoice_id", postgresql_where=text("invoice_id IS NOT NULL")),
        Index("ix_usage_invoices_status", "status", postgresql_where=text("status IN ('pending','parked')")),
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    kind: Mapped[str]
    api_key_prefix: Mapped[str | None]
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    period_start: Mapped[datetime]
    period_end: Mapped[datetime]
    timezone: Mapped[str]
    status: Mapped[str] = mapped_column(server_default="pending")
    reasons: Mapped[list[Any] | None]
    """Why it is parked: `[{"guard": "over_average", "why": "…"}]`."""
    contract_ids: Mapped[list[int] | None] = mapped_column(ARRAY(BigInteger))
    """The versions that it was reckoned by."""
    input: Mapped[dict[str, Any] | None]
    input_sha256: Mapped[str | None]
    currency: Mapped[str | None]
    total_cents: Mapped[int | None]
    billed_usage: Mapped[dict[str, Any] | None]
    billed_cents: Mapped[int | None]
    invoice_id: Mapped[int | None] = mapped_column(ForeignKey("invoices.id"))
    job_id: Mapped[int | None]
    released_by: Mapped[str | None]
    stripe_invoice_id: Mapped[str | None] = mapped_column(unique=True)
    """The invoice at Stripe by which it can be paid, once it was pushed."""
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
