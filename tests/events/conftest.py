"""One database for each module, emptied for each test: cloning one for every recorded payload would take minutes."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from db.engine import create_engine
from tests.events.kit import clear
from worker.embedded import EmbeddedPostgres


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(statement)
    await connection.close()


@pytest.fixture(scope="module")
def ledger_url(postgres: EmbeddedPostgres, template: str) -> Iterator[str]:
    """A migrated database of this module's own."""
    name = f"test_{uuid.uuid4().hex}"
    asyncio.run(_execute(postgres.url(), f"CREATE DATABASE {name} TEMPLATE {template}"))
    yield postgres.url(name)
    asyncio.run(_execute(postgres.url(), f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
async def engine(ledger_url: str) -> AsyncIterator[AsyncEngine]:
    """An engine on it; the ledger is empty."""
    made = create_engine(ledger_url)
    await clear(made)
    yield made
    await made.dispose()
