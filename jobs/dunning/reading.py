"""How an invoice in arrears stands, as it was read from the books or afresh from Stripe."""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import Text

from jobs.invoices.document import Bank
from jobs.mail.contexts import Method
from jobs.rules.dunning import Marks, Standing

STRIPE, LEDGER = "stripe", "ledger"
"""Where something was read: `dunning_steps.read_from`."""

OPT_OUT = ("dunning", "off")
"""Metadata of a customer or a subscription that exempts it."""


@dataclass(frozen=True, slots=True)
class Person:
    """Whom letters go to."""

    email: str | None = None
    name: str | None = None
    locale: str | None = None
    timezone: str | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """An invoice with all that decides about it. Amounts are minor units of `currency`, times are UTC."""

    source: str
    standing: Standing
    number: str
    currency: str
    due: int
    paid: int
    person: Person
    out_of_band: bool = False
    """It was paid beside Stripe, and marked so."""
    sent: bool = False
    """`send_invoice`: the customer pays by hand."""
    attempt_count: int | None = None
    next_payment_attempt: datetime | None = None
    failure_code: str | None = None
    decline_code: str | None = None
    confirm: bool = False
    """The bank waits for the customer's confirmation (3-D Secure)."""
    method: Method | None = None
    link: str | None = None
    due_date: datetime | None = None
    paid_at: datetime | None = None
    product: str | None = None
    mark: str | None = None
    """Which action of ours the subscription bears, by its idempotency key; only Stripe tells."""
    own: bool = False
    """The invoice is our own: nobody knows more of it than our books."""
    bank: Bank | None = None
    """Where the money for it can be sent to."""
    document_id: int | None = None
    """Its PDF, once that is stored."""
    paid_at_stripe: bool = False
    """The money came by an invoice at Stripe that collects this one: its customer is thanked for that one."""
    marks: Marks = field(default_factory=Marks)


def opted_out(*metadata: str | None) -> bool:
    """Whether a customer's or subscription's `dunning` says `off`."""
    return any((value or "").strip().lower() == OPT_OUT[1] for value in metadata)


def zone(*names: str | None) -> ZoneInfo:
    """The first of these time zones that exists (IANA); UTC when none does."""
    return ZoneInfo(next((name for name in names if name and name in _zones()), "UTC"))


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones()) - {"localtime"}  # what the machine is set to is no place


def is_credited(*, status: str | None, paid: int, due: int, out_of_band: bool) -> bool:
    """Whether an invoice is paid without any money: a credit note or the balance covered what had been due."""
    return status == "paid" and paid == 0 and due == 0 and not out_of_band


CONFIRMED_BY = timedelta(seconds=5)
"""Stripe tells of a failed payment beside the confirmation that it waits for, in the same second or the next."""

# Without a link to the invoice (it comes with `invoice_payment.paid`, so only with success) a failed attempt is known
# by its customer, its amount and its time: the invoice failed within moments of it, and no other of the same amount
# nearer to it (an attempt is made as its invoice fails, its intent as its invoice is finalized).
_BOOKS = text(
    """
    SELECT i.id, i.stripe_invoice_id, i.user_id, i.stripe_customer_id, i.stripe_subscription_id, i.livemode,
           i.stripe_account, i.status, i.deleted_at, i.billing_reason, i.collection_method, i.currency,
           i.amount_due_cents, i.amount_paid_cents, i.amount_remaining_cents, i.paid_out_of_band, i.attempt_count,
           i.next_payment_attempt, i.payment_failed_at, i.payment_action_required_at, i.overdue_at, i.due_date,
           i.paid_at, i.hosted_invoice_url, coalesce(i.invoice_number, i.stripe_invoice_id) AS number,
           s.status AS subscription, s.cancel_reason, s.pause_behavior, s.tier, s.description AS product,
           s.metadata ->> 'dunning' AS subscription_says, u.metadata ->> 'dunning' AS customer_says,
           u.email, u.name, u.locale, u.timezone, u.deleted_at AS customer_deleted_at, i.customer_email,
           i.customer_name, p.disputed, p.refunded, p.received, f.failure_code, f.decline_code, f.payment_method,
           f.card_brand, f.card_last4
    FROM invoices i
    LEFT JOIN subscriptions s ON s.stripe_subscription_id = i.stripe_subscription_id
    LEFT JOIN users u ON u.stripe_customer_id = i.stripe_customer_id
    CROSS JOIN LATERAL (
        SELECT coalesce(bool_or(h.status = 'disputed'), false) AS disputed,
               coalesce(bool_or(h.status = 'refunded')
                        AND NOT bool_or(h.status IN ('succeeded', 'partially_refunded')), false) AS refunded,
               coalesce(sum(h.amount_cents - h.refund_amount_cents) FILTER (
                   WHERE h.status IN ('succeeded', 'partially_refunded')), 0)::bigint AS received
        FROM payment_history h WHERE h.stripe_invoice_id = i.stripe_invoice_id
    ) p
    LEFT JOIN LATERAL (
        SELECT * FROM (
            SELECT h.* FROM payment_history h WHERE h.stripe_invoice_id = i.stripe_invoice_id
            UNION ALL
            SELECT h.* FROM payment_history h
            WHERE h.stripe_invoice_id IS NULL AND h.user_id = i.user_id AND h.currency = i.currency
              AND h.amount_cents = i.amount_remaining_cents AND h.status IN ('failed', 'pending')
              AND h.created_at <= i.payment_failed_at + interval '1 minute'
              AND h.updated_at >= i.payment_failed_at - interval '1 hour'
              AND NOT EXISTS (
                  SELECT FROM invoices j
                  WHERE j.user_id = i.user_id AND j.id <> i.id AND j.currency = i.currency
                    AND j.amount_due_cents = h.amount_cents AND j.payment_failed_at IS NOT NULL
                    AND least(abs(extract(epoch FROM h.created_at - j.payment_failed_at)),
                              abs(extract(epoch FROM h.created_at - j.finalized_at)))
                      < least(abs(extract(epoch FROM h.created_at - i.payment_failed_at)),
                              abs(extract(epoch FROM h.created_at - i.finalized_at))))
        ) h ORDER BY (h.status <> 'refunded') DESC, h.created_at DESC, h.id DESC LIMIT 1
    ) f ON true
    WHERE i.stripe_invoice_id = ANY(:invoices)
    """
).bindparams(bindparam("invoices", type_=ARRAY(Text)))


