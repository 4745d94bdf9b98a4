"""Money that moved, as the ledger must have it: attempts to pay, refunds, disputes, payment pages, payouts."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from deploy.demo.compare_invoices import payment_of
from deploy.demo.compare_rows import ORIGIN, Either, Kept, Rows, Table, View, part, ref, sub, when
from deploy.demo.compare_subscriptions import USER

SETTLED = ("won", "warning_closed", "prevented")
"""Disputes that leave the payment as it was."""

GAVE_NOTHING = ("failed", "canceled")
"""Refunds whose money stayed."""

OF_CHARGES = (
    "stripe_fee_cents",
    "net_amount_cents",
    "settlement_currency",
    "card_brand",
    "card_last4",
    "refunded_at",
    "refund_reason",
    "dispute_status",
)
"""What an attempt without a charge does not have."""


def _asked(view: View, obj: Mapping[str, Any], link: tuple[str, bool] | None) -> Any:
    """What an intent asks for. When a credit note lowers it, no event says so before the next attempt."""
    credited = view.whole("invoice", link[0])["pre_payment_credit_notes_amount"] if link is not None else 0
    return Either((obj["amount"], obj["amount"] + credited)) if credited else obj["amount"]


def intents(view: View) -> Iterator[Kept]:
    """Every payment intent."""
    links = _links(view)
    for obj in view.all("payment_intent"):
        error = part(obj, "last_payment_error")
        yield Kept(
            obj["id"],
            {
                "stripe_customer_id": ref(obj["customer"]),
                "status": obj["status"],
                "currency": obj["currency"],
                "amount_cents": _asked(view, obj, links.get(obj["id"])),
                "amount_received_cents": obj["amount_received"],
                "amount_capturable_cents": obj["amount_capturable"],
                "capture_method": obj["capture_method"],
                "latest_stripe_charge_id": ref(obj["latest_charge"]),
                "payment_method_id": ref(obj["payment_method"]) or ref(error.get("payment_method")),
                "failure_code": error.get("code") or error.get("type"),
                "failure_message": error.get("message"),
                "decline_code": error.get("decline_code"),
                "payment_method_type": sub(error, "payment_method", "type"),
                "canceled_at": when(obj["canceled_at"]),
                "cancel_reason": obj["cancellation_reason"],
                "description": obj["description"],
                "metadata": obj["metadata"],
                "stripe_created_at": when(obj["created"]),
            },
        )


def _of_charge(obj: Mapping[str, Any]) -> dict[str, Any]:
    """What the charge itself and its attempt both say."""
    details = part(obj, "payment_method_details")
    card = part(details, details.get("type") or "card")
    brand = card.get("brand")
    return {
        "stripe_customer_id": ref(obj["customer"]),
        "stripe_payment_intent_id": ref(obj["payment_intent"]),
        "amount_cents": obj["amount"],
        "currency": obj["currency"],
        "captured": obj["captured"],
        "failure_code": obj["failure_code"],
        "failure_message": obj["failure_message"],
        "decline_code": sub(obj, "outcome", "reason") if obj["status"] == "failed" else None,
        "payment_method": details.get("type"),
        "payment_method_id": obj["payment_method"],
        "card_brand": brand.lower() if brand else None,
        "card_last4": card.get("last4"),
    }


def _booked(view: View, obj: Mapping[str, Any]) -> dict[str, Any]:
    """Fee, net and their currency: Stripe's webhooks do not show them, so the ledger may not know them yet."""
    booked = view.whole("balance_transaction", obj["balance_transaction"])
    return {
        "stripe_fee_cents": Either((None, booked.get("fee"))),
        "net_amount_cents": Either((None, booked.get("net"))),
        "settlement_currency": Either((None, booked.get("currency"))),
    }


def charges(view: View) -> Iterator[Kept]:
    """Every charge."""
    for obj in view.all("charge"):
        yield Kept(
            obj["id"],
            {
                **_of_charge(obj),
                **_booked(view, obj),
                "status": obj["status"],
                "amount_captured_cents": obj["amount_captured"],
                "amount_refunded_cents": obj["amount_refunded"],
                "refunded": obj["refunded"],
                "disputed": Either((False, obj["disputed"])),  # no event of the charge itself tells it
                "balance_transaction_id": ref(obj["balance_transaction"]),
                "receipt_url": obj["receipt_url"],
                "refund_seen_at": view.last(obj["id"], "charge.refunded"),
                "expired_at": view.first(obj["id"], "charge.expired"),
                "description": obj["description"],
                "metadata": obj["metadata"],
                "stripe_created_at": when(obj["created"]),
            },
        )


