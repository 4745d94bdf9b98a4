"""Our books beside Stripe's: the money that moved there, each comparison, and each difference that was found."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Identity, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from db.models.base import Base


class BalanceTransaction(Base):
    """Money that moved on the balance at Stripe: https://docs.stripe.com/api/balance_transactions.

    Amounts are signed, in minor units of `currency`, which is that of the balance: `source_id` may have been paid in
    another one, and `exchange_rate` tells how it was converted. Stripe never changes what is copied here.
    """

    __tablename__ = "balance_transactions"
    __table_args__ = (
        CheckConstraint("amount_cents - fee_cents = net_cents", name="net"),
        Index("ix_balance_transactions_source_id", "source_id", postgresql_where=text("source_id IS NOT NULL")),
        Index("ix_balance_transactions_stripe_created_at", "stripe_created_at"),
    )

    stripe_balance_transaction_id: Mapped[str] = mapped_column(primary_key=True)
    livemode: Mapped[bool]
    stripe_account: Mapped[str] = mapped_column(server_default=text("''"))
    type: Mapped[str]
    reporting_category: Mapped[str]
    source_id: Mapped[str | None]
    currency: Mapped[str]
    amount_cents: Mapped[int]
    fee_cents: Mapped[int]
    net_cents: Mapped[int]
    exchange_rate: Mapped[Decimal | None]
    available_on: Mapped[datetime]
    stripe_created_at: Mapped[datetime]
    seen_at: Mapped[datetime]
    """When we first saw it."""


class ReconciliationRun(Base):
    """One comparison of the books with Stripe. `until` of the last complete one is where the next begins."""

    __tablename__ = "reconciliation_runs"
    __table_args__ = (
        CheckConstraint("status IN ('running','done','failed')", name="status"),
        CheckConstraint("since < until", name="span"),
        Index("ix_reconciliation_runs_started_at", "started_at"),
        Index(
            "uq_reconciliation_runs_running",
            "stripe_account",
            unique=True,
            postgresql_where=text("status = 'running'"),
        ),
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    stripe_account: Mapped[str] = mapped_column(server_default=text("''"))
    stripe_id: Mapped[str | None]
    """Whose key it was (acct_…), where that key may read its own account: the next run is made with one of the same."""
    livemode: Mapped[bool | None]
    asked_by: Mapped[str]
    """An operator, or `schedule`."""
    since: Mapped[datetime]
    until: Mapped[datetime]
    """Stripe's time of the newest event when the run began: what came later is the next run's."""
    repairs: Mapped[list[Any]] = mapped_column(server_default=text("'[]'"))
    """The classes of differences that it was to mend."""
    dry_run: Mapped[bool] = mapped_column(server_default=text("false"))
    advances: Mapped[bool] = mapped_column(server_default=text("false"))
    """Whether it left no gap to the complete run before, so that the next begins at its `until`."""
    status: Mapped[str] = mapped_column(server_default="running")
    started_at: Mapped[datetime]
    heartbeat_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    error: Mapped[str | None]
    report: Mapped[dict[str, Any] | None]
    """Totals by currency here and there, differences by class, what was mended, requests and seconds."""


class ReconciliationDifference(Base):
    """Something on which our books and Stripe's do not agree; it stays, with the time at which it was mended."""

    __tablename__ = "reconciliation_differences"
    __table_args__ = (
        CheckConstraint(
            "class IN ('missing_here','missing_there','amount','currency','status','period','fee','refund',"
            "'duplicate')",
            name="class",
        ),
        CheckConstraint("(settled_at IS NULL) = (settled_how IS NULL)", name="settled"),
        CheckConstraint("settled_how IN ('repaired','agrees','dismissed')", name="settled_how"),
        Index(
            "uq_reconciliation_differences_open",
            "stripe_account",
            "kind",
            "object_id",
            "class",
            "field",
            unique=True,
            postgresql_where=text("settled_at IS NULL"),
        ),
        Index("ix_reconciliation_differences_object_id", "object_id"),
        Index("ix_reconciliation_differences_last_run_id", "last_run_id"),
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    stripe_account: Mapped[str] = mapped_column(server_default=text("''"))
    livemode: Mapped[bool]
    class_: Mapped[str] = mapped_column("class")
    kind: Mapped[str]
    """Stripe's name of the object: `charge`, `invoice`, `payout` …"""
    object_id: Mapped[str]
    field: Mapped[str]
    """The column that differs; empty when the whole object is missing on one side."""
    here: Mapped[str | None]
    there: Mapped[str | None]
    currency: Mapped[str | None]
    """Of both values, where they are amounts (minor units)."""
    first_seen_at: Mapped[datetime]
    last_seen_at: Mapped[datetime]
    first_run_id: Mapped[int] = mapped_column(ForeignKey("reconciliation_runs.id"))
    last_run_id: Mapped[int] = mapped_column(ForeignKey("reconciliation_runs.id"))
    settled_at: Mapped[datetime | None]
    settled_how: Mapped[str | None]
    settled_run_id: Mapped[int | None] = mapped_column(ForeignKey("reconciliation_runs.id"))


class VerificationRun(Base):
    """One check of the books' own invariants; `findings` has the offending rows of each that does not hold."""

    __tablename__ = "verification_runs"
    __table_args__ = (
        CheckConstraint("status IN ('running','done','failed')", name="status"),
        Index("ix_verification_runs_started_at", "started_at"),
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    asked_by: Mapped[str]
    since: Mapped[datetime | None]
    """Only rows that changed since then were looked at; None: all of them."""
    status: Mapped[str] = mapped_column(server_default="running")
    started_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]
    error: Mapped[str | None]
    checked: Mapped[dict[str, Any] | None]
    """By invariant: seconds, and how many rows break it."""
    findings: Mapped[list[Any] | None]
