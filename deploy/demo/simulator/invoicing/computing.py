"""What a draft comes to is worked out from its lines, as often as they change."""

from collections.abc import Sequence
from decimal import Decimal

from deploy.demo.simulator.account import Account
from deploy.demo.simulator.currencies import grain
from deploy.demo.simulator.errors import Json
from deploy.demo.simulator.invoicing import balances
from deploy.demo.simulator.invoicing.lines import Draft, account_for, rate_of, shown, tax_shown, total_taxes
from deploy.demo.simulator.invoicing.settling import due
from deploy.demo.simulator.invoicing.totals import Discount, Line, Totals, add_up
from deploy.demo.simulator.store import listing

Lines = list[tuple[str, Draft]]
"""An invoice's lines before discounts and taxes, each with the id that it is shown under."""


def compute(a: Account, invoice: Json) -> None:
    """Work a draft out anew from its lines."""
    place(a, invoice, a.store.hidden(invoice["id"])["lines"])


def place(a: Account, invoice: Json, lines: Lines) -> None:
    """Put the lines on the invoice, with the discounts, taxes and sums that follow from them."""
    default = [rate["id"] for rate in invoice["default_tax_rates"]]
    found = [
        Line(
            amount=line.amount,
            discountable=line.discountable,
            product=line.price["product"] if line.price else None,
            own=tuple(_discounts(a, line.discounts, invoice)),
            rates=tuple(rate_of(a.store.need("tax_rate", rate)) for rate in (line.tax_rates or default)),
        )
        for _, line in lines
    ]
    exempt = {"exempt": "customer_exempt", "reverse": "reverse_charge"}.get(invoice["customer_tax_exempt"])
    totals = add_up(found, _discounts(a, invoice["discounts"], invoice), exempt, grain(invoice["currency"]))
    rows: list[Json] = []
    for (line_id, line), sums in zip(lines, found, strict=True):
        rows.append(shown(line, line_id, invoice.get("id"), invoice["currency"]))
        account_for(rows[-1], sums)
    invoice["lines"] = listing(rows, f"/v1/invoices/{invoice.get('id', 'upcoming')}/lines")
    _write(invoice, totals)
    customer = a.store.need("customer", invoice["customer"])
    invoice["starting_balance"] = customer["balance"] if balances.counts(customer, invoice["currency"]) else 0
    invoice["amount_due"] = invoice["amount_remaining"] = due(invoice)


def _write(invoice: Json, totals: Totals) -> None:
    amounts = [{"amount": amount, "discount": id_} for id_, amount in totals.discounts.items()]
    invoice |= {
        "subtotal": totals.subtotal,
        "subtotal_excluding_tax": totals.subtotal_excluding_tax,
        "total": totals.total,
        "total_excluding_tax": totals.total_excluding_tax,
        "total_discount_amounts": amounts,
        "total_pretax_credit_amounts": [amount | {"type": "discount"} for amount in amounts],
        "total_taxes": total_taxes([tax_shown(tax) for tax in totals.taxes]),
    }


def _discounts(a: Account, ids: Sequence[str], invoice: Json) -> list[Discount]:
    """Those that apply: an ended one does not, nor one for a single invoice that another invoice had."""
    found: list[Discount] = []
    for id_ in ids:
        discount = a.store.need("discount", id_, "discounts")
        coupon = a.store.need("coupon", discount["source"]["coupon"])
        ended = discount["end"] is not None and discount["end"] <= invoice["created"]
        used = coupon["duration"] == "once" and a.store.hidden(id_).get("used_by", invoice.get("id")) != invoice.get(
            "id"
        )
        foreign = coupon["amount_off"] is not None and coupon["currency"] != invoice["currency"]
        if ended or used or foreign:
            continue
        limits = coupon.get("applies_to") or a.store.hidden(coupon["id"]).get("applies_to")
        found.append(
            Discount(
                id_,
                percent_off=None if coupon["percent_off"] is None else Decimal(str(coupon["percent_off"])),
                amount_off=coupon["amount_off"],
                products=frozenset(limits["products"]) if limits else None,
            )
        )
    return found
