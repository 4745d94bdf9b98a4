"""However Stripe delivers a life, the ledger ends as if its events had come once and in order."""

import os
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.convergence.shuffle import cuts, deliveries, disordered
from tests.lives.driver import apply_all, clear
from tests.lives.ledger import differences, disagreements, dump, same
from tests.lives.oracle import books
from tests.lives.play import NAMED, Moment, moments, named, play
from tests.lives.stripe_world import World


async def _converges(
    engine: AsyncEngine, world: World, seed: int, *, orders: int = 1, lost: float = 0, agree: bool = True
) -> None:
    """Deliver in order, then in other orders; compare with each other and, to `agree`, with the life's own books."""
    dice = random.Random(seed)  # noqa: S311 - a test's dice, from a seed that hypothesis prints
    told = [x for x in deliveries(world, dice) if dice.random() >= lost]
    await clear(engine)
    await apply_all(engine, world, told)
    expected = await dump(engine)
    if agree:
        same(disagreements(books(world, [x.told for x in told]), expected))
    for _ in range(orders):
        mixed = disordered(told, dice)
        await clear(engine)
        try:
            await apply_all(engine, world, mixed, cuts(len(mixed), dice))
            same(differences(expected, await dump(engine)))
        except Exception as error:
            error.add_note("\n".join(f"{x.event.type} {x.event.id} {x.shape} {x.event_id or ''}" for x in mixed))
            raise


EXAMPLES = int(os.environ.get("LIVES_EXAMPLES", "0"))
"""How many lives a long search tries, each time others; 0: the same few lives on every run."""

SEARCH = settings(
    max_examples=EXAMPLES or 30,
    deadline=None,
    derandomize=not EXAMPLES,
    print_blob=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@SEARCH
@given(story=moments(10), seed=st.integers(0, 2**32))
async def test_any_life_in_any_order(engine: AsyncEngine, story: list[Moment], seed: int) -> None:
    await _converges(engine, play(story, customers=2), seed)


@SEARCH
@given(story=moments(8), seed=st.integers(0, 2**32))
async def test_a_life_within_one_second(engine: AsyncEngine, story: list[Moment], seed: int) -> None:
    """The life's own books are one truth of several here; but each order must find the same one."""
    await _converges(engine, play(story, still=True), seed, agree=False)


@SEARCH
@given(story=moments(10), seed=st.integers(0, 2**32), lost=st.sampled_from([0.1, 0.4, 0.8]))
async def test_any_part_of_a_life(engine: AsyncEngine, story: list[Moment], seed: int, lost: float) -> None:
    """Events that never come leave gaps, which look the same in each order of the others."""
    await _converges(engine, play(story), seed, lost=lost, agree=False)


@pytest.mark.parametrize("name", NAMED)
async def test_a_named_life_in_several_orders(engine: AsyncEngine, name: str) -> None:
    await _converges(engine, named(name), seed=len(name), orders=2)
