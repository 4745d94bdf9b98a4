"""The books of tests of usage."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.conftest import MovedClock
from tests.usage.books import Books


@pytest.fixture
def books(engine: AsyncEngine, clock: MovedClock, tmp_path: Path) -> Books:
    clock.time = datetime(2026, 11, 10, 12, tzinfo=UTC)
    return Books(engine, clock, tmp_path)
