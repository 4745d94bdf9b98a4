"""`billing partners`: people at a terminal agree with partners, and are told all that is wrong at once."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from typer.testing import CliRunner, Result

from intake.cli import build
from jobs.partners.contract_words import money, price, standing
from jobs.partners.contracts import read
from tests.events.kit import rows
from tests.partners.contract_kit import PLAIN, Json

Billing = Callable[..., Awaitable[Result]]
ADD = (
    "add",
    "nw_live",
    "--company",
    "Northwind",
    "--model",
    "per_request",
    "--per-1000",
    "250",
    "--start",
    "2026-01-01",
)


@pytest.fixture
def billing(monkeypatch: pytest.MonkeyPatch, database_url: str, tmp_path: Path) -> Billing:
    """Runs `billing partners …` on this test's database, on 21 November 2026."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("BILLING_HOME", str(tmp_path))
    clock = tmp_path / "clock"
    clock.write_text(str(datetime(2026, 11, 21, 12, tzinfo=UTC).timestamp()))
    monkeypatch.setenv("BILLING_CLOCK_FILE", str(clock))

    async def run(*words: str) -> Result:
        return await asyncio.to_thread(CliRunner().invoke, build("partners"), ["partners", *words])

    return run


async def told(billing: Billing, *words: str) -> Any:
    result = await billing(*words, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


async def test_a_contract_from_its_first_day_to_its_last(billing: Billing, engine: AsyncEngine) -> None:
    assert "billing partners add --help" in (await billing("list")).stdout
    tried = await billing(*ADD, "--dry-run")
    assert (tried.exit_code, "nothing was changed" in tried.stdout) == (0, True)
    assert await told(billing, "list") == []
    made = await billing(*ADD, "--currency", "eur", "--fee", "49 EUR", "--included", "1000", "--why", "signed")
    assert made.stdout == (
        "nw_live (Northwind) from 2026-01-01: €49.00 a month, 1,000 requests included, then €2.50 per 1,000 requests;"
        " invoiced monthly, due within 30 days\n"
    )
    (row,) = await told(billing, "list")
    assert (row["next_invoice_on"], row["next_period"], row["wrong"]) == ("2026-02-01", "2026-01", [])
    changed = await told(billing, "change", "nw_live", "--from", "2026-12-01", "--per-1000", "2.20 EUR", "--who", "ada")
    assert changed["changed"] == {
        "per_1000_requests_cents": [250, 220], "valid_from": ["2026-01-01", "2026-12-01"]
    }  # fmt: skip
    assert (await billing("change", "nw_live", "--from", "2026-12-01", "--per-1000", "1")).exit_code == 1
    corrected = await billing("correct", "nw_live", "--version", "2", "--set", "notes=as mailed", "--yes")
    assert "as mailed" in corrected.stdout
    assert (
        await billing("pause", "nw_live", "--why", "talks")
    ).stdout == "nw_live is paused: nothing of it is invoiced\n"
    assert (await told(billing, "list"))[0]["next_invoice_on"] is None
    assert (await told(billing, "resume", "nw_live", "--why", "agreed"))["status"] == "active"
    ended = await billing("end", "nw_live", "--on", "2026-12-31", "--why", "notice", "--yes")
    assert ended.stdout == "nw_live ends with 2026-12-31: it is invoiced until then\n"
    shown = (await billing("show", "nw_live")).stdout
    for words in ("Northwind", "ends 2026-12-31", "1. from 2026-01-01", "2. from 2026-12-01", "holds today", "signed"):
        assert words in shown
    audit = await rows(engine, "audit_log")
    assert [one["action"].removeprefix("partners.") for one in audit] == [
        "add", "change", "correct", "pause", "resume", "end"
    ]  # fmt: skip
    assert audit[1]["who"] == "ada"


async def test_all_mistakes_are_told_at_once(billing: Billing, engine: AsyncEngine) -> None:
    result = await billing(
        *("add", "nw live", "--model", "per-requst", "--per-1000", "2.50", "--currency", "euro"),
        *("--set", "time_zone=Berlin", "--set", "tax_percent=190"),
    )
    assert result.exit_code == 2
    assert [line.removeprefix("error: ").partition(":")[0] for line in result.stderr.splitlines()] == [
        "time_zone", "api_key_prefix", "company", "currency", "contract_start_date", "pricing_model",
        "per_1000_requests_cents", "tax_percent",
    ]  # fmt: skip
    assert "did you mean 'timezone'" in result.stderr
    assert "did you mean 'per_request'" in result.stderr
    assert await rows(engine, "api_partner_contracts") == []


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["show", "nobody"], 1, "no such partner: nobody"),
        (["pause", "nobody", "--why", "x"], 1, "no such partner"),
        (["pause", "nw_live"], 2, "--why is missing"),
        (["end", "nw_live", "--on", "31.12.", "--why", "x"], 2, "--on: '31.12.' is no day"),
        (["resume", "nw_live", "--why", "x"], 1, "nw_live is active"),
        (["change", "nw_live", "--from", "soon", "--per-1000", "1"], 2, "valid_from: 'soon' is no day"),
        (["change", "nw_live", "--from", "2026-12-01"], 1, "nothing would be other"),
        (["correct", "nw_live", "--set", "notes"], 2, "write NAME=VALUE"),
        (["correct", "nw_live", "--set", "tiers=[1,"], 2, "is no JSON"),
        (["correct", "nw_live", "--file", "/nowhere.toml"], 2, "cannot be read"),
        (list(ADD), 1, "nw_live has a contract"),
        (["list", "--limit", "0"], 2, "is not between"),
    ],
)
async def test_what_cannot_be_is_said(billing: Billing, words: list[str], code: int, said: str) -> None:
    assert (await billing(*ADD)).exit_code == 0
    result = await billing(*words)
    assert (result.exit_code, said in result.stderr) == (code, True), result.stderr


