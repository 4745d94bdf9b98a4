"""After a subscriber's month is invoiced it can be reckoned again, and voided with the late usage that it charged."""

import asyncio
import dataclasses
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from typer.testing import CliRunner

from db.operators.actions import Actor
from db.usage import Owner
from intake.cli import build
from jobs.invoices.void import void as void_invoice
from jobs.partners.explain import Explained, explained, reckon
from jobs.usage.overage_release import invoice, void
from tests.usage.books import NOVEMBER, Books
from tests.usage.overage_kit import INVOICES, equipped, run_month
from worker.errors import Refused

DECEMBER = datetime(2026, 12, 1, 7, tzinfo=UTC)
JANUARY = datetime(2027, 1, 1, 7, tzinfo=UTC)
FEBRUARY = datetime(2027, 2, 1, 7, tzinfo=UTC)
ADA = Actor("ada", "a test")


@pytest.fixture
def books(books: Books) -> Books:
    return equipped(books)


async def charged(books: Books) -> int:
    """December's invoice charges December, and what was used in November and reported late. Returns the customer."""
    await books.plan(tax_percent=19)
    user = await books.subscriber(timezone="UTC")
    await books.use(Owner(user_id=user), 900, NOVEMBER)
    books.clock.time = DECEMBER
    assert await run_month(books) == []
    await books.use(Owner(user_id=user), 300, NOVEMBER)
    await books.use(Owner(user_id=user), 1100, DECEMBER)
    books.clock.time = JANUARY
    (found,) = await run_month(books)
    assert [line["amount_cents"] for line in found["line_items"]] == [0, 50, 100]
    return user


async def billed(books: Books) -> list[tuple[str, int | None]]:
    rows = await books.rows("SELECT status, billed_cents FROM usage_invoices ORDER BY period_start, id")
    return [(row["status"], row["billed_cents"]) for row in rows]


async def numbered(books: Books, number: str) -> int:
    (row,) = await books.rows("SELECT id FROM invoices WHERE invoice_number = :number", number=number)
    found: int = row["id"]
    return found


async def told(books: Books, number: str) -> Explained:
    invoice_id = await numbered(books, number)
    async with books.deps.tx() as tx:
        return await explained(tx, invoice_id)


async def test_each_cent_is_reckoned_again_whatever_became_of_plan_and_usage(books: Books) -> None:
    user = await charged(books)
    before = await told(books, "OVR-202701-0001")
    assert before.differences == []
    assert [line.amount for line in before.lines] == [0, 50, 100]
    assert "2026-11" in before.late
    await books.plan(valid_from="2027-01-01", package_price_cents=9000)
    await books.use(Owner(user_id=user), 7000, DECEMBER)
    await books.run("UPDATE users SET name = 'Renamed', tax_exempt = 'exempt'")
    books.clock.time = datetime(2036, 1, 1, tzinfo=UTC)
    after = await told(books, "OVR-202701-0001")
    assert (after.differences, after.lines, after.sums) == ([], before.lines, before.sums)
    found = after.json()
    assert (found["partner"], found["user_id"], found["period"]) == (None, user, "2026-12")
    changed: Any = json.loads(json.dumps(after.row.input))
    changed["parts"][0]["usage"]["api.call"] = "1101"
    differs = reckon(dataclasses.replace(after.row, input=changed), after.says).differences
    assert differs[0].startswith("what was frozen was changed: its SHA-256 is ")
    assert any("subtotal comes to" in line for line in differs)


async def test_an_operator_types_its_number(books: Books, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    user = await charged(books)
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("BILLING_HOME", str(books.folder))

    async def typed(*words: str) -> str:
        result = await asyncio.to_thread(CliRunner().invoke, build("*"), ["invoices", "explain", *words])
        assert result.exit_code == 0, result.output
        return result.stdout

    page = await typed("OVR-202701-0001")
    (plan,) = await books.rows("SELECT id FROM overage_plans")
    assert f"OVR-202701-0001: user:{user}, 2026-12" in page
    assert f"plans [{plan['id']}]" in page
    assert "Late usage of 2026-11" in page
    assert "it comes to the very amounts that were issued" in page
    found = json.loads(await typed(f"overage/{user}/2026-12", "--json"))
    assert (found["same"], found["user_id"], found["sums"]["total"]) == (True, user, 179)


async def test_an_operator_is_shown_why_a_month_waits(
    books: Books, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await books.plan()
    user = await books.subscriber(timezone="UTC", deleted_at="2026-11-30T00:00:00Z")
    await books.use(Owner(user_id=user), 3000, NOVEMBER)
    books.clock.time = DECEMBER
    await run_month(books)
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("BILLING_HOME", str(books.folder))
    monkeypatch.setattr("intake.commands.render.is_person", lambda: True)
    words = ["usage", "overage", "release", str(user), "--period", "2026-11", "--why", "they owe it"]
    result = await asyncio.to_thread(CliRunner().invoke, build("*"), words)  # nobody answers
    assert result.exit_code == 1
    shown, _, asked = result.output.partition(f"issue 2026-11 of customer {user}?")
    assert "it waits over 10.00 EUR:\ndeleted: the customer was deleted at Stripe" in shown
    assert asked
    assert await billed(books) == [("parked", None)]


async def test_a_voided_invoice_has_not_charged_late_usage_either(books: Books) -> None:
    user = await charged(books)
    assert await billed(books) == [("empty", 100), ("issued", 50)]
    async with books.deps.tx() as tx:
        with pytest.raises(Refused, match="OVR-202701-0001 charges for usage of the same period that came late"):
            await void(tx, user, "2026-11", books.settings, ADA)
    async with books.deps.tx() as tx:
        assert await void(tx, user, "2026-12", books.settings, ADA) == "issued"
    assert await billed(books) == [("empty", 0), ("void", 50)]
    async with books.deps.tx() as tx:
        done = await invoice(tx, user, "2026-12", books.settings, ADA, release=False)
    assert (done.status, done.prepared.total) == ("issued", 179)
    assert await billed(books) == [("empty", 100), ("void", 50), ("issued", 50)]
    for number in ("OVR-202701-0001", "OVR-202701-0002"):
        assert (await told(books, number)).differences == []


async def test_voided_by_its_number_its_late_usage_goes_to_the_next_month(books: Books) -> None:
    user = await charged(books)
    invoice_id = await numbered(books, "OVR-202701-0001")
    for first in (True, False):
        async with books.deps.tx() as tx:
            assert await void_invoice(tx, invoice_id, reason="it was our fault") is first
        assert await billed(books) == [("empty", 0), ("void", 50)]
    await books.use(Owner(user_id=user), 1000, JANUARY)
    books.clock.time = FEBRUARY
    (_, found) = await run_month(books)
    assert [line["amount_cents"] for line in found["line_items"]] == [0, 100], "November's; December is an operator's"
    assert await billed(books) == [("empty", 100), ("void", 50), ("issued", 0)]


async def test_a_month_that_is_voided_and_invoiced_anew_has_all_its_usage_itself(books: Books) -> None:
    user = await charged(books)
    for month in ("2026-12", "2026-11"):
        async with books.deps.tx() as tx:
            await void(tx, user, month, books.settings, ADA)
    totals = list[int]()
    for month in ("2026-11", "2026-12"):
        async with books.deps.tx() as tx:
            totals.append((await invoice(tx, user, month, books.settings, ADA, release=False)).prepared.total)
    assert totals == [119, 60], "no late usage is left for December to charge"
    assert [row["status"] for row in await books.rows(INVOICES)] == ["void", "open", "open"]
