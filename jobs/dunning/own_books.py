"""How an invoice of our own stands: our books are all that is known of it, and Stripe is not asked."""

from collections.abc import Collection
from datetime import UTC, date, datetime, time
from typing import Any

import msgspec
from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import BigInteger

from db.dunning_own import COLLECTS, own_name
from jobs.dunning.reading import LEDGER, Booked, Person, Reading, opted_out, zone
from jobs.invoices.document import Bank
from jobs.rules.dunning import Marks, Standing

_BOOKS = text(
    f"""
    SELECT i.id, CAST(NULL AS text) AS stripe_invoice_id, i.user_id, u.stripe_customer_id,
           CAST(NULL AS text) AS stripe_subscription_id, i.livemode, i.stripe_account, i.kind, i.status,
           i.invoice_number AS number, i.currency, i.amount_paid_cents, i.amount_remaining_cents, i.due_date, i.paid_at,
           i.customer_email, i.customer_name, 'send_invoice' AS collection_method, t.tier,
           u.email, u.locale AS user_locale, u.timezone AS user_timezone, u.deleted_at AS customer_deleted_at,
           u.metadata ->> 'dunning' AS customer_says, k.billing_email, k.locale AS agreed_locale,
           k.timezone AS agreed_timezone, CASE WHEN d.status = 'stored' THEN d.id END AS document_id,
           d.locale, d.content ->> 'timezone' AS timezone, d.content ->> 'due_on' AS due_on,
           d.content ->> 'pay_url' AS link, d.content #> '{{seller,bank}}' AS bank,
           s.stripe_invoice_id AS collected_by, s.status AS collected
    FROM invoices i
    LEFT JOIN users u ON u.id = i.user_id
    LEFT JOIN documents d ON d.key = 'invoice/' || i.id
    LEFT JOIN LATERAL (
        SELECT tier FROM subscriptions s WHERE s.user_id = i.user_id
        ORDER BY s.status IN ('canceled', 'incomplete_expired'), s.id DESC LIMIT 1
    ) t ON true
    LEFT JOIN LATERAL (
        SELECT k.billing_email, k.locale, k.timezone FROM api_partner_contracts k
        WHERE k.api_key_prefix = i.api_key_prefix ORDER BY k.version DESC LIMIT 1
    ) k ON true
    LEFT JOIN LATERAL ({COLLECTS}) s ON true
    WHERE i.id = ANY(:ours) AND i.kind IS NOT NULL AND i.invoice_number IS NOT NULL
    """  # noqa: S608 - a constant
).bindparams(bindparam("ours", type_=ARRAY(BigInteger)))


async def of_ours(conn: AsyncConnection, ids: Collection[int]) -> dict[str, Booked]:
    """These invoices of ours, by the names that dunning has for them."""
    if not ids:
        return {}
    rows = (await conn.execute(_BOOKS, {"ours": list(ids)})).mappings()
    return {own_name(row["id"]): Booked(_reading(dict(row)), dict(row)) for row in rows}


def _reading(row: dict[str, Any]) -> Reading:
    paid, remaining = row["amount_paid_cents"], row["amount_remaining_cents"]
    status = row["status"]
    collected = row["collected_by"] if status == "open" else None
    if collected is not None and row["collected"] == "uncollectible":
        status = "uncollectible"  # it was dunned at Stripe to its end
    person = _person(row)
    bank = row["bank"]
    return Reading(
        source=LEDGER,
        own=True,
        standing=Standing(
            invoice=status,
            remaining=remaining,
            credited=status in {"open", "paid"} and paid <= 0 and remaining <= 0,
            opted_out=opted_out(row["customer_says"]),
            customer_deleted=row["customer_deleted_at"] is not None,
            collected_by=collected,
        ),
        number=row["number"],
        currency=row["currency"],
        due=paid + max(remaining, 0),  # what was credited is due no more
        paid=paid,
        person=person,
        sent=True,
        link=row["link"],
        due_date=_due(row, person),
        paid_at=row["paid_at"],
        bank=msgspec.convert(bank, Bank) if bank else None,
        document_id=row["document_id"],
        paid_at_stripe=row["collected"] == "paid",
        marks=Marks(overdue_at=row["due_date"], sent=True),
    )


def _person(row: dict[str, Any]) -> Person:
    """Whoever is agreed to get invoices now; an invoice of a kind of its own says itself to whom it goes.

    Letters are written in the language of the invoice that they are about, and count days as their reader does.
    """
    agreed = row["billing_email"] or row["email"]
    written = row["customer_email"]
    return Person(
        written or agreed if row["kind"] == "manual" else agreed or written,
        row["customer_name"],
        row["locale"] or row["agreed_locale"] or row["user_locale"],
        row["agreed_timezone"] or row["user_timezone"] or row["timezone"],
    )


def _due(row: dict[str, Any], person: Person) -> datetime | None:
    """A moment of the day on which it was due, by its reader's calendar: the very day that the document shows.

    The day ends with the seller's midnight, which may be another day where the reader is.
    """
    if row["due_on"] is None:
        return row["due_date"]
    return datetime.combine(date.fromisoformat(row["due_on"]), time(12), zone(person.timezone)).astimezone(UTC)
