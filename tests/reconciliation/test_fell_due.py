"""An invoice became overdue in an outage that was longer than Stripe keeps events: its dunning begins, once."""

from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from db import ledger
from tests.reconciliation.looking_kit import Json, World
from tests.reconciliation.test_letters import letters
from tests.reconciliation.test_run import mend, run
from tests.reconciliation.test_run_missed import go_on
from tests.reconciliation.test_run_waits import open_invoice
from tests.simulator.life import Life


@pytest.fixture
async def world(engine: AsyncEngine) -> World:
    """Stripe told on its day that an invoice is overdue, and its case is open; books that agree."""
    world = World(engine, Life())
    open_invoice(world.life)
    await go_on(world, 20, "Ada")
    assert (await run(world)).agrees
    assert len(await cases(world, but=())) == 1
    return world


async def outage(world: World, days: float) -> None:
    """Nothing comes for so long; then something happens, and comes."""
    world.life.wait(days)
    world.events()
    await go_on(world, 0, "Bo")


async def cases(world: World, but: tuple[int, ...] = (1,)) -> list[tuple[Any, ...]]:
    """All but the first one: which invoice, opened by what, whether on its day, and how it stands."""
    return await world.query(
        "SELECT c.stripe_invoice_id, c.opened_by, c.failed_at = i.due_date, c.status"
        " FROM dunning_cases c JOIN invoices i USING (stripe_invoice_id) WHERE c.id <> ALL (:but) ORDER BY c.failed_at",
        but=list(but),
    )


async def heard(world: World) -> Json:
    """An invoice of which was told when it was sent."""
    made = open_invoice(world.life)
    await world.tell()
    return made


async def test_forty_days_without_events(world: World) -> None:
    known = await heard(world)
    world.life.wait(1)
    unknown = open_invoice(world.life)
    paid = await heard(world)
    world.told = len(world.life.api.account.events)
    world.life.wait(9)
    world.life.post(f"invoices/{paid['id']}/pay", paid_out_of_band=True)
    world.life.wait(11)
    later = open_invoice(world.life)
    await outage(world, 20)
    assert (await run(world)).fell_due == 0, "nothing is to be mended"
    assert await cases(world) == []
    report = await mend(world)
    assert report.fell_due == 2
    assert "2 invoices became overdue while no event came: dunning began" in (await letters(world))[-1]["notes"]
    opened = [(known["id"], "overdue", True, "open"), (unknown["id"], "overdue", True, "open")]
    assert await cases(world) == opened
    assert (await mend(world)).fell_due == 0
    assert await cases(world) == opened, "once"
    assert later["id"] not in {case[0] for case in opened}, "Stripe still has the event, if there was one"
    audited = await world.query("SELECT target FROM audit_log WHERE action = 'reconciliation.overdue' ORDER BY id")
    assert [row[0] for row in audited] == [f"invoice {known['id']}", f"invoice {unknown['id']}"]


async def test_an_outage_of_which_stripe_has_all_events(world: World) -> None:
    await heard(world)
    await outage(world, 25)
    assert (await mend(world)).fell_due == 0
    assert await cases(world) == []


async def test_an_account_of_which_stripe_never_told_that(world: World) -> None:
    await world.change("UPDATE invoices SET overdue_at = NULL")
    await heard(world)
    await outage(world, 45)
    assert (await mend(world)).fell_due == 0
    assert await cases(world) == []


async def test_an_invoice_that_a_worker_holds_is_left_to_the_next_comparison(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.reconciliation.fell_due.A_MOMENT", 0.01)
    known = await heard(world)
    await outage(world, 45)
    async with world.engine.begin() as conn:
        assert await ledger.try_lock(conn, {known["id"]})
        report = await mend(world)
    assert (report.fell_due, report.advances) == (0, False)
    assert [(one.kind, one.object_id) for one in report.skips] == [("invoice", known["id"])]
    assert (await mend(world)).fell_due == 1
    assert [case[0] for case in await cases(world)] == [known["id"]]
