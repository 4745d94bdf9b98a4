"""Credit notes: an invoice that was finalized comes to less, and what was paid too much goes back."""

from collections.abc import Sequence
from typing import Literal

from deploy.demo.simulator.account import Account
from deploy.demo.simulator.currencies import MINIMUM, refuse_fraction
from deploy.demo.simulator.errors import Json, StripeError
from deploy.demo.simulator.forms import Form, ListForm, Metadata, Part, Text, merge_metadata
from deploy.demo.simulator.invoicing import balances, crediting, finalizing
from deploy.demo.simulator.invoicing.settling import intent_of, payment_of, settle
from deploy.demo.simulator.registry import route
from deploy.demo.simulator.render import before_basil
from deploy.demo.simulator.resources import refunds
from deploy.demo.simulator.resources.customers import living
from deploy.demo.simulator.resources.invoice_lines import older_taxes
from deploy.demo.simulator.store import page


class Refund(Part):
    """A refund that was made before, and how much of it is this note's."""

    refund: str
    amount_refunded: int | None = None
    type: Literal["refund"] = "refund"


class Preview(Form):
    """https://docs.stripe.com/api/credit_notes/preview."""

    invoice: str
    amount: int | None = None
    credit_amount: int = 0
    effective_at: int | None = None
    email_type: Literal["credit_note", "none"] = "credit_note"
    lines: list[crediting.Row] | None = None
    memo: Text = None
    metadata: Metadata | None = None
    out_of_band_amount: int = 0
    reason: Literal["duplicate", "fraudulent", "order_change", "product_unsatisfactory"] | None = None
    refund_amount: int = 0
    refunds: list[Refund] | None = None


class PreviewLines(Preview, ListForm):
    """https://docs.stripe.com/api/credit_notes/preview_lines."""


class Update(Form):
    """https://docs.stripe.com/api/credit_notes/update."""

    memo: Text = None
    metadata: Metadata | None = None


class List(ListForm):
    """https://docs.stripe.com/api/credit_notes/list."""

    customer: str | None = None
    invoice: str | None = None


@route("POST", "/v1/credit_notes", Preview)
def create(a: Account, form: Preview) -> Json:
    """First what is still to be paid comes to less; what was paid goes back as the form says."""
    note = _build(a, form)
    invoice = a.store.need("invoice", form.invoice)
    if form.refund_amount:
        refund = refunds.create(a, _charge(a, invoice), form.refund_amount, reason=None, metadata={})
        note["refunds"].append(_refunded(refund["id"], form.refund_amount))
    a.add(note, "customer", "invoice")
    crediting.credited(a, note["lines"]["data"], 1)
    for row in note["refunds"]:
        spent = a.store.hidden(row["refund"])
        spent["credited"] = spent.get("credited", 0) + row["amount_refunded"]
    if form.credit_amount:
        note["customer_balance_transaction"] = balances.adjust(
            a,
            a.store.need("customer", invoice["customer"]),
            -form.credit_amount,
            type_="credit_note",
            currency=invoice["currency"],
            invoice=invoice["id"],
            credit_note=note["id"],
        )["id"]
    a.emit("credit_note.created", note)
    _reduce(a, invoice, note, 1)
    return note


def _build(a: Account, form: Preview) -> Json:
    """The note before anything is done. Raises StripeError where its sums do not fit the invoice."""
    invoice = a.store.need("invoice", form.invoice, "invoice")
    if invoice["status"] not in {"open", "paid", "uncollectible"}:
        raise StripeError("You can only create credit notes for finalized invoices.", param="invoice")
    if (form.amount is None) == (form.lines is None):
        raise StripeError("You must pass exactly one of `amount` and `lines`.", param="amount")
    lines = (
        crediting.rows(a, invoice, form.lines)
        if form.lines is not None
        else crediting.whole(a, form.amount or 0, invoice["currency"])
    )
    sums = crediting.sums(lines)
    earlier = a.store.by("credit_note", "invoice", invoice["id"])
    left = invoice["total"] - sum(note["total"] for note in earlier if note["status"] == "issued")
    if not 0 < sums["total"] <= left:
        raise StripeError(
            f"The credit note amount ({sums['total']}) must be positive and at most what the invoice has left to "
            f"credit ({left}).",
            param="amount",
        )
    pre = min(sums["total"], invoice["amount_remaining"]) if invoice["status"] != "paid" else 0
    if pre and finalizing.processing(a, invoice):
        raise StripeError("This invoice has a payment that is still processing and cannot be reduced.", param="invoice")
    given = _given(a, invoice, form.refunds or [])
    _fits(a, invoice, form, sums["total"] - pre, given)
    return _shape(a, invoice, form, lines) | sums | _split(sums["total"], pre) | {"refunds": given}


