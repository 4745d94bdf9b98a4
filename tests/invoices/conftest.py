"""Books with invoices, and the commands and the internal door to look at them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncEngine
from typer.testing import CliRunner, Result

from intake.cli import build
from tests.invoices.books import InvoiceBooks
from tests.operators.door import TOKEN, Door, door
from worker.settings import Settings

Billing = Callable[..., Awaitable[Result]]


@pytest.fixture
def ledger(engine: AsyncEngine, tmp_path: Path) -> InvoiceBooks:
    return InvoiceBooks(engine, tmp_path)


@pytest.fixture
def billing(monkeypatch: pytest.MonkeyPatch, database_url: str, tmp_path: Path) -> Billing:
    """Runs the command `billing invoices …` against this test's database and folder."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")  # away: a ring that nobody hears changes nothing
    monkeypatch.setenv("BILLING_HOME", str(tmp_path))

    async def run(*words: str) -> Result:
        return await asyncio.to_thread(CliRunner().invoke, build("invoices"), ["invoices", *words])

    return run


@pytest.fixture
async def admin(database_url: str, tmp_path: Path) -> AsyncIterator[Door]:
    """The internal door on this test's database and folder; Redis is away."""
    settings = Settings(
        database_url=database_url,
        redis_url="redis://127.0.0.1:1/0",
        admin_token=SecretStr(TOKEN),
        billing_home=tmp_path,
    )
    async with door(settings) as opened:
        yield opened
