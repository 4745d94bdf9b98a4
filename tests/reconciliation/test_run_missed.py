"""Events that never came are told, looked for again each day, and fetched when missing things may be mended."""

from datetime import timedelta

import pytest
import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from db import reconciliation as rows
from db.operators import reconciliation as desk
from db.operators.actions import Actor
from db.reconciliation import Found, NewRun
from db.states import DifferenceClass
from intake.commands.connect import log_to_stderr
from intake.reconciliation import next_steps, verdict
from jobs.reconciliation.report import Total, by_currency
from tests.reconciliation.looking_kit import World
from tests.reconciliation.test_run import run
from tests.reconciliation.test_run_waits import pay
from tests.simulator.life import Life


@pytest.fixture
def world(engine: AsyncEngine) -> World:
    return World(engine, Life())


async def lose_a_product(world: World) -> None:
    """Products are in no open set: only the event can tell of one."""
    world.life.post("products", name="Lost")
    assert len(world.events()) == 1


async def go_on(world: World, days: float, name: str) -> None:
    world.life.wait(days)
    world.life.customer(name)
    await world.tell()


async def test_an_event_that_never_came_is_looked_for_until_it_is_fetched(world: World) -> None:
    await go_on(world, 0, "Ada")
    assert (await run(world)).agrees
    await lose_a_product(world)
    await go_on(world, 2, "Bo")
    first = await run(world)
    assert (first.events.missed, first.events.late, first.found) == (1, 1, 0)
    assert (first.agrees, first.advances) == (False, False)
    assert "1 event of Stripe's never came" in verdict(first)
    assert any("billing events backfill --since " in step for step in next_steps(first))
    await go_on(world, 6, "Cy")
    assert (await run(world)).events.late == 1, "the days between two runs do not hide it"
    mended = await run(world, repairs=frozenset({DifferenceClass.MISSING_HERE}))
    assert (mended.events.put, mended.events.late, mended.agrees, mended.advances) == (1, 0, True, True)
    assert (await run(world)).events.missed == 0


async def test_an_event_of_today_may_still_be_on_its_way(world: World) -> None:
    await go_on(world, 0, "Ada")
    assert (await run(world)).agrees
    await lose_a_product(world)
    await go_on(world, 0.5, "Bo")
    report = await run(world)
    assert (report.events.missed, report.events.late, report.agrees, report.advances) == (1, 0, True, True)
    await go_on(world, 1, "Cy")
    assert (await run(world)).events.late == 1, "the next run looks back far enough"


async def test_on_a_quiet_day_each_currency_is_told_of(world: World) -> None:
    pay(world.life, 5000)
    await go_on(world, 1, "Ada")
    assert {(one.currency, one.money, one.here) for one in (await run(world)).totals} == {
        ("usd", "charges", 5000),
        ("usd", "fees", 175),
    }
    await go_on(world, 5, "Bo")
    assert "payouts" in {one.money for one in (await run(world)).totals}
    for _ in range(2):
        await go_on(world, 5, "Cy")
        report = await run(world)
        assert [(one.currency, one.money, one.here, one.there) for one in report.totals] == [
            ("usd", "charges", 0, 0),
            ("usd", "fees", 0, 0),
        ]


async def test_an_account_with_open_differences_is_compared_and_one_that_is_not_is_no_hint(world: World) -> None:
    now = world.deps.clock.now()
    new = NewRun("acct_gone", livemode=False, asked_by="schedule", since=now - timedelta(days=1), until=now,
                 repairs=frozenset(), dry_run=False)  # fmt: skip
    async with world.engine.begin() as conn:
        number = await rows.begin(conn, new, now)
        assert number is not None
        found = [Found("charge", "ch_1", DifferenceClass.AMOUNT, "amount_cents", "1", "2", "usd", mended=False)]
        await rows.record(conn, number, "acct_gone", found, livemode=False, now=now)
        await rows.fail(conn, number, "Stripe answered 403", now)
        assert await rows.connected(conn, now) == ["acct_gone"]
        assert [one["stripe_account"] for one in await desk.failed(conn)] == ["acct_gone"]
        (one,) = await desk.open_ids(conn, class_=None, account="acct_gone")
        await desk.dismiss(conn, [one], Actor("ada", "disconnected"), now=now)
        assert await rows.connected(conn, now) == []
    await go_on(world, 4, "Ada")
    assert (await run(world)).agrees
    async with world.engine.connect() as conn:
        assert await desk.failed(conn) == [], "nobody asks for it any more"


def test_the_letters_sum_is_what_came_in_less_what_went_back_and_the_fees() -> None:
    sums = {"charges": 18_500, "refunds": -1_000, "disputes": -500, "fees": 748, "payouts": -16_252}
    totals = [
        Total(currency="usd", money=name, here=amount, there=amount + (name == "refunds"))
        for name, amount in sums.items()
    ]
    assert by_currency(totals) == [("usd", 16_252, 16_253)]


def test_what_a_command_logs_shows_no_local_variables(capsys: pytest.CaptureFixture[str]) -> None:
    structlog.reset_defaults()
    log_to_stderr()

    def fail() -> None:
        email = "radia@example.com"
        raise ValueError(f"{len(email)} characters")

    try:
        fail()
    except ValueError as error:
        structlog.get_logger().warning("it broke", exc_info=error)
    told = capsys.readouterr().err
    assert "17 characters" in told
    assert "radia" not in told.replace('email = "radia@example.com"', "")
