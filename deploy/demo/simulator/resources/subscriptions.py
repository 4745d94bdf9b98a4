"""Subscriptions: what a customer buys again and again, from the first invoice to the last."""

from deploy.demo.simulator.account import Account
from deploy.demo.simulator.errors import Json, StripeError, missing
from deploy.demo.simulator.forms import Form, Range
from deploy.demo.simulator.registry import route
from deploy.demo.simulator.resources import discounts
from deploy.demo.simulator.store import page
from deploy.demo.simulator.subscribing import billing, changing, creating, ending, life, paying, previewing
from deploy.demo.simulator.subscribing.forms import Cancel, Create, List, Resume, Update
from deploy.demo.simulator.subscribing.shape import ENDED, items_of

FOLLOWERS = (paying, previewing)
"""Imported for what they register: subscriptions follow their invoices, and propose the next."""


@route("POST", "/v1/subscriptions", Create)
def create(a: Account, form: Create) -> Json:
    """A new subscription; its first invoice is made, and paid, at once."""
    return creating.create(a, form)


@route("GET", "/v1/subscriptions", List)
def listed(a: Account, form: List) -> Json:
    """Subscriptions, newest first; canceled ones only when they are asked for."""
    by_customer = form.customer is not None
    rows = a.store.by("subscription", "customer", form.customer) if by_customer else a.store.all("subscription")
    return page([row for row in rows if _wanted(row, form)], form, "/v1/subscriptions")


def _wanted(row: Json, form: List) -> bool:
    match form.status:
        case None:
            fits = row["status"] != "canceled"
        case "all":
            fits = True
        case "ended":
            fits = row["status"] in ENDED
        case status:
            fits = row["status"] == status
    price = form.price or form.plan
    ends = [item["current_period_end"] for item in items_of(row)]
    starts = [item["current_period_start"] for item in items_of(row)]
    return (
        fits
        and (price is None or any(item["price"]["id"] == price for item in items_of(row)))
        and form.collection_method in {None, row["collection_method"]}
        and form.test_clock in {None, row["test_clock"]}
        and _within(form.current_period_end, min(ends))
        and _within(form.current_period_start, max(starts))
    )


def _within(wanted: int | Range | None, value: int) -> bool:
    return wanted is None or (wanted.holds(value) if isinstance(wanted, Range) else wanted == value)


@route("GET", "/v1/subscriptions/{id}")
def retrieve(a: Account, form: Form, id: str) -> Json:
    """One subscription."""
    return a.store.need("subscription", id)


@route("POST", "/v1/subscriptions/{id}", Update)
def update(a: Account, form: Update, id: str) -> Json:
    """Change what is given; prorations are invoiced at once, or with the next invoice."""
    return changing.update(a, a.store.need("subscription", id), form)


@route("DELETE", "/v1/subscriptions/{id}", Cancel)
def cancel(a: Account, form: Cancel, id: str) -> Json:
    """It ends now."""
    subscription = a.store.need("subscription", id)
    if subscription["status"] in ENDED:
        raise missing("subscription", id)
    if form.cancellation_details is not None:
        subscription["cancellation_details"] |= form.cancellation_details.given("comment", "feedback")
    ending.cancel(a, subscription, invoice_now=form.invoice_now, prorate=form.prorate)
    return subscription


@route("POST", "/v1/subscriptions/{id}/resume", Resume)
def resume(a: Account, form: Resume, id: str) -> Json:
    """A paused subscription goes on: a new period begins, and is invoiced at once."""
    subscription = a.store.need("subscription", id)
    if subscription["status"] != "paused":
        raise StripeError(
            "Only subscriptions with a `paused` status can be resumed. To resume collection, unset `pause_collection`."
        )
    if form.billing_cycle_anchor.type == "unchanged":
        raise StripeError("Only `billing_cycle_anchor=now` is simulated for resuming.", param="billing_cycle_anchor")
    now = a.now(subscription["customer"])
    subscription |= {"status": "active", "status_details": None}
    life.restart(subscription, now)
    id_ = billing.announce(a, subscription)
    a.emit("customer.subscription.resumed", subscription)
    life.bill_now(a, subscription, id_, now)
    return subscription


@route("DELETE", "/v1/subscriptions/{id}/discount")
def delete_discount(a: Account, form: Form, id: str) -> Json:
    """Take its discounts away."""
    subscription = a.store.need("subscription", id)
    if not subscription["discounts"]:
        raise missing("discount", id)
    gone, subscription["discounts"] = subscription["discounts"], []
    for discount in gone:
        discounts.ended(a, discount)
    a.updated(subscription, changing.UPDATED)
    return a.store.need("discount", gone[0]) | {"deleted": True}
