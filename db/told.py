"""What the inbox and the books know of an object that a document is made of: its events, its readers, its payments."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import Text


@dataclass(frozen=True, slots=True)
class Told:
    """An event as Stripe signed it; `received_at` is ours."""

    payload: bytes
    received_at: datetime


@dataclass(frozen=True, slots=True)
class Reader:
    """Who reads a document: a customer of ours, with what is known of their language."""

    user_id: int
    locale: str | None


async def event(conn: AsyncConnection, event_id: str) -> Told | None:
    """An event of the inbox."""
    row = (
        await conn.execute(text("SELECT payload, received_at FROM webhook_events WHERE id = :id"), {"id": event_id})
    ).one_or_none()
    return Told(row[0], row[1]) if row is not None else None


async def newest_invoice(conn: AsyncConnection, invoice: str, customer: str | None) -> Told | None:
    """The newest event about an invoice of `customer` that shows it after it was finalized."""
    row = (
        await conn.execute(
            text(
                "SELECT payload, received_at FROM webhook_events WHERE customer_id = :customer AND object_id = :invoice"
                " AND type LIKE 'invoice.%' AND type NOT IN ('invoice.created', 'invoice.deleted')"
                " ORDER BY created_at DESC, type = 'invoice.paid' DESC, received_at DESC LIMIT 1"
            ),
            {"invoice": invoice, "customer": customer},
        )
    ).one_or_none()
    return Told(row[0], row[1]) if row is not None else None


async def reader(conn: AsyncConnection, customer: str | None) -> Reader | None:
    """A customer's row, by their id at Stripe."""
    row = (
        await conn.execute(
            text("SELECT id, locale FROM users WHERE stripe_customer_id = :customer"), {"customer": customer}
        )
    ).one_or_none()
    return Reader(row[0], row[1]) if row is not None else None


async def invoice_paid_by(conn: AsyncConnection, *, charge: str, intent: str | None) -> str | None:
    """The invoice that a payment was for, as far as the books know by now."""
    row = (
        await conn.execute(
            text(
                "SELECT stripe_invoice_id FROM invoice_payments WHERE payment_id IN (:charge, :intent)"
                " ORDER BY is_default DESC NULLS LAST, stripe_invoice_id LIMIT 1"
            ),
            {"charge": charge, "intent": intent or charge},
        )
    ).one_or_none()
    return row[0] if row is not None else None


_NAMES = text(
    """
    SELECT stripe_coupon_id, name FROM coupons
    WHERE stripe_coupon_id = ANY(:ids) AND name IS NOT NULL AND stripe_account = :account AND livemode = :livemode
    UNION ALL
    SELECT d.stripe_discount_id, c.name FROM discounts d
    JOIN coupons c USING (stripe_coupon_id, stripe_account, livemode)
    WHERE d.stripe_discount_id = ANY(:ids) AND c.name IS NOT NULL
    """
).bindparams(bindparam("ids", type_=ARRAY(Text)))


async def coupon_names(conn: AsyncConnection, ids: Iterable[str], *, account: str, livemode: bool) -> dict[str, str]:
    """What coupons are called, by the ids of coupons or of discounts that give them."""
    found = await conn.execute(_NAMES, {"ids": sorted(ids), "account": account, "livemode": livemode})
    return {row[0]: row[1] for row in found}
