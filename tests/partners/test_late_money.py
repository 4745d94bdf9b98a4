"""What late usage makes cheaper is given back once, never more than was charged, and goes with what brought it."""

import asyncio
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from jobs.invoices import credit_note
from jobs.partners import release
from jobs.partners.after_end import partner_late_usage, unbilled
from jobs.partners.explain import explained
from tests.conftest import MovedClock
from tests.partners.run_kit import ADA, Firm, at
from tests.worker.kit import until
from worker.errors import Refused

CLIFF = [{"up_to": 1_000, "unit_price_cents": "2"}, {"up_to": None, "unit_price_cents": "1"}]
VOLUME: dict[str, Any] = {
    "contract_start_date": date(2026, 10, 1),
    "alarm_factor": 0,
    "pricing_model": "tiered",
    "tiers": CLIFF,
    "tier_mode": "volume",
}
"""1,000 units cost 20.00, and 1,001 cost 10.01."""


@pytest.fixture
def firm(engine: AsyncEngine, clock: MovedClock, tmp_path: Path) -> Firm:
    clock.time = at("2026-10-01 00:00")
    return Firm(engine, clock, tmp_path)


async def owed(firm: Firm) -> int:
    """What the partner still has to pay, less the credits that are left (minor units)."""
    (row,) = await firm.query(
        "SELECT (SELECT coalesce(sum(amount_remaining_cents), 0)::int FROM invoices WHERE status = 'open')"
        " - (SELECT coalesce(sum(remaining_cents), 0)::int FROM credits WHERE voided_at IS NULL) AS owed"
    )
    left: int = row["owed"]
    return left


async def after_end(firm: Firm) -> list[tuple[str, int]]:
    """What no later invoice will see to."""
    async with firm.deps.tx() as tx:
        return [(one["name"], one["total_cents"]) for one in await unbilled(tx)]


async def credited(firm: Firm, month: str, amount: int | None = None) -> None:
    """A credit note about the invoice of a month."""
    (found,) = [row for row in await firm.periods() if f"{row['period_start']:%Y-%m}" == month]
    async with firm.deps.tx() as tx:
        await credit_note.credit(tx, found["invoice_id"], firm.sellers, reason="an outage", by=ADA, amount=amount)


async def october_became_cheaper(firm: Firm, november: int = 0) -> None:
    """1,000 units were invoiced in time, and one came late."""
    await firm.contract(**VOLUME)
    await firm.use("2026-10-05 12:00", 1_000)
    await firm.on("2026-11-01 12:00")
    await firm.use("2026-10-06 12:00", 1)
    if november:
        await firm.use("2026-11-06 12:00", november)
    await firm.on("2026-12-01 12:00")
    assert await owed(firm) == 1_001 + 2 * november


@pytest.mark.parametrize("november", [0, 100, 500])
async def test_void_takes_the_credit_back_that_came_with_it(firm: Firm, november: int) -> None:
    await october_became_cheaper(firm, november)
    later = "API-202612-0002" if november else "2026-11"
    with pytest.raises(Refused, match=f"{later} charges for usage of the same period that came late, or gave back"):
        await firm.void("2026-10")
    await firm.void("2026-11")
    assert await owed(firm) == 2_000, "October is charged as it was at first"
    assert (await firm.periods())[0]["billed_cents"] == 2_000
    await firm.void("2026-10")
    assert (await firm.invoice_now("2026-10")).settled.prepared.total == 1_001
    await firm.invoice_now("2026-11")
    assert await owed(firm) == 1_001 + 2 * november
    (credit,) = await firm.query("SELECT * FROM credits")
    assert credit["voided_at"] is not None
    trail = await firm.query("SELECT 1 FROM audit_log WHERE action = 'credits.void'")
    assert len(trail) == 1


async def test_void_of_the_later_invoice_alone_gives_the_credit_anew(firm: Firm) -> None:
    await october_became_cheaper(firm, 500)
    (_, november) = await firm.periods()
    async with firm.deps.tx() as tx:
        assert (await explained(tx, november["invoice_id"])).differences == []
    (one,) = november["input"]["adjustments"]
    (credit,) = await firm.query("SELECT id FROM credits")
    assert (one["credit"], one["credit_id"], november["input"]["credits"][0]["id"]) == (999, credit["id"], credit["id"])
    await firm.void("2026-11")
    await firm.invoice_now("2026-11")
    assert await owed(firm) == 1_001 + 1_000
    assert [row["billed_cents"] for row in await firm.periods()] == [1_001, 1_000, 1_000]


async def test_no_void_while_the_credit_paid_for_another_invoice(firm: Firm) -> None:
    await october_became_cheaper(firm, 100)  # 9.99, and only 2.00 of it could be spent on November
    await firm.use("2026-12-06 12:00", 100)
    await firm.on("2027-01-01 12:00")
    with pytest.raises(Refused, match=r"paid for API-202701-0001 \(2\.00 EUR\): void that first"):
        await firm.void("2026-11")
    assert await owed(firm) == 1_001 + 200 + 200
    await firm.void("2026-12")
    await firm.void("2026-11")
    assert await owed(firm) == 2_000


