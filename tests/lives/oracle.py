"""A life's own books: what the ledger must hold, computed from the life alone and from nothing of ours."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

from tests.lives import objects as o
from tests.lives.stripe_world import Told, World

Row = dict[str, Any]
Books = dict[str, dict[str, Row]]
"""Table, then Stripe's id, then column."""

MONTHS = {"month": Fraction(1), "year": Fraction(12)}


def _time(second: int | None) -> str | None:
    return None if second is None else datetime.fromtimestamp(second, UTC).isoformat()


def monthly(sub: o.Subscription, now: int) -> int:
    """MRR in minor units, half up: licensed items by month, less a discount that lasts and applies at `now`.

    A customer's own discount counts where the subscription has none.
    As Stripe counts it (https://docs.stripe.com/billing/subscriptions/analytics/glossary): active and past due only.
    """
    if sub.status not in {"active", "past_due"}:
        return 0
    licensed = [i for i in sub.items if i.price.usage_type == "licensed"]
    period = Fraction(0)
    for item in licensed:
        months = MONTHS[item.price.interval or "month"] * item.price.interval_count
        period += Fraction(item.price.unit_amount_decimal) * item.quantity / months
    discount = sub.discount or sub.customer.discount
    if discount and discount.coupon.duration != "once" and (discount.end is None or now < discount.end):
        if discount.coupon.percent_off is not None:
            period *= 1 - Fraction(str(discount.coupon.percent_off)) / 100
        elif discount.coupon.amount_off is not None:
            first = licensed[0].price
            period -= discount.coupon.amount_off / (MONTHS[first.interval or "month"] * first.interval_count)
    return max(int(period + Fraction(1, 2)), 0)


def _user(c: o.Customer) -> Row:
    return {
        "email": c.email,
        "name": c.name,
        "currency": c.currency,
        "locale": c.locale,
        "phone": c.phone,
        "deleted": c.deleted,
        "metadata": c.metadata,
        "default_payment_method_id": c.method and c.method.id,
    }


def _cycle(price: o.Price) -> str:
    if price.interval_count == 1:
        return f"{price.interval}ly"
    return f"every {price.interval_count} {price.interval}s"


def _subscription(s: o.Subscription, now: int) -> Row:
    first = next(i for i in s.items if i.price.usage_type == "licensed")
    return {
        "user": s.customer.id,
        "stripe_customer_id": s.customer.id,
        "stripe_price_id": first.price.id,
        "status": s.status,
        "quantity": first.quantity,
        "currency": s.currency,
        "billing_cycle": _cycle(first.price),
        "mrr_cents": monthly(s, now),
        "mrr_incomplete": False,
        "current_period_start": _time(s.period_start),
        "current_period_end": _time(s.period_end),
        "trial_start": _time(s.trial_start),
        "trial_end": _time(s.trial_end),
        "cancel_at_period_end": s.cancel_at_period_end,
        "cancel_at": _time(s.cancel_at),
        "canceled_at": _time(s.canceled_at),
        "ended_at": _time(s.ended_at),
        "cancel_reason": s.cancel_reason,
        "pause_behavior": s.pause_behavior,
        "latest_stripe_invoice_id": s.latest_invoice,
        "discount_ids": [s.discount.id] if s.discount else [],
        "metadata": s.metadata,
    }


def _invoice(i: o.Invoice, told: Told) -> Row:
    return {
        "user": i.customer.id,
        "stripe_number": i.number,
        "stripe_subscription_id": i.subscription,
        "status": i.status,
        "currency": i.currency,
        "billing_reason": i.billing_reason,
        "subtotal_cents": i.subtotal,
        "tax_cents": i.tax,
        "discount_cents": i.discount_amount,
        "total_cents": i.total,
        "amount_due_cents": i.amount_due,
        "amount_paid_cents": i.amount_paid,
        "amount_remaining_cents": max(i.amount_due - i.amount_paid, 0),
        "post_payment_credit_cents": i.post_payment_credit,
        "attempt_count": i.attempt_count,
        "next_payment_attempt": _time(i.next_payment_attempt),
        "due_date": _time(i.due_date),
        "finalized_at": _time(i.finalized_at),
        "paid_at": _time(i.paid_at),
        "voided_at": _time(i.voided_at),
        "marked_uncollectible_at": _time(i.uncollectible_at),
        "out_of_band": ("out_of_band", i.id) in told,
        "lines": sorted((line.amount, line.description) for line in i.lines),
        "metadata": i.metadata,
    }


