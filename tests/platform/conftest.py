"""Makes real `billing up`s."""

import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import asyncpg
import pytest

from tests.platform.machine import Up
from worker.embedded import EmbeddedPostgres


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Callable[..., Up]]:
    """Makes `Up`s whose processes are ended with the test."""
    made: list[Up] = []

    def make(*options: str, home: Path | None = None, **environment: str) -> Up:
        made.append(Up(home or tmp_path / "home", environment, options or ("--port", "0")))
        return made[-1]

    yield make
    for one in made:
        one.end()


@pytest.fixture
async def postgres_url(postgres: EmbeddedPostgres) -> AsyncIterator[str]:
    """An empty database, never migrated."""
    name = f"bare_{uuid.uuid4().hex}"
    connection = await asyncpg.connect(postgres.url())
    await connection.execute(f"CREATE DATABASE {name}")
    yield postgres.url(name)
    await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await connection.close()