@dataclass(frozen=True, slots=True)
class Booked:
    """What the books hold of an invoice: the reading, and what a case copies from them."""

    reading: Reading
    row: dict[str, Any]


async def of_stripe(conn: AsyncConnection, invoices: Collection[str]) -> dict[str, Booked]:
    """These invoices of Stripe's as the ledger knows them, by Stripe's id."""
    if not invoices:
        return {}
    rows = (await conn.execute(_BOOKS, {"invoices": list(invoices)})).mappings()
    return {row["stripe_invoice_id"]: Booked(_reading(dict(row)), dict(row)) for row in rows}


def _reading(row: dict[str, Any]) -> Reading:
    failed, asked = row["payment_failed_at"], row["payment_action_required_at"]
    due, paid = row["amount_due_cents"], row["amount_paid_cents"]
    out_of_band = bool(row["paid_out_of_band"])
    kind = row["card_brand"] or row["payment_method"]
    return Reading(
        source=LEDGER,
        standing=Standing(
            invoice="deleted" if row["deleted_at"] is not None else row["status"] or "unknown",
            remaining=row["amount_remaining_cents"],
            credited=is_credited(status=row["status"], paid=paid, due=due, out_of_band=out_of_band),
            subscription=row["subscription"],
            canceled_for=row["cancel_reason"],
            collection_paused=row["pause_behavior"] is not None,
            covered=row["status"] == "open" and row["received"] >= due > 0,
            disputed=row["disputed"],
            refunded=row["refunded"],
            opted_out=opted_out(row["customer_says"], row["subscription_says"]),
            customer_deleted=row["customer_deleted_at"] is not None,
        ),
        number=row["number"],
        currency=row["currency"] or "usd",
        due=due,
        paid=paid,
        out_of_band=out_of_band,
        person=Person(
            row["email"] or row["customer_email"], row["name"] or row["customer_name"], row["locale"], row["timezone"]
        ),
        sent=row["collection_method"] == "send_invoice",
        attempt_count=row["attempt_count"],
        next_payment_attempt=row["next_payment_attempt"],
        failure_code=row["failure_code"],
        decline_code=row["decline_code"],
        confirm=asked is not None and (failed is None or failed <= asked + CONFIRMED_BY),
        method=Method(brand=kind, last4=row["card_last4"]) if kind else None,
        link=row["hosted_invoice_url"],
        due_date=row["due_date"],
        paid_at=row["paid_at"],
        product=row["product"] or row["tier"],
        marks=Marks(
            failed_at=failed,
            action_required_at=asked,
            overdue_at=row["overdue_at"],
            sent=row["collection_method"] == "send_invoice",
            first=row["billing_reason"] == "subscription_create"
            or (row["subscription"] == "incomplete" and row["billing_reason"] in {None, "subscription"}),
        ),
    )


def moment(value: str | None) -> datetime | None:
    """A time as Stripe's readers write it (ISO 8601)."""
    return None if value is None else datetime.fromisoformat(value).astimezone(UTC)
