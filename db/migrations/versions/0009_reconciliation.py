"""the books beside Stripe's: balance transactions, comparisons, differences, and checks of our own invariants."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0009"
down_revision: str | None = "0008"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    """Go forward."""
    op.create_table(
        "balance_transactions",
        sa.Column("stripe_balance_transaction_id", sa.Text(), nullable=False),
        sa.Column("livemode", sa.Boolean(), nullable=False),
        sa.Column("stripe_account", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("reporting_category", sa.Text(), nullable=False),
        sa.Column("source_id", sa.Text(), nullable=True),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("amount_cents", sa.BigInteger(), nullable=False),
        sa.Column("fee_cents", sa.BigInteger(), nullable=False),
        sa.Column("net_cents", sa.BigInteger(), nullable=False),
        sa.Column("exchange_rate", sa.Numeric(), nullable=True),
        sa.Column("available_on", sa.DateTime(timezone=True), nullable=False),
        sa.Column("stripe_created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("amount_cents - fee_cents = net_cents", name=op.f("ck_balance_transactions_net")),
        sa.PrimaryKeyConstraint("stripe_balance_transaction_id", name=op.f("pk_balance_transactions")),
    )
    op.create_index(
        "ix_balance_transactions_source_id",
        "balance_transactions",
        ["source_id"],
        unique=False,
        postgresql_where=sa.text("source_id IS NOT NULL"),
    )
    op.create_index(
        "ix_balance_transactions_stripe_created_at", "balance_transactions", ["stripe_created_at"], unique=False
    )
    op.create_table(
        "reconciliation_runs",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("stripe_account", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("stripe_id", sa.Text(), nullable=True),
        sa.Column("livemode", sa.Boolean(), nullable=True),
        sa.Column("asked_by", sa.Text(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("repairs", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'[]'"), nullable=False),
        sa.Column("dry_run", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("advances", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("status", sa.Text(), server_default="running", nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("heartbeat_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("report", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.CheckConstraint("status IN ('running','done','failed')", name=op.f("ck_reconciliation_runs_status")),
        sa.CheckConstraint("since < until", name=op.f("ck_reconciliation_runs_span")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reconciliation_runs")),
    )
    op.create_index("ix_reconciliation_runs_started_at", "reconciliation_runs", ["started_at"], unique=False)
    op.create_index(
        "uq_reconciliation_runs_running",
        "reconciliation_runs",
        ["stripe_account"],
        unique=True,
        postgresql_where=sa.text("status = 'running'"),
    )
    op.create_table(
        "verification_runs",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("asked_by", sa.Text(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("status", sa.Text(), server_default="running", nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("checked", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("findings", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.CheckConstraint("status IN ('running','done','failed')", name=op.f("ck_verification_runs_status")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_verification_runs")),
    )
    op.create_index("ix_verification_runs_started_at", "verification_runs", ["started_at"], unique=False)
    op.create_table(
        "reconciliation_differences",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("stripe_account", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("livemode", sa.Boolean(), nullable=False),
        sa.Column("class", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("object_id", sa.Text(), nullable=False),
        sa.Column("field", sa.Text(), nullable=False),
        sa.Column("here", sa.Text(), nullable=True),
        sa.Column("there", sa.Text(), nullable=True),
        sa.Column("currency", sa.Text(), nullable=True),
        sa.Column("first_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("first_run_id", sa.BigInteger(), nullable=False),
        sa.Column("last_run_id", sa.BigInteger(), nullable=False),
        sa.Column("settled_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("settled_how", sa.Text(), nullable=True),
        sa.Column("settled_run_id", sa.BigInteger(), nullable=True),
        sa.CheckConstraint(
            "class IN ('missing_here','missing_there','amount','currency','status','period','fee','refund','duplicate')",
            name=op.f("ck_reconciliation_differences_class"),
        ),
        sa.CheckConstraint(
            "settled_how IN ('repaired','agrees','dismissed')", name=op.f("ck_reconciliation_differences_settled_how")
        ),
        sa.CheckConstraint(
            "(settled_at IS NULL) = (settled_how IS NULL)", name=op.f("ck_reconciliation_differences_settled")
        ),
        sa.ForeignKeyConstraint(
            ["first_run_id"], ["reconciliation_runs.id"], name=op.f("fk_reconciliation_differences_first_run_id")
        ),
        sa.ForeignKeyConstraint(
            ["last_run_id"], ["reconciliation_runs.id"], name=op.f("fk_reconciliation_differences_last_run_id")
        ),
        sa.ForeignKeyConstraint(
            ["settled_run_id"], ["reconciliation_runs.id"], name=op.f("fk_reconciliation_differences_settled_run_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reconciliation_differences")),
    )
    op.create_index(
        "ix_reconciliation_differences_last_run_id", "reconciliation_differences", ["last_run_id"], unique=False
    )
    op.create_index(
        "ix_reconciliation_differences_object_id", "reconciliation_differences", ["object_id"], unique=False
    )
    op.create_index(
        "uq_reconciliation_differences_open",
        "reconciliation_differences",
        ["stripe_account", "kind", "object_id", "class", "field"],
        unique=True,
        postgresql_where=sa.text("settled_at IS NULL"),
    )
    op.add_column("charges", sa.Column("settlement_currency", sa.Text(), nullable=True))
    op.create_index(
        "ix_charges_without_fee",
        "charges",
        ["stripe_created_at"],
        unique=False,
        postgresql_where=sa.text("status = 'succeeded' AND captured AND stripe_fee_cents IS NULL"),
    )
    op.create_index(
        "ix_invoices_updated_at",
        "invoices",
        ["updated_at"],
        unique=False,
        postgresql_using="brin",
        postgresql_with={"pages_per_range": "32", "autosummarize": "true"},
    )
    op.add_column("payment_history", sa.Column("settlement_currency", sa.Text(), nullable=True))
    op.create_index(
        "ix_payment_history_updated_at",
        "payment_history",
        ["updated_at"],
        unique=False,
        postgresql_using="brin",
        postgresql_with={"pages_per_range": "32", "autosummarize": "true"},
    )
    op.add_column("webhook_events", sa.Column("source", sa.Text(), server_default="webhook", nullable=False))
    op.execute(
        "ALTER TABLE webhook_events ADD CONSTRAINT ck_webhook_events_source CHECK (source IN ('webhook','events_api'))"
    )


def downgrade() -> None:
    """Go back."""
    op.execute("ALTER TABLE webhook_events DROP CONSTRAINT ck_webhook_events_source")
    op.drop_column("webhook_events", "source")
    op.drop_index(
        "ix_payment_history_updated_at",
        table_name="payment_history",
        postgresql_using="brin",
        postgresql_with={"pages_per_range": "32", "autosummarize": "true"},
    )
    op.drop_column("payment_history", "settlement_currency")
    op.drop_index(
        "ix_invoices_updated_at",
        table_name="invoices",
        postgresql_using="brin",
        postgresql_with={"pages_per_range": "32", "autosummarize": "true"},
    )
    op.drop_index(
        "ix_charges_without_fee",
        table_name="charges",
        postgresql_where=sa.text("status = 'succeeded' AND captured AND stripe_fee_cents IS NULL"),
    )
    op.drop_column("charges", "settlement_currency")
    op.drop_index(
        "uq_reconciliation_differences_open",
        table_name="reconciliation_differences",
        postgresql_where=sa.text("settled_at IS NULL"),
    )
    op.drop_index("ix_reconciliation_differences_object_id", table_name="reconciliation_differences")
    op.drop_index("ix_reconciliation_differences_last_run_id", table_name="reconciliation_differences")
    op.drop_table("reconciliation_differences")
    op.drop_index("ix_verification_runs_started_at", table_name="verification_runs")
    op.drop_table("verification_runs")
    op.drop_index(
        "uq_reconciliation_runs_running",
        table_name="reconciliation_runs",
        postgresql_where=sa.text("status = 'running'"),
    )
    op.drop_index("ix_reconciliation_runs_started_at", table_name="reconciliation_runs")
    op.drop_table("reconciliation_runs")
    op.drop_index("ix_balance_transactions_stripe_created_at", table_name="balance_transactions")
    op.drop_index(
        "ix_balance_transactions_source_id",
        table_name="balance_transactions",
        postgresql_where=sa.text("source_id IS NOT NULL"),
    )
    op.drop_table("balance_transactions")
