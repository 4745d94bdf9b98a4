"""Contracts that the customer's own tools wrote, with its columns and words alone, are invoiced as they stand."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from db import contracts as table
from db import quotas, tokens
from db.contract_synonyms import SYNONYMS, WORDS, check, ours
from jobs.partners.contracts import read
from tests.partners.conftest import NOW, Typed
from tests.partners.run_kit import Firm

COLUMNS = (
    *("api_key_prefix", "company", "pricing_model", "monthly_flat_fee_cents", "per_deed_price_cents"),
    *("per_1000_requests_cents", "billing_cycle", "payment_terms", "payment_method", "monthly_request_limit"),
    *("rate_limit_per_minute", "status", "contract_start_date", "contract_end_date", "notes"),
)
"""The customer's own columns."""

ROW: dict[str, Any] = {
    "api_key_prefix": "nw",
    "company": "Northwind",
    "pricing_model": "hybrid",
    "monthly_flat_fee_cents": 49_900,
    "per_deed_price_cents": 250,
    "per_1000_requests_cents": 500,
    "billing_cycle": "monthly",
    "payment_terms": "net_30",
    "payment_method": "invoice",
    "monthly_request_limit": 0,
    "rate_limit_per_minute": 0,
    "status": "active",
    "contract_start_date": "2026-10-01",
    "contract_end_date": None,
    "notes": "signed by Ada",
}
"""As its tools write it: prices of all models filled, and 0 where there is no limit."""


async def told(typed: Typed, *words: str, code: int = 0) -> Any:
    return json.loads((await typed(*words, "--json", code=code)).stdout)


async def insert(engine: AsyncEngine, **values: Any) -> None:
    """Plain SQL, as anybody's."""
    literals = ", ".join("NULL" if one is None else f"'{one}'" for one in (ROW | values).values())
    async with engine.begin() as conn:
        await conn.execute(
            text(f"INSERT INTO api_partner_contracts ({', '.join(ROW)}) VALUES ({literals})")  # noqa: S608 - from this file
        )


def test_these_are_the_customers_columns() -> None:
    assert tuple(ROW) == COLUMNS


@pytest.mark.parametrize(
    ("model", "total", "idle"),
    [
        ("flat", 49_900, ["per_deed_price_cents", "per_1000_requests_cents"]),
        ("per_deed", 49_900 + 4 * 250, ["per_1000_requests_cents"]),
        ("per_request", 49_900 + 6_172, ["per_deed_price_cents"]),  # all 12,344 events
        ("hybrid", 49_900 + 4 * 250 + 6_170, []),
        ("PER-DEED", 49_900 + 4 * 250, ["per_1000_requests_cents"]),
    ],
)
async def test_a_row_with_all_prices_is_previewed_and_invoiced(
    firm: Firm, typed: Typed, model: str, total: int, idle: list[str]
) -> None:
    """What the model charges is charged, and the other prices are told of."""
    await insert(firm.engine, pricing_model=model)
    await firm.use("2026-10-05 12:00", 12_340)
    await firm.use("2026-10-06 12:00", 4, kind="deed.created")
    (row,) = await told(typed, "partners", "list")
    assert (row["wrong"], [line.partition(":")[0] for line in row["unused"]]) == ([], idle)
    shown = await told(typed, "partners", "preview", "nw", "--period", "2026-10")
    assert (shown["document"]["total_minor"], shown["would_be_parked"]) == (total, False)
    made = (await typed("partners", "invoice", "nw", "--period", "2026-10", "--who", "ada")).stdout
    assert f"is issued as API-202611-0001, over {total / 100:,.2f} USD" in made
    assert (await told(typed, "invoices", "explain", "API-202611-0001"))["same"] is True
    said = [line for line in (await typed("partners", "show", "nw")).stdout.splitlines() if "never charges" in line]
    assert len(said) == len(idle)


