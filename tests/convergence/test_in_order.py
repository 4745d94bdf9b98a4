"""Each life, told once and in order, gives the books that the life itself would write; in each shape."""

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.lives.driver import apply_all, apply_as_it_happens, clear, in_order
from tests.lives.ledger import differences, disagreements, dump, same, without_what_only_some_shapes_tell
from tests.lives.oracle import books
from tests.lives.play import NAMED, named, seeded
from tests.lives.shapes import Shape
from tests.lives.stripe_world import World


async def _in_shape(
    engine: AsyncEngine, world: World, shape: Shape, *, skip: str = ""
) -> dict[str, list[dict[str, object]]]:
    told = [x for x in in_order(world, shape) if x.event.type != skip]
    await apply_all(engine, world, told, cuts=range(0, len(told), 20))
    found = await dump(engine)
    same(disagreements(books(world, [x.told for x in told]), found))
    return found


@pytest.mark.parametrize("name", NAMED)
async def test_a_life_gives_its_own_books_in_each_shape_and_as_it_happens(engine: AsyncEngine, name: str) -> None:
    world = named(name)
    new = await _in_shape(engine, world, Shape.NEW)
    for shape in (Shape.OLD, Shape.ACACIA, Shape.BASIL):
        await clear(engine)
        other = await _in_shape(engine, world, shape)
        same(differences(*map(without_what_only_some_shapes_tell, (new, other))))
    await clear(engine)
    told = in_order(world)
    await apply_as_it_happens(engine, world, told)
    same(differences(new, await dump(engine)))


async def test_an_old_endpoint_needs_no_invoice_payments(engine: AsyncEngine) -> None:
    """They exist since basil; before, invoices, charges and intents named each other."""
    await _in_shape(engine, named("recovered"), Shape.OLD, skip="invoice_payment.paid")


@pytest.mark.parametrize("seed", range(4))
async def test_a_company_gives_its_own_books(engine: AsyncEngine, seed: int) -> None:
    await _in_shape(engine, seeded(seed, customers=6, steps=80), Shape.NEW)
