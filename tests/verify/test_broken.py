"""Each invariant holds in books where all is well, and names the row once somebody breaks it past the triggers."""

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from db.verify.registry import INVARIANTS
from tests.verify.kit import WELL, broken, look, write

HOURLY = "usage-sums-are-events"
"""Of what changed, days are held against their hours: an hour that is wrong is told twice."""

CORRUPTIONS = (
    ("events-finished-or-queued", "evt_1", "UPDATE webhook_events SET status = 'received' WHERE id = 'evt_1'"),
    ("events-finished-or-queued", "evt_1", "UPDATE webhook_events SET status = 'dead' WHERE id = 'evt_1'"),
    ("events-finished-or-queued", "evt_2", "DELETE FROM queue WHERE event_id = 'evt_2'"),
    ("events-finished-or-queued", "evt_2", "UPDATE queue SET dead_reason = 'refused' WHERE event_id = 'evt_2'"),
    ("events-finished-or-queued", "evt_2", "UPDATE webhook_events SET status = 'ignored' WHERE id = 'evt_2'"),
    ("jobs-finished-or-queued", 1, "UPDATE jobs SET status = 'retrying' WHERE id = 1"),
    ("jobs-finished-or-queued", 2, "UPDATE jobs SET status = 'done' WHERE id = 2"),
    ("jobs-finished-or-queued", 2, "DELETE FROM queue WHERE job_id = 2"),
    ("queue-leads-somewhere", 3, "DELETE FROM jobs WHERE id = 2"),
    ("queue-leads-somewhere", 1, "DELETE FROM webhook_events WHERE id = 'evt_2'"),
    (
        "queue-leads-somewhere",
        3,
        "UPDATE queue SET lease_token = 1, lease_until = now() - interval '1 hour' WHERE job_id = 2",
    ),
    ("payments-have-charges", 1, "DELETE FROM charges"),
    (
        "payments-have-charges",
        1,
        "UPDATE payment_history SET stripe_charge_id = NULL, stripe_payment_intent_id = 'pi_x'",
    ),
    ("payments-have-charges", 1, "UPDATE payment_history SET amount_cents = 5001"),
    ("payments-have-charges", 1, "UPDATE payment_history SET currency = 'eur'"),
    ("payments-have-charges", 1, "UPDATE payment_history SET livemode = true"),
    ("charges-have-payments", 1, "DELETE FROM payment_history"),
    ("payments-linked", 1, "UPDATE payment_history SET user_id = 2"),
    ("payments-linked", 1, "UPDATE payment_history SET invoice_id = 3"),
    ("payments-linked", 1, "UPDATE payment_history SET invoice_id = NULL"),
    ("payments-linked", 1, "UPDATE users SET livemode = true"),
    ("payments-linked", 1, "UPDATE invoices SET stripe_account = 'acct_1' WHERE id = 1"),
    ("net-is-amount-less-fee", 1, "UPDATE payment_history SET net_amount_cents = 4824"),
    ("net-is-amount-less-fee", 1, "UPDATE payment_history SET net_amount_cents = NULL"),
    ("refunds-within-payments", 1, "UPDATE payment_history SET refund_amount_cents = 999"),
    ("refunds-within-payments", 1, "UPDATE payment_history SET refund_amount_cents = 1001"),
    ("refunds-within-payments", 1, "UPDATE payment_history SET refund_amount_cents = 5001"),
    ("refunds-within-payments", 1, "UPDATE payment_history SET status = 'succeeded'"),
    ("refunds-within-payments", 1, "UPDATE payment_history SET status = 'failed'"),
    ("refunds-within-payments", 1, "UPDATE refunds SET amount_cents = 1500"),
    ("invoices-paid-by-payments", 1, "UPDATE invoices SET amount_paid_cents = 4000 WHERE id = 1"),
    ("invoices-paid-by-payments", 1, "UPDATE invoices SET amount_paid_cents = 6000 WHERE id = 1"),
    ("invoices-paid-by-payments", 1, "UPDATE invoices SET amount_overpaid_cents = -1 WHERE id = 1"),
    ("invoices-paid-by-payments", 1, "UPDATE payment_history SET status = 'failed'"),
    (
        "invoices-paid-by-payments",
        1,
        """
        WITH rest AS (
            INSERT INTO invoice_payments (stripe_invoice_id, payment_id, status, amount_paid_cents)
            VALUES ('in_1', 'pi_lost', 'paid', 1000)
        )
        UPDATE invoices SET amount_paid_cents = 6000, paid_out_of_band = NULL WHERE id = 1
        """,
    ),
    (
        "invoices-paid-by-payments",
        1,
        """
        WITH gone AS (UPDATE payment_history SET status = 'failed'),
             first AS (UPDATE webhook_events SET received_at = :before - interval '1 day')
        UPDATE invoices SET paid_out_of_band = NULL WHERE id = 1
        """,
    ),
    ("own-invoices-settled", 2, "DELETE FROM manual_payments"),
    ("own-invoices-settled", 2, "UPDATE manual_payments SET amount_cents = 2001"),
    ("own-invoices-settled", 2, "UPDATE invoices SET amount_remaining_cents = 8499 WHERE id = 2"),
    ("own-invoices-settled", 2, "UPDATE invoices SET status = 'paid' WHERE id = 2"),
    ("own-invoices-settled", 2, "UPDATE invoices SET amount_overpaid_cents = 1 WHERE id = 2"),
    (
        "own-invoices-settled",
        2,
        (
            "UPDATE invoices SET amount_overpaid_cents = -1, amount_paid_cents = amount_paid_cents + 1,"
            " amount_remaining_cents = amount_remaining_cents - 1 WHERE id = 2"
        ),
    ),
    (
        "own-invoices-settled",
        2,
        (
            "INSERT INTO invoices (stripe_invoice_id, status, collects_invoice_id, amount_paid_cents, updated_at)"
            " VALUES ('in_9', 'open', 2, 100, :before)"
        ),
    ),
    ("own-invoices-add-up", 2, "DELETE FROM documents"),
    ("own-invoices-add-up", 2, "UPDATE documents SET total_cents = 11999"),
    ("own-invoices-add-up", 2, "UPDATE invoices SET subtotal_cents = 9999 WHERE id = 2"),
    ("own-invoices-add-up", 2, "UPDATE invoices SET discount_cents = 1 WHERE id = 2"),
    ("own-invoices-add-up", 2, "UPDATE invoices SET line_items = NULL WHERE id = 2"),
    ("credit-notes-within-invoices", 2, "UPDATE credit_notes SET total_cents = 12001"),
    ("credit-notes-within-invoices", 2, "UPDATE credit_notes SET currency = 'eur'"),
    ("credit-notes-within-invoices", 2, "UPDATE invoices SET status = 'void' WHERE id = 2"),
    ("numbers-without-gaps", "invoice", "DELETE FROM invoices WHERE id = 2"),
    ("numbers-without-gaps", "invoice", "UPDATE invoice_series SET next_number = 5 WHERE series = 'invoice'"),
    ("numbers-without-gaps", "credit_note", "DELETE FROM credit_notes"),
    ("credits-add-up", 1, "UPDATE credits SET remaining_cents = 2001"),
    ("credits-add-up", 1, "UPDATE credit_applications SET reversed_at = now()"),
    ("credits-within-invoices", 2, "UPDATE credit_applications SET amount_cents = 12001"),
    ("credits-within-invoices", 2, "UPDATE invoices SET status = 'void' WHERE id = 2"),
    ("credits-within-invoices", 2, "UPDATE credits SET currency = 'eur'"),
    (
        "documents-made",
        1,
        "UPDATE documents SET status = 'waiting', sha256 = NULL, size_bytes = NULL, stored_at = NULL, job_id = 1",
    ),
    ("documents-made", 1, "UPDATE documents SET sha256 = 'lost'"),
    ("usage-sums-are-events", "hour", "UPDATE usage_rollups SET events = 9 WHERE granularity = 'hour' AND user_id = 1"),
    (
        "usage-sums-are-events",
        "day",
        "UPDATE usage_rollups SET cost_units = 9 WHERE granularity = 'day' AND user_id = 1",
    ),
    ("usage-sums-are-events", "day", "DELETE FROM usage_rollups WHERE granularity = 'day' AND user_id IS NULL"),
    ("usage-sums-are-events", "hour", "DELETE FROM usage_rollups WHERE granularity = 'hour' AND user_id IS NULL"),
    (
        "usage-sums-are-events",
        "hour",
        (
            "INSERT INTO usage_rollups (granularity, bucket_start, user_id, event_type, billable, events, cost_units)"
            " VALUES ('hour', '2026-03-01 11:00Z', 1, 'other', true, 1, 1)"
        ),
    ),
    (
        "one-open-case-per-debt",
        2,
        """
        WITH collecting AS (
            INSERT INTO invoices (stripe_invoice_id, status, collects_invoice_id, updated_at)
            VALUES ('in_9', 'open', 2, :before) RETURNING id
        )
        INSERT INTO dunning_cases (stripe_invoice_id, invoice_id, opened_by, currency, amount_cents, policy, steps,
                                   hours, failed_at, opened_at)
        SELECT of.stripe, of.id, 'overdue', 'usd', 1, 'standard', '[]'::jsonb, '{}'::jsonb, :before, :before
        FROM (SELECT 'in_9' AS stripe, id FROM collecting UNION ALL SELECT NULL, 2) AS of
        """,
    ),
    ("open-cases-are-owed", 1, "UPDATE invoices SET status = 'paid' WHERE id = 3"),
    ("open-cases-are-owed", 1, "UPDATE invoices SET deleted_at = now() WHERE id = 3"),
    ("no-letter-after-payment", 1, "UPDATE emails SET sent_at = :before + interval '61 minutes'"),
    (
        "no-letter-after-payment",
        1,
        "UPDATE emails SET key = 'dunning/own-1/2', stripe_invoice_id = NULL, sent_at = sent_at + interval '2 hours'",
    ),
)


