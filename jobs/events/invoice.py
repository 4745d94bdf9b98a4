"""An invoice changed at Stripe: our copy follows, with Stripe's own amounts and dates."""

from collections.abc import Iterator

from db.ledger import Fact, Row
from jobs.events.discount import discount_facts
from jobs.rules import versions
from jobs.stripe_objects import Obj, StripeEvent, handles, snapshot, stub

STATUSES = frozenset(versions.INVOICE)


@handles(
    "invoice.created",
    "invoice.updated",
    "invoice.finalized",
    "invoice.finalization_failed",
    "invoice.sent",
    "invoice.paid",
    "invoice.payment_succeeded",
    "invoice.payment_failed",
    "invoice.payment_action_required",
    "invoice.payment_attempt_required",
    "invoice.overdue",
    "invoice.will_be_due",
    "invoice.overpaid",
    "invoice.marked_uncollectible",
    "invoice.voided",
    "invoice.deleted",
)
def invoice(event: StripeEvent) -> Iterator[Fact]:
    """The invoice follows. Old shapes also say by which payment it is paid; that becomes a link of its own."""
    obj = event.object
    if (owner := obj.ref("customer")) is not None:
        yield stub(event, "users", (owner,))
    if obj.flag("deleted"):
        yield stub(event, "invoices", (obj.id(),), deleted_at=event.at)
        return
    status = obj.text("status") or ("paid" if obj.flag("paid") else "draft")
    values: Row = {
        "stripe_customer_id": owner,
        "stripe_subscription_id": subscription_of(obj),
        "stripe_number": obj.text("number"),
        "status": status if status in STATUSES else None,
        **_amounts(obj),
        **_times(obj),
        **_details(obj),
    }
    yield snapshot(
        event,
        "invoices",
        (obj.id(),),
        values,
        final=status in versions.FINAL["invoice"],
        state=versions.INVOICE.get(status, versions.UNKNOWN),
        sums=_sums(obj),
        sticky=_told_once(event, obj),
    )
    yield from _payments(event, obj)
    yield from discount_facts(event, obj.sub("discount"), stripe_customer_id=owner)
    for discount in obj.each("discounts"):
        yield from discount_facts(event, discount, stripe_customer_id=owner)


def _sums(obj: Obj) -> tuple[int, ...]:
    """What only grows: money, attempts; and, within a second, Stripe begins to collect and then gives up, not back."""
    return (
        obj.number("amount_paid"),
        obj.number("post_payment_credit_notes_amount"),
        obj.number("attempt_count"),
        int(bool(obj.flag("attempted"))),
        int(obj.flag("auto_advance") is False),
    )


def subscription_of(obj: Obj) -> str | None:
    """The subscription that an invoice is for: https://docs.stripe.com/changelog/basil (`parent`)."""
    return obj.ref("subscription") or obj.sub("parent").sub("subscription_details").ref("subscription")


def _sum(obj: Obj, field: str) -> int:
    return sum(entry.number("amount") for entry in obj.each(field))


def tax_cents(obj: Obj) -> int:
    """All taxes, inclusive ones too: `tax` before basil, the sum of `total_taxes` since, `tax_amounts` on old notes."""
    if "tax" in obj:
        return obj.number("tax")
    fields = ("total_taxes", "taxes", "total_tax_amounts", "tax_amounts")
    return next((_sum(obj, field) for field in fields if field in obj), 0)


def _amounts(obj: Obj) -> Row:
    return {
        "currency": obj.text("currency"),
        "subtotal_cents": obj.number("subtotal"),
        "tax_cents": tax_cents(obj),
        "discount_cents": _sum(obj, "total_discount_amounts"),
        "total_cents": obj.number("total"),
        "amount_due_cents": obj.number("amount_due"),
        "amount_paid_cents": obj.number("amount_paid"),
        "amount_remaining_cents": obj.number("amount_remaining"),
        "starting_balance_cents": obj.integer("starting_balance"),
        "ending_balance_cents": obj.integer("ending_balance"),
        "pre_payment_credit_cents": obj.integer("pre_payment_credit_notes_amount"),
        "post_payment_credit_cents": obj.integer("post_payment_credit_notes_amount"),
    }


