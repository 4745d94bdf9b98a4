"""Usage lies in a partition for each month; what came before its partition is moved, and nothing is lost."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from db.usage import Owner
from jobs.usage.partitions import make_usage_partitions
from tests.usage.books import Books
from worker.errors import TryLater

PARTNER = Owner(api_key_prefix="nw_live")
WHERE = "SELECT tableoid::regclass::text AS part, count(*) AS n FROM usage_events GROUP BY 1 ORDER BY 1"


async def make(books: Books) -> None:
    await books.work(make_usage_partitions, period=books.clock.now())


async def test_this_month_and_the_next_two_have_one(books: Books) -> None:
    await make(books)
    parts = await books.rows(
        "SELECT inhrelid::regclass::text AS part FROM pg_inherits WHERE inhparent = 'usage_events'::regclass ORDER BY 1"
    )
    assert [row["part"] for row in parts] == [
        "usage_events_2026_11",
        "usage_events_2026_12",
        "usage_events_2027_01",
        "usage_events_default",
    ]
    await make(books)
    await books.use(PARTNER)
    assert await books.rows(WHERE) == [{"part": "usage_events_2026_11", "n": 1}]


async def test_what_came_before_is_moved_with_its_sums_unchanged(books: Books) -> None:
    at = [datetime(2026, 9, 30, 23, 59, 59, tzinfo=UTC), datetime(2026, 10, 1, tzinfo=UTC), books.clock.now()]
    await books.use_many(PARTNER, [(1, each) for each in at])
    before = await books.rows("SELECT * FROM usage_rollups ORDER BY id")
    stored = await books.rows("SELECT id, occurred_at, idempotency_key, cost_units FROM usage_events ORDER BY id")
    await make(books)
    assert await books.rows(WHERE) == [
        {"part": "usage_events_2026_09", "n": 1},
        {"part": "usage_events_2026_10", "n": 1},
        {"part": "usage_events_2026_11", "n": 1},
    ]
    assert await books.rows("SELECT * FROM usage_rollups ORDER BY id") == before
    after = await books.rows("SELECT id, occurred_at, idempotency_key, cost_units FROM usage_events ORDER BY id")
    assert after == stored


async def test_events_that_come_while_months_are_moved_are_kept(books: Books) -> None:
    async def report() -> None:
        for minute in range(40):
            await books.use(PARTNER, at=books.clock.now() - timedelta(minutes=minute))

    await books.use_many(PARTNER, [(1, books.clock.now() - timedelta(days=40 * n)) for n in range(1, 5)])
    tasks = [asyncio.create_task(report()) for _ in range(3)]
    while True:
        try:
            await make(books)
            break
        except TryLater:
            continue
    await asyncio.gather(*tasks)
    assert (await books.rows("SELECT count(*) AS n FROM usage_events"))[0]["n"] == 124
    await make(books)
    assert "usage_events_default" not in {row["part"] for row in await books.rows(WHERE)}


async def test_whoever_holds_the_table_makes_the_job_wait(books: Books) -> None:
    async with books.engine.begin() as conn:
        await conn.exec_driver_sql("LOCK TABLE usage_events_default IN ROW EXCLUSIVE MODE")
        with pytest.raises(TryLater, match="gave way"):
            await make(books)
    await make(books)
