"""What Stripe says of the money that moved is brought beside our rows, kept, and tells each charge its fee."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeAlias, TypeVar

from asyncpg.exceptions import (
    DiskFullError,
    DuplicateTableError,
    InsufficientPrivilegeError,
    InterfaceError,
    InternalClientError,
    PostgresError,
)
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
    "SET parallel_tuple_cost = 0.01",
    "SET parallel_setup_cost = 100",
    "SET work_mem = '128MB'",
    "SET temp_buffers = '32MB'",
    "SET lock_timeout = '30s'",
    "SET default_statistics_target = 10",
)

_STAGED = f"""
    CREATE {{sort}} TABLE {{table}} (
        id text NOT NULL, type text NOT NULL, category text NOT NULL, source text, currency text NOT NULL,
        amount bigint NOT NULL, fee bigint NOT NULL, net bigint NOT NULL, rate numeric,
        available_on bigint NOT NULL, created bigint NOT NULL,
        kind text NOT NULL GENERATED ALWAYS AS ({KIND}) STORED
    )
"""

SHARED = "staged_balance_transactions_"
"""How tables begin that several connections of one comparison see; the rest is the process that holds its lock."""

LOCK = 0x5374_6167
"""The advisory lock of such a table, with that number. Who was killed holds it no more."""

_LEFT = """
    SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND starts_with(relname, $1)
"""


@dataclass(slots=True)
class Session:
    """A connection for long statements. Each is a transaction of its own."""

    raw: Any
    """asyncpg's connection, which knows COPY."""

    async def execute(self, sql: str, *values: Any) -> None:
        """Run a statement."""
        await self._run(self.raw.execute, sql, *values)

    async def fetch(self, sql: str, *values: Any) -> list[Any]:
        """Rows of a query."""
        return await self._run(self.raw.fetch, sql, *values)

    async def _run(self, run: Callable[..., Awaitable[Any]], sql: str, *values: Any) -> Any:
        try:
            return await run(sql, *values, timeout=PATIENCE)
        except DiskFullError:  # containers have 64 MB of /dev/shm, and parallel workers share their hashes there
            await self.raw.execute("SET max_parallel_workers_per_gather = 0")
            return await run(sql, *values, timeout=PATIENCE)


@dataclass(slots=True)
class Staging(Session):
    """Balance transactions of Stripe's, which this connection, and those they are shared with, know as `staged`."""

    table: str = "staged"
    _batch: list[Record] = field(default_factory=list[Record])
    _sending: "asyncio.Task[object] | None" = None

    async def share(self, other: Session) -> Session:
        """Let another connection see what was staged. Returns it, or this one where a temporary table had to do."""
        if self.table == "staged":
            return self
        await other.execute(f"CREATE TEMPORARY VIEW staged AS SELECT * FROM {self.table}")  # noqa: S608 - our own name
        return other

    async def add(self, rows: Sequence[Record]) -> None:
        """Take more rows. They are sent by the thousand, while the caller goes on: PostgreSQL is another process."""
        self._batch += rows
        if len(self._batch) >= BATCH:
            await self._send()

    async def flush(self) -> None:
        """Send what was not sent yet, and wait until all is there."""
        await self._send()
        await self._sent()

    async def analyze(self) -> None:
        """Once all is there: let PostgreSQL know what it is like."""
        await self.execute(f"ANALYZE {self.table}")

    async def close(self) -> None:
        """Give up what is on its way."""
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.gather(self._sending, return_exceptions=True)

    async def _send(self) -> None:
        await self._sent()
        batch, self._batch = self._batch, []
        if batch:
            copy = self.raw.copy_records_to_table(self.table, records=batch, columns=COLUMNS, timeout=PATIENCE)
            self._sending = asyncio.create_task(copy)

    async def _sent(self) -> None:
        sending, self._sending = self._sending, None
        if sending is not None:
            await sending


@asynccontextmanager
async def session(engine: AsyncEngine) -> AsyncGenerator[Session]:
    """A connection whose settings and temporary tables are nobody else's: nothing of it stays behind."""
    async with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as conn:
        try:
            raw: Any = (await conn.get_raw_connection()).driver_connection
            for statement in _SETUP:
                await raw.execute(statement)
            yield Session(raw)
        finally:
            await conn.invalidate()


@asynccontextmanager
async def staging(engine: AsyncEngine, *, shared: bool = False) -> AsyncGenerator[Staging]:
    """Room for Stripe's rows while the network is asked: no transaction is open, and nothing stays behind.

    `shared`: other connections can see them too, and PostgreSQL's parallel workers. Where our role may make temporary
    tables only, it is one of those.
    """
    async with session(engine) as one:
        stage = Staging(one.raw)
        if shared:
            await _clear(one)
            stage.table = await _shared(one) or stage.table
        if stage.table == "staged":
            await one.execute(_STAGED.format(sort="TEMPORARY", table="staged"))
        try:
            yield stage
        finally:
            await stage.close()
            if stage.table != "staged":
                with suppress(
                    OSError, PostgresError, InterfaceError, InternalClientError
                ):  # else the next one takes it away
                    await one.execute(f"DROP TABLE {stage.table} CASCADE")


async def _shared(one: Session) -> str | None:
    """A table without WAL, under our lock. None: our role may not make any."""
    number = one.raw.get_server_pid()
    table = f"{SHARED}{number}"
    await one.execute("SELECT pg_advisory_lock($1, $2)", LOCK, number)
    try:
        await one.execute(_STAGED.format(sort="UNLOGGED", table=table) + " WITH (autovacuum_enabled = off)")
    except (InsufficientPrivilegeError, DuplicateTableError):  # the second: another role's is there by that number
        return None
    await one.execute(f"CREATE TEMPORARY VIEW staged AS SELECT * FROM {table}")  # noqa: S608 - our own name
    return table


async def _clear(one: Session) -> None:
    """Take away the tables of those who were killed."""
    for (table,) in await one.fetch(_LEFT, SHARED):
        number = int(table.removeprefix(SHARED))
        if (await one.fetch("SELECT pg_try_advisory_lock($1, $2)", LOCK, number))[0][0]:
            with suppress(InsufficientPrivilegeError):  # another role's, which takes it away when it compares again
                await one.execute(f"DROP TABLE IF EXISTS {table} CASCADE")
            await one.execute("SELECT pg_advisory_unlock($1, $2)", LOCK, number)


A = TypeVar("A")
B = TypeVar("B")


async def both(first: Awaitable[A], second: Awaitable[B]) -> tuple[A, B]:
    """Do two things at once, each on a connection of its own. When one fails the other is given up."""
    tasks = asyncio.ensure_future(first), asyncio.ensure_future(second)
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


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
