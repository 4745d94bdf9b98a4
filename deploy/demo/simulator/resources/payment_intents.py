"""Payment intents: money that is to be paid once, over as many attempts as it takes."""

from typing import Any, Literal

from deploy.demo.simulator import currencies
from deploy.demo.simulator.account import Account
from deploy.demo.simulator.attempts import attempt, authenticate, cancel, capture, unexpected
from deploy.demo.simulator.errors import Json, StripeError
from deploy.demo.simulator.forms import Form, ListForm, Metadata, Part, Text, merge_metadata
from deploy.demo.simulator.instruments import Shipping
from deploy.demo.simulator.intents import automatic, blank
from deploy.demo.simulator.registry import route
from deploy.demo.simulator.render import before_basil
from deploy.demo.simulator.resources import payment_methods
from deploy.demo.simulator.resources.customers import living
from deploy.demo.simulator.store import page

DESCRIPTIONS = {"subscription_create": "Subscription creation", "manual": "Payment for Invoice"}

Usage = Literal["off_session", "on_session"]
CaptureMethod = Literal["automatic", "automatic_async", "manual"]
Reason = Literal["abandoned", "duplicate", "fraudulent", "requested_by_customer"]


class Automatic(Part):
    """Which payment methods are offered: all that the account has."""

    enabled: bool
    allow_redirects: Literal["always", "never"] = "always"


class Write(Form):
    """What an intent can be made of, and changed in."""

    customer: str | None = None
    description: Text = None
    metadata: Metadata | None = None
    payment_method: Text = None
    payment_method_data: payment_methods.Data | None = None
    payment_method_options: dict[str, Any] | None = None
    payment_method_types: list[str] | None = None
    receipt_email: Text = None
    setup_future_usage: Usage | None = None
    shipping: Shipping | None = None
    statement_descriptor: Text = None
    statement_descriptor_suffix: Text = None
    transfer_group: Text = None
    capture_method: CaptureMethod | None = None


class Confirming(Form):
    """What goes with a confirmation, wherever it is made."""

    error_on_requires_action: bool = False
    mandate_data: dict[str, Any] | None = None
    off_session: bool | Literal["one_off", "recurring"] = False
    return_url: str | None = None
    use_stripe_sdk: bool = False


class Create(Write, Confirming):
    """https://docs.stripe.com/api/payment_intents/create."""

    amount: int
    currency: str
    automatic_payment_methods: Automatic | None = None
    confirm: bool = False
    confirmation_method: Literal["automatic", "manual"] = "automatic"
    excluded_payment_method_types: list[str] | None = None


class Update(Write):
    """https://docs.stripe.com/api/payment_intents/update."""

    amount: int | None = None
    currency: str | None = None


class Confirm(Confirming):
    """https://docs.stripe.com/api/payment_intents/confirm."""

    payment_method: str | None = None
    payment_method_data: payment_methods.Data | None = None
    payment_method_options: dict[str, Any] | None = None
    payment_method_types: list[str] | None = None
    receipt_email: Text = None
    setup_future_usage: Usage | None = None
    shipping: Shipping | None = None
    capture_method: CaptureMethod | None = None


class Capture(Form):
    """https://docs.stripe.com/api/payment_intents/capture."""

    amount_to_capture: int | None = None
    metadata: Metadata | None = None
    statement_descriptor: Text = None
    statement_descriptor_suffix: Text = None


class CaptureCharge(Form):
    """https://docs.stripe.com/api/charges/capture."""

    amount: int | None = None


class Cancel(Form):
    """https://docs.stripe.com/api/payment_intents/cancel."""

    cancellation_reason: Reason | None = None


class List(ListForm):
    """https://docs.stripe.com/api/payment_intents/list."""

    customer: str | None = None


class Retrieve(Form):
    """https://docs.stripe.com/api/payment_intents/retrieve."""

    client_secret: str | None = None


class Outcome(Form):
    """What the customer does on the bank's page."""

    outcome: Literal["succeed", "fail"] = "succeed"


def for_invoice(a: Account, invoice: Json) -> Json:
    """An invoice's intent over what is due. No attempt is made."""
    least = currencies.grain(invoice["currency"])
    assert invoice["amount_due"] % least == 0, f"{invoice['amount_due']} {invoice['currency']} cannot be charged"
    types = automatic(invoice["currency"])
    intent = blank(a, invoice["amount_due"], invoice["currency"], invoice["customer"], types)
    reason = invoice.get("billing_reason") or "manual"
    intent |= {
        "capture_method": "automatic",
        "description": DESCRIPTIONS.get(reason, "Subscription update"),
        "payment_details": {"customer_reference": None, "order_reference": invoice["id"]},
        "setup_future_usage": "off_session" if reason in {"subscription_create", "subscription_update"} else None,
    }
    a.store.hidden(intent["id"])["invoice"] = invoice["id"]
    a.add(intent, "customer")
    a.emit("payment_intent.created", intent)
    return intent