def _fits(a: Account, invoice: Json, form: Preview, post: int, given: Sequence[Json]) -> None:
    """Refund, credit and the rest must be what was paid too much. Raises StripeError."""
    back = form.refund_amount + form.credit_amount + form.out_of_band_amount
    back += sum(row["amount_refunded"] for row in given)
    for name in ("refund_amount", "credit_amount", "out_of_band_amount"):
        refuse_fraction(getattr(form, name), invoice["currency"], name)
    if back != post:
        raise StripeError(
            f"The sum of credit amount, refund amount and out of band amount ({back}) must equal the credit note's "
            f"post payment amount ({post}).",
            param="refund_amount",
        )
    if form.credit_amount:
        balances.refuse(living(a, invoice["customer"], "credit_amount"), invoice["currency"], "credit_amount")
    if form.refund_amount:
        charge = _charge(a, invoice)
        if form.refund_amount > charge["amount_captured"] - charge["amount_refunded"]:
            raise StripeError("The refund amount is greater than what is left of the charge.", param="refund_amount")


def _charge(a: Account, invoice: Json) -> Json:
    intent = intent_of(a, invoice)
    charge = a.store.get("charge", (intent or {}).get("latest_charge") or "")
    if charge is None or not charge["paid"]:
        raise StripeError("This invoice has no payment that can be refunded.", param="refund_amount")
    return charge


def _given(a: Account, invoice: Json, wanted: Sequence[Refund]) -> list[Json]:
    found: list[Json] = []
    for place, row in enumerate(wanted):
        param = f"refunds[{place}][refund]"
        refund = a.store.need("refund", row.refund, param)
        amount = refund["amount"] if row.amount_refunded is None else row.amount_refunded
        if refund["charge"] != _charge(a, invoice)["id"]:
            raise StripeError(f"The refund {row.refund} is not of this invoice's payment.", param=param)
        if amount > refund["amount"] - a.store.hidden(row.refund).get("credited", 0):
            raise StripeError(f"The refund {row.refund} has less left than {amount}.", param=param)
        found.append(_refunded(row.refund, amount))
    return found


def _refunded(refund: str, amount: int) -> Json:
    return {"amount_refunded": amount, "payment_record_refund": None, "refund": refund, "type": "refund"}


def _split(total: int, pre: int) -> Json:
    kind = "post_payment" if not pre else "pre_payment" if pre == total else "mixed"
    return {"pre_payment_amount": pre, "post_payment_amount": total - pre, "type": kind}


def _shape(a: Account, invoice: Json, form: Preview, lines: list[Json]) -> Json:
    now = a.now(invoice["customer"])
    id_ = a.store.new_id("cn")
    turn = len(a.store.by("credit_note", "invoice", invoice["id"])) + 1
    url = f"/v1/credit_notes/{id_}/lines"
    return {
        "id": id_,
        "object": "credit_note",
        "amount_shipping": 0,
        "created": now,
        "currency": invoice["currency"],
        "customer": invoice["customer"],
        "customer_account": None,
        "customer_balance_transaction": None,
        "effective_at": form.effective_at or now,
        "invoice": invoice["id"],
        "lines": {"object": "list", "data": lines, "has_more": False, "url": url},
        "livemode": False,
        "memo": form.memo,
        "metadata": merge_metadata({}, form.metadata),
        "number": f"{invoice['number']}-CN-{turn:02d}",
        "out_of_band_amount": form.out_of_band_amount or None,
        "pdf": f"https://pay.stripe.com/credit_notes/acct_simulated/test_{a.store.letters(40)}/pdf?s=ap",
        "reason": form.reason,
        "shipping_cost": None,
        "status": "issued",
        "voided_at": None,
    }


def _reduce(a: Account, invoice: Json, note: Json, sign: int) -> None:
    """The invoice comes to less by the note, or (`sign` -1) to as much as before; with nothing left it is paid."""
    pre, post = sign * note["pre_payment_amount"], sign * note["post_payment_amount"]
    invoice["pre_payment_credit_notes_amount"] += pre
    invoice["post_payment_credit_notes_amount"] += post
    if pre:
        invoice["amount_due"] -= pre
        invoice["amount_remaining"] -= pre
        _carry(a, invoice)
        payment, intent = payment_of(a, invoice), intent_of(a, invoice)
        if payment is not None and intent is not None and payment["status"] == "open" and invoice["amount_remaining"]:
            payment["amount_requested"] = intent["amount"] = invoice["amount_remaining"]
    if pre > 0 and invoice["amount_remaining"] == 0:
        finalizing.withdraw(a, invoice, "void_invoice")
        settle(a, invoice, "credit_note")
    else:
        a.updated(invoice)


