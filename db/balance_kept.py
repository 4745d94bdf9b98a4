"""Stripe's rows are laid beside what it told us before: what is new is kept, and what it tells otherwise is named."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from asyncpg.exceptions import DeadlockDetectedError, UniqueViolationError

from db.balance_comparison import Span
from db.balance_transactions import PATIENCE, Session

# In all statements $1 is the account and $2 the livemode; `{since}` and `{limit}` are the ends of the span in seconds.

CHUNK = 400
"""Blocks of staged rows that are kept by one statement: others who keep the same rows wait a second at most."""

TRIES = 5
"""How often a chunk is begun anew."""

# An hour of which both sides have the same rows with the same amounts needs no second look. Stripe's `created` does not
# change; what waits for its webhook is not counted.
_HOURS = """
    SELECT {hour} AS hour, {late} AS late, count(*) AS count,
           sum(hashtextextended({id}, hashint8extended({amount}, hashint8extended({fee}, {net})))) AS checksum
    FROM {rows} GROUP BY 1, 2
"""

_HOUR = "date_bin('1 hour', {time}, 'epoch'::timestamptz)"
_STAGED_HOUR = _HOUR.format(time="to_timestamp(s.created)")
_KEPT_HOUR = _HOUR.format(time="k.stripe_created_at")

_KEPT = """balance_transactions k WHERE k.stripe_account = $1 AND k.livemode = $2
    AND k.stripe_created_at >= to_timestamp({since}) AND k.stripe_created_at < to_timestamp({limit})"""

_STAGED_HOURS = _HOURS.format(
    hour=_STAGED_HOUR, late="s.created >= {limit}", id="s.id", amount="s.amount", fee="s.fee", net="s.net",
    rows="staged s",
)  # fmt: skip

_KEPT_HOURS = _HOURS.format(
    hour=_KEPT_HOUR, late="false", id="k.stripe_balance_transaction_id", amount="k.amount_cents", fee="k.fee_cents",
    net="k.net_cents", rows=_KEPT,
)  # fmt: skip

_UNLIKE = f"""
    SELECT coalesce(s.id, k.id) AS id, coalesce(s.currency, k.currency) AS currency, s.amount, s.fee, s.net,
           k.amount AS kept_amount, k.fee AS kept_fee, k.net AS kept_net
    FROM (SELECT * FROM staged s WHERE s.created >= {{limit}} OR {_STAGED_HOUR} = ANY ($3)) s FULL JOIN (
        SELECT k.stripe_balance_transaction_id AS id, k.currency, k.amount_cents AS amount, k.fee_cents AS fee,
               k.net_cents AS net
        FROM {_KEPT} AND {_KEPT_HOUR} = ANY ($3)
    ) k ON k.id = s.id
    WHERE (k.id IS NOT NULL AND (s.amount, s.fee, s.net) IS DISTINCT FROM (k.amount, k.fee, k.net))
       OR s.amount - s.fee <> s.net
    ORDER BY 1
"""  # noqa: S608 - constants

_STRANGE = """
    SELECT s.id, s.currency, s.amount, s.fee, s.net, NULL::bigint AS kept_amount, NULL::bigint AS kept_fee,
           NULL::bigint AS kept_net
    FROM staged s WHERE s.amount - s.fee <> s.net ORDER BY 1
"""

_COUNTED = "SELECT count(*), count(*) FILTER (WHERE created >= {limit}) FROM staged"

# In the order of time the indexes grow at their end, which costs PostgreSQL a third less than anywhere else.
_NEW = "CREATE TEMPORARY TABLE new AS SELECT s.* FROM staged s {which} ORDER BY s.created"

_ALL_KEPT = "CREATE TEMPORARY TABLE new AS TABLE staged WITH NO DATA"

_NOT_KEPT = _NEW.format(
    which=f"""WHERE (s.created >= {{limit}} OR {_STAGED_HOUR} = ANY ($3)) AND NOT EXISTS (
        SELECT FROM {_KEPT} AND {_KEPT_HOUR} = ANY ($3) AND k.stripe_balance_transaction_id = s.id
    ) AND NOT EXISTS (SELECT FROM balance_transactions k
        WHERE k.stripe_account = $1 AND k.livemode = $2 AND k.stripe_balance_transaction_id = s.id
          AND k.stripe_created_at >= to_timestamp({{limit}})
          AND k.stripe_created_at <= (SELECT to_timestamp(max(created)) FROM staged))"""  # noqa: S608 - constants
)

_KEEP = """
    INSERT INTO balance_transactions (
        stripe_balance_transaction_id, livemode, stripe_account, type, reporting_category, source_id, currency,
        amount_cents, fee_cents, net_cents, exchange_rate, available_on, stripe_created_at, seen_at
    )
    SELECT id, $1, $2, type, category, source, currency, amount, fee, net, rate,
           to_timestamp(available_on), to_timestamp(created), $3
    FROM {rows} WHERE ctid >= $4::tid AND ctid < $5::tid AND amount - fee = net
