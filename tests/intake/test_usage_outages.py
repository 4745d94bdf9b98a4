"""The database goes away, freezes, or loses an answer: reporters are told the truth, and nothing counts twice."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeAlias

import asyncpg
import pytest
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.db.test_usage import UNEQUAL
from tests.intake.kit import SECRET, Client, SpyBell, body, door, serving
from tests.intake.test_outages import frozen
from tests.intake.usage_kit import ADMIN, event, report, with_token
from worker.embedded import EmbeddedPostgres
from worker.settings import Settings

Rows: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

pytestmark = pytest.mark.slow


class AnswerEater:
    """Stands between a door and PostgreSQL; it passes the first message that holds `mark` on, and eats its answer."""

    def __init__(self, server: Path, folder: Path) -> None:
        self._server = server / ".s.PGSQL.5432"
        self._own = folder / ".s.PGSQL.5432"
        self._serving: set[asyncio.Task[None]] = set()
        self.mark = b""
        self.eaten = 0

    @asynccontextmanager
    async def listening(self) -> AsyncGenerator[None]:
        listener = await asyncio.start_unix_server(self._serve, self._own)
        try:
            yield
        finally:
            listener.close()
            for task in self._serving:
                task.cancel()
            await asyncio.gather(*self._serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        up_reader, up_writer = await asyncio.open_unix_connection(self._server)
        answers = asyncio.create_task(self._pump(up_reader, writer))
        try:
            with contextlib.suppress(ConnectionError):
                while data := await reader.read(65536):
                    if self.mark and self.mark in data:
                        self.mark = b""
                        self.eaten += 1
                        answers.cancel()
                        up_writer.write(data)
                        await up_writer.drain()
                        await up_reader.read(65536)  # it is committed, and nobody hears of it
                        return
                    up_writer.write(data)
                    await up_writer.drain()
        finally:
            answers.cancel()
            for one in (writer, up_writer):
                one.transport.abort()
            ends = (answers, writer.wait_closed(), up_writer.wait_closed())
            await asyncio.gather(*ends, return_exceptions=True)

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()


@pytest.fixture
async def outage_client(own_postgres: EmbeddedPostgres, bell: SpyBell) -> AsyncIterator[Client]:
    settings = Settings(
        database_url=own_postgres.url(),
        redis_url="unix:///nowhere/valkey.sock",
        stripe_webhook_secret=SecretStr(SECRET.decode()),
    )
    async with serving(door(with_token(settings), bell)) as made:
        yield made


async def check(url: str, keys: set[str]) -> None:
    """These events are stored, each once, and sums equal events."""
    connection = await asyncpg.connect(url)
    assert await connection.fetch(UNEQUAL) == []
    found = [row[0] for row in await connection.fetch("SELECT idempotency_key FROM usage_events")]
    assert len(found) == len(set(found))
    assert keys <= set(found)
    assert await connection.fetchval("SELECT count(*) FROM usage_keys") == len(found)
    await connection.close()


async def until_accepted(client: Client, key: str) -> None:
    deadline = time.monotonic() + 30
    while (await report(client, ADMIN, event(key, user_id=1))).status != 202:
        assert time.monotonic() < deadline


async def told_in_time(client: Client, prefix: str) -> None:
    start = time.monotonic()
    sent = [report(client, ADMIN, event(f"{prefix}{number}", user_id=1)) for number in range(20)]
    answers = await asyncio.gather(*sent)
    assert {answer.status for answer in answers} == {503}
    assert all(int(answer.headers["retry-after"]) > 0 for answer in answers)
    assert time.monotonic() - start < 5


async def test_the_database_is_killed_frozen_and_comes_back(
    outage_client: Client, own_postgres: EmbeddedPostgres
) -> None:
    await until_accepted(outage_client, "before")
    own_postgres.kill()
    await told_in_time(outage_client, "killed")
    keyed = await report(outage_client, "acme_" + "x" * 43, event("keyed"))
    assert (keyed.status, "retry-after" in keyed.headers) == (503, True)
    own_postgres.start()
    await until_accepted(outage_client, "after")
    assert own_postgres.process is not None
    with frozen(own_postgres.process.pid):
        await told_in_time(outage_client, "frozen")
    await until_accepted(outage_client, "thawed")
    await check(own_postgres.url(), {"before", "after", "thawed"})


async def test_a_flood_of_usage_on_a_locked_table_holds_up_no_webhook(
    outage_client: Client, own_postgres: EmbeddedPostgres
) -> None:
    connection = await asyncpg.connect(own_postgres.url())
    await connection.execute("BEGIN; LOCK TABLE usage_keys")
    flood = [asyncio.create_task(report(outage_client, ADMIN, event(f"f{n}", user_id=1))) for n in range(100)]
    start = time.monotonic()
    assert (await outage_client.deliver(body(id_="evt_meanwhile"))).status == 200
    assert time.monotonic() - start < 1
    await connection.execute("COMMIT")
    await connection.close()
    await asyncio.gather(*flood)


async def test_writers_that_are_killed_in_mid_batch_lose_and_double_nothing(
    outage_client: Client, own_postgres: EmbeddedPostgres
) -> None:
    """Their backends are ended again and again; each request is repeated, as its sender would, until it is accepted."""
    accepted: set[str] = set()
    killer = await asyncpg.connect(own_postgres.url())
    done = asyncio.Event()

    async def sender(name: int) -> None:
        for number in range(60):
            rows = [event(f"s{name}_{number}_{n}", user_id=name, event_type=f"t{n}") for n in range(3)]
            while (await report(outage_client, ADMIN, rows)).status != 202:
                pass
            accepted.update(row["idempotency_key"] for row in rows)

    async def blows() -> None:
        while not done.is_set():
            await killer.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'billing-intake'"
            )
            await asyncio.sleep(0.2)  # let some through between the blows

    killing = asyncio.create_task(blows())
    await asyncio.gather(*map(sender, range(1, 7)))
    done.set()
    await killing
    await killer.close()
    assert len(accepted) == 6 * 60 * 3
    await check(own_postgres.url(), accepted)


async def test_a_lost_answer_counts_nothing_twice(
    settings: Settings, bell: SpyBell, postgres: EmbeddedPostgres, engine: AsyncEngine, tmp_path: Path
) -> None:
    """PostgreSQL has committed, and the door does not know: its next try finds its own keys, with the same content."""
    assert settings.database_url is not None
    eater = AnswerEater(postgres.sockets, tmp_path)
    here = settings.database_url.replace(str(postgres.sockets), str(tmp_path))
    assert here != settings.database_url
    async with eater.listening(), serving(door(with_token(settings, database_url=here), bell)) as client:
        await until_accepted(client, "warm")
        eater.mark = b"lost_answer"
        answer = await report(client, ADMIN, [event("lost_answer", user_id=1), event("beside", user_id=1)])
        assert (answer.status, answer.json, eater.eaten) == (202, {"accepted": 0, "duplicates": 2}, 1)
        again = await report(client, ADMIN, [event("lost_answer", user_id=1), event("beside", user_id=1)])
        assert again.json == {"accepted": 0, "duplicates": 2}
    await check(settings.database_url, {"warm", "lost_answer", "beside"})
