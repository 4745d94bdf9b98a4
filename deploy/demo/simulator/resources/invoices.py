"""Invoices: drafted, finalized, paid, sent, voided or given up, as Stripe's API lets their owner do it."""

from collections.abc import Callable
from typing import Any, Literal

from deploy.demo.simulator.account import DAY, Account
from deploy.demo.simulator.errors import Json, StripeError
from deploy.demo.simulator.forms import Form, Integer, ListForm, Metadata, Part, Range, Text, merge_metadata
from deploy.demo.simulator.invoicing import collecting, computing, drafting, finalizing, items
from deploy.demo.simulator.invoicing.collecting import attempt, method_of, pay_out_of_band
from deploy.demo.simulator.invoicing.drafting import Proposal, draft, preview
from deploy.demo.simulator.invoicing.finalizing import finalize, mark_uncollectible, send, void
from deploy.demo.simulator.invoicing.settling import intent_of
from deploy.demo.simulator.invoicing.shape import subscription_of
from deploy.demo.simulator.registry import route
from deploy.demo.simulator.resources import customers, discounts, invoiceitems, payment_methods
from deploy.demo.simulator.resources.discounts import Asked
from deploy.demo.simulator.store import page

__all__ = ["Proposal", "attempt", "draft", "finalize", "mark_uncollectible", "preview", "proposes", "void"]

ADVANCED = 3600
"""An invoice that was finalized by hand and advances by itself is attempted within the hour."""

Method = Literal["charge_automatically", "send_invoice"]


class CustomField(Part):
    """A line of the seller's own on the paper."""

    name: str
    value: str


class Write(Form):
    """What a draft can be made of, and changed in."""

    auto_advance: bool | None = None
    collection_method: Method | None = None
    custom_fields: list[CustomField] | Text = None
    days_until_due: int | None = None
    default_payment_method: Text = None
    default_tax_rates: list[str] | Text = None
    description: Text = None
    discounts: list[Asked] | Text = None
    due_date: int | None = None
    effective_at: Integer = None
    footer: Text = None
    metadata: Metadata | None = None
    number: Text = None
    payment_settings: dict[str, Any] | None = None
    statement_descriptor: Text = None


class Create(Write):
    """https://docs.stripe.com/api/invoices/create."""

    customer: str | None = None
    currency: str | None = None
    pending_invoice_items_behavior: Literal["include", "exclude"] = "exclude"
    subscription: str | None = None


class Finalize(Form):
    """https://docs.stripe.com/api/invoices/finalize."""

    auto_advance: bool | None = None


class Pay(Form):
    """https://docs.stripe.com/api/invoices/pay."""

    forgive: bool = False
    mandate: Text = None
    off_session: bool = True
    paid_out_of_band: bool = False
    payment_method: str | None = None


class Transfer(Form):
    """What came by the bank, in minor units; without an amount, all that was due."""

    amount: int | None = None


class List(ListForm):
    """https://docs.stripe.com/api/invoices/list."""

    collection_method: Method | None = None
    customer: str | None = None
    due_date: int | Range | None = None
    status: Literal["draft", "open", "paid", "uncollectible", "void"] | None = None
    subscription: str | None = None


class PreviewItem(invoiceitems.Content):
    """An item that would come along."""

    currency: str | None = None
    price: str | None = None


class Preview(Form):
    """https://docs.stripe.com/api/invoices/create_preview."""

    currency: str | None = None
    customer: str | None = None
    discounts: list[Asked] | Text = None
    invoice_items: list[PreviewItem] | None = None
    preview_mode: Literal["next", "recurring"] = "next"
    subscription: str | None = None
    subscription_details: dict[str, Any] | None = None


Propose = Callable[[Account, Json, Preview], Proposal]
_PROPOSE: list[Propose] = []


def proposes(propose: Propose) -> Propose:
    """Let subscriptions say what a preview of a new, a changed or a running one comes to."""
    _PROPOSE.append(propose)
    return propose


