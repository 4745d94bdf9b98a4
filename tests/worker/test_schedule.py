"""A due period runs once: over a month end in an outage, with two workers, with one late, in both DST nights."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db import schedules
from db.states import QueueName
from tests.conftest import MovedClock
from tests.worker.kit import World
from worker.deps import Deps
from worker.registry import JobSpec, ScheduleSpec
from worker.schedule import Scheduler, due, next_run, periods

INSTANTS = st.datetimes(datetime(2024, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis adds the zone
CRONS = st.sampled_from(["1 0 1 * *", "0 6 * * *", "*/5 * * * *", "30 2 * * *", "30 1 * * *", "0 0 29 2 *"])
ZONES = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Pacific/Apia", "Australia/Lord_Howe"])


async def monthly(d: Deps, period: datetime) -> None: ...


def spec(cron: str = "1 0 1 * *", *, timezone: str = "UTC", catch_up: int = 3) -> ScheduleSpec:
    job: JobSpec[...] = JobSpec("monthly", monthly, QueueName.BATCH, 3, timedelta(seconds=5))
    return ScheduleSpec("monthly", cron, timezone, job, catch_up)


@pytest.fixture
def scheduled(world: World, clock: MovedClock) -> World:
    world.clock = clock
    world.registry.schedules["monthly"] = spec()
    return world


async def staged(world: World) -> list[str]:
    return [row[0] for row in await world.rows("SELECT args ->> 'period' FROM jobs ORDER BY id")]


async def test_the_first_look_ever_promises_nothing(scheduled: World) -> None:
    assert await Scheduler(scheduled.deps, scheduled.registry).tick() == 0


async def test_an_outage_over_month_ends_is_caught_up_in_order(scheduled: World, clock: MovedClock) -> None:
    await Scheduler(scheduled.deps, scheduled.registry).tick()
    clock.move(timedelta(days=64))  # 1 March to 4 May, all workers down
    assert await Scheduler(scheduled.deps, scheduled.registry).tick() == 2
    assert await staged(scheduled) == ["2026-04-01T00:01:00Z", "2026-05-01T00:01:00Z"]


async def test_it_is_known_for_how_long_a_period_is_due(scheduled: World, clock: MovedClock) -> None:
    async def late() -> dict[str, float]:
        async with scheduled.engine.connect() as conn:
            return await schedules.late(conn, clock.now())

    await Scheduler(scheduled.deps, scheduled.registry).tick()
    assert await late() == {"monthly": 0}
    clock.time = datetime(2026, 4, 1, 0, 3, tzinfo=UTC)
    assert await late() == {"monthly": 120}, "all workers are down"
    await Scheduler(scheduled.deps, scheduled.registry).tick()
    assert await late() == {"monthly": 0}
    clock.move(timedelta(days=64))
    await Scheduler(scheduled.deps, scheduled.registry).tick()
    assert await late() == {"monthly": 0}, "what was caught up is late no more"
    other = replace(scheduled.registry, schedules={"yearly": replace(spec(), name="yearly")})
    await Scheduler(scheduled.deps, other).tick()
    clock.move(timedelta(days=400))
    assert list(await late()) == ["yearly"], "a new version has lost the other"


async def test_two_workers_and_one_that_is_late_stage_a_period_once(scheduled: World, clock: MovedClock) -> None:
    first, second, late = (Scheduler(scheduled.deps, scheduled.registry) for _ in range(3))
    await first.tick()
    clock.time = datetime(2026, 4, 1, 0, 1, tzinfo=UTC)
    await asyncio.gather(first.tick(), second.tick())
    clock.move(timedelta(seconds=2))
    await late.tick()
    clock.move(timedelta(hours=1))
    await asyncio.gather(first.tick(), second.tick(), late.tick())
    assert await staged(scheduled) == ["2026-04-01T00:01:00Z"]


@pytest.mark.parametrize(
    ("night", "expected"),
    [
        (datetime(2026, 3, 28, 12, tzinfo=UTC), datetime(2026, 3, 29, 1, 0, tzinfo=UTC)),  # 02:30 does not exist
        (datetime(2026, 10, 24, 12, tzinfo=UTC), datetime(2026, 10, 25, 0, 30, tzinfo=UTC)),  # 02:30 comes twice
    ],
)
def test_in_both_dst_nights_a_nightly_job_runs_once(night: datetime, expected: datetime) -> None:
    nightly = spec("30 2 * * *", timezone="Europe/Berlin")
    assert due(nightly, night, night + timedelta(hours=24)) == [expected]


@given(cron=CRONS, zone=ZONES, start=INSTANTS)
def test_periods_go_forward_only(cron: str, zone: str, start: datetime) -> None:
    found = list(islice(periods(cron, zone, start), 20))
    assert found == sorted(set(found))
    assert found[0] > start
    assert all(moment.utcoffset() == timedelta(0) for moment in found)


@given(zone=ZONES, start=INSTANTS)
def test_a_daily_job_runs_once_for_every_local_day(zone: str, start: datetime) -> None:
    days = [moment.astimezone(ZoneInfo(zone)).date() for moment in islice(periods("30 2 * * *", zone, start), 400)]
    assert len(set(days)) == len(days)


@given(start=INSTANTS, steps=st.lists(st.integers(1, 10**7), min_size=1, max_size=8))
def test_looking_often_finds_the_same_periods_as_looking_once(start: datetime, steps: list[int]) -> None:
    all_of_them = spec("0 6 * * 1", catch_up=10**6)
    last, now, found = start, start, list[datetime]()
    for seconds in steps:
        now += timedelta(seconds=seconds)
        new = due(all_of_them, last, now)
        found += new
        last = new[-1] if new else last
    assert found == due(all_of_them, start, now)


NIGHTS = st.sampled_from(["2026-03-29T00:00Z", "2026-10-25T00:00Z", "2026-11-01T05:00Z"]).flatmap(
    lambda night: st.timedeltas(timedelta(0), timedelta(hours=27)).map(lambda by: datetime.fromisoformat(night) + by)
)
"""Clocks go forward or back in Berlin, and back in New York."""


@given(
    cron=CRONS,
    zone=ZONES,
    now=INSTANTS | NIGHTS,
    away=st.timedeltas(timedelta(0), timedelta(days=40)),
    catch_up=st.integers(1, 5),
)
def test_the_newest_are_those_that_one_finds_who_goes_through_all(
    cron: str, zone: str, now: datetime, away: timedelta, catch_up: int
) -> None:
    all_of_them = list(takewhile(lambda moment: moment <= now, periods(cron, zone, now - away)))
    assert due(spec(cron, timezone=zone, catch_up=catch_up), now - away, now) == all_of_them[-catch_up:]


def test_a_long_outage_is_not_gone_through_minute_by_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at = 0

    def counted(cron: str, timezone: str, after: datetime) -> Iterator[datetime]:
        nonlocal looked_at
        for moment in periods(cron, timezone, after):
            looked_at += 1
            yield moment

    monkeypatch.setattr("worker.schedule.periods", counted)
    now = datetime(2026, 3, 1, 12, tzinfo=UTC)
    for cron, catch_up in (("* * * * *", 1), ("*/10 * * * *", 3), ("7 * * * *", 1), ("1 0 1 * *", 12)):
        found = due(spec(cron, catch_up=catch_up), now - timedelta(days=400), now)
        assert len(found) == catch_up
    assert looked_at < 2_000


def test_the_next_run_is_told() -> None:
    assert next_run(spec(), datetime(2026, 1, 15, tzinfo=UTC)) == datetime(2026, 2, 1, 0, 1, tzinfo=UTC)
