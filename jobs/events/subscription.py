"""A subscription changed at Stripe: our copy follows, and its state is added to its history."""

from collections.abc import Iterator

from db.ledger import Fact, Row
from jobs.events.catalog import inlined_price, price_values
from jobs.events.discount import discount_facts, discount_id
from jobs.rules import versions
from jobs.rules.cycles import billing_cycle
from jobs.stripe_objects import Malformed, Obj, StripeEvent, handles, snapshot, stub

TYPES = (
    "customer.subscription.created",
    "customer.subscription.updated",
    "customer.subscription.deleted",
    "customer.subscription.paused",
    "customer.subscription.resumed",
    "customer.subscription.trial_will_end",
    "customer.subscription.pending_update_applied",
    "customer.subscription.pending_update_expired",
)


@handles(*TYPES)
def subscription(event: StripeEvent) -> Iterator[Fact]:
    """The subscription follows with its items; prices, discounts and coupons that it shows are kept too."""
    obj = event.object
    status = obj.text("status")
    if status is None:
        raise Malformed(f"{obj.name}.status is missing: Stripe sent what we cannot read")
    owner = obj.ref("customer")
    if owner is not None:
        yield stub(event, "users", (owner,))
    items = _items(obj)
    first = next((item for item in items if item["usage_type"] != "metered"), items[0] if items else {})
    values: Row = {
        "stripe_customer_id": owner,
        "stripe_price_id": first.get("price"),
        "status": status,
        "tier": obj.metadata().get("tier") or first.get("tier"),
        "quantity": first.get("quantity"),
        "currency": obj.text("currency") or first.get("currency"),
        "billing_cycle": billing_cycle(first.get("interval"), first.get("interval_count")),
        "collection_method": obj.text("collection_method") or obj.text("billing"),
        "current_period_start": first.get("period_start") or obj.time("current_period_start"),
        "current_period_end": first.get("period_end") or obj.time("current_period_end"),
        "items": items,
        "items_complete": obj.complete("items"),
        "discount_ids": _discount_ids(obj),
        **_times(obj),
    }
    latest_end = max((item["period_end"] or "" for item in items), default="")
    yield snapshot(
        event,
        "subscriptions",
        (obj.id(),),
        values,
        final=status in versions.FINAL["subscription"],
        state=versions.SUBSCRIPTION.get(status, versions.UNKNOWN),
        sums=(_seconds(latest_end), -len(values["discount_ids"])),  # a renewal uses up a discount in its own second
    )
    yield from _shown(event, obj)


def _seconds(moment: str) -> int:
    """A time as a number that grows with it: its digits in the order of ISO 8601."""
    return int("".join(filter(str.isdigit, moment[:19])) or 0)


def _times(obj: Obj) -> Row:
    pause = obj.sub("pause_collection")
    return {
        "trial_start": obj.time("trial_start"),
        "trial_end": obj.time("trial_end"),
        "cancel_at_period_end": obj.flag("cancel_at_period_end"),
        "cancel_at": obj.time("cancel_at"),
        "canceled_at": obj.time("canceled_at"),
        "ended_at": obj.time("ended_at"),
        "cancel_reason": obj.sub("cancellation_details").text("reason"),
        "pause_behavior": pause.text("behavior"),
        "pause_resumes_at": pause.time("resumes_at"),
        "latest_stripe_invoice_id": obj.ref("latest_invoice"),
        "default_payment_method_id": obj.ref("default_payment_method") or obj.ref("default_source"),
        "stripe_schedule_id": obj.ref("schedule"),
        "started_at": obj.time("start_date") or obj.time("start"),
        "description": obj.words("description"),
        "metadata": obj.metadata(),
        "stripe_created_at": obj.time("created"),
    }


def _items(obj: Obj) -> list[Row]:
    """The items, each once, in Stripe's order; since basil each has its period, before the subscription had it."""
    found: dict[str, Row] = {}
    for item in obj.each("items"):
        price = item.sub("price") if "price" in item else item.sub("plan")
        values = price_values(price)
        metadata = values["metadata"]
        found[item.id()] = {
            "id": item.id(),
            "price": price.ref("id") or item.ref("price") or item.ref("plan"),
            "product": values["stripe_product_id"],
            "quantity": item.integer("quantity"),
            "currency": values["currency"],
            "unit_amount": values["unit_amount_decimal"],
            "billing_scheme": values["billing_scheme"],
            "interval": values["interval"],
            "interval_count": values["interval_count"],
            "usage_type": values["usage_type"],
            "divide_by": values["divide_by"],
            "divide_round": values["divide_round"],
            "tier": metadata.get("tier") or values["lookup_key"] or values["nickname"],
            "period_start": item.time("current_period_start") or obj.time("current_period_start"),
            "period_end": item.time("current_period_end") or obj.time("current_period_end"),
            "discounts": _discount_ids(item),
        }
    return list(found.values())


def _discount_ids(obj: Obj) -> list[str]:
    """`discounts` since clover, `discount` before; objects between the two have both and mean the same."""
    found = obj.refs("discounts")
    old = discount_id(obj.sub("discount"))
    if old is not None and old not in found:
        found.append(old)
    return found


def _shown(event: StripeEvent, obj: Obj) -> Iterator[Fact]:
    owner = obj.ref("customer")
    for holder in (obj, *obj.each("items")):
        yield from discount_facts(event, holder.sub("discount"), stripe_customer_id=owner)
        for discount in holder.each("discounts"):
            yield from discount_facts(event, discount, stripe_customer_id=owner)
    for item in obj.each("items"):
        yield from inlined_price(event, item)
