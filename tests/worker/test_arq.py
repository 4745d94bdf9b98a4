"""ARQ's traps, each held shut: what is lost, refused, frozen or wiped in Redis costs nothing but a second."""

import asyncio
import gc
import os
import pickle
import signal
from collections.abc import Iterator
from inspect import signature
from pathlib import Path
from typing import Any, cast

import pytest
from arq.worker import Worker

from tests.worker.kit import World, new_event, remember, until
from worker import main
from worker.doorbell import (
    ENOUGH_RINGS,
    Doorbell,
    arq_queue,
    connect,
    deserialize,
    findings,
    serialize,
)
from worker.embedded import EmbeddedValkey
from worker.engine import MAX_RINGS, Ears, options

# redis-py leaves the sockets of cancelled commands, and of servers that died, to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def _collect_sockets() -> Iterator[None]:
    yield
    gc.collect()


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[EmbeddedValkey]:
    """A Valkey of this test's own, which it may freeze and kill."""
    server = EmbeddedValkey(tmp_path / "valkey")
    server.start()
    yield server
    server.stop()


def freeze(server: EmbeddedValkey) -> None:
    assert server.process is not None
    os.kill(server.process.pid, signal.SIGSTOP)


def thaw(server: EmbeddedValkey) -> None:
    assert server.process is not None
    os.kill(server.process.pid, signal.SIGCONT)


async def processed(world: World, count: int) -> bool:
    return (await world.statuses()).get("processed") == count


async def rings(server: EmbeddedValkey) -> int:
    redis = connect(server.url, patient=False)
    try:
        return await redis.zcard(arq_queue("events"))
    finally:
        await redis.aclose()


async def test_a_ring_wakes_the_worker(world: World, redis_server: EmbeddedValkey) -> None:
    """Without any sweep: ARQ alone brings the work about."""
    async with world.runner(queues=["events"]) as runner:
        ears = Ears(runner, redis_server.url)
        ears.start()
        bell = Doorbell(redis_server.url)
        for number in range(20):
            await remember(world.url, [new_event(number)])
            bell.ring("events")
            await until(lambda n=number: processed(world, n + 1), within=10, why="the ring was not heard")
        await bell.close()
        await ears.stop()


async def test_rings_of_one_moment_are_one_ring(redis_server: EmbeddedValkey) -> None:
    bell = Doorbell(redis_server.url)
    for _ in range(1000):
        bell.ring("events")
    await bell.close()
    assert await rings(redis_server) == 1


async def test_rings_that_nobody_hears_do_not_pile_up(redis_server: EmbeddedValkey) -> None:
    for _ in range(ENOUGH_RINGS + 20):
        bell = Doorbell(redis_server.url)
        bell.ring("events")
        await bell.close()
    assert await rings(redis_server) == ENOUGH_RINGS


async def test_a_frozen_redis_delays_nobody_and_the_sweep_does_the_work(
    world: World, redis_server: EmbeddedValkey
) -> None:
    async with world.runner(queues=["events"]) as runner:
        await runner.start()
        ears = Ears(runner, redis_server.url)
        ears.start()
        bell = Doorbell(redis_server.url)
        freeze(redis_server)
        await remember(world.url, [new_event(n) for n in range(50)])
        began = asyncio.get_running_loop().time()
        bell.ring("events")
        assert asyncio.get_running_loop().time() - began < 0.1
        await until(lambda: processed(world, 50), within=15)
        await bell.close()
        assert bell.failures == 1
        await ears.stop()
        thaw(redis_server)


async def test_a_restarted_redis_leaves_the_worker_alive(world: World, redis_server: EmbeddedValkey) -> None:
    async with world.runner(queues=["events"]) as runner:
        ears = Ears(runner, redis_server.url)
        ears.start()
        bell = Doorbell(redis_server.url)
        await remember(world.url, [new_event(1)])
        bell.ring("events")
        await until(lambda: processed(world, 1), within=10)
        redis_server.kill()
        redis_server.start()

        async def rung_until_heard() -> bool:
            bell.ring("events")
            return await processed(world, 2)

        await remember(world.url, [new_event(2)])
        await until(rung_until_heard, within=20, why="the worker does not hear any more")
        await bell.close()
        await ears.stop()


