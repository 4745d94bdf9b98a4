"""One database for each module, emptied before each test: these tests are many and short."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from db.engine import create_engine
from tests.lives.driver import clear
from worker.embedded import EmbeddedPostgres


async def _run(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(statement)
    await connection.close()


@pytest.fixture(scope="module")
def shared_url(postgres: EmbeddedPostgres, template: str) -> Iterator[str]:
    """A migrated database of this module's own."""
    name = f"test_{uuid.uuid4().hex}"
    asyncio.run(_run(postgres.url(), f"CREATE DATABASE {name} TEMPLATE {template}"))
    yield postgres.url(name)
    asyncio.run(_run(postgres.url(), f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
async def engine(shared_url: str) -> AsyncIterator[AsyncEngine]:
    """An engine on the module's database, which is empty."""
    made = create_engine(shared_url)
    await clear(made)
    yield made
    await made.dispose()
