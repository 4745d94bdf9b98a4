"""How Stripe writes an object in several API versions: the oldest that is still met, the newest, and two between."""

from enum import StrEnum
from typing import Any

from tests.lives import objects as o

Json = dict[str, Any]


class Shape(StrEnum):
    """The API version that an event is rendered in; what each changed: https://docs.stripe.com/changelog."""

    OLD = "2020-08-27"
    ACACIA = "2024-09-30.acacia"
    BASIL = "2025-06-30.basil"
    NEW = "2025-10-29.clover"

    @property
    def before_basil(self) -> bool:
        """Money and invoices name each other, periods stand in subscriptions, a price's lines hold the price."""
        return self in {Shape.OLD, Shape.ACACIA}

    @property
    def lists_money(self) -> bool:
        """Until 2022-11-15 intents listed their charges, and charges their refunds."""
        return self is Shape.OLD


def listing(data: list[Json], url: str) -> Json:
    """Stripe's list object."""
    return {"object": "list", "data": data, "has_more": False, "total_count": len(data), "url": url}


def product(p: o.Product) -> Json:
    """A product; the same in both shapes."""
    return {
        "id": p.id,
        "object": "product",
        "active": p.active,
        "created": p.created,
        "description": None,
        "livemode": False,
        "metadata": dict(p.metadata),
        "name": p.name,
        "type": "service",
        "updated": p.created,
    }


def price(p: o.Price, shape: Shape) -> Json:
    """A price; `aggregate_usage` went with basil."""
    recurring: Json = {
        "interval": p.interval,
        "interval_count": p.interval_count,
        "trial_period_days": None,
        "usage_type": p.usage_type,
    }
    if shape.before_basil:
        recurring["aggregate_usage"] = None
    return {
        "id": p.id,
        "object": "price",
        "active": p.active,
        "billing_scheme": "per_unit",
        "created": p.created,
        "currency": p.currency,
        "livemode": False,
        "lookup_key": p.lookup_key,
        "metadata": dict(p.metadata),
        "nickname": p.nickname,
        "product": p.product.id,
        "recurring": recurring if p.interval else None,
        "tax_behavior": "unspecified",
        "tiers_mode": None,
        "transform_quantity": None,
        "type": "recurring" if p.interval else "one_time",
        "unit_amount": p.unit_amount,
        "unit_amount_decimal": p.unit_amount_decimal,
    }


def plan(p: o.Price, shape: Shape) -> Json:
    """The older name of a recurring price; `aggregate_usage` went with basil."""
    made: Json = {
        "id": p.id,
        "object": "plan",
        "active": p.active,
        "amount": p.unit_amount,
        "amount_decimal": p.unit_amount_decimal,
        "billing_scheme": "per_unit",
        "created": p.created,
        "currency": p.currency,
        "interval": p.interval,
        "interval_count": p.interval_count,
        "livemode": False,
        "metadata": dict(p.metadata),
        "nickname": p.nickname,
        "product": p.product.id,
        "tiers_mode": None,
        "transform_usage": None,
        "trial_period_days": None,
        "usage_type": p.usage_type,
    }
    return made | {"aggregate_usage": None} if shape.before_basil else made


def coupon(c: o.Coupon) -> Json:
    """A coupon; the same in both shapes."""
    return {
        "id": c.id,
        "object": "coupon",
        "amount_off": c.amount_off,
        "created": c.created,
        "currency": c.currency,
        "duration": c.duration,
        "duration_in_months": c.duration_in_months,
        "livemode": False,
        "max_redemptions": None,
        "metadata": {},
        "name": c.name,
        "percent_off": c.percent_off,
        "redeem_by": None,
        "times_redeemed": 0,
        "valid": c.valid,
    }


def discount(d: o.Discount, shape: Shape) -> Json:
    """A discount: the old shape holds its coupon, the new one names it."""
    made: Json = {
        "id": d.id,
        "object": "discount",
        "checkout_session": None,
        "customer": d.customer,
        "end": d.end,
        "invoice": None,
        "invoice_item": None,
        "promotion_code": None,
        "start": d.start,
        "subscription": d.subscription,
    }
    if shape is not Shape.NEW:
        return made | {"coupon": coupon(d.coupon)}
    return made | {"source": {"coupon": d.coupon.id, "type": "coupon"}, "subscription_item": None}


