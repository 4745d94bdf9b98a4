"""Comparisons by hand are of any span: what operators were told is not told again, and nothing new is left untold."""

from datetime import datetime, timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from jobs.reconciliation import report as reports
from tests.reconciliation.looking_kit import World
from tests.reconciliation.test_letters import letters
from tests.reconciliation.test_run import mend, run
from tests.reconciliation.test_run_missed import go_on, lose_a_product
from tests.reconciliation.test_run_waits import open_invoice, pay
from tests.simulator.life import Life

CHANGED = "UPDATE balance_transactions SET amount_cents = amount_cents + {0}, net_cents = net_cents + {0}"
"""No look at one object finds that, only a comparison whose span has it."""


@pytest.fixture
async def world(engine: AsyncEngine) -> World:
    """Money of six hours ago, an open invoice, and books that agree."""
    world = World(engine, Life())
    open_invoice(world.life)
    pay(world.life, 5000)
    await go_on(world, 0.25, "Ada")
    assert (await run(world)).agrees
    return world


async def count(world: World) -> int:
    return len(await letters(world))


def hours_ago(world: World, hours: float) -> datetime:
    return world.deps.clock.now() - timedelta(hours=hours)


async def test_events_that_a_run_of_an_hour_says_nothing_of(world: World) -> None:
    await lose_a_product(world)
    await go_on(world, 0.5, "Bo")
    assert (await run(world)).events.lost == 1
    assert (await run(world, since=hours_ago(world, 1))).events.lost == 0
    assert (await run(world)).events.lost == 1
    assert await count(world) == 1
    await mend(world)
    assert await count(world) == 2
    await lose_a_product(world)
    await go_on(world, 0.25, "Cy")
    await run(world)
    assert await count(world) == 3, "other events"


async def test_money_that_a_run_of_an_hour_says_nothing_of(world: World) -> None:
    await world.change(CHANGED.format(7))
    daily = await run(world)
    assert daily.found > 0
    narrow = await run(world, since=hours_ago(world, 1))
    past = await run(world, since=hours_ago(world, 60), until=hours_ago(world, 48))
    assert (narrow.found, narrow.settled, past.found, past.settled) == (0, 0, 0, 0)
    assert (await run(world)).found == daily.found
    assert await count(world) == 1
    await world.change(CHANGED.format(2))
    await run(world, since=hours_ago(world, 1))
    assert await count(world) == 1, "it has not seen it"
    await run(world)
    assert await count(world) == 2, "another value"
    await world.change(CHANGED.format(-9))
    assert (await run(world)).agrees
    await world.change(CHANGED.format(9))
    await run(world)
    assert await count(world) == 3, "it is back, with the values that were told before"


async def test_what_a_run_of_an_hour_has_told_the_next_one_of_the_schedule_does_not(world: World) -> None:
    await lose_a_product(world)
    await go_on(world, 0.5, "Bo")
    await run(world)
    await world.change("UPDATE invoices SET total_cents = total_cents + 1")
    narrow = await run(world, since=hours_ago(world, 1))
    assert (narrow.found, narrow.events.lost, await count(world)) == (1, 0, 2)
    await run(world)
    await run(world, since=hours_ago(world, 1))
    assert await count(world) == 2
    await world.change("UPDATE invoices SET tax_cents = tax_cents + 1")
    await run(world)
    assert await count(world) == 3, "it has grown"
    await world.change("UPDATE invoices SET tax_cents = tax_cents - 1")
    assert (await run(world)).found == 1
    assert await count(world) == 3, "less than before is no news"


async def test_money_that_only_a_wide_run_sees(world: World) -> None:
    await go_on(world, 5, "Bo")
    assert (await run(world)).agrees
    await world.change(CHANGED.format(7))
    for since, letters_ in ((None, 0), (hours_ago(world, 200), 1), (None, 1), (hours_ago(world, 300), 1)):
        await run(world, since=since)
        assert await count(world) == letters_


async def test_an_object_that_waits_for_a_while_is_not_told_again(world: World) -> None:
    await world.change("UPDATE invoices SET total_cents = total_cents + 1")
    await run(world)
    ((name,),) = await world.query("SELECT stripe_invoice_id FROM invoices")
    world.life.post(f"invoices/{name}", metadata={"of": "Bo"})
    assert ((waits := await run(world)).found, waits.waiting) == (0, 1)
    await go_on(world, 0.1, "Bo")
    await world.change("UPDATE invoices SET total_cents = total_cents + 1")
    assert (await run(world)).found == 1
    assert await count(world) == 1


async def test_more_than_a_report_names(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "SHOWN", 1)
    for _ in range(3):
        open_invoice(world.life)
    await go_on(world, 0.5, "Bo")
    newest = "UPDATE invoices SET total_cents = total_cents + 1 WHERE id > (SELECT max(id) FROM invoices) - {}"
    for many, letters_ in ((1, 1), (2, 2)):
        await world.change(newest.format(many))
        for _ in range(2):
            await run(world)
            assert await count(world) == letters_
    await mend(world)
    await world.change(newest.format(1))
    await run(world)
    assert await count(world) == 4
