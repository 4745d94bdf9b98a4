"""PostgreSQL freezes while people and partners read: they too are told soon that it is away, and read on afterwards."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy import text

from db.engine import create_engine, is_away
from tests.intake.kit import SpyBell, door, serving
from tests.intake.test_outages import frozen
from tests.intake.usage_kit import ADMIN, with_token
from tests.operators.door import door as internal_door
from worker.embedded import EmbeddedPostgres
from worker.links import document_path
from worker.settings import Settings

LINK = "link_secret_of_the_house_0123456789"
DOCUMENT = document_path(1, ends=datetime(2100, 1, 1, tzinfo=UTC), secrets=[LINK.encode()])
BEARER = {"authorization": f"Bearer {ADMIN}"}
MANY = 20
"""More than the connections of any door: who waits for one is told in time as well."""

Read = Callable[[str], Awaitable[httpx.Response]]

pytestmark = pytest.mark.slow


@pytest.fixture
def reading_settings(own_postgres: EmbeddedPostgres) -> Settings:
    return with_token(
        Settings(database_url=own_postgres.url(), redis_url="unix:///nowhere/valkey.sock"),
        billing_link_secret=SecretStr(LINK),
    )


@pytest.fixture
async def public(reading_settings: Settings, bell: SpyBell) -> AsyncIterator[Read]:
    async with serving(door(reading_settings, bell)) as made, httpx.AsyncClient(timeout=60) as client:
        yield lambda path: client.get(f"http://127.0.0.1:{made.port}{path}", headers=BEARER)


@pytest.fixture
async def internal(reading_settings: Settings) -> AsyncIterator[Read]:
    async with internal_door(reading_settings) as client:
        yield lambda path: client.get(path, headers=BEARER)


async def told_in_time(read: Read, path: str, answer: int, server: EmbeddedPostgres) -> None:
    """503 with Retry-After within 10 s (and some for a busy machine) over connections that were in use before."""
    assert server.process is not None
    warm = await asyncio.gather(*[read(path) for _ in range(4)])
    assert {one.status_code for one in warm} == {answer}
    with frozen(server.process.pid):
        start = time.monotonic()
        answers = await asyncio.gather(*[read(path) for _ in range(MANY)])
        lasted = time.monotonic() - start
    assert {one.status_code for one in answers} == {503}
    assert all(int(one.headers["retry-after"]) > 0 for one in answers)
    assert lasted < 12
    deadline = time.monotonic() + 30
    while (await read(path)).status_code != answer:
        assert time.monotonic() < deadline


@pytest.mark.parametrize(("path", "answer"), [("/usage/api-partner/acme", 404), (DOCUMENT, 404)])
async def test_at_the_public_door(public: Read, own_postgres: EmbeddedPostgres, path: str, answer: int) -> None:
    await told_in_time(public, path, answer, own_postgres)


@pytest.mark.parametrize("path", ["/admin/status", "/admin/partners"])
async def test_at_the_internal_door(internal: Read, own_postgres: EmbeddedPostgres, path: str) -> None:
    await told_in_time(internal, path, 200, own_postgres)


async def test_a_frozen_connection_is_replaced_where_a_new_one_is_answered(own_postgres: EmbeddedPostgres) -> None:
    """As after a failover behind one address: the old connection is silent, and nobody is told that it was."""
    engine = create_engine(own_postgres.url(), pre_ping=True)
    async with engine.connect() as conn:
        pid = await conn.scalar(text("SELECT pg_backend_pid()"))
    with frozen(pid):
        async with engine.connect() as conn:
            assert await conn.scalar(text("SELECT pg_backend_pid()")) != pid
    await engine.dispose()


async def test_a_command_at_a_door_ends_by_the_limit_it_was_given(own_postgres: EmbeddedPostgres) -> None:
    engine = create_engine(own_postgres.url(), pre_ping=True, command_timeout=0.5)
    start = time.monotonic()
    with pytest.raises(TimeoutError) as found:
        async with engine.connect() as conn:
            await conn.execute(text("SELECT pg_sleep(60)"))
    assert is_away(found.value)
    assert time.monotonic() - start < 5
    await engine.dispose()
