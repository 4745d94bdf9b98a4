"""A period that somebody looked at stays the contract's: no correction has its usage invoiced twice, or never."""

import asyncio
from collections.abc import Mapping
from contextvars import Context
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from db import contracts, usage_invoices
from db.operators import contracts as looks
from db.operators import jobs
from db.operators.actions import NotAllowedError
from jobs.invoices.void import void as void_invoice
from jobs.partners import contract_changes, release
from jobs.partners.run import plan
from tests.conftest import MovedClock
from tests.partners.run_kit import ADA, Firm, at
from tests.worker.kit import until
from worker.deps import Tx

OCTOBER: dict[str, Any] = {"contract_start_date": date(2026, 10, 1), "alarm_factor": 0}


@pytest.fixture
def firm(engine: AsyncEngine, clock: MovedClock, tmp_path: Path) -> Firm:
    clock.time = at("2026-10-01 00:00")
    return Firm(engine, clock, tmp_path)


async def correct(firm: Firm, given: Mapping[str, Any], version: int | None = None) -> None:
    async with firm.deps.tx() as tx:
        await contract_changes.correct(tx, "nw", given, ADA, version=version, sellers=firm.sellers)


async def change(firm: Firm, on: str, given: Mapping[str, Any]) -> None:
    async with firm.deps.tx() as tx:
        await contract_changes.change(tx, "nw", on, given, ADA, sellers=firm.sellers)


@pytest.mark.parametrize(
    "given", [{"timezone": "America/New_York"}, {"timezone": "Asia/Tokyo"}, {"billing_cycle": "quarterly"}]
)
@pytest.mark.parametrize("stands", ["empty", "void", "parked"])
async def test_zone_and_cycle_stay_once_a_period_was_looked_at(
    firm: Firm, stands: str, given: Mapping[str, Any]
) -> None:
    await firm.contract(**OCTOBER, monthly_flat_fee_cents=0 if stands == "empty" else 5)
    if stands == "parked":
        await firm.execute("UPDATE api_partner_contracts SET seller = 'nobody'")
    await firm.on("2026-11-01 12:00")
    if stands == "parked":
        await firm.execute("UPDATE api_partner_contracts SET seller = 'north'")
    if stands == "void":
        await firm.void("2026-10")
    assert [row["status"] for row in await firm.periods()] == [stands]
    told = f"2026-10-01 to 2026-11-01 were looked at \\({stands}\\).*billing partners change nw --from 2026-11-01"
    with pytest.raises(NotAllowedError, match=told):
        await correct(firm, given)


async def test_a_change_from_the_end_on_charges_each_unit_once(firm: Firm) -> None:
    await firm.contract(**OCTOBER)
    await firm.on("2026-11-01 12:00")
    await change(firm, "2026-11-01", {"timezone": "America/New_York"})
    await firm.use("2026-10-15 12:00", 1_000)  # reported late: 2.50
    await firm.use("2026-12-01 03:00", 1_000)  # still November there
    await firm.on("2026-12-01 12:00")
    assert [(status, total) for _, status, total in await firm.stands()] == [("empty", 0), ("issued", 500)]


async def test_a_change_from_within_what_was_looked_at_is_refused(firm: Firm) -> None:
    await firm.contract(**OCTOBER, seller="nobody")
    await firm.on("2026-11-01 12:00")
    await firm.on("2026-12-01 12:00")
    await firm.execute("UPDATE api_partner_contracts SET seller = 'north'")
    assert [status for _, status, _ in await firm.stands()] == ["parked", "parked"]
    with pytest.raises(NotAllowedError, match=r"2026-11-01 to 2026-12-01 .*the cycle from 2026-12-01 on"):
        await change(firm, "2026-11-01", {"billing_cycle": "quarterly"})
    await change(firm, "2026-11-01", {"per_1000_requests_cents": 300})  # a price moves no period
    await change(firm, "2026-12-01", {"billing_cycle": "quarterly"})


async def test_the_beginning_of_quarters_stays_and_that_of_months_may_move(firm: Firm) -> None:
    await firm.contract(**OCTOBER, monthly_flat_fee_cents=5, billing_cycle="quarterly")
    await firm.on("2027-01-01 12:00")
    await firm.void("2026-10")
    with pytest.raises(NotAllowedError, match="2026-10-01 to 2027-01-01"):
        await correct(firm, {"contract_start_date": "2026-09-15"})
    await correct(firm, {"contract_start_date": "2026-10-15"})  # the same quarters


async def test_a_zone_that_there_is_not_is_put_right(firm: Firm) -> None:
    await firm.contract(**OCTOBER, timezone="Mars/Olympus")
    await firm.use("2026-10-31 23:30", 1_000)  # November in Berlin
    await firm.on("2026-11-01 12:00")
    await correct(firm, {"timezone": "Europe/Berlin"})
    await firm.on("2026-12-01 12:00")
    assert [(status, total) for _, status, total in await firm.stands()] == [("parked", 0), ("issued", 250)]
    await firm.void("2026-10")
    await firm.use("2026-09-30 22:30", 1_000)  # October in Berlin
    await firm.invoice_now("2026-10")
    assert sum(total or 0 for _, status, total in await firm.stands() if status == "issued") == 500


