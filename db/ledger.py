"""Facts from Stripe are merged into the ledger: in any order, any number of times, the rows end the same.

A row is a join of all facts about it. Plain columns belong to the fact with the greatest version (a total order);
sticky columns hold the least or the greatest value that any fact told. Both joins are commutative, associative and
idempotent.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from hashlib import blake2b
from typing import Any, TypeAlias, cast

import msgspec
from sqlalchemy import Table, TextClause, bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import BigInteger, Boolean, Numeric, Text

from db.models import catalog, customers, invoices, payments, subscriptions
from db.models.mirror import EVERYWHERE, Keep, Mirror

Row: TypeAlias = dict[str, Any]
"""One row as JSON values by column; times are ISO 8601 in UTC, as PostgreSQL's `to_jsonb` writes them."""

Version: TypeAlias = tuple[int, ...]
"""How new a fact is; compared from left to right, by Python and PostgreSQL alike. Empty: only that the row exists."""

Key: TypeAlias = tuple[Any, ...]
Address: TypeAlias = tuple[str, Key]
"""A table and the key of a row in it."""


@dataclass(frozen=True, slots=True)
class Fact:
    """What one event tells about one row: a snapshot of the plain columns, or only sticky ones (then no version)."""

    table: str
    key: Key
    version: Version = ()
    values: Row = field(default_factory=Row)
    sticky: Row = field(default_factory=Row)

    @property
    def address(self) -> Address:
        """Where the fact belongs."""
        return self.table, self.key


@dataclass(frozen=True)
class LedgerTable:
    """A table that facts are merged into, and its statements."""

    name: str
    key: tuple[str, ...]
    sticky: Mapping[str, Keep]
    plain: tuple[str, ...]
    own: tuple[str, ...]
    decimals: tuple[str, ...]
    zero: tuple[str, ...]
    """Amounts that are 0 while only the row's existence is known."""

    @cached_property
    def told(self) -> tuple[str, ...]:
        """The columns whose changes are shown to operators."""
        return (*self.plain, *(name for name in self.sticky if name not in {"livemode", "stripe_account"}))

    @cached_property
    def written(self) -> tuple[str, ...]:
        """The columns that a merge writes."""
        return (*self.key, "version", "updated_at", *self.sticky, *self.plain, *self.own)

    @cached_property
    def upsert(self) -> TextClause:
        """Writes merged rows. Stale plain columns do not win even here: shared rows are merged without a lock."""
        columns = ", ".join(f'"{name}"' for name in self.written)
        newer = "excluded.version >= t.version"
        sets = [f'"{name}" = CASE WHEN {newer} THEN excluded."{name}" ELSE t."{name}" END' for name in self.plain]
        sets += [f'"{name}" = excluded."{name}"' for name in ("updated_at", *self.own)]
        sets += [
            f'"{name}" = {"LEAST" if keep == "min" else "GREATEST"}(t."{name}", excluded."{name}")'
            for name, keep in self.sticky.items()
        ]
        chosen = ", ".join(f'coalesce("{name}", 0)' if name in self.zero else f'"{name}"' for name in self.written)
        return text(
            f"INSERT INTO {self.name} AS t ({columns}) SELECT {chosen}"  # noqa: S608 - names of our own models
            f" FROM jsonb_populate_recordset(NULL::{self.name}, CAST(CAST(:rows AS text) AS jsonb))"
            f" ON CONFLICT ({', '.join(self.key)}) DO UPDATE SET version = GREATEST(t.version, excluded.version),"
            f" {', '.join(sets)}"
        )


_SET_BY_OTHERS = frozenset({"dunning_status", "api_key_prefix", "notes", "mrr_cents", "mrr_incomplete"})
"""Own columns that a merge never writes: other statements do."""


def _describe(model: type[Mirror]) -> LedgerTable:
    table = cast("Table", model.__table__)
    names = [column.name for column in table.columns]
    sticky: dict[str, Keep] = {
        name: keep for name, keep in (EVERYWHERE | model.ledger_sticky).items() if name not in model.ledger_key
    }
    fixed = {"id", "version", "updated_at", *model.ledger_key, *sticky, *model.ledger_own}
    return LedgerTable(
        name=table.name,
        key=model.ledger_key,
        sticky=sticky,
        plain=tuple(name for name in names if name not in fixed),
        own=tuple(sorted(model.ledger_own - _SET_BY_OTHERS)),
        decimals=tuple(column.name for column in table.columns if isinstance(column.type, Numeric)),
        zero=tuple(column.name for column in table.columns if not column.nullable and column.name.endswith("_cents")),
    )


_MODELS: tuple[type[Mirror], ...] = (
    customers.User,
    customers.PaymentMethod,
    customers.Mandate,
    customers.TaxId,
    subscriptions.Subscription,
    invoices.Invoice,
    invoices.UpcomingInvoice,
    invoices.CreditNote,
    payments.PaymentIntent,
    payments.Charge,
    payments.Refund,
    payments.Dispute,
    payments.EarlyFraudWarning,
    payments.InvoicePayment,
    payments.CheckoutSession,
    catalog.Discount,
    # Rows below are shared by customers, whose events hold no common lock. They are written last and sorted, so that
    # two transactions can wait for each other's rows, but never in a circle.
    payments.Payout,
    catalog.PromotionCode,
    catalog.Product,
    catalog.Price,
    catalog.Coupon,
)

