"""Stripe sends money to our bank: the payout is kept for reconciliation."""

from collections.abc import Iterator

from db.ledger import Fact, Row
from jobs.rules import versions
from jobs.stripe_objects import StripeEvent, handles, snapshot


@handles(
    "payout.created",
    "payout.updated",
    "payout.paid",
    "payout.failed",
    "payout.canceled",
    "payout.reconciliation_completed",
)
def payout(event: StripeEvent) -> Iterator[Fact]:
    """The payout follows. One that is paid can still fail, days later."""
    obj = event.object
    status = obj.text("status") or "pending"
    reconciled = obj.text("reconciliation_status")
    values: Row = {
        "status": status,
        "currency": obj.text("currency"),
        "amount_cents": obj.integer("amount"),
        "arrival_date": obj.time("arrival_date"),
        "automatic": obj.flag("automatic"),
        "method": obj.text("method"),
        "type": obj.text("type"),
        "reconciliation_status": reconciled,
        "balance_transaction_id": obj.ref("balance_transaction"),
        "failure_code": obj.text("failure_code"),
        "failure_message": obj.words("failure_message"),
        "description": obj.words("description"),
        "metadata": obj.metadata(),
        "stripe_created_at": obj.time("created"),
    }
    yield snapshot(
        event,
        "payouts",
        (obj.id(),),
        values,
        state=versions.PAYOUT.get(status, versions.UNKNOWN),
        sums=(int(reconciled == "completed"),),
    )
