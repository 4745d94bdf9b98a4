"""Credits are never spent twice, nor beyond an invoice, and documents that were issued are made and kept."""

from db.verify.invariant import Invariant, Question

# A constraint trigger says the same as each transaction ends (migration 0007): only what went past it is found here.
ADD_UP = Question(
    broken="""
        SELECT c.id, c.api_key_prefix, c.user_id, c.currency, c.amount_cents, c.remaining_cents,
               coalesce(a.spent, 0) AS spent_cents
        FROM credits c
        LEFT JOIN (
            SELECT credit_id, sum(amount_cents)::bigint AS spent FROM credit_applications
            WHERE reversed_at IS NULL GROUP BY 1
        ) AS a ON a.credit_id = c.id
        WHERE c.remaining_cents < 0 OR c.amount_cents <> c.remaining_cents + coalesce(a.spent, 0)
    """,
)
WITHIN = Question(
    broken="""
        SELECT i.id, i.invoice_number, i.status, i.currency, i.total_cents, sum(a.amount_cents)::bigint AS credits_cents
        FROM credit_applications a
        JOIN credits c ON c.id = a.credit_id
        JOIN invoices i ON i.id = a.invoice_id
        WHERE a.reversed_at IS NULL
        GROUP BY i.id
        HAVING sum(a.amount_cents) > i.total_cents OR i.status = 'void' OR bool_or(c.currency <> i.currency)
    """,
)

# What waits for its PDF is found by an index of its own; that its row of `jobs` ends is looked at with the jobs.
DOCUMENTS = Question(
    since="""
        SELECT id FROM documents WHERE status <> 'stored'
        UNION SELECT id FROM documents WHERE issued_at >= :since
    """,
    broken="""
        SELECT d.id, d.key, d.number, d.status, d.job_id, j.status AS job_status, d.sha256, d.size_bytes, d.issued_at
        FROM documents d [looked d.id]
        LEFT JOIN jobs j ON j.id = d.job_id
        WHERE d.status <> 'stored' AND d.status = 'waiting' AND (j.status IN ('queued', 'retrying')) IS NOT TRUE
        UNION ALL
        SELECT d.id, d.key, d.number, d.status, d.job_id, NULL, d.sha256, d.size_bytes, d.issued_at
        FROM documents d [looked d.id]
        WHERE d.status = 'stored' AND (d.size_bytes <= 0 OR length(d.sha256) <> 64 OR d.sha256 ~ '[^0-9a-f]')
    """,
)

INVARIANTS = (
    Invariant(
        name="credits-add-up",
        holds="What a credit has left and what it paid for is what was given; it is never below nothing.",
        mend="somebody wrote past the triggers: compare `billing credits show ID` with a backup",
        check=ADD_UP,
    ),
    Invariant(
        name="credits-within-invoices",
        holds="Credits paid no more of an invoice than its total, in its currency, and nothing of a void one.",
        mend="`billing credits show ID` of each credit that it names; void and issue the invoice again",
        check=WITHIN,
    ),
    Invariant(
        name="documents-made",
        holds="Each document that waits has a job that makes it; each that is stored has its size and SHA-256.",
        mend="`billing invoices rerender KEY` makes one again; `billing jobs retry ID` sets its job going",
        check=DOCUMENTS,
    ),
)
