"""Companies that lived through months of storms, and offices with partners, broke no invariant."""

import random
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from jobs.invoices.void import void
from tests.conftest import MovedClock
from tests.partners.money_kit import Firm as Bank
from tests.partners.run_kit import Firm, at
from tests.scenarios.conftest import CALM, OLD, STORMY, Weather
from tests.scenarios.conftest import at as day
from tests.scenarios.kit import stage
from tests.scenarios.test_company import Company
from tests.verify.kit import broken

SETTLED = timedelta(minutes=20)
SEED = 1885
"""A company that has soon seen much: declined and disputed cards, a trial, a coupon, a refund, letters of dunning."""


@pytest.mark.parametrize("weather", [CALM, OLD, STORMY], ids=lambda weather: weather.name)
async def test_a_company(engine: AsyncEngine, database_url: str, weather: Weather) -> None:
    async with stage(engine, database_url, day(2026, 1, 30), weather=replace(weather, seed=SEED)) as played:
        company = Company(played, random.Random(SEED))  # noqa: S311 - a test's dice
        await company.open()
        for _ in range(4):
            await company.arrive()
        for _ in range(2):
            for _ in range(10):
                await company.something()
                await played.advance(hours=company.dice.randint(1, 180))
            await played.settle()
            assert await broken(engine, now=played.clock.now() + SETTLED) == {}
        await played.books_agree()


async def test_an_office_with_partners(engine: AsyncEngine, clock: MovedClock, tmp_path: Path) -> None:
    firm = Firm(engine, clock, tmp_path)
    await firm.contract("nw")
    await firm.contract("tiny", pricing_model="flat", monthly_flat_fee_cents=5000)
    clock.time = at("2026-03-02 09:00")
    await firm.use_daily(date(2026, 2, 1), date(2026, 3, 1), units=1000)
    await firm.run()
    await firm.use("2026-02-20 10:00", 40_000)  # comes late
    clock.time = at("2026-04-02 09:00")
    await firm.run()
    assert len(await firm.numbers()) >= 2
    assert await broken(engine, now=clock.now() + SETTLED) == {}


async def test_an_office_with_credits_payments_and_notes(
    engine: AsyncEngine, clock: MovedClock, tmp_path: Path
) -> None:
    bank = Bank(engine, clock, tmp_path)
    clock.time = datetime(2026, 12, 5, 12, tzinfo=UTC)
    await bank.contract()
    await bank.grant(1_500)
    first, second, third = [await bank.bill(f"partner/{number}") for number in range(3)]
    await bank.paid(first, 4_000)
    await bank.paid(second, 13_000, over_as_credit=True)
    await bank.credit(first, 2_000)
    await bank.credit(second)
    await bank.grant(500, days=3)
    await bank.bill("partner/late")
    async with bank.deps.tx() as tx:
        await void(tx, third.invoice_id, reason="a mistake")
    assert await broken(engine, now=clock.now() + SETTLED) == {}
