"""documents, their assets and series; letters with attachments; what our own invoices are for."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

CHECKS = (
    ("invoices", "kind", "kind IN ('partner','overage','manual')"),
    ("invoices", "own", "kind IS NULL OR stripe_invoice_id IS NULL"),
    (
        "invoices",
        "numbered",
        "kind IS NULL OR status = 'draft' OR (invoice_number IS NOT NULL AND finalized_at IS NOT NULL)",
    ),
    ("credit_notes", "own", "stripe_credit_note_id IS NOT NULL OR (invoice_id IS NOT NULL AND number IS NOT NULL)"),
)
"""Every row that is there fulfils them, since the columns are new or were never null: one quick look at each table."""

ISSUED = "kind IS NOT NULL AND invoice_number IS NOT NULL"
"""An invoice of ours that has its number; Stripe's follow Stripe, as they always did."""


def _frozen(*columns: str) -> str:
    """Whether an update changes one of these columns."""
    old, new = (", ".join(f"{side}.{column}" for column in columns) for side in ("OLD", "NEW"))
    return f"(({old}) IS DISTINCT FROM ({new}))"


INVOICE_SAYS = _frozen(
    *("id", "kind", "invoice_number", "series", "seller", "finalized_at", "livemode", "stripe_account"),
    *("stripe_invoice_id", "user_id", "api_key_prefix", "customer_email", "customer_name", "currency"),
    *("subtotal_cents", "tax_cents", "discount_cents", "total_cents", "amount_due_cents"),
    *("billing_period_start", "billing_period_end", "due_date", "line_items", "line_items_complete"),
)
OWN_KEY_CHANGES = """
    OLD.own_key IS DISTINCT FROM NEW.own_key AND
    (OLD.status <> 'void' AND NEW.status = 'void' AND NEW.own_key = OLD.own_key || '#void-' || OLD.id) IS NOT TRUE
"""
"""Voiding frees the key, so that the same thing can be invoiced rightly."""
DOCUMENT_SAYS = _frozen(
    *("id", "key", "kind", "number", "locale", "currency", "total_cents", "content", "content_sha256", "stamp"),
    *("invoice_id", "stripe_invoice_id", "stripe_object_id", "user_id", "mailed", "file", "copy_of"),
    *("issued_at", "created_at"),
)