@pytest.mark.parametrize("suffix", ["toml", "json"])
async def test_a_contract_in_a_file(billing: Billing, tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"contract.{suffix}"
    toml = """
        company = "Globex AG"
        pricing_model = "tiered"
        currency = "eur"
        timezone = "Europe/Berlin"
        contract_start_date = 2026-11-10
        tax_percent = 7.7
        tiers = [{ up_to = 1000, unit_price_cents = 0.5 }, { unit_price_cents = "0.0025 EUR", flat_fee_cents = 100 }]
        [address]
        country = "de"
    """
    contract: Json = {
        "company": "Globex AG",
        "pricing_model": "tiered",
        "currency": "eur",
        "timezone": "Europe/Berlin",
        "contract_start_date": "2026-11-10",
        "tiers": [{"up_to": 1000, "unit_price_cents": 0.5}, {"unit_price_cents": 0.25, "flat_fee_cents": "1 EUR"}],
        "tax_percent": 7.7,
        "address": {"country": "DE"},
    }
    file.write_text(toml if suffix == "toml" else json.dumps(contract))
    made = await told(billing, "add", "gx", "--file", str(file), "--set", "address.city=Hamburg")
    assert made["price"] == "units 1 to 1,000 €0.005 each, from 1,001 €0.0025 each plus €1.00"
    assert made["fields"]["address"] == {"city": "Hamburg", "country": "DE"}
    assert made["fields"]["tax_percent"] == "7.7"
    (row,) = await told(billing, "list")
    assert (row["next_period"], row["next_invoice_on"]) == ("2026-11", "2026-12-01")
    shown = await told(billing, "show", "gx")
    again = tmp_path / "again.json"
    again.write_text(json.dumps(shown["terms"][0]["fields"]))
    result = await billing("correct", "gx", "--file", str(again))
    assert (result.exit_code, "says so already" in result.stderr) == (1, True)
    file.write_text("[[[")
    assert (await billing("add", "gy", "--file", str(file))).exit_code == 2
    file.write_text("[1]" if suffix == "json" else "[a]\nb = 1")
    assert (await billing("add", "gy", "--file", str(file))).exit_code == 2


async def test_rows_of_sql_are_told_with_what_is_wrong(billing: Billing, engine: AsyncEngine) -> None:
    async with engine.begin() as conn:
        await conn.execute(
            text(
                "INSERT INTO api_partner_contracts (api_key_prefix, company, pricing_model, per_deed_price_cents,"
                " monthly_flat_fee_cents, contract_start_date, timezone) VALUES"
                " ('good', 'Good', 'per_deed', 200, 0, '2026-11-01', 'UTC'),"
                " ('bad', 'Bad\x1b[2J', 'per_deed', 0, 0, '2026-11-01', 'Mars')"
            )
        )
        await conn.execute(
            text(
                "INSERT INTO usage_rollups (granularity, bucket_start, api_key_prefix, event_type, billable, events,"
                " cost_units) SELECT g, b::timestamptz, 'good', 'land.deed', true, 1, 1.5 FROM (VALUES"
                " ('hour', '2026-11-02T10:00Z'), ('day', '2026-11-02T00:00Z'), ('hour', '2026-10-31T23:00Z'),"
                " ('day', '2026-10-31T00:00Z')) AS v (g, b)"
            )
        )
    bad, good = await told(billing, "list")
    assert (good["wrong"], good["used_units"], good["price"]) == ([], "1.5", "$2.00 per deed")
    assert [line.split()[0].rstrip(":") for line in bad["wrong"]] == [
        "company", "timezone", "per_deed_price_cents"
    ]  # fmt: skip
    assert bad["next_invoice_on"] is None
    listed = (await billing("list")).stdout
    assert "bad: timezone: 'Mars' is no time zone" in listed
    assert "\x1b[2J" not in listed
    story = await told(billing, "show", "good")
    assert (story["used_units"], [one["event_type"] for one in story["used"]]) == ("1.5", ["land.deed"])
    assert (await told(billing, "show", "bad"))["terms"][0]["fields"] == {}
    assert "cannot be read" in (await billing("show", "bad")).stdout


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "$2.50 per 1,000 requests"),
        ({"currency": "jpy"}, "¥250 per 1,000 requests"),
        ({"currency": "chf", "package_size": 1, "package_rounding": "up"}, "CHF 2.50 per request, each package begun"),
        ({"package_rounding": "down", "cap_cents": 5, "minimum_commitment_cents": 5},
         "$2.50 per 1,000 requests, full packages only, at least $0.05 a month, at most $0.05 a month"),
        ({"discount_percent": "12.5", "included_units": 1},
         "1 request included each month, then $2.50 per 1,000 requests, 12.5 % off"),
        ({"pricing_model": "hybrid", "per_deed_price_cents": 200, "included_units": 10},
         "$2.00 per deed, 10 requests included each month, then $2.50 per 1,000 requests"),
        ({"pricing_model": "flat", "per_1000_requests_cents": 0, "monthly_flat_fee_cents": 49_000}, "$490.00 a month"),
        ({"pricing_model": "tiered", "per_1000_requests_cents": 0, "tier_mode": "volume",
          "tiers": [{"up_to": 5, "flat_fee_cents": 9}, {"unit_price_cents": 1}]},
         "all units at the price of the tier that they reach: 1 to 5 $0.09, from 6 $0.01 each"),
    ],
)  # fmt: skip
def test_prices_in_words(fields: Json, said: str) -> None:
    assert price(read(PLAIN | fields)) == said


