"""What came for an invoice is what it says was paid; our own invoices add up, and their numbers have no gap."""

from sqlalchemy.ext.asyncio import AsyncConnection

from db import numbering
from db.verify.invariant import FIRST, Found, Invariant, Question, Span, answer

# An invoice that was paid past Stripe, as a whole or the rest of it, has no payment for that. Since basil no event says
# so: then it is no proof that less came than was paid, but it is one that a payment which Stripe named as paid is not
# here; reconciliation finds what else is missing. Of invoices that were paid before the first event came, the payments
# need not be here.
PAID = Question(
    since="""
        SELECT id FROM invoices WHERE updated_at >= :since
        UNION SELECT invoice_id FROM payment_history WHERE updated_at >= :since AND invoice_id IS NOT NULL
    """,
    broken="""
        SELECT b.* FROM (
            SELECT i.id, i.stripe_invoice_id, i.stripe_customer_id, i.currency, i.amount_paid_cents,
                   i.amount_overpaid_cents, coalesce(m.came, 0) AS payments_cents, coalesce(m.payments, 0) AS payments,
                   i.paid_at
            FROM invoices i [looked i.id]
            LEFT JOIN (
                SELECT p.invoice_id, count(*) AS payments, max(p.updated_at) AS changed_at,
                       sum(CASE WHEN l.status = 'paid' THEN coalesce(l.amount_paid_cents, p.amount_cents)
                                ELSE p.amount_cents END)::bigint AS came
                FROM payment_history p [looked p.invoice_id]
                LEFT JOIN invoice_payments l ON l.stripe_invoice_id = p.stripe_invoice_id
                    AND l.payment_id = coalesce(p.stripe_payment_intent_id, p.stripe_charge_id)
                WHERE p.invoice_id IS NOT NULL AND p.captured
                  AND p.status IN ('succeeded', 'refunded', 'partially_refunded', 'disputed')
                GROUP BY 1
            ) AS m ON m.invoice_id = i.id
            WHERE i.kind IS NULL AND i.deleted_at IS NULL AND i.status IS NOT NULL
              AND i.updated_at < :settled AND (m.changed_at < :settled) IS NOT FALSE
              AND CASE WHEN i.amount_overpaid_cents < 0 THEN true
                       WHEN coalesce(m.came, 0) > i.amount_paid_cents
                           THEN m.came > i.amount_paid_cents + coalesce(i.amount_overpaid_cents, 0)
                       WHEN coalesce(m.came, 0) = i.amount_paid_cents OR i.paid_out_of_band THEN false
                       WHEN m.payments IS NULL
                            AND (i.paid_at >= (SELECT min(received_at) FROM webhook_events)) IS NOT TRUE THEN false
                       WHEN i.paid_out_of_band IS FALSE THEN true
                       ELSE EXISTS (
                           SELECT FROM invoice_payments l
                           WHERE l.stripe_invoice_id = i.stripe_invoice_id AND l.status = 'paid'
                             AND l.payment_id ~ '^(pi|ch|py)_' AND l.amount_paid_cents > 0
                             AND NOT EXISTS (
                                 SELECT FROM payment_history p
                                 WHERE p.invoice_id = i.id AND p.captured
                                   AND l.payment_id = coalesce(p.stripe_payment_intent_id, p.stripe_charge_id)
                                   AND p.status IN ('succeeded', 'refunded', 'partially_refunded', 'disputed'))) END
        ) AS b
        WHERE NOT EXISTS (
            SELECT FROM queue q JOIN webhook_events e ON e.id = q.event_id
            WHERE q.dead_reason IS NULL
              AND (e.object_id = b.stripe_invoice_id OR e.customer_id = b.stripe_customer_id)
        )
    """,
)

_OURS_CHANGED = "SELECT id FROM invoices WHERE updated_at >= :since AND kind IS NOT NULL"

