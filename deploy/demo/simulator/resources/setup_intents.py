"""Setup intents: a customer saves a payment method for later, without paying now."""

from typing import Any, Literal

from deploy.demo.simulator import bank
from deploy.demo.simulator.account import Account
from deploy.demo.simulator.attempts import AUTHENTICATION_FAILED, next_action, unexpected
from deploy.demo.simulator.cards import Decline
from deploy.demo.simulator.errors import Json, StripeError
from deploy.demo.simulator.forms import Form, ListForm, Metadata, Text, merge_metadata
from deploy.demo.simulator.instruments import Data, given
from deploy.demo.simulator.registry import route
from deploy.demo.simulator.resources import payment_methods
from deploy.demo.simulator.resources.customers import living
from deploy.demo.simulator.resources.payment_intents import Automatic, Outcome, Retrieve
from deploy.demo.simulator.store import page

OPTIONS: dict[str, Json] = {
    "card": {"mandate_options": None, "network": None, "request_three_d_secure": "automatic"},
    "us_bank_account": {"mandate_options": {}, "verification_method": "automatic"},
    "sepa_debit": {"mandate_options": {}},
}
ALL = ["card", "link", "us_bank_account", "sepa_debit"]


class Write(Form):
    """What a setup intent can be made of, and changed in."""

    customer: str | None = None
    description: Text = None
    metadata: Metadata | None = None
    payment_method: str | None = None
    payment_method_data: Data | None = None
    payment_method_options: dict[str, Any] | None = None
    payment_method_types: list[str] | None = None


class Create(Write):
    """https://docs.stripe.com/api/setup_intents/create."""

    automatic_payment_methods: Automatic | None = None
    confirm: bool = False
    mandate_data: dict[str, Any] | None = None
    return_url: str | None = None
    usage: Literal["off_session", "on_session"] = "off_session"


class Confirm(Form):
    """https://docs.stripe.com/api/setup_intents/confirm."""

    mandate_data: dict[str, Any] | None = None
    payment_method: str | None = None
    payment_method_data: Data | None = None
    payment_method_options: dict[str, Any] | None = None
    return_url: str | None = None


class Cancel(Form):
    """https://docs.stripe.com/api/setup_intents/cancel."""

    cancellation_reason: Literal["abandoned", "duplicate", "requested_by_customer"] | None = None


class List(ListForm):
    """https://docs.stripe.com/api/setup_intents/list."""

    customer: str | None = None
    payment_method: str | None = None


@route("POST", "/v1/setup_intents", Create)
def create(a: Account, form: Create) -> Json:
    """A new intent to save a payment method; with `confirm` it is tried at once."""
    customer = living(a, form.customer, "customer")["id"] if form.customer is not None else None
    method = _method(a, form, customer)
    if form.confirm and method is None:
        raise StripeError(
            "You cannot confirm this SetupIntent because it's missing a payment method.",
            code="parameter_missing",
            param="payment_method",
        )
    types, offered = form.payment_method_types or ALL, form.automatic_payment_methods or Automatic(enabled=True)
    id_ = a.store.new_id("seti")
    intent = a.add(
        {
            "id": id_,
            "object": "setup_intent",
            "application": None,
            "automatic_payment_methods": None
            if form.payment_method_types is not None
            else {"allow_redirects": offered.allow_redirects, "enabled": offered.enabled},
            "cancellation_reason": None,
            "client_secret": f"{id_}_secret_{a.store.letters(31)}",
            "created": a.now(customer),
            "customer": customer,
            "customer_account": None,
            "description": form.description,
            "excluded_payment_method_types": None,
            "flow_directions": None,
            "last_setup_error": None,
            "latest_attempt": None,
            "livemode": False,
            "mandate": None,
            "metadata": merge_metadata({}, form.metadata),
            "next_action": None,
            "on_behalf_of": None,
            "payment_method": method["id"] if method is not None else None,
            "payment_method_configuration_details": None,
            "payment_method_options": {kind: dict(OPTIONS[kind]) for kind in types if kind in OPTIONS},
            "payment_method_types": types,
            "single_use_mandate": None,
            "status": "requires_confirmation" if method is not None else "requires_payment_method",
            "usage": form.usage,
        }
    )
    a.emit("setup_intent.created", intent)
    return _confirm(a, intent, method, form.return_url) if form.confirm and method is not None else intent


def _method(a: Account, form: Write | Confirm, customer: str | None) -> Json | None:
    if form.payment_method_data is not None:
        return given(a, form.payment_method_data, a.now(customer))
    return payment_methods.resolve(a, form.payment_method, customer) if form.payment_method is not None else None


def _confirm(a: Account, intent: Json, method: Json, return_url: str | None) -> Json:
    """Ask the bank. Raises StripeError for a decline, which stays on the intent."""
    intent["payment_method"] = method["id"]
    answer = bank.ask_setup(a, method) if method["type"] == "card" else bank.YES
    if answer.challenge:
        intent |= {"status": "requires_action", "next_action": next_action(a, return_url)}
        a.emit("setup_intent.requires_action", intent)
        return intent
    if answer.decline is not None:
        _refuse(a, intent, method, answer.decline)
        raise bank.refused(answer.decline, setup_intent=dict(intent), payment_method=dict(method))
    return _succeed(a, intent, method)


