"""Customers hear of money that came and went back, and of a trial that ends; operators of money that a bank asks for.

Events only say when to look: what is told, and whether, comes from the books, so that the order of events never
matters. Who confirms a payment (3-D Secure) is asked for it by dunning, as the first step of a case; and who was dunned
for an invoice gets `recovered` in place of a receipt.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from db import dunning, notices
from jobs.follow import follows
from jobs.mail.contexts import Amount, DisputeNotice, Line, Receipt, Refund, Span
from jobs.mail.letters import Recipient
from jobs.mail.notice_staging import Notice, link, paid_by, reader, stage_notices
from jobs.mail.notice_trials import stage_trials
from jobs.mail.send_letter import OPERATORS
from jobs.stripe_objects import StripeEvent
from worker.deps import Tx

DASHBOARD = "https://dashboard.stripe.com"

NEEDS_EVIDENCE = frozenset({"needs_response", "warning_needs_response"})
"""States of a dispute in which evidence is asked for: https://docs.stripe.com/api/disputes/object."""


def _told_by(events: Iterable[StripeEvent], row: Mapping[str, Any]) -> str | None:
    """The event to whose story a letter about `row` belongs."""
    names = ("stripe_invoice_id", "stripe_refund_id", "stripe_dispute_id", "stripe_charge_id", "stripe_customer_id")
    about = {row[name] for name in names if row.get(name) is not None}
    return next((one.id for one in events if about & {one.object.ref("id"), one.object.ref("charge")}), None)


def _ids(events: Iterable[StripeEvent], field: str = "id") -> set[str]:
    return {name for event in events if (name := event.object.ref(field)) is not None}


@follows("invoice.paid", "invoice.payment_succeeded")
async def receipts(tx: Tx, events: Sequence[StripeEvent]) -> None:
    """Money was paid for an invoice, by whatever way: the customer gets one receipt, unless they were dunned for it."""
    await _receipts(tx, events, await notices.receipts(tx.conn, invoices=_ids(events)))


@follows("customer.created")
async def first_word_of_a_customer(tx: Tx, events: Sequence[StripeEvent]) -> None:
    """What came before the customer it is for could not be written to anybody: now it can."""
    customers = _ids(events)
    await _receipts(tx, events, await notices.receipts(tx.conn, customers=customers))
    await _refunds(tx, events, await notices.refunds(tx.conn, customers=customers))
    await stage_trials(tx, events, await notices.trials(tx.conn, customers=customers, now=tx.now))


async def _receipts(tx: Tx, events: Sequence[StripeEvent], owed: Sequence[Mapping[str, Any]]) -> None:
    if not owed:
        return
    dunned = await dunning.was_dunned(tx.conn, [row["stripe_invoice_id"] for row in owed])
    await stage_notices(
        tx,
        [
            Notice(
                row["key"],
                "receipt",
                _receipt(row),
                to,
                occurred_at=row["paid_at"],
                stripe_invoice_id=row["stripe_invoice_id"],
                staged_by=_told_by(events, row),
            )
            for row in owed
            if row["stripe_invoice_id"] not in dunned and (to := reader(row)) is not None
        ],
    )


def _receipt(row: Mapping[str, Any]) -> Receipt:
    currency: str = row["currency"]
    lines: list[dict[str, Any]] = row["line_items"] or []
    whole = row["line_items_complete"] is True and all(one["description"] for one in lines)
    return Receipt(
        name=row["name"] or row["customer_name"],
        number=row["number"],
        amount=Amount(row["amount_paid_cents"], currency),
        link=link(row["hosted_invoice_url"]),
        paid_at=row["paid_at"],
        method=paid_by(row),
        period=_period(lines),
        # Stripe's webhooks show the first lines of a long list: a part of the sum would only confuse.
        lines=[
            Line(description=one["description"], amount=Amount(one["amount_cents"], one["currency"] or currency))
            for one in lines
        ]
        if whole
        else [],
        subtotal=Amount(row["subtotal_cents"], currency),
        discount=Amount(-row["discount_cents"], currency) if row["discount_cents"] else None,
        tax=Amount(row["tax_cents"], currency) if row["tax_cents"] else None,
        total=Amount(row["total_cents"], currency),
        pdf_link=link(row["invoice_pdf_url"]),
    )