@route("POST", "/v1/invoices", Create)
def create(a: Account, form: Create) -> Json:
    """A draft; without `auto_advance` it waits to be finalized."""
    subscription = None
    if form.subscription is not None:
        subscription = a.store.need("subscription", form.subscription, "subscription")
    owner = form.customer or (subscription or {}).get("customer")
    if owner is None:
        raise StripeError("You must provide a `customer` or a `subscription`.", param="customer")
    customer = customers.living(a, owner, "customer")
    currency = (form.currency or customer["currency"] or "usd").lower()
    _refuse_due(form, form.collection_method or "charge_automatically")
    _refuse(a, form, customer, currency)
    sent = form.collection_method == "send_invoice"
    now = a.now(owner)
    granted = customer["discount"]["id"] if customer["discount"] and "discounts" not in form.model_fields_set else None
    invoice = draft(
        a,
        customer,
        currency=currency,
        reason="manual",
        lines=[],
        period=(now, now),
        subscription=subscription,
        collection_method="send_invoice" if sent else "charge_automatically",
        days_until_due=form.days_until_due,
        due_date=form.due_date,
        discounts=[granted] if granted else _granted(a, form, owner),
        tax_rates=form.default_tax_rates if isinstance(form.default_tax_rates, list) else [],
        auto_advance=bool(form.auto_advance),
        default_payment_method=form.default_payment_method,
        description=form.description,
        metadata=merge_metadata({}, form.metadata),
        with_pending_items=form.pending_invoice_items_behavior == "include",
        more=_plain(form),
    )
    own: list[str] = [] if granted else invoice["discounts"]
    for id_ in own:
        a.store.need("discount", id_)["invoice"] = invoice["id"]
    return invoice


def _refuse_due(form: Write, method: str) -> None:
    dated = form.days_until_due is not None or form.due_date is not None
    if method == "send_invoice" and not dated:
        raise StripeError(
            "If invoice collection method is 'send_invoice', you must specify 'due_date' or 'days_until_due'."
        )
    if method != "send_invoice" and dated:
        raise StripeError(
            "You can only specify 'due_date' or 'days_until_due' if invoice collection method is 'send_invoice'."
        )


def _refuse(a: Account, form: Write, customer: Json, currency: str) -> None:
    if isinstance(form.discounts, list):
        discounts.refuse(a, form.discounts, customer=customer["id"], currency=currency, param="discounts")
    for rate in form.default_tax_rates if isinstance(form.default_tax_rates, list) else []:
        a.store.need("tax_rate", rate, "default_tax_rates")
    if form.default_payment_method is not None:
        payment_methods.resolve(a, form.default_payment_method, customer["id"])
    if form.due_date is not None and form.due_date <= a.now(customer["id"]):
        raise StripeError("The due date must be in the future.", param="due_date")


def _granted(a: Account, form: Write, customer: str) -> list[str]:
    return discounts.make(a, form.discounts, customer=customer) if isinstance(form.discounts, list) else []


def _plain(form: Write) -> Json:
    """What is written down as it is given."""
    plain = form.given("effective_at", "footer", "number", "statement_descriptor")
    if "custom_fields" in form.model_fields_set:
        fields = form.custom_fields
        plain["custom_fields"] = [field.model_dump() for field in fields] if isinstance(fields, list) else None
    return plain


