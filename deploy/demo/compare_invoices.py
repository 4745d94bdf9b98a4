"""Invoices with their lines, what paid them, and credit notes, as the ledger must have them."""

from collections.abc import Iterator, Mapping
from typing import Any

from deploy.demo.compare_rows import Either, Kept, Table, View, part, ref, rows, sub, total, when
from deploy.demo.compare_subscriptions import USER

SHOWN = 10
"""Lines of an invoice that Stripe shows in an event."""

LINES = """
(SELECT * FROM invoices WHERE kind IS NULL) i CROSS JOIN LATERAL jsonb_to_recordset(i.line_items) AS t(
    id text, description text, amount_cents bigint, currency text, quantity bigint, price text,
    period_start timestamptz, period_end timestamptz, proration boolean, subscription_item text,
    discount_cents bigint, tax_cents bigint)
WHERE i.deleted_at IS NULL
"""


AMOUNTS = """
(SELECT array_agg((line ->> 'amount_cents')::bigint ORDER BY place)
 FROM jsonb_array_elements(t.line_items) WITH ORDINALITY AS l(line, place))
"""


def payment_of(obj: Mapping[str, Any]) -> str | None:
    """The intent (else the charge) by which an invoice payment is made."""
    return ref(sub(obj, "payment", "payment_intent")) or ref(sub(obj, "payment", "charge"))


def _amounts(obj: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "currency": obj["currency"],
        "subtotal_cents": obj["subtotal"],
        "tax_cents": total(obj["total_taxes"]),
        "discount_cents": total(obj["total_discount_amounts"]),
        "total_cents": obj["total"],
        "amount_due_cents": obj["amount_due"],
        "amount_paid_cents": obj["amount_paid"],
        "amount_remaining_cents": obj["amount_remaining"],
        "starting_balance_cents": obj["starting_balance"],
        "ending_balance_cents": obj["ending_balance"],
        "pre_payment_credit_cents": obj["pre_payment_credit_notes_amount"],
        "post_payment_credit_cents": obj["post_payment_credit_notes_amount"],
    }


def _times(obj: Mapping[str, Any]) -> dict[str, Any]:
    moments = obj["status_transitions"]
    return {
        "billing_period_start": when(obj["period_start"]),
        "billing_period_end": when(obj["period_end"]),
        "due_date": when(obj["due_date"]),
        "finalized_at": when(moments["finalized_at"]),
        "paid_at": when(moments["paid_at"]),
        "voided_at": when(moments["voided_at"]),
        "marked_uncollectible_at": when(moments["marked_uncollectible_at"]),
        "next_payment_attempt": when(obj["next_payment_attempt"]),
        "stripe_created_at": when(obj["created"]),
    }


def _told(view: View, obj: Mapping[str, Any]) -> dict[str, Any]:
    """When events told what the invoice itself does not show."""
    id_, error = obj["id"], part(obj, "last_finalization_error")
    return {
        "sent_at": view.first(id_, "invoice.sent"),
        "overdue_at": view.first(id_, "invoice.overdue"),
        "payment_failed_at": view.last(id_, "invoice.payment_failed"),
        "payment_action_required_at": view.last(id_, "invoice.payment_action_required"),
        "finalization_failed_at": view.last(id_, "invoice.finalization_failed"),
        "finalization_error": error.get("message") or error.get("code") or error.get("type"),
        "amount_overpaid_cents": Either((None, obj["amount_overpaid"])),  # shapes before basil do not have it
    }


def _out_of_band(view: View, obj: Mapping[str, Any]) -> bool:
    """Whether more was paid than payments at Stripe brought; only shapes before basil say it."""
    paid = [one for one in view.by("invoice_payment", "invoice", obj["id"]) if one["status"] == "paid"]
    return obj["status"] == "paid" and obj["amount_paid"] > sum(one["amount_paid"] for one in paid)


def invoices(view: View) -> Iterator[Kept]:
    """Every invoice, with all amounts and dates."""
    for obj in view.all("invoice"):
        lines = len(rows(obj["lines"]))
        yield Kept(
            obj["id"],
            {
                **_amounts(obj),
                **_times(obj),
                **_told(view, obj),
                "user": ref(obj["customer"]),
                "stripe_customer_id": ref(obj["customer"]),
                "stripe_subscription_id": ref(sub(obj, "parent", "subscription_details", "subscription")),
                "invoice_number": obj["number"],
                "stripe_number": obj["number"],
                "status": obj["status"],
                "billing_reason": obj["billing_reason"],
                "collection_method": obj["collection_method"],
                "attempt_count": obj["attempt_count"],
                "attempted": obj["attempted"],
                "auto_advance": obj["auto_advance"],
                "paid_out_of_band": Either((None, _out_of_band(view, obj))),
                "customer_email": obj["customer_email"],
                "customer_name": obj["customer_name"],
                "lines": min(lines, SHOWN),
                "line_items_complete": lines <= SHOWN,
                "discount_ids": _discounts(obj),
                "description": obj["description"],
                "hosted_invoice_url": obj["hosted_invoice_url"],
                "invoice_pdf_url": obj["invoice_pdf"],
                "metadata": obj["metadata"],
            },
        )


