"""What has happened that its letter does not tell yet, as the books say; and many letters written at once."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import TextClause, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import BigInteger, Text

from db import emails
from db.ledger import Row

NEW = "interval '7 days'"
"""What happened to a customer so soon may have been heard of before the customer: Stripe tries for three days."""

ANNOUNCED = timedelta(days=3, hours=1)
"""Stripe announces the end of a trial three days ahead, and clocks differ:
https://docs.stripe.com/billing/subscriptions/trials."""

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Row, float_hook=str).decode


def _lists(statement: str, *names: str) -> TextClause:
    return text(statement).bindparams(*(bindparam(name, type_=ARRAY(Text)) for name in names))


_READER = """
    u.id AS user_id, u.stripe_customer_id, u.email, u.name, u.locale, u.timezone,
    coalesce(u.version <> '{}', false) AS known
"""
"""Whom a letter goes to. An unknown customer is a stub: what an invoice told of them stands in."""

_INVOICE = """
    i.stripe_invoice_id, coalesce(i.invoice_number, i.stripe_number, i.stripe_invoice_id) AS number,
    i.hosted_invoice_url, i.customer_email, i.customer_name
"""

_RECEIPTS = _lists(
    f"""
    SELECT {_INVOICE}, {_READER}, 'receipt/' || i.stripe_invoice_id AS key,
           i.currency, i.amount_paid_cents, i.subtotal_cents, i.discount_cents, i.tax_cents, i.total_cents,
           coalesce(i.paid_at, to_timestamp(i.version[2])) AS paid_at, i.line_items, i.line_items_complete,
           i.invoice_pdf_url, p.card_brand, p.card_last4, p.payment_method
    FROM invoices i
    LEFT JOIN users u ON u.stripe_customer_id = i.stripe_customer_id
    LEFT JOIN LATERAL (
        SELECT * FROM payment_history h
        WHERE h.stripe_invoice_id = i.stripe_invoice_id AND h.status NOT IN ('failed', 'pending')
        ORDER BY h.created_at DESC, h.id DESC LIMIT 1
    ) p ON true
    WHERE (i.stripe_invoice_id = ANY(:invoices)
           OR (i.stripe_customer_id = ANY(:customers) AND i.paid_at < u.stripe_created_at + {NEW}))
      AND i.status = 'paid' AND i.amount_paid_cents > 0 AND i.currency IS NOT NULL
      AND NOT EXISTS (SELECT FROM emails e WHERE e.key = 'receipt/' || i.stripe_invoice_id)
    """,  # noqa: S608 - constants
    "invoices",
    "customers",
)


async def receipts(conn: AsyncConnection, *, invoices: Iterable[str] = (), customers: Iterable[str] = ()) -> list[Row]:
    """Of these invoices, and of the first ones of these customers, those that money was paid for without a receipt."""
    return _rows(await conn.execute(_RECEIPTS, {"invoices": list(invoices), "customers": list(customers)}))


_REFUNDS = _lists(
    f"""
    SELECT {_INVOICE}, {_READER}, 'refund/' || r.stripe_refund_id AS key,
           r.amount_cents, coalesce(r.currency, p.currency) AS currency, r.stripe_created_at AS refunded_at,
           r.stripe_refund_id, r.stripe_charge_id, to_timestamp(r.version[2]) AS told_at,
           p.stripe_customer_id IS NULL AS guest,
           p.amount_cents AS payment_cents, p.created_at AS paid_at,
           p.card_brand, p.card_last4, p.payment_method
    FROM refunds r
    JOIN LATERAL (
        SELECT * FROM payment_history h
        WHERE h.stripe_charge_id = r.stripe_charge_id
           OR (r.stripe_charge_id IS NULL AND h.stripe_payment_intent_id = r.stripe_payment_intent_id
               AND h.status NOT IN ('failed', 'pending'))
        ORDER BY h.created_at DESC, h.id DESC LIMIT 1
    ) p ON true
    LEFT JOIN users u ON u.stripe_customer_id = p.stripe_customer_id
    LEFT JOIN invoices i ON i.stripe_invoice_id = p.stripe_invoice_id
    WHERE (r.stripe_refund_id = ANY(:refunds) OR r.stripe_charge_id = ANY(:charges)
           OR r.stripe_charge_id IN (SELECT c.stripe_charge_id FROM charges c
                                     JOIN users k USING (stripe_customer_id)
                                     WHERE c.stripe_customer_id = ANY(:customers)
                                       AND c.stripe_created_at < k.stripe_created_at + {NEW}))
      AND r.status = 'succeeded' AND r.amount_cents > 0
      AND NOT EXISTS (SELECT FROM emails e WHERE e.key = 'refund/' || r.stripe_refund_id)
    """,  # noqa: S608 - constants
    "refunds",
    "charges",
    "customers",
)


