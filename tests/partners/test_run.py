"""Each partner's closed months are invoiced once, in order, in its own time zone; a failed one stops nobody."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from jobs.invoices.document import TaxCategory
from tests.conftest import MovedClock
from tests.partners.run_kit import Firm, at
from worker.errors import Refused


@pytest.fixture
def firm(engine: AsyncEngine, clock: MovedClock, tmp_path: Path) -> Firm:
    clock.time = at("2026-10-01 00:00")
    return Firm(engine, clock, tmp_path)


async def test_a_month_becomes_an_invoice(firm: Firm) -> None:
    await firm.contract(contract_start_date=date(2026, 10, 1), tax_percent=19, tax_name="MwSt.", payment_terms="net_15")
    await firm.use("2026-10-05 12:00", 40_000)
    await firm.use("2026-10-06 12:00", 999, billable=False)
    await firm.on("2026-11-01 05:59")
    assert await firm.periods() == [], "usage on its way still counts for some hours"
    await firm.on("2026-11-01 06:05")
    (row,) = await firm.periods()
    assert (row["status"], row["total_cents"], row["billed_cents"]) == ("issued", 11_900, 10_000)
    assert row["billed_usage"] == {"parts": [{"api.request": "40000"}]}
    assert row["contract_ids"] == [1]
    says = await firm.says(row["invoice_number"])
    assert (says.number, says.due_minor, says.due_on) == ("API-202611-0001", 11_900, date(2026, 11, 16))
    (line,) = says.lines
    assert (line.description, line.quantity, line.unit, line.unit_price_minor) == (
        "Requests",
        "40000",
        "requests",
        "0.25",
    )
    assert says.period is not None
    assert says.period.start == datetime(2026, 9, 30, 22, tzinfo=UTC), "the 1st, by the days of the seller in Berlin"
    (invoice,) = await firm.query("SELECT * FROM invoices")
    assert (invoice["own_key"], invoice["api_key_prefix"], invoice["kind"]) == ("partner/nw/2026-10", "nw", "partner")
    await firm.on("2026-11-01 07:05")
    await firm.on("2026-11-20 07:05")
    assert await firm.numbers() == ["API-202611-0001"]
    await firm.work()
    (letter,) = await firm.letters()
    assert (letter["template"], letter["recipient"], letter["status"]) == (
        "partner_invoice",
        "ap@northwind.example",
        "sent",
    )


async def test_nothing_to_charge_takes_no_number(firm: Firm) -> None:
    await firm.contract()
    await firm.use("2026-10-06 12:00", 999, billable=False)
    await firm.on("2026-11-01 07:00")
    assert (await firm.stands())[-1] == ("2026-10", "empty", 0)
    assert await firm.numbers() == []
    assert await firm.letters() == []


async def test_months_missed_in_an_outage_are_caught_up_oldest_first(firm: Firm) -> None:
    await firm.contract(contract_start_date=date(2026, 8, 1), monthly_flat_fee_cents=1_000)
    await firm.contract("other", contract_start_date=date(2026, 8, 1), monthly_flat_fee_cents=2_000)
    for month in (8, 9, 10):
        await firm.use(f"2026-{month:02}-05 12:00", month * 1_000)
    await firm.on("2026-11-03 12:00")
    assert await firm.stands() == [
        ("2026-08", "issued", 3_000),
        ("2026-09", "issued", 3_250),
        ("2026-10", "issued", 3_500),
    ]
    rows = await firm.periods()
    assert [row["invoice_number"] for row in rows] == sorted(row["invoice_number"] for row in rows)
    assert [row["status"] for row in await firm.periods("other")] == ["issued"] * 3
    assert sorted(await firm.numbers()) == [f"API-202611-{number:04}" for number in range(1, 7)]


async def test_the_1st_begins_in_each_partners_own_zone(firm: Firm) -> None:
    zones = {"tokyo": "Asia/Tokyo", "utc": "UTC", "ny": "America/New_York", "kathmandu": "Asia/Kathmandu"}
    for prefix, zone in zones.items():
        await firm.contract(prefix, timezone=zone, contract_start_date=date(2026, 10, 1))
        await firm.use("2026-10-31 16:00", 1_000, prefix=prefix)
    issued: dict[str, str] = {}
    for hour in range(48):
        when = datetime(2026, 10, 31, 20, 5, tzinfo=UTC).timestamp() + hour * 3_600
        firm.clock.time = datetime.fromtimestamp(when, UTC)
        await firm.run()
        for prefix in zones:
            if prefix not in issued and await firm.periods(prefix):
                issued[prefix] = f"{firm.clock.now():%d %H:%M}"
    assert issued == {
        "tokyo": "31 21:05",  # six hours after its midnight
        "kathmandu": "01 01:05",
        "utc": "01 06:05",
        "ny": "01 10:05",
    }
    assert await firm.stands("tokyo") == [("2026-10", "empty", 0)], "by its clock it was November"
    assert await firm.stands("ny") == [("2026-10", "issued", 250)]


async def test_days_on_which_clocks_change_are_whole(firm: Firm) -> None:
    await firm.contract(timezone="Europe/Berlin", contract_start_date=date(2026, 10, 1), monthly_flat_fee_cents=3_100)
    for when in ("2026-09-30 22:00", "2026-10-25 00:30", "2026-10-25 01:30", "2026-10-31 22:59"):
        await firm.use(when, 1_000)
    await firm.use("2026-10-31 23:00", 7_000)
    await firm.use("2026-09-30 21:59", 9_000)
    await firm.on("2026-11-02 00:00")
    assert await firm.stands() == [("2026-10", "issued", 4_100)]


async def test_a_contract_that_begins_changes_and_ends_within_months(firm: Firm) -> None:
    ends: dict[str, Any] = {"contract_start_date": date(2026, 10, 17), "contract_end_date": date(2026, 11, 15)}
    await firm.contract(monthly_flat_fee_cents=3_100, per_1000_requests_cents=100, **ends)
    await firm.contract(
        valid_from=date(2026, 10, 27), monthly_flat_fee_cents=6_200, per_1000_requests_cents=200, **ends
    )
    await firm.use("2026-10-16 12:00", 50_000)
    await firm.use("2026-10-20 12:00", 10_000)
    await firm.use("2026-10-27 00:00", 10_000)
    await firm.use("2026-11-15 23:00", 5_000)
    await firm.use("2026-11-16 00:00", 70_000)
    await firm.on("2026-11-01 12:00")
    (october,) = await firm.periods()
    # 10 of 31 days of 31.00, 5 of 31 days of 62.00, ten times 1.00, ten times 2.00
    assert (october["status"], october["total_cents"]) == ("issued", 1_000 + 1_000 + 1_000 + 2_000)
    says = await firm.says(october["invoice_number"])
    assert [line.details[0] for line in says.lines if line.details and "days" in line.details[0]] == [
        "For 10 of 31 days",
        "For 5 of 31 days",
    ]
    assert "outside_contract" in {one["guard"] for one in october["reasons"]}
    await firm.on("2026-12-01 12:00")
    assert (await firm.stands())[-1] == ("2026-11", "issued", 3_100 + 1_000)
    await firm.on("2027-01-05 12:00")
    assert len(await firm.periods()) == 2, "it has ended"


async def test_who_is_paused_is_caught_up_when_resumed_and_drafts_are_not_billed(firm: Firm) -> None:
    await firm.contract(status="paused", monthly_flat_fee_cents=1_000, contract_start_date=date(2026, 10, 1))
    await firm.contract("plan", status="draft", monthly_flat_fee_cents=1_000)
    await firm.contract("gone", status="ended", monthly_flat_fee_cents=1_000)
    await firm.on("2026-12-01 12:00")
    assert await firm.query("SELECT 1 FROM usage_invoices") == []
    await firm.execute("UPDATE api_partner_contracts SET status = 'active' WHERE api_key_prefix = 'nw'")
    await firm.on("2026-12-01 13:00")
    assert await firm.stands() == [("2026-10", "issued", 1_000), ("2026-11", "issued", 1_000)]


async def test_one_that_fails_stops_nobody_and_is_told_once(firm: Firm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.partners.run.PAGE", 2)
    first: dict[str, Any] = {"contract_start_date": date(2026, 10, 1), "monthly_flat_fee_cents": 1_000}
    await firm.contract("a", **first)
    await firm.contract("b", **first, pricing_model="tiered")  # a tiered contract without tiers
    await firm.contract("c", **first, timezone="Mars/Olympus")
    await firm.contract("d", **first, currency="xyz")
    await firm.contract("e", **first, seller="nobody")
    await firm.contract("f", **first)
    await firm.on("2026-11-01 12:00")
    await firm.on("2026-11-01 13:00")
    stands = {prefix: (await firm.stands(prefix))[0][1] for prefix in "abcdef"}
    assert stands == {"a": "issued", "b": "parked", "c": "parked", "d": "parked", "e": "parked", "f": "issued"}
    assert set(await firm.guards("b")) == {"contract"}
    assert "currency" in await firm.guards("d")
    letters = [row for row in await firm.letters() if row["template"] == "invoice_parked"]
    assert sorted(row["context"]["partner"] for row in letters) == ["b", "c", "d", "e"]
    with pytest.raises(Refused, match="2026-10 of a is invoiced already"):
        await firm.invoice_now("2026-10", "a")


async def test_reverse_charge_terms_and_discount(firm: Firm) -> None:
    await firm.contract(
        contract_start_date=date(2026, 10, 1),
        monthly_flat_fee_cents=10_000,
        reverse_charge=True,
        tax_ids=[{"type": "eu_vat", "value": "ATU12345678"}],
        discount_percent=10,
        payment_terms="immediate",
        billing_cycle="quarterly",
        locale="de",
    )
    await firm.on("2026-12-31 22:00")
    assert await firm.periods() == []
    await firm.on("2027-01-01 06:05")
    (row,) = await firm.periods()
    says = await firm.says(row["invoice_number"])
    assert (says.subtotal_minor, says.discount_minor, says.total_minor) == (30_000, 3_000, 27_000)
    assert says.taxes[0].category is TaxCategory.REVERSE_CHARGE
    assert (says.due_on, says.lines[0].description, says.lines[0].quantity) == (date(2027, 1, 1), "Monatsgebühr", "3")
    assert row["period_end"] == datetime(2027, 1, 1, tzinfo=UTC)
