"""A subscription's items, one by one; each change of them is a change of the subscription."""

from deploy.demo.simulator.account import Account
from deploy.demo.simulator.errors import Json, StripeError, missing
from deploy.demo.simulator.forms import Form
from deploy.demo.simulator.registry import route
from deploy.demo.simulator.store import page
from deploy.demo.simulator.subscribing import changing
from deploy.demo.simulator.subscribing.forms import ItemChange, ItemCreate, ItemDelete, ItemList, ItemUpdate, Update
from deploy.demo.simulator.subscribing.shape import items_of

OF_ITEM = ("price", "plan", "price_data", "quantity", "metadata", "tax_rates", "discounts")
OF_CHANGE = ("off_session", "payment_behavior", "proration_behavior", "proration_date")


@route("GET", "/v1/subscription_items", ItemList)
def listed(a: Account, form: ItemList) -> Json:
    """The items of a subscription, newest first."""
    subscription = a.store.need("subscription", form.subscription, "subscription")
    return page(items_of(subscription), form, "/v1/subscription_items")


@route("POST", "/v1/subscription_items", ItemCreate)
def create(a: Account, form: ItemCreate) -> Json:
    """One more item."""
    subscription = a.store.need("subscription", form.subscription, "subscription")
    _change(a, subscription, form, ItemChange(**form.given(*OF_ITEM)))
    return items_of(subscription)[-1]


@route("GET", "/v1/subscription_items/{id}")
def retrieve(a: Account, form: Form, id: str) -> Json:
    """One item, while its subscription has it."""
    return _found(a, id)[1]


@route("POST", "/v1/subscription_items/{id}", ItemUpdate)
def update(a: Account, form: ItemUpdate, id: str) -> Json:
    """Another price, another quantity."""
    subscription, item = _found(a, id)
    _change(a, subscription, form, ItemChange(id=id, **form.given(*OF_ITEM)))
    return item


@route("DELETE", "/v1/subscription_items/{id}", ItemDelete)
def delete(a: Account, form: ItemDelete, id: str) -> Json:
    """Without this item; the last one cannot go."""
    subscription, _ = _found(a, id)
    if len(items_of(subscription)) == 1:
        raise StripeError(
            "A subscription must have at least one active item. To delete the last one, cancel the subscription."
        )
    _change(a, subscription, form, ItemChange(id=id, deleted=True))
    return {"id": id, "object": "subscription_item", "deleted": True}


def _found(a: Account, id: str) -> tuple[Json, Json]:
    item = a.store.need("subscription_item", id)
    subscription = a.store.need("subscription", item["subscription"])
    if not any(row["id"] == id for row in items_of(subscription)):
        raise missing("subscription_item", id)
    return subscription, item


def _change(a: Account, subscription: Json, form: Form, item: ItemChange) -> None:
    changing.update(a, subscription, Update(items=(item,), **form.given(*OF_CHANGE)))
