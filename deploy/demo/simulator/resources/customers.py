"""Customers: who they are, their tax numbers, and the balance that the next invoice uses up."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator

from deploy.demo.simulator.account import Account
from deploy.demo.simulator.currencies import refuse_fraction
from deploy.demo.simulator.errors import Json, StripeError
from deploy.demo.simulator.forms import Form, ListForm, Metadata, Part, Text, merge_metadata
from deploy.demo.simulator.invoicing import balances
from deploy.demo.simulator.registry import route
from deploy.demo.simulator.render import includable
from deploy.demo.simulator.store import page


def _unset(value: Any) -> Any:
    return None if value == "" else value


class Address(Part):
    """A postal address; `country` is ISO 3166's two letters."""

    city: Text = None
    country: Text = None
    line1: Text = None
    line2: Text = None
    postal_code: Text = None
    state: Text = None


class InvoiceSettings(Part):
    """What invoices of a customer use."""

    default_payment_method: Text = None
    footer: Text = None


class Write(Form):
    """What a customer can be made of, and changed in."""

    name: Text = None
    email: Text = None
    phone: Text = None
    description: Text = None
    address: Annotated[Address | None, BeforeValidator(_unset)] = None
    preferred_locales: list[str] | None = None
    invoice_prefix: str | None = None
    tax_exempt: Literal["none", "exempt", "reverse"] | None = None
    invoice_settings: InvoiceSettings | None = None
    metadata: Metadata | None = None
    balance: int | None = None


class Create(Write):
    """https://docs.stripe.com/api/customers/create."""

    payment_method: str | None = None
    test_clock: str | None = None


class List(ListForm):
    """https://docs.stripe.com/api/customers/list."""

    email: str | None = None


def create(a: Account, form: Create) -> Json:
    """A new customer, living by the account's clock or by a test clock."""
    if form.test_clock is not None:
        a.store.need("test_helpers.test_clock", form.test_clock, "test_clock")
    id_ = a.store.new_id("cus")
    customer = a.add(
        {
            "id": id_,
            "object": "customer",
            "address": None,
            "balance": 0,
            "created": a.clocks[form.test_clock].now if form.test_clock else a.now(),
            "currency": None,
            "customer_account": None,
            "default_source": None,
            "delinquent": False,
            "description": None,
            "discount": None,
            "email": None,
            "invoice_prefix": a.store.letters(8).upper(),
            "invoice_settings": {
                "custom_fields": None,
                "default_payment_method": None,
                "footer": None,
                "rendering_options": None,
            },
            "livemode": False,
            "metadata": {},
            "name": None,
            "next_invoice_sequence": 1,
            "phone": None,
            "preferred_locales": [],
            "shipping": None,
            "tax_exempt": "none",
            "test_clock": form.test_clock,
        }
    )
    _write(a, customer, form)
    a.emit("customer.created", customer)
    _balance(a, customer, form.balance, "initial")
    return customer


def _write(a: Account, customer: Json, form: Write) -> None:
    customer |= form.given("name", "email", "phone", "description", "preferred_locales", "invoice_prefix", "tax_exempt")
    if "address" in form.model_fields_set:
        customer["address"] = form.address.model_dump() if form.address else None
    if form.invoice_settings is not None:
        method = form.invoice_settings.default_payment_method
        if method is not None:
            param = "invoice_settings[default_payment_method]"
            if a.store.need("payment_method", method, param)["customer"] != customer["id"]:
                raise StripeError(
                    f"The customer does not have a payment method with the ID {method}. The payment method must be "
                    "attached to the customer.",
                    code="resource_missing",
                    param=param,
                )
        customer["invoice_settings"] |= form.invoice_settings.given("default_payment_method", "footer")
    customer["metadata"] = merge_metadata(customer["metadata"], form.metadata)


def _balance(a: Account, customer: Json, balance: int | None, type_: str) -> None:
    """A balance that is set is reached by a transaction."""
    if balance is not None and balance != customer["balance"]:
        currency = customer["currency"] or "usd"
        balances.adjust(a, customer, balance - customer["balance"], type_=type_, currency=currency)


@route("GET", "/v1/customers", List)
def listed(a: Account, form: List) -> Json:
    """Customers, newest first; deleted ones are gone from the list."""
    rows = [row for row in a.store.all("customer") if "deleted" not in row]
    if form.email is not None:
        rows = [row for row in rows if row["email"] == form.email]
    return page(rows, form, "/v1/customers")


@route("GET", "/v1/customers/{id}")
def retrieve(a: Account, form: Form, id: str) -> Json:
    """A customer; a deleted one shows only that it was."""
    return a.store.need("customer", id)


@route("POST", "/v1/customers/{id}", Write)
def update(a: Account, form: Write, id: str) -> Json:
    """Change what is given."""
    customer = living(a, id)
    if form.balance is not None:
        refuse_fraction(form.balance, customer["currency"] or "usd", "balance")
    _write(a, customer, form)
    _balance(a, customer, form.balance, "adjustment")
    a.updated(customer)
    return customer


def living(a: Account, id: str, param: str = "id") -> Json:
    """The customer, unless it was deleted. Raises StripeError `resource_missing`."""
    customer = a.store.need("customer", id, param)
    if "deleted" in customer:
        raise StripeError(f"No such customer: '{id}'", status=404, code="resource_missing", param=param)
    return customer


@includable("customer", "tax")
def tax(a: Account, customer: Json) -> Json:
    """How Stripe Tax would see the customer; this account does not use it."""
    return {"automatic_tax": "unrecognized_location", "ip_address": None, "location": None, "provider": "stripe"}


@includable("customer", "invoice_credit_balance")
def invoice_credit_balance(a: Account, customer: Json) -> Json:
    """The balance by currency."""
    return {customer["currency"]: customer["balance"]} if customer["balance"] and customer["currency"] else {}
