"""usage, what it was invoiced as, credits and payments are not emptied by TRUNCATE either."""

from collections.abc import Sequence

from alembic import op

revision: str = "0008"
down_revision: str | None = "0007"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

TABLES = (
    "usage_events",
    "usage_keys",
    "usage_invoices",
    "credits",
    "credit_applications",
    "manual_payments",
)
"""Their rows are kept by triggers of 0005 and 0007, which TRUNCATE does not fire; those of keys count what came once."""


def upgrade() -> None:
    """Go forward."""
    for table in TABLES:
        op.execute(
            f"CREATE TRIGGER {table}_not_emptied BEFORE TRUNCATE ON {table} FOR EACH STATEMENT"
            " EXECUTE FUNCTION issued_not_emptied('true')"
        )


def downgrade() -> None:
    """Go back."""
    for table in TABLES:
        op.execute(f"DROP TRIGGER {table}_not_emptied ON {table}")
