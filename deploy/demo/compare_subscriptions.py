"""Subscriptions and what they are worth in a month, reckoned from Stripe's objects alone."""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any

from deploy.demo.compare_rows import Kept, Table, View, decimal, part, ref, rows, sub, when

USER = "(SELECT u.stripe_customer_id FROM users u WHERE u.id = t.user_id)"

YEAR = {"year": Fraction(1), "month": Fraction(12), "week": Fraction(52), "day": Fraction(365)}
"""How often an interval fits into a year."""

CYCLES = {"year": "yearly", "month": "monthly", "week": "weekly", "day": "daily"}

COUNTED = ("active", "past_due")

STATE = (
    "stripe_customer_id",
    "status",
    "stripe_price_id",
    "quantity",
    "currency",
    "current_period_start",
    "current_period_end",
    "trial_end",
    "cancel_at_period_end",
    "cancel_at",
    "pause_behavior",
    "discount_ids",
    "mrr_incomplete",
)
"""What a subscription's newest state says like the subscription itself."""

TOLD = tuple(
    f"customer.subscription.{verb}" for verb in ("created", "updated", "deleted", "paused", "resumed", "trial_will_end")
)
"""The events that tell of a state."""

NEWEST = """
(SELECT DISTINCT ON (stripe_subscription_id) * FROM subscription_history
 ORDER BY stripe_subscription_id, version DESC) t
"""


def price_of(view: View, item: Mapping[str, Any]) -> Mapping[str, Any]:
    """An item's price, whole."""
    return view.whole("price", item["price"])


def _metered(view: View, item: Mapping[str, Any]) -> bool:
    return sub(price_of(view, item), "recurring", "usage_type") == "metered"


def _a_year(view: View, item: Mapping[str, Any]) -> Fraction:
    """How often the item is billed in a year."""
    price = price_of(view, item)
    return YEAR[price["recurring"]["interval"]] / price["recurring"]["interval_count"]


def _yearly(view: View, item: Mapping[str, Any]) -> Fraction:
    """What an item is worth in a year before discounts; metered and tiered prices cannot be told, and count nothing."""
    price = price_of(view, item)
    if _metered(view, item) or price["billing_scheme"] == "tiered":
        return Fraction(0)
    quantity = 1 if item.get("quantity") is None else item["quantity"]
    if packs := price.get("transform_quantity"):
        more = packs["divide_by"] - 1 if packs["round"] == "up" else 0
        quantity = (quantity + more) // packs["divide_by"]
    return Fraction(Decimal(str(price["unit_amount_decimal"]))) * quantity * _a_year(view, item)


def _applying(view: View, discounts: Any, at: int) -> list[Mapping[str, Any]]:
    """The discounts that are not over at `at`."""
    whole = (view.whole("discount", one) for one in rows(discounts))
    return [one for one in whole if one and not _over(view, one, at)]


def _over(view: View, discount: Mapping[str, Any], at: int) -> bool:
    deleted = view.first(discount["id"], "customer.discount.deleted")
    return any(end is not None and end.timestamp() <= at for end in (when(discount["end"]), deleted))


def _owners(view: View, customer: Any, at: int) -> list[Mapping[str, Any]]:
    """The discount that the whole customer had at `at`."""
    found = [
        one
        for one in view.by("discount", "customer", customer)
        if one["subscription"] is None
        and one["subscription_item"] is None
        and one["start"] <= at
        and view.first(one["id"], "customer.discount.created") is not None
        and not _over(view, one, at)
    ]
    return sorted(found, key=lambda one: (one["start"], one["id"]))[-1:]


def _lowered(
    view: View, amount: Fraction, discounts: list[Mapping[str, Any]], currency: str, times: Fraction
) -> Fraction:
    """A yearly `amount` less what lasts; an amount off is taken each of the `times` a year that an invoice is made."""
    for discount in discounts:
        coupon = view.whole("coupon", discount["source"]["coupon"])
        if coupon.get("duration") == "once":
            continue
        if coupon.get("percent_off") is not None:
            amount *= 1 - Fraction(Decimal(str(coupon["percent_off"]))) / 100
        elif coupon.get("currency") == currency:
            amount -= coupon["amount_off"] * times
        amount = max(amount, Fraction(0))
    return amount


def mrr(view: View, obj: Mapping[str, Any], at: int | None = None) -> int:
    """A subscription's MRR in minor units: active and past due ones, by month, less what lasts, rounded once.

    `at` is when its discounts are looked at (default: the present), in seconds since 1970.
    """
    if obj["status"] not in COUNTED:
        return 0
    items, year = rows(obj["items"]), Fraction(0)
    moment = view.at if at is None else at
    for item in items:
        own = _applying(view, item.get("discounts"), moment)
        year += _lowered(view, _yearly(view, item), own, obj["currency"], _a_year(view, item))
    first = next((item for item in items if not _metered(view, item)), None)
    if first is not None:
        chosen = _applying(view, obj["discounts"], moment)
        if not chosen and at is None:
            owner = view.whole("customer", obj["customer"]).get("discount")
            chosen = _applying(view, [owner] if owner else [], moment)
        elif not chosen:
            chosen = _owners(view, obj["customer"], moment)
        year = _lowered(view, year, chosen, obj["currency"], _a_year(view, first))
    return int(year / 12 + Fraction(1, 2))


