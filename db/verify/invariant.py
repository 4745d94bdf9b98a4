"""What must always hold in the books, as a question whose answer is the rows that break it."""

import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeAlias

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

FIRST = 20
"""So many of the offending rows are kept; their count is the whole one."""

SETTLE = timedelta(minutes=15)
"""What several events tell together is looked at when none of its rows has changed for so long."""

PATIENCE_SINCE, PATIENCE_WHOLE = 60, 900
"""Seconds that a question may take, of what changed lately and of all rows. PostgreSQL itself ends it then."""

Row: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Span:
    """Which rows are looked at: those that changed at `since` or later; None: all.

    `since` and `now` are the business's time, by which books are dated; the two `wall` times are the machine's, by
    which events come in and work is staged (they differ in a demo alone).
    """

    since: datetime | None
    now: datetime
    wall_since: datetime | None
    wall: datetime
    mark: int | None = None
    """What the check before has left as its mark (`Found.mark`)."""


@dataclass(frozen=True, slots=True)
class Found:
    """How many rows break an invariant, the first of them, and a mark for the next check of what is new."""

    broken: int
    rows: Sequence[Row]
    mark: int | None = None


Check: TypeAlias = Callable[[AsyncConnection, Span], Awaitable[Found]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Invariant:
    """Something that must hold. `check` is asked inside a transaction that can only read."""

    name: str
    """Stable, in kebab case: it stands in metrics and in `verification_runs`."""
    holds: str
    """What must hold, in one sentence."""
    mend: str
    """What to do when it does not, with the command."""
    check: Check


@dataclass(frozen=True, slots=True)
class Question:
    """An invariant as SQL. `broken` gives the offending rows; its first column orders them.

    Where `broken` has `[looked COLUMN]`, the whole form has nothing, and the form for what changed joins the ids that
    `since` gives: so both forms are one text. Both may name `:since`, `:wall_since`, `:settled` and `:wall_settled`.
    """

    broken: str
    since: str | None = None
    """The ids of what changed. None: the whole form is cheap enough for each hour."""

    async def __call__(self, conn: AsyncConnection, span: Span) -> Found:
        """Ask. Raises what PostgreSQL says when it takes too long."""
        return await answer(conn, self.sql(whole=span.since is None), span)

    def sql(self, *, whole: bool) -> str:
        """The statement, with named parameters."""
        if whole or self.since is None:
            looked, joined = "", ""
        else:
            looked, joined = f"looked AS MATERIALIZED ({self.since}), ", r"JOIN looked ON looked.id = \1"
        broken = re.sub(r"\[looked ([a-z_.]+)\]", joined, self.broken)
        return f"""
            WITH {looked}broken AS MATERIALIZED ({broken})
            SELECT (SELECT count(*) FROM broken),
                   (SELECT coalesce(jsonb_agg(to_jsonb(f)), '[]')::text
                    FROM (SELECT * FROM broken ORDER BY 1 LIMIT {FIRST}) AS f)
        """  # noqa: S608 - constants of ours


def numbered(sql: str, values: Mapping[str, Any]) -> tuple[str, list[Any]]:
    """Turn `:name` into `$1`, as PostgreSQL has it, for the names that stand in `sql`; casts (`::`) are left alone."""
    names = [name for name in values if re.search(rf"(?<!:):{name}\b", sql)]
    for place, name in enumerate(names, 1):
        sql = re.sub(rf"(?<!:):{name}\b", f"${place}::timestamptz", sql)
    return sql, [values[name] for name in names]


def times(span: Span) -> dict[str, Any]:
    """What a question may name."""
    return {
        "since": span.since,
        "wall_since": span.wall_since,
        "settled": span.now - SETTLE,
        "wall_settled": span.wall - SETTLE,
    }


async def answer(conn: AsyncConnection, sql: str, span: Span) -> Found:
    """The count and the first rows that a statement of this shape gives."""
    broken, first = (await fetch(conn, *numbered(sql, times(span)), whole=span.since is None))[0]
    return Found(broken, json.loads(first))


async def fetch(conn: AsyncConnection, sql: str, values: Sequence[Any], *, whole: bool) -> list[Any]:
    """Ask in the transaction of `conn`; the wait for the answer outlasts PostgreSQL's own limit."""
    raw: Any = (await conn.get_raw_connection()).driver_connection
    return await raw.fetch(sql, *values, timeout=(PATIENCE_WHOLE if whole else PATIENCE_SINCE) + 10.0)


async def read_only(conn: AsyncConnection, *, whole: bool) -> None:
    """Begin a transaction that can only read, on one core, and ends by itself when it takes too long.

    It takes no lock that a writer waits for, and no question of it lasts so long that vacuum is held up for hours.
    """
    await conn.execute(text("SET TRANSACTION READ ONLY"))
    seconds = PATIENCE_WHOLE if whole else PATIENCE_SINCE
    for name, value in (
        ("statement_timeout", f"{seconds}s"),
        ("idle_in_transaction_session_timeout", f"{seconds}s"),
        ("max_parallel_workers_per_gather", "0"),
        ("plan_cache_mode", "force_custom_plan"),
        ("jit", "off"),
        ("work_mem", "64MB"),
    ):
        await conn.execute(text("SELECT set_config(:name, :value, true)"), {"name": name, "value": value})


async def ask(conn: AsyncConnection, invariant: Invariant, span: Span) -> Found:
    """Check one invariant in a transaction of its own, and end it. Raises DBAPIError or PostgresError when it fails."""
    try:
        await read_only(conn, whole=span.since is None)
        return await invariant.check(conn, span)
    finally:
        await conn.rollback()
