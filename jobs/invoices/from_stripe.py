"""Stripe's invoice becomes a document of ours: its amounts are Stripe's own, and nothing is reckoned anew."""

from collections.abc import Sequence

from msgspec.structs import replace

from jobs.invoices.document import Amount, Document, Kind, Line, Payment, Period, Stamp
from jobs.invoices.from_stripe_parts import (
    Known,
    Taxes,
    amounts,
    buyer,
    coupon_name,
    discount_id,
    instant,
    line,
    own_discounts,
    said,
    taxes,
    taxes_in,
)
from jobs.invoices.from_stripe_words import Word
from jobs.stripe_objects import Json, Obj
from worker.errors import Refused

NET_DAYS = (15, 30, 60)
"""Terms that have a name of their own."""


def invoice_document(json: Json, known: Known, *, as_finalized: bool) -> Document:
    """The document of an invoice (https://docs.stripe.com/api/invoices/object) whose lines are complete.

    `as_finalized`: as it was when it was finalized, whatever was paid, credited or voided since; so that it is the same
    document whenever it is made. Else as it stands. Raises Refused for a draft and for incomplete lines, Malformed.
    """
    obj = Obj(json, "invoice")
    finalized, number = _finalized(obj), obj.link("number")
    if finalized is None or number is None:
        raise Refused(f"{obj.id()} is not finalized: there is no document of a draft")
    if not obj.complete("lines"):
        raise Refused(f"{obj.id()} came with the first of its lines only: ask Stripe for all")
    total, currency = obj.need("total"), (obj.text("currency") or "").lower()
    exclusive = sum(tax.minor for tax in taxes_in(obj) if not tax.inclusive)
    bears = taxes(obj, known, taxable=total - exclusive)
    off = _discounts(obj, known)
    rows = _lines(obj, known, bears)
    shipping = obj.sub("shipping_cost").number("amount_subtotal") if obj.number("amount_shipping") else 0
    document = Document(
        kind=Kind.INVOICE,
        number=number,
        currency=currency,
        locale=known.locale,
        timezone=known.timezone,
        issued_on=known.day(finalized),
        seller=known.seller,
        buyer=buyer(obj),
        lines=rows,
        subtotal_minor=obj.need("subtotal") + shipping,
        total_minor=total,
        due_minor=_due(obj),
        discount_minor=sum(one.minor for one in off),
        tax_minor=sum(tax.amount_minor for tax in bears.shown),
        discounts=off,
        taxes=bears.shown,
        credits=_balance(obj, known),
        due_on=known.day(due) if (due := obj.integer("due_date")) is not None else None,
        period=_whole_period(rows),
        terms=_terms(obj, finalized),
        pay_url=obj.link("hosted_invoice_url") if _due(obj) > 0 else None,
        **said(obj),
    )
    return document if as_finalized else _as_it_stands(document, obj, known)


def _finalized(obj: Obj) -> int | None:
    """When it was finalized, in seconds since 1970; `effective_at` is the date that the merchant wants on it."""
    moments = obj.sub("status_transitions")
    if obj.text("status") in {"draft", None}:
        return None
    return obj.integer("effective_at") or moments.integer("finalized_at") or obj.integer("created")


def _due(obj: Obj) -> int:
    """What was due when it was finalized: credit notes before the payment have lowered `amount_due` since.

    https://docs.stripe.com/api/credit_notes/create
    """
    return obj.number("amount_due") + obj.number("pre_payment_credit_notes_amount")


def _balance(obj: Obj, known: Known) -> tuple[Amount, ...]:
    """What the customer's balance paid; below zero where it is the other way round.

    https://docs.stripe.com/billing/customer/balance: a balance below zero is a credit.
    """
    total, start = obj.number("total"), obj.number("starting_balance")
    applied = total - _due(obj)
    if applied == 0:
        return ()
    if applied < 0:
        which = Word.OWED_BEFORE if total >= 0 else Word.TO_BALANCE
    else:
        which = Word.BALANCE if start < 0 else Word.CARRIED
    return (Amount(known.word(which), applied),)


