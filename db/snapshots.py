"""An object was asked of Stripe again: what the books hold of it is read, and made ready to be told anew."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

import msgspec
from sqlalchemy import TextClause, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import Text

from db import ledger
from db.inbox import StoredEvent
from db.ledger import TABLES, Address, Row

_decode = msgspec.json.Decoder(Row, float_hook=str).decode
_encode = msgspec.json.Encoder(decimal_format="string").encode


def _lists(statement: str, *names: str) -> TextClause:
    return text(statement).bindparams(*(bindparam(name, type_=ARRAY(Text)) for name in names))


@dataclass(frozen=True, slots=True)
class Held:
    """Rows about some objects of Stripe's, as JSON: the copies, and what is derived from them."""

    copies: Mapping[Address, Row]
    payments: Mapping[int, Row]
    items: Mapping[str, Row]


_PAYMENTS = _lists(
    """
    SELECT to_jsonb(p)::text FROM payment_history p
    WHERE p.stripe_payment_intent_id = ANY(:names) OR p.stripe_charge_id = ANY(:names)
    """,
    "names",
)
_ITEMS = _lists(
    "SELECT to_jsonb(i)::text FROM subscription_items i WHERE i.stripe_subscription_id = ANY(:names)", "names"
)


async def read(
    conn: AsyncConnection, addresses: Iterable[Address], *, payments: Iterable[str], subscriptions: Iterable[str]
) -> Held:
    """The copies at `addresses`, the attempts of these intents and charges, and the items of these subscriptions."""
    copies = await ledger.read(conn, addresses)
    found = [_decode(raw) for raw in (await conn.execute(_PAYMENTS, {"names": list(payments)})).scalars()]
    items = [_decode(raw) for raw in (await conn.execute(_ITEMS, {"names": list(subscriptions)})).scalars()]
    return Held(
        copies,
        {row["id"]: row for row in found},
        {row["stripe_subscription_item_id"]: row for row in items},
    )


@cache
def _put(table: str, columns: tuple[str, ...]) -> TextClause:
    keys = TABLES[table].key
    sets = ", ".join(f'"{name}" = r."{name}"' for name in columns)
    same = " AND ".join(f't."{name}" = r."{name}"' for name in keys)
    return text(
        f"UPDATE {table} t SET {sets}"  # noqa: S608 - names of our own models
        f" FROM jsonb_populate_record(NULL::{table}, CAST(CAST(:row AS text) AS jsonb)) r WHERE {same}"
    )


async def put(conn: AsyncConnection, address: Address, values: Row) -> None:
    """Write columns of one copy as they are, past the rule by which facts are merged. The caller holds its lock."""
    table, key = address
    row = dict(zip(TABLES[table].key, key, strict=True)) | values
    await conn.execute(_put(table, tuple(sorted(values))), {"row": _encode(row).decode()})


_UNBOOK = text(
    """
    UPDATE payment_history SET stripe_fee_cents = NULL, net_amount_cents = NULL, settlement_currency = NULL
    WHERE stripe_charge_id = :charge AND stripe_fee_cents IS NOT NULL
    """
)


async def unbook(conn: AsyncConnection, charge: str) -> None:
    """Forget the fee of an attempt: its charge was not booked at Stripe."""
    await conn.execute(_UNBOOK, {"charge": charge})


_OF_INVOICES = _lists(
    """
    SELECT stripe_payment_intent_id, stripe_charge_id FROM payment_history WHERE stripe_invoice_id = ANY(:invoices)
    UNION ALL
    SELECT payment_id, NULL FROM invoice_payments WHERE stripe_invoice_id = ANY(:invoices)
    """,
    "invoices",
)


async def payments_of(conn: AsyncConnection, invoices: Iterable[str]) -> set[str]:
    """The intents and charges that the books join to these invoices, rightly or not."""
    rows = await conn.execute(_OF_INVOICES, {"invoices": list(invoices)})
    return {name for row in rows for name in row if name is not None}