def _tier(obj: Mapping[str, Any], price: Mapping[str, Any]) -> Any:
    found = (obj["metadata"].get("tier"), sub(price, "metadata", "tier"), price["lookup_key"], price["nickname"])
    return next((one for one in found if one), None)


def _cycle(price: Mapping[str, Any]) -> str:
    interval, count = price["recurring"]["interval"], price["recurring"]["interval_count"]
    return CYCLES[interval] if count == 1 else f"every {count} {interval}s"


def subscriptions(view: View) -> Iterator[Kept]:
    """Every subscription; its price, quantity and period are those of its first licensed item."""
    for obj in view.all("subscription"):
        items = rows(obj["items"])
        first = next((item for item in items if not _metered(view, item)), items[0])
        price = price_of(view, first)
        pause = part(obj, "pause_collection")
        yield Kept(
            obj["id"],
            {
                "user": ref(obj["customer"]),
                "stripe_customer_id": ref(obj["customer"]),
                "stripe_price_id": price["id"],
                "status": obj["status"],
                "tier": _tier(obj, price),
                "quantity": first.get("quantity"),
                "mrr_cents": mrr(view, obj),
                "mrr_incomplete": obj["status"] in COUNTED
                and any(price_of(view, item)["billing_scheme"] == "tiered" for item in items),
                "currency": obj["currency"],
                "billing_cycle": _cycle(price),
                "collection_method": obj["collection_method"],
                "current_period_start": when(first["current_period_start"]),
                "current_period_end": when(first["current_period_end"]),
                "trial_start": when(obj["trial_start"]),
                "trial_end": when(obj["trial_end"]),
                "cancel_at_period_end": obj["cancel_at_period_end"],
                "cancel_at": when(obj["cancel_at"]),
                "canceled_at": when(obj["canceled_at"]),
                "ended_at": when(obj["ended_at"]),
                "cancel_reason": sub(obj, "cancellation_details", "reason"),
                "pause_behavior": pause.get("behavior"),
                "pause_resumes_at": when(pause.get("resumes_at")),
                "discount_ids": [ref(one) for one in rows(obj["discounts"])],
                "latest_stripe_invoice_id": ref(obj["latest_invoice"]),
                "default_payment_method_id": ref(obj["default_payment_method"]),
                "started_at": when(obj["start_date"]),
                "description": obj["description"],
                "metadata": obj["metadata"],
                "shown": len(items),
                "items_complete": True,
                "stripe_schedule_id": ref(obj["schedule"]),
                "stripe_created_at": when(obj["created"]),
            },
        )


def history(view: View) -> Iterator[Kept]:
    """The newest state of every subscription: what it is now, and was worth when Stripe told of it last."""
    for kept in subscriptions(view):
        told = view.last(kept.id, *TOLD)
        obj = view.whole("subscription", kept.id)
        worth = {} if told is None else {"occurred_at": told, "mrr_cents": mrr(view, obj, int(told.timestamp()))}
        yield Kept(kept.id, {name: kept.values[name] for name in STATE} | worth)


def items(view: View) -> Iterator[Kept]:
    """Every item of every subscription, ended ones too."""
    for obj in view.all("subscription"):
        for place, item in enumerate(rows(obj["items"])):
            price = price_of(view, item)
            yield Kept(
                f"{obj['id']} {item['id']}",
                {
                    "position": place,
                    "stripe_price_id": price["id"],
                    "stripe_product_id": ref(price["product"]),
                    "quantity": item.get("quantity"),
                    "currency": price["currency"],
                    "unit_amount_decimal": None
                    if price["billing_scheme"] == "tiered"
                    else decimal(price["unit_amount_decimal"]),
                    "interval": price["recurring"]["interval"],
                    "interval_count": price["recurring"]["interval_count"],
                    "usage_type": price["recurring"]["usage_type"],
                    "billing_scheme": price["billing_scheme"],
                    "divide_by": sub(price, "transform_quantity", "divide_by"),
                    "divide_round": sub(price, "transform_quantity", "round"),
                    "discount_ids": [ref(one) for one in rows(item.get("discounts"))],
                    "current_period_start": when(item["current_period_start"]),
                    "current_period_end": when(item["current_period_end"]),
                },
            )


SUBSCRIPTIONS = (
    Table(
        "subscription",
        "subscriptions t",
        "t.stripe_subscription_id",
        subscriptions,
        {"user": USER, "shown": "jsonb_array_length(t.items)"},
    ),
    Table("subscription_history", NEWEST, "t.stripe_subscription_id", history, mirror=False),
    Table(
        "subscription_item",
        "subscription_items t",
        "t.stripe_subscription_id || ' ' || t.stripe_subscription_item_id",
        items,
        mirror=False,
    ),
)
