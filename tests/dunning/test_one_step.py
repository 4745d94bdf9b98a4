"""Who says twice that a step is to be taken or left out, means one step."""

from collections.abc import Awaitable, Callable

import pytest

from db.dunning import Case
from db.operators.actions import NotAllowedError
from jobs.dunning import operate
from tests.dunning.kit import ADA, Scene

Hand = Callable[..., Awaitable[Case]]


@pytest.mark.parametrize("hand", [operate.send_now, operate.skip])
async def test_a_second_click_takes_no_second_step(scene: Scene, hand: Hand) -> None:
    await scene.fail()
    await scene.work()
    async with scene.deps.tx() as tx:
        await hand(tx, "in_1", ADA, position=1)
    await scene.work()
    async with scene.deps.tx() as tx:
        with pytest.raises(NotAllowedError, match="step 2 of in_1 was taken meanwhile"):
            await hand(tx, "in_1", ADA, position=1)
    await scene.work()
    assert [position for position, _ in await scene.steps()] == [0, 1]


async def test_two_clicks_at_once_take_one_step(scene: Scene) -> None:
    await scene.fail()
    await scene.work()
    for _ in range(2):
        async with scene.deps.tx() as tx:
            await operate.send_now(tx, "in_1", ADA, position=1)
    await scene.work()
    assert await scene.steps() == [(0, "taken"), (1, "taken")]


async def test_no_step_is_taken_before_its_turn(scene: Scene) -> None:
    await scene.fail()
    await scene.work()
    async with scene.deps.tx() as tx:
        with pytest.raises(NotAllowedError, match="step 4 of in_1 is not its next one: that is 2"):
            await operate.send_now(tx, "in_1", ADA, position=3)
