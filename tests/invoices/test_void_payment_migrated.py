"""Migration 0010 on filled books: what was recorded before can be voided, and what was voided never counts again."""

from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import AsyncEngine

from db.migrate import config, migrate
from jobs.invoices.pay import collected
from tests.conftest import MovedClock
from tests.invoices.test_void_payment import broken, voided
from tests.partners.money_kit import Firm


def back(connection: Connection) -> None:
    command.downgrade(config(connection), "0009")


@pytest.fixture
async def firm(engine: AsyncEngine, clock: MovedClock, tmp_path: Path) -> Firm:
    made = Firm(engine, clock, tmp_path)
    await made.contract()
    return made


async def test_a_surplus_that_was_recorded_before_can_be_voided(firm: Firm, engine: AsyncEngine) -> None:
    issued = await firm.bill()
    await firm.paid(issued, 15_000, "SEPA 7", over_as_credit=True)
    async with engine.begin() as connection:
        await connection.run_sync(back)
    await migrate(engine)
    await engine.dispose()
    await voided(firm, issued, "SEPA 7")
    assert await firm.stands(issued) == ("open", 0, 0, 12_000)
    assert await broken(firm) == []


async def test_there_is_no_way_back_once_a_payment_was_voided(firm: Firm, engine: AsyncEngine) -> None:
    issued = await firm.bill()
    await firm.paid(issued, 12_000, "SEPA 7")
    await voided(firm, issued, "SEPA 7")
    with pytest.raises(RuntimeError, match="would count again"):
        async with engine.begin() as connection:
            await connection.run_sync(back)
    async with firm.deps.tx() as tx:
        await collected(tx, issued.invoice_id)
    assert await firm.stands(issued) == ("open", 0, 0, 12_000)
    assert await broken(firm) == []
