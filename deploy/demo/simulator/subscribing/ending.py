"""A subscription ends: now, at its period's end, for want of money, or before it began."""

from typing import Literal

from deploy.demo.simulator.account import Account
from deploy.demo.simulator.errors import Json
from deploy.demo.simulator.subscribing import billing, lines
from deploy.demo.simulator.subscribing.forms import Terms
from deploy.demo.simulator.subscribing.shape import ENDED, items_of

Reason = Literal["cancellation_requested", "payment_failed", "payment_disputed"]


def end(a: Account, subscription: Json, *, reason: Reason | None) -> None:
    """It is canceled, now. Emits `customer.subscription.deleted`."""
    if subscription["status"] in ENDED:
        return
    now = a.now(subscription["customer"])
    subscription["status"] = "canceled"
    subscription["canceled_at"] = subscription["canceled_at"] or now
    subscription["ended_at"] = now
    details = subscription["cancellation_details"]
    details["reason"] = reason or details["reason"]
    billing.stop_collecting(a, subscription)
    a.emit("customer.subscription.deleted", subscription)


def at_its_end(a: Account, subscription: Json) -> None:
    """The day has come that it was to be canceled at; what is pending is billed a last time."""
    pending = billing.has_pending(a, subscription)
    now = a.now(subscription["customer"])
    if pending:
        billing.announce(a, subscription)
    end(a, subscription, reason=None)
    if pending:
        span = (items_of(subscription)[0]["current_period_start"], now)
        billing.bill(a, subscription, [], reason="subscription_cycle", period=span, id=subscription["latest_invoice"])


def cancel(a: Account, subscription: Json, *, invoice_now: bool, prorate: bool) -> None:
    """Somebody cancels it at once, and may want the unused time back, and a last invoice."""
    now = a.now(subscription["customer"])
    subscription |= {"cancel_at": None, "cancel_at_period_end": False}  # what was planned no longer stands
    incomplete = subscription["status"] == "incomplete"
    if prorate and subscription["status"] != "trialing":
        billing.pend(a, subscription, lines.given_back(a, items_of(subscription), now))
    last = invoice_now and billing.has_pending(a, subscription)
    if last:
        billing.announce(a, subscription)
    end(a, subscription, reason="cancellation_requested")
    if incomplete:
        billing.void_open(a, subscription)
    if last:
        span = (items_of(subscription)[0]["current_period_start"], now)
        invoice = billing.bill(
            a, subscription, [], reason="subscription_update", period=span, id=subscription["latest_invoice"]
        )
        billing.collect(a, subscription, invoice, off_session=True)


def expire(a: Account, subscription: Json) -> None:
    """Its first payment never came."""
    now = a.now(subscription["customer"])
    subscription["status"] = "incomplete_expired"
    subscription["ended_at"] = now
    subscription["canceled_at"] = subscription["canceled_at"] or now
    a.updated(subscription, "customer.subscription.updated")


def pause(a: Account, subscription: Json) -> None:
    """A trial ended without a card: nothing is billed until somebody resumes it."""
    subscription["status"] = "paused"
    subscription["status_details"] = {
        "paused": {
            "subscription": {"type": "trial_end_without_payment_method"},
            "transitioned_at": a.now(subscription["customer"]),
            "type": "subscription",
        }
    }
    a.updated(subscription, "customer.subscription.updated")
    a.emit("customer.subscription.paused", subscription)


def put_cancel_at(a: Account, subscription: Json, form: Terms) -> None:
    """When it is to be canceled, or that it is not after all."""
    given = form.model_fields_set
    if "cancel_at" not in given and form.cancel_at_period_end is None:
        return
    items = items_of(subscription)
    ends = [item["current_period_end"] for item in items]
    match form.cancel_at:
        case None:
            at = max(ends) if form.cancel_at_period_end else None
        case "min_period_end":
            at = min(ends)
        case "max_period_end" | "max_billed_until":
            at = max(ends)
        case moment:
            at = moment
    subscription["cancel_at"] = at
    subscription["cancel_at_period_end"] = bool(form.cancel_at_period_end)
    subscription["canceled_at"] = a.now(subscription["customer"]) if at is not None else None
    subscription["cancellation_details"] = {
        "comment": None,
        "feedback": None,
        "reason": "cancellation_requested" if at is not None else None,
    }


def can_pay(a: Account, subscription: Json) -> bool:
    """Whether there is something to charge, or nothing needs to be charged."""
    customer = a.store.need("customer", subscription["customer"])
    return bool(
        subscription["collection_method"] == "send_invoice"
        or subscription["default_payment_method"]
        or customer["invoice_settings"]["default_payment_method"]
    )
