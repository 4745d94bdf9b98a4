"""Sums are held against their events: each lie is named, and what is right is not."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from db.usage import Owner
from db.usage_verify import RollupDifference, months_kept, rollup_differences
from tests.usage.books import NOVEMBER, Books

PARTNER, USER = Owner(api_key_prefix="nw_live"), Owner(user_id=7)
DECEMBER = datetime(2026, 12, 1, tzinfo=UTC)
NINE = datetime(2026, 11, 5, 9, tzinfo=UTC)


async def differences(books: Books) -> list[RollupDifference]:
    async with books.engine.connect() as conn:
        return await rollup_differences(conn, NOVEMBER, DECEMBER)


async def some_usage(books: Books) -> None:
    for owner in (PARTNER, USER):
        for minute in range(0, 240, 17):
            await books.use(owner, "1.5", NINE + timedelta(minutes=minute))
        await books.use(owner, 2, NINE, billable=False)
        await books.use(owner, 2, NINE, type_="deed.lookup")


async def test_what_the_door_stores_is_right(books: Books) -> None:
    await some_usage(books)
    assert await differences(books) == []


@pytest.mark.parametrize(
    ("lie", "named"),
    [
        ("UPDATE usage_rollups SET events = events + 1 WHERE id = :id", ("hour", True, True)),
        ("UPDATE usage_rollups SET cost_units = cost_units + 0.000001 WHERE id = :id", ("hour", True, True)),
        ("DELETE FROM usage_rollups WHERE id = :id", ("hour", False, True)),
        ("UPDATE usage_rollups SET event_type = 'other' WHERE id = :id", ("hour", True, False)),
    ],
)
async def test_each_lie_about_an_hour_is_named(books: Books, lie: str, named: tuple[str, bool, bool]) -> None:
    await some_usage(books)
    (row,) = await books.rows(
        "SELECT id FROM usage_rollups WHERE granularity = 'hour' AND bucket_start = :at AND api_key_prefix = 'nw_live'"
        " AND event_type = 'deed.lookup'",
        at=NINE,
    )
    await books.run(lie, **row)
    found = await differences(books)
    assert named in [(one.granularity, one.rollup_events is not None, one.events is not None) for one in found]
    assert {one.api_key_prefix for one in found} == {"nw_live"}


async def test_an_event_without_sums_is_named_for_its_hour_and_its_day(books: Books) -> None:
    await some_usage(books)
    await books.run(
        "INSERT INTO usage_events (occurred_at, idempotency_key, user_id, event_type, received_at, source)"
        " VALUES (:at, 'x', 7, 'smuggled', :at, 'api')",
        at=NINE + timedelta(hours=1, minutes=30),
    )

    def missing(granularity: str, at: datetime) -> RollupDifference:
        return RollupDifference(
            granularity=granularity,
            bucket_start=at,
            api_key_prefix=None,
            user_id=7,
            event_type="smuggled",
            billable=True,
            rollup_events=None,
            rollup_units=None,
            events=1,
            units=Decimal(1),
        )

    assert await differences(books) == [
        missing("day", NINE.replace(hour=0)),
        missing("hour", NINE + timedelta(hours=1)),
    ]


async def test_the_months_are_those_with_usage_and_between(books: Books) -> None:
    async with books.engine.connect() as conn:
        assert await months_kept(conn) == []
    await books.use(PARTNER, at=datetime(2026, 10, 31, 23, 59, 59, 999_999, tzinfo=UTC))
    await books.use(PARTNER, at=DECEMBER)
    async with books.engine.connect() as conn:
        months = await months_kept(conn)
    assert [start.month for start, _ in months] == [10, 11, 12]
    assert months[-1] == (DECEMBER, datetime(2027, 1, 1, tzinfo=UTC))