async def test_tiers_that_nobody_wrote_down_are_asked_for(firm: Firm, typed: Typed) -> None:
    """The customer's columns have none: no amount is guessed, and the fix is one command."""
    await insert(firm.engine, pricing_model="tiered")
    await firm.use("2026-10-05 12:00", 2_000)
    (row,) = await told(typed, "partners", "list")
    assert [line.partition(":")[0] for line in row["wrong"]] == ["tiers"]
    assert "choose per_request, which charges per_1000_requests_cents" in row["wrong"][0]
    refused = await typed("partners", "invoice", "nw", "--period", "2026-10", code=1)
    assert "tiers: there are none" in refused.output
    await firm.run()
    assert (await firm.stands(), await firm.guards()) == ([("2026-10", "parked", 0)], ["contract"])
    tiers = '[{"up_to": 1000, "unit_price_cents": "0.5"}, {"unit_price_cents": "0.25"}]'
    prices = ("--set", "per_deed_price_cents=0", "--set", "per_1000_requests_cents=0")
    await typed("partners", "correct", "nw", "--set", f"tiers={tiers}", *prices, "--why", "from the paper", "--yes")
    done = await typed("partners", "release", "nw", "--period", "2026-10", "--why", "mended", "--yes")
    assert "is issued as API-202611-0001" in done.stdout
    assert (await firm.stands())[0] == ("2026-10", "issued", 49_900 + 500 + 250)


@pytest.mark.parametrize(
    ("prices", "total"),
    [
        ({"per_deed_price_cents": 0}, 49_900 + 1_000),
        ({"per_1000_requests_cents": 0}, 49_900 + 3 * 250),
        ({"monthly_flat_fee_cents": 0, "per_deed_price_cents": 0}, 1_000),
        ({"monthly_flat_fee_cents": None, "per_1000_requests_cents": None}, 3 * 250),
    ],
)
async def test_a_hybrid_may_lack_one_of_its_prices(
    firm: Firm, typed: Typed, prices: dict[str, int | None], total: int
) -> None:
    await insert(firm.engine, **prices)
    await firm.use("2026-10-05 12:00", 2_000)
    await firm.use("2026-10-06 12:00", 3, kind="deed.created")
    await firm.run()
    assert await firm.stands() == [("2026-10", "issued", total)]
    (row,) = await told(typed, "partners", "list")
    assert row["wrong"] == []
    assert bool(row["unused"]) == (not prices.get("monthly_flat_fee_cents", 1))


async def test_what_is_missing_has_its_default(engine: AsyncEngine) -> None:
    """Who writes NULL where nothing applies means what leaving it out does."""
    empty = dict.fromkeys(COLUMNS[3:12]) | {"monthly_flat_fee_cents": 100, "pricing_model": "flat", "notes": None}
    await insert(engine, **empty)
    async with engine.connect() as conn:
        (row,) = await table.versions(conn, "nw")
    contract = read(row)
    assert (contract.per_deed_price_cents, contract.billing_cycle, contract.payment_terms) == (0, "monthly", "net_30")
    assert (contract.status, contract.payment_method) == ("active", "bank_transfer")


@pytest.mark.parametrize("column", SYNONYMS)
async def test_each_word_is_let_in_and_read_as_ours(engine: AsyncEngine, column: str) -> None:
    spelled = {
        f"nw{number}-{spelling}": (one, ours_)
        for number, (word, ours_) in enumerate(SYNONYMS[column].items())
        for spelling, one in enumerate((word, word.upper(), word.replace("_", "-").title(), word.replace("_", " ")))
    }
    for prefix, (one, _) in spelled.items():
        await insert(engine, **{column: one, "api_key_prefix": prefix, "monthly_request_limit": 5})
    async with engine.connect() as conn:
        rows = await table.versions_of(conn, list(spelled))
        current = await table.current(conn, "nw0-0", NOW.date())
        limited = await quotas.limited(conn)
        kept = await conn.execute(text(f"SELECT api_key_prefix, {column} FROM api_partner_contracts"))  # noqa: S608 - a column of ours
        written = {row[0]: row[1] for row in kept}
    meant = {prefix: ours_ for prefix, (_, ours_) in spelled.items()}
    assert {prefix: versions[0][column] for prefix, versions in rows.items()} == meant
    assert {row["api_key_prefix"]: row[column] for row in limited} == meant
    assert current == rows["nw0-0"][0]
    assert written == {prefix: one for prefix, (one, _) in spelled.items()}  # what was written stays
    assert {prefix: ours(column, one) for prefix, (one, _) in spelled.items()} == meant


