"""The database or Redis goes away, freezes, and comes back: Stripe is told the truth in time, and nothing is lost."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

import asyncpg
import psutil
import pytest
from pydantic import SecretStr

from tests.intake.kit import SECRET, Client, SpyBell, body, door, serving
from worker.embedded import EmbeddedPostgres, EmbeddedValkey
from worker.settings import Settings

Rows: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

pytestmark = pytest.mark.slow


@pytest.fixture
def outage_settings(own_postgres: EmbeddedPostgres) -> Settings:
    return Settings(
        database_url=own_postgres.url(),
        redis_url="unix:///nowhere/valkey.sock",
        stripe_webhook_secret=SecretStr(SECRET.decode()),
    )


@pytest.fixture
async def outage_client(outage_settings: Settings, bell: SpyBell) -> AsyncIterator[Client]:
    async with serving(door(outage_settings, bell)) as made:
        yield made


async def stored(server: EmbeddedPostgres) -> set[str]:
    connection = await asyncpg.connect(server.url())
    found = {row["id"] for row in await connection.fetch("SELECT id FROM webhook_events")}
    assert found >= {row["event_id"] for row in await connection.fetch("SELECT event_id FROM queue")}
    await connection.close()
    return found


async def until_accepted(client: Client, id_: str) -> None:
    deadline = time.monotonic() + 30
    while (await client.deliver(body(id_=id_))).status != 200:
        assert time.monotonic() < deadline


@contextmanager
def frozen(pid: int) -> Generator[None]:
    """Stop a server and its children; they keep their sockets, and say nothing."""
    whole = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    for process in whole:
        process.suspend()
    try:
        yield
    finally:
        for process in whole:
            process.resume()


async def told_in_time(client: Client, prefix: str) -> None:
    """Twenty at once, while the database is away: 503 with Retry-After, within 3 s (and some for a busy machine)."""
    start = time.monotonic()
    answers = await asyncio.gather(*[client.deliver(body(id_=f"{prefix}{number}")) for number in range(20)])
    assert {answer.status for answer in answers} == {503}
    assert all(int(answer.headers["retry-after"]) > 0 for answer in answers)
    assert time.monotonic() - start < 5


async def test_the_database_is_killed_and_comes_back(outage_client: Client, own_postgres: EmbeddedPostgres) -> None:
    assert (await outage_client.deliver(body(id_="evt_before"))).status == 200
    own_postgres.kill()
    await told_in_time(outage_client, "evt_killed")
    ready = await outage_client.get("/health/ready")
    assert (ready.status, ready.json["status"], ready.json["database"]["status"]) == (503, "unavailable", "error")
    assert (await outage_client.get("/health")).status == 200
    assert b"billing_database_up 0.0" in (await outage_client.get("/metrics")).body
    own_postgres.start()
    await until_accepted(outage_client, "evt_after")
    assert {"evt_before", "evt_after"} <= await stored(own_postgres)


async def test_the_database_is_frozen_and_thaws(outage_client: Client, own_postgres: EmbeddedPostgres) -> None:
    assert (await outage_client.deliver(body(id_="evt_warm"))).status == 200
    assert own_postgres.process is not None
    with frozen(own_postgres.process.pid):
        await told_in_time(outage_client, "evt_frozen")
        ready = await outage_client.get("/health/ready")
        assert (ready.status, ready.json["database"]["why"]) == (503, "no answer within 2 s")
    await until_accepted(outage_client, "evt_thawed")
    assert "evt_thawed" in await stored(own_postgres)


async def test_a_short_restart_is_not_even_noticed(outage_client: Client, own_postgres: EmbeddedPostgres) -> None:
    """Requests that wait while the server restarts are committed by its successor."""
    acknowledged: set[str] = set()
    stop = asyncio.Event()

    async def stream(name: int) -> None:
        number = 0
        while not stop.is_set():
            id_ = f"evt_stream{name}_{number}"
            answer = await outage_client.deliver(body(id_=id_))
            assert answer.status in {200, 503}
            if answer.status == 200:
                acknowledged.add(id_)
            number += 1

    streams = [asyncio.create_task(stream(name)) for name in range(8)]
    for _ in range(3):
        await asyncio.sleep(0.3)  # let some through between the blows
        own_postgres.kill()
        own_postgres.start()
    await until_accepted(outage_client, "evt_end")
    stop.set()
    await asyncio.gather(*streams)
    assert acknowledged <= await stored(own_postgres)


async def test_a_locked_table_is_an_outage_too(outage_client: Client, own_postgres: EmbeddedPostgres) -> None:
    connection = await asyncpg.connect(own_postgres.url())
    await connection.execute("BEGIN; LOCK TABLE webhook_events")
    await told_in_time(outage_client, "evt_locked")
    await connection.execute("COMMIT")
    await connection.close()
    await until_accepted(outage_client, "evt_unlocked")


async def test_the_door_opens_before_the_database_does(
    outage_settings: Settings, bell: SpyBell, own_postgres: EmbeddedPostgres
) -> None:
    own_postgres.stop()
    async with serving(door(outage_settings, bell)) as client:
        await told_in_time(client, "evt_early")
        own_postgres.start()
        await until_accepted(client, "evt_late")


async def test_redis_frozen_killed_or_absent_delays_no_answer(
    settings: Settings, bell: SpyBell, tmp_path: Path, database_url: str
) -> None:
    server = EmbeddedValkey(tmp_path / "valkey" / "data")
    server.start()
    assert server.process is not None
    from intake.app import build_app  # noqa: PLC0415 - with its own doorbell, not the spy

    try:
        with_redis = settings.model_copy(update={"redis_url": server.url})
        async with serving(build_app(with_redis)) as client:
            assert (await client.get("/health/ready")).json["status"] == "ok"
            os.kill(server.process.pid, signal.SIGSTOP)
            await quick(client, "evt_frozen")
            os.kill(server.process.pid, signal.SIGCONT)
            server.kill()
            await quick(client, "evt_killed")
            await asyncio.sleep(1)  # the check of a moment ago is forgotten
            ready = await client.get("/health/ready")
            assert (ready.status, ready.json["status"], ready.json["redis"]["status"]) == (200, "degraded", "error")
    finally:
        server.stop()
    connection = await asyncpg.connect(database_url)
    assert await connection.fetchval("SELECT count(*) FROM queue WHERE queue = 'events'") == 10
    await connection.close()


async def quick(client: Client, prefix: str) -> None:
    for number in range(5):
        start = time.monotonic()
        assert (await client.deliver(body(id_=f"{prefix}{number}"))).status == 200
        assert time.monotonic() - start < 1
