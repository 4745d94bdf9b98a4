"""A subscription and its items as Stripe shows them."""

from collections.abc import Sequence

from deploy.demo.simulator.account import Account
from deploy.demo.simulator.errors import Json
from deploy.demo.simulator.forms import merge_metadata
from deploy.demo.simulator.render import before_basil
from deploy.demo.simulator.store import listing
from deploy.demo.simulator.subscribing.forms import ItemFields

ENDED = frozenset({"canceled", "incomplete_expired"})


def blank(a: Account, customer: Json, currency: str) -> Json:
    """A subscription of nothing: https://docs.stripe.com/api/subscriptions/object."""
    now = a.now(customer["id"])
    id_ = a.store.new_id("sub")
    return {
        "id": id_,
        "object": "subscription",
        "application": None,
        "application_fee_percent": None,
        "automatic_tax": {"disabled_reason": None, "enabled": False, "liability": None},
        "billing_cycle_anchor": now,
        "billing_cycle_anchor_config": None,
        "billing_mode": {"flexible": {"proration_discounts": "included"}, "type": "flexible", "updated_at": now},
        "billing_schedules": [],
        "billing_thresholds": None,
        "cancel_at": None,
        "cancel_at_period_end": False,
        "canceled_at": None,
        "cancellation_details": {"comment": None, "feedback": None, "reason": None},
        "collection_method": "charge_automatically",
        "created": now,
        "currency": currency,
        "customer": customer["id"],
        "customer_account": None,
        "days_until_due": None,
        "default_payment_method": None,
        "default_source": None,
        "default_tax_rates": [],
        "description": None,
        "discounts": [],
        "ended_at": None,
        "invoice_settings": {"account_tax_ids": None, "issuer": {"type": "self"}},
        "items": listing([], f"/v1/subscription_items?subscription={id_}"),
        "latest_invoice": None,
        "livemode": False,
        "managed_payments": None,
        "metadata": {},
        "next_pending_invoice_item_invoice": None,
        "on_behalf_of": None,
        "pause_collection": None,
        "payment_settings": {
            "payment_method_options": None,
            "payment_method_types": None,
            "save_default_payment_method": "off",
        },
        "pending_invoice_item_interval": None,
        "pending_setup_intent": None,
        "pending_update": None,
        "plan": None,
        "quantity": None,
        "schedule": None,
        "start_date": now,
        "status": "incomplete",
        "status_details": None,
        "test_clock": customer["test_clock"],
        "transfer_data": None,
        "trial_end": None,
        "trial_settings": {"end_behavior": {"missing_payment_method": "create_invoice"}},
        "trial_start": None,
    }


def new_item(a: Account, subscription: Json, price: Json, fields: ItemFields, period: tuple[int, int]) -> Json:
    """An item of the subscription, which the subscription does not list yet."""
    return a.add(
        {
            "id": a.store.new_id("si"),
            "object": "subscription_item",
            "billed_until": None,
            "billing_thresholds": None,
            "created": a.now(subscription["customer"]),
            "current_period_end": period[1],
            "current_period_start": period[0],
            "current_trial": None,
            "discounts": [],
            "metadata": merge_metadata({}, fields.metadata),
            "plan": a.store.need("plan", price["id"]),
            "price": price,
            "quantity": 1 if fields.quantity is None else fields.quantity,
            "subscription": subscription["id"],
            "tax_rates": [a.store.need("tax_rate", rate) for rate in fields.tax_rates or []],
        }
    )


def put_items(subscription: Json, items: Sequence[Json]) -> None:
    """These are the subscription's items; a single one shows its plan and quantity on the subscription, too."""
    subscription["items"] = listing(list(items), subscription["items"]["url"])
    single = items[0] if len(items) == 1 else None
    subscription["plan"] = single["plan"] if single else None
    subscription["quantity"] = single["quantity"] if single else None


def items_of(subscription: Json) -> list[Json]:
    """A subscription's items."""
    return subscription["items"]["data"]


def period_of(item: Json) -> tuple[int, int]:
    """An item's current period, in seconds."""
    return item["current_period_start"], item["current_period_end"]


def set_period(item: Json, period: tuple[int, int]) -> None:
    """The item is in this period now."""
    item["current_period_start"], item["current_period_end"] = period


def period_end(subscription: Json) -> int:
    """When the first of its items ends its period."""
    return min(item["current_period_end"] for item in items_of(subscription))


@before_basil("subscription")
def older(a: Account, subscription: Json) -> None:
    """Before basil the period was the subscription's, and a single discount was shown whole."""
    items = subscription["items"]["data"]
    subscription["current_period_start"] = max((item["current_period_start"] for item in items), default=None)
    subscription["current_period_end"] = min((item["current_period_end"] for item in items), default=None)
    for item in items:
        for name in ("billed_until", "current_period_start", "current_period_end", "current_trial"):
            item.pop(name, None)
    for name in ("billing_mode", "billing_schedules", "customer_account", "managed_payments", "status_details"):
        subscription.pop(name, None)
    subscription["discount"] = None
    if subscription["discounts"]:
        first = a.store.need("discount", subscription["discounts"][0])
        subscription["discount"] = first | {"coupon": dict(a.store.need("coupon", first["source"]["coupon"]))}
        del subscription["discount"]["source"]