@pytest.mark.parametrize(("limit", "status", "found"), [(0, "active", None), (60, "Active", 60), (60, "PENDING", None)])
async def test_a_limit_of_nothing_is_none(firm: Firm, typed: Typed, limit: int, status: str, found: int | None) -> None:
    await insert(firm.engine, rate_limit_per_minute=limit, status=status)
    key = (await told(typed, "tokens", "create", "--partner", "nw"))["key"]
    async with firm.engine.connect() as conn:
        (access,) = (await tokens.find(conn, [tokens.digest(key)], NOW)).values()
    assert access.limit == found


@pytest.mark.parametrize("column", SYNONYMS)
async def test_other_words_are_refused(engine: AsyncEngine, column: str) -> None:
    with pytest.raises(IntegrityError, match=f"ck_api_partner_contracts_{column}"):
        await insert(engine, **{column: "whatever"})


def test_the_words_are_those_of_the_migration() -> None:
    """Alembic does not compare CHECKs."""
    migration = (Path(__file__).parents[2] / "db/migrations/versions/0005_usage_and_partners.py").read_text()
    assert [column for column in SYNONYMS if check(column) not in migration] == []


@given(st.sampled_from(sorted(SYNONYMS)), st.text(max_size=20))
def test_a_word_becomes_ours_or_stays(column: str, word: str) -> None:
    found = ours(column, word)
    assert found in WORDS[column] or found == word
    assert ours(column, found) == found


@pytest.mark.parametrize(
    ("status", "stands"),
    [
        ("Active", [("2026-10", "issued", 49_900)]),
        ("suspended", []),
        ("inactive", []),
        ("cancelled", []),
        ("pending", []),
    ],
)
async def test_who_is_not_active_is_not_invoiced(
    firm: Firm, typed: Typed, status: str, stands: list[tuple[str, str, int | None]]
) -> None:
    await insert(firm.engine, status=status)
    await firm.run()
    assert await firm.stands() == stands
    (row,) = await told(typed, "partners", "list")
    assert (row["next_invoice_on"] is None, row["status"]) == (not stands, ours("status", status))


async def test_a_year_is_invoiced_when_it_ends(firm: Firm) -> None:
    await insert(
        firm.engine, billing_cycle="Annual", payment_terms="NET30", contract_start_date="2025-11-01", status="ACTIVE"
    )
    await firm.run()
    assert [(status, total) for _, status, total in await firm.stands()] == [("issued", 12 * 49_900)]
    (row,) = await firm.query("SELECT due_date, finalized_at FROM invoices")
    assert (row["due_date"] - row["finalized_at"]).days in {29, 30}


async def test_such_a_row_is_changed_by_commands(firm: Firm, typed: Typed) -> None:
    """What stands is let stand; what is typed must make sense. What was invoiced keeps its words."""
    await insert(firm.engine, pricing_model="flat", billing_cycle="Month", payment_terms="EOM", status="Suspended")
    refused = await typed("partners", "correct", "nw", "--set", "included_units=5", "--yes", code=2)
    assert refused.stderr.startswith("error: included_units: the fee of a flat contract pays for all usage")
    assert refused.stderr.count("error:") == 1  # the prices that stand there unused are let stand
    assert "is paused" in (await typed("partners", "pause", "nw", "--why", "x", code=1)).output
    await typed("partners", "resume", "nw", "--why", "agreed")
    await typed("partners", "invoice", "nw", "--period", "2026-10")
    await typed("partners", "correct", "nw", "--set", "billing_email=ap@northwind.example", "--yes")
    await typed("partners", "change", "nw", "--from", "2027-01-01", "--fee", "600 USD", "--yes")
    newer = await typed("partners", "change", "nw", "--from", "2027-02-01", "--model", "per_deed", "--yes", code=2)
    assert "per_1000_requests_cents: a per_deed contract never charges it" in newer.stderr
    rows = await firm.query("SELECT billing_cycle, payment_terms, status FROM api_partner_contracts ORDER BY version")
    assert rows == [
        {"billing_cycle": "Month", "payment_terms": "EOM", "status": "active"},
        {"billing_cycle": "monthly", "payment_terms": "end_of_month", "status": "active"},
    ]
