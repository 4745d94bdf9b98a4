"""Payment methods: the cards and bank accounts that customers keep with us."""

from typing import Annotated, Literal

from pydantic import Field

from deploy.demo.simulator import bank
from deploy.demo.simulator.account import Account
from deploy.demo.simulator.cards import decline
from deploy.demo.simulator.errors import Json, StripeError
from deploy.demo.simulator.forms import Form, Integer, ListForm, Metadata, Part, Text, merge_metadata
from deploy.demo.simulator.instruments import LIVES, BillingDetails, Data, describe, given, make, test_name
from deploy.demo.simulator.registry import route
from deploy.demo.simulator.resources.customers import living
from deploy.demo.simulator.store import page


class Create(Data, Form):
    """https://docs.stripe.com/api/payment_methods/create."""


class Expiry(Part):
    """A card that was renewed keeps its number."""

    exp_month: Annotated[int, Field(ge=1, le=12)] | None = None
    exp_year: int | None = None


class Update(Form):
    """https://docs.stripe.com/api/payment_methods/update."""

    billing_details: BillingDetails | None = None
    card: Expiry | None = None
    allow_redisplay: Literal["always", "limited", "unspecified"] | None = None
    metadata: Metadata | None = None


class Attach(Form):
    """https://docs.stripe.com/api/payment_methods/attach."""

    customer: str


class OfCustomer(ListForm):
    """https://docs.stripe.com/api/payment_methods/customer_list."""

    type: str | None = None
    allow_redisplay: str | None = None


class List(OfCustomer):
    """https://docs.stripe.com/api/payment_methods/list."""

    customer: str | None = None


class Behave(Form):
    """How a test or a story wants this card to answer; times are in seconds since 1970."""

    decline_code: Text = None
    requires_action: bool = False
    since: Integer = None
    until: Integer = None
    uses: Integer = None


def need(a: Account, id: str, *, status: int = 400) -> Json:
    """The payment method. Raises StripeError in Stripe's own words for this kind."""
    found = a.store.get("payment_method", id)
    if found is None:
        raise StripeError(
            f"No such PaymentMethod: '{id}'", status=status, code="resource_missing", param="payment_method"
        )
    return found


def resolve(a: Account, method: str, customer: str | None = None) -> Json:
    """The payment method that a request names: one of the store, or a new one of Stripe's test names.

    Raises StripeError for one that is unknown, of another customer, or used up.
    """
    if test_name(method) is not None:
        return make(a, method, a.now(customer))
    found = need(a, method)
    if found["customer"] is not None and found["customer"] != customer:
        raise StripeError(
            "The provided PaymentMethod cannot be used with this customer: it is attached to another one."
            if customer is not None
            else f"The PaymentMethod {method} belongs to the Customer {found['customer']}. Please include the Customer "
            "in the `customer` parameter.",
            param="payment_method",
        )
    if a.store.hidden(method).get("spent"):
        raise StripeError(
            "The provided PaymentMethod was previously used with a PaymentIntent without Customer attachment, shared "
            "with a connected account without Customer attachment, or was detached from a Customer. It may not be "
            "used again. To use a PaymentMethod multiple times, you must attach it to a Customer first.",
            param="payment_method",
        )
    return found


def attach(a: Account, method: str, customer: Json) -> Json:
    """Let a customer keep a payment method. Raises StripeError for a card whose bank refuses that."""
    created = a.now(customer["id"])
    found = make(a, method, created) if test_name(method) is not None else need(a, method, status=404)
    if found["customer"] == customer["id"]:
        return found
    if found["customer"] is not None:
        raise StripeError(
            "The payment method you provided has already been attached to a customer.", code="resource_already_exists"
        )
    if a.store.hidden(found["id"]).get("spent"):
        raise StripeError(
            "This PaymentMethod was previously used without being attached to a Customer or was detached from a "
            "Customer, and may not be used again."
        )
    if found["type"] == "card":
        card = bank.card_of(a, found)
        if card.decline is not None and not card.attaches:
            a.store.remove(found)
            reason = decline(card.decline)
            raise bank.refused(reason, param=reason.param)
    found["customer"] = customer["id"]
    a.store.hidden(customer["id"]).setdefault("payment_methods", {})[found["id"]] = found
    a.emit("payment_method.attached", found)
    return found


@route("POST", "/v1/payment_methods", Create)
def create(a: Account, form: Create) -> Json:
    """A payment method of no customer yet."""
    return given(a, form, a.now())


