"""How Stripe writes invoices, payments, refunds and disputes in several API versions."""

from tests.lives import objects as o
from tests.lives.shapes import Json, Shape, discount, listing, payment_method, plan, price


def _line(invoice: o.Invoice, line: o.Line, shape: Shape) -> Json:
    made: Json = {
        "id": line.id,
        "object": "line_item",
        "amount": line.amount,
        "currency": invoice.currency,
        "description": line.description,
        "discount_amounts": [{"amount": line.discount, "discount": invoice.discount.id}]
        if line.discount and invoice.discount
        else [],
        "discountable": not line.proration,
        "discounts": [],
        "livemode": False,
        "metadata": {},
        "period": {"start": line.period_start, "end": line.period_end},
        "quantity": line.quantity,
    }
    if shape.before_basil:
        return made | {
            "plan": line.price and line.price.interval and plan(line.price, shape),
            "price": line.price and price(line.price, shape),
            "proration": line.proration,
            "subscription": invoice.subscription,
            "subscription_item": line.item,
            "tax_amounts": [{"amount": line.tax, "inclusive": False, "tax_rate": "txr_vat"}] if line.tax else [],
            "type": "subscription" if line.item and not line.proration else "invoiceitem",
        }
    kind = "subscription_item_details" if line.item else "invoice_item_details"
    parent: Json = {"proration": line.proration, "subscription": invoice.subscription, "proration_details": None}
    parent |= {"subscription_item": line.item} if line.item else {"invoice_item": f"ii_{line.id}"}
    pricing = line.price and {
        "price_details": {"price": line.price.id, "product": line.price.product.id},
        "type": "price_details",
        "unit_amount_decimal": line.price.unit_amount_decimal,
    }
    taxes = [
        {
            "amount": line.tax,
            "tax_behavior": "exclusive",
            "tax_rate_details": {"tax_rate": "txr_vat"},
            "type": "tax_rate_details",
        }
    ]
    return made | {
        "invoice": invoice.id,
        "parent": {kind: parent, "type": kind},
        "pricing": pricing,
        "taxes": taxes if line.tax else [],
    }


def _common_invoice(i: o.Invoice, shape: Shape) -> Json:
    return {
        "object": "invoice",
        "account_country": "US",
        "account_name": "Example Company, Inc.",
        "amount_due": i.amount_due,
        "amount_paid": i.amount_paid,
        "amount_remaining": max(i.amount_due - i.amount_paid, 0),
        "attempt_count": i.attempt_count,
        "attempted": i.attempted,
        "auto_advance": i.status in {"draft", "open"},
        "billing_reason": i.billing_reason,
        "collection_method": i.collection_method,
        "created": i.created,
        "currency": i.currency,
        "customer": i.customer.id,
        "customer_email": i.customer.email,
        "customer_name": i.customer.name,
        "description": i.description,
        "due_date": i.due_date,
        "ending_balance": 0 if i.number else None,
        "hosted_invoice_url": f"https://invoice.stripe.com/i/{i.id}" if i.number else None,
        "invoice_pdf": f"https://pay.stripe.com/invoice/{i.id}/pdf" if i.number else None,
        "lines": listing([_line(i, line, shape) for line in i.lines], f"/v1/invoices/{i.id}/lines"),
        "livemode": False,
        "metadata": dict(i.metadata),
        "next_payment_attempt": i.next_payment_attempt,
        "number": i.number,
        "period_end": i.period_end,
        "period_start": i.period_start,
        "post_payment_credit_notes_amount": i.post_payment_credit,
        "pre_payment_credit_notes_amount": 0,
        "starting_balance": 0,
        "status": i.status,
        "status_transitions": {
            "finalized_at": i.finalized_at,
            "marked_uncollectible_at": i.uncollectible_at,
            "paid_at": i.paid_at,
            "voided_at": i.voided_at,
        },
        "subtotal": i.subtotal,
        "total": i.total,
        "total_discount_amounts": [{"amount": i.discount_amount, "discount": i.discount.id}] if i.discount else [],
    }