TRIGGERS = (
    """
    CREATE FUNCTION issued_for_ever() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION '% %: what was issued is neither changed nor removed: issue another one', TG_TABLE_NAME,
            coalesce(to_jsonb(OLD)->>'id', to_jsonb(OLD)->>'sha256', to_jsonb(OLD)->>'series')
            USING ERRCODE = 'integrity_constraint_violation';
    END $$
    """,
    # TRUNCATE fires no row triggers; its argument is which rows forbid it, so that Stripe's books can be filled anew.
    """
    CREATE FUNCTION issued_not_emptied() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE found boolean;
    BEGIN
        EXECUTE format('SELECT EXISTS (SELECT FROM %I.%I WHERE %s)', TG_TABLE_SCHEMA, TG_TABLE_NAME, TG_ARGV[0])
            INTO found;
        IF found THEN
            RAISE EXCEPTION '%: what was issued is neither changed nor removed, not by TRUNCATE either', TG_TABLE_NAME
                USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        RETURN NULL;
    END $$
    """,
    f"""
    CREATE TRIGGER documents_issued BEFORE UPDATE ON documents FOR EACH ROW
    WHEN (
        {DOCUMENT_SAYS}
        OR (OLD.sha256 IS NOT NULL AND {_frozen("sha256", "size_bytes", "stored_at")})
    )
    EXECUTE FUNCTION issued_for_ever()
    """,
    """
    CREATE TRIGGER documents_kept BEFORE DELETE ON documents FOR EACH ROW EXECUTE FUNCTION issued_for_ever()
    """,
    f"""
    CREATE TRIGGER invoices_issued BEFORE UPDATE ON invoices FOR EACH ROW
    WHEN (
        OLD.kind IS NOT NULL AND OLD.invoice_number IS NOT NULL AND (
            {INVOICE_SAYS}
            OR {OWN_KEY_CHANGES}
            OR (OLD.status = 'void' AND {_frozen("status", "voided_at", "void_reason")})
            OR NEW.status IS NULL OR NEW.status = 'draft' OR NEW.deleted_at IS NOT NULL
        )
    )
    EXECUTE FUNCTION issued_for_ever()
    """,
    """
    CREATE TRIGGER invoices_kept BEFORE DELETE ON invoices FOR EACH ROW
    WHEN (OLD.kind IS NOT NULL AND OLD.invoice_number IS NOT NULL) EXECUTE FUNCTION issued_for_ever()
    """,
    """
    CREATE TRIGGER document_assets_kept BEFORE UPDATE OR DELETE ON document_assets FOR EACH ROW
    EXECUTE FUNCTION issued_for_ever()
    """,
    """
    CREATE TRIGGER invoice_series_kept BEFORE DELETE ON invoice_series FOR EACH ROW EXECUTE FUNCTION issued_for_ever()
    """,
    """
    CREATE TRIGGER invoice_series_forward BEFORE UPDATE ON invoice_series FOR EACH ROW
    WHEN ((OLD.series, OLD.year) IS DISTINCT FROM (NEW.series, NEW.year) OR NEW.next_number < OLD.next_number)
    EXECUTE FUNCTION issued_for_ever()
    """,
    *(
        f"CREATE TRIGGER {table}_not_emptied BEFORE TRUNCATE ON {table} FOR EACH STATEMENT"
        f" EXECUTE FUNCTION issued_not_emptied('{which}')"
        for table, which in (
            ("invoices", ISSUED),
            ("documents", "true"),
            ("document_assets", "true"),
            ("invoice_series", "true"),
        )
    ),
    # What a transaction takes from a series, it gives to invoices: the two are set off in a setting that lives as long
    # as the transaction, and at its end nothing is left over. That costs the same however many invoices there are.
    """
    CREATE FUNCTION series_balance(of_series text, change bigint) RETURNS bigint LANGUAGE plpgsql AS $$
    DECLARE
        balances jsonb := coalesce(nullif(current_setting('billing.numbers_taken', true), '')::jsonb, '{}');
        balance bigint := coalesce((balances->>of_series)::bigint, 0) + change;
    BEGIN
        IF change <> 0 THEN
            PERFORM set_config(
                'billing.numbers_taken', (balances || jsonb_build_object(of_series, balance))::text, true
            );
        END IF;
        RETURN balance;
    END $$
    """,
    """
    CREATE FUNCTION series_taken() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM series_balance(
            NEW.series, NEW.next_number - CASE WHEN TG_OP = 'INSERT' THEN 1 ELSE OLD.next_number END
        );
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER invoice_series_taken AFTER INSERT OR UPDATE ON invoice_series FOR EACH ROW
    EXECUTE FUNCTION series_taken()
    """,
    """
    CREATE FUNCTION series_given() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        PERFORM series_balance(NEW.series, -1);
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER invoices_numbered AFTER UPDATE ON invoices FOR EACH ROW
    WHEN (
        NEW.kind IS NOT NULL AND NEW.series IS NOT NULL AND OLD.invoice_number IS NULL AND NEW.invoice_number IS NOT NULL
    )
    EXECUTE FUNCTION series_given()
    """,
    # All invoices are counted only when a year of a series begins (its row may have been lost: numbers would come twice),
    # and when the balance is not even: then somebody repairs the series by hand, and may, if it is right afterwards.
    f"""
    CREATE FUNCTION series_adds_up() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE
        balance bigint := series_balance(NEW.series, 0);
        counted bigint;
        issued bigint;
    BEGIN
        IF TG_OP = 'UPDATE' AND balance = 0 THEN
            RETURN NULL;
        END IF;
        SELECT (SELECT coalesce(sum(next_number - 1), 0) FROM invoice_series WHERE series = NEW.series),
               (SELECT count(*) FROM invoices WHERE {ISSUED} AND series = NEW.series)
        INTO counted, issued;
        IF counted < issued OR (balance <> 0 AND counted <> issued) THEN
            RAISE EXCEPTION 'series %: % numbers are counted, % invoices have one: `billing doctor` tells what to do',
                NEW.series, counted, issued USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        RETURN NULL;
    END $$
    """,  # noqa: S608 - a constant of ours
    """
    CREATE CONSTRAINT TRIGGER invoice_series_adds_up AFTER INSERT OR UPDATE ON invoice_series
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION series_adds_up()
    """,
)
DROP_TRIGGERS = tuple(
    f"DROP FUNCTION {name} CASCADE"  # with the triggers that call it
    for name in (
        *("series_adds_up()", "series_given()", "series_taken()", "series_balance(text, bigint)"),
        *("issued_not_emptied()", "issued_for_ever()"),
    )
)