SETTLED = Question(
    since=f"""
        {_OURS_CHANGED}
        UNION SELECT collects_invoice_id FROM invoices WHERE updated_at >= :since AND collects_invoice_id IS NOT NULL
        UNION SELECT invoice_id FROM manual_payments WHERE recorded_at >= :since
    """,  # noqa: S608 - constants of ours
    broken="""
        SELECT o.id, o.invoice_number, o.status, o.currency, o.amount_due_cents, o.amount_paid_cents,
               o.amount_overpaid_cents, o.pre_payment_credit_cents, o.amount_remaining_cents,
               coalesce(h.came, 0) AS past_stripe_cents, coalesce(t.came, 0) AS through_stripe_cents, judged.wrong
        FROM invoices o [looked o.id]
        LEFT JOIN (
            SELECT m.invoice_id, sum(m.amount_cents)::bigint AS came FROM manual_payments m [looked m.invoice_id]
            WHERE m.voided_at IS NULL GROUP BY 1
        ) AS h ON h.invoice_id = o.id
        LEFT JOIN (
            SELECT s.collects_invoice_id, sum(CASE WHEN s.status = 'paid'
                THEN s.total_cents - coalesce(s.pre_payment_credit_cents, 0)
                     - greatest(coalesce(s.ending_balance_cents, 0), 0)
                ELSE s.amount_paid_cents END)::bigint AS came
            FROM invoices s [looked s.collects_invoice_id]
            WHERE s.collects_invoice_id IS NOT NULL GROUP BY 1
        ) AS t ON t.collects_invoice_id = o.id
        CROSS JOIN LATERAL (SELECT CASE
            WHEN coalesce(h.came, 0) + coalesce(t.came, 0)
                 <> o.amount_paid_cents + coalesce(o.amount_overpaid_cents, 0)
                THEN 'what came for it is not what it says was paid'
            WHEN o.amount_overpaid_cents < 0 THEN 'less than nothing was paid beyond it'
            WHEN o.status = 'void' THEN NULL
            WHEN o.amount_paid_cents + coalesce(o.pre_payment_credit_cents, 0) + o.amount_remaining_cents
                 <> o.amount_due_cents THEN 'paid, credited and remaining are not what was due'
            WHEN o.amount_remaining_cents < 0 THEN 'less than nothing remains'
            WHEN (o.status = 'paid') <> (o.amount_remaining_cents = 0) THEN 'its status is not what remains'
        END AS wrong) AS judged
        WHERE o.kind IS NOT NULL AND o.invoice_number IS NOT NULL AND judged.wrong IS NOT NULL
    """,
)

ADDS_UP = Question(
    since=_OURS_CHANGED,
    broken="""
        SELECT o.id, o.invoice_number, o.currency, o.subtotal_cents, lines.come AS lines_cents, o.discount_cents,
               o.tax_cents, o.total_cents, d.id AS document, judged.wrong
        FROM invoices o [looked o.id]
        LEFT JOIN documents d ON d.key = 'invoice/' || o.id
        CROSS JOIN LATERAL (
            SELECT coalesce(sum((one ->> 'amount_cents')::bigint), 0)::bigint AS come
            FROM jsonb_array_elements(CASE jsonb_typeof(o.line_items) WHEN 'array' THEN o.line_items END) AS one
        ) AS lines
        CROSS JOIN LATERAL (
            SELECT coalesce(sum((tax ->> 'amount_minor')::bigint), 0)::bigint AS added
            FROM jsonb_array_elements(d.content -> 'taxes') AS tax
            WHERE NOT coalesce((tax ->> 'inclusive')::boolean, false)
        ) AS taxes
        CROSS JOIN LATERAL (SELECT CASE
            WHEN d.id IS NULL THEN 'its document is gone'
            WHEN (d.number, d.currency, d.total_cents) IS DISTINCT FROM (o.invoice_number, o.currency, o.total_cents)
                THEN 'its document says ' || d.number || ' over ' || d.total_cents || ' ' || d.currency
            WHEN lines.come <> o.subtotal_cents THEN 'its lines are not its subtotal'
            WHEN o.subtotal_cents - o.discount_cents + taxes.added <> o.total_cents
                THEN 'subtotal, discount and tax are not its total'
        END AS wrong) AS judged
        WHERE o.kind IS NOT NULL AND o.invoice_number IS NOT NULL AND judged.wrong IS NOT NULL
    """,
)

