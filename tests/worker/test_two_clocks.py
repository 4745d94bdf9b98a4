"""The business may live by a clock of its own; work is due, leased and retried by the machine's."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from db.states import QueueName
from tests.conftest import MovedClock
from tests.worker.kit import NoStripe
from worker.clock import FileClock, business_clock
from worker.deps import Deps
from worker.registry import Call

LAST_YEAR = datetime(2025, 3, 1, 9, tzinfo=UTC)
TODAY = datetime(2026, 11, 21, 5, tzinfo=UTC)
CALL = Call("some_job", QueueName.BATCH, {})


@pytest.fixture
def deps(engine: AsyncEngine) -> Deps:
    return Deps(engine, MovedClock(TODAY), NoStripe(), business=MovedClock(LAST_YEAR))


async def due_at(deps: Deps, when: datetime | None) -> tuple[datetime, set[str]]:
    async with deps.tx() as tx:
        await tx.stage(CALL, due_at=when)
        row = await tx.conn.exec_driver_sql("SELECT due_at FROM queue ORDER BY id DESC LIMIT 1")
        return row.scalar_one(), tx.rings


async def test_a_transaction_knows_both_times(deps: Deps) -> None:
    async with deps.tx() as tx:
        assert (tx.now, tx.wall) == (LAST_YEAR, TODAY)


async def test_what_is_staged_for_a_business_time_waits_as_long_by_the_machine(deps: Deps) -> None:
    assert await due_at(deps, LAST_YEAR + timedelta(days=3)) == (TODAY + timedelta(days=3), set())


@pytest.mark.parametrize("when", [None, LAST_YEAR, LAST_YEAR - timedelta(days=9)])
async def test_what_is_staged_for_now_or_earlier_is_due_now_and_rings(deps: Deps, when: datetime | None) -> None:
    assert await due_at(deps, when) == (TODAY, {"batch"})


async def test_without_a_clock_of_its_own_the_business_lives_by_the_machine(engine: AsyncEngine) -> None:
    async with Deps(engine, MovedClock(TODAY), NoStripe(), business=business_clock(None)).tx() as tx:
        assert tx.now == tx.wall == TODAY


def test_a_file_moves_the_business(tmp_path: Path) -> None:
    file = tmp_path / "clock"
    file.write_text(f"{LAST_YEAR.timestamp()}\n")
    assert FileClock(file).now() == LAST_YEAR
    file.write_text(f"{TODAY.timestamp()}\n")
    assert FileClock(file).now() == TODAY
