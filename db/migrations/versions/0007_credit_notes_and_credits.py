"""credit notes of our own are numbered and kept like invoices; credits and payments past Stripe add up."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0007"
down_revision: str | None = "0006"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

OWN_NOTE = "stripe_credit_note_id IS NULL"
ISSUED_NOTE = f"{OWN_NOTE} AND series IS NOT NULL"
SAYS = (
    *("id", "stripe_credit_note_id", "invoice_id", "number", "series", "type", "memo", "currency", "amount_cents"),
    *("subtotal_cents", "tax_cents", "discount_cents", "total_cents", "out_of_band_cents", "metadata"),
    *("stripe_created_at", "livemode"),
)
"""What a credit note of ours says, and what it did with the money."""

CHANGED = " OR ".join(f"OLD.{name} IS DISTINCT FROM NEW.{name}" for name in SAYS)

COUNTS_ALL = f"""
    SELECT (SELECT coalesce(sum(next_number - 1), 0) FROM invoice_series WHERE series = NEW.series),
           (SELECT count(*) FROM invoices
            WHERE kind IS NOT NULL AND invoice_number IS NOT NULL AND series = NEW.series)
         + (SELECT count(*) FROM credit_notes WHERE {OWN_NOTE} AND series = NEW.series)
"""  # noqa: S608 - a constant of ours
COUNTS_INVOICES = """
    SELECT (SELECT coalesce(sum(next_number - 1), 0) FROM invoice_series WHERE series = NEW.series),
           (SELECT count(*) FROM invoices
            WHERE kind IS NOT NULL AND invoice_number IS NOT NULL AND series = NEW.series)
"""


def _adds_up(counts: str) -> str:
    """The trigger of 0004, which counts what has a number of a series."""
    return f"""
    CREATE OR REPLACE FUNCTION series_adds_up() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
        balance bigint := series_balance(NEW.series, 0);
        counted bigint;
        issued bigint;
    BEGIN
        IF TG_OP = 'UPDATE' AND balance = 0 THEN
            RETURN NULL;
        END IF;
        {counts} INTO counted, issued;
        IF counted < issued OR (balance <> 0 AND counted <> issued) THEN
            RAISE EXCEPTION 'series %: % numbers are counted, % invoices have one: `billing doctor` tells what to do',
                NEW.series, counted, issued USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        RETURN NULL;
    END $$
    """


FUNCTIONS = (
    _adds_up(COUNTS_ALL),
    f"""
    CREATE TRIGGER credit_notes_numbered AFTER INSERT ON credit_notes FOR EACH ROW
    WHEN (NEW.{OWN_NOTE} AND NEW.series IS NOT NULL) EXECUTE FUNCTION series_given()
    """,
    f"""
    CREATE TRIGGER credit_notes_issued BEFORE UPDATE ON credit_notes FOR EACH ROW
    WHEN (OLD.{OWN_NOTE} AND ({CHANGED})) EXECUTE FUNCTION issued_for_ever()
    """,
    f"""
    CREATE TRIGGER credit_notes_kept BEFORE DELETE ON credit_notes FOR EACH ROW
    WHEN (OLD.{OWN_NOTE}) EXECUTE FUNCTION issued_for_ever()
    """,
    f"""
    CREATE TRIGGER credit_notes_not_emptied BEFORE TRUNCATE ON credit_notes FOR EACH STATEMENT
    EXECUTE FUNCTION issued_not_emptied('{OWN_NOTE}')
    """,
    """
    CREATE TRIGGER manual_payments_kept BEFORE UPDATE OR DELETE ON manual_payments FOR EACH ROW
    EXECUTE FUNCTION issued_for_ever()
    """,
    # What a credit has left and what it paid for is what was given, whoever writes: looked at as a transaction ends.
    """
    CREATE FUNCTION credit_adds_up() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
        of_credit bigint := CASE TG_TABLE_NAME WHEN 'credits' THEN (to_jsonb(NEW)->>'id')::bigint
                                               ELSE (to_jsonb(NEW)->>'credit_id')::bigint END;
        given bigint;
        has bigint;
        spent bigint;
    BEGIN
        SELECT amount_cents, remaining_cents INTO given, has FROM credits WHERE id = of_credit;
        SELECT coalesce(sum(amount_cents), 0) INTO spent FROM credit_applications
            WHERE credit_id = of_credit AND reversed_at IS NULL;
        IF given IS DISTINCT FROM has + spent THEN
            RAISE EXCEPTION 'credit %: % were given, but % are left and % are spent', of_credit, given, has, spent
                USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        RETURN NULL;
    END $$
    """,
    """
    CREATE FUNCTION credit_for_ever() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION '% %: what was given or spent is neither changed nor removed', TG_TABLE_NAME, OLD.id
            USING ERRCODE = 'integrity_constraint_violation';
    END $$
    """,
    *(
        f"CREATE CONSTRAINT TRIGGER {table}_add_up AFTER INSERT OR UPDATE ON {table}"
        " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION credit_adds_up()"
        for table in ("credits", "credit_applications")
    ),
    *(
        f"CREATE TRIGGER {table}_kept BEFORE DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION credit_for_ever()"
        for table in ("credits", "credit_applications", "promo_redemptions")
    ),
    """
    CREATE TRIGGER credits_given BEFORE UPDATE ON credits FOR EACH ROW
    WHEN ((OLD.id, OLD.api_key_prefix, OLD.user_id, OLD.kind, OLD.currency, OLD.amount_cents, OLD.created_at)
          IS DISTINCT FROM
          (NEW.id, NEW.api_key_prefix, NEW.user_id, NEW.kind, NEW.currency, NEW.amount_cents, NEW.created_at)
          OR (OLD.voided_at IS NOT NULL AND NEW.voided_at IS NULL))
    EXECUTE FUNCTION credit_for_ever()
    """,
    """
    CREATE TRIGGER credit_applications_spent BEFORE UPDATE ON credit_applications FOR EACH ROW
    WHEN ((OLD.id, OLD.credit_id, OLD.invoice_id, OLD.amount_cents, OLD.created_at)
          IS DISTINCT FROM (NEW.id, NEW.credit_id, NEW.invoice_id, NEW.amount_cents, NEW.created_at)
          OR (OLD.reversed_at IS NOT NULL AND NEW.reversed_at IS DISTINCT FROM OLD.reversed_at))
    EXECUTE FUNCTION credit_for_ever()
    """,
)
DROP = (
    "DROP FUNCTION credit_for_ever() CASCADE",  # with the triggers that call them
    "DROP FUNCTION credit_adds_up() CASCADE",
    "DROP TRIGGER manual_payments_kept ON manual_payments",
    *(f"DROP TRIGGER credit_notes_{name} ON credit_notes" for name in ("numbered", "issued", "kept", "not_emptied")),
    _adds_up(COUNTS_INVOICES),
)


def upgrade() -> None:
    """Go forward."""
    op.add_column("credit_notes", sa.Column("series", sa.Text(), nullable=True))
    for statement in FUNCTIONS:
        op.execute(statement)


def downgrade() -> None:
    """Go back."""
    for statement in DROP:
        op.execute(statement)
    op.drop_column("credit_notes", "series")
