"""What is asked of Stripe by another key, and when that ends."""

import pytest

from jobs.spent_keys import KEYS, with_new_key
from worker.errors import Spent, Unclear


async def test_the_next_key_is_taken_as_long_as_one_is_spent() -> None:
    tried: list[int] = []

    async def run(number: int) -> None:
        tried.append(number)
        if number < 3:
            raise Spent("again")

    await with_new_key(run)
    assert tried == [0, 1, 2, 3]


async def test_a_new_failure_ends_it() -> None:
    tried: list[int] = []

    async def run(number: int) -> None:
        tried.append(number)
        raise Spent("again") if number == 0 else Unclear("a new one")

    with pytest.raises(Unclear, match="a new one"):
        await with_new_key(run)
    assert tried == [0, 1]


async def test_it_does_not_go_on_for_ever() -> None:
    tried: list[int] = []

    async def run(number: int) -> None:
        tried.append(number)
        raise Spent("again")

    with pytest.raises(Spent):
        await with_new_key(run)
    assert tried == list(range(KEYS))