def _times(obj: Obj) -> Row:
    moments = obj.sub("status_transitions")
    return {
        "billing_period_start": obj.time("period_start"),
        "billing_period_end": obj.time("period_end"),
        "due_date": obj.time("due_date"),
        "finalized_at": moments.time("finalized_at"),
        "paid_at": moments.time("paid_at"),
        "voided_at": moments.time("voided_at"),
        "marked_uncollectible_at": moments.time("marked_uncollectible_at"),
        "next_payment_attempt": obj.time("next_payment_attempt"),
        "stripe_created_at": obj.time("created"),
    }


def _details(obj: Obj) -> Row:
    error = obj.sub("last_finalization_error")
    return {
        "billing_reason": obj.text("billing_reason"),
        "collection_method": obj.text("collection_method") or obj.text("billing"),
        "attempt_count": obj.integer("attempt_count"),
        "attempted": obj.flag("attempted"),
        "auto_advance": obj.flag("auto_advance"),
        "finalization_error": error.words("message") or error.text("code") or error.text("type"),
        "customer_email": obj.words("customer_email"),
        "customer_name": obj.words("customer_name"),
        "line_items": lines(obj),
        "line_items_complete": obj.complete("lines"),
        "discount_ids": _discount_ids(obj),
        "description": obj.words("description"),
        "hosted_invoice_url": obj.link("hosted_invoice_url"),
        "invoice_pdf_url": obj.link("invoice_pdf"),
        "metadata": obj.metadata(),
    }


def _discount_ids(obj: Obj) -> list[str]:
    """What the totals name is the same in all shapes; `discounts` may be there by id only."""
    named = [entry.ref("discount") for entry in obj.each("total_discount_amounts")]
    found = [*named, *obj.refs("discounts"), obj.ref("discount")]
    return sorted({name for name in found if name is not None})


def lines(obj: Obj) -> list[Row]:
    """The lines, in one shape: https://docs.stripe.com/changelog/basil moved price, proration and subscription item."""
    found: list[Row] = []
    for line in obj.each("lines"):
        parent = line.sub("parent")
        details = parent.sub("subscription_item_details")
        if not details.json:
            details = parent.sub("invoice_item_details")
        price = line.sub("pricing").sub("price_details").ref("price") or line.ref("price") or line.ref("plan")
        period = line.sub("period")
        found.append(
            {
                "id": line.ref("id"),
                "description": line.words("description"),
                "amount_cents": line.number("amount"),
                "currency": line.text("currency"),
                "quantity": line.integer("quantity"),
                "price": price,
                "period_start": period.time("start"),
                "period_end": period.time("end"),
                "proration": bool(details.flag("proration") or line.flag("proration")),
                "subscription_item": details.ref("subscription_item") or line.ref("subscription_item"),
                "discount_cents": _sum(line, "discount_amounts"),
                "tax_cents": tax_cents(line),
            }
        )
    return found


_STICKY_TIMES = {
    "invoice.sent": "sent_at",
    "invoice.overdue": "overdue_at",
    "invoice.payment_failed": "payment_failed_at",
    "invoice.payment_action_required": "payment_action_required_at",
    "invoice.finalization_failed": "finalization_failed_at",
    "invoice.deleted": "deleted_at",
}


def _told_once(event: StripeEvent, obj: Obj) -> Row:
    """What only some events or some shapes tell."""
    found: Row = {
        "paid_out_of_band": obj.flag("paid_out_of_band"),
        "amount_overpaid_cents": obj.integer("amount_overpaid"),
    }
    if (column := _STICKY_TIMES.get(event.type)) is not None:
        found[column] = event.at
    return found


def payment_link(event: StripeEvent, invoice_id: str | None, intent: str | None, charge: str | None) -> Iterator[Fact]:
    """That a payment is for an invoice; the payment's intent stands for it, the charge where there is no intent."""
    payment = intent or charge
    if invoice_id is not None and payment is not None:
        yield stub(event, "invoice_payments", (invoice_id, payment))


def _payments(event: StripeEvent, obj: Obj) -> Iterator[Fact]:
    yield from payment_link(event, obj.id(), obj.ref("payment_intent"), obj.ref("charge"))
    for payment in obj.each("payments"):
        yield from _invoice_payment(event, payment, inlined=True)


