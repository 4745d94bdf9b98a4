"""Objects as Stripe lists them are laid beside our copies, all at once: which of them do not look the same."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, TypeAlias, cast

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine

PATIENCE = 900.0
"""Seconds that one comparison may take: it reads every row of a table of millions at most once."""

Driver: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


@dataclass(frozen=True, slots=True)
class Copy:
    """Where our copy of a kind of object is, and what of it is compared; the expressions are over the row `x`."""

    table: str
    key: str
    amounts: tuple[str, ...]
    """In the order in which Stripe's are staged; a NULL of Stripe's is what that shape does not tell."""
    times: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    """Other objects to which it belongs; a NULL of Stripe's is what that shape does not tell."""
    open_here: str = "false"
    """Which of our rows Stripe's lists of unfinished objects must show."""
    status: str = "x.status"
    also: str = "false"
    """What else makes a suspect, with `s` for Stripe's."""


def _flag(name: str) -> str:
    return f"coalesce(x.{name}, false)::int"


def _sum(name: str) -> str:
    return f"coalesce(x.{name}, 0)"  # older shapes do not tell it


# A payment's row is derived from its charge: whether it fits is asked of every charge that Stripe lists. A dispute that
# was won leaves its mark at Stripe, not here. Where money was only held, it can be released, not given back. For which
# invoice it is, the links tell.
_NO_PAYMENT = """
    NOT EXISTS (SELECT FROM payment_history p WHERE p.stripe_charge_id = s.object_id
        AND p.amount_cents = s.amounts[1] AND p.currency = s.currency
        AND extract(epoch FROM p.created_at)::bigint = s.made_at
        AND (s.names[1] IS NULL OR p.stripe_customer_id = s.names[1])
        AND CASE WHEN p.stripe_invoice_id IS NULL THEN NOT EXISTS (SELECT FROM invoice_payments l
                     WHERE l.payment_id IN (p.stripe_payment_intent_id, p.stripe_charge_id))
                 ELSE EXISTS (SELECT FROM invoice_payments l WHERE l.stripe_invoice_id = p.stripe_invoice_id
                     AND l.payment_id IN (p.stripe_payment_intent_id, p.stripe_charge_id)) END
        AND CASE WHEN s.status <> 'succeeded' THEN p.status = s.status
                 WHEN s.amounts[4] = 0 THEN p.status <> 'failed'
                 ELSE p.refund_amount_cents = coalesce(s.amounts[3], 0)
                  AND (p.status = CASE WHEN p.refund_amount_cents = 0 THEN 'succeeded'
                                       WHEN s.amounts[5] = 1 THEN 'refunded' ELSE 'partially_refunded' END
                       OR (p.status = 'disputed' AND coalesce(s.amounts[6], 1) = 1)) END)
"""

# An intent without a charge has a row of its own.
_NO_ATTEMPT = """
    s.amounts[3] = 0 AND NOT EXISTS (SELECT FROM payment_history p
        WHERE p.stripe_payment_intent_id = s.object_id AND p.stripe_charge_id IS NULL
        AND p.amount_cents = s.amounts[1] AND p.currency = s.currency
        AND (p.status = 'pending') = (x.status NOT IN ('canceled', 'succeeded')
            AND (x.status <> 'requires_payment_method' OR x.failure_code IS NULL)))
"""

# All items in one text, as `jobs.reconciliation.open_objects` has it.
_ITEMS = """
    CASE WHEN x.items_complete THEN coalesce((
        SELECT string_agg(told COLLATE "C", ',' ORDER BY told COLLATE "C")
        FROM jsonb_array_elements(x.items) e, concat_ws(':', e->>'id', e->>'price', e->>'quantity') told
    ), '') END
"""

_OF_CHARGE = ("x.stripe_charge_id", "x.stripe_payment_intent_id")