@route("POST", "/v1/invoices/create_preview", Preview)
def create_preview(a: Account, form: Preview) -> Json:
    """What the next invoice would be; nothing is kept."""
    subscription = a.store.need("subscription", form.subscription, "subscription") if form.subscription else None
    owner = form.customer or (subscription or {}).get("customer")
    if owner is None:
        raise StripeError("You must provide at least one of: customer, subscription.", param="customer")
    customer = customers.living(a, owner, "customer")
    currency = (form.currency or customer["currency"] or "usd").lower()
    now = a.now(owner)
    proposal = Proposal(currency=currency, reason="upcoming", lines=[], period=(now, now))
    if subscription is not None or form.subscription_details is not None:
        if not _PROPOSE:
            raise StripeError("Previews of subscriptions are not offered here.", param="subscription")
        proposal = _PROPOSE[0](a, customer, form)
    for item in form.invoice_items or []:
        shaped = item.model_copy(
            update={"pricing": item.pricing or (item.price and invoiceitems.Pricing(price=item.price))}
        )
        invoiceitems.refuse(a, shaped, owner, proposal.currency, "invoice_items")
        line = invoiceitems.priced(a, shaped, None, customer=owner, currency=proposal.currency)
        proposal.lines.append(line)
    if not proposal.lines and not items.pending(a, customer, proposal.currency, subscription):
        raise StripeError("Nothing to invoice for customer", status=404, code="invoice_upcoming_none")
    shown = {name: getattr(proposal, name) for name in Proposal.__slots__}
    return {"id": f"upcoming_in_1{a.store.letters(23)}"} | preview(a, customer, **shown)


@route("GET", "/v1/invoices", List)
def listed(a: Account, form: List) -> Json:
    """Invoices, newest first."""
    rows = a.store.by("invoice", "customer", form.customer) if form.customer else a.store.all("invoice")
    wanted = form.given("collection_method", "status")
    rows = [row for row in rows if all(row[name] == value for name, value in wanted.items())]
    if form.subscription is not None:
        rows = [row for row in rows if subscription_of(row) == form.subscription]
    if isinstance(form.due_date, Range):
        rows = [row for row in rows if row["due_date"] is not None and form.due_date.holds(row["due_date"])]
    elif form.due_date is not None:
        rows = [row for row in rows if row["due_date"] == form.due_date]
    return page(rows, form, "/v1/invoices")


@route("GET", "/v1/invoices/{id}")
def retrieve(a: Account, form: Form, id: str) -> Json:
    """One invoice."""
    return a.store.need("invoice", id)


@route("POST", "/v1/invoices/{id}", Write)
def update(a: Account, form: Write, id: str) -> Json:
    """Change a draft; of a finalized invoice only the metadata, how it is collected by itself, and with what."""
    invoice = a.store.need("invoice", id)
    given = form.model_fields_set - {"expand"}
    if invoice["status"] == "draft":
        _update_draft(a, invoice, form)
    elif fixed := sorted(given - {"metadata", "auto_advance", "default_payment_method"}):
        raise StripeError("Finalized invoices can't be updated in this way", param=fixed[0])
    else:
        invoice |= form.given("default_payment_method")
        if form.auto_advance is not None and invoice["status"] == "open":
            invoice["auto_advance"] = form.auto_advance
            _advance(a, invoice)
    invoice["metadata"] = merge_metadata(invoice["metadata"], form.metadata)
    a.updated(invoice)
    return invoice


def _update_draft(a: Account, invoice: Json, form: Write) -> None:
    customer = a.store.need("customer", invoice["customer"])
    method = form.collection_method or invoice["collection_method"]
    if form.collection_method is not None or form.days_until_due is not None or form.due_date is not None:
        _refuse_due(form, method)
    _refuse(a, form, customer, invoice["currency"])
    invoice |= form.given("default_payment_method", "description", "due_date") | _plain(form)
    invoice["collection_method"] = method
    if form.days_until_due is not None:
        a.store.hidden(invoice["id"])["days_until_due"] = form.days_until_due
        invoice["due_date"] = invoice["created"] + form.days_until_due * DAY
    if "discounts" in form.model_fields_set:
        invoice["discounts"] = _granted(a, form, customer["id"])
    if "default_tax_rates" in form.model_fields_set:
        rates = form.default_tax_rates if isinstance(form.default_tax_rates, list) else []
        invoice["default_tax_rates"] = [a.store.need("tax_rate", rate) for rate in rates]
    if form.auto_advance is not None:
        invoice["auto_advance"] = form.auto_advance
    if form.auto_advance is not None or form.collection_method is not None:
        drafting.schedule(a, invoice)
    computing.compute(a, invoice)


