"""The payment history agrees with the charges and refunds that it follows from, and points to the right people."""

from db.verify.invariant import Invariant, Question

_CHANGED = "SELECT id FROM payment_history WHERE updated_at >= :since"

CHARGES = Question(
    since=_CHANGED,
    broken="""
        SELECT p.id, p.stripe_charge_id, p.stripe_payment_intent_id, p.status, p.amount_cents, p.currency, judged.wrong
        FROM payment_history p [looked p.id]
        LEFT JOIN charges c ON c.stripe_charge_id = p.stripe_charge_id
        LEFT JOIN payment_intents n ON n.stripe_payment_intent_id = p.stripe_payment_intent_id
        CROSS JOIN LATERAL (SELECT CASE
            WHEN p.stripe_charge_id IS NOT NULL AND c.id IS NULL THEN 'there is no such charge'
            WHEN p.stripe_charge_id IS NULL AND n.id IS NULL THEN 'there is no such payment intent'
            WHEN c.amount_cents IS NOT NULL
                 AND (c.amount_cents, c.currency) IS DISTINCT FROM (p.amount_cents, p.currency)
                THEN 'its charge is over ' || c.amount_cents || ' ' || coalesce(c.currency, '?')
            WHEN (c.livemode, c.stripe_account) IS DISTINCT FROM (p.livemode, p.stripe_account) AND c.id IS NOT NULL
                THEN 'its charge is of another account or mode'
        END AS wrong) AS judged
        WHERE judged.wrong IS NOT NULL
    """,
)

# The newest 20,000 charges by id: what changes an older one changes its payment as well, and that is looked at above.
ATTEMPTS = Question(
    since="""
        SELECT id FROM (SELECT id, updated_at FROM charges ORDER BY id DESC LIMIT 20000) AS newest
        WHERE updated_at >= :since
    """,
    broken="""
        SELECT c.id, c.stripe_charge_id, c.stripe_payment_intent_id, c.status, c.amount_cents, c.currency
        FROM charges c [looked c.id]
        WHERE c.amount_cents IS NOT NULL AND c.currency IS NOT NULL AND c.stripe_created_at IS NOT NULL
          AND NOT EXISTS (SELECT FROM payment_history p WHERE p.stripe_charge_id = c.stripe_charge_id)
    """,
)

LINKS = Question(
    since=_CHANGED,
    broken="""
        SELECT p.id, p.stripe_charge_id, p.stripe_payment_intent_id, p.user_id, p.stripe_customer_id, p.invoice_id,
               p.stripe_invoice_id, judged.wrong
        FROM payment_history p [looked p.id]
        LEFT JOIN users u ON u.id = p.user_id
        LEFT JOIN invoices i ON i.stripe_invoice_id = p.stripe_invoice_id
        CROSS JOIN LATERAL (SELECT CASE
            WHEN u.id IS NOT NULL AND u.stripe_customer_id IS DISTINCT FROM p.stripe_customer_id
                THEN 'its user is ' || coalesce(u.stripe_customer_id, 'no customer') || ' at Stripe'
            WHEN u.id IS NOT NULL AND (u.livemode, u.stripe_account) IS DISTINCT FROM (p.livemode, p.stripe_account)
                THEN 'its user is of another account or mode'
            WHEN p.invoice_id IS DISTINCT FROM i.id THEN 'its invoice is ' || coalesce(i.id::text, 'not here')
            WHEN i.id IS NOT NULL AND (i.livemode, i.stripe_account) IS DISTINCT FROM (p.livemode, p.stripe_account)
                THEN 'its invoice is of another account or mode'
        END AS wrong) AS judged
        WHERE judged.wrong IS NOT NULL
    """,
)

NET = Question(
    since=_CHANGED,
    broken="""
        SELECT p.id, p.stripe_charge_id, p.currency, p.settlement_currency,
               coalesce(c.amount_captured_cents, p.amount_cents) AS captured_cents, p.stripe_fee_cents,
               p.net_amount_cents
        FROM payment_history p [looked p.id]
        LEFT JOIN charges c ON c.stripe_charge_id = p.stripe_charge_id
        WHERE (p.stripe_fee_cents IS NULL) <> (p.net_amount_cents IS NULL)
           OR (p.settlement_currency = p.currency
               AND p.net_amount_cents + p.stripe_fee_cents <> coalesce(c.amount_captured_cents, p.amount_cents))
    """,
)

