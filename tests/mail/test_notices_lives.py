"""Whole lives, told in any order and any number of times: each thing that happened is written about exactly once."""

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.convergence.shuffle import cuts, deliveries, disordered
from tests.lives.driver import apply_all, clear
from tests.lives.play import NAMED, Moment, moments, named, play
from tests.lives.stripe_world import World
from tests.mail.letters_kit import letters, staged, written

MONEY_LETTERS = ("receipt", "refund", "dispute_notice")


def owed(world: World) -> tuple[set[str], set[str]]:
    """The keys of the letters that must be there in the end; and of those that may be: a refund that bounced later."""
    receipts = {f"receipt/{one.id}" for one in world.invoices if one.status == "paid" and one.amount_paid > 0}
    refunds = {f"refund/{one.id}" for one in world.refunds if one.status == "succeeded"}
    bounced = {f"refund/{one.id}" for one in world.refunds if one.status in {"failed", "canceled"}}
    disputes = {f"dispute/{one.id}" for one in world.disputes}
    return receipts | refunds | disputes, bounced


async def _tells(engine: AsyncEngine, world: World, seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311 - a test's dice, from a seed that hypothesis prints
    told = disordered(deliveries(world, dice), dice)
    await clear(engine)
    await apply_all(engine, world, told, cuts(len(told), dice), jobs=False)
    found = {key: one for key, one in (await letters(engine)).items() if one["template"] in MONEY_LETTERS}
    must, may = owed(world)
    assert must <= found.keys() <= must | may
    for one in found.values():
        if one["status"] == "queued":
            assert written(one).text
    sent = [args["email_id"] for _, args, _ in await staged(engine)]
    assert len(sent) == len(set(sent))
    assert {one["id"] for one in found.values() if one["status"] == "queued"} <= set(sent)


@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    print_blob=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(story=moments(10), seed=st.integers(0, 2**32))
async def test_any_life_in_any_order(engine: AsyncEngine, story: list[Moment], seed: int) -> None:
    await _tells(engine, play(story, customers=2), seed)


@pytest.mark.parametrize("name", NAMED)
async def test_a_named_life(engine: AsyncEngine, name: str) -> None:
    await _tells(engine, named(name), seed=len(name))
