"""Nobody is dunned twice for one debt, nor after it was paid."""

from db.verify.invariant import Invariant, Question

# Unique keys allow one case for each invoice; but one of Stripe's may collect one of ours, and that is one debt.
ONE_CASE = Question(
    broken="""
        SELECT coalesce(i.collects_invoice_id, i.id) AS debt, count(*) AS cases,
               jsonb_agg(jsonb_build_object('case', c.id, 'invoice', coalesce(c.stripe_invoice_id, i.invoice_number))
                         ORDER BY c.id) AS which
        FROM dunning_cases c
        JOIN invoices i ON i.id = c.invoice_id
        WHERE c.status <> 'closed'
        GROUP BY 1 HAVING count(*) > 1
    """,
)
OWED = Question(
    broken="""
        SELECT c.id, c.stripe_invoice_id, i.invoice_number, c.status, c.opened_at, i.status AS invoice_status,
               i.paid_at, i.voided_at, i.deleted_at
        FROM dunning_cases c
        JOIN invoices i ON i.id = c.invoice_id
        WHERE c.status <> 'closed' AND (i.status IN ('paid', 'void') OR i.deleted_at IS NOT NULL)
          AND i.updated_at < :settled
    """,
)

# A letter is decided on at most two days before it goes out: its carrier is tried again for seven hours.
# A payment may be dated long before we hear of it. Of one at Stripe we know once its event is in the inbox, or its case
# was closed for it; of one past Stripe once it is recorded. In a demo, whose time runs faster than the machine's by
# which events come in, the case alone tells. What was sent cannot be taken back, so it is told for a week.
_SETTLED = "'recovered', 'void', 'refunded', 'disputed'"
LETTERS = Question(
    since="SELECT id FROM emails WHERE created_at >= CAST(:since AS timestamptz) - interval '2 days'",
    broken=f"""
        SELECT m.id, m.key, m.template, m.recipient, m.sent_at, i.paid_at, known.at AS known_at, i.invoice_number
        FROM emails m [looked m.id]
        JOIN invoices i ON i.stripe_invoice_id = m.stripe_invoice_id
        LEFT JOIN dunning_cases c ON c.stripe_invoice_id = i.stripe_invoice_id AND c.outcome IN ({_SETTLED})
        LEFT JOIN LATERAL (
            SELECT min(e.received_at) AS at FROM webhook_events e
            WHERE e.customer_id = i.stripe_customer_id AND e.object_id = i.stripe_invoice_id
              AND e.type IN ('invoice.paid', 'invoice.payment_succeeded')
              AND :settled < CAST(:wall_settled AS timestamptz) + interval '1 minute'
        ) AS heard ON true
        CROSS JOIN LATERAL (SELECT greatest(i.paid_at, least(c.closed_at, heard.at)) AS at) AS known
        WHERE m.key LIKE 'dunning/%' AND m.key NOT LIKE '%/again/%' AND i.status = 'paid'
          AND m.sent_at > :settled - interval '7 days' AND m.sent_at > i.paid_at + interval '1 hour'
          AND m.sent_at > known.at + interval '1 hour'
        UNION ALL
        SELECT m.id, m.key, m.template, m.recipient, m.sent_at, i.paid_at, known.at AS known_at, i.invoice_number
        FROM emails m [looked m.id]
        JOIN invoices i ON i.id = substring(m.key FROM '^dunning/own-([0-9]{{1,18}})/')::bigint
        LEFT JOIN dunning_cases c ON c.invoice_id = i.id AND c.stripe_invoice_id IS NULL AND c.outcome IN ({_SETTLED})
        LEFT JOIN LATERAL (
            SELECT max(p.recorded_at) AS at FROM manual_payments p
            WHERE p.invoice_id = i.id AND p.paid_at = i.paid_at AND p.voided_at IS NULL
        ) AS heard ON true
        CROSS JOIN LATERAL (SELECT greatest(i.paid_at, least(c.closed_at, heard.at)) AS at) AS known
        WHERE m.key LIKE 'dunning/own-%' AND m.key NOT LIKE '%/again/%' AND i.status = 'paid'
          AND m.sent_at > :settled - interval '7 days' AND m.sent_at > i.paid_at + interval '1 hour'
          AND m.sent_at > known.at + interval '1 hour'
    """,  # noqa: S608 - constants of ours
)

INVARIANTS = (
    Invariant(
        name="one-open-case-per-debt",
        holds="For each invoice at most one dunning case is open; one of Stripe's that collects ours is the same debt.",
        mend="`billing dunning pause INVOICE --why …` for one of them, and look into both",
        check=ONE_CASE,
    ),
    Invariant(
        name="open-cases-are-owed",
        holds="No dunning case is open about an invoice that is paid, void or deleted.",
        mend="`billing dunning pause INVOICE --why …`, so that nobody is written to; then `billing reconcile --repair`",
        check=OWED,
    ),
    Invariant(
        name="no-letter-after-payment",
        holds="No letter of dunning of the last week went out later than an hour after we knew of the payment.",
        mend="write to whoever got it; give workers STRIPE_SECRET_KEY, so that Stripe is asked before each letter",
        check=LETTERS,
    ),
)
