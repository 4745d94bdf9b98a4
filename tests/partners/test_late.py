"""Usage that came after its month was invoiced is charged once, with a later month, to the cent of the whole."""

from datetime import date
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from jobs.partners.late import CLOSED
from tests.conftest import MovedClock
from tests.partners.run_kit import Firm, at
from worker.errors import Refused

OCTOBER: dict[str, Any] = {"contract_start_date": date(2026, 10, 1), "alarm_factor": 0}
TIERS = [{"up_to": 1_000, "unit_price_cents": "2"}, {"up_to": None, "unit_price_cents": "1"}]


@pytest.fixture
def firm(engine: AsyncEngine, clock: MovedClock, tmp_path: Path) -> Firm:
    clock.time = at("2026-10-01 00:00")
    return Firm(engine, clock, tmp_path)


async def billed(firm: Firm) -> list[int | None]:
    return [row["billed_cents"] for row in await firm.periods()]


async def test_late_usage_is_a_line_of_the_next_invoice(firm: Firm) -> None:
    await firm.contract(**OCTOBER, pricing_model="tiered", tiers=TIERS)
    await firm.use("2026-10-05 12:00", 999)
    await firm.on("2026-11-01 12:00")
    assert await firm.stands() == [("2026-10", "issued", 1_998)]
    await firm.use("2026-10-31 23:59", 3)  # over the edge of the tier: one for 2, two for 1
    await firm.use("2026-11-02 12:00", 100)
    await firm.on("2026-12-01 12:00")
    assert (await firm.stands())[1] == ("2026-11", "issued", 200 + 4)
    assert await billed(firm) == [2_002, 200]
    says = await firm.says("API-202612-0002")
    line = says.lines[-1]
    assert (line.description, line.amount_minor) == ("Usage of October 2026 that was reported late", 4)
    assert line.details == ("With all usage known now: €20.02; charged before: €19.98",)
    await firm.on("2027-01-01 12:00")
    assert (await firm.stands())[2] == ("2026-12", "empty", 0), "it is charged once"
    (october, *_) = await firm.periods()
    assert october["billed_usage"] == {"parts": [{"api.request": "1002"}]}
    assert october["total_cents"] == 1_998, "what was issued stays as it was"


async def test_late_usage_of_several_months_and_of_an_empty_one(firm: Firm) -> None:
    await firm.contract(**OCTOBER)
    await firm.on("2026-12-01 12:00")
    assert [row[1] for row in await firm.stands()] == ["empty", "empty"]
    await firm.use("2026-10-05 12:00", 1_000)
    await firm.use("2026-11-05 12:00", 2_000)
    await firm.on("2027-01-01 12:00")
    assert (await firm.stands())[-1] == ("2026-12", "issued", 250 + 500)
    assert await billed(firm) == [250, 500, 0]
    await firm.use("2026-10-06 12:00", 4_000)
    await firm.on("2027-02-01 12:00")
    assert (await firm.stands())[-1] == ("2027-01", "issued", 1_000)
    assert await billed(firm) == [1_250, 500, 0, 0]


async def test_what_was_charged_too_much_is_credited_with_its_tax(firm: Firm) -> None:
    cliff = [{"up_to": 1_000, "unit_price_cents": "2"}, {"up_to": None, "unit_price_cents": "1"}]
    await firm.contract(
        **OCTOBER, pricing_model="tiered", tiers=cliff, tier_mode="volume", tax_percent=20, discount_percent=10
    )
    await firm.use("2026-10-05 12:00", 1_000)
    await firm.on("2026-11-01 12:00")
    assert await firm.stands() == [("2026-10", "issued", 2_160)]
    await firm.use("2026-10-06 12:00", 1)  # all 1,001 cost 1 now: 999 less, 1,079 with discount and tax
    await firm.use("2026-11-06 12:00", 500)
    before = await firm.preview("2026-11")
    await firm.on("2026-12-01 12:00")
    (_, november) = await firm.periods()
    says = await firm.says(november["invoice_number"])
    assert (says.total_minor, says.credits[0].minor, says.due_minor) == (1_080, 1_079, 1)
    assert before.says is not None
    assert [each.minor for each in before.says.credits] == [1_079], "a preview shows the credit that the invoice brings"
    (credit,) = await firm.query("SELECT * FROM credits")
    assert (credit["kind"], credit["amount_cents"], credit["remaining_cents"]) == ("refund", 1_079, 0)
    assert await billed(firm) == [1_001, 1_000]
    await firm.on("2027-01-01 12:00")
    assert len(await firm.query("SELECT 1 FROM credits")) == 1


