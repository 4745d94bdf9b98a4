"""Plans with an allowance, what subscriptions were when, and whose months are still to be looked at."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import BigInteger, Date, Numeric, Text

from db.usage_invoices import Known, UsageRow

Row = Mapping[str, Any]

_PLANS = "SELECT * FROM overage_plans ORDER BY stripe_price_id, valid_from"
_ADD = text(
    """
    INSERT INTO overage_plans (stripe_price_id, valid_from, currency, included_units, package_size, package_price_cents,
                               package_rounding, tax_name, tax_percent, created_at, created_by)
    VALUES (:stripe_price_id, :valid_from, :currency, :included_units, :package_size, :package_price_cents,
            :package_rounding, :tax_name, :tax_percent, :created_at, :created_by)
    ON CONFLICT (stripe_price_id, valid_from) DO NOTHING RETURNING id
    """
).bindparams(bindparam("valid_from", type_=Date), bindparam("tax_percent", type_=Numeric))


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPlan:
    """What a price at Stripe includes in a month from a day on, and what more costs (minor units of `currency`)."""

    stripe_price_id: str
    valid_from: date
    currency: str
    included_units: int
    package_size: int
    package_price_cents: int
    package_rounding: str
    tax_name: str
    tax_percent: Decimal | None


async def plans(conn: AsyncConnection) -> list[Row]:
    """All plans, by price and day."""
    return [dict(row) for row in (await conn.execute(text(_PLANS))).mappings()]


async def add_plan(conn: AsyncConnection, plan: NewPlan, *, by: str, now: datetime) -> int | None:
    """Write a plan down. Returns its id; None when the price has one from that very day on."""
    values = {name: getattr(plan, name) for name in NewPlan.__dataclass_fields__}
    return (await conn.execute(_ADD, {**values, "created_at": now, "created_by": by})).scalar()


async def charged_until(conn: AsyncConnection) -> datetime | None:
    """The end of the last period whose overage was invoiced: a new plan must not reach behind it."""
    found = await conn.execute(
        text("SELECT max(period_end) FROM usage_invoices WHERE kind = 'overage' AND status IN ('issued', 'empty')")
    )
    return found.scalar()


async def price_known(conn: AsyncConnection, stripe_price_id: str) -> bool:
    """Whether this price ever came from Stripe."""
    found = await conn.execute(
        text(
            "SELECT EXISTS (SELECT FROM prices WHERE stripe_price_id = :price)"
            " OR EXISTS (SELECT FROM subscriptions WHERE stripe_price_id = :price)"
        ),
        {"price": stripe_price_id},
    )
    return bool(found.scalar())


# A subscription without a history (it was loaded, not told by events) is what its row says, since it began.
_STATES = text(
    """
    WITH mine AS (
        SELECT s.* FROM subscriptions s JOIN users u ON u.id = ANY(:users)
            AND (s.user_id = u.id OR (s.user_id IS NULL AND s.stripe_customer_id = u.stripe_customer_id))
    ), owners AS (
        SELECT DISTINCT m.stripe_subscription_id, coalesce(m.user_id, u.id) AS user_id
        FROM mine m LEFT JOIN users u ON m.user_id IS NULL AND u.stripe_customer_id = m.stripe_customer_id
    ), told AS (
        SELECT o.user_id, h.stripe_subscription_id AS subscription, h.occurred_at AS at, h.version, h.status,
               h.stripe_price_id AS price
        FROM subscription_history h JOIN owners o USING (stripe_subscription_id)
    )
    SELECT user_id, subscription, at, status, price FROM (
        SELECT * FROM told
        UNION ALL
        SELECT o.user_id, m.stripe_subscription_id, coalesce(m.started_at, m.stripe_created_at, m.current_period_start),
               '{}', 'active', m.stripe_price_id
        FROM mine m JOIN owners o USING (stripe_subscription_id)
        WHERE NOT EXISTS (SELECT FROM told t WHERE t.subscription = m.stripe_subscription_id)
        UNION ALL
        SELECT o.user_id, m.stripe_subscription_id,
               coalesce(m.ended_at, CASE WHEN m.status = 'canceled' THEN m.canceled_at END, m.updated_at), '{1}',
               m.status, m.stripe_price_id
        FROM mine m JOIN owners o USING (stripe_subscription_id)
        WHERE NOT EXISTS (SELECT FROM told t WHERE t.subscription = m.stripe_subscription_id)
          AND m.status NOT IN ('active', 'trialing', 'past_due')
    ) states WHERE at IS NOT NULL AND at < :until
    ORDER BY user_id, subscription, at, version
    """
).bindparams(bindparam("users", type_=ARRAY(BigInteger)))


async def states(conn: AsyncConnection, users: Sequence[int], until: datetime) -> list[Row]:
    """What the subscriptions of these customers became before `until`, in order, by Stripe's times.

    Rows have user_id, subscription, at, status and price.
    """
    return [dict(row) for row in (await conn.execute(_STATES, {"users": list(users), "until": until})).mappings()]


_USER = text("SELECT * FROM users WHERE id = :id")
_TAX_IDS = text(
    "SELECT type, value FROM tax_ids WHERE stripe_customer_id = :customer AND deleted_at IS NULL"
    " AND type IS NOT NULL AND value IS NOT NULL ORDER BY stripe_tax_id"
)


async def user(conn: AsyncConnection, user_id: int) -> Row | None:
    """A customer."""
    row = (await conn.execute(_USER, {"id": user_id})).mappings().one_or_none()
    return dict(row) if row is not None else None


async def tax_ids(conn: AsyncConnection, stripe_customer_id: str | None) -> list[tuple[str, str]]:
    """The (type, value) of a customer's tax numbers."""
    if stripe_customer_id is None:
        return []
    return [(row[0], row[1]) for row in await conn.execute(_TAX_IDS, {"customer": stripe_customer_id})]