def charge_status(c: o.Charge) -> str:
    """The contract's six states: https://docs.stripe.com/api/charges/object tells Stripe's three."""
    if c.status != "succeeded":
        return c.status
    if not c.captured:
        return "failed" if c.expired else "pending"
    if c.dispute and c.dispute.status not in {"won", "warning_closed", "prevented"}:
        return "disputed"
    if c.amount_refunded == 0:
        return "succeeded"
    return "refunded" if c.amount_refunded == c.amount else "partially_refunded"


def _links(told: Told) -> Mapping[str, str]:
    return {fact[1]: fact[2] for fact in told if fact[0] == "link"}


def _charge(c: o.Charge, links: Mapping[str, str]) -> Row:
    gone = c.amount_refunded if c.captured else 0
    return {
        "user": c.customer,
        "invoice": links.get(c.intent or c.id),
        "stripe_payment_intent_id": c.intent,
        "amount_cents": c.amount,
        "currency": c.currency,
        "status": charge_status(c),
        "refund_amount_cents": gone,
        "was_refunded": gone > 0,
        "failure_code": c.decline and c.decline.code,
        "decline_code": c.decline and c.decline.reason,
        "failure_message": c.decline and c.decline.message,
        "dispute_status": c.dispute and c.dispute.status,
        "payment_method": c.method and c.method.kind,
        "payment_method_id": c.method and c.method.id,
        "created_at": _time(c.created),
    }


def _bare_intent(i: o.Intent, links: Mapping[str, str]) -> Row:
    failed = i.status == "canceled" or i.last_error is not None
    return {
        "user": i.customer,
        "invoice": links.get(i.id),
        "stripe_payment_intent_id": i.id,
        "amount_cents": i.amount,
        "currency": i.currency,
        "status": "failed" if failed else "pending",
        "refund_amount_cents": 0,
        "was_refunded": False,
        "failure_code": i.last_error and i.last_error.code,
        "decline_code": i.last_error and i.last_error.reason,
        "dispute_status": None,
        "created_at": _time(i.created),
    }


def books(world: World, told: Iterable[Told]) -> Books:
    """What the ledger must hold of this world, if its events said `told` beside the objects themselves."""
    known: Told = frozenset(fact for facts in told for fact in facts)
    links = _links(known)
    payments = {c.id: _charge(c, links) for c in world.charges}
    payments |= {i.id: _bare_intent(i, links) for i in world.intents if not i.charges}
    items = {i.id: (s, i) for s in world.subscriptions for i in s.items}
    return {
        "users": {c.id: _user(c) for c in world.customers},
        "subscriptions": {s.id: _subscription(s, world.now) for s in world.subscriptions},
        "subscription_items": {
            key: {
                "stripe_subscription_id": s.id,
                "stripe_price_id": i.price.id,
                "quantity": None if i.price.usage_type == "metered" else i.quantity,
                "usage_type": i.price.usage_type,
            }
            for key, (s, i) in items.items()
        },
        "invoices": {i.id: _invoice(i, known) for i in world.invoices},
        "payment_history": payments,
        "invoice_payments": {f"{invoice} {intent}": {} for intent, invoice in links.items()},
        "refunds": {
            r.id: {
                "stripe_charge_id": r.charge,
                "stripe_payment_intent_id": r.intent,
                "amount_cents": r.amount,
                "status": r.status,
                "reason": r.reason,
                "failure_reason": r.failure_reason,
            }
            for r in world.refunds
        },
        "disputes": {
            d.id: {"stripe_charge_id": d.charge, "amount_cents": d.amount, "status": d.status, "reason": d.reason}
            for d in world.disputes
        },
        "credit_notes": {
            n.id: {
                "stripe_invoice_id": n.invoice,
                "number": n.number,
                "status": n.status,
                "amount_cents": n.amount,
                "voided_at": _time(n.voided_at),
            }
            for n in world.credit_notes
        },
        "checkout_sessions": {
            s.id: {"status": s.status, "payment_status": s.payment_status, "amount_total_cents": s.amount}
            for s in world.sessions
            if s.status != "open"
        },
        "prices": {
            p.id: {
                "nickname": p.nickname,
                "lookup_key": p.lookup_key,
                "currency": p.currency,
                "interval": p.interval,
                "interval_count": p.interval_count,
                "usage_type": p.usage_type,
                "metadata": p.metadata,
            }
            for p in world.prices
        },
        "products": {p.id: {"name": p.name} for p in world.products},
    }