CREDIT_NOTES = Question(
    since=f"""
        {_OURS_CHANGED}
        UNION SELECT invoice_id FROM credit_notes WHERE invoice_id IS NOT NULL AND updated_at >= :since
    """,  # noqa: S608 - constants of ours
    broken="""
        SELECT o.id, o.invoice_number, o.status, o.currency, o.total_cents, n.notes, n.come AS credited_cents
        FROM invoices o [looked o.id]
        JOIN (
            SELECT c.invoice_id, count(*) AS notes, sum(c.total_cents)::bigint AS come, min(c.total_cents) AS least,
                   count(DISTINCT c.currency) AS currencies, min(c.currency) AS currency
            FROM credit_notes c [looked c.invoice_id]
            WHERE c.stripe_credit_note_id IS NULL GROUP BY 1
        ) AS n ON n.invoice_id = o.id
        WHERE n.come > o.total_cents OR n.least <= 0 OR n.currencies > 1 OR n.currency <> o.currency
           OR o.status IN ('draft', 'void')
    """,
)

# Our own invoices have a key, by which an index finds them among millions of Stripe's.
COUNTS = """
    WITH broken AS MATERIALIZED (
        SELECT series, coalesce(s.taken, 0) AS taken, coalesce(o.issued, 0) AS issued
        FROM (SELECT series, sum(next_number - 1)::bigint AS taken FROM invoice_series GROUP BY 1) AS s
        FULL JOIN (
            SELECT series, count(*) AS issued FROM (
                SELECT series FROM invoices
                WHERE own_key IS NOT NULL AND kind IS NOT NULL AND invoice_number IS NOT NULL AND series IS NOT NULL
                UNION ALL
                SELECT series FROM credit_notes WHERE stripe_credit_note_id IS NULL AND series IS NOT NULL
            ) AS ours GROUP BY 1
        ) AS o USING (series)
        WHERE coalesce(s.taken, 0) <> coalesce(o.issued, 0)
    )
    SELECT (SELECT count(*) FROM broken),
           (SELECT coalesce(jsonb_agg(to_jsonb(broken) ORDER BY series), '[]')::text FROM broken)
"""


async def numbers(conn: AsyncConnection, span: Span) -> Found:
    """As many numbers were taken from each series as documents have one; the whole form looks at each year."""
    if span.since is not None:
        return await answer(conn, COUNTS, span)
    found = [
        {"series": one.series, "year": one.year, "taken": one.taken, "issued": one.issued}
        for one in await numbering.uneven(conn)
    ]
    return Found(len(found), found[:FIRST])


INVARIANTS = (
    Invariant(
        name="invoices-paid-by-payments",
        holds="The payments of an invoice of Stripe's that succeeded come to what Stripe says was paid of it; an"
        " overpayment is never negative.",
        mend="`billing reconcile --repair` fetches the invoice and its payments; retry its dead events first",
        check=PAID,
    ),
    Invariant(
        name="own-invoices-settled",
        holds="What came for an invoice of ours is what it says was paid; that, credits and the rest are what is due;"
        " an overpayment is never negative.",
        mend="compare `billing invoices show NUMBER` with the bank; a payment that is missing: `billing invoices paid`",
        check=SETTLED,
    ),
    Invariant(
        name="own-invoices-add-up",
        holds="Lines, discounts and taxes of an invoice of ours come to its total, and its document says the same.",
        mend="somebody changed an issued row past its triggers: bring back `invoices` and `documents` from a backup",
        check=ADDS_UP,
    ),
    Invariant(
        name="credit-notes-within-invoices",
        holds="Credit notes of ours come to no more than their invoice, in its currency.",
        mend="look at `billing invoices show NUMBER`; what was credited too much is invoiced again",
        check=CREDIT_NOTES,
    ),
    Invariant(
        name="numbers-without-gaps",
        holds="Each number that was taken from a series stands on an invoice or a credit note of ours.",
        mend="`billing doctor` names the series and the year; bring the lost rows back from a backup",
        check=numbers,
    ),
)
