"""Stripe's books and the ledger are laid side by side: object by object, to the cent, in both directions."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, TypeAlias

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from deploy.demo import compare_dunning, compare_letters
from deploy.demo.compare_catalog import CATALOG
from deploy.demo.compare_customers import CUSTOMERS
from deploy.demo.compare_dunning import Figures, figures
from deploy.demo.compare_invoices import INVOICES
from deploy.demo.compare_payments import PAYMENTS
from deploy.demo.compare_rows import ORIGIN, Books, Difference, Either, Kept, Table, View
from deploy.demo.compare_subscriptions import SUBSCRIPTIONS
from deploy.demo.compare_sums import sums

TABLES = (*CUSTOMERS, *CATALOG, *SUBSCRIPTIONS, *INVOICES, *PAYMENTS)

EXISTS = "exists"
"""The field that a missing or a surplus object differs in."""

ROWS = "rows"
"""The field that an object differs in which the ledger has more than once."""

NAMELESS = "(no id)"
"""What a row is called that names no object of Stripe's."""

DELETED = "deleted_at"
COMMON = (*ORIGIN, DELETED)
"""Columns of every copy of an object."""

Row: TypeAlias = Mapping[Any, Any]

_GIVEN_UP = text(
    """
    SELECT CASE WHEN event_id IS NULL THEN 'job' ELSE 'event' END AS kind, coalesce(event_id, job_id::text) AS id,
           dead_reason
    FROM queue WHERE dead_reason IS NOT NULL
    UNION ALL
    SELECT 'event', e.id, coalesce(e.last_error, e.status) FROM webhook_events e
    WHERE e.status = 'dead' AND NOT EXISTS (
        SELECT FROM queue q WHERE q.event_id = e.id AND q.dead_reason IS NOT NULL
    )
    ORDER BY 1, 2
    """
)


async def differences(
    engine: AsyncEngine, books: Books, *, at: int | None = None, heard: timedelta | None = None
) -> list[Difference]:
    """All on which Stripe's `books` and the ledger do not agree, sorted; empty when they are the same.

    `at` is the present at Stripe in seconds (default: when its newest object was made): discounts that are over by then
    lower no MRR. All of the ledger is read in one snapshot, so it may be asked while work goes on; what Stripe did and
    has not told yet, or what is not applied yet, is a difference then. Times that only events tell are compared as far
    as the books have them (`simulator/books.py`); without them nothing counts as deleted. `heard` is how late the
    ledger heard of anything at most: an invoice that owed for longer must have been dunned. None: nobody knows.
    """
    view = View(books, _newest(books) if at is None else at)
    found: list[Difference] = []
    async with engine.connect() as plain:
        conn = await plain.execution_options(isolation_level="REPEATABLE READ")
        async with conn.begin():
            for table in TABLES:
                found += await _table(conn, table, view)
            found += await sums(conn, view)
            dunning = await compare_dunning.read(conn, view, heard)
            found += compare_dunning.differences(dunning)
            found += await compare_dunning.customers(conn, dunning)
            found += await compare_letters.differences(conn, dunning)
    return sorted(found, key=lambda each: (each.kind, each.id, each.field))


def _newest(books: Books) -> int:
    return max((obj["created"] for objects in books.values() for obj in objects if "created" in obj), default=0)


async def _table(conn: AsyncConnection, table: Table, view: View) -> Iterator[Difference]:
    there = {kept.id: kept for kept in table.expect(view)}
    columns = {name for kept in there.values() for name in kept.values}
    answer = await conn.execute(text(table.query(sorted(columns | set(COMMON if table.mirror else ())))))
    here: dict[str, list[Row]] = {}
    for row in answer.mappings():
        here.setdefault(row["key"] or NAMELESS, []).append(row)
    return _both_ways(table, view, there, here)


def _both_ways(
    table: Table, view: View, there: Mapping[str, Kept], here: Mapping[str, Sequence[Row]]
) -> Iterator[Difference]:
    gone = view.told(table.deleted_by) if table.deleted_by is not None else ()
    for id_ in {**there, **here, **dict.fromkeys(gone)}:
        kept, rows = there.get(id_), here.get(id_, ())
        deleted = view.first(id_, table.deleted_by) if table.deleted_by is not None else None
        known = kept is not None or deleted is not None
        if not rows and (kept.told if kept is not None else known):
            yield Difference(table.kind, id_, EXISTS, there=True, here=False)
        if len(rows) > 1 and known:
            yield Difference(table.kind, id_, ROWS, there=1, here=len(rows))
        for row in rows:
            if not known:
                yield Difference(table.kind, id_, EXISTS, there=False, here=True)
            elif table.mirror:
                yield from _fields(table.kind, id_, {**ORIGIN, DELETED: deleted}, row)
            if kept is not None:
                yield from _fields(table.kind, id_, kept.values, row)


def _fields(kind: str, id_: str, values: Mapping[str, Any], row: Row) -> Iterator[Difference]:
    for name, there in values.items():
        here = row[name]
        agree = here in there.values if isinstance(there, Either) else here == there
        if not agree:
            yield Difference(kind, id_, name, there, here)


async def unfinished(engine: AsyncEngine) -> list[Difference]:
    """The events and jobs that were given up: whatever the objects say, the ledger did not do all of its work."""
    async with engine.connect() as conn:
        rows = await conn.execute(_GIVEN_UP)
        return [Difference(kind, name, "given up", there=None, here=reason) for kind, name, reason in rows]


async def dunning_figures(
    engine: AsyncEngine, books: Books, *, at: int, heard: timedelta | None = None
) -> tuple[Figures, Figures]:
    """What became of invoices that were not paid in time: by Stripe's books, and by the ledger's cases."""
    async with engine.connect() as conn:
        return figures(await compare_dunning.read(conn, View(books, at), heard))
