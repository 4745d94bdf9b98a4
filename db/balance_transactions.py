"""What Stripe says of the money that moved is brought beside our rows, kept, and tells each charge its fee."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeAlias

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

Record: TypeAlias = tuple[Any, ...]
"""The values of COLUMNS. Amounts are in minor units of `currency`, times in seconds since 1970."""

COLUMNS = (
    "id",
    "type",
    "category",
    "source",
    "currency",
    "amount",
    "fee",
    "net",
    "rate",
    "available_on",
    "created",
)

PATIENCE = 900.0
"""Seconds that one statement over a million rows may take, on a slow disk beside other work."""

BATCH = 5_000
"""Rows of one COPY: pages of a hundred would each cost a round trip."""

CHUNK = 400
"""Blocks of staged rows that are kept by one statement: others who keep the same rows wait a second at most."""

KIND = """CASE
    WHEN left(source, 3) IN ('ch_', 'py_')
        AND type IN ('charge', 'payment', 'payment_failure_refund', 'payment_reversal') THEN 'charge'
    WHEN left(source, 3) IN ('re_', 'pyr') THEN 'refund'
    WHEN left(source, 3) IN ('du_', 'dp_') THEN 'dispute'
    WHEN left(source, 3) = 'po_' THEN 'payout'
    ELSE 'other' END"""
"""Whose money moved: https://docs.stripe.com/reports/balance-transaction-types. The prefix of its source decides,
because one type (`adjustment`) stands for several things, and a failed debit is told of a charge or of a refund."""

_SETUP = (
    "SET jit = off",
    "SET work_mem = '128MB'",
    "SET temp_buffers = '32MB'",
    "SET lock_timeout = '30s'",
    "SET default_statistics_target = 10",
    f"""
    CREATE TEMPORARY TABLE staged (
        id text NOT NULL, type text NOT NULL, category text NOT NULL, source text, currency text NOT NULL,
        amount bigint NOT NULL, fee bigint NOT NULL, net bigint NOT NULL, rate numeric,
        available_on bigint NOT NULL, created bigint NOT NULL,
        kind text NOT NULL GENERATED ALWAYS AS ({KIND}) STORED
    )
    """,
)

_KEEP = """
    INSERT INTO balance_transactions (
        stripe_balance_transaction_id, livemode, stripe_account, type, reporting_category, source_id, currency,
        amount_cents, fee_cents, net_cents, exchange_rate, available_on, stripe_created_at, seen_at
    )
    SELECT id, $1, $2, type, category, source, currency, amount, fee, net, rate,
           to_timestamp(available_on), to_timestamp(created), $3
    FROM {rows} WHERE ctid >= $4::tid AND ctid < $5::tid AND amount - fee = net
    ON CONFLICT DO NOTHING
"""


@dataclass(slots=True)
class Staging:
    """Balance transactions of Stripe's in a temporary table `staged`, on a connection of its own."""

    raw: Any
    """asyncpg's connection, which knows COPY. Each statement is a transaction of its own."""
    _batch: list[Record] = field(default_factory=list[Record])

    async def add(self, rows: Sequence[Record]) -> None:
        """Take more rows; they are sent by the thousand."""
        self._batch += rows
        if len(self._batch) >= BATCH:
            await self.flush()

    async def flush(self) -> None:
        """Send what was not sent yet."""
        batch, self._batch = self._batch, []
        if batch:
            await self.raw.copy_records_to_table("staged", records=batch, columns=COLUMNS, timeout=PATIENCE)

    async def execute(self, sql: str, *values: Any) -> None:
        """Run a statement."""
        await self.raw.execute(sql, *values, timeout=PATIENCE)

    async def fetch(self, sql: str, *values: Any) -> list[Any]:
        """Rows of a query."""
        return await self.raw.fetch(sql, *values, timeout=PATIENCE)

    async def keep(self, *, account: str, livemode: bool, now: datetime, rows: str = "staged") -> int:
        """Keep the rows of a temporary table that are new, and leave those that are there. Returns how many were new.

        Rows whose fee and net do not add up to their amount are left out: they are for a person to look at.
        """
        blocks = (await self.fetch("SELECT pg_relation_size($1::regclass) / current_setting('block_size')::int", rows))[
            0
        ][0]
        new = 0
        for first in range(0, blocks, CHUNK):
            told = await self.raw.execute(
                _KEEP.format(rows=rows),
                livemode,
                account,
                now,
                (first, 0),
                (first + CHUNK, 0),
                timeout=PATIENCE,
            )
            new += int(told.rpartition(" ")[2])
        return new

    async def unkept(self) -> int:
        """How many rows of the temporary table `new` would be kept."""
        found = await self.fetch("SELECT count(DISTINCT id) FROM new WHERE amount - fee = net")
        return int(found[0][0])