def _discounts(obj: Mapping[str, Any]) -> list[str]:
    named = [ref(one["discount"]) for one in obj["total_discount_amounts"] or ()]
    shown = [ref(one) for one in obj["discounts"]]
    return sorted({one for one in (*named, *shown) if one is not None})


def lines(view: View) -> Iterator[Kept]:
    """The lines that Stripe shows of each invoice."""
    for obj in view.all("invoice"):
        for line in rows(obj["lines"])[:SHOWN]:
            parent = part(line, "parent")
            details = part(parent, "subscription_item_details") or part(parent, "invoice_item_details")
            yield Kept(
                f"{obj['id']} {line['id']}",
                {
                    "description": line["description"],
                    "amount_cents": line["amount"],
                    "currency": line["currency"],
                    "quantity": line["quantity"],
                    "price": ref(sub(line, "pricing", "price_details", "price")),
                    "period_start": when(line["period"]["start"]),
                    "period_end": when(line["period"]["end"]),
                    "proration": bool(details.get("proration")),
                    "subscription_item": details.get("subscription_item"),
                    "discount_cents": total(line["discount_amounts"]),
                    "tax_cents": total(line["taxes"]),
                },
            )


def upcoming(view: View) -> Iterator[Kept]:
    """What was announced last to each subscription."""
    for obj in view.all("upcoming_invoice"):
        subscription = sub(obj, "parent", "subscription_details", "subscription")
        yield Kept(
            subscription,
            {
                "stripe_customer_id": ref(obj["customer"]),
                "stripe_subscription_id": subscription,
                "currency": obj["currency"],
                "subtotal_cents": obj["subtotal"],
                "total_cents": obj["total"],
                "amount_due_cents": obj["amount_due"],
                "billing_period_start": when(obj["period_start"]),
                "billing_period_end": when(obj["period_end"]),
                "next_payment_attempt": when(obj["next_payment_attempt"]),
                "amounts": [line["amount"] for line in rows(obj["lines"])[:SHOWN]] or None,
                "stripe_created_at": when(obj["created"]),
            },
        )


def invoice_payments(view: View) -> Iterator[Kept]:
    """What paid which invoice. Of a payment that is not made yet only shapes before basil tell, and less."""
    for obj in view.all("invoice_payment"):
        if (payment := payment_of(obj)) is None:
            continue
        key = f"{ref(obj['invoice'])} {payment}"
        values = {
            "stripe_invoice_payment_id": obj["id"],
            "status": obj["status"],
            "currency": obj["currency"],
            "amount_requested_cents": obj["amount_requested"],
            "amount_paid_cents": obj["amount_paid"],
            "is_default": obj["is_default"],
            "paid_at": when(sub(obj, "status_transitions", "paid_at")),
            "stripe_created_at": when(obj["created"]),
        }
        if obj["status"] == "paid":
            yield Kept(key, values)
        else:
            yield Kept(key, {name: Either((None, value)) for name, value in values.items()}, told=False)


def credit_notes(view: View) -> Iterator[Kept]:
    """Every credit note."""
    for obj in view.all("credit_note"):
        yield Kept(
            obj["id"],
            {
                "stripe_invoice_id": ref(obj["invoice"]),
                "stripe_customer_id": ref(obj["customer"]),
                "number": obj["number"],
                "status": obj["status"],
                "type": obj["type"],
                "reason": obj["reason"],
                "memo": obj["memo"],
                "currency": obj["currency"],
                "amount_cents": obj["amount"],
                "subtotal_cents": obj["subtotal"],
                "tax_cents": total(obj["total_taxes"]),
                "discount_cents": obj["discount_amount"],
                "total_cents": obj["total"],
                "out_of_band_cents": obj["out_of_band_amount"],
                "refund_ids": sorted(filter(None, (ref(one["refund"]) for one in obj["refunds"]))),
                "voided_at": when(obj["voided_at"]),
                "pdf_url": obj["pdf"],
                "metadata": obj["metadata"],
                "stripe_created_at": when(obj["created"]),
            },
        )


INVOICES = (
    Table(
        "invoice",
        "invoices t WHERE t.kind IS NULL",
        "t.stripe_invoice_id",
        invoices,
        {"user": USER, "lines": "coalesce(jsonb_array_length(t.line_items), 0)"},
        deleted_by="invoice.deleted",
    ),
    Table("line_item", LINES, "i.stripe_invoice_id || ' ' || t.id", lines, mirror=False),
    Table("upcoming_invoice", "upcoming_invoices t", "t.key", upcoming, {"amounts": AMOUNTS}),
    Table(
        "invoice_payment",
        "invoice_payments t",
        "t.stripe_invoice_id || ' ' || t.payment_id",
        invoice_payments,
    ),
    Table("credit_note", "credit_notes t", "t.stripe_credit_note_id", credit_notes),
)
