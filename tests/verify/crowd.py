"""Books of so many rows, a year of them, in which all is well: made by PostgreSQL itself."""

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

BIG = (
    *("webhook_events", "jobs", "invoices", "invoice_payments", "payment_history", "charges", "refunds", "emails"),
    *("documents", "users", "usage_events", "usage_rollups"),
)
"""Tables that grow with the business: the form for what changed reads none of them as a whole."""

_AT = "TIMESTAMPTZ '2026-03-01 11:30Z' - interval '1 year' * (1 - n / CAST(:rows AS float8))"
"""The rows come evenly over a year, the last of them half an hour ago."""

_CROWD = (
    "INSERT INTO users (stripe_customer_id, updated_at) SELECT 'cus_' || n, {at} FROM series",
    """
    INSERT INTO charges (stripe_charge_id, stripe_payment_intent_id, stripe_customer_id, status, currency, amount_cents,
        amount_captured_cents, amount_refunded_cents, captured, stripe_fee_cents, net_amount_cents, settlement_currency,
        stripe_created_at, version, updated_at)
    SELECT 'ch_' || n, 'pi_' || n, 'cus_' || n, 'succeeded', 'usd', 5000, 5000, 1000,
        true, 175, 4825, 'usd', {at}, ARRAY[0, 1900000000, 1, 70, 5000], {at}
    FROM series
    """,
    """
    INSERT INTO refunds (stripe_refund_id, stripe_charge_id, amount_cents, currency, status, stripe_created_at,
        updated_at)
    SELECT 're_' || n, 'ch_' || n, 1000, 'usd', 'succeeded', {at}, {at} FROM series
    """,
    """
    INSERT INTO invoices (stripe_invoice_id, stripe_customer_id, status, currency, total_cents, amount_due_cents,
        amount_paid_cents, paid_out_of_band, paid_at, stripe_created_at, line_items, updated_at)
    SELECT 'in_' || n, 'cus_' || n, 'paid', 'usd', 5000, 5000, 5000, false, {at}, {at},
        '[{{"description": "A month of something", "amount_cents": 5000, "currency": "usd", "quantity": 1}}]', {at}
    FROM series
    """,
    """
    INSERT INTO invoice_payments (stripe_invoice_id, payment_id, status, amount_paid_cents)
    SELECT 'in_' || n, 'pi_' || n, 'paid', 5000 FROM series
    """,
    """
    INSERT INTO payment_history (invoice_id, user_id, stripe_customer_id, stripe_invoice_id, stripe_payment_intent_id,
        stripe_charge_id, amount_cents, currency, status, captured, stripe_fee_cents, net_amount_cents,
        settlement_currency, refund_amount_cents, created_at, updated_at)
    SELECT i.id, u.id, 'cus_' || n, 'in_' || n, 'pi_' || n, 'ch_' || n, 5000, 'usd',
        'partially_refunded', true, 175, 4825, 'usd',
        1000, {at}, {at}
    FROM series JOIN invoices i ON i.stripe_invoice_id = 'in_' || n JOIN users u ON u.stripe_customer_id = 'cus_' || n
    ORDER BY n
    """,
    """
    INSERT INTO webhook_events (id, type, livemode, object_id, customer_id, payload, created_at, received_at, status,
        processed_at)
    SELECT 'evt_' || n, 'invoice.paid', false, 'in_' || n, 'cus_' || n, decode(repeat('7b7d', 300), 'hex'), {at}, {at},
        'processed', {at}
    FROM series
    """,
    """
    INSERT INTO jobs (name, queue, args, status, created_at, finished_at)
    SELECT 'send_letter', 'mail', '{{}}', 'done', {at}, {at} FROM series
    """,
    """
    INSERT INTO emails (key, message_id, template, recipient, stripe_invoice_id, context, status, occurred_at,
        created_at, sent_at)
    SELECT 'receipt/in_' || n, 'm' || n, 'receipt', 'a@example.com', 'in_' || n, '{{}}', 'sent', {at}, {at}, {at}
    FROM series
    """,
    """
    INSERT INTO documents (key, kind, stripe_object_id, number, locale, currency, total_cents, content, content_sha256,
        status, file, sha256, size_bytes, issued_at, created_at, stored_at)
    SELECT 'receipt/ch_' || n, 'receipt', 'ch_' || n, 'R' || n, 'en', 'usd', 5000, '{{}}', '', 'stored', 'f' || n,
        repeat('a', 64), 9, {at}, {at}, {at}
    FROM series
    """,
    """
    INSERT INTO usage_events (occurred_at, idempotency_key, api_key_prefix, event_type, received_at, source)
    SELECT {at}, 'k' || n, 'p' || n % 50, 'api', {at}, 'api' FROM series
    """,
    """
    INSERT INTO usage_rollups (granularity, bucket_start, api_key_prefix, event_type, billable, events, cost_units)
    SELECT of.granularity, date_trunc(of.granularity, occurred_at, 'UTC'), api_key_prefix, event_type, billable,
        count(*), sum(cost_units)
    FROM usage_events CROSS JOIN (VALUES ('hour'), ('day')) AS of (granularity) GROUP BY 1, 2, 3, 4, 5
    """,
)


async def crowd(engine: AsyncEngine, rows: int) -> None:
    """Fill the books with `rows` of each kind, and let PostgreSQL know its statistics, as autovacuum does."""
    async with engine.begin() as conn:
        await conn.execute(text("SET LOCAL session_replication_role = replica"))
        await conn.execute(
            text(
                "SELECT usage_partition(month::date) FROM generate_series("
                "TIMESTAMP '2025-02-01', TIMESTAMP '2026-04-01', interval '1 month') AS month"
            )
        )
    for statement in _CROWD:
        await _fill(engine, statement.format(at=_AT), rows)
    await vacuum(engine, (*BIG, "queue"))


async def _fill(engine: AsyncEngine, statement: str, rows: int) -> None:
    """One table. A statement that is large takes its time."""
    sql = statement.replace("FROM series", f"FROM generate_series(1, {rows}) AS n").replace(":rows", str(rows))
    async with engine.connect() as conn:
        raw = (await conn.get_raw_connection()).driver_connection
        assert raw is not None
        await raw.execute("SET session_replication_role = replica", timeout=10)
        await raw.execute(sql, timeout=900)
        await raw.execute("RESET session_replication_role", timeout=10)


async def vacuum(engine: AsyncEngine, tables: Sequence[str]) -> None:
    """VACUUM ANALYZE, which also summarizes the pages for BRIN."""
    async with engine.connect() as conn:
        raw = (await conn.get_raw_connection()).driver_connection
        assert raw is not None
        for table in tables:
            await raw.execute(f"VACUUM ANALYZE {table}", timeout=900)