@route("POST", "/v1/payment_intents", Create)
def create(a: Account, form: Create) -> Json:
    """A new intent; with `confirm` the first attempt is made at once."""
    currency = form.currency.lower()
    currencies.refuse(form.amount, currency)
    customer = living(a, form.customer, "customer")["id"] if form.customer is not None else None
    types = form.payment_method_types or automatic(currency)
    method = _method(a, form, customer)
    if form.confirm and method is None:
        raise StripeError(_missing_method(customer), code="parameter_missing", param="payment_method")
    _fits(method, types)
    intent = blank(a, form.amount, currency, customer, types)
    if form.payment_method_types is None:
        offered = form.automatic_payment_methods or Automatic(enabled=True)
        intent["automatic_payment_methods"] = {"allow_redirects": offered.allow_redirects, "enabled": offered.enabled}
        intent["payment_method_configuration_details"] = {"id": f"pmc_1{a.store.letters(23)}", "parent": None}
    intent["confirmation_method"] = form.confirmation_method
    intent["excluded_payment_method_types"] = form.excluded_payment_method_types
    _write(intent, form)
    if method is not None:
        intent |= {"payment_method": method["id"], "status": "requires_confirmation"}
    a.add(intent, "customer")
    a.emit("payment_intent.created", intent)
    return _confirm(a, intent, form, method) if form.confirm and method is not None else intent


def _missing_method(customer: str | None) -> str:
    return "You cannot confirm this PaymentIntent because it's missing a payment method. " + (
        f"To confirm the PaymentIntent with {customer}, specify a payment method attached to this customer along with "
        "the customer ID."
        if customer is not None
        else "You can either update the PaymentIntent with a payment method and then confirm it again, or confirm it "
        "again directly with a payment method or ConfirmationToken."
    )


def _method(a: Account, form: Write | Confirm, customer: str | None) -> Json | None:
    if form.payment_method_data is not None:
        return payment_methods.given(a, form.payment_method_data, a.now(customer))
    return payment_methods.resolve(a, form.payment_method, customer) if form.payment_method is not None else None


def _fits(method: Json | None, types: list[str]) -> None:
    if method is not None and method["type"] not in types:
        raise StripeError(
            f"The PaymentMethod provided ({method['type']}) is not allowed for this PaymentIntent. Please attach a "
            f"PaymentMethod of one of the following types: {', '.join(types)}.",
            code="payment_intent_incompatible_payment_method",
            param="payment_method",
        )


def _write(intent: Json, form: Write | Confirm) -> None:
    intent |= form.given(
        "description",
        "receipt_email",
        "statement_descriptor",
        "statement_descriptor_suffix",
        "transfer_group",
    )
    for name in ("setup_future_usage", "capture_method"):
        if (value := getattr(form, name)) is not None:
            intent[name] = value
    if form.shipping is not None:
        intent["shipping"] = form.shipping.model_dump()
    if isinstance(form, Write):
        intent["metadata"] = merge_metadata(intent["metadata"], form.metadata)


def _confirm(a: Account, intent: Json, form: Confirming, method: Json) -> Json:
    """One attempt for a person or a program that waits for its outcome. Raises StripeError for a decline."""
    a.store.hidden(intent["id"])["return_url"] = form.return_url
    attempt(a, intent, method["id"], off_session=bool(form.off_session))
    if intent["status"] == "requires_action" and form.error_on_requires_action:
        intent |= {"status": "requires_payment_method", "next_action": None, "payment_method": None}
        raise StripeError(
            "This payment required an authentication action to complete, but `error_on_requires_action` was set. When "
            "you're ready to upgrade your integration to handle actions, see "
            "https://stripe.com/docs/payments/handling-required-actions.",
            status=402,
            kind="card_error",
            code="authentication_required",
            decline_code="authentication_not_handled",
            payment_intent=dict(intent),
        )
    if intent["status"] == "requires_payment_method" and (error := intent["last_payment_error"]) is not None:
        words: Json = {k: v for k, v in error.items() if k not in {"message", "code", "type", "doc_url"}}
        raise StripeError(
            error["message"],
            status=402,
            kind=error["type"],
            code=error["code"],
            payment_intent=dict(intent),
            **words,
        )
    return intent