def _refuse(a: Account, intent: Json, method: Json, reason: Decline) -> None:
    error = bank.refused(reason).body | {"payment_method": method | {"metadata": dict(method["metadata"])}}
    if reason is SETUP_FAILED:
        error["type"] = "invalid_request_error"
    intent |= {
        "status": "requires_payment_method",
        "payment_method": None,
        "next_action": None,
        "last_setup_error": error,
    }
    a.emit("setup_intent.setup_failed", intent)


SETUP_FAILED = Decline(
    "setup_intent_authentication_failure",
    AUTHENTICATION_FAILED.message.replace("PaymentIntent", "SetupIntent"),
    advice=None,
)


def _succeed(a: Account, intent: Json, method: Json) -> Json:
    """The payment method is kept; off-session charges of it will not ask again."""
    if intent["customer"] is not None:
        payment_methods.attach(a, method["id"], a.store.need("customer", intent["customer"]))
    a.store.hidden(method["id"])["set_up"] = intent["usage"] == "off_session"
    intent |= {"status": "succeeded", "next_action": None, "last_setup_error": None}
    a.emit("setup_intent.succeeded", intent)
    return intent


@route("GET", "/v1/setup_intents", List)
def listed(a: Account, form: List) -> Json:
    """Setup intents, newest first."""
    rows = [row for row in a.store.all("setup_intent") if form.customer in {None, row["customer"]}]
    rows = [row for row in rows if form.payment_method in {None, row["payment_method"]}]
    return page(rows, form, "/v1/setup_intents")


def _need(a: Account, id: str) -> Json:
    found = a.store.get("setup_intent", id)
    if found is None:
        raise StripeError(f"No such setupintent: '{id}'", status=404, code="resource_missing", param="intent")
    return found


@route("GET", "/v1/setup_intents/{id}", Retrieve)
def retrieve(a: Account, form: Retrieve, id: str) -> Json:
    """A setup intent."""
    return _need(a, id)


@route("POST", "/v1/setup_intents/{id}", Write)
def update(a: Account, form: Write, id: str) -> Json:
    """Change what is given, until it is done."""
    intent = _need(a, id)
    if intent["status"] in {"succeeded", "canceled"}:
        raise unexpected(intent, f"This SetupIntent could not be updated: it has a status of {intent['status']}.")
    customer = intent["customer"] or form.customer
    if customer is not None:
        living(a, customer, "customer")
    method = _method(a, form, customer)
    intent |= form.given("description") | {"customer": customer}
    intent["metadata"] = merge_metadata(intent["metadata"], form.metadata)
    if method is not None:
        intent |= {"payment_method": method["id"], "status": "requires_confirmation"}
    return intent


@route("POST", "/v1/setup_intents/{id}/confirm", Confirm)
def confirm(a: Account, form: Confirm, id: str) -> Json:
    """Try to save the payment method. A decline is the answer 402, and stays on the intent."""
    intent = _need(a, id)
    if intent["status"] in {"succeeded", "canceled"}:
        raise unexpected(intent, f"You cannot confirm this SetupIntent because it has a status of {intent['status']}.")
    method = _method(a, form, intent["customer"])
    if method is None and intent["payment_method"] is not None:
        method = payment_methods.need(a, intent["payment_method"])
    if method is None:
        raise unexpected(intent, "You cannot confirm this SetupIntent because it's missing a payment method.")
    return _confirm(a, intent, method, form.return_url)


@route("POST", "/v1/setup_intents/{id}/cancel", Cancel)
def cancel(a: Account, form: Cancel, id: str) -> Json:
    """Nothing will be saved."""
    intent = _need(a, id)
    if intent["status"] in {"succeeded", "canceled"}:
        raise unexpected(intent, f"You cannot cancel this SetupIntent because it has a status of {intent['status']}.")
    intent |= {"status": "canceled", "cancellation_reason": form.cancellation_reason, "next_action": None}
    a.emit("setup_intent.canceled", intent)
    return intent


def authenticate(a: Account, intent: Json, *, succeeds: bool) -> Json:
    """The customer answers 3D Secure. Raises StripeError when nothing was asked."""
    if intent["status"] != "requires_action":
        raise unexpected(intent, f"This SetupIntent has a status of {intent['status']}: nothing is to authenticate.")
    method = a.store.need("payment_method", intent["payment_method"])
    if succeeds:
        return _succeed(a, intent, method)
    _refuse(a, intent, method, SETUP_FAILED)
    return intent


@route("POST", "/_sim/setup_intents/{id}/authenticate", Outcome)
def authenticate_route(a: Account, form: Outcome, id: str) -> Json:
    """The customer answers 3D Secure."""
    return authenticate(a, _need(a, id), succeeds=form.outcome == "succeed")
