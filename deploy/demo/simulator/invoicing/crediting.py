"""What a credit note gives back, line by line: the same share of a line's discounts and taxes as of its amount."""

from decimal import Decimal

from deploy.demo.simulator.account import Account
from deploy.demo.simulator.amounts import share
from deploy.demo.simulator.currencies import grain, refuse_fraction
from deploy.demo.simulator.errors import Json, StripeError, missing
from deploy.demo.simulator.forms import Metadata, Part, Text
from deploy.demo.simulator.invoicing.lines import account_for, rate_of, total_taxes
from deploy.demo.simulator.invoicing.totals import Line, add_up


class Row(Part):
    """A line to credit: a part of a line of the invoice, or one of its own."""

    type: str
    amount: int | None = None
    description: str | None = None
    invoice_line_item: str | None = None
    metadata: Metadata | None = None
    quantity: int | None = None
    tax_rates: list[str] | Text = None
    unit_amount: int | None = None
    unit_amount_decimal: Decimal | None = None


def rows(a: Account, invoice: Json, wanted: list[Row]) -> list[Json]:
    """The credit note's lines. Raises StripeError for a line that the invoice has not, or has not left."""
    return [
        _invoiced(a, invoice, row, place)
        if row.type == "invoice_line_item"
        else _custom(a, row, place, invoice["currency"])
        for place, row in enumerate(wanted)
    ]


def whole(a: Account, amount: int, currency: str) -> list[Json]:
    """The line of a credit note that names only an amount."""
    refuse_fraction(amount, currency)
    return [_custom(a, Row(type="custom_line_item", amount=amount, quantity=None), 0, currency)]


def _blank(a: Account, row: Row, amount: int) -> Json:
    return {
        "id": a.store.new_id("cnli"),
        "object": "credit_note_line_item",
        "amount": amount,
        "description": row.description,
        "discount_amount": 0,
        "discount_amounts": [],
        "livemode": False,
        "metadata": dict(row.metadata or {}),
        "pretax_credit_amounts": [],
        "quantity": row.quantity,
        "tax_rates": [],
        "taxes": [],
        "type": row.type,
        "unit_amount": None,
        "unit_amount_decimal": None,
    }


def _custom(a: Account, row: Row, place: int, currency: str) -> Json:
    unit = row.unit_amount_decimal if row.unit_amount_decimal is not None else row.unit_amount
    quantity = 1 if row.quantity is None else row.quantity
    if (unit is None) == (row.amount is None) or row.invoice_line_item is not None or row.type != "custom_line_item":
        raise StripeError("A custom line needs a `unit_amount` and a `quantity`.", param=f"lines[{place}]")
    amount = int(Decimal(unit) * quantity) if unit is not None else row.amount or 0
    refuse_fraction(amount, currency, f"lines[{place}]")
    line = _blank(a, row, amount)
    line["quantity"] = quantity
    line["unit_amount"] = row.unit_amount if unit is not None else amount
    line["unit_amount_decimal"] = str(unit if unit is not None else amount)
    rates = [a.store.need("tax_rate", id_, "tax_rates") for id_ in (row.tax_rates or [])]
    line["tax_rates"] = rates
    sums = Line(amount=amount, rates=tuple(rate_of(rate) for rate in rates))
    add_up([sums], [], None, grain(currency))
    account_for(line, sums)
    return line


def _invoiced(a: Account, invoice: Json, row: Row, place: int) -> Json:
    found = next((line for line in invoice["lines"]["data"] if line["id"] == row.invoice_line_item), None)
    if found is None:
        raise missing("line_item", row.invoice_line_item or "", f"lines[{place}][invoice_line_item]")
    if (row.amount is None) == (row.quantity is None):
        raise StripeError("You must pass exactly one of `amount` and `quantity`.", param=f"lines[{place}]")
    least = grain(invoice["currency"])
    share_of = share(found["amount"], row.quantity or 0, found["quantity"], least) if row.amount is None else 0
    amount = share_of if row.amount is None else row.amount
    refuse_fraction(amount, invoice["currency"], f"lines[{place}][amount]")
    before = a.store.hidden(found["id"]).get("credited", 0)
    if amount <= 0 or before + amount > found["amount"]:
        raise StripeError(
            f"The line has {found['amount'] - before} left to credit.", param=f"lines[{place}][amount]"
        )  # fmt: skip

    def part(of: int) -> int:
        # By the difference of two shares, so that notes over the whole line give back the whole of it.
        return share(of, before + amount, found["amount"], least) - share(of, before, found["amount"], least)

    line = _blank(a, row, amount)
    line["description"] = row.description or found["description"]
    line["invoice_line_item"] = found["id"]
    line["discount_amounts"] = [dis | {"amount": part(dis["amount"])} for dis in found["discount_amounts"]]
    line["pretax_credit_amounts"] = [dis | {"type": "discount"} for dis in line["discount_amounts"]]
    line["discount_amount"] = sum(dis["amount"] for dis in line["discount_amounts"])
    line["taxes"] = [
        tax | {"amount": part(tax["amount"]), "taxable_amount": part(tax["taxable_amount"])} for tax in found["taxes"]
    ]
    line["tax_rates"] = [a.store.need("tax_rate", tax["tax_rate_details"]["tax_rate"]) for tax in found["taxes"]]
    return line


def credited(a: Account, lines: list[Json], sign: int) -> None:
    """Remember what of the invoice's lines was credited, or (`sign` -1) is not any more."""
    for line in lines:
        if (source := line.get("invoice_line_item")) is not None:
            hidden = a.store.hidden(source)
            hidden["credited"] = hidden.get("credited", 0) + sign * line["amount"]


def sums(lines: list[Json]) -> Json:
    """A credit note's sums over its lines, by Stripe's names."""
    taxes: list[Json] = [tax for line in lines for tax in line["taxes"]]
    inclusive = sum(tax["amount"] for tax in taxes if tax["tax_behavior"] == "inclusive")
    exclusive = sum(tax["amount"] for tax in taxes if tax["tax_behavior"] == "exclusive")
    subtotal = sum(line["amount"] for line in lines)
    discount = sum(line["discount_amount"] for line in lines)
    by_discount: dict[str, int] = {}
    for line in lines:
        for dis in line["discount_amounts"]:
            by_discount[dis["discount"]] = by_discount.get(dis["discount"], 0) + dis["amount"]
    amounts = [{"amount": amount, "discount": id_} for id_, amount in by_discount.items()]
    total = subtotal - discount + exclusive
    return {
        "amount": total,
        "discount_amount": discount,
        "discount_amounts": amounts,
        "pretax_credit_amounts": [amount | {"type": "discount"} for amount in amounts],
        "subtotal": subtotal,
        "subtotal_excluding_tax": subtotal - inclusive,
        "total": total,
        "total_excluding_tax": total - exclusive - inclusive,
        "total_taxes": total_taxes(taxes),
    }
