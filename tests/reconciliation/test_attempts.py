"""Several attempts at one payment are wrong at once: each is told by Stripe, and a dry run tells what is mended."""

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from jobs.reconciliation.report import Report
from tests.reconciliation.looking_kit import World
from tests.reconciliation.test_run import mend, run
from tests.simulator.life import Life
from tests.simulator.stories import Played, filled
from worker.embedded import EmbeddedPostgres


@pytest.fixture(scope="module")
def life() -> Life:
    """Payments of which the first attempt, or the first two, failed."""
    life = Life()
    for declined in (
        ("pm_card_chargeDeclined",),
        ("pm_card_chargeDeclined", "pm_card_chargeDeclinedInsufficientFunds"),
    ):
        intent = life.post("payment_intents", amount=5000, currency="usd")
        for card in declined:
            life.post(f"payment_intents/{intent['id']}/confirm", "card_declined", payment_method=card)
        life.post(f"payment_intents/{intent['id']}/confirm", payment_method="pm_card_visa")
    life.wait(0.5)
    life.customer("Ada")
    return life


@pytest.fixture(scope="module")
def template(postgres: EmbeddedPostgres, template: str, life: Life) -> str:
    async def play(_: Played, engine: AsyncEngine, __: str) -> None:
        world = World(engine, life)
        await world.tell()
        assert (await mend(world)).left == 0

    return filled(postgres, template, Played(), play)


@pytest.fixture
def world(engine: AsyncEngine, life: Life) -> World:
    return World(engine, life)


WRONG = {
    "both amounts": ("UPDATE charges SET amount_cents = amount_cents + 7",),
    "both states": ("UPDATE charges SET status = CASE status WHEN 'failed' THEN 'succeeded' ELSE 'failed' END",),
    "copies and rows": (
        "UPDATE charges SET amount_cents = amount_cents + 7",
        "UPDATE payment_history SET amount_cents = amount_cents + 3, status = 'pending'",
    ),
    "one is gone, the other wrong": (
        "DELETE FROM charges WHERE status = 'failed'",
        "UPDATE charges SET currency = 'chf'",
    ),
    "rows are gone": (
        "DELETE FROM payment_history WHERE status = 'failed'",
        "UPDATE charges SET amount_cents = amount_cents + 7 WHERE status = 'succeeded'",
    ),
}


def told(report: Report) -> set[tuple[str, str, str, str, str | None, str | None]]:
    return {(one.class_, one.kind, one.object_id, one.field, one.here, one.there) for one in report.differences}


@pytest.mark.parametrize("name", WRONG)
async def test_a_dry_run_tells_what_a_repair_mends(world: World, name: str) -> None:
    right = await world.query("SELECT stripe_charge_id, amount_cents, currency, status FROM charges ORDER BY 1")
    for sql in WRONG[name]:
        await world.change(sql)
    dry = await run(world, dry_run=True, repairs=frozenset())
    assert dry.found
    plain = await run(world)
    mended = await mend(world)
    assert told(dry) == told(plain) == told(mended)
    assert (mended.left, dry.found) == (0, mended.found)
    assert await world.query("SELECT stripe_charge_id, amount_cents, currency, status FROM charges ORDER BY 1") == right
    amounts = {one[0]: str(one[1]) for one in right}
    for one in mended.differences:
        if one.field == "amount_cents" and one.object_id in amounts:
            assert one.there == amounts[one.object_id], "Stripe's own value, not one of ours"
    assert (await run(world)).found == 0
    assert await world.oracle() == []
