"""After an outage of the workers or of the door the books are compared without anybody's call, once for each outage."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncEngine

from db import reconciliation as comparisons
from db import schedules
from db.reconciliation import Found
from db.states import DifferenceClass
from jobs.reconciliation.outages import notice_outages
from tests.conftest import MovedClock
from tests.reconciliation.looking_kit import World, registry
from tests.reconciliation.test_run import run
from tests.simulator.life import Life
from worker.adapters.stripe_api import NoKey
from worker.errors import TryLater
from worker.schedule import Scheduler

HOUR = timedelta(hours=1)


@pytest.fixture
async def world(engine: AsyncEngine) -> World:
    """Books that agree, of a Stripe that knows one customer."""
    world = World(engine, Life())
    settings = world.deps.settings.model_copy(update={"stripe_secret_key": SecretStr("sk_test_x")})
    world.deps = replace(world.deps, settings=settings)
    world.life.customer("Ada")
    await world.tell()
    assert (await run(world)).agrees
    return world


async def staged(world: World, why: str = "") -> list[str]:
    """The comparisons that were staged."""
    rows = await world.query("SELECT unique_key FROM jobs WHERE name = 'reconcile_books' ORDER BY id")
    return [row[0] for row in rows if row[0].startswith(f"reconcile/{why}")]


async def notice(world: World, at: datetime | None = None) -> None:
    """The schedule's job, for a period that a worker took."""
    period = (at or world.deps.clock.now()).replace(second=0, microsecond=0)
    async with world.engine.begin() as conn:
        await schedules.take_period(conn, "outages", period, now=period)
    await notice_outages.run(world.deps, {"period": period.isoformat()})


async def test_workers_that_were_away_from_ten_to_two(engine: AsyncEngine) -> None:
    """The scheduler takes the newest period when the first worker is back: the one before it tells of the gap."""
    clock = MovedClock(datetime(2026, 3, 2, 9, 57, 30, tzinfo=UTC))
    world = World(engine, Life())
    world.deps = replace(world.deps, clock=clock, stripe=NoKey())
    only = {"outages": registry.schedules["outages"]}

    async def tick() -> None:
        await Scheduler(world.deps, replace(registry, schedules=only)).tick()
        rows = await world.query("SELECT args ->> 'period' FROM jobs WHERE name = 'notice_outages' ORDER BY id")
        for (period,) in rows:
            await notice_outages.run(world.deps, {"period": period})

    for minutes in (0, 3, 10, 10, 11, 9):  # a deployment may hold one up for a minute
        clock.time += timedelta(minutes=minutes)
        await tick()
        assert await staged(world) == []
    clock.time += 4 * HOUR
    await tick()
    await tick()
    assert await staged(world) == ["reconcile/outage/2026-03-02T10:40:00+00:00"]
    for _ in range(3):
        clock.time += timedelta(minutes=10)
        await tick()
    assert len(await staged(world)) == 1
    clock.time += timedelta(minutes=25)
    await tick()
    assert len(await staged(world)) == 2, "another outage"


async def lose(world: World, hours: float) -> None:
    """Something happens at Stripe, and its webhook does not come; then time passes."""
    world.life.customer("Lost")
    lost = [name for name, _, _ in world.events()]
    world.life.api.account.undelivered |= {name: {"we_1"} for name in lost}
    world.life.wait(hours / 24)


async def test_events_that_did_not_come_for_an_hour(world: World) -> None:
    await world.change("UPDATE webhook_events SET received_at = created_at")
    world.life.wait(0.1)
    await lose(world, 0.9)
    await notice(world)
    assert await staged(world) == [], "it may still come"
    world.life.wait(0.2 / 24)
    await notice(world)
    (key,) = await staged(world, "undelivered/2026-")
    await lose(world, 3)
    await notice(world)
    assert await staged(world, "undelivered") == [key], "the same outage"


@pytest.mark.parametrize("odd", [rb'"name":"\ud800"', rb'"name":"\u0000"', b"<html>"])
async def test_what_postgresql_cannot_hold_hides_no_outage(world: World, odd: bytes) -> None:
    world.life.wait(0.1)
    await lose(world, 2)
    told = await world.api.read("events", delivery_success=False, limit=100)

    async def read(*_: object, **__: object) -> bytes:
        return odd if odd.startswith(b"<") else told.replace(b'"name":"Lost"', odd)

    world.api.read = read  # pyright: ignore[reportAttributeAccessIssue] - a Stripe that answers so
    await notice(world)
    assert bool(await staged(world, "undelivered")) is not odd.startswith(b"<")


