"""A customer leaves: what they subscribe to ends with them."""

from deploy.demo.simulator.account import Account
from deploy.demo.simulator.errors import Json
from deploy.demo.simulator.forms import Form
from deploy.demo.simulator.registry import route
from deploy.demo.simulator.resources.customers import living
from deploy.demo.simulator.subscribing import billing, ending


@route("DELETE", "/v1/customers/{id}")
def delete(a: Account, form: Form, id: str) -> Json:
    """https://docs.stripe.com/api/customers/delete: it cannot be undone, and cancels active subscriptions at once."""
    customer = living(a, id)
    for subscription in a.store.by("subscription", "customer", id):
        ending.end(a, subscription, reason="cancellation_requested")
    for invoice in a.store.by("invoice", "customer", id):
        if invoice["status"] in {"draft", "open"}:
            billing.leave(a, invoice)
    a.emit("customer.deleted", customer)
    customer.clear()
    customer |= {"id": id, "object": "customer", "deleted": True}
    return customer
