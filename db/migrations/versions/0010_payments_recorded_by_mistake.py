"""a payment that was recorded by mistake is voided: its row stays, and says when, by whom and why.

A transaction of milliseconds: the columns are empty, and the index is over the few payments past Stripe.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0010"
down_revision: str | None = "0009"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

KEPT = "id, invoice_id, amount_cents, currency, method, reference, paid_at, recorded_at, recorded_by, credit_id"
OLD, NEW = (", ".join(f"{row}.{name}" for name in KEPT.split(", ")) for row in ("OLD", "NEW"))
TRIGGERS = (
    "DROP TRIGGER manual_payments_kept ON manual_payments",
    # Which credit a surplus became was told by its reason alone: without it, nobody could void such a payment.
    """
    UPDATE manual_payments m SET credit_id = c.id
    FROM invoices i, credits c
    WHERE i.id = m.invoice_id AND c.kind = 'refund' AND c.currency = m.currency AND c.created_at = m.recorded_at
      AND c.reason = 'paid too much for ' || i.invoice_number || ': ' || m.reference
    """,
    """
    CREATE TRIGGER manual_payments_kept BEFORE DELETE ON manual_payments FOR EACH ROW
    EXECUTE FUNCTION issued_for_ever()
    """,
    # Voiding it, once, is the only change that there is.
    f"""
    CREATE TRIGGER manual_payments_recorded BEFORE UPDATE ON manual_payments FOR EACH ROW
    WHEN (({OLD}) IS DISTINCT FROM ({NEW}) OR OLD.voided_at IS NOT NULL OR NEW.voided_at IS NULL)
    EXECUTE FUNCTION issued_for_ever()
    """,
)
BACK = (
    "DROP TRIGGER manual_payments_recorded ON manual_payments",
    "DROP TRIGGER manual_payments_kept ON manual_payments",
    """
    CREATE TRIGGER manual_payments_kept BEFORE UPDATE OR DELETE ON manual_payments FOR EACH ROW
    EXECUTE FUNCTION issued_for_ever()
    """,
)


def upgrade() -> None:
    """Go forward."""
    op.add_column("manual_payments", sa.Column("credit_id", sa.BigInteger(), nullable=True))
    op.add_column("manual_payments", sa.Column("voided_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("manual_payments", sa.Column("voided_by", sa.Text(), nullable=True))
    op.add_column("manual_payments", sa.Column("void_reason", sa.Text(), nullable=True))
    op.create_foreign_key(op.f("fk_manual_payments_credit_id"), "manual_payments", "credits", ["credit_id"], ["id"])
    op.create_check_constraint(
        op.f("ck_manual_payments_voided"),
        "manual_payments",
        "(voided_at IS NULL) = (voided_by IS NULL) AND (voided_at IS NULL) = (void_reason IS NULL)",
    )
    op.drop_constraint(op.f("uq_manual_payments_invoice_id_reference"), "manual_payments", type_="unique")
    op.create_index(
        "uq_manual_payments_invoice_id_reference",
        "manual_payments",
        ["invoice_id", "reference"],
        unique=True,
        postgresql_where=sa.text("voided_at IS NULL"),
    )
    op.create_index("ix_manual_payments_invoice_id", "manual_payments", ["invoice_id"])
    for statement in TRIGGERS:
        op.execute(statement)


def downgrade() -> None:
    """Go back. A payment that was voided stands in the way: it would count again, and its money never came."""
    if (
        op.get_bind()
        .execute(sa.text("SELECT EXISTS (SELECT FROM manual_payments WHERE voided_at IS NOT NULL)"))
        .scalar()
    ):
        raise RuntimeError(
            "payments were voided (`billing invoices void-payment`): without 0010 they would count again"
        )
    for statement in BACK:
        op.execute(statement)
    op.drop_index("ix_manual_payments_invoice_id", table_name="manual_payments")
    op.drop_index(
        "uq_manual_payments_invoice_id_reference",
        table_name="manual_payments",
        postgresql_where=sa.text("voided_at IS NULL"),
    )
    op.create_unique_constraint(
        op.f("uq_manual_payments_invoice_id_reference"), "manual_payments", ["invoice_id", "reference"]
    )
    op.drop_constraint(op.f("ck_manual_payments_voided"), "manual_payments", type_="check")
    op.drop_constraint(op.f("fk_manual_payments_credit_id"), "manual_payments", type_="foreignkey")
    for name in ("void_reason", "voided_by", "voided_at", "credit_id"):
        op.drop_column("manual_payments", name)