TABLES: Mapping[str, LedgerTable] = {table.name: table for table in map(_describe, _MODELS)}
"""The tables that facts are merged into, in the order in which they are written."""


def _kept(keep: Keep, one: Any, other: Any) -> Any:
    if one is None or other is None:
        return other if one is None else one
    return min(one, other) if keep == "min" else max(one, other)


def merge(current: Row | None, fact: Fact) -> Row:
    """The row after `fact`. The order of facts never matters; a fact that is merged twice changes nothing."""
    table = TABLES[fact.table]
    if current is None:
        row: Row = dict.fromkeys((*table.sticky, *table.plain))
        row.update(zip(table.key, fact.key, strict=True))
        row["version"] = ()
    else:
        row = dict(current)
    if fact.version and fact.version >= row["version"]:
        row["version"] = fact.version
        for name in table.plain:
            row[name] = fact.values.get(name)
    for name, value in fact.sticky.items():
        row[name] = _kept(table.sticky[name], row[name], value)
    return row


_decode_row = msgspec.json.Decoder(Row, float_hook=str).decode
_encode = msgspec.json.Encoder(decimal_format="string").encode

_READ = text(
    " UNION ALL ".join(
        f"SELECT '{table.name}' AS t, to_jsonb(x)::text AS r FROM {table.name} x WHERE x.{table.key[0]} = ANY(:{name})"  # noqa: S608 - names of our own models
        for name, table in TABLES.items()
    )
).bindparams(*(bindparam(name, type_=ARRAY(Text)) for name in TABLES))


async def read(conn: AsyncConnection, addresses: Iterable[Address]) -> dict[Address, Row]:
    """The rows at these addresses that exist, in one statement for all tables."""
    wanted = set(addresses)
    keys: dict[str, set[str]] = {name: set() for name in TABLES}
    for name, key in wanted:
        keys[name].add(key[0])
    found: dict[Address, Row] = {}
    for name, raw in await conn.execute(_READ, {name: list(ids) for name, ids in keys.items()}):
        row = _decode_row(raw)
        table = TABLES[name]
        row["version"] = tuple(row["version"])
        for column in table.decimals:  # facts hold decimals as texts
            row[column] = None if row[column] is None else str(row[column])
        address = (name, tuple(row[column] for column in table.key))
        if address in wanted:
            found[address] = row
    return found


async def write(conn: AsyncConnection, name: str, rows: Sequence[Row], *, now: datetime) -> None:
    """Insert or update merged rows of one table, sorted by key; `now` is when we learned of the change."""
    table = TABLES[name]
    ordered = sorted(rows, key=lambda row: [row[column] for column in table.key])
    chosen = [{column: row.get(column) for column in table.written} | {"updated_at": now} for row in ordered]
    await conn.execute(table.upsert, {"rows": _encode(chosen).decode()})


def hash63(value: str | bytes) -> int:
    """A positive 63-bit number that stands for `value`, the same in every process."""
    raw = value if isinstance(value, bytes) else value.encode()
    return int.from_bytes(blake2b(raw, digest_size=8).digest(), "big") >> 1


_canonical = msgspec.json.Encoder(order="deterministic").encode


def fingerprint(values: Any) -> int:
    """A number that tells two snapshots apart; it breaks the last tie of a version."""
    return hash63(_canonical(values))


_LOCK = text(
    """
    SELECT k, s FROM unnest(:keys, :shared) AS wanted (k, s)
    WHERE CASE WHEN s THEN pg_try_advisory_xact_lock_shared(k) ELSE pg_try_advisory_xact_lock(k) END
    """
).bindparams(bindparam("keys", type_=ARRAY(BigInteger)), bindparam("shared", type_=ARRAY(Boolean)))


async def try_lock(conn: AsyncConnection, ids: Iterable[str]) -> set[str]:
    """Lock objects of Stripe until the transaction ends. Returns those that could be had at once; nobody ever waits."""
    return (await try_locks(conn, ids, shared=()))[0]


async def try_locks(conn: AsyncConnection, ids: Iterable[str], *, shared: Iterable[str]) -> tuple[set[str], set[str]]:
    """Like `try_lock`; locks of `shared` are held by many at once, but not beside one who has the object alone.

    Returns those had alone and those shared. A name may be in both: one who has it alone has it shared, too.
    """
    by_key = {(hash63(name), False): name for name in ids} | {(hash63(name), True): name for name in shared}
    if not by_key:
        return set(), set()
    wanted = sorted(by_key)
    rows = await conn.execute(_LOCK, {"keys": [key for key, _ in wanted], "shared": [many for _, many in wanted]})
    had = {(row[0], row[1]) for row in rows}
    return {by_key[lock] for lock in had if not lock[1]}, {by_key[lock] for lock in had if lock[1]}