@asynccontextmanager
async def staging(engine: AsyncEngine) -> AsyncGenerator[Staging]:
    """Room for Stripe's rows while the network is asked: no transaction is open, and nothing of it stays behind."""
    async with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as conn:
        try:
            raw: Any = (await conn.get_raw_connection()).driver_connection
            for statement in _SETUP:
                await raw.execute(statement)
            yield Staging(raw)
        finally:
            await conn.invalidate()  # its settings and tables are nobody else's


LACKING = "c.status = 'succeeded' AND c.captured AND c.stripe_fee_cents IS NULL"
"""As the index `ix_charges_without_fee` has it."""

_LACKING_ACCOUNTS = text(
    f"""
    SELECT DISTINCT c.stripe_account FROM charges c
    WHERE {LACKING} AND c.stripe_created_at >= :since AND c.stripe_created_at < :until
    ORDER BY 1
    """  # noqa: S608 - constants
)


async def accounts_without_fees(conn: AsyncConnection, since: datetime, until: datetime) -> list[str]:
    """The accounts ("": our own) that took money in [since, until) of which we do not know the fee."""
    return list((await conn.execute(_LACKING_ACCOUNTS, {"since": since, "until": until})).scalars())


@dataclass(frozen=True, slots=True)
class Unlisted:
    """A charge whose fee is not known, nor its balance transaction, which was made between the two times."""

    balance_transaction: str
    created_at: datetime
    shown_at: datetime
    """When Stripe showed the charge as we have it."""


_UNLISTED = text(
    f"""
    SELECT c.balance_transaction_id, c.stripe_created_at,
           greatest(to_timestamp(c.version[2]), c.stripe_created_at) AS shown_at
    FROM charges c
    WHERE {LACKING} AND c.stripe_created_at >= :since AND c.stripe_created_at < :until
      AND c.stripe_account = :account AND c.livemode = :livemode AND c.balance_transaction_id IS NOT NULL
      AND NOT EXISTS (
          SELECT FROM balance_transactions b WHERE b.stripe_balance_transaction_id = c.balance_transaction_id
      )
    ORDER BY c.stripe_created_at DESC LIMIT :limit
    """  # noqa: S608 - constants
)


async def unlisted(
    conn: AsyncConnection, account: str, *, livemode: bool, since: datetime, until: datetime, limit: int
) -> list[Unlisted]:
    """Up to `limit` such charges of [since, until), the latest first. Where no money is there yet, there is none."""
    values = {"since": since, "until": until, "account": account, "livemode": livemode, "limit": limit}
    return [Unlisted(*row) for row in await conn.execute(_UNLISTED, values)]


@dataclass(frozen=True, slots=True)
class Fee:
    """What Stripe kept of a charge, in minor units of the balance's currency."""

    charge: str
    fee: int
    net: int
    currency: str


_FEES = text(
    f"""
    WITH page AS (
        SELECT c.stripe_charge_id, c.stripe_created_at FROM charges c
        WHERE {LACKING} AND (c.stripe_created_at, c.stripe_charge_id) > (:at, :after)
          AND c.stripe_account = :account AND c.livemode = :livemode
        ORDER BY c.stripe_created_at, c.stripe_charge_id LIMIT :limit
    )
    SELECT p.stripe_created_at, p.stripe_charge_id, b.fee, b.net, b.currency
    FROM page p LEFT JOIN LATERAL (
        SELECT sum(b.fee_cents)::bigint AS fee, sum(b.net_cents)::bigint AS net, max(b.currency) AS currency
        FROM balance_transactions b
        WHERE b.source_id = p.stripe_charge_id AND b.type IN ('charge', 'payment')
          AND b.stripe_account = :account AND b.livemode = :livemode
    ) b ON true
    ORDER BY 1, 2
    """  # noqa: S608 - constants
)

Place: TypeAlias = tuple[datetime, str]
"""Where a page ended: a charge's time and id."""


async def fees(
    conn: AsyncConnection, account: str, *, livemode: bool, after: Place, limit: int
) -> tuple[list[Fee], Place | None]:
    """The fees of the next `limit` charges that lack theirs, where it is known now. None: there are no more.

    A charge that was captured in several parts has a balance transaction for each, and the sum of their fees.
    """
    values = {"account": account, "livemode": livemode, "at": after[0], "after": after[1], "limit": limit}
    rows = list(await conn.execute(_FEES, values))
    found = [Fee(row[1], row[2], row[3], row[4]) for row in rows if row[2] is not None]
    return found, (rows[-1][0], rows[-1][1]) if len(rows) == limit else None