async def test_what_a_fixed_fee_covers_changes_nothing_but_what_is_known(firm: Firm) -> None:
    await firm.contract(**OCTOBER, pricing_model="flat", monthly_flat_fee_cents=1_000)
    await firm.on("2026-11-01 12:00")
    await firm.use("2026-10-06 12:00", 1)
    await firm.on("2026-12-01 12:00")
    assert [row[2] for row in await firm.stands()] == [1_000, 1_000]
    (october, _) = await firm.periods()
    assert october["billed_usage"] == {"parts": [{"api.request": "1"}]}


async def test_late_usage_keeps_the_prices_of_its_own_month(firm: Firm) -> None:
    await firm.contract(**OCTOBER)
    await firm.contract(**OCTOBER, valid_from=date(2026, 11, 1), per_1000_requests_cents=9_000)
    await firm.use("2026-10-05 12:00", 1_000)
    await firm.on("2026-11-01 12:00")
    await firm.use("2026-10-06 12:00", 1_000)
    await firm.on("2026-12-01 12:00")
    assert (await firm.stands())[-1] == ("2026-11", "issued", 250)


async def test_in_another_currency_it_is_told_and_not_charged(firm: Firm) -> None:
    await firm.contract(**OCTOBER)
    await firm.contract(**OCTOBER, valid_from=date(2026, 11, 1), currency="usd", monthly_flat_fee_cents=100)
    await firm.use("2026-10-05 12:00", 1_000)
    await firm.on("2026-11-01 12:00")
    await firm.use("2026-10-06 12:00", 1_000)
    await firm.on("2026-12-01 12:00")
    (_, november) = await firm.periods()
    assert (november["total_cents"], november["currency"]) == (100, "usd")
    assert any("was in EUR" in one["why"] for one in november["reasons"])


async def test_void_and_reissue_charge_late_usage_once(firm: Firm) -> None:
    await firm.contract(**OCTOBER)
    await firm.use("2026-10-05 12:00", 1_000)
    await firm.on("2026-11-01 12:00")
    await firm.use("2026-10-06 12:00", 2_000)
    await firm.use("2026-11-06 12:00", 4_000)
    await firm.on("2026-12-01 12:00")
    assert [row[2] for row in await firm.stands()] == [250, 1_500]
    with pytest.raises(Refused, match="API-202612-0002 charges for usage of the same period that came late"):
        await firm.void("2026-10")
    assert await firm.void("2026-11") == ("2026-11", "issued")
    assert await billed(firm) == [250, 1_000]
    await firm.on("2026-12-01 13:00")
    assert [row[1] for row in await firm.stands()] == ["issued", "void"], "no schedule does it again by itself"
    done = await firm.invoice_now("2026-11")
    assert done.settled.status == "issued"
    assert await firm.numbers() == ["API-202611-0001", "API-202612-0002", "API-202612-0003"]
    assert await firm.stands() == [("2026-10", "issued", 250), ("2026-11", "void", 1_500), ("2026-11", "issued", 1_500)]
    await firm.void("2026-11")
    await firm.void("2026-10")
    assert (await firm.invoice_now("2026-10")).settled.prepared.total == 750
    assert (await firm.invoice_now("2026-11")).settled.prepared.total == 1_000, "October has it all now"


async def test_only_the_last_periods_are_looked_at_again(firm: Firm) -> None:
    await firm.contract(**OCTOBER)
    await firm.use("2026-10-05 12:00", 1_000)
    for month in range(CLOSED + 1):
        year, number = divmod(10 + month, 12)
        await firm.on(f"{2026 + year}-{number + 1:02}-02 12:00")
    await firm.use("2026-10-06 12:00", 8_000)
    await firm.use("2026-11-06 12:00", 4_000)
    await firm.on("2027-12-01 12:00")
    assert (await firm.stands())[-1] == ("2027-11", "issued", 1_000)