def invoice(i: o.Invoice, shape: Shape, *, upcoming: bool = False) -> Json:
    """An invoice: since basil it names neither its payment nor, at the top, its subscription. A preview has no id."""
    made = {"id": i.id} | _common_invoice(i, shape)
    if upcoming:
        for absent in ("id", "auto_advance", "hosted_invoice_url", "invoice_pdf"):
            del made[absent]
    if shape.before_basil:
        taxes = [{"amount": i.tax, "inclusive": False, "tax_rate": "txr_vat"}]
        return made | {
            "charge": i.intent.charges[-1].id if i.intent and i.intent.charges else None,
            "discount": i.discount and discount(i.discount, shape),
            "discounts": [i.discount.id] if i.discount else [],
            "paid": i.status == "paid",
            "paid_out_of_band": i.paid_out_of_band,
            "payment_intent": i.intent and i.intent.id,
            "subscription": i.subscription,
            "tax": i.tax or None,
            "total_tax_amounts": taxes if i.tax else [],
        }
    details: Json = {"metadata": {}, "subscription": i.subscription}
    parent: Json = {"quote_details": None, "subscription_details": details, "type": "subscription_details"}
    taxes = [
        {
            "amount": i.tax,
            "tax_behavior": "exclusive",
            "tax_rate_details": {"tax_rate": "txr_vat"},
            "type": "tax_rate_details",
        }
    ]
    return made | {
        "amount_overpaid": max(i.amount_paid - i.amount_due, 0),
        "discounts": [i.discount.id] if i.discount else [],
        "effective_at": i.finalized_at,
        "parent": parent if i.subscription else None,
        "subtotal_excluding_tax": i.subtotal,
        "total_excluding_tax": i.total - i.tax,
        "total_taxes": taxes if i.tax else [],
    }


def invoice_payment(p: o.InvoicePayment) -> Json:
    """What paid an invoice; the object exists since basil only."""
    return {
        "id": p.id,
        "object": "invoice_payment",
        "amount_paid": p.amount if p.status == "paid" else None,
        "amount_requested": p.amount,
        "created": p.created,
        "currency": p.currency,
        "invoice": p.invoice,
        "is_default": True,
        "livemode": False,
        "payment": {"payment_intent": p.intent, "type": "payment_intent"},
        "status": p.status,
        "status_transitions": {"canceled_at": None, "paid_at": p.paid_at},
    }


def _method_details(m: o.PaymentMethod | None) -> Json | None:
    if m is None:
        return None
    detail = payment_method(m)[m.kind]
    return {m.kind: detail | ({"network": m.brand, "checks": {}} if m.kind == "card" else {}), "type": m.kind}


def _outcome(c: o.Charge) -> Json:
    if c.decline is None:
        return {"network_status": "approved_by_network", "reason": None, "risk_level": "normal", "type": "authorized"}
    return {
        "network_status": "declined_by_network",
        "reason": c.decline.reason,
        "risk_level": "normal",
        "type": "issuer_declined",
    }


def charge(c: o.Charge, shape: Shape) -> Json:
    """A charge: the old shape lists its refunds and names its invoice."""
    made: Json = {
        "id": c.id,
        "object": "charge",
        "amount": c.amount,
        "amount_captured": c.amount if c.captured else 0,
        "amount_refunded": c.amount_refunded,
        "balance_transaction": f"txn_{c.id}" if c.captured and c.status == "succeeded" else None,
        "billing_details": {"address": {}, "email": None, "name": None, "phone": None},
        "captured": c.captured,
        "created": c.created,
        "currency": c.currency,
        "customer": c.customer,
        "description": None,
        "dispute": c.dispute and c.dispute.id,
        "disputed": c.dispute is not None,
        "failure_code": c.decline and c.decline.code,
        "failure_message": c.decline and c.decline.message,
        "livemode": False,
        "metadata": {},
        "outcome": _outcome(c),
        "paid": c.status == "succeeded",
        "payment_intent": c.intent,
        "payment_method": c.method and c.method.id,
        "payment_method_details": _method_details(c.method),
        "receipt_url": None,
        "refunded": c.amount_refunded == c.amount,
        "status": c.status,
    }
    if shape.before_basil:
        made["invoice"] = c.invoice
    if shape.lists_money:
        refunds = [refund(r) for r in reversed(c.refunds)]
        return made | {"refunds": listing(refunds, f"/v1/charges/{c.id}/refunds")}
    return made | {"failure_balance_transaction": None}


def _last_payment_error(i: o.Intent) -> Json | None:
    if i.last_error is None:
        return None
    return {
        "charge": i.charges[-1].id if i.charges else None,
        "code": i.last_error.code,
        "decline_code": i.last_error.reason,
        "message": i.last_error.message,
        "type": "card_error",
    }