async def test_another_zone_written_by_sql_makes_no_second_invoice(firm: Firm) -> None:
    await firm.contract(**OCTOBER)
    await firm.on("2026-11-01 12:00")
    await firm.execute("UPDATE api_partner_contracts SET timezone = 'America/New_York'")
    await firm.use("2026-10-15 12:00", 1_000)
    await firm.on("2026-12-01 12:00")
    assert sum(total or 0 for _, status, total in await firm.stands() if status == "issued") == 250


async def test_a_cancelled_job_is_told_and_what_to_do_helps(firm: Firm) -> None:
    await firm.contract(**OCTOBER)
    await firm.use("2026-10-15 12:00", 1_000)
    firm.clock.time = at("2026-11-01 12:00")
    async with firm.deps.tx() as tx:
        assert await plan(tx, timedelta(hours=6)) == 1
    async with firm.engine.connect() as conn:
        assert await looks.waiting(conn, "nw") == []  # it is about to run
    (job,) = await firm.query("SELECT id FROM jobs WHERE name = 'invoice_partner'")
    async with firm.engine.begin() as conn:
        await jobs.cancel(conn, await jobs.cancel_of_ids(conn, [job["id"]]), ADA, now=firm.clock.now())
    await firm.use("2026-11-15 12:00", 1_000)
    await firm.on("2026-12-01 12:00")
    async with firm.engine.connect() as conn:
        (told,) = await looks.waiting(conn, "nw")
    assert (told["status"], told["job_status"], told["job_id"]) == ("pending", "cancelled", job["id"])
    await firm.invoice_now("2026-10")
    await firm.batch()
    assert await firm.stands() == [("2026-10", "issued", 250), ("2026-11", "issued", 250)]
    async with firm.engine.connect() as conn:
        assert await looks.waiting(conn) == []


async def test_changing_a_contract_keeps_the_run_out(firm: Firm) -> None:
    await firm.contract(**OCTOBER)
    async with firm.deps.tx() as tx, firm.engine.connect() as other:
        await contracts.hold(tx.conn, "nw")
        assert not await usage_invoices.hold_owner(other, "nw")
        assert await usage_invoices.hold_owner(other, "acme")


async def _waits(firm: Firm) -> bool:
    return bool(await firm.query("SELECT 1 FROM pg_locks WHERE NOT granted"))


async def test_two_ways_of_voiding_at_once_take_turns(firm: Firm) -> None:
    await firm.contract(**OCTOBER)
    await firm.use("2026-10-15 12:00", 1_000)
    await firm.on("2026-11-01 12:00")
    (row,) = await firm.periods()

    async def by_invoice() -> bool:
        async with firm.deps.tx() as tx:
            return await void_invoice(tx, row["invoice_id"], reason="the wrong price")

    async with firm.deps.tx() as tx:
        await _begun(tx, row)
        other = asyncio.create_task(by_invoice(), context=Context())  # not within this one's transaction
        await until(lambda: _waits(firm), why="the other way does not wait")
        assert await release.void(tx, "nw", "2026-10", ADA) == ("2026-10", "issued")
    assert await other is False  # it was void already
    assert [status for _, status, _ in await firm.stands()] == ["void"]


async def _begun(tx: Tx, row: Mapping[str, Any]) -> None:
    """Where `partners void` stands when it has found the period."""
    await contracts.hold(tx.conn, "nw")
    assert await usage_invoices.of_period(tx.conn, "nw", row["period_start"], lock=True) is not None


@pytest.mark.parametrize(
    "table", ["usage_events", "usage_keys", "usage_invoices", "credits CASCADE", "credit_applications",
              "manual_payments", "invoices CASCADE"]
)  # fmt: skip
async def test_books_cannot_be_emptied(firm: Firm, table: str) -> None:
    await firm.contract(**OCTOBER)
    await firm.use("2026-10-15 12:00", 1_000)
    await firm.execute(
        "INSERT INTO credits (api_key_prefix, kind, currency, amount_cents, remaining_cents, reason, created_at,"
        " created_by) VALUES ('nw', 'goodwill', 'eur', 100, 100, 'sorry', now(), 'ada')"
    )
    await firm.on("2026-11-01 12:00")
    (row,) = await firm.periods()
    await firm.execute(
        "INSERT INTO manual_payments (invoice_id, amount_cents, currency, method, reference, paid_at, recorded_at,"
        " recorded_by) VALUES (:invoice, 1, 'eur', 'bank_transfer', 'SEPA 1', now(), now(), 'ada')",
        invoice=row["invoice_id"],
    )
    with pytest.raises(IntegrityError, match="not by TRUNCATE either"):
        await firm.execute(f"TRUNCATE {table}")
    assert await firm.stands() == [("2026-10", "issued", 250)]