async def test_what_a_comparison_has_seen_is_no_reason_for_another(world: World) -> None:
    await lose(world, 2)
    assert (await run(world)).events.missed > 1
    await notice(world)
    assert await staged(world) == []


async def test_a_comparison_in_test_mode_has_seen_nothing_of_the_money(world: World) -> None:
    await lose(world, 2)
    await run(world)
    await world.change("UPDATE reconciliation_runs SET livemode = NOT livemode")
    await notice(world)
    assert len(await staged(world, "undelivered")) == 1


async def test_what_came_here_and_nowhere_else_is_no_outage(world: World) -> None:
    """Stripe calls an event undelivered while any of the addresses lacks it."""
    world.life.customer("Bo")
    world.life.api.account.undelivered |= {name: {"we_1"} for name, _, _ in world.events()}
    world.told = 0
    await world.tell()
    world.life.wait(0.5)
    await notice(world)
    assert await staged(world) == []


async def test_stripe_away_or_without_a_key_parks_nothing(world: World) -> None:
    async def away(*_: object, **__: object) -> bytes:
        raise TryLater("Stripe answered 503")

    await lose(world, 2)
    for stripe in (NoKey(), world.api):
        world.api.read = away  # pyright: ignore[reportAttributeAccessIssue] - Stripe is away
        world.deps = replace(world.deps, stripe=stripe)
        await notice(world)
    assert await staged(world) == []


async def test_a_daily_run_that_has_not_ended_for_two_days_is_told_once(world: World) -> None:
    begun = world.deps.clock.now()
    async with world.engine.begin() as conn:
        await schedules.take_period(conn, "reconcile", begun, now=begun)
    for days, letters in ((1.9, 0), (0.2, 1), (0.5, 1)):
        world.life.wait(days)
        await notice(world)
        rows = await world.query("SELECT context ->> 'reasons' FROM emails WHERE template = 'books_alarm'")
        assert len(rows) == letters
    assert f"No comparison with Stripe has come to its end since {begun:%Y-%m-%d}" in rows[0][0]
    async with world.engine.begin() as conn:
        await schedules.take_period(conn, "reconcile", world.deps.clock.now(), now=begun)
    world.life.wait(2.5)
    await notice(world)
    assert len(await world.query("SELECT 1 FROM emails WHERE template = 'books_alarm'")) == 2, "it stands still again"


async def alarms(world: World) -> list[str]:
    """Of what operators were told that nothing was compared."""
    rows = await world.query("SELECT context -> 'reasons' ->> 0 FROM emails WHERE template = 'books_alarm' ORDER BY id")
    return [row[0] for row in rows]


async def connect(world: World) -> None:
    """A connected account differs, and so it is compared each day."""
    ((last,),) = await world.query("SELECT max(id) FROM reconciliation_runs")
    found = Found("charge", "ch_b", DifferenceClass.MISSING_HERE, "", None, "500", "usd", mended=False)
    async with world.engine.begin() as conn:
        await comparisons.record(conn, last, "acct_b", [found], livemode=False, now=world.deps.clock.now())


async def test_what_was_compared_by_hand_is_not_overdue(world: World) -> None:
    begun = world.deps.clock.now()
    async with world.engine.begin() as conn:
        await schedules.take_period(conn, "reconcile", begun, now=begun)
    world.life.wait(1.5)
    world.life.customer("Bo")
    await world.tell()
    by_hand = world.deps.clock.now()
    assert (await run(world)).agrees
    world.life.wait(1)
    await notice(world)
    assert await alarms(world) == []
    world.life.customer("Cy")
    await world.tell()
    now = world.deps.clock.now()
    for less in ({"dry_run": True}, {"since": now - HOUR}, {"since": begun - 3 * HOUR, "until": begun - 2 * HOUR}):
        await run(world, **less)
    world.life.wait(1.1)
    await notice(world)
    assert await alarms(world) == [f"No comparison with Stripe has come to its end since {by_hand:%Y-%m-%d %H:%M} UTC"]


async def test_only_the_accounts_that_nobody_compared_are_overdue(world: World) -> None:
    begun = world.deps.clock.now()
    async with world.engine.begin() as conn:
        await schedules.take_period(conn, "reconcile", begun, now=begun)
    await connect(world)
    world.life.wait(2.5)
    world.life.customer("Bo")
    await world.tell()
    assert (await run(world)).agrees
    for _ in range(2):
        await notice(world)
    assert await alarms(world) == [f"No comparison of acct_b has come to its end since {begun:%Y-%m-%d %H:%M} UTC"]
    world.life.wait(2.5)
    await notice(world)
    assert len(await alarms(world)) == 2, "now none is compared"