def _decisive(disputes: Rows) -> Mapping[str, Any] | None:
    """The dispute by which a charge stands: one that is open or lost, else the latest."""
    return max(disputes, key=lambda one: (one["status"] not in SETTLED, one["created"], one["id"]), default=None)


def _status(view: View, obj: Mapping[str, Any], given_back: int) -> str:
    intent = view.whole("payment_intent", obj["payment_intent"])
    if obj["status"] != "succeeded":
        return obj["status"]
    if not obj["captured"]:
        return "failed" if obj["refunded"] or intent.get("status") == "canceled" else "pending"
    dispute = _decisive(view.by("dispute", "charge", obj["id"]))
    if dispute is not None and dispute["status"] not in SETTLED:
        return "disputed"
    if given_back == 0:
        return "succeeded"
    return "refunded" if given_back == obj["amount"] or obj["refunded"] else "partially_refunded"


def _links(view: View) -> dict[str, tuple[str, bool]]:
    """By payment: the invoice that it is for, and whether it paid it."""
    found: dict[str, tuple[str, bool]] = {}
    for obj in view.all("invoice_payment"):
        payment, invoice = payment_of(obj), ref(obj["invoice"])
        if payment is not None and invoice is not None and not found.get(payment, ("", False))[1]:
            found[payment] = (invoice, obj["status"] == "paid")
    return found


def _invoice(link: tuple[str, bool] | None) -> Any:
    """A payment that paid no invoice yet is joined to one only by shapes before basil."""
    if link is None:
        return None
    invoice, paid = link
    return invoice if paid else Either((None, invoice))


def _refunds(refunds: Sequence[Mapping[str, Any]], *, captured: bool) -> dict[str, Any]:
    counted = [one for one in refunds if captured and one["status"] not in GAVE_NOTHING]
    latest = max(counted, key=lambda one: (one["created"], one["id"]), default=None)
    reasons = [one["reason"] for one in sorted(counted, key=lambda one: (one["created"], one["id"])) if one["reason"]]
    return {
        "refund_amount_cents": sum(one["amount"] for one in counted),
        "refunded_at": when(latest["created"]) if latest is not None else None,
        "refund_reason": reasons[-1] if reasons else None,
    }


def payments(view: View) -> Iterator[Kept]:
    """One attempt for each charge, and one for each intent without a charge."""
    links = _links(view)
    for obj in view.all("charge"):
        intent = ref(obj["payment_intent"])
        refunds = _refunds(view.by("refund", "charge", obj["id"]), captured=obj["captured"])
        invoice = _invoice(links.get(intent or obj["id"]))
        dispute = _decisive(view.by("dispute", "charge", obj["id"]))
        yield Kept(
            obj["id"],
            {
                **ORIGIN,
                **_of_charge(obj),
                **refunds,
                **_booked(view, obj),
                "user": ref(obj["customer"]),
                "invoice": invoice,
                "stripe_invoice_id": invoice,
                "status": _status(view, obj, refunds["refund_amount_cents"]),
                "dispute_status": dispute["status"] if dispute is not None else None,
                "created_at": when(obj["created"]),
            },
        )
    for obj in view.all("payment_intent"):
        if not view.by("charge", "payment_intent", obj["id"]):
            yield _bare(view, obj, links.get(obj["id"]))


def _bare(view: View, obj: Mapping[str, Any], link: tuple[str, bool] | None) -> Kept:
    invoice = _invoice(link)
    error = part(obj, "last_payment_error")
    failed = obj["status"] == "canceled" or (obj["status"] == "requires_payment_method" and bool(error))
    return Kept(
        obj["id"],
        {
            **ORIGIN,
            **dict.fromkeys(OF_CHARGES),
            "user": ref(obj["customer"]),
            "invoice": invoice,
            "stripe_invoice_id": invoice,
            "stripe_customer_id": ref(obj["customer"]),
            "stripe_payment_intent_id": obj["id"],
            "amount_cents": _asked(view, obj, link),
            "currency": obj["currency"],
            "status": "failed" if failed else "pending",
            "failure_code": (error.get("code") or error.get("type")) if failed else None,
            "failure_message": error.get("message") if failed else None,
            "decline_code": error.get("decline_code") if failed else None,
            "captured": False,
            "payment_method": sub(error, "payment_method", "type"),
            "payment_method_id": ref(obj["payment_method"]) or ref(error.get("payment_method")),
            "refund_amount_cents": 0,
            "created_at": when(obj["created"]),
        },
    )