async def test_a_wiped_redis_loses_no_work(world: World, redis_server: EmbeddedValkey) -> None:
    redis = connect(redis_server.url, patient=False)
    bell = Doorbell(redis_server.url)
    async with world.runner(queues=["events"]) as runner:
        await runner.start()
        ears = Ears(runner, redis_server.url)
        ears.start()
        for number in range(100):
            await remember(world.url, [new_event(number)])
            bell.ring("events")
            if number % 5 == 0:
                await cast("Any", redis).execute_command("FLUSHALL")
        await until(lambda: processed(world, 100), within=15)
        await ears.stop()
    await bell.close()
    await redis.aclose()
    assert await world.effects() == [f"evt_{n:06}" for n in range(100)]


async def test_pickled_bytes_are_refused_and_the_row_lives(world: World, redis_server: EmbeddedValkey) -> None:
    """Whoever can write a key in Redis must not be able to run code here."""

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str, str]]:
            return open, (f"{redis_server.data}/owned", "w")

    redis = connect(redis_server.url, patient=False)
    await redis.set("arq:job:evil", pickle.dumps({"t": 1, "f": "drain", "a": (Evil(),), "k": {}, "et": 1}))
    await redis.zadd(arq_queue("events"), {"evil": 1})
    await remember(world.url, [new_event(1)])
    async with world.runner(queues=["events"]) as runner:
        ears = Ears(runner, redis_server.url)
        ears.start()
        await until(lambda: _gone(redis_server), within=10)
        assert await world.statuses() == {"received": 1}
        bell = Doorbell(redis_server.url)
        bell.ring("events")
        await until(lambda: processed(world, 1), within=10)
        await bell.close()
        await ears.stop()
    await redis.aclose()
    assert not (redis_server.data / "owned").exists()


async def _gone(server: EmbeddedValkey) -> bool:
    return await rings(server) == 0


def test_rings_are_tagged_json() -> None:
    ring: dict[str, Any] = {"t": None, "f": "drain", "a": [], "k": {}, "et": 1}
    assert deserialize(serialize(ring)) == ring
    assert deserialize(serialize({"r": ValueError("x")})) == {"r": "ValueError('x')"}
    with pytest.raises(ValueError, match="refused"):
        deserialize(pickle.dumps(ring))


def test_no_option_is_misspelt_and_none_is_left_to_a_bad_default() -> None:
    given = options("events", "w1")
    assert set(given) <= set(signature(Worker).parameters)
    assert given["keep_result"] == 0
    assert given["queue_read_limit"] >= 4 * MAX_RINGS


async def test_a_ring_of_a_killed_worker_is_handed_on_within_70_seconds(redis_server: EmbeddedValkey) -> None:
    worker = Worker(
        redis_pool=connect(redis_server.url, patient=False), handle_signals=False, **options("events", "w1")
    )
    assert worker.in_progress_timeout_s <= 70
    assert worker.queue_read_limit >= 4 * worker.max_jobs


async def test_the_fleet_is_not_capped_by_the_read_limit(world: World, redis_server: EmbeddedValkey) -> None:
    """ARQ reads the first N ids only: with that many rings in hand elsewhere, a new one would never be seen."""
    redis = connect(redis_server.url, patient=False)
    for number in range(200):  # rings that other workers hold: queued, and marked as in progress
        await redis.enqueue_job("drain", _job_id=f"held-{number}", _queue_name=arq_queue("events"))
        await redis.psetex(f"arq:in-progress:held-{number}", 60_000, b"1")
    await remember(world.url, [new_event(1)])
    async with world.runner(queues=["events"]) as runner:
        ears = Ears(runner, redis_server.url)
        ears.start()
        await redis.enqueue_job("drain", _queue_name=arq_queue("events"))
        await until(lambda: processed(world, 1), within=10)
        await ears.stop()
    await redis.aclose()


async def test_a_redis_that_may_forget_is_told_of(tmp_path: Path) -> None:
    server = EmbeddedValkey(tmp_path / "valkey")
    server.start()
    redis = connect(server.url, patient=False)
    assert await findings(redis) == []
    await cast("Any", redis).execute_command("CONFIG", "SET", "maxmemory-policy", "volatile-lru", "appendonly", "no")
    found = " ".join(await findings(redis))
    assert "noeviction" in found
    await redis.aclose()
    server.stop()


async def test_arq_s_own_command_finds_a_complete_settings_class(
    monkeypatch: pytest.MonkeyPatch, database_url: str, redis_server: EmbeddedValkey
) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("REDIS_URL", redis_server.url)
    settings: type = main.WorkerSettings
    own = {name for name in settings.__dict__ if not name.startswith("__")}
    assert own <= set(signature(Worker).parameters)
    assert {"functions", "queue_name", "redis_pool", "on_startup", "on_shutdown"} <= own
    with pytest.raises(AttributeError):
        _ = main.NoSuchThing  # type: ignore[attr-defined] - that is the point
