"""Stripe's books and the ledger are laid side by side: object by object, to the cent, in both directions."""

from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from deploy.demo.compare_catalog import CATALOG
from deploy.demo.compare_customers import CUSTOMERS
from deploy.demo.compare_invoices import INVOICES
from deploy.demo.compare_payments import PAYMENTS
from deploy.demo.compare_rows import Books, Difference, Either, Kept, Table, View
from deploy.demo.compare_subscriptions import SUBSCRIPTIONS
from deploy.demo.compare_sums import sums

TABLES = (*CUSTOMERS, *CATALOG, *SUBSCRIPTIONS, *INVOICES, *PAYMENTS)

EXISTS = "exists"
"""The field that a missing or a surplus object differs in."""


async def differences(engine: AsyncEngine, books: Books, *, at: int | None = None) -> list[Difference]:
    """All on which Stripe's `books` and the ledger do not agree, sorted; empty when they are the same.

    `at` is the present at Stripe in seconds (default: when its newest object was made): discounts that are over by then
    lower no MRR. All of the ledger is read in one snapshot, so it may be asked while work goes on; what Stripe did and
    has not told yet, or what is not applied yet, is a difference then.
    """
    view = View(books, _newest(books) if at is None else at)
    found: list[Difference] = []
    async with engine.connect() as plain:
        conn = await plain.execution_options(isolation_level="REPEATABLE READ")
        async with conn.begin():
            for table in TABLES:
                found += await _table(conn, table, view)
            found += await sums(conn, view)
    return sorted(found, key=lambda each: (each.kind, each.id, each.field))


def _newest(books: Books) -> int:
    return max((obj["created"] for objects in books.values() for obj in objects if "created" in obj), default=0)


async def _table(conn: AsyncConnection, table: Table, view: View) -> Iterator[Difference]:
    there = {kept.id: kept for kept in table.expect(view)}
    columns = sorted({name for kept in there.values() for name in kept.values})
    answer = await conn.execute(text(table.query(columns)))
    here = {row["key"]: row for row in answer.mappings()}
    return _both_ways(table.kind, there, here)


def _both_ways(kind: str, there: Mapping[str, Kept], here: Mapping[str, Mapping[Any, Any]]) -> Iterator[Difference]:
    for id_, kept in there.items():
        row = here.get(id_)
        if row is not None:
            yield from _fields(kind, kept, row)
        elif kept.told:
            yield Difference(kind, id_, EXISTS, there=True, here=False)
    for id_, row in here.items():
        if id_ not in there and not row["gone"]:
            yield Difference(kind, id_, EXISTS, there=False, here=True)


def _fields(kind: str, kept: Kept, row: Mapping[Any, Any]) -> Iterator[Difference]:
    for name, there in kept.values.items():
        here = row[name]
        agree = here in there.values if isinstance(there, Either) else here == there
        if not agree:
            yield Difference(kind, kept.id, name, there, here)