def _invoice_payment(event: StripeEvent, obj: Obj, *, inlined: bool) -> Iterator[Fact]:
    """A payment that is not made yet is joined to its invoice only: no event would tell that it was given up."""
    paid = obj.sub("payment")
    payment = paid.ref("payment_intent") or paid.ref("charge") or paid.ref("payment_record")
    invoice_id = obj.ref("invoice")
    if invoice_id is None or payment is None:
        return
    status = obj.text("status")
    if status != "paid":
        yield stub(event, "invoice_payments", (invoice_id, payment))
        return
    values: Row = {
        "stripe_invoice_payment_id": obj.ref("id"),
        "status": status,
        "currency": obj.text("currency"),
        "amount_requested_cents": obj.integer("amount_requested"),
        "amount_paid_cents": obj.integer("amount_paid"),
        "is_default": obj.flag("is_default"),
        "paid_at": obj.sub("status_transitions").time("paid_at"),
        "stripe_created_at": obj.time("created"),
    }
    yield snapshot(
        event,
        "invoice_payments",
        (invoice_id, payment),
        values,
        final=True,
        sums=(obj.number("amount_paid"),),
        inlined=inlined,
    )


@handles("invoice_payment.paid")
def invoice_payment(event: StripeEvent) -> Iterator[Fact]:
    """A payment was put to an invoice: since basil the only webhook that joins the two."""
    yield from _invoice_payment(event, event.object, inlined=False)


@handles("invoice.upcoming")
def upcoming(event: StripeEvent) -> Iterator[Fact]:
    """Stripe announces an invoice; it has no id yet, so its subscription (else its customer) names it."""
    obj = event.object
    owner = obj.ref("customer")
    key = subscription_of(obj) or owner
    if owner is not None:
        yield stub(event, "users", (owner,))
    if key is None:
        return
    values: Row = {
        "stripe_customer_id": owner,
        "stripe_subscription_id": subscription_of(obj),
        "currency": obj.text("currency"),
        "subtotal_cents": obj.number("subtotal"),
        "total_cents": obj.number("total"),
        "amount_due_cents": obj.number("amount_due"),
        "billing_period_start": obj.time("period_start"),
        "billing_period_end": obj.time("period_end"),
        "next_payment_attempt": obj.time("next_payment_attempt"),
        "line_items": lines(obj),
        "stripe_created_at": obj.time("created"),
    }
    yield snapshot(event, "upcoming_invoices", (key,), values)


@handles("credit_note.created", "credit_note.updated", "credit_note.voided")
def credit_note(event: StripeEvent) -> Iterator[Fact]:
    """The credit note follows. Its refunds come by their own events."""
    obj = event.object
    if (owner := obj.ref("customer")) is not None:
        yield stub(event, "users", (owner,))
    status = obj.text("status") or "issued"
    refunds = [entry.ref("refund") for entry in obj.each("refunds")] + [obj.ref("refund")]
    values: Row = {
        "stripe_invoice_id": obj.ref("invoice"),
        "stripe_customer_id": owner,
        "number": obj.text("number"),
        "status": status,
        "type": obj.text("type"),
        "reason": obj.text("reason"),
        "memo": obj.words("memo"),
        "currency": obj.text("currency"),
        "amount_cents": obj.integer("amount"),
        "subtotal_cents": obj.integer("subtotal"),
        "tax_cents": tax_cents(obj),
        "discount_cents": obj.integer("discount_amount"),
        "total_cents": obj.integer("total"),
        "out_of_band_cents": obj.integer("out_of_band_amount"),
        "refund_ids": sorted({name for name in refunds if name is not None}),
        "voided_at": obj.time("voided_at"),
        "pdf_url": obj.link("pdf"),
        "metadata": obj.metadata(),
        "stripe_created_at": obj.time("created"),
    }
    yield snapshot(
        event,
        "credit_notes",
        (obj.id(),),
        values,
        final=status in versions.FINAL["credit_note"],
        state=versions.CREDIT_NOTE.get(status, versions.UNKNOWN),
    )
