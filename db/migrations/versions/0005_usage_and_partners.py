"""usage events and their sums, partners' contracts, keys, credits, and what each period came to."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

TERMS = (
    *("api_key_prefix", "version", "valid_from", "pricing_model", "monthly_flat_fee_cents", "per_deed_price_cents"),
    *("per_1000_requests_cents", "billing_cycle", "contract_start_date", "currency", "timezone", "deed_events"),
    *("tiers", "tier_mode", "package_size", "package_rounding", "included_units", "minimum_commitment_cents"),
    *("cap_cents", "discount_percent", "tax_name", "tax_percent", "reverse_charge"),
)
"""What amounts follow from: frozen in a version by which an invoice was issued."""

CHANGED = " OR ".join(f"OLD.{name} IS DISTINCT FROM NEW.{name}" for name in TERMS)

FUNCTIONS = (
    """
    CREATE FUNCTION usage_partition(of_month date) RETURNS boolean LANGUAGE plpgsql AS $$
    DECLARE
        begins timestamptz := date_trunc('month', of_month::timestamp) AT TIME ZONE 'UTC';
        ends timestamptz := (date_trunc('month', of_month::timestamp) + interval '1 month') AT TIME ZONE 'UTC';
        name text := 'usage_events_' || to_char(of_month, 'YYYY_MM');
    BEGIN
        PERFORM pg_advisory_xact_lock(hashtextextended('usage_partition', 0));
        IF to_regclass(name) IS NOT NULL THEN
            RETURN false;
        END IF;
        LOCK TABLE usage_events IN SHARE ROW EXCLUSIVE MODE;
        EXECUTE format('CREATE TABLE %I (LIKE usage_events INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', name);
        PERFORM set_config('billing.moves_usage', 'on', true);
        EXECUTE format(
            'WITH moved AS (DELETE FROM usage_events_default WHERE occurred_at >= $1 AND occurred_at < $2 RETURNING *)'
            ' INSERT INTO %I SELECT * FROM moved', name) USING begins, ends;
        PERFORM set_config('billing.moves_usage', '', true);
        EXECUTE format('ALTER TABLE usage_events ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', name, begins, ends);
        RETURN true;
    END $$
    """,
    """
    CREATE FUNCTION usage_for_ever() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF TG_OP = 'DELETE' AND current_setting('billing.moves_usage', true) = 'on' THEN
            RETURN OLD;
        END IF;
        RAISE EXCEPTION 'usage event %: what was used is neither changed nor removed: report a correction', OLD.id
            USING ERRCODE = 'integrity_constraint_violation';
    END $$
    """,
    """
    CREATE TRIGGER usage_events_kept BEFORE UPDATE OR DELETE ON usage_events FOR EACH ROW
    EXECUTE FUNCTION usage_for_ever()
    """,
    """
    CREATE FUNCTION contract_version() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF NEW.version IS NULL THEN
            NEW.version := 1 + coalesce(
                (SELECT max(version) FROM api_partner_contracts WHERE api_key_prefix = NEW.api_key_prefix), 0);
        END IF;
        NEW.valid_from := coalesce(NEW.valid_from, NEW.contract_start_date);
        NEW.monthly_flat_fee_cents := coalesce(NEW.monthly_flat_fee_cents, 0);
        NEW.per_deed_price_cents := coalesce(NEW.per_deed_price_cents, 0);
        NEW.per_1000_requests_cents := coalesce(NEW.per_1000_requests_cents, 0);
        NEW.billing_cycle := coalesce(NEW.billing_cycle, 'monthly');
        NEW.payment_terms := coalesce(NEW.payment_terms, 'net_30');
        NEW.payment_method := coalesce(NEW.payment_method, 'bank_transfer');
        NEW.status := coalesce(NEW.status, 'active');
        RETURN NEW;
    END $$
    """,
    """
    CREATE TRIGGER api_partner_contracts_version BEFORE INSERT ON api_partner_contracts FOR EACH ROW
    EXECUTE FUNCTION contract_version()
    """,
    """
    CREATE FUNCTION contract_kept() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF EXISTS (SELECT FROM usage_invoices WHERE OLD.id = ANY(contract_ids) AND status = 'issued') THEN
            RAISE EXCEPTION '% version %: invoices were issued by these terms: add a version instead',
                OLD.api_key_prefix, OLD.version USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
    END $$
    """,
    f"""
    CREATE TRIGGER api_partner_contracts_kept BEFORE UPDATE ON api_partner_contracts FOR EACH ROW
    WHEN ({CHANGED}) EXECUTE FUNCTION contract_kept()
    """,
    """
    CREATE TRIGGER api_partner_contracts_not_removed BEFORE DELETE ON api_partner_contracts FOR EACH ROW
    EXECUTE FUNCTION contract_kept()
    """,
    """
    CREATE FUNCTION usage_invoice_kept() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'usage invoice %: what was invoiced is neither changed nor removed', OLD.id
            USING ERRCODE = 'integrity_constraint_violation';
    END $$
    """,
    """
    CREATE TRIGGER usage_invoices_issued BEFORE UPDATE ON usage_invoices FOR EACH ROW
    WHEN (
        OLD.status IN ('issued', 'void') AND (
            (OLD.kind, OLD.api_key_prefix, OLD.user_id, OLD.period_start, OLD.period_end, OLD.contract_ids, OLD.input,
             OLD.input_sha256, OLD.currency, OLD.total_cents, OLD.invoice_id)
            IS DISTINCT FROM
            (NEW.kind, NEW.api_key_prefix, NEW.user_id, NEW.period_start, NEW.period_end, NEW.contract_ids, NEW.input,
             NEW.input_sha256, NEW.currency, NEW.total_cents, NEW.invoice_id)
            OR NEW.status NOT IN (OLD.status, 'void')
        )
    )
    EXECUTE FUNCTION usage_invoice_kept()
    """,
    """
    CREATE TRIGGER usage_invoices_kept BEFORE DELETE ON usage_invoices FOR EACH ROW
    WHEN (OLD.status IN ('issued', 'void')) EXECUTE FUNCTION usage_invoice_kept()
    """,
)
DROP_FUNCTIONS = tuple(
    f"DROP FUNCTION {name} CASCADE"  # with the triggers that call it
    for name in (
        *("usage_invoice_kept()", "contract_kept()", "contract_version()", "usage_for_ever()"),
        "usage_partition(date)",
    )
)


def upgrade() -> None:
    """Go forward."""
    # ### commands auto generated by Alembic - please adjust! ###
    op.create_table(
        "api_partner_contracts",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("api_key_prefix", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("valid_from", sa.Date(), nullable=False),
        sa.Column("company", sa.Text(), nullable=False),
        sa.Column("pricing_model", sa.Text(), nullable=False),
        sa.Column("monthly_flat_fee_cents", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("per_deed_price_cents", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("per_1000_requests_cents", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("billing_cycle", sa.Text(), server_default="monthly", nullable=False),
        sa.Column("payment_terms", sa.Text(), server_default="net_30", nullable=False),
        sa.Column("payment_method", sa.Text(), server_default="bank_transfer", nullable=False),
        sa.Column("monthly_request_limit", sa.BigInteger(), nullable=True),
        sa.Column("rate_limit_per_minute", sa.BigInteger(), nullable=True),
        sa.Column("status", sa.Text(), server_default="active", nullable=False),
        sa.Column("contract_start_date", sa.Date(), nullable=False),
        sa.Column("contract_end_date", sa.Date(), nullable=True),
        sa.Column("notes", sa.Text(), nullable=True),
        sa.Column("currency", sa.Text(), server_default="usd", nullable=False),
        sa.Column("timezone", sa.Text(), server_default="UTC", nullable=False),
        sa.Column("deed_events", postgresql.ARRAY(sa.Text()), server_default=sa.text("'{*deed*}'"), nullable=False),
        sa.Column("tiers", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("tier_mode", sa.Text(), server_default="graduated", nullable=False),
        sa.Column("package_size", sa.BigInteger(), server_default=sa.text("1000"), nullable=False),
        sa.Column("package_rounding", sa.Text(), server_default="exact", nullable=False),
        sa.Column("included_units", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("minimum_commitment_cents", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("cap_cents", sa.BigInteger(), nullable=True),
        sa.Column("discount_percent", sa.Numeric(precision=7, scale=4), nullable=True),
        sa.Column("tax_name", sa.Text(), server_default="VAT", nullable=False),
        sa.Column("tax_percent", sa.Numeric(precision=7, scale=4), nullable=True),
        sa.Column("reverse_charge", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("billing_email", sa.Text(), nullable=True),
        sa.Column("contact_name", sa.Text(), nullable=True),
        sa.Column("address", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("tax_ids", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("locale", sa.Text(), nullable=True),
        sa.Column("buyer_reference", sa.Text(), nullable=True),
        sa.Column("seller", sa.Text(), nullable=True),
        sa.Column("stripe_customer_id", sa.Text(), nullable=True),
        sa.Column("push_to_stripe", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("alarm_factor", sa.BigInteger(), server_default=sa.text("5"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_by", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "api_key_prefix ~ '^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$'", name=op.f("ck_api_partner_contracts_api_key_prefix")
        ),
        sa.CheckConstraint(
            "translate(lower(billing_cycle), ' -', '__') IN ('monthly','month','quarterly','quarter','yearly','year','annual','annually')",
            name=op.f("ck_api_partner_contracts_billing_cycle"),
        ),
        sa.CheckConstraint(
            "package_rounding IN ('exact','up','down')", name=op.f("ck_api_partner_contracts_package_rounding")
        ),
        sa.CheckConstraint(
            "translate(lower(payment_terms), ' -', '__') IN ('immediate','due_on_receipt','on_receipt','net_0','net0','net_15','net15','net_30','net30','net_60','net60','end_of_month','eom')",
            name=op.f("ck_api_partner_contracts_payment_terms"),
        ),
        sa.CheckConstraint(
            "translate(lower(pricing_model), ' -', '__') IN ('flat','per_deed','per_request','hybrid','tiered')",
            name=op.f("ck_api_partner_contracts_pricing_model"),
        ),
        sa.CheckConstraint(
            "translate(lower(status), ' -', '__') IN ('draft','pending','active','paused','suspended','on_hold','inactive','ended','expired','terminated','cancelled','canceled')",
            name=op.f("ck_api_partner_contracts_status"),
        ),
        sa.CheckConstraint("tier_mode IN ('graduated','volume')", name=op.f("ck_api_partner_contracts_tier_mode")),
        sa.CheckConstraint("contract_end_date >= contract_start_date", name=op.f("ck_api_partner_contracts_dates")),
        sa.CheckConstraint(
            "monthly_flat_fee_cents >= 0 AND per_deed_price_cents >= 0 AND per_1000_requests_cents >= 0 AND included_units >= 0 AND minimum_commitment_cents >= 0 AND cap_cents >= 0",
            name=op.f("ck_api_partner_contracts_not_negative"),
        ),
        sa.CheckConstraint("package_size >= 1", name=op.f("ck_api_partner_contracts_package_size")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_partner_contracts")),
        sa.UniqueConstraint(
            "api_key_prefix", "valid_from", name=op.f("uq_api_partner_contracts_api_key_prefix_valid_from")
        ),
        sa.UniqueConstraint("api_key_prefix", "version", name=op.f("uq_api_partner_contracts_api_key_prefix_version")),
    )
    op.create_table(
        "api_tokens",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("api_key_prefix", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("shown", sa.Text(), nullable=False),
        sa.Column("scopes", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_tokens")),
        sa.UniqueConstraint("sha256", name=op.f("uq_api_tokens_sha256")),
    )
    op.create_index("ix_api_tokens_api_key_prefix", "api_tokens", ["api_key_prefix"], unique=False)
    op.create_table(
        "overage_plans",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("stripe_price_id", sa.Text(), nullable=False),
        sa.Column("valid_from", sa.Date(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("included_units", sa.BigInteger(), nullable=False),
        sa.Column("package_size", sa.BigInteger(), server_default=sa.text("1000"), nullable=False),
        sa.Column("package_price_cents", sa.BigInteger(), nullable=False),
        sa.Column("package_rounding", sa.Text(), server_default="exact", nullable=False),
        sa.Column("tax_name", sa.Text(), server_default="VAT", nullable=False),
        sa.Column("tax_percent", sa.Numeric(precision=7, scale=4), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_by", sa.Text(), nullable=True),
        sa.CheckConstraint("package_rounding IN ('exact','up','down')", name=op.f("ck_overage_plans_package_rounding")),
        sa.CheckConstraint(
            "package_size >= 1 AND included_units >= 0 AND package_price_cents >= 0",
            name=op.f("ck_overage_plans_not_negative"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_overage_plans")),
        sa.UniqueConstraint("stripe_price_id", "valid_from", name=op.f("uq_overage_plans_stripe_price_id_valid_from")),
    )
    op.create_table(
        "promo_codes",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("amount_cents", sa.BigInteger(), nullable=True),
        sa.Column("currency", sa.Text(), nullable=True),
        sa.Column("percent", sa.Numeric(precision=7, scale=4), nullable=True),
        sa.Column("months", sa.BigInteger(), nullable=True),
        sa.Column("credit_days", sa.BigInteger(), nullable=True),
        sa.Column("max_redemptions", sa.BigInteger(), nullable=True),
        sa.Column("redeemed", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.CheckConstraint("(amount_cents IS NULL) <> (percent IS NULL)", name=op.f("ck_promo_codes_one_kind")),
        sa.CheckConstraint("(amount_cents IS NULL) = (currency IS NULL)", name=op.f("ck_promo_codes_currency")),
        sa.CheckConstraint("amount_cents > 0", name=op.f("ck_promo_codes_amount_cents")),
        sa.CheckConstraint("percent > 0 AND percent <= 100", name=op.f("ck_promo_codes_percent")),
        sa.CheckConstraint(
            "redeemed >= 0 AND (max_redemptions IS NULL OR redeemed <= max_redemptions)",
            name=op.f("ck_promo_codes_redeemed"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_promo_codes")),
        sa.UniqueConstraint("code", name=op.f("uq_promo_codes_code")),
    )
    op.create_table(
        "usage_events",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=False),
        sa.Column("api_key_prefix", sa.Text(), nullable=True),
        sa.Column("user_id", sa.BigInteger(), nullable=True),
        sa.Column("event_type", sa.Text(), nullable=False),
        sa.Column("resource_id", sa.Text(), nullable=True),
        sa.Column("billable", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("cost_units", sa.Numeric(precision=20, scale=6), server_default=sa.text("1"), nullable=False),
        sa.Column("unit_price_cents", sa.BigInteger(), nullable=True),
        sa.Column("metadata", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.CheckConstraint("(api_key_prefix IS NULL) <> (user_id IS NULL)", name=op.f("ck_usage_events_one_owner")),
        sa.CheckConstraint("cost_units >= 0", name=op.f("ck_usage_events_cost_units")),
        sa.PrimaryKeyConstraint("id", "occurred_at", name=op.f("pk_usage_events")),
        postgresql_partition_by="RANGE (occurred_at)",
    )
    op.create_index("ix_usage_events_partner", "usage_events", ["api_key_prefix", "occurred_at"], unique=False)
    op.create_index(
        "ix_usage_events_user",
        "usage_events",
        ["user_id", "occurred_at"],
        unique=False,
        postgresql_where=sa.text("user_id IS NOT NULL"),
    )
    op.create_table(
        "usage_keys",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_usage_keys")),
    )
    op.create_table(
        "usage_rollups",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("granularity", sa.Text(), nullable=False),
        sa.Column("bucket_start", sa.DateTime(timezone=True), nullable=False),
        sa.Column("api_key_prefix", sa.Text(), nullable=True),
        sa.Column("user_id", sa.BigInteger(), nullable=True),
        sa.Column("event_type", sa.Text(), nullable=False),
        sa.Column("billable", sa.Boolean(), nullable=False),
        sa.Column("events", sa.BigInteger(), nullable=False),
        sa.Column("cost_units", sa.Numeric(precision=24, scale=6), nullable=False),
        sa.CheckConstraint("granularity IN ('hour','day')", name=op.f("ck_usage_rollups_granularity")),
        sa.CheckConstraint("(api_key_prefix IS NULL) <> (user_id IS NULL)", name=op.f("ck_usage_rollups_one_owner")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_usage_rollups")),
    )
    op.create_index("ix_usage_rollups_bucket_start", "usage_rollups", ["granularity", "bucket_start"], unique=False)
    op.create_index(
        "uq_usage_rollups",
        "usage_rollups",
        ["api_key_prefix", "user_id", "granularity", "bucket_start", "event_type", "billable"],
        unique=True,
        postgresql_nulls_not_distinct=True,
    )
    op.create_table(
        "credits",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("api_key_prefix", sa.Text(), nullable=True),
        sa.Column("user_id", sa.BigInteger(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("amount_cents", sa.BigInteger(), nullable=False),
        sa.Column("remaining_cents", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("promo_code_id", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("voided_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("kind IN ('refund','promotional','goodwill','chargeback')", name=op.f("ck_credits_kind")),
        sa.CheckConstraint("(api_key_prefix IS NULL) <> (user_id IS NULL)", name=op.f("ck_credits_one_owner")),
        sa.CheckConstraint(
            "amount_cents > 0 AND remaining_cents BETWEEN 0 AND amount_cents", name=op.f("ck_credits_remaining")
        ),
        sa.ForeignKeyConstraint(["promo_code_id"], ["promo_codes.id"], name=op.f("fk_credits_promo_code_id")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_credits_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_credits")),
    )
    op.create_index(
        "ix_credits_api_key_prefix",
        "credits",
        ["api_key_prefix"],
        unique=False,
        postgresql_where=sa.text("api_key_prefix IS NOT NULL"),
    )
    op.create_index(
        "ix_credits_user_id", "credits", ["user_id"], unique=False, postgresql_where=sa.text("user_id IS NOT NULL")
    )
    op.create_table(
        "credit_applications",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("credit_id", sa.BigInteger(), nullable=False),
        sa.Column("invoice_id", sa.BigInteger(), nullable=False),
        sa.Column("amount_cents", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reversed_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("amount_cents > 0", name=op.f("ck_credit_applications_amount_cents")),
        sa.ForeignKeyConstraint(["credit_id"], ["credits.id"], name=op.f("fk_credit_applications_credit_id")),
        sa.ForeignKeyConstraint(["invoice_id"], ["invoices.id"], name=op.f("fk_credit_applications_invoice_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_credit_applications")),
        sa.UniqueConstraint("credit_id", "invoice_id", name=op.f("uq_credit_applications_credit_id_invoice_id")),
    )
    op.create_index("ix_credit_applications_invoice_id", "credit_applications", ["invoice_id"], unique=False)
    op.create_table(
        "manual_payments",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("invoice_id", sa.BigInteger(), nullable=False),
        sa.Column("amount_cents", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("paid_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("recorded_by", sa.Text(), nullable=False),
        sa.CheckConstraint("amount_cents > 0", name=op.f("ck_manual_payments_amount_cents")),
        sa.ForeignKeyConstraint(["invoice_id"], ["invoices.id"], name=op.f("fk_manual_payments_invoice_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_manual_payments")),
        sa.UniqueConstraint("invoice_id", "reference", name=op.f("uq_manual_payments_invoice_id_reference")),
    )
    op.create_table(
        "promo_redemptions",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("promo_code_id", sa.BigInteger(), nullable=False),
        sa.Column("api_key_prefix", sa.Text(), nullable=True),
        sa.Column("user_id", sa.BigInteger(), nullable=True),
        sa.Column("credit_id", sa.BigInteger(), nullable=True),
        sa.Column("redeemed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ends_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(api_key_prefix IS NULL) <> (user_id IS NULL)", name=op.f("ck_promo_redemptions_one_owner")
        ),
        sa.ForeignKeyConstraint(["credit_id"], ["credits.id"], name=op.f("fk_promo_redemptions_credit_id")),
        sa.ForeignKeyConstraint(["promo_code_id"], ["promo_codes.id"], name=op.f("fk_promo_redemptions_promo_code_id")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_promo_redemptions_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_promo_redemptions")),
    )
    op.create_index(
        "uq_promo_redemptions",
        "promo_redemptions",
        ["promo_code_id", "api_key_prefix", "user_id"],
        unique=True,
        postgresql_nulls_not_distinct=True,
    )
    op.create_table(
        "usage_invoices",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("api_key_prefix", sa.Text(), nullable=True),
        sa.Column("user_id", sa.BigInteger(), nullable=True),
        sa.Column("period_start", sa.DateTime(timezone=True), nullable=False),
        sa.Column("period_end", sa.DateTime(timezone=True), nullable=False),
        sa.Column("timezone", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default="pending", nullable=False),
        sa.Column("reasons", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("contract_ids", postgresql.ARRAY(sa.BigInteger()), nullable=True),
        sa.Column("input", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("input_sha256", sa.Text(), nullable=True),
        sa.Column("currency", sa.Text(), nullable=True),
        sa.Column("total_cents", sa.BigInteger(), nullable=True),
        sa.Column("billed_usage", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("billed_cents", sa.BigInteger(), nullable=True),
        sa.Column("invoice_id", sa.BigInteger(), nullable=True),
        sa.Column("job_id", sa.BigInteger(), nullable=True),
        sa.Column("released_by", sa.Text(), nullable=True),
        sa.Column("stripe_invoice_id", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("(status = 'issued') <= (invoice_id IS NOT NULL)", name=op.f("ck_usage_invoices_issued")),
        sa.CheckConstraint("kind IN ('partner','overage')", name=op.f("ck_usage_invoices_kind")),
        sa.CheckConstraint(
            "status IN ('pending','parked','issued','empty','void')", name=op.f("ck_usage_invoices_status")
        ),
        sa.CheckConstraint("(api_key_prefix IS NULL) <> (user_id IS NULL)", name=op.f("ck_usage_invoices_one_owner")),
        sa.ForeignKeyConstraint(["invoice_id"], ["invoices.id"], name=op.f("fk_usage_invoices_invoice_id")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_usage_invoices_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_usage_invoices")),
        sa.UniqueConstraint("stripe_invoice_id", name=op.f("uq_usage_invoices_stripe_invoice_id")),
    )
    op.create_index(
        "ix_usage_invoices_invoice_id",
        "usage_invoices",
        ["invoice_id"],
        unique=False,
        postgresql_where=sa.text("invoice_id IS NOT NULL"),
    )
    op.create_index(
        "ix_usage_invoices_status",
        "usage_invoices",
        ["status"],
        unique=False,
        postgresql_where=sa.text("status IN ('pending','parked')"),
    )
    op.create_index(
        "uq_usage_invoices_period",
        "usage_invoices",
        ["kind", "api_key_prefix", "user_id", "period_start"],
        unique=True,
        postgresql_nulls_not_distinct=True,
        postgresql_where=sa.text("status <> 'void'"),
    )
    # ### end Alembic commands ###
    op.add_column("invoices", sa.Column("collects_invoice_id", sa.BigInteger(), nullable=True))
    op.execute(
        "ALTER TABLE invoices ADD CONSTRAINT fk_invoices_collects_invoice_id"
        " FOREIGN KEY (collects_invoice_id) REFERENCES invoices (id) NOT VALID"
    )
    op.execute("ALTER TABLE invoices VALIDATE CONSTRAINT fk_invoices_collects_invoice_id")
    op.create_index(
        "ix_invoices_collects_invoice_id",
        "invoices",
        ["collects_invoice_id"],
        unique=False,
        postgresql_where=sa.text("collects_invoice_id IS NOT NULL"),
    )
    op.create_index(
        "ix_invoices_api_key_prefix",
        "invoices",
        ["api_key_prefix"],
        unique=False,
        postgresql_where=sa.text("api_key_prefix IS NOT NULL"),
    )
    op.execute("CREATE TABLE usage_events_default PARTITION OF usage_events DEFAULT")
    for statement in FUNCTIONS:
        op.execute(statement)


def downgrade() -> None:
    """Go back."""
    for statement in DROP_FUNCTIONS:
        op.execute(statement)
    op.drop_index(
        "ix_invoices_api_key_prefix",
        table_name="invoices",
        postgresql_where=sa.text("api_key_prefix IS NOT NULL"),
    )
    op.drop_index(
        "ix_invoices_collects_invoice_id",
        table_name="invoices",
        postgresql_where=sa.text("collects_invoice_id IS NOT NULL"),
    )
    op.drop_column("invoices", "collects_invoice_id")
    # ### commands auto generated by Alembic - please adjust! ###
    op.drop_index(
        "uq_usage_invoices_period",
        table_name="usage_invoices",
        postgresql_nulls_not_distinct=True,
        postgresql_where=sa.text("status <> 'void'"),
    )
    op.drop_index(
        "ix_usage_invoices_status",
        table_name="usage_invoices",
        postgresql_where=sa.text("status IN ('pending','parked')"),
    )
    op.drop_index(
        "ix_usage_invoices_invoice_id", table_name="usage_invoices", postgresql_where=sa.text("invoice_id IS NOT NULL")
    )
    op.drop_table("usage_invoices")
    op.drop_index("uq_promo_redemptions", table_name="promo_redemptions", postgresql_nulls_not_distinct=True)
    op.drop_table("promo_redemptions")
    op.drop_table("manual_payments")
    op.drop_index("ix_credit_applications_invoice_id", table_name="credit_applications")
    op.drop_table("credit_applications")
    op.drop_index("ix_credits_user_id", table_name="credits", postgresql_where=sa.text("user_id IS NOT NULL"))
    op.drop_index(
        "ix_credits_api_key_prefix", table_name="credits", postgresql_where=sa.text("api_key_prefix IS NOT NULL")
    )
    op.drop_table("credits")
    op.drop_index("uq_usage_rollups", table_name="usage_rollups", postgresql_nulls_not_distinct=True)
    op.drop_index("ix_usage_rollups_bucket_start", table_name="usage_rollups")
    op.drop_table("usage_rollups")
    op.drop_table("usage_keys")
    op.drop_index("ix_usage_events_user", table_name="usage_events", postgresql_where=sa.text("user_id IS NOT NULL"))
    op.drop_index("ix_usage_events_partner", table_name="usage_events")
    op.drop_table("usage_events")
    op.drop_table("promo_codes")
    op.drop_table("overage_plans")
    op.drop_index("ix_api_tokens_api_key_prefix", table_name="api_tokens")
    op.drop_table("api_tokens")
    op.drop_table("api_partner_contracts")
    # ### end Alembic commands ###
