"""Invoices in arrears: a case each, the steps that were taken in it, and how it ended."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Identity, Index, SmallInteger, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from db.models.base import Base


class DunningPolicy(Base):
    """How customers are dunned, as data: the first policy by `position` that fits a new case is its own."""

    __tablename__ = "dunning_policies"

    name: Mapped[str] = mapped_column(primary_key=True)
    position: Mapped[int]
    applies_to: Mapped[dict[str, Any]]
    steps: Mapped[list[Any]]
    hours: Mapped[dict[str, Any]]
    """When letters may go, in the customer's time zone."""
    updated_at: Mapped[datetime]
    updated_by: Mapped[str]


class DunningCase(Base):
    """One invoice that was not paid in time. There is one case per invoice, ever.

    Stripe's invoices are named by `stripe_invoice_id`, our own (migration 0006) by `invoice_id` alone.
    """

    __tablename__ = "dunning_cases"
    __table_args__ = (
        CheckConstraint("status IN ('open','paused','closed')", name="status"),
        CheckConstraint(
            "(status = 'closed') = (outcome IS NOT NULL) AND (status = 'closed') = (closed_at IS NOT NULL)",
            name="closed",
        ),
        CheckConstraint(
            "outcome IN ('recovered','lost','canceled','void','disputed','refunded','exempt')", name="outcome"
        ),
        Index("ix_dunning_cases_open", "next_step_at", postgresql_where=text("status <> 'closed'")),
        CheckConstraint("(status = 'paused') = (paused_by IS NOT NULL)", name="paused"),
        CheckConstraint("paused_by IN ('stripe','operator')", name="paused_by"),
        CheckConstraint("stripe_invoice_id IS NOT NULL OR invoice_id IS NOT NULL", name="about"),
        Index(
            "uq_dunning_cases_own_invoice_id",
            "invoice_id",
            unique=True,
            postgresql_where=text("stripe_invoice_id IS NULL"),
        ),
        Index("ix_dunning_cases_user_id", "user_id"),
        Index("ix_dunning_cases_stripe_customer_id", "stripe_customer_id"),
        Index("ix_dunning_cases_stripe_subscription_id", "stripe_subscription_id"),
        Index("ix_dunning_cases_opened_at", "opened_at"),
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    stripe_invoice_id: Mapped[str | None] = mapped_column(unique=True)
    """None: the invoice is our own."""
    invoice_id: Mapped[int | None] = mapped_column(ForeignKey("invoices.id"))
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id"))
    stripe_customer_id: Mapped[str | None]
    stripe_subscription_id: Mapped[str | None]
    livemode: Mapped[bool] = mapped_column(server_default=text("false"))
    stripe_account: Mapped[str] = mapped_column(server_default=text("''"))
    opened_by: Mapped[str]
    """What opened it: `payment_failed`, `payment_action_required` or `overdue`."""
    currency: Mapped[str]
    amount_cents: Mapped[int]
    """What was due when it was opened, in minor units."""
    paid_at_opening_cents: Mapped[int] = mapped_column(server_default=text("0"))
    """What had been paid of the invoice before: no dunning brought that in."""
    policy: Mapped[str]
    steps: Mapped[list[Any]]
    hours: Mapped[dict[str, Any]]
    """The policy's steps and hours as they were when the case was opened: a later change does not rewrite it."""
    timezone: Mapped[str | None]
    failed_at: Mapped[datetime]
    """When the payment failed (or the invoice became overdue) by Stripe's clock: all steps count from here."""
    opened_at: Mapped[datetime]
    status: Mapped[str] = mapped_column(server_default="open")
    outcome: Mapped[str | None]
    reason: Mapped[str | None]
    """Why it is paused, or how it was closed."""
    decline_code: Mapped[str | None]
    attempt_count: Mapped[int | None]
    next_payment_attempt: Mapped[datetime | None]
    done_step: Mapped[int] = mapped_column(SmallInteger, server_default="-1")
    """The position of the newest step that was taken, collapsed or skipped; -1: none yet."""
    next_step_at: Mapped[datetime | None]
    grace_days: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    """Days that operators gave: all steps not taken yet are that much later."""
    paused_by: Mapped[str | None]
    """Who paused it: `stripe` (collection is paused there, and it goes on when that ends) or `operator`."""
    paused_until: Mapped[datetime | None]
    turn: Mapped[int] = mapped_column(server_default="0")
    """Counts the times that the next step was staged anew; a job of an older turn does nothing."""
    acting: Mapped[str | None]
    """The final action that is under way at Stripe, decided but not known to be done."""
    final_action: Mapped[str | None]
    """The final action, once it was taken."""
    closed_at: Mapped[datetime | None]
    recovered_cents: Mapped[int | None]
    """What was paid since it was opened."""
    credited_cents: Mapped[int] = mapped_column(server_default=text("0"))
    """The part of `amount_cents` that was neither paid nor owed any more when it was closed: credit notes."""
    recovered_after_step: Mapped[int | None] = mapped_column(SmallInteger)
    """The newest step that had been taken when the money came, by Stripe's time of it."""


class DunningStep(Base):
    """What was done at one step of a case: at most one row per step, ever."""

    __tablename__ = "dunning_steps"
    __table_args__ = (
        UniqueConstraint("case_id", "position"),
        CheckConstraint("outcome IN ('taken','collapsed','skipped')", name="outcome"),
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    case_id: Mapped[int] = mapped_column(ForeignKey("dunning_cases.id"))
    position: Mapped[int] = mapped_column(SmallInteger)
    letter: Mapped[str | None]
    action: Mapped[str | None]
    outcome: Mapped[str]
    email_id: Mapped[int | None] = mapped_column(ForeignKey("emails.id"))
    due_at: Mapped[datetime]
    taken_at: Mapped[datetime]
    read_from: Mapped[str | None]
    """Where the invoice was read afresh before: `stripe` or, without a key, `ledger`."""
    detail: Mapped[str | None]
