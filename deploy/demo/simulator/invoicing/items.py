"""Pending invoice items: what the next invoice will take along."""

from deploy.demo.simulator.account import Account
from deploy.demo.simulator.errors import Json
from deploy.demo.simulator.invoicing.lines import Draft, pricing


def make(a: Account, customer: Json, line: Draft, *, currency: str, invoice: str | None = None) -> Json:
    """Keep `line` as an item of the customer: for a draft `invoice`, else for the next one. Emits its creation."""
    subscription = line.subscription and {
        "subscription_details": {"subscription": line.subscription, "subscription_item": line.subscription_item},
        "type": "subscription_details",
    }
    item: Json = {
        "id": a.store.new_id("ii"),
        "object": "invoiceitem",
        "currency": currency,
        "customer": customer["id"],
        "customer_account": None,
        "date": a.now(customer["id"]),
        "invoice": invoice,
        "livemode": False,
        "parent": subscription or None,
        "proration": line.proration,
        "test_clock": customer["test_clock"],
        **content(a, line),
    }
    if line.proration:
        item["proration_details"] = {"discount_amounts": []}
    a.store.hidden(item["id"]).update(credited=line.credited)
    a.add(item, "customer")
    a.emit("invoiceitem.created", item)
    if customer["currency"] is None:
        customer["currency"] = currency
        a.updated(customer)
    return item


def content(a: Account, line: Draft) -> Json:
    """What of an item can change, as Stripe shows it."""
    return {
        "amount": line.amount,
        "description": line.description,
        "discountable": line.discountable,
        "discounts": list(line.discounts),
        "metadata": dict(line.metadata),
        "net_amount": None if line.discountable else line.amount,
        "period": {"end": line.period[1], "start": line.period[0]},
        "pricing": pricing(line.price, exact=not line.proration),
        "quantity": line.quantity,
        "quantity_decimal": str(line.quantity),
        "tax_rates": [a.store.need("tax_rate", rate, "tax_rates") for rate in line.tax_rates],
    }


def pending(a: Account, customer: Json, currency: str, subscription: Json | None) -> list[Json]:
    """Items of this currency that no invoice has yet, oldest first; a subscription's are for its own invoices."""
    found = [
        item
        for item in a.store.by("invoiceitem", "customer", customer["id"])
        if item["invoice"] is None and item["currency"] == currency
    ]
    wanted = {None, subscription["id"] if subscription else None}
    return [item for item in found if subscription_of(item) in wanted]


def subscription_of(item: Json) -> str | None:
    """The id of the subscription that an item belongs to."""
    return item["parent"]["subscription_details"]["subscription"] if item["parent"] else None


def line_of(a: Account, item: Json) -> Draft:
    """The line that an item becomes."""
    details: Json = item["parent"]["subscription_details"] if item["parent"] else {}
    price = item["pricing"] and a.store.get("price", item["pricing"]["price_details"]["price"])
    return Draft(
        description=item["description"],
        amount=item["amount"],
        quantity=item["quantity"],
        period=(item["period"]["start"], item["period"]["end"]),
        price=price or None,
        subscription=details.get("subscription"),
        subscription_item=details.get("subscription_item"),
        proration=item["proration"],
        invoice_item=item["id"],
        discountable=item["discountable"],
        tax_rates=tuple(rate["id"] for rate in item["tax_rates"]),
        metadata=dict(item["metadata"]),
        discounts=tuple(item["discounts"]),
        credited=a.store.hidden(item["id"]).get("credited"),
    )