COPIES: Mapping[str, Copy] = {
    "invoice": Copy(
        "invoices",
        "stripe_invoice_id",
        (
            "x.subtotal_cents",
            "x.total_cents",
            "x.amount_due_cents",
            "x.amount_paid_cents",
            "x.amount_remaining_cents",
            "x.tax_cents",
            "x.discount_cents",
            _sum("starting_balance_cents"),
            _sum("ending_balance_cents"),
            _sum("pre_payment_credit_cents"),
            _sum("post_payment_credit_cents"),
            _sum("amount_overpaid_cents"),
            _sum("attempt_count"),
        ),
        (
            "x.billing_period_start",
            "x.billing_period_end",
            "x.due_date",
            "x.finalized_at",
            "x.paid_at",
            "x.voided_at",
            "x.marked_uncollectible_at",
        ),
        ("x.stripe_customer_id", "x.stripe_subscription_id"),
        open_here="x.kind IS NULL AND (x.status IS NULL OR x.status IN ('draft', 'open', 'uncollectible'))",
    ),
    "subscription": Copy(
        "subscriptions",
        "stripe_subscription_id",
        ("x.quantity", _flag("cancel_at_period_end")),
        (
            "x.current_period_start",
            "x.current_period_end",
            "x.trial_end",
            "x.cancel_at",
            "x.canceled_at",
            "x.ended_at",
            "x.trial_start",
            "x.started_at",
        ),
        ("x.stripe_customer_id", "x.stripe_price_id", _ITEMS),
        open_here="x.status NOT IN ('canceled', 'incomplete_expired')",
    ),
    "credit_note": Copy(
        "credit_notes",
        "stripe_credit_note_id",
        (
            "x.amount_cents",
            "x.total_cents",
            "x.subtotal_cents",
            "x.tax_cents",
            "x.discount_cents",
            _sum("out_of_band_cents"),
        ),
        ("x.voided_at",),
        ("x.stripe_invoice_id", "x.stripe_customer_id"),
    ),
    "charge": Copy(
        "charges",
        "stripe_charge_id",
        (
            "x.amount_cents",
            "x.amount_captured_cents",
            "x.amount_refunded_cents",
            _flag("captured"),
            _flag("refunded"),
            _flag("disputed"),
        ),
        names=("x.stripe_customer_id", "x.stripe_payment_intent_id"),
        open_here=(
            "x.status = 'pending' OR (x.status = 'succeeded' AND x.captured IS FALSE AND x.refunded IS NOT TRUE"
            " AND x.expired_at IS NULL)"
        ),
        also=_NO_PAYMENT,
    ),
    "payment_intent": Copy(
        "payment_intents",
        "stripe_payment_intent_id",
        (
            "x.amount_cents",
            "x.amount_received_cents",
            "(x.latest_stripe_charge_id IS NOT NULL)::int",
            _sum("amount_capturable_cents"),
        ),
        ("x.canceled_at",),
        ("x.stripe_customer_id", "x.latest_stripe_charge_id"),
        open_here="x.status IN ('processing', 'requires_capture')",
        also=_NO_ATTEMPT,
    ),
    "refund": Copy(
        "refunds",
        "stripe_refund_id",
        ("x.amount_cents",),
        names=_OF_CHARGE,
        open_here="x.status IN ('pending', 'requires_action')",
    ),
    "dispute": Copy(
        "disputes",
        "stripe_dispute_id",
        ("x.amount_cents",),
        ("x.evidence_due_by",),
        _OF_CHARGE,
        open_here=(
            "x.status NOT IN ('won', 'lost', 'warning_closed', 'prevented', 'charge_refunded')"
            " AND x.stripe_dispute_id NOT LIKE '%:%'"  # very old ones have no id at Stripe
        ),
    ),
    # One of whom only the name is known is as good as missing.
    "customer": Copy(
        "users",
        "stripe_customer_id",
        ("coalesce(x.balance_cents, 0)", _flag("delinquent")),
        open_here="x.version = '{}'",
        status="s.status",  # they have none
    ),
    "payout": Copy(
        "payouts",
        "stripe_payout_id",
        ("x.amount_cents",),
        ("x.arrival_date",),
        open_here="x.status IN ('pending', 'in_transit')",
    ),
}


