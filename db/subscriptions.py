"""Subscriptions: their items, the states that they were in, and what their worth is reckoned from."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

import msgspec
from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import Text

from db.ledger import Row

_decode = msgspec.json.Decoder(Row, float_hook=str).decode
_encode = msgspec.json.Encoder().encode

ITEM_COLUMNS = (
    "stripe_subscription_id",
    "stripe_subscription_item_id",
    "position",
    "stripe_price_id",
    "stripe_product_id",
    "quantity",
    "currency",
    "unit_amount_decimal",
    "interval",
    "interval_count",
    "usage_type",
    "billing_scheme",
    "divide_by",
    "divide_round",
    "current_period_start",
    "current_period_end",
    "discount_ids",
)
_ITEMS = ", ".join(f'"{name}"' for name in ITEM_COLUMNS)
_ITEM_SETS = ", ".join(f'"{name}" = excluded."{name}"' for name in ITEM_COLUMNS[2:])
_DROP_ITEMS = text(
    """
    DELETE FROM subscription_items i WHERE i.stripe_subscription_id = ANY(:subscriptions)
    AND NOT EXISTS (SELECT FROM subscriptions s, jsonb_array_elements(s.items) e
                    WHERE s.stripe_subscription_id = i.stripe_subscription_id
                      AND e->>'id' = i.stripe_subscription_item_id)
    """
).bindparams(bindparam("subscriptions", type_=ARRAY(Text)))
_WRITE_ITEMS = text(
    f"INSERT INTO subscription_items ({_ITEMS}) SELECT {_ITEMS}"  # noqa: S608 - constants
    " FROM jsonb_populate_recordset(NULL::subscription_items, CAST(CAST(:rows AS text) AS jsonb))"
    f" ON CONFLICT (stripe_subscription_id, stripe_subscription_item_id) DO UPDATE SET {_ITEM_SETS}"
)


async def write_items(conn: AsyncConnection, rows: Sequence[Row], *, shrunk: Iterable[str]) -> None:
    """Let `subscription_items` follow `subscriptions.items`; `shrunk` are subscriptions that lost some."""
    gone = list(shrunk)
    if gone:
        await conn.execute(_DROP_ITEMS, {"subscriptions": gone})
    if rows:
        await conn.execute(_WRITE_ITEMS, {"rows": _encode(rows).decode()})


_OF_CUSTOMERS = text(
    """
    SELECT to_jsonb(s)::text FROM subscriptions s WHERE s.stripe_customer_id = ANY(:repriced)
    UNION
    SELECT to_jsonb(s)::text FROM subscriptions s WHERE s.stripe_subscription_id = ANY(:subscriptions)
    UNION
    SELECT to_jsonb(s)::text FROM subscriptions s
    WHERE s.stripe_customer_id = ANY(:changed) AND EXISTS (
        SELECT FROM discounts d WHERE d.stripe_customer_id = s.stripe_customer_id AND d.stripe_subscription_id IS NULL
    )
    """
).bindparams(*(bindparam(name, type_=ARRAY(Text)) for name in ("repriced", "subscriptions", "changed")))


async def affected(
    conn: AsyncConnection, *, repriced: Iterable[str], subscriptions: Iterable[str], changed: Iterable[str]
) -> list[Row]:
    """Subscriptions whose worth may have changed.

    All of customers whose discounts changed (`repriced`), the named ones, and those of `changed` customers with a
    discount for the whole customer.
    """
    rows = await conn.execute(
        _OF_CUSTOMERS,
        {"repriced": list(repriced), "subscriptions": list(subscriptions), "changed": list(changed)},
    )
    return [_decode(row[0]) for row in rows]


_CONTEXT = text(
    """
    SELECT 'discount',
           (to_jsonb(d) || jsonb_build_object('coupon', CASE WHEN c.id IS NOT NULL THEN to_jsonb(c) END))::text
    FROM discounts d LEFT JOIN coupons c ON c.stripe_coupon_id = d.stripe_coupon_id
        AND c.stripe_account = d.stripe_account AND c.livemode = d.livemode AND c.version <> '{}'
    WHERE d.stripe_discount_id = ANY(:discounts) OR d.stripe_customer_id = ANY(:customers)
    UNION ALL
    SELECT 'user', jsonb_build_object('customer', u.stripe_customer_id, 'discount', u.stripe_discount_id,
                                      'version', u.version)::text
    FROM users u WHERE u.stripe_customer_id = ANY(:customers)
    """
).bindparams(*(bindparam(name, type_=ARRAY(Text)) for name in ("discounts", "customers")))


async def context(
    conn: AsyncConnection, *, discounts: Iterable[str], customers: Iterable[str]
) -> tuple[list[Row], dict[str, Row]]:
    """Discounts, each with its `coupon` if known, by id or customer; and by customer the one that it last showed."""
    found: list[Row] = []
    users: dict[str, Row] = {}
    for kind, raw in await conn.execute(_CONTEXT, {"discounts": list(discounts), "customers": list(customers)}):
        row = _decode(raw)
        if kind == "discount":
            found.append(row)
        else:
            users[row["customer"]] = row
    return found, users


_HISTORY = text(
    "SELECT to_jsonb(h)::text FROM subscription_history h WHERE h.stripe_subscription_id = ANY(:subscriptions)"
).bindparams(bindparam("subscriptions", type_=ARRAY(Text)))


async def history(conn: AsyncConnection, subscriptions: Iterable[str]) -> list[Row]:
    """Every state that these subscriptions were in, in no particular order."""
    rows = await conn.execute(_HISTORY, {"subscriptions": list(subscriptions)})
    return [_decode(row[0]) for row in rows]


HISTORY_COLUMNS = (
    "stripe_subscription_id",
    "occurred_at",
    "fingerprint",
    "version",
    "stripe_customer_id",
    "status",
    "stripe_price_id",
    "quantity",
    "currency",
    "items",
    "items_complete",
    "discount_ids",
    "current_period_start",
    "current_period_end",
    "trial_end",
    "cancel_at_period_end",
    "cancel_at",
    "pause_behavior",
    "mrr_cents",
    "mrr_incomplete",
)
_STATES = ", ".join(HISTORY_COLUMNS)
_WRITE_HISTORY = text(
    f"INSERT INTO subscription_history AS t ({_STATES}, recorded_at) SELECT {_STATES}, :now"  # noqa: S608 - constants
    " FROM jsonb_populate_recordset(NULL::subscription_history, CAST(CAST(:rows AS text) AS jsonb))"
    " ON CONFLICT (stripe_subscription_id, occurred_at, fingerprint) DO UPDATE"
    " SET version = GREATEST(t.version, excluded.version), mrr_cents = excluded.mrr_cents,"
    " mrr_incomplete = excluded.mrr_incomplete"
    " WHERE (excluded.version, excluded.mrr_cents, excluded.mrr_incomplete)"
    " IS DISTINCT FROM (t.version, t.mrr_cents, t.mrr_incomplete)"
)


# The first number of a version says whether the state is final.
_DROP_AFTERLIFE = text(
    """
    DELETE FROM subscription_history h
    WHERE h.stripe_subscription_id = ANY(:subscriptions) AND h.version[1] = 0 AND h.occurred_at > (
        SELECT min(f.occurred_at) FROM subscription_history f
        WHERE f.stripe_subscription_id = h.stripe_subscription_id AND f.version[1] = 1
    )
    """
).bindparams(bindparam("subscriptions", type_=ARRAY(Text)))


async def write_history(conn: AsyncConnection, rows: Sequence[Row], *, now: datetime) -> None:
    """Add states; one that is there already gets only its worth mended. Nothing follows a final state."""
    await conn.execute(_WRITE_HISTORY, {"rows": _encode(rows).decode(), "now": now})
    await conn.execute(_DROP_AFTERLIFE, {"subscriptions": sorted({row["stripe_subscription_id"] for row in rows})})


_WRITE_MRR = text(
    """
    UPDATE subscriptions s SET mrr_cents = r.mrr_cents, mrr_incomplete = r.mrr_incomplete
    FROM jsonb_populate_recordset(NULL::subscriptions, CAST(CAST(:rows AS text) AS jsonb)) r
    WHERE s.stripe_subscription_id = r.stripe_subscription_id
    """
)


async def write_mrr(conn: AsyncConnection, rows: Sequence[Mapping[str, object]]) -> None:
    """Set what subscriptions are worth; the caller holds their locks."""
    await conn.execute(_WRITE_MRR, {"rows": _encode(rows).decode()})


_WITH_COUPON = text(
    """
    SELECT s.stripe_subscription_id, s.stripe_customer_id
    FROM subscriptions s
    WHERE s.stripe_subscription_id > :after AND s.stripe_account = :account AND s.livemode = :livemode AND EXISTS (
        SELECT FROM discounts d WHERE d.stripe_coupon_id = :coupon
        AND d.stripe_account = s.stripe_account AND d.livemode = s.livemode
        AND (d.stripe_customer_id = s.stripe_customer_id OR d.stripe_subscription_id = s.stripe_subscription_id)
    )
    ORDER BY s.stripe_subscription_id LIMIT :limit
    """
)


async def with_coupon(
    conn: AsyncConnection, *, coupon: str, account: str, livemode: bool, after: str, limit: int
) -> list[tuple[str, str | None]]:
    """A page of (subscription, customer) that a coupon may concern, in the order of their ids."""
    rows = await conn.execute(
        _WITH_COUPON, {"coupon": coupon, "account": account, "livemode": livemode, "after": after, "limit": limit}
    )
    return [(row[0], row[1]) for row in rows]


_COUPONS_IN_USE = text(
    """
    SELECT DISTINCT d.stripe_coupon_id, d.stripe_account, d.livemode FROM discounts d
    WHERE d.stripe_coupon_id = ANY(:coupons) AND NOT d.stripe_discount_id = ANY(:discounts)
    """
).bindparams(*(bindparam(name, type_=ARRAY(Text)) for name in ("coupons", "discounts")))


async def coupons_in_use(
    conn: AsyncConnection, coupons: Iterable[str], *, besides: Iterable[str]
) -> set[tuple[str, str, bool]]:
    """(coupon, account, mode) of those of `coupons` that discounts other than `besides` refer to."""
    rows = await conn.execute(_COUPONS_IN_USE, {"coupons": list(coupons), "discounts": list(besides)})
    return {(row[0], row[1], row[2]) for row in rows}


_CHANGES = text(
    """
    SELECT occurred_at, status, stripe_price_id, quantity, mrr_cents, mrr_incomplete, cancel_at_period_end,
           lag(status) OVER w, lag(stripe_price_id) OVER w, lag(quantity) OVER w, lag(mrr_cents) OVER w,
           lag(fingerprint) OVER w IS NOT DISTINCT FROM fingerprint
    FROM subscription_history WHERE stripe_subscription_id = :subscription
    WINDOW w AS (ORDER BY occurred_at, version)
    ORDER BY occurred_at, version
    """
)


async def changes(conn: AsyncConnection, subscription: str) -> list[Row]:
    """How a subscription changed, oldest first: each state that differs from the one before, with that one's values."""
    names = ("occurred_at", "status", "price", "quantity", "mrr_cents", "mrr_incomplete", "cancel_at_period_end")
    before = ("status_before", "price_before", "quantity_before", "mrr_cents_before")
    rows = await conn.execute(_CHANGES, {"subscription": subscription})
    return [dict(zip((*names, *before), row[:-1], strict=True)) for row in rows if not row[-1]]
