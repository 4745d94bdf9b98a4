"""The public door, open on a free port, before a database of the test's own."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest
from pydantic import SecretStr

from db.engine import create_engine
from db.migrate import migrate
from tests.intake.kit import SECRET, Client, SpyBell, door, serving
from worker.embedded import EmbeddedPostgres
from worker.settings import Settings


@pytest.fixture
def bell() -> SpyBell:
    return SpyBell()


@pytest.fixture
def settings(database_url: str) -> Settings:
    return Settings(
        database_url=database_url,
        redis_url="unix:///nowhere/valkey.sock",
        stripe_webhook_secret=SecretStr(SECRET.decode()),
    )


@pytest.fixture
async def client(settings: Settings, bell: SpyBell) -> AsyncIterator[Client]:
    async with serving(door(settings, bell)) as made:
        yield made


@pytest.fixture
async def rows(database_url: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture(scope="module")
def own_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A server to be killed and frozen."""
    server = EmbeddedPostgres(tmp_path_factory.mktemp("own") / "data")
    server.start()
    asyncio.run(_migrate(server.url()))
    yield server
    server.stop()


async def _migrate(url: str) -> None:
    engine = create_engine(url)
    await migrate(engine)
    await engine.dispose()