_ATTEMPTED = _lists(
    """
    WITH of AS (
        SELECT unnest(:intents) AS intent
        UNION SELECT stripe_payment_intent_id FROM charges WHERE stripe_charge_id = ANY(:charges)
        UNION SELECT stripe_payment_intent_id FROM payment_history WHERE stripe_charge_id = ANY(:charges)
    )
    SELECT c.stripe_payment_intent_id FROM of JOIN charges c ON c.stripe_payment_intent_id = of.intent
    WHERE c.stripe_charge_id <> ALL(:charges)
    UNION
    SELECT p.stripe_payment_intent_id FROM of JOIN payment_history p ON p.stripe_payment_intent_id = of.intent
    WHERE p.stripe_charge_id <> ALL(:charges)
    """,
    "intents",
    "charges",
)


async def attempted(conn: AsyncConnection, *, intents: Iterable[str], charges: Iterable[str]) -> set[str]:
    """The intents, of these or of these charges, of which the books know other attempts than `charges`."""
    rows = await conn.execute(_ATTEMPTED, {"intents": list(intents), "charges": list(charges)})
    return set(rows.scalars())


_LINKS = _lists(
    """
    SELECT stripe_invoice_id, payment_id FROM invoice_payments
    WHERE stripe_invoice_id = ANY(:names) OR payment_id = ANY(:names)
    """,
    "names",
)
_UNLINK = _lists(
    """
    DELETE FROM invoice_payments l USING unnest(:invoices, :payments) AS gone (invoice, payment)
    WHERE l.stripe_invoice_id = gone.invoice AND l.payment_id = gone.payment
    """,
    "invoices",
    "payments",
)


async def links(conn: AsyncConnection, names: Iterable[str]) -> set[tuple[str, str]]:
    """(invoice, payment) for all that the books join to one of these invoices or payments."""
    return {(row[0], row[1]) for row in await conn.execute(_LINKS, {"names": list(names)})}


async def unlink(conn: AsyncConnection, gone: Iterable[tuple[str, str]]) -> None:
    """Forget that these payments are for these invoices: (invoice, payment) each. The caller holds their locks."""
    pairs = sorted(gone)
    values = {"invoices": [pair[0] for pair in pairs], "payments": [pair[1] for pair in pairs]}
    await conn.execute(_UNLINK, values)


_CREDITED = _lists(
    """
    SELECT l.payment_id, i.pre_payment_credit_cents
    FROM invoice_payments l JOIN invoices i ON i.stripe_invoice_id = l.stripe_invoice_id
    WHERE l.payment_id = ANY(:names) AND i.pre_payment_credit_cents > 0
    """,
    "names",
)


async def credited(conn: AsyncConnection, intents: Iterable[str]) -> dict[str, int]:
    """By payment intent what credit notes took off its invoice before it was paid, in minor units."""
    return {row[0]: row[1] for row in await conn.execute(_CREDITED, {"names": list(intents)})}


ON_THE_WAY = (
    "charge.%",
    "refund.%",
    "payout.%",
    "invoice%",
    "payment_intent.%",
    "customer.%",
    "credit_note.%",
)
"""Types of events about what can be looked at."""

_PENDING = _lists(
    """
    (SELECT e.id, e.type FROM webhook_events e
     WHERE e.customer_id = :customer AND e.status IN ('received','retrying') ORDER BY e.created_at, e.id LIMIT 1)
    UNION ALL
    (SELECT e.id, e.type FROM queue q JOIN webhook_events e ON e.id = q.event_id
     WHERE q.queue = 'events' AND q.dead_reason IS NULL AND q.name LIKE ANY(:types) AND e.object_id = ANY(:objects)
     LIMIT 1)
    """,
    "objects",
    "types",
)