class State(NamedTuple):
    """An object as Stripe showed it; the order of the fields is that of the columns. Times are seconds since 1970."""

    kind: str
    object_id: str
    listed: bool
    """By a list, which shows the present; else by an event, as it was when that happened."""
    seen_at: int | None
    """When the event happened; None in a list."""
    made_at: int | None
    final: bool
    rank: int
    deleted: bool
    status: str | None
    currency: str | None
    amounts: Sequence[int | None]
    times: Sequence[int | None]
    names: Sequence[str | None]


_CREATE = """
    CREATE TEMPORARY TABLE shown (
        kind text, object_id text, listed boolean, seen_at bigint, made_at bigint, final boolean, rank integer,
        deleted boolean, status text, currency text, amounts bigint[], times bigint[],
        names text[],
        n bigint GENERATED ALWAYS AS IDENTITY
    )
"""

# One row for each object: as a list showed it, else as its newest event did. A tie between events may be decided
# wrongly: then the object is asked for once in vain.
_NEWEST = """
    CREATE TEMPORARY TABLE newest AS
    SELECT DISTINCT ON (kind, object_id) * FROM shown
    ORDER BY kind, object_id, deleted DESC, listed DESC, final DESC, seen_at DESC NULLS LAST, rank DESC, n DESC
"""


def _differs(copy: Copy) -> str:
    told = [
        f"({copy.status} IS DISTINCT FROM s.status AND s.status IS NOT NULL)",
        "(x.currency IS DISTINCT FROM s.currency AND s.currency IS NOT NULL)",
        "(extract(epoch FROM x.stripe_created_at)::bigint IS DISTINCT FROM s.made_at AND s.made_at IS NOT NULL)",
        f"({copy.also})",
    ]
    told += [
        f"({column} IS DISTINCT FROM s.names[{number}] AND s.names[{number}] IS NOT NULL)"
        for number, column in enumerate(copy.names, 1)
    ]
    told += [
        f"({column} IS DISTINCT FROM s.amounts[{number}] AND s.amounts[{number}] IS NOT NULL)"
        for number, column in enumerate(copy.amounts, 1)
    ]
    told += [
        f"extract(epoch FROM {column})::bigint IS DISTINCT FROM s.times[{number}]"
        for number, column in enumerate(copy.times, 1)
    ]
    return " OR ".join(told)


# A row of another mode or account is none of this Stripe's. Only customers can have an id of one's own choosing, the
# same in both modes; of all others the object is named: a look leaves such a row alone, and tells of it.
def _odd(kind: str, copy: Copy) -> str:
    others = (
        f"NOT EXISTS (SELECT FROM {copy.table} y WHERE y.{copy.key} = s.object_id)" if kind == "customer" else "true"
    )
    return f"""
        SELECT s.object_id FROM newest s
        LEFT JOIN {copy.table} x ON x.{copy.key} = s.object_id AND x.stripe_account = $1 AND x.livemode = $2
        WHERE s.kind = '{kind}'
          AND CASE WHEN s.deleted THEN x.id IS NOT NULL AND x.deleted_at IS NULL
                   WHEN x.id IS NULL THEN {others}
                   ELSE x.deleted_at IS NOT NULL OR x.version = '{{}}' OR {_differs(copy)} END
    """  # noqa: S608 - names of our own models


def _unseen(kind: str, copy: Copy) -> str:
    return f"""
        SELECT x.{copy.key} FROM {copy.table} x
        WHERE ({copy.open_here}) AND x.deleted_at IS NULL AND x.{copy.key} IS NOT NULL
          AND x.stripe_account = $2 AND x.livemode = $3
          AND coalesce(extract(epoch FROM x.stripe_created_at), 0) <= $1
          AND NOT EXISTS (SELECT FROM newest s WHERE s.kind = '{kind}' AND s.object_id = x.{copy.key})
    """  # noqa: S608 - names of our own models