# `version[2]` is Stripe's time of the charge's snapshot, whose own sum counts all refunds until then
# (jobs.rules.payments.refunded_total).
REFUNDS = Question(
    since=f"""
        {_CHANGED}
        UNION SELECT p.id FROM (SELECT stripe_charge_id, updated_at FROM refunds ORDER BY id DESC LIMIT 20000) AS r
        JOIN payment_history p ON p.stripe_charge_id = r.stripe_charge_id WHERE r.updated_at >= :since
    """,  # noqa: S608 - constants of ours
    broken="""
        SELECT p.id, p.stripe_charge_id, p.status, p.currency, p.amount_cents, p.refund_amount_cents,
               coalesce(r.given, 0) AS refunds_cents, judged.wrong
        FROM payment_history p [looked p.id]
        JOIN charges c ON c.stripe_charge_id = p.stripe_charge_id
        LEFT JOIN (
            SELECT charge, sum(amount_cents)::bigint AS given,
                   coalesce(sum(amount_cents) FILTER (WHERE later), 0)::bigint AS given_later
            FROM (
                SELECT c.stripe_charge_id AS charge, r.amount_cents, r.status,
                       r.stripe_created_at > to_timestamp(coalesce(c.version[2], 0)) AS later
                FROM payment_history p [looked p.id]
                JOIN charges c ON c.stripe_charge_id = p.stripe_charge_id
                JOIN refunds r ON r.stripe_charge_id = p.stripe_charge_id
                UNION ALL
                SELECT c.stripe_charge_id, r.amount_cents, r.status,
                       r.stripe_created_at > to_timestamp(coalesce(c.version[2], 0))
                FROM payment_history p [looked p.id]
                JOIN charges c ON c.stripe_charge_id = p.stripe_charge_id
                JOIN payment_intents n ON n.stripe_payment_intent_id = p.stripe_payment_intent_id
                    AND n.latest_stripe_charge_id = p.stripe_charge_id
                JOIN refunds r ON r.stripe_payment_intent_id = p.stripe_payment_intent_id AND r.stripe_charge_id IS NULL
            ) AS named
            WHERE status IS DISTINCT FROM 'failed' AND status IS DISTINCT FROM 'canceled'
            GROUP BY 1
        ) AS r ON r.charge = p.stripe_charge_id
        CROSS JOIN LATERAL (SELECT CASE
            WHEN p.refund_amount_cents < 0 THEN 'less than nothing was given back'
            WHEN p.refund_amount_cents > p.amount_cents THEN 'more was given back than was paid'
            WHEN p.status IN ('pending', 'failed') AND p.refund_amount_cents <> 0 THEN 'nothing was paid'
            WHEN p.status IN ('pending', 'failed') THEN NULL
            WHEN p.refund_amount_cents < coalesce(r.given, 0) THEN 'its refunds come to more'
            WHEN p.refund_amount_cents > greatest(
                coalesce(c.amount_refunded_cents, 0), coalesce(r.given, 0) - coalesce(r.given_later, 0)
            ) + coalesce(r.given_later, 0) THEN 'neither its refunds nor its charge tell of so much'
            WHEN p.status = 'succeeded' AND p.refund_amount_cents > 0 THEN 'its status does not tell of the refund'
            WHEN p.status IN ('refunded', 'partially_refunded') AND p.refund_amount_cents = 0
                 AND p.amount_cents > 0 THEN 'its status tells of a refund'
        END AS wrong) AS judged
        WHERE judged.wrong IS NOT NULL
    """,
)

_AFRESH = (
    "`billing reconcile --repair` fetches its charge from Stripe, however old it is, and derives the payment anew. "
    "What it tells as missing_there Stripe does not know: find out who wrote that row, then delete it"
)
_SINCE = "`billing reconcile --repair --since DATE`, a day before the payment, fetches its charge and derives it anew"

INVARIANTS = (
    Invariant(
        name="payments-have-charges",
        holds="Each payment is a charge that is here, or an intent without one, over the same amount and currency.",
        mend=_AFRESH,
        check=CHARGES,
    ),
    Invariant(
        name="charges-have-payments",
        holds="Each charge has its row in the payment history.",
        mend=_AFRESH,
        check=ATTEMPTS,
    ),
    Invariant(
        name="payments-linked",
        holds="A payment's user and invoice are those that Stripe names, of the same account and mode.",
        mend=_SINCE,
        check=LINKS,
    ),
    Invariant(
        name="net-is-amount-less-fee",
        holds="Where a payment settled in its own currency, its net amount and its fee are what was captured.",
        mend="`billing run stripe-fees` takes fees and net amounts from the balance transactions again",
        check=NET,
    ),
    Invariant(
        name="refunds-within-payments",
        holds="What was given back of a payment is what its refunds come to, and never more than was paid.",
        mend="`billing reconcile --repair --since DATE`, a day before the payment, fetches the charge and its refunds",
        check=REFUNDS,
    ),
)
