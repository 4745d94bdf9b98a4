"""An operator types commands on 2 November 2026, about a firm that lives on the same database."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from typer.testing import CliRunner, Result

from intake.cli import build
from tests.conftest import MovedClock
from tests.partners.run_kit import Firm, at

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
