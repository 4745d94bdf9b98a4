"""Real worker processes, killed, frozen and cut off in mid-work: every event is applied once, and none is dead."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import pytest

from db.engine import create_engine
from db.migrate import migrate
from tests.crash.kit import CommitEater, worker_process
from tests.crash.worker_main import kills_its_worker, takes_its_time
from tests.worker.kit import EFFECTS, World, new_event, remember, until
from worker.doorbell import Doorbell, connect
from worker.embedded import EmbeddedPostgres, EmbeddedValkey

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),  # sockets of killed servers
]


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[EmbeddedValkey]:
    server = EmbeddedValkey(tmp_path / "valkey")
    server.start()
    yield server
    server.stop()


async def processed(world: World, count: int) -> bool:
    return (await world.statuses()).get("processed") == count


async def load(world: World, redis_url: str, first: int, count: int) -> None:
    """Remember events as the door does, ten a commit, with a ring each."""
    bell = Doorbell(redis_url)
    for number in range(first, first + count, 10):
        await remember(world.url, [new_event(number + n) for n in range(10)])
        bell.ring("events")
    await bell.close()


async def all_once(world: World, count: int) -> None:
    await until(lambda: processed(world, count), within=60, why="not every event was processed")
    assert await world.effects() == [f"evt_{n:06}" for n in range(count)]
    assert await world.rows("SELECT * FROM queue WHERE event_id IS NOT NULL") == []


async def test_a_worker_killed_in_mid_load_is_replaced_by_another(world: World, own_valkey: EmbeddedValkey) -> None:
    with (
        worker_process(world.url, own_valkey.url, "first") as first,
        worker_process(world.url, own_valkey.url, "second"),
    ):
        await load(world, own_valkey.url, 0, 500)
        first.kill()
        await load(world, own_valkey.url, 500, 500)
        await all_once(world, 1000)


async def test_redis_wiped_killed_and_frozen_in_mid_load(world: World, own_valkey: EmbeddedValkey) -> None:
    assert own_valkey.process is not None
    with worker_process(world.url, own_valkey.url, "w"):
        await load(world, own_valkey.url, 0, 300)
        redis = connect(own_valkey.url, patient=False)
        await cast("Any", redis).flushall()
        await redis.aclose()
        await load(world, own_valkey.url, 300, 300)
        own_valkey.kill()
        await load(world, own_valkey.url, 600, 300)
        await until(lambda: processed(world, 900), within=30, why="without Redis the sweep must do the work")
        own_valkey.start()
        os.kill(own_valkey.process.pid, signal.SIGSTOP)
        await load(world, own_valkey.url, 900, 100)
        await all_once(world, 1000)
        os.kill(own_valkey.process.pid, signal.SIGCONT)


async def test_a_worker_frozen_beyond_its_lease_commits_nothing_that_another_did(
    world: World, own_valkey: EmbeddedValkey
) -> None:
    async with world.deps.tx() as tx:
        await tx.stage(takes_its_time.call(1.0))
    with worker_process(world.url, own_valkey.url, "frozen") as frozen:
        await until(lambda: effects_have(world, "started frozen"))
        os.kill(frozen.pid, signal.SIGSTOP)
        with worker_process(world.url, own_valkey.url, "fresh"):
            await until(lambda: effects_have(world, "finished"), within=40)
            os.kill(frozen.pid, signal.SIGCONT)
            await load(world, own_valkey.url, 0, 10)  # the thawed worker works again
            await until(lambda: processed(world, 10))
    assert (await world.effects()).count("finished") == 1


async def test_six_sigterms_during_one_job_burn_no_try(world: World, own_valkey: EmbeddedValkey) -> None:
    """Six deploys fall on one job; the seventh worker finishes it at its first counted try."""
    async with world.deps.tx() as tx:
        await tx.stage(takes_its_time.call(8.0))
    for number in range(6):
        with worker_process(world.url, own_valkey.url, f"deploy-{number}") as process:
            await until(lambda n=number: effects_have(world, f"started deploy-{n}"))
            process.terminate()
            assert process.wait(20) == 0
        assert await world.rows(
            "SELECT attempts, lost, lease_token, dead_reason FROM queue WHERE name = 'takes_its_time'"
        ) == [(0, 0, None, None)]
    with worker_process(world.url, own_valkey.url, "last"):
        await until(lambda: effects_have(world, "finished"), within=40)
        await until(lambda: nothing_left(world))
    assert await world.rows("SELECT status, attempts FROM jobs WHERE name = 'takes_its_time'") == [("done", 1)]
    assert [row[0] for row in await world.rows("SELECT outcome FROM job_attempts ORDER BY id")] == ["released"] * 6


async def nothing_left(world: World) -> bool:
    return not await world.rows("SELECT 1 FROM queue")


async def effects_have(world: World, what: str) -> bool:
    return what in await world.effects()


async def test_a_job_that_kills_its_worker_is_parked_and_the_events_go_on(
    world: World, own_valkey: EmbeddedValkey
) -> None:
    async with world.deps.tx() as tx:
        await tx.stage(kills_its_worker.call())
    deaths = 0
    while not await world.rows("SELECT 1 FROM queue WHERE dead_reason = 'worker_lost'"):
        await load(world, own_valkey.url, 10 * deaths, 10)
        with worker_process(world.url, own_valkey.url, f"victim-{deaths}", lease=1) as victim:
            await until(lambda p=victim: ended_or_parked(world, p.poll()), within=30)
        deaths += 1
        assert deaths <= 6
    with worker_process(world.url, own_valkey.url, "survivor", lease=1):
        await until(lambda: processed(world, 10 * deaths), within=30)
    assert await world.rows("SELECT attempts, lost, dead_reason FROM queue WHERE name = 'kills_its_worker'") == [
        (0, 5, "worker_lost")
    ]
    assert await world.rows("SELECT status, last_error FROM jobs WHERE name = 'kills_its_worker'") == [
        ("dead", "its worker died 5 times while it ran"),
    ]


async def ended_or_parked(world: World, returncode: int | None) -> bool:
    return returncode is not None or bool(await world.rows("SELECT 1 FROM queue WHERE dead_reason IS NOT NULL"))


@pytest.fixture
def own_postgres(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    server = EmbeddedPostgres(tmp_path / "postgres")
    server.start()
    yield server
    server.stop()


async def test_postgresql_killed_and_restarted_in_mid_load(
    own_postgres: EmbeddedPostgres, own_valkey: EmbeddedValkey
) -> None:
    engine = create_engine(own_postgres.url())
    await migrate(engine)
    world = World(engine, own_postgres.url())
    await world.execute(EFFECTS)
    with worker_process(world.url, own_valkey.url, "w"):
        for round_ in range(3):
            await load(world, own_valkey.url, 300 * round_, 300)
            await engine.dispose()
            own_postgres.kill()
            own_postgres.start()
        await until(lambda: processed(world, 900), within=60)
        assert await world.effects() == [f"evt_{n:06}" for n in range(900)]
    await engine.dispose()


async def test_the_answer_to_commit_is_lost(world: World, postgres: EmbeddedPostgres, tmp_path: Path) -> None:
    """Committed, but the worker cannot know: it neither does it again nor loses what was not committed."""
    await remember(world.url, [new_event(n) for n in range(50)])
    eater = CommitEater(postgres.sockets, tmp_path)
    async with eater.listening():
        engine = create_engine(f"postgresql://postgres@{urlsplit(world.url).path}?host={tmp_path}")
        async with World(engine, world.url).runner(lease=2, queues=["events"]) as runner:
            await runner.start()
            eater.armed = True
            await until(lambda: processed(world, 50), within=30)
        await engine.dispose()
    assert eater.eaten == 1
    assert await world.effects() == [f"evt_{n:06}" for n in range(50)]
    assert await world.rows("SELECT * FROM queue WHERE event_id IS NOT NULL") == []
