"""What a database gives up by itself is told in words, with the exit code of its kind."""

import asyncio

import pytest
import typer
from asyncpg.exceptions import DeadlockDetectedError
from sqlalchemy.ext.asyncio import AsyncEngine

from intake.commands.common import explained_database_errors, gave_up
from intake.commands.connect import plain_errors


async def run(engine: AsyncEngine, *statements: str) -> None:
    async with engine.begin() as conn:
        for statement in statements:
            await conn.exec_driver_sql(statement)


@pytest.mark.parametrize("told", [explained_database_errors, plain_errors])
async def test_a_statement_that_took_too_long(
    engine: AsyncEngine, capsys: pytest.CaptureFixture[str], told: type
) -> None:
    with pytest.raises(typer.Exit) as ended, told():
        await run(engine, "SET LOCAL statement_timeout = '1ms'", "SELECT pg_sleep(1)")
    assert ended.value.exit_code == 1
    assert "the database took too long: it gave up, and undid what it had begun (" in capsys.readouterr().err


@pytest.mark.parametrize("told", [explained_database_errors, plain_errors])
async def test_a_lock_that_others_kept(engine: AsyncEngine, capsys: pytest.CaptureFixture[str], told: type) -> None:
    async with engine.connect() as other:
        await other.exec_driver_sql("LOCK TABLE users")
        with pytest.raises(typer.Exit) as ended, told():
            await run(engine, "SET LOCAL lock_timeout = '10ms'", "SELECT 1 FROM users")
    assert ended.value.exit_code == 1
    assert "others held what it wanted for too long" in capsys.readouterr().err


@pytest.mark.parametrize("told", [explained_database_errors, plain_errors])
def test_no_answer_in_time(capsys: pytest.CaptureFixture[str], told: type) -> None:
    """The driver ends a command by itself, without a word of PostgreSQL's."""
    with pytest.raises(typer.Exit) as ended, told():
        raise asyncio.TimeoutError  # noqa: UP041 - as asyncpg raises it
    assert ended.value.exit_code == 2
    assert "did not answer in time (30 s for a statement)" in capsys.readouterr().err


def test_a_deadlock_is_told_and_a_bug_is_not() -> None:
    assert (gave_up(DeadlockDetectedError("deadlock detected")) or "").startswith("others and it waited for each other")
    assert gave_up(ValueError("x")) is None
