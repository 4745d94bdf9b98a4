"""Small books in which all is well, and a hand that changes them past every trigger."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from db.verify.invariant import Found, Span, ask
from db.verify.registry import INVARIANTS

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
BEFORE = "TIMESTAMPTZ '2026-03-01 11:20Z'"
"""When all of it was written: less than an hour ago, and settled."""

WELL = (
    "ALTER TABLE invoices ALTER COLUMN id RESTART WITH 100",
    "ALTER TABLE dunning_cases ALTER COLUMN id RESTART WITH 100",
    "ALTER TABLE jobs ALTER COLUMN id RESTART WITH 100",
    (
        "INSERT INTO users (id, stripe_customer_id, updated_at) OVERRIDING SYSTEM VALUE"
        " VALUES (1, 'cus_1', :before), (2, 'cus_2', :before)"
    ),
    (
        "INSERT INTO charges (id, stripe_charge_id, stripe_payment_intent_id, stripe_customer_id, status, currency,"
        " amount_cents, amount_captured_cents, amount_refunded_cents, captured, stripe_fee_cents, net_amount_cents,"
        " settlement_currency, stripe_created_at, version, updated_at) OVERRIDING SYSTEM VALUE VALUES"
        " (1, 'ch_1', 'pi_1', 'cus_1', 'succeeded', 'usd', 5000, 5000, 1000, true, 175, 4825, 'usd', :before,"
        " ARRAY[0, extract(epoch FROM :before)::bigint], :before)"
    ),
    (
        "INSERT INTO payment_intents (stripe_payment_intent_id, status, currency, amount_cents,"
        " latest_stripe_charge_id)"
        " VALUES ('pi_1', 'succeeded', 'usd', 5000, 'ch_1')"
    ),
    (
        "INSERT INTO refunds (stripe_refund_id, stripe_charge_id, amount_cents, currency, status, stripe_created_at,"
        " updated_at) VALUES ('re_1', 'ch_1', 1000, 'usd', 'succeeded', :before, :before)"
    ),
    (
        "INSERT INTO invoices (id, stripe_invoice_id, stripe_customer_id, status, currency, total_cents,"
        " amount_due_cents,"
        " amount_paid_cents, paid_out_of_band, paid_at, updated_at) OVERRIDING SYSTEM VALUE VALUES"
        " (1, 'in_1', 'cus_1', 'paid', 'usd', 5000, 5000, 5000, false, :before, :before),"
        " (3, 'in_3', 'cus_2', 'open', 'usd', 700, 700, 0, false, NULL, :before)"
    ),
    (
        "INSERT INTO invoice_payments (stripe_invoice_id, payment_id, status, amount_paid_cents)"
        " VALUES ('in_1', 'pi_1', 'paid', 5000)"
    ),
    (
        "INSERT INTO payment_history (id, invoice_id, user_id, stripe_customer_id, stripe_invoice_id,"
        " stripe_payment_intent_id, stripe_charge_id, amount_cents, currency, status, captured, stripe_fee_cents,"
        " net_amount_cents, settlement_currency, refund_amount_cents, created_at, updated_at) OVERRIDING"
        " SYSTEM VALUE VALUES"
        " (1, 1, 1, 'cus_1', 'in_1', 'pi_1', 'ch_1', 5000, 'usd', 'partially_refunded', true, 175, 4825, 'usd', 1000,"
        " :before, :before)"
    ),
    (
        "INSERT INTO invoices (id, kind, own_key, seller, series, invoice_number, api_key_prefix, status, currency,"
        " subtotal_cents, tax_cents, total_cents, amount_due_cents, amount_paid_cents, pre_payment_credit_cents,"
        " amount_remaining_cents, line_items, finalized_at, updated_at) OVERRIDING SYSTEM VALUE VALUES"
        " (2, 'partner', 'partner/nw/2026-02', 'me', 'invoice', 'INV-1', 'nw', 'open', 'usd', 10000, 2000,"
        " 12000, 11000,"
        """ 2000, 500, 8500, '[{"amount_cents": 4000}, {"amount_cents": 6000}]', :before, :before)"""
    ),
    (
        "INSERT INTO manual_payments (invoice_id, amount_cents, currency, method, reference, paid_at, recorded_at,"
        " recorded_by) VALUES (2, 2000, 'usd', 'bank_transfer', 'tx 1', :before, :before, 'ada')"
    ),
    (
        "INSERT INTO credit_notes (id, invoice_id, number, series, status, currency, total_cents, stripe_created_at,"
        " updated_at) OVERRIDING SYSTEM VALUE VALUES (1, 2, 'CN-1', 'credit_note', 'issued', 'usd', 500,"
        " :before, :before)"
    ),
    "INSERT INTO invoice_series (series, year, next_number) VALUES ('invoice', 2026, 2), ('credit_note', 2026, 2)",
    (
        "INSERT INTO documents (id, key, kind, invoice_id, number, locale, currency, total_cents, content,"
        " content_sha256,"
        " status, file, sha256, size_bytes, issued_at, created_at, stored_at) OVERRIDING SYSTEM VALUE VALUES"
        " (1, 'invoice/2', 'invoice', 2, 'INV-1', 'en', 'usd', 12000,"
        """ '{"taxes": [{"amount_minor": 2000, "inclusive": false}]}', '', 'stored', 'f',"""
        " repeat('a', 64), 9, :before, :before, :before)"
    ),
    (
        "INSERT INTO credits (id, api_key_prefix, kind, currency, amount_cents, remaining_cents, reason, created_at,"
        " created_by) OVERRIDING SYSTEM VALUE VALUES (1, 'nw', 'goodwill', 'usd', 3000, 2000, 'x', :before, 'ada')"
    ),
    "INSERT INTO credit_applications (credit_id, invoice_id, amount_cents, created_at) VALUES (1, 2, 1000, :before)",
    (
        "INSERT INTO usage_events (occurred_at, idempotency_key, api_key_prefix, event_type, cost_units,"
        " received_at, source)"
        " SELECT :before, 'k' || n, 'nw', 'api', 1.5, :before, 'api' FROM generate_series(1, 2) AS n"
    ),
    (
        "INSERT INTO usage_events (occurred_at, idempotency_key, user_id, event_type, cost_units, received_at, source)"
        " VALUES (:before, 'u', 1, 'api', 1, :before, 'api')"
    ),
    (
        "INSERT INTO usage_rollups (granularity, bucket_start, api_key_prefix, user_id, event_type, billable, events,"
        " cost_units) SELECT of.granularity, date_trunc(of.granularity, occurred_at, 'UTC'), api_key_prefix, user_id,"
        " event_type, billable, count(*), sum(cost_units) FROM usage_events"
        " CROSS JOIN (VALUES ('hour'), ('day')) AS of (granularity) GROUP BY 1, 2, 3, 4, 5, 6"
    ),
    (
        "INSERT INTO dunning_cases (id, stripe_invoice_id, invoice_id, opened_by, currency, amount_cents,"
        " policy, steps,"
        " hours, failed_at, opened_at) OVERRIDING SYSTEM VALUE VALUES"
        " (1, 'in_3', 3, 'payment_failed', 'usd', 700, 'standard', '[]', '{}', :before, :before)"
    ),
    (
        "INSERT INTO emails (id, key, message_id, template, recipient, stripe_invoice_id, context, status, occurred_at,"
        " created_at, sent_at) OVERRIDING SYSTEM VALUE VALUES"
        " (1, 'dunning/in_1/0', 'm1', 'payment_failed', 'a@example.com', 'in_1', '{}', 'sent', :before, :before,"
        " :before)"
    ),
    (
        "INSERT INTO webhook_events (id, type, livemode, payload, created_at, received_at, status) VALUES"
        " ('evt_1', 'invoice.paid', false, '', :before, :before, 'processed'),"
        " ('evt_2', 'invoice.paid', false, '', :before, :before, 'received'),"
        " ('evt_3', 'invoice.paid', false, '', :before, :before, 'dead')"
    ),
    (
        "INSERT INTO jobs (id, name, queue, args, status, created_at) OVERRIDING SYSTEM VALUE VALUES"
        " (1, 'send_letter', 'mail', '{}', 'done', :before), (2, 'send_letter', 'mail', '{}', 'queued', :before)"
    ),
    (
        "INSERT INTO queue (queue, name, event_id, job_id, due_at, dead_reason) VALUES"
        " ('events', 'invoice.paid', 'evt_2', NULL, :before, NULL),"
        " ('events', 'invoice.paid', 'evt_3', NULL, :before, 'refused'),"
        " ('mail', 'send_letter', NULL, 2, :before, NULL)"
    ),
)
"""Books with one of each."""


async def write(engine: AsyncEngine, *statements: str) -> None:
    """Write as a superuser may: no trigger and no foreign key is asked. `:before` stands for BEFORE."""
    async with engine.begin() as conn:
        await conn.execute(text("SET LOCAL session_replication_role = replica"))
        for statement in statements:
            await conn.exec_driver_sql(statement.replace(":before", BEFORE))


async def look(
    engine: AsyncEngine, name: str, *, whole: bool, now: datetime = NOW, ahead: timedelta = timedelta()
) -> Found:
    """Check one invariant: all rows, or those of the last hour. The business's time is `ahead` of the machine's."""
    since, wall = None if whole else now - timedelta(hours=1), now - ahead
    wall_since = None if whole else wall - timedelta(hours=1)
    async with engine.connect() as conn:
        return await ask(conn, INVARIANTS[name], Span(since, now, wall_since, wall, mark=None if whole else 1))


async def broken(engine: AsyncEngine, *, now: datetime = NOW) -> dict[str, Found]:
    """All invariants that do not hold, in either form."""
    found: dict[str, Found] = {}
    for name in INVARIANTS:
        for whole in (False, True):
            one = await look(engine, name, whole=whole, now=now)
            if one.broken:
                found[name] = one
    return found