@route("GET", "/v1/payment_methods", List)
def listed(a: Account, form: List) -> Json:
    """A customer's payment methods, newest first; without a customer, those that nobody keeps."""
    if form.customer is not None:
        living(a, form.customer, "customer")
        return _page(a, form, form.customer, "/v1/payment_methods")
    rows = [row for row in a.store.all("payment_method") if row["customer"] is None]
    return page([row for row in rows if form.type in {None, row["type"]}], form, "/v1/payment_methods")


def _page(a: Account, form: OfCustomer, customer: str, url: str) -> Json:
    rows: list[Json] = list(a.store.hidden(customer).get("payment_methods", {}).values())
    rows = [row for row in rows if form.type in {None, row["type"]}]
    return page([row for row in rows if form.allow_redisplay in {None, row["allow_redisplay"]}], form, url)


@route("GET", "/v1/customers/{id}/payment_methods", OfCustomer)
def listed_of_customer(a: Account, form: OfCustomer, id: str) -> Json:
    """A customer's payment methods, newest first."""
    living(a, id)
    return _page(a, form, id, f"/v1/customers/{id}/payment_methods")


@route("GET", "/v1/customers/{id}/payment_methods/{method}")
def retrieve_of_customer(a: Account, form: Form, id: str, method: str) -> Json:
    """One of a customer's payment methods."""
    found = need(a, method, status=404)
    if found["customer"] != id:
        raise StripeError(f"No such PaymentMethod: '{method}'", status=404, code="resource_missing")
    return found


@route("GET", "/v1/payment_methods/{id}")
def retrieve(a: Account, form: Form, id: str) -> Json:
    """A payment method."""
    return need(a, id, status=404)


@route("POST", "/v1/payment_methods/{id}", Update)
def update(a: Account, form: Update, id: str) -> Json:
    """Change what is given; a card's number stays."""
    method = need(a, id, status=404)
    if method["customer"] is None:
        raise StripeError("You must save this PaymentMethod to a customer before you can update it.")
    if form.card is not None and method["type"] == "card":
        method["card"] |= {k: v for k, v in form.card.given("exp_month", "exp_year").items() if v is not None}
    describe(method, form.billing_details)
    method |= {k: v for k, v in form.given("allow_redisplay").items() if v is not None}
    method["metadata"] = merge_metadata(method["metadata"], form.metadata)
    a.updated(method)
    return method


@route("POST", "/v1/payment_methods/{id}/attach", Attach)
def attach_route(a: Account, form: Attach, id: str) -> Json:
    """A customer keeps it from now on."""
    return attach(a, id, living(a, form.customer, "customer"))


@route("POST", "/v1/payment_methods/{id}/detach")
def detach(a: Account, form: Form, id: str) -> Json:
    """The customer keeps it no longer; it cannot be used again."""
    method = need(a, id, status=404)
    owner = method["customer"]
    if owner is None:
        raise StripeError(
            "The payment method you provided is not attached to a customer so detachment is impossible.",
            param="payment_method",
        )
    method["customer"] = None
    a.store.hidden(id)["spent"] = True
    a.store.hidden(owner)["payment_methods"].pop(id)
    a.emit("payment_method.detached", method, customer=owner)
    customer = a.store.need("customer", owner)
    if "deleted" not in customer and customer["invoice_settings"]["default_payment_method"] == id:
        customer["invoice_settings"]["default_payment_method"] = None
        a.updated(customer)
    return method


@route("POST", "/_sim/payment_methods/{id}/behave", Behave)
def behave(a: Account, form: Behave, id: str) -> Json:
    """From now on (or `since`, `until`, for so many `uses`) this card declines, asks for 3DS, or works."""
    method = need(a, id, status=404)
    since = form.since if form.since is not None else a.now(method["customer"])
    how = bank.Behaviour(form.decline_code, form.requires_action, since, form.until)
    bank.behave(a, method, how, form.uses)
    return method


@route("POST", "/_sim/payment_methods/{id}/renew")
def renew(a: Account, form: Form, id: str) -> Json:
    """The bank sent the customer a new card, and the network told Stripe: it is good for some years more."""
    method = need(a, id, status=404)
    if method["type"] != "card" or method["customer"] is None:
        raise StripeError("Only a card that a customer keeps is renewed.")
    method["card"]["exp_year"] += LIVES
    a.updated(method, "payment_method.automatically_updated")
    return method