@route("DELETE", "/v1/invoices/{id}")
def delete(a: Account, form: Form, id: str) -> Json:
    """Forget a draft, with the items on it; a subscription's stays."""
    invoice = a.store.need("invoice", id, "invoice")
    if invoice["status"] != "draft":
        raise StripeError("You can only delete draft invoices.")
    if subscription_of(invoice) is not None and invoice["billing_reason"] != "manual":
        raise StripeError("You can't delete invoices created by subscriptions.")
    a.store.remove(invoice)
    a.emit("invoice.deleted", invoice)
    return {"id": id, "object": "invoice", "deleted": True}


def _advance(a: Account, invoice: Json) -> None:
    """An open invoice that advances by itself is attempted within the hour."""
    if invoice["collection_method"] != "charge_automatically":
        return

    def first() -> None:
        if invoice["status"] == "open" and invoice["auto_advance"] and not invoice["attempted"]:
            attempt(a, invoice, scheduled=True)

    a.clock_of(invoice["customer"]).at(a.now(invoice["customer"]) + ADVANCED, first)


@route("POST", "/v1/invoices/{id}/finalize", Finalize)
def finalize_route(a: Account, form: Finalize, id: str) -> Json:
    """Number it; no attempt is made yet."""
    invoice = a.store.need("invoice", id)
    if form.auto_advance is not None and invoice["status"] == "draft":
        invoice["auto_advance"] = form.auto_advance
    finalize(a, invoice)
    if invoice["status"] == "open":
        _advance(a, invoice)
    return invoice


@route("POST", "/v1/invoices/{id}/pay", Pay)
def pay(a: Account, form: Pay, id: str) -> Json:
    """Pay now, with the method given or the default one. Raises StripeError 402 for a decline."""
    invoice = a.store.need("invoice", id)
    if invoice["status"] == "paid":
        raise StripeError("Invoice is already paid")
    if invoice["status"] == "void":
        raise StripeError("Invoices that are void cannot be paid.")
    method = form.payment_method
    if method is not None:
        method = payment_methods.resolve(a, method, invoice["customer"])["id"]
    due = invoice["amount_due"] > 0 and not form.paid_out_of_band
    if due and method is None and method_of(a, invoice) is None:
        raise StripeError(
            "There is no `default_payment_method` set on this Customer or Invoice. Please set either an appropriate "
            "Customer `invoice_settings.default_payment_method` or a `default_payment_method` on the Invoice."
        )
    if invoice["status"] == "draft":
        finalize(a, invoice, mail=False)
    if invoice["status"] == "paid":
        return invoice
    if form.paid_out_of_band:
        return pay_out_of_band(a, invoice)
    attempt(a, invoice, method=method, off_session=form.off_session)
    intent = intent_of(a, invoice)
    if intent is not None and intent["status"] in {"requires_action", "requires_payment_method"}:
        raise collecting.unpaid(intent)
    return invoice


@route("POST", "/v1/invoices/{id}/send")
def send_route(a: Account, form: Form, id: str) -> Json:
    """Mail it."""
    return send(a, a.store.need("invoice", id, "invoice"))


@route("POST", "/v1/invoices/{id}/void")
def void_route(a: Account, form: Form, id: str) -> Json:
    """It counts no more."""
    return void(a, a.store.need("invoice", id))


@route("POST", "/v1/invoices/{id}/mark_uncollectible")
def mark_uncollectible_route(a: Account, form: Form, id: str) -> Json:
    """It is given up."""
    return mark_uncollectible(a, a.store.need("invoice", id))


@route("POST", "/_sim/invoices/{id}/bank_transfer", Transfer)
def bank_transfer(a: Account, form: Transfer, id: str) -> Json:
    """The customer's bank paid an open invoice, past Stripe; its owner records that. All that is due, or nothing."""
    invoice = a.store.need("invoice", id)
    if invoice["status"] not in {"open", "uncollectible"}:
        raise StripeError(finalizing.NOT_OPEN)
    if form.amount not in {None, invoice["amount_remaining"]}:
        raise StripeError(f"The invoice has {invoice['amount_remaining']} remaining.", param="amount")
    return collecting.pay_out_of_band(a, invoice)
