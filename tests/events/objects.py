"""Small objects of Stripe, in the shape of today; a test changes what it is about."""

from typing import Any

from tests.events.kit import T0, Json

NONE: list[Json] = []


def customer(name: str = "cus_1", /, **changes: Any) -> Json:
    return {"id": name, "object": "customer", "email": "ada@example.org", "name": "Ada", "created": T0} | changes


def price(name: str = "price_1", /, amount: int = 1000, **changes: Any) -> Json:
    return {
        "id": name,
        "object": "price",
        "active": True,
        "billing_scheme": "per_unit",
        "currency": "usd",
        "product": "prod_1",
        "recurring": {"interval": "month", "interval_count": 1, "usage_type": "licensed"},
        "type": "recurring",
        "unit_amount": amount,
        "unit_amount_decimal": str(amount),
    } | changes


def item(name: str = "si_1", /, of: Json | None = None, quantity: int = 1, **changes: Any) -> Json:
    return {
        "id": name,
        "object": "subscription_item",
        "price": of or price(),
        "quantity": quantity,
        "current_period_start": T0,
        "current_period_end": T0 + 2_592_000,
        "discounts": NONE,
    } | changes


def subscription(name: str = "sub_1", /, *items: Json, **changes: Any) -> Json:
    return {
        "id": name,
        "object": "subscription",
        "customer": "cus_1",
        "status": "active",
        "currency": "usd",
        "cancel_at_period_end": False,
        "items": {"object": "list", "data": list(items) or [item()], "has_more": False},
        "discounts": NONE,
        "metadata": {},
        "created": T0,
    } | changes


def invoice(name: str = "in_1", /, status: str = "open", **changes: Any) -> Json:
    paid = 1000 if status == "paid" else 0
    return {
        "id": name,
        "object": "invoice",
        "customer": "cus_1",
        "status": status,
        "currency": "usd",
        "number": None if status == "draft" else "A-0001",
        "amount_due": 1000,
        "amount_paid": paid,
        "amount_remaining": 1000 - paid,
        "subtotal": 1000,
        "total": 1000,
        "created": T0,
        "lines": {"object": "list", "data": NONE, "has_more": False},
        "status_transitions": {"paid_at": T0 if status == "paid" else None},
    } | changes


def intent(name: str = "pi_1", /, status: str = "succeeded", **changes: Any) -> Json:
    return {
        "id": name,
        "object": "payment_intent",
        "customer": "cus_1",
        "status": status,
        "amount": 1000,
        "amount_received": 1000 if status == "succeeded" else 0,
        "currency": "usd",
        "latest_charge": None,
        "created": T0,
    } | changes


def charge(name: str = "ch_1", /, status: str = "succeeded", **changes: Any) -> Json:
    paid = status == "succeeded"
    return {
        "id": name,
        "object": "charge",
        "customer": "cus_1",
        "payment_intent": "pi_1",
        "status": status,
        "paid": paid,
        "captured": paid,
        "amount": 1000,
        "amount_captured": 1000 if paid else 0,
        "amount_refunded": 0,
        "refunded": False,
        "currency": "usd",
        "created": T0,
        "payment_method_details": {"type": "card", "card": {"brand": "visa", "last4": "4242"}},
    } | changes


def refund(name: str = "re_1", /, amount: int = 400, **changes: Any) -> Json:
    return {
        "id": name,
        "object": "refund",
        "charge": "ch_1",
        "payment_intent": "pi_1",
        "amount": amount,
        "currency": "usd",
        "status": "succeeded",
        "created": T0 + 60,
    } | changes


def dispute(status: str = "needs_response", **changes: Any) -> Json:
    return {
        "id": "dp_1",
        "object": "dispute",
        "charge": "ch_1",
        "payment_intent": "pi_1",
        "amount": 1000,
        "currency": "usd",
        "status": status,
        "reason": "fraudulent",
        "created": T0 + 90,
    } | changes


def coupon(name: str = "HALF", /, **changes: Any) -> Json:
    return {"id": name, "object": "coupon", "percent_off": 50, "duration": "forever", "valid": True} | changes


def discount(name: str = "di_1", /, **changes: Any) -> Json:
    return {
        "id": name,
        "object": "discount",
        "customer": "cus_1",
        "subscription": "sub_1",
        "source": {"coupon": "HALF", "type": "coupon"},
        "start": T0,
        "end": None,
    } | changes
