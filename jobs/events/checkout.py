"""A customer came back from Stripe's payment page: the session is kept with what it led to."""

from collections.abc import Iterator

from db.ledger import Fact, Row
from jobs.rules import versions
from jobs.stripe_objects import StripeEvent, handles, snapshot, stub

_STICKY_TIMES = {
    "checkout.session.completed": "completed_at",
    "checkout.session.expired": "expired_at",
    "checkout.session.async_payment_failed": "async_payment_failed_at",
}


@handles(
    "checkout.session.completed",
    "checkout.session.async_payment_succeeded",
    "checkout.session.async_payment_failed",
    "checkout.session.expired",
)
def checkout_session(event: StripeEvent) -> Iterator[Fact]:
    """The session follows. Old ones have no `status`; there the event tells it."""
    obj = event.object
    if (owner := obj.ref("customer")) is not None:
        yield stub(event, "users", (owner,))
    status = obj.text("status") or ("expired" if event.type.endswith(".expired") else "complete")
    payment_status = obj.text("payment_status")
    paid = payment_status in {"paid", "no_payment_required"}
    values: Row = {
        "stripe_customer_id": owner,
        "stripe_subscription_id": obj.ref("subscription"),
        "stripe_invoice_id": obj.ref("invoice"),
        "stripe_payment_intent_id": obj.ref("payment_intent"),
        "mode": obj.text("mode"),
        "status": status,
        "payment_status": payment_status,
        "currency": obj.text("currency"),
        "amount_subtotal_cents": obj.integer("amount_subtotal"),
        "amount_total_cents": obj.integer("amount_total"),
        "client_reference_id": obj.words("client_reference_id"),
        "customer_email": obj.sub("customer_details").words("email") or obj.words("customer_email"),
        "metadata": obj.metadata(),
        "stripe_created_at": obj.time("created"),
    }
    column = _STICKY_TIMES.get(event.type)
    yield snapshot(
        event,
        "checkout_sessions",
        (obj.id(),),
        values,
        final=status == "expired" or (status == "complete" and paid),
        state=versions.CHECKOUT.get(status, versions.UNKNOWN),
        sums=(int(paid),),
        sticky={column: event.at} if column is not None else None,
    )