_USED = text(
    """
    SELECT r.user_id, u.timezone, min(r.bucket_start) AS first, max(r.bucket_start) AS last
    FROM usage_rollups r JOIN users u ON u.id = r.user_id
    WHERE r.granularity = 'day' AND r.user_id IS NOT NULL AND r.billable AND r.cost_units > 0
      AND r.bucket_start >= :since AND r.bucket_start < :until AND r.user_id > :after
    GROUP BY r.user_id, u.timezone, date_trunc('month', r.bucket_start, 'UTC')
    ORDER BY r.user_id, first
    """
)


async def used(conn: AsyncConnection, since: datetime, until: datetime, *, after: int = 0) -> list[Row]:
    """Which customers used anything: a row for each month (UTC) with user_id, timezone, the first day and the last."""
    values = {"since": since, "until": until, "after": after}
    return [dict(row) for row in (await conn.execute(_USED, values)).mappings()]


_BILLED = text(
    """
    SELECT u.user_id, c.timezone, max(u.period_end) AS first, CAST(:until AS timestamptz) AS last
    FROM usage_invoices u JOIN users c ON c.id = u.user_id
    WHERE u.kind = 'overage' AND u.period_end >= :since AND u.user_id > :after
      AND (u.status = 'issued' OR (u.status = 'empty' AND EXISTS (
          SELECT FROM usage_rollups r
          WHERE r.granularity = 'day' AND r.user_id = u.user_id AND r.billable AND r.cost_units > 0
            AND r.bucket_start >= date_trunc('day', u.period_start, 'UTC') AND r.bucket_start < u.period_end)))
    GROUP BY u.user_id, c.timezone ORDER BY u.user_id
    """
)


async def billed(conn: AsyncConnection, since: datetime, until: datetime, *, after: int = 0) -> list[Row]:
    """Who was invoiced for a month that ended at `since` or later: a row as `used` has it, from its end to `until`.

    What came late of that month is settled with the next ones, whether anything was used in them or not. So it is of a
    month that came to nothing, and in which something was used: it may have been reported after it was looked at.
    """
    values = {"since": since, "until": until, "after": after}
    return [dict(row) for row in (await conn.execute(_BILLED, values)).mappings()]


# Of a subscription that was loaded, and not told by events from its beginning on, nobody knows what it was before.
_TOLD_SINCE = text(
    """
    SELECT count(*) > 0 AND bool_and(EXISTS (
        SELECT FROM subscription_history h
        WHERE h.stripe_subscription_id = s.stripe_subscription_id
          AND h.occurred_at <= greatest(:since, coalesce(s.started_at, s.stripe_created_at, :since))
                               + interval '1 minute'))
    FROM users u
    JOIN subscriptions s ON s.user_id = u.id OR (s.user_id IS NULL AND s.stripe_customer_id = u.stripe_customer_id)
    WHERE u.id = :user_id
    """
)


async def told_since(conn: AsyncConnection, user_id: int, since: datetime) -> bool:
    """Whether events told what each of a customer's subscriptions was from `since` on, or from its beginning."""
    return bool((await conn.execute(_TOLD_SINCE, {"user_id": user_id, "since": since})).scalar())


_LOOKED_AT = text(
    "SELECT user_id, period_start, period_end, status, timezone FROM usage_invoices"
    " WHERE kind = 'overage' AND user_id = ANY(:users) AND status <> 'void' AND period_start >= :since"
    " ORDER BY user_id, period_start"
).bindparams(bindparam("users", type_=ARRAY(BigInteger)))


