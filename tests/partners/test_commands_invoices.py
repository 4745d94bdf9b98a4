"""`billing partners preview|invoice|parked|release|void` and `billing invoices explain`, as an operator types them."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from db.usage_invoices import UsageRow
from jobs.partners.seen import mark
from tests.partners.conftest import Typed
from tests.partners.run_kit import Firm


async def read(typed: Typed, *words: str, code: int = 0) -> Any:
    return json.loads((await typed(*words, "--json", code=code)).stdout)


async def test_preview_invoice_explain_void_and_anew(firm: Firm, typed: Typed, tmp_path: Path) -> None:
    await firm.contract(contract_start_date=date(2026, 10, 1), monthly_flat_fee_cents=4_900, tax_percent=19)
    await firm.use("2026-10-05 12:00", 12_345)
    shown = (await typed("partners", "preview", "nw", "--period", "2026-10")).stdout
    assert "12,345 requests ÷ 1,000 \N{MULTIPLICATION SIGN} 2.50 EUR = 30.86 EUR" in shown
    assert "nothing was issued" in shown
    seen = await read(typed, "partners", "preview", "nw", "--period", "2026-10")
    assert (seen["document"]["total_minor"], seen["would_be_parked"], seen["running"]) == (9_503, False, False)
    pdf = tmp_path / "draft.pdf"
    await typed("partners", "preview", "nw", "--period", "2026-10", "--pdf", str(pdf))
    assert pdf.read_bytes().startswith(b"%PDF")
    assert (await read(typed, "partners", "preview", "nw"))["period"] == "2026-11"
    dry = await read(typed, "partners", "invoice", "nw", "--period", "2026-10", "--dry-run")
    assert (dry["status"], dry["number"], dry["total"]) == ("issued", None, 9_503)
    assert await firm.numbers() == []
    assert "would be issued" in (await typed("partners", "invoice", "nw", "--period", "2026-10", "--dry-run")).stdout
    made = (await typed("partners", "invoice", "nw", "--period", "2026-10", "--who", "ada")).stdout
    assert "2026-10 of nw is issued as API-202611-0001, over 95.03 EUR" in made
    again = await typed("partners", "invoice", "nw", "--period", "2026-10", code=1)
    assert "is invoiced already" in again.output
    assert "it is issued already" in (await typed("partners", "preview", "nw", "--period", "2026-10")).stdout
    told = (await typed("invoices", "explain", "API-202611-0001")).stdout
    assert "49.00 EUR a month = 49.00 EUR" in told
    assert "it comes to the very amounts that were issued" in told
    explained = await read(typed, "invoices", "explain", "partner/nw/2026-10")
    assert (explained["same"], explained["sums"]["total"]) == (True, 9_503)
    assert (await typed("partners", "void", "nw", "--period", "2026-10", code=2)).output.startswith("--why is missing")
    dropped = await typed("partners", "void", "nw", "--period", "2026-10", "--why", "wrong price", "--yes")
    assert "which was issued, is void" in dropped.stdout
    await typed("partners", "invoice", "nw", "--period", "2026-10")
    assert await firm.numbers() == ["API-202611-0001", "API-202611-0002"]
    audit = await firm.query("SELECT action, who FROM audit_log WHERE target = 'nw' ORDER BY id")
    assert [row["action"] for row in audit] == ["partners.invoice", "partners.void", "partners.invoice"]
    assert audit[0]["who"] == "ada"


async def test_parked_tells_of_usage_after_the_last_invoice(firm: Firm, typed: Typed) -> None:
    await firm.contract(contract_start_date=date(2026, 10, 1), contract_end_date=date(2026, 10, 31), status="ended")
    await firm.run()
    await firm.use("2026-10-05 12:00", 1_000)
    (row,) = await read(typed, "partners", "parked", "nw")
    assert (row["status"], row["name"], row["total_cents"]) == ("late_after_end", "2026-10", 250)
    shown = (await typed("partners", "parked")).stdout
    assert "late_after_end" in shown
    assert "2.50 EUR" in shown


async def test_parked_and_released(firm: Firm, typed: Typed) -> None:
    assert "no invoice waits" in (await typed("partners", "parked")).stdout
    await firm.contract(contract_start_date=date(2026, 10, 1), included_units=9_000)
    await firm.use("2026-10-05 12:00", 1_000)
    made = await typed("partners", "invoice", "nw", "--period", "2026-10", code=1)
    assert "2026-10 of nw is parked" in made.stdout
    assert "zero: the total is 0 although there is usage" in made.stdout
    assert "2026-10" in (await typed("partners", "parked")).stdout
    (row,) = await read(typed, "partners", "parked", "nw")
    assert (row["api_key_prefix"], row["name"], row["reasons"][0]["guard"]) == ("nw", "2026-10", "zero")
    await firm.use("2026-10-06 12:00", 10_000)
    dry = await read(typed, "partners", "release", "nw", "--period", "2026-10", "--why", "real", "--dry-run")
    assert (dry["status"], dry["differs"], dry["parked_total"], dry["total"]) == ("issued", True, 0, 500)
    done = (await typed("partners", "release", "nw", "--period", "2026-10", "--why", "real", "--yes")).stdout
    assert "it was 0.00 EUR when it was parked, and comes to 5.00 EUR now" in done
    assert await read(typed, "partners", "parked") == []
    await typed("partners", "release", "nw", "--period", "2026-10", "--why", "real", code=1)


async def test_a_person_is_shown_why_it_waits_and_decides_on_that(
    firm: Firm, typed: Typed, monkeypatch: pytest.MonkeyPatch
) -> None:
    await firm.contract(contract_start_date=date(2026, 10, 1), included_units=100_000)
    await firm.use("2026-10-05 12:00", 5)
    await typed("partners", "invoice", "nw", "--period", "2026-10", code=1)
    release = ("partners", "release", "nw", "--period", "2026-10", "--why", "it was a trial")
    monkeypatch.setattr("intake.commands.render.is_person", lambda: True)
    asked = (await typed(*release, code=1)).output  # nobody answers
    assert "it waits over 0.00 EUR:\nzero: the total is 0 although there is usage" in asked
    assert asked.index("zero: ") < asked.index("issue 2026-10 of nw?")

    def parked_anew_meanwhile(row: UsageRow) -> str:
        return mark(row.id, [], row.total_cents, row.currency)

    def agreed(question: str, *, yes: bool) -> bool:
        return not yes and question == "issue 2026-10 of nw?"

    monkeypatch.setattr("intake.commands.render.confirmed", agreed)
    monkeypatch.setattr("intake.commands.partners_invoices.waits_page", parked_anew_meanwhile)
    assert "was parked anew since you looked, because the total is 0" in (await typed(*release, code=1)).output
    assert await firm.numbers() == []


async def test_what_cannot_be_is_said(firm: Firm, typed: Typed) -> None:
    assert "there is no contract with nw" in (await typed("partners", "preview", "nw", code=1)).output
    await firm.contract(contract_start_date=date(2026, 10, 1), currency="xyz")
    broken = await typed("partners", "preview", "nw", code=1)
    assert "currency: 'xyz' is no currency" in broken.output
    await firm.execute("UPDATE api_partner_contracts SET currency = 'eur'")
    for what in ("preview", "invoice", "release", "void"):
        why = ("--why", "x") if what in {"release", "void"} else ()
        refused = (await typed("partners", what, "nw", "--period", "2026-13", *why, code=2)).output
        assert refused == "--period: '2026-13' is no period: write its month, such as 2026-10\n"
    assert (await typed("invoices", "explain", "API-1", code=1)).output
