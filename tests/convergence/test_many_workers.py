"""Several workers apply a company's events at once, in batches at random, and the books end as if one had."""

import random

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.convergence.shuffle import deliveries
from tests.lives.driver import apply_all, apply_at_once, clear
from tests.lives.ledger import differences, disagreements, dump, same
from tests.lives.oracle import books
from tests.lives.play import seeded


@pytest.mark.parametrize("seed", range(6))
async def test_workers_at_once(engine: AsyncEngine, seed: int) -> None:
    world = seeded(100 + seed, customers=1 + seed, steps=15 + 8 * seed)
    told = deliveries(world, random.Random(seed))  # noqa: S311 - a test's dice, from the seed in the test's name
    await apply_all(engine, world, told)
    expected = await dump(engine)
    same(disagreements(books(world, [x.told for x in told]), expected))
    await clear(engine)
    await apply_at_once(engine, world, told, workers=6, seed=seed)
    same(differences(expected, await dump(engine)))
