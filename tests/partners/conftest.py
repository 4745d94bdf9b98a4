"""An operator types commands on 2 November 2026, about a firm that lives on the same database."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import date
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncEngine
from typer.testing import CliRunner, Result

from intake.cli import build
from tests.conftest import MovedClock
from tests.operators.door import TOKEN, Door, door
from tests.partners.run_kit import Firm, at
from worker.settings import Settings

Typed = Callable[..., Awaitable[Result]]
NOW = at("2026-11-02 12:00")


@pytest.fixture
def firm(engine: AsyncEngine, clock: MovedClock, tmp_path: Path) -> Firm:
    clock.time = NOW
    return Firm(engine, clock, tmp_path)


@pytest.fixture
def typed(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Typed:
    """Type a command; the business's time is 2 November 2026."""
    moved = tmp_path / "clock"
    moved.write_text(str(NOW.timestamp()))
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("BILLING_HOME", str(tmp_path))
    monkeypatch.setenv("BILLING_SELLERS_FILE", str(tmp_path / "sellers.toml"))
    monkeypatch.setenv("BILLING_CLOCK_FILE", str(moved))

    async def run(*words: str, code: int = 0) -> Result:
        result = await asyncio.to_thread(CliRunner().invoke, build(words[0]), list(words))
        assert result.exit_code == code, result.output
        return result

    return run


@pytest.fixture
async def parked(engine: AsyncEngine, clock: MovedClock, tmp_path: Path) -> Firm:
    """A firm whose October is parked: something was used, and comes to nothing."""
    clock.time = NOW
    made = Firm(engine, clock, tmp_path)
    await made.contract(contract_start_date=date(2026, 10, 1), included_units=1_000_000)
    await made.use("2026-10-05 12:00", 5)
    assert (await made.invoice_now("2026-10")).settled.status == "parked"
    return made


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    """Those of the internal door; the business's time is 2 November 2026."""
    moved = tmp_path / "clock"
    moved.write_text(str(NOW.timestamp()))
    return Settings(
        database_url=database_url,
        redis_url="redis://127.0.0.1:1/0",
        admin_token=SecretStr(TOKEN),
        billing_clock_file=moved,
        billing_sellers_file=tmp_path / "sellers.toml",
    )


@pytest.fixture
async def admin(settings: Settings) -> AsyncIterator[Door]:
    """The internal door."""
    async with door(settings) as opened:
        yield opened