def customer(c: o.Customer, shape: Shape) -> Json:
    """A customer."""
    return {
        "id": c.id,
        "object": "customer",
        "address": None,
        "balance": 0,
        "created": c.created,
        "currency": c.currency,
        "default_source": None,
        "delinquent": c.delinquent,
        "description": None,
        "discount": c.discount and discount(c.discount, shape),
        "email": c.email,
        "invoice_prefix": "LIFE",
        "invoice_settings": {
            "custom_fields": None,
            "default_payment_method": c.method and c.method.id,
            "footer": None,
        },
        "livemode": False,
        "metadata": dict(c.metadata),
        "name": c.name,
        "next_invoice_sequence": c.invoice_sequence,
        "phone": c.phone,
        "preferred_locales": [c.locale] if c.locale else [],
        "shipping": None,
        "tax_exempt": "none",
        "test_clock": None,
    }


def payment_method(m: o.PaymentMethod) -> Json:
    """A payment method; the same in both shapes."""
    detail: Json = (
        {"brand": m.brand, "country": "US", "exp_month": 9, "exp_year": m.exp_year, "funding": "credit"}
        if m.kind == "card"
        else {"account_holder_type": "individual", "account_type": "checking", "bank_name": "STRIPE TEST BANK"}
    )
    return {
        "id": m.id,
        "object": "payment_method",
        "billing_details": {"address": {}, "email": None, "name": None, "phone": None},
        m.kind: detail | {"last4": m.last4, "fingerprint": "w4XDzQOFakih5EZM"},
        "created": m.created,
        "customer": m.customer,
        "livemode": False,
        "metadata": {},
        "type": m.kind,
    }


def _item(s: o.Subscription, item: o.Item, shape: Shape) -> Json:
    made: Json = {
        "id": item.id,
        "object": "subscription_item",
        "billing_thresholds": None,
        "created": item.created,
        "metadata": {},
        "plan": plan(item.price, shape),
        "price": price(item.price, shape),
        "quantity": item.quantity,
        "subscription": s.id,
        "tax_rates": [],
    }
    if item.price.usage_type == "metered":
        del made["quantity"]
    if shape.before_basil:
        return made
    return made | {"current_period_start": s.period_start, "current_period_end": s.period_end, "discounts": []}


def subscription(s: o.Subscription, shape: Shape) -> Json:
    """A subscription: since basil the period stands in its items, and discounts are named by id only."""
    single = s.items[0] if len(s.items) == 1 else None
    made: Json = {
        "id": s.id,
        "object": "subscription",
        "automatic_tax": {"enabled": False},
        "billing_cycle_anchor": s.created,
        "cancel_at": s.cancel_at,
        "cancel_at_period_end": s.cancel_at_period_end,
        "canceled_at": s.canceled_at,
        "collection_method": "charge_automatically",
        "created": s.created,
        "customer": s.customer.id,
        "days_until_due": None,
        "default_payment_method": s.method,
        "ended_at": s.ended_at,
        "items": listing([_item(s, i, shape) for i in s.items], f"/v1/subscription_items?subscription={s.id}"),
        "latest_invoice": s.latest_invoice,
        "livemode": False,
        "metadata": dict(s.metadata),
        "pause_collection": {"behavior": s.pause_behavior, "resumes_at": None} if s.pause_behavior else None,
        "plan": single and plan(single.price, shape),
        "quantity": single and single.quantity,
        "schedule": None,
        "start_date": s.created,
        "status": s.status,
        "test_clock": None,
        "trial_end": s.trial_end,
        "trial_start": s.trial_start,
        # Added to every version in 2023, so an old endpoint gets it too.
        "cancellation_details": {"comment": None, "feedback": None, "reason": s.cancel_reason},
        "currency": s.currency,
    }
    if shape.before_basil:
        single_discount: Json = {"discounts": [s.discount.id] if s.discount else []}
        return (
            made
            | ({} if shape is Shape.OLD else single_discount)
            | {
                "current_period_start": s.period_start,
                "current_period_end": s.period_end,
                "discount": s.discount and discount(s.discount, shape),
            }
        )
    return made | {"discounts": [s.discount.id] if s.discount else [], "billing_mode": {"type": "classic"}}


def tax_id(t: o.TaxId) -> Json:
    """A customer's tax number; the same in both shapes."""
    return {
        "id": t.id,
        "object": "tax_id",
        "country": t.value[:2],
        "created": t.created,
        "customer": t.customer,
        "livemode": False,
        "type": t.kind,
        "value": t.value,
        "verification": {"status": t.verification, "verified_address": None, "verified_name": None},
    }
