"""Invoices of our own are written in two steps of one transaction: all but the number, and then, last, the number."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import BigInteger, Text


@dataclass(frozen=True, slots=True, kw_only=True)
class NewInvoice:
    """An invoice of ours that is about to be numbered; amounts are minor units, times UTC."""

    own_key: str
    kind: str
    seller: str
    series: str
    user_id: int | None
    api_key_prefix: str | None
    currency: str
    subtotal_cents: int
    tax_cents: int
    discount_cents: int
    total_cents: int
    amount_due_cents: int
    billing_period_start: datetime | None
    billing_period_end: datetime | None
    due_date: datetime | None
    customer_email: str | None
    customer_name: str | None
    line_items: Sequence[Mapping[str, Any]]
    notes: str | None


_COLUMNS = ", ".join(NewInvoice.__dataclass_fields__)
_DRAFT = text(
    f"""
    INSERT INTO invoices ({_COLUMNS}, status, livemode, line_items_complete, stripe_created_at, updated_at)
    SELECT {_COLUMNS}, 'draft', :livemode, true, :now, :now
    FROM jsonb_populate_recordset(NULL::invoices, CAST(CAST(:rows AS text) AS jsonb))
    ORDER BY own_key
    ON CONFLICT (own_key) WHERE own_key IS NOT NULL DO NOTHING
    RETURNING own_key, id
    """  # noqa: S608 - names of our own
)


async def draft(conn: AsyncConnection, new: Sequence[NewInvoice], *, livemode: bool, now: datetime) -> dict[str, int]:
    """Write invoices without their numbers. Returns the ids by `own_key`, without those that were there before.

    Whoever writes the same key waits for the other to end. All keys of a call are written in one order, so that two
    batches never wait for each other; a transaction that calls this twice, or after `numbering.take`, might: so issue
    once in a transaction.
    """
    rows = msgspec.json.encode(new).decode()
    return {row[0]: row[1] for row in await conn.execute(_DRAFT, {"rows": rows, "livemode": livemode, "now": now})}


_FINALIZE = text(
    """
    UPDATE invoices i SET invoice_number = n.number, finalized_at = :now, updated_at = :now,
        status = CASE WHEN i.amount_due_cents = 0 THEN 'paid' ELSE 'open' END,
        paid_at = CASE WHEN i.amount_due_cents = 0 THEN CAST(:now AS timestamptz) END,
        amount_remaining_cents = i.amount_due_cents
    FROM unnest(:ids, :numbers) AS n(id, number) WHERE i.id = n.id
    """
).bindparams(bindparam("ids", type_=ARRAY(BigInteger)), bindparam("numbers", type_=ARRAY(Text)))


async def finalize(conn: AsyncConnection, numbers: Mapping[int, str], *, now: datetime) -> None:
    """Give drafts their numbers, by id: they are open, or paid where nothing is due."""
    await conn.execute(_FINALIZE, {"ids": list(numbers), "numbers": list(numbers.values()), "now": now})


@dataclass(frozen=True, slots=True)
class OwnInvoice:
    """An invoice of ours, with its document. `due` in minor units."""

    id: int
    own_key: str
    number: str
    status: str
    currency: str
    amount_paid_cents: int
    document_id: int | None


_OWN = """
    SELECT i.id, i.own_key, i.invoice_number, i.status, i.currency, i.amount_paid_cents, d.id
    FROM invoices i LEFT JOIN documents d ON d.key = 'invoice/' || i.id
    WHERE i.kind IS NOT NULL AND i.invoice_number IS NOT NULL AND
"""
_OF_KEYS = text(f"{_OWN} i.own_key = ANY(:keys)").bindparams(bindparam("keys", type_=ARRAY(Text)))
_LOCKED = text(f"{_OWN} i.id = :id FOR UPDATE OF i")


async def of_keys(conn: AsyncConnection, keys: Sequence[str]) -> dict[str, OwnInvoice]:
    """Our invoices for these things."""
    return {row[1]: OwnInvoice(*row) for row in await conn.execute(_OF_KEYS, {"keys": list(keys)})}


async def locked(conn: AsyncConnection, invoice_id: int) -> OwnInvoice | None:
    """One of our invoices, which nobody else changes until this transaction ends; None when it is not ours."""
    row = (await conn.execute(_LOCKED, {"id": invoice_id})).first()
    return OwnInvoice(*row) if row is not None else None


async def void(conn: AsyncConnection, invoice_id: int, *, reason: str, now: datetime) -> None:
    """It is not to be paid; its number stays, and its key is free for another invoice about the same thing."""
    await conn.execute(
        text(
            "UPDATE invoices SET status = 'void', voided_at = :now, void_reason = :reason, amount_remaining_cents = 0,"
            " own_key = own_key || '#void-' || id, updated_at = :now WHERE id = :id"
        ),
        {"id": invoice_id, "reason": reason, "now": now},
    )


async def status(conn: AsyncConnection, invoice_id: int) -> tuple[str | None, str | None]:
    """Where an invoice stands, and what it is for (`kind`; None: it is Stripe's)."""
    found = await conn.execute(text("SELECT status, kind FROM invoices WHERE id = :id"), {"id": invoice_id})
    row = found.first()
    return (row[0], row[1]) if row is not None else (None, None)


async def pdf_at(conn: AsyncConnection, invoice_id: int, url: str, *, now: datetime) -> None:
    """Note where the PDF of an invoice of ours is; the first address is kept."""
    await conn.execute(
        text(
            "UPDATE invoices SET invoice_pdf_url = :url, updated_at = :now"
            " WHERE id = :id AND kind IS NOT NULL AND invoice_pdf_url IS NULL"
        ),
        {"id": invoice_id, "url": url, "now": now},
    )
