"""What stands on an invoice: one line for each thing that a customer owes, or gets back."""

from dataclasses import dataclass, field
from decimal import Decimal

from deploy.demo.simulator.errors import Json
from deploy.demo.simulator.invoicing.totals import Line, Rate, Tax

OLDEST = "2020-08-27"
"""A version before basil, for showing objects inside older objects."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A line before discounts and taxes. `amount` is in minor units, `period` in seconds."""

    description: str | None
    amount: int
    quantity: int
    period: tuple[int, int]
    price: Json | None = None
    subscription: str | None = None
    subscription_item: str | None = None
    proration: bool = False
    invoice_item: str | None = None
    discountable: bool = True
    tax_rates: tuple[str, ...] = ()
    metadata: dict[str, str] = field(default_factory=dict[str, str])
    discounts: tuple[str, ...] = ()
    """Discounts of this line alone; those of the invoice come on top."""

    credited: tuple[str, tuple[str, ...]] | None = None
    """The invoice, and its lines, that a proration gives back."""


def shown(line: Draft, line_id: str, invoice: str | None, currency: str) -> Json:
    """The line as Stripe shows it; discounts and taxes are filled in by `account_for`."""
    return {
        "id": line_id,
        "object": "line_item",
        "amount": line.amount,
        "currency": currency,
        "description": line.description,
        "discount_amounts": [],
        "discountable": line.discountable,
        "discounts": list(line.discounts),
        "invoice": invoice,
        "livemode": False,
        "metadata": dict(line.metadata),
        "parent": _parent(line),
        "period": {"end": line.period[1], "start": line.period[0]},
        "pretax_credit_amounts": [],
        "pricing": _pricing(line),
        "quantity": line.quantity,
        "quantity_decimal": str(line.quantity),
        "subtotal": line.amount,
        "taxes": [],
    }


def _pricing(line: Draft) -> Json | None:
    shown = pricing(line.price, exact=not line.proration)
    free = line.amount == 0 and line.quantity and not line.proration
    return shown | {"unit_amount_decimal": "0"} if shown and free else shown  # a trial's line shows what it costs


def pricing(price: Json | None, *, exact: bool = True) -> Json | None:
    """Which price a line or an item has; prorations show no unit amount, as theirs is no price's."""
    if price is None:
        return None
    return {
        "price_details": {"price": price["id"], "product": price["product"]},
        "type": "price_details",
        "unit_amount_decimal": price["unit_amount_decimal"] if exact else None,
    }


def _parent(line: Draft) -> Json:
    credited = (
        {"invoice": line.credited[0], "invoice_line_items": list(line.credited[1])} if line.credited else None
    )  # fmt: skip
    details: Json = {
        "invoice_item": line.invoice_item,
        "proration": line.proration,
        "proration_details": {"credited_items": credited},
        "subscription": line.subscription,
    }
    if line.subscription_item is None:
        return {"invoice_item_details": details, "subscription_item_details": None, "type": "invoice_item_details"}
    details["subscription_item"] = line.subscription_item
    return {"invoice_item_details": None, "subscription_item_details": details, "type": "subscription_item_details"}


def account_for(shown_line: Json, line: Line) -> None:
    """Write what the arithmetic found for a line into the line as it is shown."""
    amounts = [{"amount": amount, "discount": discount} for discount, amount in line.discounts]
    shown_line["discount_amounts"] = amounts
    shown_line["pretax_credit_amounts"] = [amount | {"type": "discount"} for amount in amounts]
    shown_line["taxes"] = [tax_shown(tax) for tax in line.taxes]


def tax_shown(tax: Tax) -> Json:
    """A tax of a line, or of a whole invoice, as Stripe shows it."""
    return {
        "amount": tax.amount,
        "tax_behavior": "inclusive" if tax.rate.inclusive else "exclusive",
        "tax_rate_details": {"tax_rate": tax.rate.id},
        "taxability_reason": tax.reason,
        "taxable_amount": tax.taxable,
        "type": "tax_rate_details",
    }


def rate_of(rate: Json) -> Rate:
    """A tax rate, for the arithmetic."""
    return Rate(rate["id"], Decimal(str(rate["percentage"])), rate["inclusive"])


def total_taxes(taxes: list[Json]) -> list[Json]:
    """The taxes of several lines as one for each rate."""
    found: dict[str, Json] = {}
    for tax in taxes:
        rate = tax["tax_rate_details"]["tax_rate"]
        so_far = found.get(rate, {"amount": 0, "taxable_amount": 0})
        sums = {name: so_far[name] + tax[name] for name in ("amount", "taxable_amount")}
        found[rate] = tax | sums
    return list(found.values())
