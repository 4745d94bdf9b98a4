"""Payments of the wrong invoice are put right and are no double payments; a dry run leaves no trace."""

from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from db.states import DifferenceClass
from jobs.reconciliation.report import Report
from jobs.reconciliation.run import reconcile
from tests.reconciliation.looking_kit import ALL, World
from tests.simulator.life import Life

MENDABLE = ALL - {DifferenceClass.MISSING_THERE}


@pytest.fixture
def world(engine: AsyncEngine) -> World:
    return World(engine, Life())


async def run(world: World, **more: Any) -> Report:
    return await reconcile(world.deps, asked_by="ada", **more)


async def two_paid(world: World) -> list[str]:
    """Two invoices that were paid by cards, told of, and compared."""
    names: list[str] = []
    for name in ("Ada", "Bea"):
        customer = world.life.customer(name)["id"]
        world.life.post("invoiceitems", customer=customer, amount=5000, currency="usd")
        made = world.life.post("invoices", customer=customer, pending_invoice_items_behavior="include")["id"]
        world.life.post(f"invoices/{made}/finalize")
        world.life.post(f"invoices/{made}/pay")
        names.append(made)
    world.life.wait(0.5)
    world.life.customer("X")
    await world.tell()
    return names


def told(report: Report) -> list[tuple[str, str, str]]:
    return sorted((one.class_, one.kind, one.field) for one in report.differences)


async def misplaced(world: World) -> None:
    """The payment of the second invoice says that it is for the first."""
    first, _ = await two_paid(world)
    assert (await run(world)).found == 0
    await world.change(
        "UPDATE payment_history SET stripe_invoice_id = :name,"
        " invoice_id = (SELECT id FROM invoices WHERE stripe_invoice_id = :name)",
        name=first,
    )


async def test_a_payment_of_another_invoice_is_put_right(world: World) -> None:
    await misplaced(world)
    report = await run(world, repairs=MENDABLE)
    assert told(report) == [("status", "payment", "stripe_invoice_id")]
    assert report.agrees
    assert await world.oracle() == []


async def test_nothing_is_told_twice_while_it_is_not_put_right(world: World) -> None:
    await misplaced(world)
    assert told(await run(world)) == [("status", "payment", "stripe_invoice_id")]
    assert told(await run(world, repairs=MENDABLE, dry_run=True)) == [("status", "payment", "stripe_invoice_id")]


async def test_a_dry_run_leaves_no_money_behind(world: World) -> None:
    await two_paid(world)
    report = await run(world, repairs=MENDABLE, dry_run=True)
    assert [one for one in report.totals if one.difference] == []
    assert await world.query("SELECT count(*) FROM balance_transactions") == [(0,)]
