"""An invoice's lines: listed, and on a draft added, changed and taken off."""

from typing import Literal

from deploy.demo.simulator.account import Account
from deploy.demo.simulator.errors import Json, StripeError, missing
from deploy.demo.simulator.forms import Form, ListForm, Metadata, Part, merge_metadata
from deploy.demo.simulator.invoicing import drafting, items
from deploy.demo.simulator.invoicing.lines import OLDEST, Draft
from deploy.demo.simulator.registry import route
from deploy.demo.simulator.render import before_basil, render
from deploy.demo.simulator.resources import invoiceitems
from deploy.demo.simulator.store import page

__all__ = ["Draft"]


class Added(invoiceitems.Content):
    """A line to add: a new item, or one that is pending."""

    invoice_item: str | None = None


class AddLines(Form):
    """https://docs.stripe.com/api/invoices/bulk."""

    lines: list[Added]
    invoice_metadata: Metadata | None = None


class Changed(invoiceitems.Content):
    """A line to change."""

    id: str


class UpdateLines(Form):
    """https://docs.stripe.com/api/invoices/bulk."""

    lines: list[Changed]
    invoice_metadata: Metadata | None = None


class Removed(Part):
    """A line to take off: its item is deleted, or pending again."""

    id: str
    behavior: Literal["delete", "unassign"]


class RemoveLines(Form):
    """https://docs.stripe.com/api/invoices/bulk."""

    lines: list[Removed]
    invoice_metadata: Metadata | None = None


@route("GET", "/v1/invoices/{id}/lines", ListForm)
def listed(a: Account, form: ListForm, id: str) -> Json:
    """An invoice's lines, as they stand on it."""
    rows = a.store.need("invoice", id, "invoice")["lines"]["data"]
    return page(rows, form, f"/v1/invoices/{id}/lines", newest_first=False)


@route("POST", "/v1/invoices/{id}/add_lines", AddLines)
def add(a: Account, form: AddLines, id: str) -> Json:
    """Put lines on a draft, newest first; behind each stands an item."""
    invoice = drafting.editable(a, id)
    customer = a.store.need("customer", invoice["customer"])
    for place, row in enumerate(form.lines):
        if row.invoice_item is not None:
            _free(a, row.invoice_item)
        invoiceitems.refuse(a, row, customer["id"], invoice["currency"], f"lines[{place}]")
    for row in form.lines:
        if row.invoice_item is not None:
            item = invoiceitems.need(a, row.invoice_item)
            invoiceitems.change(a, item, row)
            item["invoice"] = id
        else:
            line = invoiceitems.priced(a, row, None, customer=customer["id"], currency=invoice["currency"])
            item = items.make(a, customer, line, currency=invoice["currency"], invoice=id)
        drafting.insert(a, invoice, [item])
    _tag(a, invoice, form.invoice_metadata)
    return invoice


def _free(a: Account, id: str) -> None:
    if invoiceitems.need(a, id)["invoice"] is not None:
        raise StripeError(f"The invoice item {id} is already on an invoice.", param="lines[invoice_item]")


def _tag(a: Account, invoice: Json, metadata: dict[str, str] | None) -> None:
    invoice["metadata"] = merge_metadata(invoice["metadata"], metadata)
    a.updated(invoice)


@route("POST", "/v1/invoices/{id}/update_lines", UpdateLines)
def update_many(a: Account, form: UpdateLines, id: str) -> Json:
    """Change lines of a draft."""
    invoice = drafting.editable(a, id)
    found = [_item_of(a, invoice, row.id) for row in form.lines]
    for item, row in zip(found, form.lines, strict=True):
        invoiceitems.change(a, item, row)
        drafting.refresh(a, invoice, item)
    _tag(a, invoice, form.invoice_metadata)
    return invoice


@route("POST", "/v1/invoices/{id}/lines/{line}", invoiceitems.Content)
def update_one(a: Account, form: invoiceitems.Content, id: str, line: str) -> Json:
    """Change one line of a draft; the answer is the line."""
    invoice = drafting.editable(a, id)
    item = _item_of(a, invoice, line)
    invoiceitems.change(a, item, form)
    drafting.refresh(a, invoice, item)
    return _line(invoice, line)


@route("POST", "/v1/invoices/{id}/remove_lines", RemoveLines)
def remove_many(a: Account, form: RemoveLines, id: str) -> Json:
    """Take lines off a draft."""
    invoice = drafting.editable(a, id)
    found = [_item_of(a, invoice, row.id) for row in form.lines]
    for item, row in zip(found, form.lines, strict=True):
        if row.behavior == "delete":
            invoiceitems.remove(a, item)
        else:
            item["invoice"] = None
        drafting.drop(a, invoice, item)
    _tag(a, invoice, form.invoice_metadata)
    return invoice


def _line(invoice: Json, id: str) -> Json:
    found = next((line for line in invoice["lines"]["data"] if line["id"] == id), None)
    if found is None:
        raise missing("line_item", id, "id")
    return found


def _item_of(a: Account, invoice: Json, line: str) -> Json:
    parent = _line(invoice, line)["parent"]
    item = (parent["invoice_item_details"] or parent["subscription_item_details"])["invoice_item"]
    if item is None:
        raise StripeError("Lines of a subscription cannot be changed on its invoice.", param="lines")
    return invoiceitems.need(a, item)


@before_basil("line_item")
def older(a: Account, line: Json) -> None:
    """Before basil a line showed its price and plan whole, and where it came from by itself."""
    parent, shown = line.pop("parent"), line.pop("pricing")
    details = parent["invoice_item_details"] or parent["subscription_item_details"]
    price = a.store.get("price", shown["price_details"]["price"]) if shown else None
    plan = a.store.get("plan", price["id"]) if price else None
    bare = line["amount"] - sum(tax["amount"] for tax in line["taxes"] if tax["tax_behavior"] == "inclusive")
    for name in ("quantity_decimal", "subtotal"):
        line.pop(name)
    line |= {
        "amount_excluding_tax": bare,
        "plan": render(a, plan, OLDEST) if plan else None,
        "price": render(a, price, OLDEST) if price else None,
        "proration": details["proration"],
        "proration_details": details["proration_details"],
        "subscription": details["subscription"],
        "tax_amounts": older_taxes(line.pop("taxes")),
        "tax_rates": [],
        "type": "invoiceitem" if details["invoice_item"] else "subscription",
        "unit_amount_excluding_tax": str(bare // line["quantity"]) if line["quantity"] else None,
    }
    if details["invoice_item"]:
        line["invoice_item"] = details["invoice_item"]
    if details.get("subscription_item"):
        line["subscription_item"] = details["subscription_item"]


def older_taxes(taxes: list[Json]) -> list[Json]:
    """`tax_amounts`, as they were before basil."""
    return [
        {
            "amount": tax["amount"],
            "inclusive": tax["tax_behavior"] == "inclusive",
            "tax_rate": tax["tax_rate_details"]["tax_rate"],
            "taxability_reason": tax["taxability_reason"],
            "taxable_amount": tax["taxable_amount"],
        }
        for tax in taxes
    ]
