"""Usage is stored once, its sums are always what the events add up to, and any period is added up exactly."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any, TypeAlias
from zoneinfo import ZoneInfo

import asyncpg
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncEngine

from db.usage import (
    Added,
    Clash,
    NewUsage,
    Owner,
    add,
    add_many,
    billable_units,
    days_with_usage,
    new_usage,
    spans,
    totals,
)

Rows: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ACME, ZETA, USER = Owner(api_key_prefix="acme"), Owner(api_key_prefix="zeta"), Owner(user_id=7)

UNEQUAL = """
    WITH of_events AS (
        SELECT g.granularity, date_trunc(g.granularity, occurred_at, 'UTC') AS bucket_start, api_key_prefix, user_id,
               event_type, billable, count(*) AS events, sum(cost_units) AS cost_units
        FROM usage_events CROSS JOIN (VALUES ('hour'), ('day')) AS g (granularity) GROUP BY 1, 2, 3, 4, 5, 6
    ), kept AS (
        SELECT granularity, bucket_start, api_key_prefix, user_id, event_type, billable, events, cost_units
        FROM usage_rollups
    )
    (TABLE of_events EXCEPT TABLE kept) UNION ALL (TABLE kept EXCEPT TABLE of_events)
"""
"""Where sums and events differ: nowhere."""


@pytest.fixture
async def rows(database_url: str) -> AsyncIterator[Rows]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


def used(key: str, owner: Owner = ACME, at: datetime | None = None, **more: Any) -> NewUsage:
    return new_usage(owner, key, more.pop("event_type", "search"), received_at=NOW, occurred_at=at, **more)


async def equal(rows: Rows) -> bool:
    return not await rows.fetch(UNEQUAL)


async def test_the_columns(rows: Rows) -> None:
    at = datetime(2026, 2, 27, 23, 59, 59, 999_999, tzinfo=ZoneInfo("America/New_York"))
    event = new_usage(
        USER,
        "k1",
        "deed.search",
        received_at=NOW,
        occurred_at=at,
        resource_id="deed_9",
        billable=False,
        cost_units=Decimal("2.5"),
        unit_price_cents=15,
        metadata={"ä": [1, None]},
        source="march.csv",
    )
    assert await add(rows, [[event]]) == [Added(1, 0)]
    row = await rows.fetchrow("SELECT *, metadata::text AS told FROM usage_events")
    assert row is not None
    found = dict(row)
    assert found.pop("id") > 0
    assert found == {
        "occurred_at": at,
        "idempotency_key": "k1",
        "api_key_prefix": None,
        "user_id": 7,
        "event_type": "deed.search",
        "resource_id": "deed_9",
        "billable": False,
        "cost_units": Decimal("2.5"),
        "unit_price_cents": 15,
        "metadata": '{"ä": [1, null]}',
        "told": '{"ä": [1, null]}',
        "received_at": NOW,
        "source": "march.csv",
    }
    sums = await rows.fetch("SELECT granularity, bucket_start, events, cost_units FROM usage_rollups ORDER BY 1")
    assert [tuple(row) for row in sums] == [
        ("day", datetime(2026, 2, 28, tzinfo=UTC), 1, Decimal("2.5")),
        ("hour", datetime(2026, 2, 28, 4, tzinfo=UTC), 1, Decimal("2.5")),
    ]


def test_an_event_is_recognized_by_the_same_digests_for_ever() -> None:
    """They lie in the database: a release that makes others would let every repetition in again."""
    event = used("k", cost_units=Decimal("1.50"), metadata={"b": 1, "a": 2}, at=NOW)
    assert (event.digest.hex(), event.content.hex()) == (
        "405c6e9d3dd751b022b55cc8925bb2d9",
        "ff95e8ee364b43c478e80522e3ff88ed",
    )


def test_content_is_what_was_meant_not_how_it_was_written() -> None:
    first = used("k", cost_units=Decimal(1), metadata={"a": 1, "b": 2}, at=NOW)
    again = used("k", cost_units=Decimal("1.000"), metadata={"b": 2, "a": 1}, at=NOW.astimezone(ZoneInfo("Asia/Tokyo")))
    assert (first.digest, first.content) == (again.digest, again.content)
    others = [
        used("k", at=NOW),
        used("k", at=NOW, cost_units=Decimal("1.000001"), metadata={"a": 1, "b": 2}),
        used("k", cost_units=Decimal(1), metadata={"a": 1, "b": 2}),
        used("k", at=NOW, billable=False, metadata={"a": 1, "b": 2}),
        used("k", at=NOW, resource_id="r", metadata={"a": 1, "b": 2}),
        used("k", at=NOW, event_type="other", metadata={"a": 1, "b": 2}),
        used("k", at=NOW, unit_price_cents=0, metadata={"a": 1, "b": 2}),
    ]
    assert {one.digest for one in others} == {first.digest}
    assert len({one.content for one in (first, *others)}) == len(others) + 1
    assert used("k", ZETA).digest != first.digest
    assert used("7", Owner(api_key_prefix="1")).digest != used("7", Owner(user_id=1)).digest


def test_usage_has_one_owner() -> None:
    for prefix, user in ((None, None), ("acme", 1)):
        with pytest.raises(ValueError, match="exactly one"):
            Owner(prefix, user)


async def test_a_request_that_clashes_is_taken_out_and_the_others_are_stored(rows: Rows) -> None:
    await add(rows, [[used("old")]])
    found = await add(
        rows,
        [
            [used("a"), used("old", cost_units=Decimal(2)), used("b")],
            [used("a"), used("c"), used("a")],
            [used("b", cost_units=Decimal(3))],
            [used("d"), used("d", cost_units=Decimal(4))],
            [used("c", cost_units=Decimal(5)), used("e")],
            [],
            [used("old")],
        ],
    )
    assert found == [Clash((1,)), Added(2, 1), Added(1, 0), Clash((1,)), Clash((0,)), Added(0, 0), Added(0, 1)]
    stored = await rows.fetch("SELECT idempotency_key, cost_units FROM usage_events ORDER BY 1")
    assert [tuple(row) for row in stored] == [("a", 1), ("b", 3), ("c", 1), ("old", 1)]
    assert await rows.fetchval("SELECT count(*) FROM usage_keys") == 4
    assert await equal(rows)


async def test_rows_of_a_file_stand_each_for_itself(rows: Rows) -> None:
    lines = [used("a"), used("a"), used("a", billable=False), used("b")]
    assert await add_many(rows, lines) == [Added(1, 0), Added(0, 1), Clash((0,)), Added(1, 0)]
    async with rows.transaction():  # as an import does, which notes in the same one how far it came
        assert await add_many(rows, [used("b", billable=False), used("c")]) == [Clash((0,)), Added(1, 0)]
        await rows.execute("SELECT 1")
    assert await rows.fetchval("SELECT array_agg(idempotency_key ORDER BY 1) FROM usage_events") == ["a", "b", "c"]
    transaction = rows.transaction()
    await transaction.start()
    assert await add_many(rows, [used("gone")]) == [Added(1, 0)]
    await transaction.rollback()
    assert await rows.fetchval("SELECT count(*) FROM usage_keys") == 3
    assert await equal(rows)


async def test_a_key_that_somebody_else_is_just_using_is_waited_for(rows: Rows, database_url: str) -> None:
    other = await asyncpg.connect(database_url)
    for end, mine in (("commit", [Added(0, 1), Clash((0,)), Added(1, 0)]), ("rollback", [Added(1, 0)])):
        transaction = rows.transaction()
        await transaction.start()
        await add(rows, [[used(end)]])
        sent = [[used(end)], [used(end, billable=False)], [used("b")]][: len(mine)]
        waiting = asyncio.create_task(add(other, sent))
        watcher = await asyncpg.connect(database_url)
        deadline = asyncio.get_running_loop().time() + 10
        while not await watcher.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            assert asyncio.get_running_loop().time() < deadline
        await watcher.close()
        await (transaction.commit() if end == "commit" else transaction.rollback())
        assert await waiting == mine
    await other.close()
    assert await equal(rows)


EVENT = st.tuples(
    st.sampled_from(["k1", "k2", "k3", "k4", "k5"]),
    st.sampled_from([ACME, ZETA, USER]),
    st.sampled_from(["1", "2.5"]),
    st.booleans(),
    st.sampled_from([NOW, NOW - timedelta(hours=1), NOW - timedelta(days=40)]),
)


@hypothesis_settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(calls=st.lists(st.lists(st.lists(EVENT, max_size=4), min_size=1, max_size=5), min_size=1, max_size=4))
async def test_whatever_comes_is_stored_once_and_sums_equal_events(rows: Rows, calls: list[Any]) -> None:
    """Against a model: requests one after the other, each whole or not at all."""
    async with rows.transaction():
        await rows.execute("SET LOCAL session_replication_role = replica")  # no trigger keeps them
        await rows.execute("TRUNCATE usage_events, usage_keys, usage_rollups")
    model: dict[tuple[Owner, str], tuple[Any, ...]] = {}
    for call in calls:
        requests: list[list[NewUsage]] = []
        expected: list[Added | Clash] = []
        for request in call:
            after = dict(model)
            clashes = tuple(
                number
                for number, (key, owner, *content) in enumerate(request)
                if after.setdefault((owner, key), tuple(content)) != tuple(content)
            )
            if clashes:
                expected.append(Clash(clashes))
            else:
                expected.append(Added(len(after) - len(model), len(request) - len(after) + len(model)))
                model = after
            requests.append(
                [used(key, owner, at, cost_units=Decimal(units), billable=b) for key, owner, units, b, at in request]
            )
        found = await add(rows, requests)
        assert [isinstance(one, Clash) for one in found] == [isinstance(one, Clash) for one in expected]
        assert [one for one in found if isinstance(one, Added)] == [one for one in expected if isinstance(one, Added)]
    stored = await rows.fetch(
        "SELECT api_key_prefix, user_id, idempotency_key, cost_units, billable, occurred_at FROM usage_events"
    )
    assert {
        (Owner(row["api_key_prefix"], row["user_id"]), row["idempotency_key"]): tuple(row)[3:] for row in stored
    } == {place: (Decimal(units), billable, at) for place, (units, billable, at) in model.items()}
    assert len(stored) == len(model)
    assert await equal(rows)


@pytest.mark.parametrize("shared", [True, False], ids=["the_same_keys", "the_same_sums"])
async def test_overlapping_batches_of_many_writers_never_deadlock(
    rows: Rows, database_url: str, *, shared: bool
) -> None:
    """Eight connections, the same keys or sums in every order: one event each, and nobody had to be chosen to die."""
    chance = random.Random(5)  # noqa: S311 - an order, not a secret
    connections = [await asyncpg.connect(database_url) for _ in range(8)]

    def sent(writer: int, round_: int) -> list[list[NewUsage]]:
        whose = "k" if shared else f"w{writer}_{round_}_"
        numbers = chance.sample(range(400), 60)
        return [
            [
                used(f"{whose}{n}", (ACME, ZETA, USER)[n % 3], NOW - timedelta(hours=n % 50), event_type=f"t{n % 4}")
                for n in numbers[i : i + 3]
            ]
            for i in range(0, 60, 3)
        ]

    async def writer(number: int) -> int:
        accepted = 0
        for round_ in range(12):
            for one in await add(connections[number], sent(number, round_)):
                assert isinstance(one, Added)
                accepted += one.accepted
        return accepted

    accepted = sum(await asyncio.gather(*map(writer, range(8))))
    for connection in connections:
        await connection.close()
    assert accepted == await rows.fetchval("SELECT count(*) FROM usage_events")
    assert accepted == await rows.fetchval("SELECT count(*) FROM usage_keys")
    assert await rows.fetchval("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") == 0
    assert await equal(rows)


START = datetime(2026, 3, 1, tzinfo=UTC)
INSTANT = st.integers(0, 4 * 86_400 * 10).map(lambda tenths: START + timedelta(seconds=tenths / 10)) | st.integers(
    0, 96
).map(lambda hours: START + timedelta(hours=hours))


@given(start=INSTANT, end=INSTANT)
def test_a_period_is_parted_without_gap_or_overlap(start: datetime, end: datetime) -> None:
    found = spans(start, end)
    parts = sorted(part for part in (found.days, *found.hours, *found.edges) if part[0] < part[1])
    if start >= end:
        assert parts == []
        return
    assert (parts[0][0], parts[-1][1]) == (start, end)
    assert all(one[1] == other[0] for one, other in pairwise(parts))
    assert all(at.time() == datetime.min.time() for at in found.days if found.days[0] < found.days[1])
    assert all(at.minute == at.second == at.microsecond == 0 for part in found.hours for at in part)
    assert sum((end - start for start, end in found.edges), timedelta()) < timedelta(hours=2)


def scattered(count: int) -> list[NewUsage]:
    """Events over four days, some exactly at edges."""
    chance = random.Random(11)  # noqa: S311 - a fixed scatter is wanted
    edges = [START + timedelta(hours=hour) + timedelta(microseconds=off) for hour in range(0, 97, 6) for off in (-1, 0)]
    times = [START + timedelta(seconds=chance.uniform(0, 4 * 86_400)) for _ in range(count)] + edges
    return [
        used(
            f"k{number}",
            (ACME, ACME, ZETA, USER)[number % 4],
            at,
            event_type=("search", "deed.copy")[number % 3 == 0],
            billable=number % 5 > 0,
            cost_units=Decimal(number % 7) / 2,
        )
        for number, at in enumerate(times)
    ]


@pytest.fixture
async def events(rows: Rows) -> list[NewUsage]:
    made = scattered(600)
    await add(rows, [made])
    assert await equal(rows)
    return made


def within(events: Sequence[NewUsage], owner: Owner, start: datetime, end: datetime) -> list[NewUsage]:
    return [
        one for one in events if (one.api_key_prefix, one.user_id) == (owner.api_key_prefix, owner.user_id)
        and start <= one.occurred_at < end
    ]  # fmt: skip


@hypothesis_settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(owner=st.sampled_from([ACME, ZETA, USER]), start=INSTANT, end=INSTANT)
async def test_any_period_adds_up_to_its_events(
    engine: AsyncEngine, events: list[NewUsage], owner: Owner, start: datetime, end: datetime
) -> None:
    expected: dict[tuple[str, bool], tuple[int, Decimal]] = {}
    for one in within(events, owner, start, end):
        count, units = expected.get((one.event_type, one.billable), (0, Decimal(0)))
        expected[one.event_type, one.billable] = (count + 1, units + one.cost_units)
    async with engine.connect() as conn:
        found = await totals(conn, owner, start, end)
        units = await billable_units(conn, owner, start, end)
    assert {(one.event_type, one.billable): (one.events, one.cost_units) for one in found} == expected
    assert units == {kind: one for (kind, billable), (_, one) in expected.items() if billable}


@pytest.mark.parametrize(
    "zone",
    ["UTC", "Asia/Kolkata", "Asia/Kathmandu", "America/New_York", "Australia/Lord_Howe", "Pacific/Chatham"],
)
async def test_days_with_usage_are_days_of_the_zone(engine: AsyncEngine, events: list[NewUsage], zone: str) -> None:
    here = ZoneInfo(zone)
    for start, end in (
        (START, START + timedelta(days=4)),
        (START + timedelta(minutes=7), START + timedelta(days=3, minutes=40)),
        (datetime(2026, 3, 2, tzinfo=here), datetime(2026, 3, 4, tzinfo=here)),
        (START + timedelta(hours=18, minutes=20), START + timedelta(hours=18, minutes=40)),
    ):
        for owner in (ACME, ZETA, USER):
            async with engine.connect() as conn:
                found = await days_with_usage(conn, owner, start, end, zone)
            assert found == {one.occurred_at.astimezone(here).date() for one in within(events, owner, start, end)}


async def test_one_event_beside_midnight_belongs_to_its_own_day(engine: AsyncEngine, rows: Rows) -> None:
    """In India the 2nd begins at 18:30 UTC of the 1st: within an hour that both days have a part of."""
    half_past = datetime(2026, 3, 1, 18, 30, tzinfo=UTC)
    await add(rows, [[used("a", at=half_past - timedelta(microseconds=1)), used("z", ZETA, half_past)]])
    async with engine.connect() as conn:
        period = (START, START + timedelta(days=31), "Asia/Kolkata")
        assert await days_with_usage(conn, ACME, *period) == {date(2026, 3, 1)}
        assert await days_with_usage(conn, ZETA, *period) == {date(2026, 3, 2)}
        assert await days_with_usage(conn, USER, *period) == set()
        march = datetime(2026, 3, 2, tzinfo=ZoneInfo("Asia/Kolkata"))
        assert await billable_units(conn, ACME, march, march + timedelta(days=1)) == {}
        assert await billable_units(conn, ZETA, march, march + timedelta(days=1)) == {"search": Decimal(1)}
