"""Several workers apply a company's events at once, in batches at random, and the books end as if one had."""

import random
from collections.abc import Sequence

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.convergence.shuffle import deliveries
from tests.lives.driver import Delivery, apply_all, apply_at_once, apply_batch, clear, deps, run_jobs, split
from tests.lives.ledger import differences, disagreements, dump, same
from tests.lives.oracle import books
from tests.lives.play import Moment, play, seeded


@pytest.mark.parametrize("seed", range(0, 6, 2))
async def test_workers_at_once(engine: AsyncEngine, seed: int) -> None:
    world = seeded(100 + seed, customers=1 + seed, steps=15 + 8 * seed)
    told = deliveries(world, random.Random(seed))  # noqa: S311 - a test's dice, from the seed in the test's name
    await apply_all(engine, world, told)
    expected = await dump(engine)
    same(disagreements(books(world, [x.told for x in told]), expected))
    random.Random(seed).shuffle(told)  # noqa: S311 - as above
    await clear(engine)
    await apply_at_once(deps(engine, world), told, workers=6, seed=seed)
    same(differences(expected, await dump(engine)))


AT_ODDS: dict[str, Sequence[Moment]] = {
    "an invoice and its payment": [(0, "sign_up", 0)],
    "refunds and a dispute": [(0, "buy", 1), (0, "refund_part", 0), (0, "dispute", 1), (0, "dispute_goes_on", 0)],
    "a discount and its coupon": [(0, "sign_up", 1), (0, "give_discount", 0)],
}


@pytest.mark.parametrize("name", AT_ODDS)
async def test_workers_at_odds_over_one_customer(engine: AsyncEngine, name: str) -> None:
    """Ten customers, one after the other, each with all workers upon them: who comes first differs each time."""
    dice = random.Random(name)  # noqa: S311 - as above
    worlds = [play(AT_ODDS[name], tag=f"p{number:03d}q") for number in range(10)]
    told: list[Delivery] = []
    for world in worlds:
        own = deliveries(world, dice)
        dice.shuffle(own)
        told += own
    d = deps(engine, *worlds)
    for batch in split([x.stored() for x in sorted(told, key=lambda x: x.event.created)], range(0, len(told), 100)):
        await apply_batch(d, batch)
    await run_jobs(d)
    expected = await dump(engine)
    await clear(engine)
    await apply_at_once(d, told, workers=6, seed=1, largest=3)
    same(differences(expected, await dump(engine)))