def _period(lines: Sequence[Mapping[str, Any]]) -> Span | None:
    """What was paid for in time: an invoice's own period is the one before (https://docs.stripe.com/api/invoices)."""
    spans = [
        (datetime.fromisoformat(one["period_start"]), datetime.fromisoformat(one["period_end"]))
        for one in lines
        if one["period_start"] and one["period_end"] and not one["proration"] and one["amount_cents"] >= 0
    ]
    if not spans:
        return None
    first, last = min(start for start, _ in spans), max(end for _, end in spans)
    return Span(first=first, last=last) if first < last else None


@follows(
    "refund.created",
    "refund.updated",
    "charge.refund.updated",
    "charge.refunded",
    "charge.succeeded",
    "charge.captured",
    "charge.updated",
)
async def refunds(tx: Tx, events: Sequence[StripeEvent]) -> None:
    """Money goes back to a customer, who hears of it once it was sent. Its payment may become known after it."""
    charges = [event for event in events if event.object.name == "charge"]
    rest = [event for event in events if event not in charges]
    owed = await notices.refunds(tx.conn, refunds=_ids(rest), charges=_ids(charges))
    await _refunds(tx, events, owed)


async def _refunds(tx: Tx, events: Sequence[StripeEvent], owed: Sequence[Mapping[str, Any]]) -> None:
    await stage_notices(
        tx,
        [
            Notice(
                row["key"],
                "refund",
                _refund(row),
                to,
                occurred_at=row["told_at"],
                stripe_invoice_id=row["stripe_invoice_id"],
                staged_by=_told_by(events, row),
            )
            for row in owed
            if (to := reader(row)) is not None
        ],
    )


def _refund(row: Mapping[str, Any]) -> Refund:
    currency: str = row["currency"]
    return Refund(
        name=row["name"] or row["customer_name"],
        amount=Amount(row["amount_cents"], currency),
        full=row["amount_cents"] == row["payment_cents"],
        payment=Amount(row["payment_cents"], currency),
        paid_at=row["paid_at"],
        refunded_at=row["refunded_at"] or row["told_at"],
        number=row["number"],
        method=paid_by(row),
        link=link(row["hosted_invoice_url"]),
    )


@follows("customer.subscription.trial_will_end")
async def trials(tx: Tx, events: Sequence[StripeEvent]) -> None:
    """A trial ends in three days and will cost something then: its customer hears of it, for each end once."""
    await stage_trials(tx, events, await notices.trials(tx.conn, subscriptions=_ids(events), now=tx.now))


@follows(
    "charge.dispute.created",
    "charge.dispute.updated",
    "charge.dispute.closed",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.funds_reinstated",
)
async def disputes(tx: Tx, events: Sequence[StripeEvent]) -> None:
    """A bank asks for money back: operators hear of each dispute once, whichever of its events comes first."""
    names = {event.object.ref("id") or f"{event.object.ref('charge')}:dispute" for event in events}
    await stage_notices(
        tx,
        [
            Notice(
                row["key"],
                "dispute_notice",
                _dispute(row),
                Recipient(OPERATORS),
                occurred_at=row["disputed_at"],
                stripe_invoice_id=row["stripe_invoice_id"],
                staged_by=_told_by(events, row),
            )
            for row in await notices.disputes(tx.conn, names)
        ],
    )


def _dispute(row: Mapping[str, Any]) -> DisputeNotice:
    place = "/".join(part for part in (DASHBOARD, row["stripe_account"], "" if row["livemode"] else "test") if part)
    payment: str = row["payment"] or row["stripe_dispute_id"]
    dispute: str = row["stripe_dispute_id"]
    of_payment = f"{place}/payments/{payment}"
    return DisputeNotice(
        amount=Amount(row["amount_cents"], row["currency"]),
        reason=row["reason"] or "general",
        dispute=dispute,
        payment=payment,
        link=of_payment if dispute.endswith(":dispute") else f"{place}/disputes/{dispute}",
        payment_link=of_payment,
        evidence_due_by=row["evidence_due_by"] if row["status"] in NEEDS_EVIDENCE else None,
        name=row["name"] or row["customer_name"],
        email=row["email"] or row["customer_email"],
        number=row["number"],
    )
