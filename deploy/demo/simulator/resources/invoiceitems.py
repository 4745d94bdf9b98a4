"""Invoice items: what a customer is charged beside a subscription, waiting for the next invoice or on a draft."""

from dataclasses import replace
from decimal import Decimal

from deploy.demo.simulator import pricing
from deploy.demo.simulator.account import Account
from deploy.demo.simulator.currencies import refuse_fraction
from deploy.demo.simulator.errors import Json, StripeError
from deploy.demo.simulator.forms import Form, ListForm, Metadata, Part, Text, merge_metadata
from deploy.demo.simulator.invoicing import drafting, items
from deploy.demo.simulator.invoicing.lines import OLDEST, Draft
from deploy.demo.simulator.registry import route
from deploy.demo.simulator.render import before_basil, render
from deploy.demo.simulator.resources import customers, discounts, prices
from deploy.demo.simulator.resources.discounts import Asked
from deploy.demo.simulator.store import page

UNSAID_OF_PRODUCT = (
    "default_price", "description", "package_dimensions", "shippable", "statement_descriptor", "tax_code",
    "tax_details", "unit_label", "url",
)  # fmt: skip
UNSAID_OF_PRICE = (
    "custom_unit_amount", "lookup_key", "nickname", "recurring", "tiers_mode", "transform_quantity",
)  # fmt: skip


class Period(Part):
    """What time an item is for, in seconds since 1970."""

    start: int
    end: int


class Pricing(Part):
    """The price that an item has."""

    price: str


class Content(Form):
    """What an item, or a line of a draft, is made of."""

    amount: int | None = None
    description: Text = None
    discountable: bool | None = None
    discounts: list[Asked] | Text = None
    metadata: Metadata | None = None
    period: Period | None = None
    price_data: prices.PriceData | None = None
    pricing: Pricing | None = None
    quantity: int | None = None
    tax_rates: list[str] | Text = None
    unit_amount_decimal: Decimal | None = None


class Create(Content):
    """https://docs.stripe.com/api/invoiceitems/create."""

    customer: str
    currency: str | None = None
    invoice: str | None = None
    subscription: str | None = None


class List(ListForm):
    """https://docs.stripe.com/api/invoiceitems/list."""

    customer: str | None = None
    invoice: str | None = None
    pending: bool | None = None


make = items.make
"""Subscriptions keep their prorations as items, too."""


@route("POST", "/v1/invoiceitems", Create)
def create(a: Account, form: Create) -> Json:
    """A new item: on the draft that is named, else pending."""
    customer = customers.living(a, form.customer, "customer")
    invoice = drafting.editable(a, form.invoice) if form.invoice is not None else None
    if form.subscription is not None:
        a.store.need("subscription", form.subscription, "subscription")
    currency = (form.currency or (invoice or customer)["currency"] or "usd").lower()
    refuse(a, form, customer["id"], currency)
    line = priced(a, form, None, customer=customer["id"], currency=currency)
    line = replace(line, subscription=form.subscription)
    item = items.make(a, customer, line, currency=currency, invoice=invoice["id"] if invoice else None)
    for id_ in line.discounts:
        a.store.need("discount", id_)["invoice_item"] = item["id"]
    if invoice is not None:
        drafting.insert(a, invoice, [item])
    return item


def refuse(a: Account, form: Content, customer: str, currency: str, param: str = "") -> None:
    """Raises StripeError where an item cannot be made of this, before anything is."""
    ways = [form.amount, form.unit_amount_decimal, form.pricing, form.price_data]
    if sum(way is not None for way in ways) > 1 or (form.amount is not None and form.quantity is not None):
        raise StripeError(
            "You may only specify one of these parameters: amount, quantity.",
            param=f"{param}[amount]" if param else "amount",
        )
    if form.amount is not None:
        refuse_fraction(form.amount, currency, f"{param}[amount]" if param else "amount")
    if isinstance(form.discounts, list):
        discounts.refuse(a, form.discounts, customer=customer, currency=currency, param="discounts")
    for rate in form.tax_rates if isinstance(form.tax_rates, list) else []:
        a.store.need("tax_rate", rate, "tax_rates")
    if form.pricing is not None:
        price = prices.usable(a, form.pricing.price, "pricing[price]", recurring=False)
        if price["currency"] != currency:
            raise StripeError(
                f"The price specified only supports `{price['currency']}`. This doesn't match the expected currency: "
                f"`{currency}`.",
                param="pricing[price]",
            )
    if form.period is not None and form.period.end < form.period.start:
        raise StripeError("The `period[end]` must not be before the `period[start]`.", param="period[end]")


def priced(a: Account, form: Content, old: Draft | None, *, customer: str, currency: str) -> Draft:
    """The line that is asked for; what is not said stays as `old` has it."""
    now = a.now(customer)
    line = old or Draft(None, 0, 1, (now, now))
    given = form.model_fields_set
    if form.quantity is not None:
        line = replace(line, quantity=form.quantity)
    price, amount = _price(a, form, line, customer=customer, currency=currency)
    period = (form.period.start, form.period.end) if form.period else line.period
    found = replace(line, price=price, amount=amount, period=period)
    if "description" in given or (old is None and price is not None and form.amount is None):
        found = replace(found, description=form.description or (None if "description" in given else _name(a, price)))
    if form.discountable is not None or old is None:
        found = replace(found, discountable=form.discountable if form.discountable is not None else amount >= 0)
    if "discounts" in given:
        wanted = form.discounts if isinstance(form.discounts, list) else []
        found = replace(found, discounts=tuple(discounts.make(a, wanted, customer=customer)))
    if "tax_rates" in given:
        found = replace(found, tax_rates=tuple(form.tax_rates if isinstance(form.tax_rates, list) else []))
    return replace(found, metadata=merge_metadata(found.metadata, form.metadata))