async def refunds(
    conn: AsyncConnection,
    *,
    refunds: Iterable[str] = (),
    charges: Iterable[str] = (),
    customers: Iterable[str] = (),
) -> list[Row]:
    """These refunds, those of these charges, and of the first charges of these customers, that nobody was told of.

    A refund whose payment is not in the books yet waits for it.
    """
    values = {"refunds": list(refunds), "charges": list(charges), "customers": list(customers)}
    return _rows(await conn.execute(_REFUNDS, values))


_DISPUTES = _lists(
    """
    SELECT d.stripe_dispute_id, 'dispute/' || d.stripe_dispute_id AS key, d.status, d.reason, d.stripe_charge_id,
           coalesce(d.stripe_payment_intent_id, p.stripe_payment_intent_id, d.stripe_charge_id) AS payment,
           coalesce(d.amount_cents, p.amount_cents) AS amount_cents, coalesce(d.currency, p.currency) AS currency,
           d.evidence_due_by, coalesce(d.stripe_created_at, to_timestamp(d.version[2])) AS disputed_at,
           d.livemode, d.stripe_account, u.name, u.email, i.customer_name, i.customer_email, i.stripe_invoice_id,
           coalesce(i.invoice_number, i.stripe_number, i.stripe_invoice_id) AS number
    FROM disputes d
    LEFT JOIN payment_history p ON p.stripe_charge_id = d.stripe_charge_id
    LEFT JOIN users u ON u.stripe_customer_id = p.stripe_customer_id
    LEFT JOIN invoices i ON i.stripe_invoice_id = p.stripe_invoice_id
    WHERE d.stripe_dispute_id = ANY(:disputes) AND coalesce(d.amount_cents, p.amount_cents) > 0
      AND coalesce(d.currency, p.currency) IS NOT NULL
      AND NOT EXISTS (SELECT FROM emails e WHERE e.key = 'dispute/' || d.stripe_dispute_id)
    """,
    "disputes",
)


async def disputes(conn: AsyncConnection, disputes: Iterable[str]) -> list[Row]:
    """Those of these disputes that operators were not told of."""
    return _rows(await conn.execute(_DISPUTES, {"disputes": list(disputes)}))


