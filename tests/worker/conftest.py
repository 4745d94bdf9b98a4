"""A database with a table of effects."""

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.worker.kit import EFFECTS, World


@pytest.fixture
async def world(engine: AsyncEngine, database_url: str) -> World:
    made = World(engine, database_url)
    await made.execute(EFFECTS)
    return made
