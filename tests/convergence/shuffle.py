"""How Stripe may deliver a life: in any order, twice, under two ids, in either shape, in batches of any size."""

import random
from dataclasses import replace

from tests.lives.driver import Delivery
from tests.lives.shapes import Shape
from tests.lives.stripe_world import World

SHAPES = tuple(Shape)


def deliveries(world: World, dice: random.Random) -> list[Delivery]:
    """Each event in a shape of its own; some come twice, some tell their change again under another id."""
    made: list[Delivery] = []
    for event in world.events:
        first = Delivery(event, dice.choice(SHAPES))
        made.append(first)
        if dice.random() < 0.15:
            made.append(first)
        if dice.random() < 0.15:
            made.append(replace(first, shape=dice.choice(SHAPES), event_id=f"{event.id}twin"))
    return made


def disordered(given: list[Delivery], dice: random.Random) -> list[Delivery]:
    """The same deliveries: mixed, backwards, with neighbours swapped, object by object, or with some too late."""
    made = list(given)
    match dice.randrange(5):
        case 0:
            dice.shuffle(made)
        case 1:
            made.reverse()
        case 2:
            for index in range(len(made) - 1):
                if dice.random() < 0.5:
                    made[index], made[index + 1] = made[index + 1], made[index]
        case 3:
            objects = [x.event.type.rpartition(".")[0] for x in made]
            rank = {name: dice.random() for name in objects}
            made = [x for _, x in sorted(zip(objects, made, strict=True), key=lambda pair: rank[pair[0]])]
        case _:
            late = [x for x in made if dice.random() < 0.2]
            made = [x for x in made if x not in late]
            dice.shuffle(late)
            made += late
    return made


def cuts(count: int, dice: random.Random) -> list[int]:
    """Where the deliveries are cut into batches: nowhere, here and there, or after each."""
    most = dice.choice((0, 2, 5, 9))
    return sorted({dice.randrange(max(count, 1)) for _ in range(most)})
