"""A customer comes, perhaps with a card."""

from deploy.demo.simulator import bank
from deploy.demo.simulator.account import Account
from deploy.demo.simulator.cards import decline
from deploy.demo.simulator.errors import Json
from deploy.demo.simulator.registry import route
from deploy.demo.simulator.resources import customers, payment_methods


@route("POST", "/v1/customers", customers.Create)
def create(a: Account, form: customers.Create) -> Json:
    """A new customer, who keeps the payment method that is given. Raises StripeError when its bank refuses that."""
    if form.payment_method is None:
        return customers.create(a, form)
    method = payment_methods.resolve(a, form.payment_method)
    card = bank.card_of(a, method) if method["type"] == "card" else None
    if card is not None and card.decline is not None and not card.attaches:
        a.store.remove(method)
        raise bank.refused(decline(card.decline))
    later = form.invoice_settings  # a default must be the customer's own, which it is only now
    customer = customers.create(a, form.model_copy(update={"payment_method": None, "invoice_settings": None}))
    payment_methods.attach(a, method["id"], customer)
    if later is not None:
        default = {"default_payment_method": method["id"]} if later.default_payment_method else {}
        customer["invoice_settings"] |= later.given("footer") | default
        a.updated(customer)
    return customer
