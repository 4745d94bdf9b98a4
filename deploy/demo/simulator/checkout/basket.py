"""What is in a session's basket, and what it comes to."""

from collections.abc import Sequence
from decimal import Decimal

from deploy.demo.simulator import pricing
from deploy.demo.simulator.account import Account
from deploy.demo.simulator.checkout.forms import LineItem
from deploy.demo.simulator.currencies import grain
from deploy.demo.simulator.errors import Json
from deploy.demo.simulator.invoicing.totals import Discount, Line, Rate, add_up


def line_items(
    a: Account,
    basket: Sequence[tuple[LineItem, Json]],
    coupons: Sequence[Json],
    *,
    trial: bool,
    exempt: str | None = None,
) -> list[Json]:
    """The basket with its amounts, as the page shows it; during a trial what recurs costs nothing yet."""
    found = [
        Line(
            amount=0 if trial and price["type"] == "recurring" else pricing.cost(a, price, asked.quantity),
            product=price["product"],
            rates=tuple(_rate(a.store.need("tax_rate", rate)) for rate in asked.tax_rates),
        )
        for asked, price in basket
    ]
    least = max((grain(price["currency"]) for _, price in basket), default=1)
    add_up(found, [_discount(a, coupon) for coupon in coupons], exempt, least)
    return [_shown(a, asked, price, line) for (asked, price), line in zip(basket, found, strict=True)]


def _shown(a: Account, asked: LineItem, price: Json, line: Line) -> Json:
    off = sum(amount for _, amount in line.discounts)
    tax = sum(tax.amount for tax in line.taxes)
    within = sum(tax.amount for tax in line.taxes if tax.rate.inclusive)
    return {
        "id": a.store.new_id("li"),
        "object": "item",
        "adjustable_quantity": None,
        "amount_discount": off,
        "amount_subtotal": line.amount,
        "amount_tax": tax,
        "amount_total": line.amount - off + tax - within,
        "currency": price["currency"],
        "description": a.store.need("product", price["product"])["name"],
        "metadata": dict(asked.metadata or {}),
        "price": price,
        "quantity": asked.quantity,
    }


def _rate(rate: Json) -> Rate:
    return Rate(rate["id"], Decimal(str(rate["percentage"])), rate["inclusive"])


def _discount(a: Account, coupon: Json) -> Discount:
    limits = a.store.hidden(coupon["id"]).get("applies_to")
    return Discount(
        coupon["id"],
        percent_off=None if coupon["percent_off"] is None else Decimal(str(coupon["percent_off"])),
        amount_off=coupon["amount_off"],
        products=frozenset(limits["products"]) if limits else None,
    )


def sums(rows: Sequence[Json]) -> Json:
    """A session's amounts, from its rows."""
    return {
        "amount_subtotal": sum(row["amount_subtotal"] for row in rows),
        "amount_total": sum(row["amount_total"] for row in rows),
        "total_details": {
            "amount_discount": sum(row["amount_discount"] for row in rows),
            "amount_shipping": 0,
            "amount_tax": sum(row["amount_tax"] for row in rows),
        },
    }
