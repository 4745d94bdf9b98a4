"""Invoice payments: which payment intent brings an invoice's money; and how invoices of before basil told it."""

from typing import Literal

from deploy.demo.simulator.account import Account
from deploy.demo.simulator.errors import Json
from deploy.demo.simulator.forms import Form, ListForm, Part
from deploy.demo.simulator.invoicing.lines import OLDEST
from deploy.demo.simulator.invoicing.settling import intent_of
from deploy.demo.simulator.registry import route
from deploy.demo.simulator.render import before_basil, includable, render
from deploy.demo.simulator.resources.invoice_lines import older_taxes
from deploy.demo.simulator.store import page


class Payment(Part):
    """The payment that is looked for."""

    type: Literal["payment_intent", "payment_record"]
    payment_intent: str | None = None
    payment_record: str | None = None


class List(ListForm):
    """https://docs.stripe.com/api/invoice-payment/list."""

    invoice: str | None = None
    payment: Payment | None = None
    status: Literal["open", "paid", "canceled"] | None = None


@route("GET", "/v1/invoice_payments", List)
def listed(a: Account, form: List) -> Json:
    """Invoice payments, newest first."""
    rows = a.store.by("invoice_payment", "invoice", form.invoice) if form.invoice else a.store.all("invoice_payment")
    if form.payment is not None:
        intent = form.payment.payment_intent or ""
        of = a.store.hidden(intent).get("invoice") if a.store.get("payment_intent", intent) else None
        rows = [row for row in a.store.by("invoice_payment", "invoice", of) if form.invoice in {None, of}]
        rows = [row for row in rows if row["payment"].get("payment_intent") == intent]
    if form.status is not None:
        rows = [row for row in rows if row["status"] == form.status]
    return page(rows, form, "/v1/invoice_payments")


@route("GET", "/v1/invoice_payments/{id}")
def retrieve(a: Account, form: Form, id: str) -> Json:
    """One invoice payment."""
    return a.store.need("invoice_payment", id)


@includable("invoice", "payments")
def payments(a: Account, invoice: Json) -> Json:
    """An invoice shows its payments when they are asked for."""
    rows = a.store.by("invoice_payment", "invoice", invoice["id"])
    return {"object": "list", "data": rows, "has_more": False, "url": "/v1/invoices/payments"}


@includable("invoice", "confirmation_secret")
def confirmation_secret(a: Account, invoice: Json) -> Json | None:
    """With this a page can let the customer confirm the payment."""
    intent = intent_of(a, invoice)
    return {"client_secret": intent["client_secret"], "type": "payment_intent"} if intent else None


@before_basil("invoice")
def older(a: Account, invoice: Json) -> None:
    """Before basil an invoice named its subscription, its intent and its charge by itself."""
    for name in (
        "amount_overpaid",
        "amount_paid_off_stripe",
        "confirmation_secret",
        "customer_account",
        "status_details",
    ):
        invoice.pop(name, None)
    parent: Json | None = invoice.pop("parent")
    details: Json = parent["subscription_details"] if parent else {}
    taxes: list[Json] = invoice.pop("total_taxes")
    intent = intent_of(a, invoice) if "id" in invoice else None
    hidden = a.store.hidden(invoice["id"]) if "id" in invoice else {}
    discount = a.store.get("discount", next(iter(invoice["discounts"]), ""))
    invoice |= {
        "application_fee_amount": None,
        "charge": intent["latest_charge"] if intent else None,
        "discount": render(a, discount, OLDEST) if discount else None,
        "paid": invoice["status"] == "paid",
        "paid_out_of_band": hidden.get("paid_out_of_band", False),
        "payment_intent": intent["id"] if intent else None,
        "quote": None,
        "subscription": details.get("subscription"),
        "subscription_details": {"metadata": details.get("metadata")},
        "tax": sum(tax["amount"] for tax in taxes) if taxes else None,
        "total_tax_amounts": older_taxes(taxes),
        "transfer_data": None,
    }