# A payment method that was detached belongs to nobody any more; one that never came by an event is still named.
_CARD = """
    coalesce(s.default_payment_method_id, u.default_payment_method_id) AS method_id,
    m.id IS NOT NULL AND m.stripe_customer_id IS NULL AS method_gone,
    m.type AS method_type, m.brand AS method_brand, m.last4 AS method_last4
"""
_TRIALS = _lists(
    f"""
    SELECT to_jsonb(s)::text AS subscription, s.trial_end, {_READER}, {_CARD},
           format('trial_ending/%s/%s', s.stripe_subscription_id, extract(epoch FROM s.trial_end)::bigint) AS key,
           coalesce(p.name, r.nickname, s.tier, s.description, s.stripe_price_id) AS product,
           i.customer_email, i.customer_name, n.total_cents AS next_total_cents, n.currency AS next_currency
    FROM subscriptions s
    LEFT JOIN users u ON u.stripe_customer_id = s.stripe_customer_id
    LEFT JOIN payment_methods m
        ON m.stripe_payment_method_id = coalesce(s.default_payment_method_id, u.default_payment_method_id)
    LEFT JOIN prices r ON r.stripe_price_id = s.stripe_price_id
        AND r.stripe_account = s.stripe_account AND r.livemode = s.livemode
    LEFT JOIN products p ON p.stripe_product_id = r.stripe_product_id
        AND p.stripe_account = s.stripe_account AND p.livemode = s.livemode
    LEFT JOIN invoices i ON i.stripe_invoice_id = s.latest_stripe_invoice_id
    LEFT JOIN upcoming_invoices n ON n.key = s.stripe_subscription_id AND n.next_payment_attempt >= s.trial_end
    WHERE (s.stripe_subscription_id = ANY(:subscriptions) OR s.stripe_customer_id = ANY(:customers))
      AND s.status = 'trialing' AND s.trial_end > :now AND s.trial_end <= :until
      AND s.cancel_at_period_end IS NOT TRUE AND (s.cancel_at IS NULL OR s.cancel_at > s.trial_end)
      AND s.collection_method IS DISTINCT FROM 'send_invoice' AND u.deleted_at IS NULL
      AND NOT EXISTS (SELECT FROM emails e WHERE e.key = format(
          'trial_ending/%s/%s', s.stripe_subscription_id, extract(epoch FROM s.trial_end)::bigint))
    """,  # noqa: S608 - constants
    "subscriptions",
    "customers",
)


async def trials(
    conn: AsyncConnection, *, subscriptions: Iterable[str] = (), customers: Iterable[str] = (), now: datetime
) -> list[Row]:
    """Of these subscriptions, and of these customers', those whose trial ends soon and goes on into a paid period.

    Whoever pays by transfer is not asked for a card: they get an invoice.
    """
    values = {
        "subscriptions": list(subscriptions), "customers": list(customers), "now": now, "until": now + ANNOUNCED
    }  # fmt: skip
    return [row | {"subscription": _decode(row["subscription"])} for row in _rows(await conn.execute(_TRIALS, values))]


_EXPIRING = text(
    f"""
    SELECT DISTINCT ON (m.stripe_payment_method_id) m.stripe_payment_method_id, m.exp_year, m.exp_month,
           to_jsonb(s)::text AS subscription, s.current_period_end, {_READER}, {_CARD},
           i.customer_email, i.customer_name,
           format('card_expiring/%s/%s-%s', m.stripe_payment_method_id, m.exp_year,
                  lpad(m.exp_month::text, 2, '0')) AS key
    FROM payment_methods m
    JOIN users u ON u.stripe_customer_id = m.stripe_customer_id AND u.deleted_at IS NULL
    JOIN subscriptions s ON s.stripe_customer_id = m.stripe_customer_id
        AND coalesce(s.default_payment_method_id, u.default_payment_method_id) = m.stripe_payment_method_id
    LEFT JOIN invoices i ON i.stripe_invoice_id = s.latest_stripe_invoice_id
    WHERE m.stripe_payment_method_id > :after AND m.exp_year * 12 + m.exp_month - 1 BETWEEN :month AND :month + 1
      AND s.status IN ('active', 'trialing', 'past_due') AND s.cancel_at_period_end IS NOT TRUE
      AND (s.cancel_at IS NULL OR s.cancel_at > make_timestamptz(m.exp_year::int, m.exp_month::int, 1, 0, 0, 0, 'UTC')
           + interval '1 month')
      AND s.collection_method IS DISTINCT FROM 'send_invoice'
      AND NOT EXISTS (SELECT FROM emails e WHERE e.key = format(
          'card_expiring/%s/%s-%s', m.stripe_payment_method_id, m.exp_year, lpad(m.exp_month::text, 2, '0')))
    ORDER BY m.stripe_payment_method_id, s.current_period_end, s.id LIMIT :limit
    """  # noqa: S608 - constants
)


