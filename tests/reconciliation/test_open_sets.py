"""Whatever is unfinished on either side is seen, however old it is; what agrees is not asked for again."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from jobs.reconciliation.found import Suspect
from jobs.reconciliation.open_sets import States, compare_states
from tests.reconciliation.looking_kit import World, small_life
from tests.simulator.life import Life
from tests.simulator.stories import Played, filled
from worker.embedded import EmbeddedPostgres

DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def life() -> Life:
    """Stripe's side: nobody changes it in these tests."""
    return small_life()


@pytest.fixture(scope="module")
def template(postgres: EmbeddedPostgres, template: str, life: Life) -> str:
    """The ledger that heard all of it: each test has a copy."""

    async def play(_: Played, engine: AsyncEngine, __: str) -> None:
        await World(engine, life).tell()

    return filled(postgres, template, Played(), play)


@pytest.fixture
def world(engine: AsyncEngine, life: Life) -> World:
    return World(engine, life)


async def compare(world: World, *, days: int = 1) -> States:
    stripe = await world.stripe()
    return await compare_states(world.deps, stripe, stripe.as_of - days * DAY, stripe.as_of)


async def the(world: World, sql: str) -> str:
    ((name,),) = await world.query(sql)
    return name


async def test_a_ledger_that_agrees_leaves_next_to_nothing_to_ask_for(world: World) -> None:
    found = await compare(world, days=400)
    assert found.counted["invoice"] == len(world.all("invoice"))
    assert found.counted["payment_intent"] == len(world.all("payment_intent"))
    assert {one.kind for one in found.suspects} <= {"payment_intent"}
    assert len(found.suspects) <= 1  # an attempt whose last event Stripe has not told of


GONE = """
    DELETE FROM invoices WHERE id = (
        SELECT min(i.id) FROM invoices i WHERE i.status IN ('open', 'draft') AND i.deleted_at IS NULL
          AND NOT EXISTS (SELECT FROM dunning_cases d WHERE d.invoice_id = i.id)
          AND NOT EXISTS (SELECT FROM payment_history p WHERE p.invoice_id = i.id)
    ) RETURNING stripe_invoice_id
"""
OLD: dict[str, tuple[str, str]] = {
    "an open invoice of long ago that is paid here": (
        "invoice",
        (
            "UPDATE invoices SET status = 'paid' WHERE id = (SELECT min(id) FROM invoices WHERE status = 'open')"
            " RETURNING stripe_invoice_id"
        ),
    ),
    "a paid invoice of long ago that is open here": (
        "invoice",
        (
            "UPDATE invoices SET status = 'open' WHERE id = (SELECT min(id) FROM invoices WHERE status = 'paid')"
            " RETURNING stripe_invoice_id"
        ),
    ),
    "an open invoice that is gone": ("invoice", GONE),
    "a subscription that ended, and is active here": (
        "subscription",
        (
            "UPDATE subscriptions SET status = 'active' WHERE id = (SELECT min(id) FROM subscriptions WHERE status ="
            " 'canceled') RETURNING stripe_subscription_id"
        ),
    ),
    "a subscription whose period differs": (
        "subscription",
        (
            "UPDATE subscriptions SET current_period_start = current_period_start - interval '1 s' WHERE id ="
            " (SELECT min(id) FROM subscriptions WHERE status = 'active') RETURNING stripe_subscription_id"
        ),
    ),
    "a refund that is pending here": (
        "refund",
        "UPDATE refunds SET status = 'pending' WHERE id = (SELECT min(id) FROM refunds) RETURNING stripe_refund_id",
    ),
    "a dispute that is open here": (
        "dispute",
        (
            "UPDATE disputes SET status = 'needs_response' WHERE id = (SELECT min(id) FROM disputes WHERE status ="
            " 'lost') RETURNING stripe_dispute_id"
        ),
    ),
    "a payout on its way here": (
        "payout",
        "UPDATE payouts SET status = 'in_transit' WHERE id = (SELECT min(id) FROM payouts) RETURNING stripe_payout_id",
    ),
}


@pytest.mark.parametrize("what", OLD)
async def test_old_things_are_seen_by_a_look_at_the_last_day(world: World, what: str) -> None:
    kind, sql = OLD[what]
    async with world.engine.begin() as conn:
        name: Any = (await conn.exec_driver_sql(sql)).scalar_one()
    assert Suspect(kind, name) in (await compare(world)).suspects


async def test_our_own_invoices_are_none_of_stripes(world: World) -> None:
    await world.change(
        "INSERT INTO invoices (kind, own_key, status, currency, invoice_number, finalized_at, livemode)"
        " VALUES ('manual', 'manual/1', 'open', 'eur', 'A-1', now(), false)"
    )
    assert {one.kind for one in (await compare(world)).suspects} <= {"payment_intent"}


async def test_an_old_invoice_that_is_paid_today_is_seen_by_its_event(engine: AsyncEngine) -> None:
    """Neither is it unfinished at Stripe, nor was it made of late."""
    world = World(engine, small_life())
    await world.tell()
    name = await the(world, "SELECT min(stripe_invoice_id) FROM invoices WHERE status = 'open'")
    world.life.wait(45)
    await world.tell()
    world.life.post(f"invoices/{name}/pay", paid_out_of_band=True)
    await world.change("UPDATE invoices SET status = 'void' WHERE stripe_invoice_id = :name", name=name)
    found = await compare(world)
    assert Suspect("invoice", name) in found.suspects