def upgrade() -> None:
    """Go forward."""
    # ### commands auto generated by Alembic - please adjust! ###
    op.create_table(
        "document_assets",
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("media_type", sa.Text(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_document_assets")),
    )
    op.create_table(
        "invoice_series",
        sa.Column("series", sa.Text(), nullable=False),
        sa.Column("year", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("next_number", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("next_number >= 1", name=op.f("ck_invoice_series_next_number")),
        sa.PrimaryKeyConstraint("series", "year", name=op.f("pk_invoice_series")),
    )
    op.create_table(
        "documents",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("invoice_id", sa.BigInteger(), nullable=True),
        sa.Column("stripe_invoice_id", sa.Text(), nullable=True),
        sa.Column("stripe_object_id", sa.Text(), nullable=True),
        sa.Column("user_id", sa.BigInteger(), nullable=True),
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("locale", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("total_cents", sa.BigInteger(), nullable=False),
        sa.Column("content", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("content_sha256", sa.Text(), nullable=False),
        sa.Column("stamp", sa.Text(), nullable=True),
        sa.Column("mailed", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("status", sa.Text(), server_default="waiting", nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("attempts", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("job_id", sa.BigInteger(), nullable=True),
        sa.Column("file", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=True),
        sa.Column("size_bytes", sa.BigInteger(), nullable=True),
        sa.Column("copy_of", sa.BigInteger(), nullable=True),
        sa.Column("issued_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("stored_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(status = 'stored') = (sha256 IS NOT NULL) AND (sha256 IS NULL) = (size_bytes IS NULL) AND (sha256 IS NULL) = (stored_at IS NULL)",
            name=op.f("ck_documents_stored"),
        ),
        sa.CheckConstraint("kind IN ('invoice','credit_note','receipt')", name=op.f("ck_documents_kind")),
        sa.CheckConstraint("status <> 'dead' OR reason IS NOT NULL", name=op.f("ck_documents_dead")),
        sa.CheckConstraint("status IN ('waiting','stored','dead')", name=op.f("ck_documents_status")),
        sa.CheckConstraint("invoice_id IS NOT NULL OR stripe_object_id IS NOT NULL", name=op.f("ck_documents_about")),
        sa.ForeignKeyConstraint(["copy_of"], ["documents.id"], name=op.f("fk_documents_copy_of")),
        sa.ForeignKeyConstraint(["invoice_id"], ["invoices.id"], name=op.f("fk_documents_invoice_id")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_documents_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_documents")),
        sa.UniqueConstraint("file", name=op.f("uq_documents_file")),
        sa.UniqueConstraint("key", name=op.f("uq_documents_key")),
    )
    op.create_index(
        "ix_documents_copy_of", "documents", ["copy_of"], unique=False, postgresql_where=sa.text("copy_of IS NOT NULL")
    )
    op.create_index(
        "ix_documents_invoice_id",
        "documents",
        ["invoice_id"],
        unique=False,
        postgresql_where=sa.text("invoice_id IS NOT NULL"),
    )
    op.create_index("ix_documents_issued_at", "documents", ["issued_at"], unique=False)
    op.create_index("ix_documents_number", "documents", ["number"], unique=False)
    op.create_index(
        "ix_documents_status", "documents", ["status"], unique=False, postgresql_where=sa.text("status <> 'stored'")
    )
    op.create_index(
        "ix_documents_stripe_invoice_id",
        "documents",
        ["stripe_invoice_id"],
        unique=False,
        postgresql_where=sa.text("stripe_invoice_id IS NOT NULL"),
    )
    op.create_index(
        "ix_documents_stripe_object_id",
        "documents",
        ["stripe_object_id"],
        unique=False,
        postgresql_where=sa.text("stripe_object_id IS NOT NULL"),
    )
    op.create_index(
        "ix_documents_user_id", "documents", ["user_id"], unique=False, postgresql_where=sa.text("user_id IS NOT NULL")
    )
    op.add_column("credit_notes", sa.Column("invoice_id", sa.BigInteger(), nullable=True))
    op.alter_column("credit_notes", "stripe_credit_note_id", existing_type=sa.TEXT(), nullable=True)
    op.create_index(
        "ix_credit_notes_invoice_id",
        "credit_notes",
        ["invoice_id"],
        unique=False,
        postgresql_where=sa.text("invoice_id IS NOT NULL"),
    )
    op.create_index(
        "uq_credit_notes_own_number",
        "credit_notes",
        ["number"],
        unique=True,
        postgresql_where=sa.text("stripe_credit_note_id IS NULL"),
    )
    op.execute(
        "ALTER TABLE credit_notes ADD CONSTRAINT fk_credit_notes_invoice_id"
        " FOREIGN KEY (invoice_id) REFERENCES invoices (id) NOT VALID"
    )
    op.execute("ALTER TABLE credit_notes VALIDATE CONSTRAINT fk_credit_notes_invoice_id")
    op.add_column("emails", sa.Column("document_ids", postgresql.ARRAY(sa.BigInteger()), nullable=True))
    op.add_column("invoices", sa.Column("kind", sa.Text(), nullable=True))
    op.add_column("invoices", sa.Column("own_key", sa.Text(), nullable=True))
    op.add_column("invoices", sa.Column("seller", sa.Text(), nullable=True))
    op.add_column("invoices", sa.Column("series", sa.Text(), nullable=True))
    op.add_column("invoices", sa.Column("void_reason", sa.Text(), nullable=True))
    op.create_index(
        "uq_invoices_own_key", "invoices", ["own_key"], unique=True, postgresql_where=sa.text("own_key IS NOT NULL")
    )
    # ### end Alembic commands ###
    for table in ("invoices", "credit_notes"):
        added = [
            f"ADD CONSTRAINT ck_{table}_{name} CHECK ({condition})" for of, name, condition in CHECKS if of == table
        ]
        op.execute(f"ALTER TABLE {table} {', '.join(added)}")
    for statement in TRIGGERS:
        op.execute(statement)


def downgrade() -> None:
    """Go back."""
    for statement in DROP_TRIGGERS:
        op.execute(statement)
    for table, name, _ in CHECKS:
        op.execute(f"ALTER TABLE {table} DROP CONSTRAINT ck_{table}_{name}")
    # ### commands auto generated by Alembic - please adjust! ###
    op.drop_index("uq_invoices_own_key", table_name="invoices", postgresql_where=sa.text("own_key IS NOT NULL"))
    op.drop_column("invoices", "void_reason")
    op.drop_column("invoices", "series")
    op.drop_column("invoices", "seller")
    op.drop_column("invoices", "own_key")
    op.drop_column("invoices", "kind")
    op.drop_column("emails", "document_ids")
    op.drop_constraint(op.f("fk_credit_notes_invoice_id"), "credit_notes", type_="foreignkey")
    op.drop_index(
        "uq_credit_notes_own_number",
        table_name="credit_notes",
        postgresql_where=sa.text("stripe_credit_note_id IS NULL"),
    )
    op.drop_index(
        "ix_credit_notes_invoice_id", table_name="credit_notes", postgresql_where=sa.text("invoice_id IS NOT NULL")
    )
    op.alter_column("credit_notes", "stripe_credit_note_id", existing_type=sa.TEXT(), nullable=False)
    op.drop_column("credit_notes", "invoice_id")
    op.drop_index("ix_documents_user_id", table_name="documents", postgresql_where=sa.text("user_id IS NOT NULL"))
    op.drop_index(
        "ix_documents_stripe_object_id",
        table_name="documents",
        postgresql_where=sa.text("stripe_object_id IS NOT NULL"),
    )
    op.drop_index(
        "ix_documents_stripe_invoice_id",
        table_name="documents",
        postgresql_where=sa.text("stripe_invoice_id IS NOT NULL"),
    )
    op.drop_index("ix_documents_status", table_name="documents", postgresql_where=sa.text("status <> 'stored'"))
    op.drop_index("ix_documents_number", table_name="documents")
    op.drop_index("ix_documents_issued_at", table_name="documents")
    op.drop_index("ix_documents_invoice_id", table_name="documents", postgresql_where=sa.text("invoice_id IS NOT NULL"))
    op.drop_index("ix_documents_copy_of", table_name="documents", postgresql_where=sa.text("copy_of IS NOT NULL"))
    op.drop_table("documents")
    op.drop_table("invoice_series")
    op.drop_table("document_assets")
    # ### end Alembic commands ###