def test_how_a_contract_stands() -> None:
    today = datetime(2026, 11, 21, tzinfo=UTC).date()

    def stands(**fields: Any) -> str:
        return standing(read(PLAIN | fields), today)

    assert stands() == "active"
    assert stands(contract_end_date="2026-12-31") == "active until 2026-12-31"
    assert stands(contract_end_date="2026-10-31") == "ended 2026-10-31"
    assert stands(contract_end_date="2026-12-31", status="ended") == "ends 2026-12-31"
    assert stands(status="ended") == "ended"
    assert stands(status="paused") == "paused"
    assert stands(contract_start_date="2027-01-01") == "begins 2027-01-01"


def test_no_digit_of_a_price_is_lost() -> None:
    assert money(Decimal("0.05"), "usd") == "$0.0005"
    assert money(123_456_700, "eur") == "€1,234,567.00"
    assert money(1_000, "kwd") == "KWD 1.000"


async def test_a_price_that_was_typed_wrongly_is_corrected_by_its_option(billing: Billing) -> None:
    await billing(*ADD)
    done = await told(billing, "correct", "nw_live", "--per-1000", "2.20 USD", "--fee", "4900", "--included", "100")
    assert done["changed"] == {
        "per_1000_requests_cents": [250, 220], "monthly_flat_fee_cents": [0, 4_900], "included_units": [0, 100],
    }  # fmt: skip
    said = (await billing("correct", "nw_live", "--fee", "59 USD", "--dry-run")).stdout
    assert "4900 ($49.00)" in said
    assert "5900 ($59.00)" in said
    other = await told(billing, "correct", "nw_live", "--model", "hybrid", "--per-deed", "99")
    assert set(other["changed"]) == {"pricing_model", "per_deed_price_cents"}
