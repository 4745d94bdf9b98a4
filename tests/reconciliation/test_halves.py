"""An attempt of which our books have only one half is found by every run, however old it is."""

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.reconciliation.looking_kit import World
from tests.reconciliation.test_run import kept, mend, run
from tests.reconciliation.test_run_waits import pay
from tests.simulator.life import Life


@pytest.fixture
async def world(engine: AsyncEngine) -> World:
    """A payment of two months ago, and books that agree."""
    world = World(engine, Life())
    pay(world.life, 5000)
    world.life.wait(60)
    world.life.customer("Ada")
    await world.tell()
    assert (await mend(world)).agrees
    assert (await run(world)).agrees
    return world


INVENTED = """
    INSERT INTO charges (stripe_charge_id, livemode, stripe_account, version, status, captured, amount_cents,
                         amount_captured_cents, currency, stripe_created_at, stripe_fee_cents, net_amount_cents,
                         settlement_currency, updated_at)
    SELECT 'ch_nobody', livemode, stripe_account, version, status, captured, amount_cents, amount_captured_cents,
           currency, stripe_created_at, 175, amount_cents - 175, currency, updated_at FROM charges LIMIT 1
"""


async def test_a_charge_with_a_fee_and_no_payment_that_stripe_does_not_know(world: World) -> None:
    await world.change(INVENTED)
    report = await run(world)
    assert [(one.class_, one.kind, one.object_id, one.here) for one in report.differences] == [
        ("missing_there", "charge", "ch_nobody", "5000")
    ]
    assert (await mend(world)).left == 1, "never mended by itself"
    assert [one["object_id"] for one in await kept(world)] == ["ch_nobody"]


async def test_a_charge_of_long_ago_that_lost_its_payment(world: World) -> None:
    await world.change("DELETE FROM payment_history")
    assert {(one.class_, one.kind) for one in (await run(world)).differences} == {("missing_here", "payment")}
    assert (await mend(world)).left == 0
    assert await world.oracle() == []


async def test_a_payment_of_long_ago_that_lost_its_charge(world: World) -> None:
    await world.change("DELETE FROM charges")
    assert {(one.class_, one.kind) for one in (await run(world)).differences} == {("missing_here", "charge")}
    assert (await mend(world)).left == 0
    assert await world.oracle() == []


async def test_a_payment_whose_intent_nobody_knows(world: World) -> None:
    await world.change(
        "UPDATE payment_history SET stripe_payment_intent_id = 'pi_nobody', stripe_charge_id = NULL,"
        " status = 'pending', captured = false, stripe_fee_cents = NULL, net_amount_cents = NULL,"
        " settlement_currency = NULL"
    )
    found = {(one.class_, one.kind, one.object_id) for one in (await run(world)).differences}
    assert ("missing_there", "payment_intent", "pi_nobody") in found
    assert {kind for class_, kind, _ in found if class_ == "missing_here"} == {"payment"}
