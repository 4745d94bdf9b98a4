"""A discount began, changed or ended: it and its coupon are kept, so that we know what a subscription is worth."""

from collections.abc import Iterator

from db.ledger import Fact, Row
from jobs.events.catalog import inlined_coupon
from jobs.stripe_objects import Obj, StripeEvent, handles, snapshot, stub


@handles("customer.discount.created", "customer.discount.updated", "customer.discount.deleted")
def discount(event: StripeEvent) -> Iterator[Fact]:
    """The discount follows; a deleted one no longer lowers anything."""
    yield from discount_facts(event, event.object)
    if (owner := event.object.ref("customer")) is not None:
        yield stub(event, "users", (owner,))


def discount_id(obj: Obj, *, stripe_customer_id: str | None = None) -> str | None:
    """The discount's id. Old objects have none; there a customer has at most one discount, so its start names it."""
    if "id" in obj:
        return obj.id()
    coupon = coupon_id(obj)
    if coupon is None:
        return None
    owner = obj.ref("subscription") or obj.ref("customer") or stripe_customer_id or ""
    return f"{owner}:{coupon}:{obj.number('start')}"


def coupon_id(obj: Obj) -> str | None:
    """The coupon's id, from either shape: https://docs.stripe.com/changelog/clover."""
    return obj.ref("coupon") or obj.sub("source").ref("coupon")


def discount_facts(event: StripeEvent, obj: Obj, *, stripe_customer_id: str | None = None) -> Iterator[Fact]:
    """What a discount tells, wherever it is shown; nothing where only its id is shown."""
    name = discount_id(obj, stripe_customer_id=stripe_customer_id)
    if name is None or not ("start" in obj or coupon_id(obj) is not None):
        return
    values: Row = {
        "stripe_coupon_id": coupon_id(obj),
        "stripe_promotion_code_id": obj.ref("promotion_code"),
        "stripe_customer_id": obj.ref("customer") or stripe_customer_id,
        "stripe_subscription_id": obj.ref("subscription"),
        "stripe_subscription_item_id": obj.ref("subscription_item"),
        "stripe_invoice_id": obj.ref("invoice"),
        "start_at": obj.time("start"),
        "end_at": obj.time("end"),
        "stripe_created_at": obj.time("start"),
    }
    own = event.type.startswith("customer.discount.")
    sticky: Row = {"deleted_at": event.at} if event.type == "customer.discount.deleted" else {}
    yield snapshot(event, "discounts", (name,), values, inlined=not own, sticky=sticky)
    for holder in (obj, obj.sub("source")):
        yield from inlined_coupon(event, holder.sub("coupon"))