def payment_intent(i: o.Intent, shape: Shape) -> Json:
    """A payment intent: the old shape lists its charges and names its invoice, the new one names its latest charge."""
    made: Json = {
        "id": i.id,
        "object": "payment_intent",
        "amount": i.amount,
        "amount_capturable": i.amount if i.status == "requires_capture" else 0,
        "amount_received": i.amount if i.status == "succeeded" else 0,
        "canceled_at": i.canceled_at,
        "cancellation_reason": i.cancellation_reason,
        "capture_method": i.capture_method,
        "client_secret": f"{i.id}_secret_0000000000000000000000000",
        "confirmation_method": "automatic",
        "created": i.created,
        "currency": i.currency,
        "customer": i.customer,
        "description": None,
        "last_payment_error": _last_payment_error(i),
        "livemode": False,
        "metadata": {},
        "next_action": {"type": "use_stripe_sdk"} if i.status == "requires_action" else None,
        "payment_method": i.method.id if i.method and i.status != "requires_payment_method" else None,
        "payment_method_types": [i.method.kind if i.method else "card"],
        "status": i.status,
    }
    if shape.before_basil:
        made["invoice"] = i.invoice
    if shape.lists_money:
        charges = [charge(c, shape) for c in reversed(i.charges)]
        return made | {"charges": listing(charges, f"/v1/charges?payment_intent={i.id}")}
    return made | {"latest_charge": i.charges[-1].id if i.charges else None, "amount_details": {"tip": {}}}


def refund(r: o.Refund) -> Json:
    """A refund; the same in both shapes."""
    made: Json = {
        "id": r.id,
        "object": "refund",
        "amount": r.amount,
        "balance_transaction": f"txn_{r.id}",
        "charge": r.charge,
        "created": r.created,
        "currency": r.currency,
        "metadata": {},
        "payment_intent": r.intent,
        "reason": r.reason,
        "receipt_number": None,
        "status": r.status,
    }
    return made | ({"failure_reason": r.failure_reason} if r.failure_reason else {})


def dispute(d: o.Dispute) -> Json:
    """A dispute; the same in both shapes."""
    return {
        "id": d.id,
        "object": "dispute",
        "amount": d.amount,
        "balance_transactions": [],
        "charge": d.charge,
        "created": d.created,
        "currency": d.currency,
        "evidence": {"access_activity_log": None},
        "evidence_details": {"due_by": d.created + 604800, "has_evidence": False, "past_due": False},
        "is_charge_refundable": d.status.startswith("warning"),
        "livemode": False,
        "metadata": {},
        "payment_intent": d.intent,
        "reason": d.reason,
        "status": d.status,
    }


def credit_note(n: o.CreditNote, shape: Shape) -> Json:
    """A credit note: one refund by name in the old shape, a list of refunds in the new one."""
    made: Json = {
        "id": n.id,
        "object": "credit_note",
        "amount": n.amount,
        "created": n.created,
        "currency": n.currency,
        "customer": n.customer,
        "discount_amount": 0,
        "invoice": n.invoice,
        "lines": {"object": "list", "data": [], "has_more": False, "url": f"/v1/credit_notes/{n.id}/lines"},
        "livemode": False,
        "memo": None,
        "metadata": {},
        "number": n.number,
        "pdf": f"https://pay.stripe.com/credit_notes/{n.id}/pdf",
        "reason": n.reason,
        "status": n.status,
        "subtotal": n.amount,
        "total": n.amount,
        "type": "post_payment",
        "voided_at": n.voided_at,
    }
    if shape.before_basil:
        return made | {"refund": n.refund and n.refund.id, "tax_amounts": []}
    refunds = [{"amount_refunded": n.amount, "refund": n.refund.id, "type": "refund"}] if n.refund else []
    return made | {"refunds": refunds, "total_taxes": [], "post_payment_amount": n.amount, "pre_payment_amount": 0}


def session(s: o.Session, shape: Shape) -> Json:
    """A checkout session."""
    made: Json = {
        "id": s.id,
        "object": "checkout.session",
        "amount_subtotal": s.amount,
        "amount_total": s.amount,
        "cancel_url": None,
        "client_reference_id": None,
        "created": s.created,
        "currency": s.currency,
        "customer": s.customer,
        "customer_details": {"email": None, "tax_exempt": "none"},
        "expires_at": s.created + 86400,
        "invoice": s.invoice,
        "livemode": False,
        "metadata": {},
        "mode": s.mode,
        "payment_intent": s.intent,
        "payment_status": s.payment_status,
        "status": s.status,
        "subscription": s.subscription,
    }
    return made | ({"shipping_details": None} if shape.before_basil else {"collected_information": None})


def fraud_warning(w: o.FraudWarning) -> Json:
    """An early fraud warning; the same in both shapes."""
    return {
        "id": w.id,
        "object": "radar.early_fraud_warning",
        "actionable": w.actionable,
        "charge": w.charge,
        "created": w.created,
        "fraud_type": "made_with_stolen_card",
        "livemode": False,
        "payment_intent": w.intent,
    }