@route("GET", "/v1/payment_intents", List)
def listed(a: Account, form: List) -> Json:
    """Intents, newest first."""
    by_customer = form.customer is not None
    rows = a.store.by("payment_intent", "customer", form.customer) if by_customer else a.store.all("payment_intent")
    return page(rows, form, "/v1/payment_intents")


@route("GET", "/v1/payment_intents/{id}", Retrieve)
def retrieve(a: Account, form: Retrieve, id: str) -> Json:
    """An intent."""
    return _need(a, id)


def _need(a: Account, id: str) -> Json:
    found = a.store.get("payment_intent", id)
    if found is None:
        raise StripeError(f"No such payment_intent: '{id}'", status=404, code="resource_missing", param="intent")
    return found


@route("POST", "/v1/payment_intents/{id}", Update)
def update(a: Account, form: Update, id: str) -> Json:
    """Change what is given, until it is paid or canceled. Stripe tells of it by no event."""
    intent = _need(a, id)
    if intent["status"] in {"succeeded", "canceled", "processing", "requires_capture"} and form.model_fields_set - {
        "metadata",
        "description",
        "expand",
    }:
        raise unexpected(
            intent, f"This PaymentIntent could not be updated because it has a status of {intent['status']}."
        )
    if form.customer is not None:
        living(a, form.customer, "customer")
        if intent["customer"] not in {None, form.customer}:
            raise StripeError(
                "You cannot modify `customer` on a PaymentIntent once it already has been set.", param="customer"
            )
    amount, currency = form.amount or intent["amount"], (form.currency or intent["currency"]).lower()
    if form.amount is not None or form.currency is not None:
        currencies.refuse(amount, currency)
    method = _method(a, form, form.customer or intent["customer"])
    _fits(method, form.payment_method_types or intent["payment_method_types"])
    intent |= {"amount": amount, "currency": currency, "customer": form.customer or intent["customer"]}
    a.add(intent, "customer")
    if form.payment_method_types is not None:
        intent["payment_method_types"] = form.payment_method_types
    if method is not None:
        intent |= {"payment_method": method["id"], "status": "requires_confirmation"}
    _write(intent, form)
    return intent


@route("POST", "/v1/payment_intents/{id}/confirm", Confirm)
def confirm(a: Account, form: Confirm, id: str) -> Json:
    """One attempt. A decline is the answer 402, and stays on the intent."""
    intent = _need(a, id)
    if intent["status"] in {"succeeded", "canceled", "processing", "requires_capture"}:
        why = "it has already succeeded after being previously confirmed"
        if intent["status"] != "succeeded":
            why = f"it has a status of {intent['status']}"
        raise unexpected(intent, f"You cannot confirm this PaymentIntent because {why}.")
    method = _method(a, form, intent["customer"])
    if method is None and intent["payment_method"] is not None:
        method = payment_methods.need(a, intent["payment_method"])
    if method is None:
        raise unexpected(intent, _missing_method(intent["customer"]))
    _fits(method, intent["payment_method_types"])
    _write(intent, form)
    return _confirm(a, intent, form, method)


@route("POST", "/v1/payment_intents/{id}/capture", Capture)
def capture_route(a: Account, form: Capture, id: str) -> Json:
    """Take the money that is held."""
    intent = capture(a, _need(a, id), form.amount_to_capture)
    intent["metadata"] = merge_metadata(intent["metadata"], form.metadata)
    return intent


@route("POST", "/v1/charges/{id}/capture", CaptureCharge)
def capture_charge(a: Account, form: CaptureCharge, id: str) -> Json:
    """Take the money that is held, by the charge."""
    charge = a.store.need("charge", id)
    if charge["captured"]:
        raise StripeError(f"Charge {id} has already been captured.", code="charge_already_captured")
    capture(a, a.store.need("payment_intent", charge["payment_intent"]), form.amount)
    return charge


@route("POST", "/v1/payment_intents/{id}/cancel", Cancel)
def cancel_route(a: Account, form: Cancel, id: str) -> Json:
    """No more attempts."""
    return cancel(a, _need(a, id), form.cancellation_reason)


@route("POST", "/_sim/payment_intents/{id}/authenticate", Outcome)
def authenticate_route(a: Account, form: Outcome, id: str) -> Json:
    """The customer answers 3D Secure."""
    return authenticate(a, _need(a, id), form.outcome == "succeed")


@before_basil("payment_intent")
def older(a: Account, intent: Json) -> None:
    """Before basil an intent named its invoice."""
    intent["invoice"] = a.store.hidden(intent["id"]).get("invoice")