def _price(a: Account, form: Content, line: Draft, *, customer: str, currency: str) -> tuple[Json | None, int]:
    if form.pricing is not None or form.price_data is not None:
        price = (
            a.store.need("price", form.pricing.price, "pricing[price]")
            if form.pricing is not None
            else prices.inline(a, _checked(form.price_data), recurring=False)
        )
        return price, pricing.cost(a, price, line.quantity)
    if form.unit_amount_decimal is not None or form.amount is not None:
        unit = form.unit_amount_decimal if form.unit_amount_decimal is not None else Decimal(form.amount or 0)
        price = _one_off(a, unit, currency, form.description, a.now(customer))
        return price, pricing.cost(a, price, line.quantity)
    if line.price is not None and form.quantity is not None:
        return line.price, pricing.cost(a, line.price, line.quantity)
    return line.price, line.amount


def _checked(data: prices.PriceData | None) -> prices.PriceData:
    assert data is not None
    return data


def _name(a: Account, price: Json | None) -> str | None:
    return a.store.need("product", price["product"])["name"] if price else None


def _one_off(a: Account, unit: Decimal, currency: str, name: str | None, now: int) -> Json:
    """The price, and its product, that Stripe keeps behind an amount without a price; nobody is told of them."""
    product = a.add(
        {
            "id": a.store.new_id("prod"),
            "object": "product",
            "active": False,
            "created": now,
            "images": [],
            "livemode": False,
            "marketing_features": [],
            "metadata": {},
            "name": name or "Invoice item",
            "type": "service",
            "updated": now,
            **dict.fromkeys(UNSAID_OF_PRODUCT),
        }
    )
    amount, decimal = pricing.both(None, str(unit))
    price = a.add(
        {
            "id": a.store.new_id("price"),
            "object": "price",
            "active": False,
            "billing_scheme": "per_unit",
            "created": now,
            "currency": currency,
            "livemode": False,
            "metadata": {},
            "product": product["id"],
            "tax_behavior": "unspecified",
            "type": "one_time",
            "unit_amount": amount,
            "unit_amount_decimal": decimal,
            **dict.fromkeys(UNSAID_OF_PRICE),
        },
        "product",
    )
    a.store.hidden(price["id"]).update(tiers=[], currency_options={})
    return price


@route("GET", "/v1/invoiceitems", List)
def listed(a: Account, form: List) -> Json:
    """Items, newest first."""
    rows = a.store.by("invoiceitem", "customer", form.customer) if form.customer else a.store.all("invoiceitem")
    if form.invoice is not None:
        rows = [row for row in rows if row["invoice"] == form.invoice]
    if form.pending is not None:
        rows = [row for row in rows if (row["invoice"] is None) == form.pending]
    return page(rows, form, "/v1/invoiceitems")


@route("GET", "/v1/invoiceitems/{id}")
def retrieve(a: Account, form: Form, id: str) -> Json:
    """One item."""
    return need(a, id)


def need(a: Account, id: str) -> Json:
    """The item. Raises StripeError in the words that Stripe has for a missing one."""
    item = a.store.get("invoiceitem", id)
    if item is None:
        raise StripeError(f"No such Invoice Item: '{id}'", status=404, code="resource_missing", param="id")
    return item


@route("POST", "/v1/invoiceitems/{id}", Content)
def update(a: Account, form: Content, id: str) -> Json:
    """Change an item that is pending or on a draft."""
    item = need(a, id)
    invoice = drafting.editable(a, item["invoice"]) if item["invoice"] else None
    change(a, item, form)
    if invoice is not None:
        drafting.refresh(a, invoice, item)
    return item


def change(a: Account, item: Json, form: Content) -> None:
    """Work the item out anew, in place."""
    refuse(a, form, item["customer"], item["currency"])
    old = items.line_of(a, item)
    line = priced(a, form, old, customer=item["customer"], currency=item["currency"])
    item |= items.content(a, line)


@route("DELETE", "/v1/invoiceitems/{id}")
def delete(a: Account, form: Form, id: str) -> Json:
    """Take an item back that is pending or on a draft."""
    item = need(a, id)
    invoice = drafting.editable(a, item["invoice"]) if item["invoice"] else None
    remove(a, item)
    if invoice is not None:
        drafting.drop(a, invoice, item)
    return {"id": id, "object": "invoiceitem", "deleted": True}


def remove(a: Account, item: Json) -> None:
    """Forget the item."""
    a.store.remove(item)
    a.emit("invoiceitem.deleted", item)


@before_basil("invoiceitem")
def older(a: Account, item: Json) -> None:
    """Before basil an item showed its price and plan whole, and its subscription by itself."""
    parent: Json | None = item.pop("parent")
    details: Json = parent["subscription_details"] if parent else {}
    for name in ("customer_account", "net_amount", "proration_details", "quantity_decimal"):
        item.pop(name, None)
    shown = item.pop("pricing")
    price = a.store.get("price", shown["price_details"]["price"]) if shown else None
    plan = a.store.get("plan", price["id"]) if price else None
    item["price"] = render(a, price, OLDEST) if price else None
    item["plan"] = render(a, plan, OLDEST) if plan else None
    item["subscription"] = details.get("subscription")
    item["unit_amount"] = price["unit_amount"] if price else item["amount"]
    item["unit_amount_decimal"] = price["unit_amount_decimal"] if price else str(item["amount"])
