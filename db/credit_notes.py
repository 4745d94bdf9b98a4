"""Credit notes of our own: each about one invoice of ours, numbered without gaps, and never changed again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import BigInteger


@dataclass(frozen=True, slots=True)
class OwnNote:
    """A credit note of ours as its row tells. Amounts are minor units of `currency`."""

    id: int
    invoice_id: int
    number: str
    memo: str | None
    currency: str
    subtotal_cents: int
    tax_cents: int
    total_cents: int
    out_of_band_cents: int
    parts: Mapping[str, Any]
    """What it took of which lines, and what became of the money: `jobs.invoices.credit_note.Parts`."""
    issued_at: datetime


_COLUMNS = (
    "id, invoice_id, number, memo, currency, subtotal_cents, tax_cents, total_cents, coalesce(out_of_band_cents, 0),"
    " metadata, stripe_created_at"
)


_TOTALS = text(
    "SELECT invoice_id, sum(total_cents)::bigint FROM credit_notes"
    " WHERE invoice_id = ANY(:ids) AND stripe_credit_note_id IS NULL GROUP BY invoice_id"
).bindparams(bindparam("ids", type_=ARRAY(BigInteger)))


async def of_invoice(conn: AsyncConnection, invoice_id: int) -> list[OwnNote]:
    """The credit notes of an invoice of ours, oldest first."""
    rows = await conn.execute(
        text(
            f"SELECT {_COLUMNS} FROM credit_notes WHERE invoice_id = :id AND stripe_credit_note_id IS NULL ORDER BY id"  # noqa: S608 - names of our own
        ),
        {"id": invoice_id},
    )
    return [OwnNote(*row) for row in rows]


async def totals(conn: AsyncConnection, invoice_ids: Sequence[int]) -> dict[int, int]:
    """What the credit notes of these invoices of ours come to (minor units), by invoice; those without are left out."""
    found = await conn.execute(_TOTALS, {"ids": list(invoice_ids)})
    return {row[0]: row[1] for row in found}


async def get(conn: AsyncConnection, note_id: int) -> OwnNote | None:
    """The credit note of ours of this id."""
    found = await conn.execute(
        text(f"SELECT {_COLUMNS} FROM credit_notes WHERE id = :id AND stripe_credit_note_id IS NULL"),  # noqa: S608 - names of our own
        {"id": note_id},
    )
    row = found.first()
    return OwnNote(*row) if row is not None else None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewNote:
    """A credit note that is about to be written. `type` is Stripe's word: `pre_payment`, `post_payment`, `mixed`."""

    invoice_id: int
    number: str
    series: str
    type: str
    memo: str
    currency: str
    subtotal_cents: int
    tax_cents: int
    discount_cents: int
    total_cents: int
    out_of_band_cents: int
    livemode: bool
    parts: Mapping[str, Any]


_ADD = text(
    """
    INSERT INTO credit_notes (invoice_id, number, series, status, type, memo, currency, amount_cents, subtotal_cents,
                              tax_cents, discount_cents, total_cents, out_of_band_cents, livemode, metadata,
                              stripe_created_at, updated_at)
    VALUES (:invoice_id, :number, :series, 'issued', :type, :memo, :currency, :total_cents, :subtotal_cents,
            :tax_cents, :discount_cents, :total_cents, :out_of_band_cents, :livemode, :parts, :now, :now)
    RETURNING id
    """
).bindparams(bindparam("parts", type_=JSONB))


async def add(conn: AsyncConnection, new: NewNote, *, now: datetime) -> int:
    """Write a credit note down, under a number that was taken in this transaction. Returns its id."""
    values = {name: getattr(new, name) for name in NewNote.__dataclass_fields__}
    return (await conn.execute(_ADD, values | {"parts": dict(new.parts), "now": now})).scalar_one()
