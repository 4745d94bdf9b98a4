"""The hourly form of each invariant reads what changed by an index, however large the books are."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from db.verify import invoices, usage
from db.verify.invariant import Question, Span, fetch, numbered, read_only, times
from db.verify.registry import INVARIANTS
from tests.verify.crowd import BIG, crowd
from tests.verify.kit import NOW, broken

ROWS = 30_000
"""From 10,000 on PostgreSQL chooses the same plans."""


def statements(span: Span) -> Iterator[tuple[str, str, list[Any]]]:
    """Each invariant's statement for what changed, with its values."""
    for name, invariant in INVARIANTS.items():
        check = invariant.check
        if isinstance(check, Question):
            yield name, *numbered(check.sql(whole=False), times(span))
        elif name == "usage-sums-are-events":
            yield name, usage.SINCE_MARK, [span.mark]
        else:
            assert name == "numbers-without-gaps"
            yield name, invoices.COUNTS, []


def scans(plan: Any) -> Iterator[str]:
    """The tables that a plan reads from end to end."""
    if plan["Node Type"] == "Seq Scan":
        yield plan["Relation Name"]
    for below in plan.get("Plans", ()):
        yield from scans(below)


SMALL = "SELECT relname FROM pg_class WHERE relkind = 'r' AND reltuples < 5000"
"""Usage of a month that has hardly begun, too: there an index would only cost."""


async def test_what_changed_is_found_by_an_index(engine: AsyncEngine) -> None:
    await crowd(engine, ROWS)
    since = NOW - timedelta(hours=2)
    span = Span(since, NOW, since, NOW, mark=ROWS - 200)
    read: dict[str, list[str]] = {}
    async with engine.connect() as conn:
        await read_only(conn, whole=False)
        small = {row[0] for row in await fetch(conn, SMALL, [], whole=False)}
        assert not small & set(BIG)
        for name, sql, values in statements(span):
            told = await fetch(conn, f"EXPLAIN (FORMAT JSON) {sql}", values, whole=False)
            (plan,) = told[0][0]
            if found := [table for table in scans(plan["Plan"]) if table not in small]:
                read[name] = found
    assert read == {}
    assert await broken(engine) == {}
