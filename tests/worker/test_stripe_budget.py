"""Stripe is asked no faster than it allows, by all processes together; without Redis, each by itself."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from worker.doorbell import connect
from worker.embedded import EmbeddedValkey
from worker.errors import TryLater
from worker.stripe_budget import KEY, LONGEST_PAUSE, PATIENCE, SECOND, TIMEOUT, Bucket, StripeBudget

Build = Callable[..., StripeBudget]


class Waits(Exception):  # noqa: N818 - it tells that a turn is not now
    """Somebody would have waited."""


async def never(seconds: float) -> None:
    raise Waits(seconds)


@pytest.fixture
async def redis(valkey: EmbeddedValkey) -> AsyncIterator[Any]:
    client = connect(valkey.url, patient=False)
    await client.delete(KEY)
    yield client
    await client.aclose()


@pytest.fixture
async def budget(valkey: EmbeddedValkey, redis: Any) -> AsyncIterator[Build]:
    """Makes budgets on one Valkey, and closes them."""
    async with AsyncExitStack() as stack:

        def build(
            rate: int, sleep: Callable[[float], Awaitable[object]] = never, url: str | None = None
        ) -> StripeBudget:
            made = StripeBudget(url or valkey.url, rate, sleep=sleep)
            stack.push_async_callback(made.close)
            return made

        yield build


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[EmbeddedValkey]:
    """A server to be frozen and killed."""
    server = EmbeddedValkey(tmp_path / "valkey" / "data")
    server.start()
    yield server
    server.stop()


def unavailable() -> float:
    return REGISTRY.get_sample_value("billing_stripe_budget_unavailable_total") or 0


async def granted_now(budget: StripeBudget, *, bulk: bool, most: int = 10_000) -> int:
    """How many get their turn at once, before one would wait."""
    for number in range(most):
        try:
            await budget.take(bulk=bulk)
        except Waits:
            return number
    return most


async def test_two_processes_together_are_no_faster_than_one(budget: Build) -> None:
    rate = 20
    begun = time.monotonic()
    starts: list[float] = []

    async def one(of: StripeBudget, slept: list[float]) -> None:
        await of.take()
        starts.append(time.monotonic() - begun + (slept.pop() if slept else 0.0))

    def noting() -> tuple[StripeBudget, list[float]]:
        slept: list[float] = []

        async def note(seconds: float) -> None:
            slept.append(seconds)

        return budget(rate, note), slept

    for of, slept in [noting(), noting()] * 30:
        await one(of, slept)
    assert len(starts) == 60
    starts.sort()
    # A turn is measured after Redis gave it, so no machine is too slow for this.
    assert all(number + 1 <= rate + rate * start + 1 for number, start in enumerate(starts))
    assert starts[-1] < PATIENCE


async def test_whoever_reads_much_leaves_a_quarter_to_others(budget: Build, redis: Any) -> None:
    begun = time.monotonic()
    bulk = await granted_now(budget(100), bulk=True)
    assert 75 <= bulk <= 75 + 100 * (time.monotonic() - begun) + 1
    assert await granted_now(budget(100), bulk=False, most=25) >= 24, "they are there for single calls"
    await redis.delete(KEY)
    assert await granted_now(budget(1), bulk=True) == 1


async def test_a_single_call_goes_before_those_who_read_much(budget: Build) -> None:
    waited: list[float] = []

    async def note(seconds: float) -> None:
        waited.append(seconds)
        await asyncio.sleep(seconds)

    reader = budget(50, note)
    async with asyncio.timeout(30):
        readers = [asyncio.create_task(reader.take(bulk=True)) for _ in range(60)]
        while not waited:  # noqa: ASYNC110 - until the readers have used up what they may
            await asyncio.sleep(0.005)
        assert await granted_now(budget(50), bulk=False, most=5) == 5
        await asyncio.gather(*readers)


async def test_a_call_that_would_wait_too_long_is_tried_later(budget: Build) -> None:
    async def asleep(_: float) -> None: ...

    one = budget(1, asleep)

    async def many() -> None:
        for _ in range(1 + int(PATIENCE) + 3):  # a slow machine may have gained a token or two
            await one.take()

    with pytest.raises(TryLater) as raised:
        await many()
    assert raised.value.after is not None
    assert raised.value.after > timedelta(seconds=PATIENCE - 1)


async def test_a_pause_holds_for_everybody_and_ends_in_single_file(budget: Build, redis: Any) -> None:
    slept: list[float] = []

    async def note(seconds: float) -> None:
        slept.append(seconds)

    await budget(10).pause(timedelta(seconds=5))
    other = budget(10, note)
    begun = time.monotonic()
    for _ in range(5):
        await other.take()
    passed = time.monotonic() - begun
    assert all(5 + 0.1 * (n + 1) - passed - 0.2 < wait <= 5 + 0.1 * (n + 1) for n, wait in enumerate(slept))
    assert len(slept) == 5
    with pytest.raises(Waits):
        await budget(10).take(bulk=True)
    await other.pause(timedelta(seconds=2))  # a shorter one does not end it
    slept.clear()
    await other.take()
    assert slept[0] > 4
    await other.pause(timedelta(seconds=60))
    with pytest.raises(TryLater) as raised:
        await other.take()
    assert raised.value.after is not None
    assert timedelta(seconds=50) < raised.value.after < timedelta(seconds=62)
    with pytest.raises(TryLater):
        await other.take(bulk=True)


async def test_no_answer_and_no_clock_stops_us_for_long(budget: Build, redis: Any) -> None:
    await budget(10).pause(timedelta(days=3))
    with pytest.raises(TryLater) as raised:
        await budget(10).take()
    assert raised.value.after is not None
    assert raised.value.after <= LONGEST_PAUSE + timedelta(seconds=1)
    await redis.set(KEY, str(10**18))  # as a clock that was set back leaves it
    with pytest.raises(TryLater) as raised:
        await budget(10).take()
    assert raised.value.after is not None
    assert raised.value.after <= LONGEST_PAUSE + timedelta(seconds=PATIENCE + 2)
    await redis.set(KEY, "what is this")
    await budget(10).take()


async def test_it_forgets_by_itself_and_a_wiped_redis_is_no_matter(budget: Build, redis: Any) -> None:
    one = budget(10)
    await one.take()
    assert 0 < await redis.pttl(KEY) <= 2000
    await redis.flushall()
    await redis.script_flush()
    before = unavailable()
    await one.take()
    assert unavailable() == before


async def test_a_foreign_value_is_no_reason_to_stop(budget: Build, redis: Any) -> None:
    await redis.rpush(KEY, "a list")
    before = unavailable()
    await budget(10).take()
    assert unavailable() == before + 1
    await redis.delete(KEY)


@pytest.mark.slow
async def test_a_frozen_redis_costs_one_wait_and_the_process_counts_alone(
    own_valkey: EmbeddedValkey, budget: Build
) -> None:
    one = budget(100, url=own_valkey.url)
    assert own_valkey.process is not None
    await one.take()
    before = unavailable()
    os.kill(own_valkey.process.pid, signal.SIGSTOP)
    begun = time.monotonic()
    assert await granted_now(one, bulk=False, most=90) == 90
    assert time.monotonic() - begun < 10 * TIMEOUT, "one wait, not ninety"
    assert unavailable() - before == 90
    await one.pause(timedelta(seconds=30))
    with pytest.raises(TryLater):
        await one.take()
    os.kill(own_valkey.process.pid, signal.SIGCONT)
    own_valkey.kill()
    fresh = budget(100, url=own_valkey.url)
    assert await granted_now(fresh, bulk=False, most=50) == 50
    own_valkey.start()
    counted = unavailable()
    async with asyncio.timeout(30):
        while True:
            before = unavailable()
            await granted_now(fresh, bulk=False, most=1)
            if unavailable() == before:
                break
            await asyncio.sleep(0.1)
    assert counted >= 50


async def test_without_redis_it_is_counted_here() -> None:
    one = StripeBudget(None, 10, sleep=never)
    before = unavailable()
    assert 10 <= await granted_now(one, bulk=False) <= 11
    assert unavailable() == before, "nothing is away"
    await one.pause(timedelta(seconds=30))
    with pytest.raises(TryLater):
        await one.take()
    await one.close()


@given(
    rate=st.integers(1, 200),
    steps=st.lists(st.tuples(st.integers(0, 3 * SECOND), st.booleans(), st.integers(1, 40)), min_size=1, max_size=20),
)
def test_no_window_holds_more_than_the_rate_and_a_second_saved_up(
    rate: int, steps: list[tuple[int, bool, int]]
) -> None:
    bucket, now, each = Bucket(), 0, -(-SECOND // rate)
    starts: list[int] = []
    for wait, bulk, several in steps:
        now += wait
        for _ in range(several):
            room, patience = (max(each, SECOND * 3 // 4), 0) if bulk else (SECOND, 10 * SECOND)
            turn = bucket.take(now, each=each, room=room, patience=patience)
            if turn.granted:
                starts.append(now + turn.wait)
                assert turn.wait <= patience
            elif bulk:
                later = bucket.take(now + turn.wait, each=each, room=room, patience=0)
                assert later == (True, 0), "what was told is true"
                now += turn.wait
                starts.append(now)
    starts.sort()
    for number, begin in enumerate(starts):
        for last in range(number, len(starts)):
            assert (last - number + 1) * each <= starts[last] - begin + SECOND + each


def test_after_a_pause_they_go_one_after_the_other() -> None:
    bucket = Bucket()
    bucket.pause(0, 5 * SECOND)
    turns = [bucket.take(SECOND, each=SECOND // 10, room=SECOND, patience=10 * SECOND) for _ in range(3)]
    assert [turn.wait for turn in turns] == [4_100_000, 4_200_000, 4_300_000]
    assert not bucket.take(SECOND, each=SECOND // 10, room=SECOND * 3 // 4, patience=0).granted
