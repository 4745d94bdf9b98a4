"""However many workers and operators are at it at once, a partner's month is one invoice, and no number is lost."""

import asyncio
from collections import Counter
from datetime import date, timedelta
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from jobs.partners.run import partner_invoices
from tests.conftest import MovedClock
from tests.partners.run_kit import Firm, at
from tests.worker.kit import until
from worker.errors import Refused, TryLater
from worker.registry import discover
from worker.runner import Runner

_NAMES = count(1)


@pytest.fixture
def firm(engine: AsyncEngine, clock: MovedClock, tmp_path: Path) -> Firm:
    clock.time = at("2026-10-01 00:00")
    return Firm(engine, clock, tmp_path)


async def test_many_workers_make_one_invoice_each_in_order(firm: Firm) -> None:
    prefixes = [f"p{number}" for number in range(12)]
    for prefix in prefixes:
        await firm.contract(prefix, contract_start_date=date(2026, 8, 1), monthly_flat_fee_cents=1_000)
    firm.clock.time = at("2026-11-02 12:00")
    runners = [
        Runner(firm.deps, discover("jobs"), queues=["batch"], worker=f"r{next(_NAMES)}", lease=timedelta(seconds=15))
        for _ in range(3)
    ]
    for hour in range(3):  # three looks at once, as after an outage
        async with firm.deps.tx() as tx:
            await tx.stage(partner_invoices.call(period=firm.clock.now() + timedelta(hours=hour)))

    async def all_done() -> bool:
        for runner in runners:
            runner.wake("batch")
        found = await firm.query("SELECT count(*) FROM usage_invoices WHERE status = 'issued'")
        return bool(found[0]["count"] == 36)

    try:
        await until(all_done, within=60, why="not all months were invoiced")
    finally:
        for runner in runners:
            await runner.stop(timedelta(seconds=5))
    rows = await firm.query(
        "SELECT u.api_key_prefix, u.period_start, i.invoice_number FROM usage_invoices u"
        " JOIN invoices i ON i.id = u.invoice_id ORDER BY u.api_key_prefix, u.period_start"
    )
    assert Counter(row["api_key_prefix"] for row in rows) == dict.fromkeys(prefixes, 3)
    for prefix in prefixes:
        numbers = [row["invoice_number"] for row in rows if row["api_key_prefix"] == prefix]
        assert numbers == sorted(numbers), "the oldest month first"
    assert sorted(row["invoice_number"] for row in rows) == [f"API-202611-{number:04}" for number in range(1, 37)]
    assert len(await firm.query("SELECT 1 FROM invoices")) == 36


async def test_hands_and_workers_at_once(firm: Firm) -> None:
    await firm.contract(contract_start_date=date(2026, 10, 1), monthly_flat_fee_cents=1_000)
    await firm.execute(
        "INSERT INTO credits (api_key_prefix, kind, currency, amount_cents, remaining_cents, reason, created_at,"
        " created_by) VALUES ('nw', 'goodwill', 'eur', 300, 300, 'sorry', now(), 'ada')"
    )
    firm.clock.time = at("2026-11-02 12:00")

    async def by_hand() -> str:
        try:
            return (await firm.invoice_now("2026-10")).settled.status
        except (Refused, TryLater, DBAPIError) as error:
            return type(error).__name__

    *told, _ = await asyncio.gather(*(by_hand() for _ in range(6)), firm.run())
    assert told.count("issued") <= 1
    assert await firm.numbers() == ["API-202611-0001"]
    assert await firm.stands() == [("2026-10", "issued", 1_000)]
    (credit,) = await firm.query("SELECT remaining_cents FROM credits")
    assert credit["remaining_cents"] == 0
    assert (await firm.query("SELECT sum(amount_cents)::int AS spent FROM credit_applications")) == [{"spent": 300}]


async def test_void_gives_credits_back_and_anew_takes_the_next_number(firm: Firm) -> None:
    await firm.contract(contract_start_date=date(2026, 10, 1), monthly_flat_fee_cents=1_000)
    await firm.execute(
        "INSERT INTO credits (api_key_prefix, kind, currency, amount_cents, remaining_cents, reason, created_at,"
        " created_by) VALUES ('nw', 'goodwill', 'eur', 300, 300, 'sorry', now(), 'ada')"
    )
    await firm.on("2026-11-02 12:00")
    assert await firm.void("2026-10") == ("2026-10", "issued")
    assert (await firm.query("SELECT remaining_cents FROM credits"))[0]["remaining_cents"] == 300
    await firm.execute("UPDATE api_partner_contracts SET company = 'Northwind AG'")
    done = await firm.invoice_now("2026-10")
    assert done.settled.issued is not None
    says = await firm.says(done.settled.issued.number)
    assert (says.number, says.buyer.name, says.due_minor) == ("API-202611-0002", "Northwind AG", 700)
    stands = await firm.query("SELECT invoice_number, status FROM invoices ORDER BY id")
    assert [tuple(row.values()) for row in stands] == [("API-202611-0001", "void"), ("API-202611-0002", "open")]


async def test_a_failed_try_leaves_nothing_and_is_tried_again(firm: Firm) -> None:
    """The number's format meets another series': that is found last of all, and everything goes back."""
    await firm.contract(contract_start_date=date(2026, 10, 1), monthly_flat_fee_cents=1_000)
    await firm.contract("other", contract_start_date=date(2026, 10, 1), monthly_flat_fee_cents=1_000)
    await firm.execute(
        "CREATE FUNCTION fails() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " IF NEW.own_key = 'partner/nw/2026-10' THEN RAISE EXCEPTION 'not now'; END IF; RETURN NEW; END $$"
    )
    await firm.execute("CREATE TRIGGER fails BEFORE UPDATE ON invoices FOR EACH ROW EXECUTE FUNCTION fails()")
    await firm.on("2026-11-02 12:00")
    assert await firm.stands("other") == [("2026-10", "issued", 1_000)]
    assert await firm.stands() == [("2026-10", "pending", None)]
    assert await firm.numbers() == ["API-202611-0001"]
    await firm.execute("DROP TRIGGER fails ON invoices")
    firm.clock.move(timedelta(hours=2))
    await firm.batch()
    assert await firm.stands() == [("2026-10", "issued", 1_000)]
    assert await firm.numbers() == ["API-202611-0001", "API-202611-0002"], "nothing was lost on the way"