async def test_books_in_which_all_is_well_break_nothing(engine: AsyncEngine) -> None:
    await write(engine, *WELL)
    assert await broken(engine) == {}


async def test_empty_books_break_nothing(engine: AsyncEngine) -> None:
    assert await broken(engine) == {}


@pytest.mark.parametrize(("name", "row", "corruption"), CORRUPTIONS)
async def test_what_is_broken_is_found_with_its_row(
    engine: AsyncEngine, name: str, row: str | int, corruption: str
) -> None:
    await write(engine, *WELL, corruption)
    for whole in (True, False):
        found = await look(engine, name, whole=whole)
        assert found.broken == len(found.rows) == 1 + (name == HOURLY and row == "hour" and not whole), (whole, found)
        assert any(row in one.values() for one in found.rows)


def test_each_invariant_is_broken_by_one_of_these() -> None:
    assert {name for name, _, _ in CORRUPTIONS} == set(INVARIANTS)


FINE = {
    "an invoice paid out of band": (
        "UPDATE invoices SET status = 'paid', amount_paid_cents = 700, paid_out_of_band = true, paid_at = :before"
        " WHERE id = 3"
    ),
    "one paid past Stripe since basil": (
        "UPDATE invoices SET amount_paid_cents = 700, paid_out_of_band = NULL WHERE id = 3"
    ),
    "one paid in part by card, the rest past Stripe, since basil": (
        "UPDATE invoices SET amount_paid_cents = 9000, paid_out_of_band = NULL WHERE id = 1"
    ),
    "the same, where Stripe tells of the rest as a payment record": """
        WITH rest AS (
            INSERT INTO invoice_payments (stripe_invoice_id, payment_id, status, amount_paid_cents)
            VALUES ('in_1', 'pr_1', 'paid', 4000)
        )
        UPDATE invoices SET amount_paid_cents = 9000, paid_out_of_band = NULL WHERE id = 1
    """,
    "one paid before our time": ("UPDATE invoices SET amount_paid_cents = 700, paid_at = '2020-01-01Z' WHERE id = 3"),
    "one paid too much": "UPDATE invoices SET amount_paid_cents = 4500, amount_overpaid_cents = 500 WHERE id = 1",
    "a payment that is still changing": "UPDATE invoices SET amount_paid_cents = 1, updated_at = '2026-03-01 11:55Z'",
    "a letter sent again on purpose": (
        "UPDATE emails SET key = 'dunning/in_1/0/again/1', sent_at = '2026-03-01 23:00Z'"
    ),
    "fees in another currency": "UPDATE payment_history SET settlement_currency = 'eur', net_amount_cents = 1",
    "a charge that only its intent has told of": "UPDATE charges SET amount_cents = NULL, currency = NULL",
    "a refund that names only the intent": (
        "UPDATE refunds SET stripe_charge_id = NULL, stripe_payment_intent_id = 'pi_1'"
    ),
    "a refund that Stripe's own sum has, and no event told of": "DELETE FROM refunds",
}


