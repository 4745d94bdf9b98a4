"""dunning cases of invoices of our own, which Stripe does not know."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    """Go forward. Cases are few, and none of those that are there is touched: each lock is held for a moment."""
    op.alter_column("dunning_cases", "stripe_invoice_id", existing_type=sa.Text(), nullable=True)
    op.create_index(
        "uq_dunning_cases_own_invoice_id",
        "dunning_cases",
        ["invoice_id"],
        unique=True,
        postgresql_where=sa.text("stripe_invoice_id IS NULL"),
    )
    op.execute(
        "ALTER TABLE dunning_cases ADD CONSTRAINT ck_dunning_cases_about"
        " CHECK (stripe_invoice_id IS NOT NULL OR invoice_id IS NOT NULL) NOT VALID"
    )
    op.execute("ALTER TABLE dunning_cases VALIDATE CONSTRAINT ck_dunning_cases_about")


def downgrade() -> None:
    """Go back. It fails while there are cases of our own invoices: they would have no name."""
    op.execute("ALTER TABLE dunning_cases DROP CONSTRAINT ck_dunning_cases_about")
    op.drop_index(
        "uq_dunning_cases_own_invoice_id",
        table_name="dunning_cases",
        postgresql_where=sa.text("stripe_invoice_id IS NULL"),
    )
    op.alter_column("dunning_cases", "stripe_invoice_id", existing_type=sa.Text(), nullable=False)