"""

_UNLESS_KEPT = " ORDER BY id ON CONFLICT DO NOTHING"
"""All who keep the same rows do so in one order, so that they wait for each other and not in a circle."""


@dataclass(frozen=True, slots=True)
class Changed:
    """A balance transaction that is kept, and which Stripe tells otherwise now, or does not list any more.

    Or one whose fee and net do not add up, which is not kept. Minor units of `currency`.
    """

    id: str
    currency: str
    there: tuple[int, int, int] | None
    """Amount, fee and net."""
    here: tuple[int, int, int] | None


@dataclass(frozen=True, slots=True)
class Prepared:
    """What was staged: how many rows, how many of them wait, and what is not as it was kept."""

    listed: int
    waiting: int
    changed: Sequence[Changed]


async def prepare(on: Session, span: Span) -> Prepared:
    """Lay what was staged beside what is kept, once all of it is there. What is not kept yet is in `new` then."""
    here = {row["hour"]: row["checksum"] for row in await on.fetch(span.within(_KEPT_HOURS), *span.owner)}
    if not here:
        await on.execute(_NEW.format(which=""))
        ((listed, waiting),) = await on.fetch(span.within(_COUNTED))
        return Prepared(listed, waiting, _changed(await on.fetch(_STRANGE)))
    hours = await on.fetch(span.within(_STAGED_HOURS))
    there = {row["hour"]: row["checksum"] for row in hours if not row["late"]}
    unlike = [hour for hour in here.keys() | there.keys() if here.get(hour) != there.get(hour)]
    listed, waiting = sum(row["count"] for row in hours), sum(row["count"] for row in hours if row["late"])
    if not unlike and not waiting:
        await on.execute(_ALL_KEPT)
        return Prepared(listed, waiting, [])
    await on.execute(span.within(_NOT_KEPT), *span.owner, unlike)
    return Prepared(listed, waiting, _changed(await on.fetch(span.within(_UNLIKE), *span.owner, unlike)))


def _changed(rows: Sequence[Any]) -> list[Changed]:
    return [
        Changed(
            row["id"],
            row["currency"],
            None if row["amount"] is None else (row["amount"], row["fee"], row["net"]),
            None if row["kept_amount"] is None else (row["kept_amount"], row["kept_fee"], row["kept_net"]),
        )
        for row in rows
    ]


async def keep(
    on: Session, *, account: str, livemode: bool, now: datetime, rows: str = "staged", fresh: bool = False
) -> int:
    """Keep the rows of a temporary table that are new, and leave those that are there. Returns how many were new.

    Rows whose fee and net do not add up to their amount are left out: they are for a person to look at. `fresh`: most
    likely none of them is there. To insert without looking costs PostgreSQL a third less, and it says so when one is
    there after all.
    """
    sql = _KEEP.format(rows=rows)
    size = await on.fetch("SELECT pg_relation_size($1::regclass) / current_setting('block_size')::int", rows)
    new = 0
    for first in range(0, size[0][0], CHUNK):
        values = (livemode, account, now, (first, 0), (first + CHUNK, 0))
        if fresh:
            try:
                new += await _insert(on, sql, *values)
            except (UniqueViolationError, DeadlockDetectedError):  # somebody else was first, or a list told it twice
                fresh = False
        if not fresh:
            new += await _unless_kept(on, sql, *values)
    return new


async def _unless_kept(on: Session, sql: str, *values: Any) -> int:
    for _ in range(TRIES):
        try:
            return await _insert(on, sql + _UNLESS_KEPT, *values)
        except DeadlockDetectedError:  # with one that takes them for fresh, in the order of time
            continue
    return await _insert(on, sql + _UNLESS_KEPT, *values)


async def _insert(on: Session, sql: str, *values: Any) -> int:
    told = await on.raw.execute(sql, *values, timeout=PATIENCE)
    return int(told.rpartition(" ")[2])


async def unkept(on: Session) -> int:
    """How many rows of the temporary table `new` would be kept."""
    found = await on.fetch("SELECT count(DISTINCT id) FROM new WHERE amount - fee = net")
    return int(found[0][0])
