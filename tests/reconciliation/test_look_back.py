"""Damage of long ago is found within a known time: each day another piece of the past is compared once more."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncEngine

from jobs.reconciliation.look_back import LEAST, ROUND, next_piece
from jobs.reconciliation.report import Piece, Report
from tests.reconciliation.looking_kit import World
from tests.reconciliation.test_run import kept, run, told
from tests.reconciliation.test_run_waits import pay
from tests.simulator.life import Life

DAY = timedelta(days=1)
NOW = datetime(2026, 11, 21, 6, tzinfo=UTC)


@given(days=st.integers(1, 4000), begun=st.integers(0, 4000), late=st.lists(st.integers(1, 4), max_size=30))
def test_all_of_the_past_is_compared_within_a_known_time(days: int, begun: int, late: list[int]) -> None:
    """From any piece on; where a run is late, by days, the span of the daily one reaches back as far."""
    oldest, since = NOW - days * DAY, NOW
    last = Piece(NOW - (begun + 1) * DAY, NOW - begun * DAY)
    seen: list[Piece] = []
    for day in range(2 * ROUND + 4):
        found = next_piece(oldest, since, last)
        assert found is not None
        assert oldest <= found.since < found.until <= since
        assert found.until - found.since <= max(LEAST, (since - oldest) / ROUND)
        seen.append(found)
        since, last = since + DAY * (late[day] if day < len(late) else 1), found
    moment = NOW
    for found in sorted(seen, key=lambda one: one.until, reverse=True):
        if found.since < moment <= found.until:
            moment = found.since
    assert moment == oldest


@given(days=st.integers(1, 4000))
def test_a_round_takes_ninety_days(days: int) -> None:
    oldest, since, last = NOW - days * DAY, NOW, None
    for number in range(1, 2 * ROUND):
        last = next_piece(oldest, since, last)
        assert last is not None
        if last.since == oldest:
            assert number <= ROUND
            return
        since += DAY
    raise AssertionError(last)


def test_a_past_that_the_daily_span_has_needs_no_piece() -> None:
    assert next_piece(None, NOW, None) is None
    assert next_piece(NOW, NOW, None) is None


@pytest.fixture
async def world(engine: AsyncEngine) -> World:
    """Money, an invoice and a refund of forty days ago; books that agree."""
    world = World(engine, Life())
    life = world.life
    customer = life.customer("Ada")
    life.subscribe(customer, life.price(2000))
    life.post("refunds", charge=pay(life, 5000)["latest_charge"], amount=1500)
    life.wait(25)
    pay(life, 700)
    life.wait(15)
    await go_on(world)
    return world


async def go_on(world: World) -> Report:
    """A day passes, and the books are compared."""
    world.life.wait(1)
    world.life.customer("Someone")
    await world.tell()
    return await run(world, look_back=True)


DAMAGE = (
    "UPDATE payment_history SET amount_cents = amount_cents + 1 WHERE amount_cents = 5000",
    "UPDATE refunds SET amount_cents = amount_cents + 1",
    "UPDATE invoices SET total_cents = total_cents + 1 WHERE billing_reason = 'subscription_create'",
    "UPDATE balance_transactions SET amount_cents = 5007, net_cents = net_cents + 7 WHERE amount_cents = 5000",
)


@pytest.mark.parametrize("damage", DAMAGE)
async def test_old_damage_is_found_within_a_round(world: World, damage: str) -> None:
    first = await go_on(world)
    assert (first.found, first.older is not None) == (0, True)
    await world.change(damage)
    assert (await run(world)).found == 0, "nothing else looks there"
    report, days = await go_on(world), 1
    while not report.found and days < 7:
        report, days = await go_on(world), days + 1
    assert report.found
    assert report.advances
    assert [one for one in report.totals if one.difference] == [], "sums are those of the run's own time"
    before = len(await kept(world))
    assert before == report.found
    await go_on(world)
    assert len(await kept(world)) == before, "it stays until it is seen to be gone"


async def test_nothing_is_found_where_all_agrees_and_pieces_follow_one_another(world: World) -> None:
    found: list[Piece] = []
    for _ in range(8):
        report = await go_on(world)
        assert report.agrees, told(report)
        assert report.older is not None
        found.append(report.older)
    ends = [(one.since, two.until) for one, two in pairwise(found)]
    again = [at for at, (since, until) in enumerate(ends) if since != until]
    assert len(again) == 1, "from the oldest it begins anew, once"
    ((first,),) = await world.query("SELECT min(created_at) FROM payment_history")
    assert found[again[0]].since == first
    assert (await run(world)).older is None, "by hand only what was asked for"