@pytest.mark.parametrize("change", FINE.values(), ids=FINE)
async def test_what_may_be_is_not_broken(engine: AsyncEngine, change: str) -> None:
    about = (
        *("invoices-paid-by-payments", "no-letter-after-payment", "net-is-amount-less-fee", "payments-have-charges"),
        "refunds-within-payments",
    )
    await write(engine, *WELL, "DELETE FROM dunning_cases", change)
    for name in about:
        for whole in (True, False):
            assert (await look(engine, name, whole=whole)).broken == 0


async def test_an_event_that_waits_excuses_its_invoice_but_a_dead_one_does_not(engine: AsyncEngine) -> None:
    await write(
        engine,
        *WELL,
        "UPDATE invoices SET amount_paid_cents = 4000 WHERE id = 1",
        "UPDATE webhook_events SET customer_id = 'cus_1' WHERE id = 'evt_2'",
    )
    assert (await look(engine, "invoices-paid-by-payments", whole=True)).broken == 0
    await write(engine, "UPDATE queue SET dead_reason = 'refused'")
    assert (await look(engine, "invoices-paid-by-payments", whole=True)).broken == 1


async def test_the_count_is_whole_and_the_rows_are_the_first(engine: AsyncEngine) -> None:
    await write(
        engine,
        "INSERT INTO jobs (name, queue, args, status, created_at)"
        " SELECT 'x', 'mail', '{}', 'queued', :before FROM generate_series(1, 50)",
    )
    found = await look(engine, "jobs-finished-or-queued", whole=False)
    assert found.broken == 50
    assert [row["id"] for row in found.rows] == list(range(1, 21))