async def test_no_void_while_a_later_invoice_gave_back_what_it_charged(firm: Firm) -> None:
    await firm.contract(**VOLUME)
    await firm.use("2026-10-05 12:00", 100)
    await firm.on("2026-11-01 12:00")
    await firm.use("2026-10-06 12:00", 900)
    await firm.on("2026-12-01 12:00")  # 18.00 more
    await firm.use("2026-10-07 12:00", 1)
    await firm.on("2027-01-01 12:00")  # 9.99 less
    with pytest.raises(Refused, match="2026-12 charges"):
        await firm.void("2026-11")
    await firm.void("2026-12")
    await firm.void("2026-11")
    assert [row["billed_cents"] for row in await firm.periods()] == [200, 0, 0]
    assert await owed(firm) == 200


@pytest.mark.parametrize(("noted", "back"), [(None, 0), (1_500, 500), (500, 999)])
async def test_never_more_is_given_back_than_credit_notes_left(firm: Firm, noted: int | None, back: int) -> None:
    await firm.contract(**VOLUME)
    await firm.use("2026-10-05 12:00", 1_000)
    await firm.on("2026-11-01 12:00")
    await credited(firm, "2026-10", noted)
    before = await owed(firm)
    await firm.use("2026-10-06 12:00", 1)
    await firm.on("2026-12-01 12:00")
    assert before - await owed(firm) == back
    (_, november) = await firm.periods()
    given = {0: "0.00", 500: "5.00"}
    if back in given:
        assert [one["why"] for one in november["reasons"]] == [
            (
                "2026-10 comes to 9.99 EUR less with the usage that came late;"
                f" {given[back]} EUR of it is credited: the rest was given back before (credit notes, credits)"
            )
        ]
    else:
        assert november["reasons"] is None
    await firm.on("2027-01-01 12:00")
    assert before - await owed(firm) == back, "once"


async def test_what_bore_a_discount_comes_back_with_it(firm: Firm) -> None:
    await firm.contract(**VOLUME)
    await firm.contract(**VOLUME, valid_from=date(2026, 11, 1), discount_percent=90)
    await firm.contract(**VOLUME, valid_from=date(2026, 12, 1))
    await firm.use("2026-10-05 12:00", 100)
    await firm.on("2026-11-01 12:00")
    await firm.use("2026-10-06 12:00", 900)  # 18.00 more, of which 1.80 is to be paid
    await firm.on("2026-12-01 12:00")
    assert await owed(firm) == 200 + 180
    await firm.use("2026-10-07 12:00", 1)  # 9.99 less, and so much of it had cost a tenth
    await firm.on("2027-01-01 12:00")
    assert await owed(firm) == 200 + 80
    (row,) = await firm.query("SELECT input -> 'adjustments' -> 0 AS one FROM usage_invoices WHERE status = 'empty'")
    (_, november, _) = await firm.periods()
    assert row["one"]["took"] == [{"usage_invoice": november["id"], "net": 999, "gross": 100}]


async def test_what_comes_back_of_several_invoices_is_what_each_charged(firm: Firm) -> None:
    await firm.contract(**VOLUME, tax_percent=20)
    await firm.contract(**VOLUME, valid_from=date(2026, 11, 1), tax_percent=10)
    await firm.use("2026-10-05 12:00", 900)
    await firm.on("2026-11-01 12:00")
    await firm.use("2026-10-06 12:00", 100)  # 2.00 more, with 10 % tax
    await firm.on("2026-12-01 12:00")
    assert await owed(firm) == 2_160 + 220
    await firm.use("2026-10-07 12:00", 1)  # 9.99 less: 2.00 with 10 %, 7.99 with 20 %
    await firm.on("2027-01-01 12:00")
    assert await owed(firm) == 2_160 + 220 - (220 + 959)


async def test_late_usage_of_an_ended_contract_is_told(firm: Firm) -> None:
    await firm.contract(
        contract_start_date=date(2026, 10, 1), contract_end_date=date(2026, 11, 30), status="ended", alarm_factor=0
    )
    await firm.use("2026-10-05 12:00", 1_000)
    await firm.on("2026-11-01 12:00")
    await firm.use("2026-10-06 12:00", 2_000)
    assert await after_end(firm) == [], "November's invoice will see to it"
    await firm.on("2026-12-01 12:00")
    assert await after_end(firm) == []
    await firm.use("2026-11-30 12:00", 100_000)
    await firm.use("2026-12-01 12:00", 100_000)  # after its last day: never charged
    await firm.on("2027-01-01 12:00")
    assert await after_end(firm) == [("2026-11", 25_000)]
    await firm.void("2026-11")
    await firm.invoice_now("2026-11")
    assert await after_end(firm) == []
    assert await owed(firm) == 250 + 500 + 25_000