def _discounts(obj: Obj, known: Known) -> tuple[Amount, ...]:
    """Discounts of the whole invoice. A line's own stand under the line: Stripe's subtotal has them off already."""
    whole = _of_invoice(obj)
    own = {name for entry in obj.each("lines") for name in own_discounts(entry, whole)}
    entries = (entry for entry in obj.each("total_discount_amounts") if discount_id(entry) not in own)
    return tuple(amount for _, amount in amounts(entries, {}, known))


def _of_invoice(obj: Obj) -> Sequence[str]:
    alone = obj.ref("discount")
    return [*obj.refs("discounts"), *([alone] if alone is not None else [])]


def _names(obj: Obj, known: Known) -> dict[str | None, str]:
    """Lines tell their discounts by id; the totals, and the invoice, may show them in whole."""
    found = {discount_id(entry): coupon_name(entry, known) for entry in obj.each("total_discount_amounts")}
    for shown in (*obj.each("discounts"), obj.sub("discount")):
        if (name := shown.ref("id")) is not None:
            found[name] = coupon_name(Obj({"discount": shown.json}, "discount"), known)
    return found


def _lines(obj: Obj, known: Known, bears: Taxes) -> tuple[Line, ...]:
    """The lines; after each, its own discounts as lines, so that all of them add up to Stripe's subtotal."""
    names, whole = _names(obj, known), _of_invoice(obj)
    found: list[Line] = []
    for entry in obj.each("lines"):
        own = own_discounts(entry, whole)
        off = list(amounts(entry.each("discount_amounts"), names, known))
        shares = tuple(amount for which, amount in off if which not in own)
        made = line(entry, known, bears=bears, discounts=shares)
        found.append(made)
        found += [
            Line(description=amount.name, amount_minor=-amount.minor, taxes=made.taxes)
            for which, amount in off
            if which in own
        ]
    if obj.number("amount_shipping"):
        cost = obj.sub("shipping_cost")
        name = cost.sub("shipping_rate").words("display_name") or known.word(Word.SHIPPING)
        found.append(Line(description=name, amount_minor=cost.number("amount_subtotal")))
    return tuple(found)


def _whole_period(rows: Sequence[Line]) -> Period | None:
    """What it is for in time: the lines tell, for an invoice's own period is the one before.

    https://docs.stripe.com/api/invoices/object#invoice_object-period_end
    """
    spans = [row.period for row in rows if row.period is not None and not row.proration]
    return Period(min(one.start for one in spans), max(one.end for one in spans)) if spans else None


def _terms(obj: Obj, finalized: int) -> str | None:
    due = obj.integer("due_date")
    if due is None:
        return None
    days = round_days(due - finalized)
    if days == 0:
        return "due_on_receipt"
    return f"net_{days}" if days in NET_DAYS else None


def round_days(seconds: int) -> int:
    """The nearest number of days: Stripe counts them from the minute in which an invoice was finalized."""
    return (seconds + 43_200) // 86_400


def _as_it_stands(document: Document, obj: Obj, known: Known) -> Document:
    """With what was credited, paid and decided since it was finalized."""
    status, remaining = obj.text("status"), obj.number("amount_remaining")
    credited = obj.number("pre_payment_credit_notes_amount")
    credits_ = document.credits
    if credited:
        credits_ = (*credits_, Amount(known.word(Word.CREDIT_NOTES), credited))
    paid = obj.number("amount_due") - remaining
    return replace(
        document,
        credits=credits_,
        payments=_payments(obj, paid) if paid else (),
        due_minor=remaining,
        pay_url=document.pay_url if status == "open" and remaining > 0 else None,
        stamp={"paid": Stamp.PAID, "void": Stamp.VOID}.get(status or ""),
    )


def _payments(obj: Obj, paid: int) -> tuple[Payment, ...]:
    """Each payment where Stripe shows all of them; else all that was paid as one, out of band or not."""
    paid_at = instant(obj.sub("status_transitions"), "paid_at") or instant(obj, "created")
    assert paid_at is not None
    shown = [
        Payment(instant(one.sub("status_transitions"), "paid_at") or paid_at, one.number("amount_paid"))
        for one in obj.each("payments")
        if one.text("status") == "paid"
    ]
    if obj.complete("payments") and sum(one.amount_minor for one in shown) == paid:
        return tuple(shown)
    return (Payment(paid_at, paid),)