async def looked_at(conn: AsyncConnection, users: Sequence[int], since: datetime) -> dict[int, list[Known]]:
    """Customers' months that begin at `since` or later, were looked at and are not void, in order."""
    found: defaultdict[int, list[Known]] = defaultdict(list)
    for user_id, *period_ in await conn.execute(_LOOKED_AT, {"users": list(users), "since": since}):
        found[user_id].append(Known(*period_))
    return dict(found)


_PLANNED = text(
    """
    SELECT DISTINCT u.id FROM users u
    JOIN subscriptions s ON s.user_id = u.id OR (s.user_id IS NULL AND s.stripe_customer_id = u.stripe_customer_id)
    WHERE u.id = ANY(:users) AND (
        s.stripe_price_id = ANY(:prices) OR EXISTS (
            SELECT FROM subscription_history h
            WHERE h.stripe_subscription_id = s.stripe_subscription_id AND h.stripe_price_id = ANY(:prices)))
    """
).bindparams(bindparam("users", type_=ARRAY(BigInteger)), bindparam("prices", type_=ARRAY(Text)))


async def planned(conn: AsyncConnection, users: Sequence[int], prices: Sequence[str]) -> set[int]:
    """Those of `users` that ever had a subscription at one of these prices."""
    return set((await conn.execute(_PLANNED, {"users": list(users), "prices": list(prices)})).scalars())


_PERIOD = ", ".join(f"u.{name}" for name in UsageRow.__dataclass_fields__)
_ADD_PERIOD = text(
    """
    INSERT INTO usage_invoices (kind, user_id, period_start, period_end, timezone, created_at, updated_at)
    VALUES ('overage', :user_id, :start, :end, :timezone, :now, :now)
    ON CONFLICT (kind, api_key_prefix, user_id, period_start) WHERE status <> 'void' DO NOTHING
    """
)


async def period(
    conn: AsyncConnection, user_id: int, start: datetime, end: datetime, timezone: str, *, now: datetime
) -> UsageRow:
    """A customer's month, locked; written down if nobody has looked at it yet."""
    values = {"user_id": user_id, "start": start, "end": end, "timezone": timezone, "now": now}
    await conn.execute(_ADD_PERIOD, values)
    found = await looked_at_one(conn, user_id, start, lock=True)
    assert found is not None, "it was written just now, and whoever writes it holds the owner"
    return found


async def looked_at_one(conn: AsyncConnection, user_id: int, start: datetime, *, lock: bool = False) -> UsageRow | None:
    """The row of a customer's month that is not void; with `lock` nobody else changes it."""
    found = await conn.execute(
        text(
            f"SELECT {_PERIOD} FROM usage_invoices u WHERE u.kind = 'overage' AND u.user_id = :user_id"  # noqa: S608 - names of our own
            f" AND u.period_start = :start AND u.status <> 'void'{' FOR UPDATE' if lock else ''}"
        ),
        {"user_id": user_id, "start": start},
    )
    row = found.mappings().first()
    return UsageRow(**row) if row is not None else None


async def totals_before(conn: AsyncConnection, user_id: int, start: datetime, *, limit: int) -> list[tuple[int, int]]:
    """What a customer's last overage invoices before `start` came to (minor units), each of one month; newest first."""
    found = await conn.execute(
        text(
            "SELECT total_cents FROM usage_invoices WHERE kind = 'overage' AND status = 'issued' AND user_id = :user_id"
            " AND period_end <= :start ORDER BY period_start DESC LIMIT :limit"
        ),
        {"user_id": user_id, "start": start, "limit": limit},
    )
    return [(row[0], 1) for row in found]


async def listed(conn: AsyncConnection, *, status: str | None, limit: int) -> list[Row]:
    """Customers' months that were looked at, newest first."""
    found = await conn.execute(
        text(
            """
            SELECT u.id, u.user_id, c.email, coalesce(c.company, c.name) AS customer, u.input ->> 'name' AS period,
                   u.period_start, u.period_end, u.timezone, u.status,
                   u.currency, u.total_cents, u.reasons, i.invoice_number, u.updated_at
            FROM usage_invoices u JOIN users c ON c.id = u.user_id LEFT JOIN invoices i ON i.id = u.invoice_id
            WHERE u.kind = 'overage' AND (CAST(:status AS text) IS NULL OR u.status = :status)
            ORDER BY u.id DESC LIMIT :limit
            """
        ),
        {"status": status, "limit": limit},
    )
    return [dict(row) for row in found.mappings()]