def refunds(view: View) -> Iterator[Kept]:
    """Every refund, those that failed too."""
    for obj in view.all("refund"):
        failed = obj.get("failure_balance_transaction")
        yield Kept(
            obj["id"],
            {
                "stripe_charge_id": ref(obj["charge"]),
                "stripe_payment_intent_id": ref(obj["payment_intent"]),
                "amount_cents": obj["amount"],
                "currency": obj["currency"],
                "status": obj["status"],
                "reason": obj["reason"],
                "failure_reason": obj.get("failure_reason"),
                "failed_at": when(view.whole("balance_transaction", failed).get("created")),
                "balance_transaction_id": ref(obj["balance_transaction"]),
                "metadata": obj["metadata"],
                "stripe_created_at": when(obj["created"]),
            },
        )


def disputes(view: View) -> Iterator[Kept]:
    """Every dispute."""
    for obj in view.all("dispute"):
        yield Kept(
            obj["id"],
            {
                "stripe_charge_id": ref(obj["charge"]),
                "stripe_payment_intent_id": ref(obj["payment_intent"]),
                "amount_cents": obj["amount"],
                "currency": obj["currency"],
                "status": obj["status"],
                "reason": obj["reason"],
                "evidence_due_by": when(sub(obj, "evidence_details", "due_by")),
                "funds_withdrawn_at": view.first(obj["id"], "charge.dispute.funds_withdrawn"),
                "funds_reinstated_at": view.first(obj["id"], "charge.dispute.funds_reinstated"),
                "closed_at": view.last(obj["id"], "charge.dispute.closed"),
                "metadata": obj["metadata"],
                "stripe_created_at": when(obj["created"]),
            },
        )


def warnings(view: View) -> Iterator[Kept]:
    """Every early fraud warning."""
    for obj in view.all("radar.early_fraud_warning"):
        yield Kept(
            obj["id"],
            {
                "stripe_charge_id": ref(obj["charge"]),
                "stripe_payment_intent_id": ref(obj.get("payment_intent")),
                "fraud_type": obj["fraud_type"],
                "actionable": obj["actionable"],
                "stripe_created_at": when(obj["created"]),
            },
        )


def sessions(view: View) -> Iterator[Kept]:
    """Payment pages that came to an end; Stripe sends no event of an open one."""
    for obj in view.all("checkout.session"):
        if obj["status"] == "open":
            continue
        yield Kept(
            obj["id"],
            {
                "stripe_customer_id": ref(obj["customer"]),
                "stripe_subscription_id": ref(obj["subscription"]),
                "stripe_invoice_id": ref(obj["invoice"]),
                "stripe_payment_intent_id": ref(obj["payment_intent"]),
                "mode": obj["mode"],
                "status": obj["status"],
                "payment_status": obj["payment_status"],
                "currency": obj["currency"],
                "amount_subtotal_cents": obj["amount_subtotal"],
                "amount_total_cents": obj["amount_total"],
                "client_reference_id": obj["client_reference_id"],
                "customer_email": sub(obj, "customer_details", "email") or obj["customer_email"],
                "completed_at": view.first(obj["id"], "checkout.session.completed"),
                "expired_at": view.first(obj["id"], "checkout.session.expired"),
                "async_payment_failed_at": view.first(obj["id"], "checkout.session.async_payment_failed"),
                "metadata": obj["metadata"],
                "stripe_created_at": when(obj["created"]),
            },
        )


def payouts(view: View) -> Iterator[Kept]:
    """Every payout to the bank."""
    for obj in view.all("payout"):
        plain = ("status", "currency", "automatic", "method", "type", "failure_code", "failure_message", "description")
        yield Kept(
            obj["id"],
            {name: obj[name] for name in plain}
            | {
                "amount_cents": obj["amount"],
                "arrival_date": when(obj["arrival_date"]),
                "reconciliation_status": obj["reconciliation_status"],
                "metadata": obj["metadata"],
                "stripe_created_at": when(obj["created"]),
                "balance_transaction_id": ref(obj["balance_transaction"]),
            },
        )


ATTEMPT = {
    "user": USER,
    "invoice": "(SELECT i.stripe_invoice_id FROM invoices i WHERE i.id = t.invoice_id)",
}

PAYMENTS = (
    Table("payment_intent", "payment_intents t", "t.stripe_payment_intent_id", intents),
    Table("charge", "charges t", "t.stripe_charge_id", charges),
    Table(
        "payment",
        "payment_history t",
        "coalesce(t.stripe_charge_id, t.stripe_payment_intent_id)",
        payments,
        ATTEMPT,
        mirror=False,
    ),
    Table("refund", "refunds t", "t.stripe_refund_id", refunds),
    Table("dispute", "disputes t", "t.stripe_dispute_id", disputes),
    Table("early_fraud_warning", "early_fraud_warnings t", "t.stripe_early_fraud_warning_id", warnings),
    Table("checkout_session", "checkout_sessions t", "t.stripe_checkout_session_id", sessions),
    Table("payout", "payouts t", "t.stripe_payout_id", payouts),
)