async def expiring_cards(conn: AsyncConnection, *, now: datetime, after: str, limit: int) -> list[Row]:
    """A page of cards, by id, that expire this month or the next, and that an active subscription is charged to."""
    month = now.year * 12 + now.month - 1
    found = _rows(await conn.execute(_EXPIRING, {"month": month, "after": after, "limit": limit}))
    return [row | {"subscription": _decode(row["subscription"])} for row in found]


def _rows(found: Any) -> list[Row]:
    return [dict(row) for row in found.mappings()]


@dataclass(frozen=True, slots=True)
class NewEmail:
    """A letter to be written down. With a `suppressed` reason nobody sends it; it is only there to be seen."""

    key: str
    template: str
    recipient: str
    recipient_name: str | None
    user_id: int | None
    stripe_invoice_id: str | None
    locale: str | None
    timezone: str | None
    context: Mapping[str, Any]
    occurred_at: datetime
    staged_by: str | None
    suppressed: str | None = None


# Sorted by key, so that two transactions that write the same letters never wait for each other in a circle.
_WRITE = text(
    """
    WITH given AS (
        SELECT * FROM jsonb_to_recordset(CAST(CAST(:rows AS text) AS jsonb)) AS g (
            key text, message_id text, template text, recipient text, recipient_name text, user_id bigint,
            stripe_invoice_id text, locale text, timezone text, context jsonb, occurred_at timestamptz,
            staged_by text, suppressed text
        )
    ), new AS (
        INSERT INTO emails (key, message_id, template, recipient, recipient_name, user_id, stripe_invoice_id, locale,
                            timezone, context, occurred_at, created_at, status, reason)
        SELECT key, message_id, template, recipient, recipient_name, user_id, stripe_invoice_id, locale, timezone,
               context, occurred_at, :now, CASE WHEN suppressed IS NULL THEN 'queued' ELSE 'suppressed' END, suppressed
        FROM given ORDER BY key
        ON CONFLICT (key) DO NOTHING
        RETURNING id, key, status
    ), staged AS (
        INSERT INTO jobs (name, queue, args, unique_key, staged_by, created_at)
        SELECT :job, :queue, jsonb_build_object('email_id', new.id), 'letter/' || key, given.staged_by, :wall
        FROM new JOIN given USING (key) WHERE new.status = 'queued' ORDER BY key
        ON CONFLICT (unique_key) WHERE unique_key IS NOT NULL DO NOTHING
        RETURNING id, (args->>'email_id')::bigint AS email_id
    ), queued AS (
        INSERT INTO queue (queue, name, job_id, priority, due_at) SELECT :queue, :job, id, 0, :wall FROM staged
    )
    SELECT new.id, new.key, staged.id FROM new LEFT JOIN staged ON staged.email_id = new.id ORDER BY new.key
    """
)
_BELONG = text(
    "UPDATE emails e SET job_id = j.job FROM unnest(:emails, :jobs) AS j (email, job) WHERE e.id = j.email"
).bindparams(bindparam("emails", type_=ARRAY(BigInteger)), bindparam("jobs", type_=ARRAY(BigInteger)))


async def write(
    conn: AsyncConnection, letters: Sequence[NewEmail], *, job: str, queue: str, now: datetime, wall: datetime
) -> dict[str, int]:
    """Write letters down, each with the job `job` that sends it. Returns the ids, by key, of those that are new."""
    rows = _encode([msgspec.to_builtins(one) | {"message_id": emails.message_id(one.key)} for one in letters]).decode()
    found = await conn.execute(_WRITE, {"rows": rows, "job": job, "queue": queue, "now": now, "wall": wall})
    new = [(row[0], row[1], row[2]) for row in found]
    sent = [(email, job_id) for email, _, job_id in new if job_id is not None]
    if sent:
        ids, jobs = zip(*sent, strict=True)
        await conn.execute(_BELONG, {"emails": list(ids), "jobs": list(jobs)})
    return {key: email for email, key, _ in new}
