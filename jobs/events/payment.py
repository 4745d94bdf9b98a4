"""A payment moved at Stripe (an intent, a charge): our copies follow, and the payment history is derived from them."""

from collections.abc import Iterator

from db.ledger import Fact, Row
from jobs.events.invoice import payment_link
from jobs.events.refund import dispute_facts, refund_facts
from jobs.rules import versions
from jobs.stripe_objects import Malformed, Obj, StripeEvent, handles, snapshot, stub


@handles(
    "payment_intent.created",
    "payment_intent.processing",
    "payment_intent.requires_action",
    "payment_intent.amount_capturable_updated",
    "payment_intent.succeeded",
    "payment_intent.payment_failed",
    "payment_intent.canceled",
)
def payment_intent(event: StripeEvent) -> Iterator[Fact]:
    """The intent follows. Charges that it shows or names are attempts, and are kept even if their events never come."""
    obj = event.object
    status = obj.text("status")
    if status is None:
        raise Malformed(f"{obj.name}.status is missing: Stripe sent what we cannot read")
    owner = obj.ref("customer")
    if owner is not None:
        yield stub(event, "users", (owner,))
    error = obj.sub("last_payment_error")
    charges = list(obj.each("charges"))
    latest = obj.ref("latest_charge") or next((charge.ref("id") for charge in charges), None)
    values: Row = {
        "stripe_customer_id": owner,
        "status": status,
        "currency": obj.text("currency"),
        "amount_cents": obj.need("amount"),
        "amount_received_cents": obj.integer("amount_received"),
        "amount_capturable_cents": obj.integer("amount_capturable"),
        "capture_method": obj.text("capture_method"),
        "latest_stripe_charge_id": latest,
        "payment_method_id": obj.ref("payment_method") or error.ref("payment_method"),
        "payment_method_type": error.sub("payment_method").text("type"),
        "failure_code": error.text("code") or error.text("type"),  # errors of Stripe's own have no code
        "failure_message": error.words("message"),
        "decline_code": error.text("decline_code"),
        "canceled_at": obj.time("canceled_at"),
        "cancel_reason": obj.text("cancellation_reason"),
        "description": obj.words("description"),
        "metadata": obj.metadata(),
        "stripe_created_at": obj.time("created"),
    }
    failed = status == "requires_payment_method" and bool(error.json)
    yield snapshot(
        event,
        "payment_intents",
        (obj.id(),),
        values,
        final=status in versions.FINAL["payment_intent"],
        state=versions.PAYMENT_INTENT.get("failed" if failed else status, versions.UNKNOWN),
        sums=(obj.number("amount_received"), obj.number("amount_capturable")),
    )
    for name in {latest, error.ref("charge")} - {None}:
        yield stub(event, "charges", (name,), stripe_payment_intent_id=obj.id())
    yield from payment_link(event, obj.ref("invoice"), obj.id(), None)
    for charge in (*charges, obj.sub("latest_charge")):
        if "status" in charge:
            yield from charge_facts(event, charge, inlined=True)


@handles(
    "charge.pending",
    "charge.succeeded",
    "charge.failed",
    "charge.captured",
    "charge.updated",
    "charge.refunded",
    "charge.expired",
)
def charge(event: StripeEvent) -> Iterator[Fact]:
    """The charge follows, with the refunds and the dispute that old shapes show inside it."""
    yield from charge_facts(event, event.object, inlined=False)


def charge_facts(event: StripeEvent, obj: Obj, *, inlined: bool) -> Iterator[Fact]:
    """What a charge tells, wherever it is shown."""
    owner = obj.ref("customer")
    if owner is not None:
        yield stub(event, "users", (owner,))
    status = _charge_status(obj)
    values = _charge_values(obj, status) | {"stripe_customer_id": owner}
    intent = obj.ref("payment_intent")
    sums = (
        _amount_captured(obj),
        obj.number("amount_refunded"),
        int(bool(obj.flag("disputed"))),
        int(values["balance_transaction_id"] is not None),
    )
    yield snapshot(
        event,
        "charges",
        (obj.id(),),
        values,
        state=versions.CHARGE.get(status, versions.UNKNOWN),
        sums=sums,
        sticky=_charge_sticky(event, obj, intent, inlined=inlined),
        inlined=inlined,
    )
    yield from payment_link(event, obj.ref("invoice"), intent, obj.id())
    for refund in obj.each("refunds"):
        yield from refund_facts(event, refund, inlined=True)
    dispute = obj.sub("dispute")
    if "status" in dispute:
        yield from dispute_facts(event, dispute, inlined=True)


def _charge_status(obj: Obj) -> str:
    """Very old charges have no status; one that succeeded without being paid is still on its way."""
    paid = obj.flag("paid")
    status = obj.text("status")
    if status is None:
        return "succeeded" if paid else "failed"
    return "pending" if status == "succeeded" and paid is False else status


def _charge_sticky(event: StripeEvent, obj: Obj, intent: str | None, *, inlined: bool) -> Row:
    booked = obj.sub("balance_transaction")
    sticky: Row = {
        "stripe_payment_intent_id": intent,
        "stripe_fee_cents": booked.integer("fee"),
        "net_amount_cents": booked.integer("net"),
        "settlement_currency": booked.text("currency"),
    }
    if event.type == "charge.refunded" and not inlined:
        sticky["refund_seen_at"] = event.at
    if event.type == "charge.expired" and not inlined:
        sticky["expired_at"] = event.at
    return sticky


def _amount_captured(obj: Obj) -> int:
    """What was captured; charges before 2020 do not say it, and were captured as a whole."""
    if "amount_captured" in obj:
        return obj.number("amount_captured")
    return obj.need("amount") if obj.flag("captured") else 0


def _charge_values(obj: Obj, status: str) -> Row:
    method = obj.sub("payment_method_details")
    kind = method.text("type") or obj.sub("source").text("object")
    card = method.sub(kind) if kind is not None and method.json else obj.sub("source")
    failed = status == "failed"
    return {
        "status": status,
        "currency": obj.text("currency"),
        "amount_cents": obj.need("amount"),
        "amount_captured_cents": _amount_captured(obj),
        "amount_refunded_cents": obj.number("amount_refunded"),
        "captured": obj.flag("captured"),
        "refunded": obj.flag("refunded"),
        "disputed": obj.flag("disputed"),
        "failure_code": obj.text("failure_code"),
        "failure_message": obj.words("failure_message"),
        "decline_code": obj.sub("outcome").text("reason") if failed else None,
        "payment_method": kind,
        "payment_method_id": obj.ref("payment_method") or obj.ref("source"),
        "card_brand": brand.lower() if (brand := card.text("brand")) is not None else None,
        "card_last4": card.text("last4"),
        "balance_transaction_id": obj.ref("balance_transaction"),
        "receipt_url": obj.link("receipt_url"),
        "description": obj.words("description"),
        "metadata": obj.metadata(),
        "stripe_created_at": obj.time("created"),
    }
