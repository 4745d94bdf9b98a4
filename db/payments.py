"""What payment attempts are derived from, and how the payment history is written."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import Text

from db.ledger import Row

_decode = msgspec.json.Decoder(Row, float_hook=str).decode
_encode = msgspec.json.Encoder().encode

_INTENTS_OF = text(
    "SELECT stripe_charge_id, stripe_payment_intent_id FROM charges"
    " WHERE stripe_charge_id = ANY(:charges) AND stripe_payment_intent_id IS NOT NULL"
).bindparams(bindparam("charges", type_=ARRAY(Text)))


async def intents_of(conn: AsyncConnection, charges: Iterable[str]) -> dict[str, str]:
    """The intents of those of `charges` that have one, as far as we know."""
    rows = await conn.execute(_INTENTS_OF, {"charges": list(charges)})
    return {row[0]: row[1] for row in rows}


_ABSENT_INVOICES = text(
    """
    SELECT l.payment_id, l.stripe_invoice_id
    FROM invoice_payments l LEFT JOIN invoices i ON i.stripe_invoice_id = l.stripe_invoice_id
    WHERE l.payment_id = ANY(:payments) AND i.id IS NULL
    """
).bindparams(bindparam("payments", type_=ARRAY(Text)))


async def absent_invoices(conn: AsyncConnection, payments: Iterable[str]) -> list[tuple[str, str]]:
    """(payment, invoice) for each of `payments` that is for an invoice which we do not have yet."""
    rows = await conn.execute(_ABSENT_INVOICES, {"payments": list(payments)})
    return [(row[0], row[1]) for row in rows]


_INPUTS = text(
    """
    WITH c AS MATERIALIZED (
        SELECT * FROM charges WHERE stripe_payment_intent_id = ANY(:intents) OR stripe_charge_id = ANY(:charges)
    )
    SELECT 'charge', (to_jsonb(c) || jsonb_build_object('user_id', u.id))::text
    FROM c LEFT JOIN users u ON u.stripe_customer_id = c.stripe_customer_id
    UNION ALL
    SELECT 'intent', (to_jsonb(i) || jsonb_build_object('user_id', u.id))::text
    FROM payment_intents i LEFT JOIN users u ON u.stripe_customer_id = i.stripe_customer_id
    WHERE i.stripe_payment_intent_id = ANY(:intents)
    UNION ALL
    SELECT 'refund', to_jsonb(r)::text FROM refunds r
    WHERE r.stripe_charge_id = ANY(ARRAY(SELECT stripe_charge_id FROM c))
    UNION ALL
    SELECT 'refund', to_jsonb(r)::text FROM refunds r
    WHERE r.stripe_payment_intent_id = ANY(:intents) AND r.stripe_charge_id IS NULL
    UNION ALL
    SELECT 'dispute', to_jsonb(d)::text FROM disputes d
    WHERE d.stripe_charge_id = ANY(ARRAY(SELECT stripe_charge_id FROM c))
    UNION ALL
    SELECT 'link', jsonb_build_object('payment', l.payment_id, 'invoice', l.stripe_invoice_id, 'id', i.id)::text
    FROM invoice_payments l LEFT JOIN invoices i ON i.stripe_invoice_id = l.stripe_invoice_id
    WHERE l.payment_id = ANY(CAST(:intents AS text[]) || ARRAY(SELECT stripe_charge_id FROM c))
    UNION ALL
    SELECT 'payment', to_jsonb(p)::text FROM payment_history p WHERE p.stripe_payment_intent_id = ANY(:intents)
    UNION ALL
    SELECT 'payment', to_jsonb(p)::text FROM payment_history p
    WHERE p.stripe_charge_id = ANY(ARRAY(SELECT stripe_charge_id FROM c))
      AND (p.stripe_payment_intent_id IS NULL OR NOT p.stripe_payment_intent_id = ANY(:intents))
    """
).bindparams(bindparam("intents", type_=ARRAY(Text)), bindparam("charges", type_=ARRAY(Text)))


async def inputs(conn: AsyncConnection, *, intents: Iterable[str], charges: Iterable[str]) -> dict[str, list[Row]]:
    """All that the attempts of these intents and charges are derived from, and their present rows (`payment`)."""
    found: dict[str, list[Row]] = {name: [] for name in ("charge", "intent", "refund", "dispute", "link", "payment")}
    for kind, raw in await conn.execute(_INPUTS, {"intents": list(intents), "charges": list(charges)}):
        found[kind].append(_decode(raw))
    return found


COLUMNS = (
    "invoice_id",
    "user_id",
    "stripe_customer_id",
    "stripe_invoice_id",
    "stripe_payment_intent_id",
    "stripe_charge_id",
    "livemode",
    "stripe_account",
    "amount_cents",
    "currency",
    "status",
    "captured",
    "stripe_fee_cents",
    "net_amount_cents",
    "settlement_currency",
    "payment_method",
    "payment_method_id",
    "card_brand",
    "card_last4",
    "failure_code",
    "failure_message",
    "decline_code",
    "refunded_at",
    "refund_reason",
    "refund_amount_cents",
    "dispute_status",
    "created_at",
)
"""The columns that are derived."""

_LISTED = ", ".join(COLUMNS)
_RECORDS = "jsonb_populate_recordset(NULL::payment_history, CAST(CAST(:rows AS text) AS jsonb))"
_INSERT = text(
    f"INSERT INTO payment_history ({_LISTED}, updated_at) SELECT {_LISTED}, :now FROM {_RECORDS}"  # noqa: S608 - constants
)
_UPDATE = text(
    f"UPDATE payment_history p SET {', '.join(f'{name} = r.{name}' for name in COLUMNS)}, updated_at = :now"  # noqa: S608 - constants
    f" FROM {_RECORDS} r WHERE p.id = r.id"
)
_DELETE = text("DELETE FROM payment_history WHERE id = ANY(:ids)")


async def write(
    conn: AsyncConnection, *, new: Sequence[Row], changed: Sequence[Row], gone: Sequence[int], now: Any
) -> None:
    """Write attempts: `changed` rows bear their `id`; `gone` are rows whose attempt turned out to be another row's."""
    if gone:
        await conn.execute(_DELETE, {"ids": list(gone)})
    if changed:
        await conn.execute(_UPDATE, {"rows": _encode(changed).decode(), "now": now})
    if new:
        await conn.execute(_INSERT, {"rows": _encode(new).decode(), "now": now})


_LINK_INVOICES = text(
    """
    UPDATE payment_history p SET invoice_id = i.id, updated_at = :now FROM invoices i
    WHERE i.stripe_invoice_id = ANY(:invoices) AND p.stripe_invoice_id = i.stripe_invoice_id AND p.invoice_id IS NULL
    """
).bindparams(bindparam("invoices", type_=ARRAY(Text)))


async def link_invoices(conn: AsyncConnection, invoices: Iterable[str], *, now: Any) -> None:
    """Let payments that came before their invoice point to it."""
    await conn.execute(_LINK_INVOICES, {"invoices": list(invoices), "now": now})
