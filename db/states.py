"""The values of the status columns: open enums of Stripe are never listed here, only what we decide ourselves."""

from enum import StrEnum


class EventStatus(StrEnum):
    """Where a webhook event stands (`webhook_events.status`)."""

    RECEIVED = "received"
    PROCESSED = "processed"
    IGNORED = "ignored"
    RETRYING = "retrying"
    DEAD = "dead"


class JobStatus(StrEnum):
    """Where a job stands (`jobs.status`); whether it is running now is told by its lease in `queue`."""

    QUEUED = "queued"
    RETRYING = "retrying"
    DONE = "done"
    DEAD = "dead"
    CANCELLED = "cancelled"


class DeadReason(StrEnum):
    """Why work was parked (`queue.dead_reason`)."""

    EXHAUSTED = "exhausted"
    REFUSED = "refused"
    TIMEOUT = "timeout"
    WORKER_LOST = "worker_lost"
    UNKNOWN_JOB = "unknown_job"


class AttemptOutcome(StrEnum):
    """How one attempt ended (`job_attempts.outcome`). Only `failed` and `timeout` count as tries."""

    DONE = "done"
    FAILED = "failed"
    TIMEOUT = "timeout"
    LATER = "later"
    REFUSED = "refused"
    RELEASED = "released"
    LOST = "lost"


class QueueName(StrEnum):
    """The classes of work, so that slow work never delays events."""

    EVENTS = "events"
    MAIL = "mail"
    PDF = "pdf"
    BATCH = "batch"


class PaymentStatus(StrEnum):
    """The state of one payment attempt (`payment_history.status`)."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    PENDING = "pending"
    REFUNDED = "refunded"
    PARTIALLY_REFUNDED = "partially_refunded"
    DISPUTED = "disputed"


class DunningStatus(StrEnum):
    """How a customer stands with dunning (`users.dunning_status`)."""

    ACTIVE = "active"
    WARNING = "warning"
    BLOCKED = "blocked"


class EmailStatus(StrEnum):
    """Where a letter stands (`emails.status`)."""

    QUEUED = "queued"
    SENDING = "sending"
    SENT = "sent"
    BOUNCED = "bounced"
    SUPPRESSED = "suppressed"
    DEAD = "dead"


class CaseStatus(StrEnum):
    """Where a dunning case stands (`dunning_cases.status`)."""

    OPEN = "open"
    PAUSED = "paused"
    CLOSED = "closed"


class CaseOutcome(StrEnum):
    """How a dunning case ended (`dunning_cases.outcome`)."""

    RECOVERED = "recovered"
    LOST = "lost"
    CANCELED = "canceled"
    VOID = "void"
    DISPUTED = "disputed"
    REFUNDED = "refunded"
    EXEMPT = "exempt"


class DifferenceClass(StrEnum):
    """In what our books and Stripe's differ about an object (`reconciliation_differences.class`)."""

    MISSING_HERE = "missing_here"
    MISSING_THERE = "missing_there"
    AMOUNT = "amount"
    CURRENCY = "currency"
    STATUS = "status"
    PERIOD = "period"
    FEE = "fee"
    REFUND = "refund"
    DUPLICATE = "duplicate"


class RunStatus(StrEnum):
    """How a reconciliation or a verification went (`reconciliation_runs.status`, `verification_runs.status`)."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