def _carry(a: Account, invoice: Json) -> None:
    """What a note leaves of an open invoice and is too little to charge goes to the balance, and is due no more.

    Stripe says so of every invoice, though of none that was finalized before in particular: "If the amount due for the
    invoice is less than Stripe's minimum allowed charge per currency, the invoice is automatically marked paid, and we
    add the amount due to the customer's credit balance": https://docs.stripe.com/api/invoices.
    """
    rest, customer = invoice["amount_remaining"], a.store.need("customer", invoice["customer"])
    least = MINIMUM.get(invoice["currency"], 1)
    if invoice["status"] != "open" or "deleted" in customer or not 0 < rest < least:
        return
    invoice["amount_due"] = invoice["amount_remaining"] = 0
    if balances.counts(customer, invoice["currency"]):
        invoice["ending_balance"] += rest
        currency, id_ = invoice["currency"], invoice["id"]
        balances.adjust(a, customer, rest, type_="invoice_too_small", currency=currency, invoice=id_)


@route("GET", "/v1/credit_notes/preview", Preview)
def preview(a: Account, form: Preview) -> Json:
    """What `create` would make."""
    return _build(a, form)


@route("GET", "/v1/credit_notes/preview/lines", PreviewLines)
def preview_lines(a: Account, form: PreviewLines) -> Json:
    """The lines that `create` would make."""
    return page(_build(a, form)["lines"]["data"], form, "/v1/credit_notes/preview/lines", newest_first=False)


@route("GET", "/v1/credit_notes", List)
def listed(a: Account, form: List) -> Json:
    """Credit notes, newest first."""
    rows = a.store.by("credit_note", "invoice", form.invoice) if form.invoice else a.store.all("credit_note")
    return page([row for row in rows if form.customer in {None, row["customer"]}], form, "/v1/credit_notes")


@route("GET", "/v1/credit_notes/{id}")
def retrieve(a: Account, form: Form, id: str) -> Json:
    """One credit note."""
    return a.store.need("credit_note", id)


@route("GET", "/v1/credit_notes/{id}/lines", ListForm)
def lines(a: Account, form: ListForm, id: str) -> Json:
    """Its lines."""
    rows = a.store.need("credit_note", id)["lines"]["data"]
    return page(rows, form, f"/v1/credit_notes/{id}/lines", newest_first=False)


@route("POST", "/v1/credit_notes/{id}", Update)
def update(a: Account, form: Update, id: str) -> Json:
    """Change its words; the amounts stay."""
    note = a.store.need("credit_note", id)
    note |= form.given("memo")
    note["metadata"] = merge_metadata(note["metadata"], form.metadata)
    a.updated(note)
    return note


@route("POST", "/v1/credit_notes/{id}/void")
def void(a: Account, form: Form, id: str) -> Json:
    """Take it back while its invoice is open; what was given back stays given."""
    note = a.store.need("credit_note", id)
    invoice = a.store.need("invoice", note["invoice"])
    if note["status"] == "void":
        raise StripeError("This credit note has already been voided.")
    if note["type"] != "pre_payment" or invoice["status"] != "open":
        raise StripeError("You can only void a credit note whose invoice is open and that gave nothing back.")
    note["status"] = "void"
    note["voided_at"] = a.now(invoice["customer"])
    crediting.credited(a, note["lines"]["data"], -1)
    a.emit("credit_note.voided", note)
    _reduce(a, invoice, note, -1)
    return note


@before_basil("credit_note")
def older(a: Account, note: Json) -> None:
    """Before basil a credit note named one refund."""
    note.pop("customer_account")
    returned: list[Json] = note.pop("refunds")
    note["refund"] = returned[0]["refund"] if returned else None
    note["tax_amounts"] = older_taxes(note.pop("total_taxes"))


@before_basil("credit_note_line_item")
def older_line(a: Account, line: Json) -> None:
    """Before basil a line's taxes were its `tax_amounts`."""
    taxes: list[Json] = line.pop("taxes")
    line.pop("metadata")
    inclusive = sum(tax["amount"] for tax in taxes if tax["tax_behavior"] == "inclusive")
    line["amount_excluding_tax"] = line["amount"] - inclusive
    line["tax_amounts"] = older_taxes(taxes)
    line["unit_amount_excluding_tax"] = line["unit_amount_decimal"]