async def pending(conn: AsyncConnection, *, customer: str | None, objects: Iterable[str]) -> tuple[str, str] | None:
    """(id, type) of an event about one of `objects`, or of their customer, that is in the inbox and not applied yet.

    Dead events do not count: nobody will apply them unasked.
    """
    values = {"customer": customer, "objects": list(objects), "types": list(ON_THE_WAY)}
    row = (await conn.execute(_PENDING, values)).first()
    return None if row is None else (row[0], row[1])


_TOLD = text(
    """
    SELECT id, type, livemode, account, created_at, received_at, payload FROM webhook_events
    WHERE customer_id = :customer AND object_id = ANY(:objects) AND status = 'processed'
    ORDER BY created_at DESC, id DESC LIMIT :most
    """
).bindparams(bindparam("objects", type_=ARRAY(Text)))

MANY = 200
"""Events of one object that are read again at most, newest first."""


async def told(conn: AsyncConnection, *, customer: str | None, objects: Iterable[str]) -> list[StoredEvent]:
    """The events about these objects of a customer that were applied before: they tell when things happened."""
    rows = await conn.execute(_TOLD, {"customer": customer, "objects": list(objects), "most": MANY})
    return [StoredEvent(*row) for row in rows]


_KNOWN = text("SELECT EXISTS (SELECT FROM users WHERE stripe_customer_id = :customer AND version <> '{}')")


async def knows_customer(conn: AsyncConnection, customer: str) -> bool:
    """Whether more than the name of a customer is known."""
    return bool(await conn.scalar(_KNOWN, {"customer": customer}))


# A snapshot is dated by when it was taken. Where it shows the state that was known already, nothing happened then.
_SAME_STATE = text(
    """
    DELETE FROM subscription_history h
    WHERE h.stripe_subscription_id = :subscription AND h.occurred_at = :as_of AND h.recorded_at = :now
      AND h.fingerprint = (
        SELECT p.fingerprint FROM subscription_history p
        WHERE p.stripe_subscription_id = h.stripe_subscription_id
          AND (p.occurred_at, p.version) < (h.occurred_at, h.version)
        ORDER BY p.occurred_at DESC, p.version DESC LIMIT 1
    )
    """
)


async def drop_same_state(conn: AsyncConnection, subscription: str, *, as_of: datetime, now: datetime) -> None:
    """Take back a state of the history that was added at `now`, as of `as_of`, and is no other than the one before."""
    await conn.execute(_SAME_STATE, {"subscription": subscription, "as_of": as_of, "now": now})


_DATE_LETTERS = _lists(
    """
    UPDATE emails e SET occurred_at = least(e.occurred_at, r.stripe_created_at)
    FROM refunds r
    WHERE r.stripe_refund_id = ANY(:refunds) AND e.key = 'refund/' || r.stripe_refund_id AND e.status = 'queued'
    """,
    "refunds",
)


async def date_letters(conn: AsyncConnection, refunds: Iterable[str]) -> None:
    """Letters about refunds are as old as the refund: that we see it only now is no news to its customer."""
    await conn.execute(_DATE_LETTERS, {"refunds": list(refunds)})


_ROW_HERE = {
    table: text(
        f"SELECT to_jsonb(t)::text FROM {table} t WHERE t.{TABLES[table].key[0]} = :name"  # noqa: S608 - names of our own models
    )
    for table in TABLES
}
_ATTEMPT_HERE = {
    "charges": text("SELECT to_jsonb(p)::text FROM payment_history p WHERE p.stripe_charge_id = :name"),
    "payment_intents": text(
        "SELECT to_jsonb(p)::text FROM payment_history p"
        " WHERE p.stripe_payment_intent_id = :name AND p.stripe_charge_id IS NULL"
    ),
}


async def here(conn: AsyncConnection, table: str, name: str) -> Row | None:
    """Our copy of an object; of a charge or an intent without a copy the attempt that names it."""
    raw: Any = (await conn.execute(_ROW_HERE[table], {"name": name})).scalar()
    if raw is None and table in _ATTEMPT_HERE:
        raw = (await conn.execute(_ATTEMPT_HERE[table], {"name": name})).scalar()
    return None if raw is None else _decode(raw)
