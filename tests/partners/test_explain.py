"""Years later an invoice comes to the same cents, whatever became of contract and code; a changed one is found out."""

import dataclasses
import json
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from db import usage_invoices
from jobs.invoices.document import Document
from jobs.partners import contracts, freeze
from jobs.partners.explain import Explained, explained, reckon
from tests.conftest import MovedClock
from tests.partners.run_kit import Firm, at
from worker.errors import Refused


@pytest.fixture
def firm(engine: AsyncEngine, clock: MovedClock, tmp_path: Path) -> Firm:
    clock.time = at("2026-10-01 00:00")
    return Firm(engine, clock, tmp_path)


async def issued(firm: Firm) -> int:
    """An invoice with nearly everything; its id."""
    first: dict[str, Any] = {"contract_start_date": date(2026, 9, 10), "tax_percent": "19", "discount_percent": "12.5"}
    tiers = [
        {"up_to": 1_000, "unit_price_cents": "1.25", "flat_fee_cents": 100},
        {"up_to": None, "unit_price_cents": 1},
    ]
    await firm.contract(**first, pricing_model="tiered", tiers=tiers, included_units=100, monthly_flat_fee_cents=4_900)
    await firm.contract(
        **first, valid_from=date(2026, 10, 12), pricing_model="hybrid", per_deed_price_cents=99, package_rounding="up"
    )
    await firm.use("2026-09-12 12:00", 700)
    await firm.on("2026-10-01 12:00")
    await firm.use("2026-09-13 12:00", "800.5")
    await firm.use("2026-10-05 12:00", 1_234)
    await firm.use("2026-10-20 12:00", 2_001)
    await firm.use("2026-10-21 12:00", 3, "deed.created")
    await firm.execute(
        "INSERT INTO credits (api_key_prefix, kind, currency, amount_cents, remaining_cents, reason, created_at,"
        " created_by) VALUES ('nw', 'goodwill', 'eur', 500, 500, 'sorry', now(), 'ada')"
    )
    await firm.on("2026-11-01 12:00")
    (row,) = await firm.query("SELECT invoice_id FROM usage_invoices ORDER BY period_start DESC LIMIT 1")
    found: int = row["invoice_id"]
    return found


async def told(firm: Firm, invoice_id: int) -> Explained:
    async with firm.deps.tx() as tx:
        return await explained(tx, invoice_id)


async def test_each_line_is_told_and_comes_to_what_was_issued(firm: Firm) -> None:
    found = await told(firm, await issued(firm))
    assert found.differences == []
    assert sum(line.amount for line in found.lines) == found.says.subtotal_minor
    assert [line.kind for line in found.lines].count("tier") >= 2
    assert "2026-09" in found.late
    assert found.sums[-1].startswith("= due ")
    assert found.json()["same"] is True
    json.dumps(found.json())


async def test_after_everything_has_changed_it_comes_to_the_same_cents(
    firm: Firm, monkeypatch: pytest.MonkeyPatch
) -> None:
    invoice_id = await issued(firm)
    before = await told(firm, invoice_id)
    first: dict[str, Any] = {"contract_start_date": date(2026, 9, 10), "valid_from": date(2026, 12, 1)}
    await firm.contract(**first, currency="jpy", pricing_model="flat", monthly_flat_fee_cents=7)
    await firm.execute("UPDATE api_partner_contracts SET company = 'Renamed AG', locale = 'ja', billing_email = NULL")
    await firm.use("2026-10-22 12:00", 99_999)
    (firm.folder / "sellers.toml").write_text('[sellers.other]\nname = "Other AG"\nlocale = "fr"\n')
    monkeypatch.setattr(contracts, "terms", None)
    monkeypatch.setattr(freeze, "TERMS", {})
    monkeypatch.setattr("jobs.partners.late.CLOSED", 0)
    monkeypatch.setattr("jobs.rules.billing_periods.MONTHS", {})
    firm.clock.time = at("2036-01-01 12:00")
    after = await told(firm, invoice_id)
    assert (after.differences, after.lines, after.sums) == ([], before.lines, before.sums)


async def test_what_was_changed_is_found_out(firm: Firm) -> None:
    invoice_id = await issued(firm)
    async with firm.engine.connect() as conn:
        row = await usage_invoices.of_invoice(conn, invoice_id)
    assert row is not None
    says = (await told(firm, invoice_id)).says
    changed: Any = json.loads(json.dumps(row.input))
    changed["parts"][0]["usage"]["api.request"] = "1235"
    found = reckon(dataclasses.replace(row, input=changed), says).differences
    assert found[0].startswith("what was frozen was changed: its SHA-256 is ")
    assert any("subtotal comes to" in line for line in found)
    other: Document = msgspec.structs.replace(says, total_minor=says.total_minor + 1)
    assert len(reckon(row, other).differences) == 1
    late: Any = json.loads(json.dumps(row.input))
    late["adjustments"][0]["now"] += 1
    assert any("2026-09 comes to" in line for line in reckon(dataclasses.replace(row, input=late), says).differences)


async def test_the_database_keeps_what_was_frozen(firm: Firm) -> None:
    invoice_id = await issued(firm)
    with pytest.raises(Exception, match="what was invoiced is neither changed nor removed"):
        await firm.execute("UPDATE usage_invoices SET input = '{}' WHERE invoice_id = :id", id=invoice_id)
    with pytest.raises(Exception, match="invoices were issued by these terms"):
        await firm.execute("UPDATE api_partner_contracts SET monthly_flat_fee_cents = 1")


async def test_others_are_refused(firm: Firm) -> None:
    by_hand = await firm.issue()
    with pytest.raises(Refused, match="is for nobody's usage"):
        await told(firm, by_hand.invoice_id)


def test_units_are_always_written_alike() -> None:
    assert freeze.plain_units({"b": Decimal("1000.000000"), "a": Decimal("0.500000"), "c": Decimal("0.000000")}) == {
        "a": Decimal("0.5"),
        "b": Decimal(1000),
    }
    assert str(freeze.plain_units({"b": Decimal("1E+3")})["b"]) == "1000"
