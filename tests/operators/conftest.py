"""The commands as an operator calls them, and books to call them on."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncEngine
from typer.testing import CliRunner, Result

from intake.cli import build
from tests.operators.books import Billing, Books
from tests.operators.door import TOKEN, Door, door
from worker.settings import Settings


@pytest.fixture
def books(engine: AsyncEngine) -> Books:
    return Books(engine)


@pytest.fixture
def billing(monkeypatch: pytest.MonkeyPatch, database_url: str, tmp_path: Path) -> Billing:
    """Runs the command `billing …` against this test's database."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")  # away: a ring that nobody hears changes nothing
    monkeypatch.setenv("BILLING_HOME", str(tmp_path))

    async def run(*words: str, answer: str | None = None) -> Result:
        return await asyncio.to_thread(CliRunner().invoke, build(words[0]), list(words), input=answer)

    return run


@pytest.fixture
async def admin(database_url: str) -> AsyncIterator[Door]:
    """The internal door on this test's database; Redis is away."""
    settings = Settings(database_url=database_url, redis_url="redis://127.0.0.1:1/0", admin_token=SecretStr(TOKEN))
    async with door(settings) as opened:
        yield opened