# Each attempt is a charge with its payment, or an intent without one: what lacks the other half is asked for, however
# old it is. A charge of which only a fee or an id is known is not here yet. The ids alone are in two indexes.
_HALVES = """
    WITH apart AS MATERIALIZED (
        SELECT c.id AS charge, p.id AS paid
        FROM (SELECT stripe_charge_id AS id FROM charges) c
        FULL JOIN (SELECT stripe_charge_id AS id FROM payment_history WHERE stripe_charge_id IS NOT NULL) p
            ON p.id = c.id
        WHERE c.id IS NULL OR p.id IS NULL
    )
    SELECT 'charge', x.stripe_charge_id FROM apart a JOIN charges x ON x.stripe_charge_id = a.charge
    WHERE x.stripe_account = $2 AND x.livemode = $3 AND x.stripe_created_at <= to_timestamp($1)
      AND x.amount_cents IS NOT NULL AND x.currency IS NOT NULL
    UNION ALL
    SELECT 'charge', p.stripe_charge_id FROM apart a JOIN payment_history p ON p.stripe_charge_id = a.paid
    WHERE p.stripe_account = $2 AND p.livemode = $3 AND p.created_at <= to_timestamp($1)
    UNION ALL
    SELECT 'payment_intent', p.stripe_payment_intent_id FROM payment_history p
    WHERE p.stripe_account = $2 AND p.livemode = $3 AND p.created_at <= to_timestamp($1)
      AND p.stripe_charge_id IS NULL AND p.stripe_payment_intent_id IS NOT NULL
      AND NOT EXISTS (
          SELECT FROM payment_intents x WHERE x.stripe_payment_intent_id = p.stripe_payment_intent_id
      )
"""


class Shown:
    """What Stripe showed in one run, in a table that only this connection sees."""

    def __init__(self, driver: Driver) -> None:
        """`driver` is a connection of its own, outside of any transaction: the network goes on meanwhile."""
        self._driver = driver

    async def add(self, states: Sequence[State]) -> None:
        """Keep a page; an object may come several times."""
        if states:
            await self._driver.copy_records_to_table("shown", records=states, columns=State._fields)

    async def settle(self) -> dict[str, int]:
        """Nothing more is added. Returns how many objects of each kind Stripe showed."""
        await self._driver.execute(_NEWEST, timeout=PATIENCE)
        await self._driver.execute("CREATE INDEX ON newest (kind, object_id)", timeout=PATIENCE)
        await self._driver.execute("ANALYZE newest", timeout=PATIENCE)
        rows = await self._driver.fetch("SELECT kind, count(*) FROM newest GROUP BY 1", timeout=PATIENCE)
        return {row[0]: row[1] for row in rows}

    async def odd(self, kind: str, account: str, *, livemode: bool) -> list[str]:
        """Objects that look another way here, or are not here."""
        statement = _odd(kind, COPIES[kind])
        return [row[0] for row in await self._driver.fetch(statement, account, livemode, timeout=PATIENCE)]

    async def unseen(self, kind: str, as_of: datetime, account: str, *, livemode: bool) -> list[str]:
        """Objects that are unfinished here and older than `as_of`, and that Stripe did not show."""
        statement = _unseen(kind, COPIES[kind])
        rows = await self._driver.fetch(statement, int(as_of.timestamp()), account, livemode, timeout=PATIENCE)
        return [row[0] for row in rows]

    async def halves(self, as_of: datetime, account: str, *, livemode: bool) -> list[tuple[str, str]]:
        """Kind and id of charges of ours without a payment, and of payments whose charge or intent is not here."""
        rows = await self._driver.fetch(_HALVES, int(as_of.timestamp()), account, livemode, timeout=PATIENCE)
        return [(row[0], row[1]) for row in rows]


@asynccontextmanager
async def collecting(engine: AsyncEngine) -> AsyncGenerator[Shown]:
    """A place for what Stripe shows; it is gone with its connection, which is not used again."""
    async with engine.connect() as conn:
        raw = await conn.get_raw_connection()
        driver = cast("Driver", raw.driver_connection)
        try:
            await driver.execute(_CREATE)
            yield Shown(driver)
        finally:
            await conn.invalidate()