async def test_late_usage_of_a_contract_that_goes_on_is_not(firm: Firm) -> None:
    await firm.contract(contract_start_date=date(2026, 10, 1), alarm_factor=0)
    await firm.on("2026-11-01 12:00")
    await firm.use("2026-10-06 12:00", 2_000)
    assert await after_end(firm) == []


async def test_a_credit_note_takes_back_what_late_usage_left(firm: Firm) -> None:
    await october_became_cheaper(firm)  # 9.99 of 20.00 came back as a credit
    with pytest.raises(Refused, match=r"10\.02 EUR is more than the 10\.01 EUR left to credit"):
        await credited(firm, "2026-10", 1_002)
    await credited(firm, "2026-10")
    assert await owed(firm) == 0
    with pytest.raises(Refused, match="all of it was credited before"):
        await credited(firm, "2026-10")


async def test_a_credit_note_and_late_usage_never_give_the_same_money_back(firm: Firm) -> None:
    await firm.contract(**VOLUME)
    await firm.use("2026-10-05 12:00", 1_000)
    await firm.on("2026-11-01 12:00")
    await firm.use("2026-10-06 12:00", 1)
    firm.clock.time = at("2026-12-01 12:00")
    begin = asyncio.Event()

    async def noted() -> None:
        await begin.wait()
        await credited(firm, "2026-10")

    note = asyncio.create_task(noted())
    async with firm.deps.tx() as tx:
        await release.invoice_now(tx, "nw", "2026-11", firm.settings, ADA)  # 9.99 come back as a credit
        begin.set()
        await until(lambda: _somebody_waits(firm), within=1.5, why="the credit note does not wait")
    await note
    assert await owed(firm) == 0, "the rest of the invoice, and no more"


async def _somebody_waits(firm: Firm) -> bool:
    return bool(await firm.query("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"))


async def test_what_became_cheaper_is_told_line_by_line(firm: Firm) -> None:
    await firm.contract(**VOLUME, tax_percent=20, discount_percent=10)
    await firm.use("2026-10-05 12:00", 1_000)
    await firm.on("2026-11-01 12:00")
    await firm.use("2026-10-06 12:00", 1)
    await firm.use("2026-11-06 12:00", 500)
    before = await firm.preview("2026-11")
    await firm.on("2026-12-01 12:00")
    (_, november) = await firm.periods()
    says = await firm.says(november["invoice_number"])
    (note,) = says.notes
    assert note == (
        "Usage of October 2026 that was reported late. With all usage known now: €10.01; charged before: €20.00."
        " Credit: €10.79"
    )
    assert [each.name for each in says.credits] == ["Credit: Usage of October 2026 that was reported late"]
    async with firm.deps.tx() as tx:
        found = await explained(tx, november["invoice_id"])
    assert found.differences == []
    told = found.late["2026-10"]
    assert told[-3:] == [
        "10.01 EUR with all that is known now - 20.00 EUR before = -9.99 EUR",
        "9.99 EUR of it was charged by API-202611-0001: 10.79 EUR with the discounts and taxes of that invoice",
        "given back as credit 1: 10.79 EUR",
    ]
    assert told[0].endswith("= 10.01 EUR"), "what it should have been"
    assert list(before.late["2026-10"])[:-1] == told[:-1], "the preview tells it before"
    (credit,) = await firm.query("SELECT reason FROM credits")
    assert credit["reason"] == (
        "2026-10 comes to 10.01 EUR with the usage that was reported late, and 20.00 EUR was charged"
    )


async def test_what_became_cheaper_is_told_where_nothing_else_was_used(firm: Firm) -> None:
    await october_became_cheaper(firm)
    seen = await firm.preview("2026-11")
    assert list(seen.late["2026-10"])[-1] == "given back as credit 1: 9.99 EUR"


async def test_operators_hear_once_of_usage_that_no_invoice_will_charge(firm: Firm) -> None:
    await firm.contract(
        contract_start_date=date(2026, 10, 1), contract_end_date=date(2026, 10, 31), status="ended", alarm_factor=0
    )
    await firm.use("2026-10-05 12:00", 1_000)
    await firm.on("2026-11-01 12:00")

    async def told() -> list[dict[str, Any]]:
        async with firm.deps.tx() as tx:
            await tx.stage(partner_late_usage.call(period=firm.clock.now()))
        await firm.batch()
        return [row["context"] for row in await firm.letters() if row["template"] == "invoice_parked"]

    assert await told() == []
    await firm.use("2026-10-06 12:00", 2_000)
    for _ in range(2):
        (letter,) = await told()
        assert (letter["partner"], letter["month"], letter["late"]) == ("nw", "2026-10", True)
        assert "5.00 EUR were not charged" in letter["reasons"][0]
        assert letter["charge"] == (
            "billing partners void nw --period 2026-10 --why '…' && billing partners invoice nw --period 2026-10"
        )
        firm.clock.move(timedelta(days=1))
    await firm.use("2026-10-07 12:00", 1_000)
    assert len(await told()) == 2, "more of it is told again"
