"""Money goes back, or a bank asks for it: refunds, disputes and fraud warnings follow."""

from collections.abc import Iterator

from db.ledger import Fact, Row
from jobs.rules import versions
from jobs.stripe_objects import Malformed, Obj, StripeEvent, handles, snapshot


@handles("refund.created", "refund.updated", "refund.failed", "charge.refund.updated")
def refund(event: StripeEvent) -> Iterator[Fact]:
    """The refund follows; one that failed or was canceled no longer counts."""
    yield from refund_facts(event, event.object, inlined=False)


def refund_facts(event: StripeEvent, obj: Obj, *, inlined: bool) -> Iterator[Fact]:
    """What a refund tells, wherever it is shown."""
    status = obj.text("status") or "succeeded"
    values: Row = {
        "stripe_charge_id": obj.ref("charge"),
        "stripe_payment_intent_id": obj.ref("payment_intent"),
        "amount_cents": obj.need("amount"),
        "currency": obj.text("currency"),
        "status": status,
        "reason": obj.text("reason"),
        "failure_reason": obj.text("failure_reason"),
        "balance_transaction_id": obj.ref("balance_transaction"),
        "metadata": obj.metadata(),
        "stripe_created_at": obj.time("created"),
    }
    final = status in versions.FINAL["refund"]
    yield snapshot(
        event,
        "refunds",
        (obj.id(),),
        values,
        final=final,
        state=versions.REFUND.get(status, versions.UNKNOWN),
        sticky={"failed_at": event.at} if final else None,
        inlined=inlined,
    )


@handles(
    "charge.dispute.created",
    "charge.dispute.updated",
    "charge.dispute.closed",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.funds_reinstated",
)
def dispute(event: StripeEvent) -> Iterator[Fact]:
    """The dispute follows; the payment is disputed while it is open and after it is lost."""
    yield from dispute_facts(event, event.object, inlined=False)


_STICKY_TIMES = {
    "charge.dispute.closed": "closed_at",
    "charge.dispute.funds_withdrawn": "funds_withdrawn_at",
    "charge.dispute.funds_reinstated": "funds_reinstated_at",
}


def dispute_facts(event: StripeEvent, obj: Obj, *, inlined: bool) -> Iterator[Fact]:
    """What a dispute tells, wherever it is shown. Old ones have no id; there a charge has at most one."""
    charge = obj.ref("charge")
    name = obj.ref("id") or (f"{charge}:dispute" if charge is not None else None)
    if name is None:
        raise Malformed("dispute.id and dispute.charge are missing: Stripe sent what we cannot read")
    status = obj.text("status") or "needs_response"
    evidence = obj.sub("evidence_details")
    values: Row = {
        "stripe_charge_id": charge,
        "stripe_payment_intent_id": obj.ref("payment_intent"),
        "amount_cents": obj.integer("amount"),
        "currency": obj.text("currency"),
        "status": status,
        "reason": obj.text("reason"),
        "evidence_due_by": evidence.time("due_by") or obj.time("evidence_due_by"),
        "metadata": obj.metadata(),
        "stripe_created_at": obj.time("created"),
    }
    column = None if inlined else _STICKY_TIMES.get(event.type)
    yield snapshot(
        event,
        "disputes",
        (name,),
        values,
        state=versions.DISPUTE.get(status, versions.UNKNOWN),
        sums=(evidence.number("submission_count"),),
        sticky={column: event.at} if column is not None else None,
        inlined=inlined,
    )


@handles("radar.early_fraud_warning.created", "radar.early_fraud_warning.updated")
def early_fraud_warning(event: StripeEvent) -> Iterator[Fact]:
    """The warning is kept beside the payment that it is about."""
    obj = event.object
    values: Row = {
        "stripe_charge_id": obj.ref("charge"),
        "stripe_payment_intent_id": obj.ref("payment_intent"),
        "fraud_type": obj.text("fraud_type"),
        "actionable": obj.flag("actionable"),
        "stripe_created_at": obj.time("created"),
    }
    yield snapshot(event, "early_fraud_warnings", (obj.id(),), values)
