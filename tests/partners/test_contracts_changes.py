"""A change of terms never rewrites what was invoiced: versions, corrections, pauses and ends."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime
from typing import Any, TypeVar

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from db import contracts as table
from db.operators.actions import Actor, NotAllowedError, UnknownIdsError
from jobs.invoices.document import Party
from jobs.invoices.drafts import Draft, DraftLine
from jobs.invoices.issue import issue
from jobs.invoices.sellers import sellers_from
from jobs.partners import contract_changes as changes
from jobs.partners.contracts import Contract, read
from tests.events.kit import rows
from tests.partners.contract_kit import PLAIN, Json
from worker.deps import Tx
from worker.errors import Refused
from worker.settings import Settings

T = TypeVar("T")
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
ADA = Actor("ada", "agreed")
Do = Callable[[Callable[[Tx], Awaitable[Any]]], Awaitable[Any]]


@pytest.fixture
def do(engine: AsyncEngine) -> Do:
    async def done(work: Callable[[Tx], Awaitable[T]]) -> T:
        async with engine.begin() as conn:
            return await work(Tx(conn, NOW, NOW))

    return done


async def add(do: Do, **fields: Any) -> Contract:
    return await do(lambda tx: changes.add(tx, PLAIN | fields, ADA))


async def change(do: Do, on: str, **fields: Any) -> Any:
    return await do(lambda tx: changes.change(tx, "nw_live", on, fields, ADA))


async def correct(do: Do, version: int | None = None, **fields: Any) -> Any:
    return await do(lambda tx: changes.correct(tx, "nw_live", fields, ADA, version=version))


async def versions(engine: AsyncEngine) -> list[Contract]:
    async with engine.connect() as conn:
        return [read(row) for row in await table.versions(conn, "nw_live")]


async def invoiced(engine: AsyncEngine, first: date, after: date, *ids: int, status: str = "issued") -> None:
    """A period of the contract is closed (UTC)."""
    async with engine.begin() as conn:
        invoice = None
        if status == "issued":
            draft = Draft(
                kind="partner",
                currency="usd",
                buyer=Party("Northwind GmbH"),
                lines=(DraftLine("Requests", amount_minor=100),),
                api_key_prefix="nw_live",
            )
            made = await issue(Tx(conn, NOW, NOW), draft, sellers_from(Settings()), livemode=False)
            invoice = made.invoice_id
        await conn.execute(
            text(
                "INSERT INTO usage_invoices (kind, api_key_prefix, period_start, period_end, timezone, status,"
                " contract_ids, invoice_id, created_at, updated_at) VALUES ('partner', 'nw_live', :start, :end, 'UTC',"
                " :status, :ids, :invoice, now(), now())"
            ),
            {
                "start": datetime(first.year, first.month, first.day, tzinfo=UTC),
                "end": datetime(after.year, after.month, after.day, tzinfo=UTC),
                "status": status,
                "ids": list(ids),
                "invoice": invoice,
            },
        )


async def test_a_price_change_is_a_version_from_a_day(do: Do, engine: AsyncEngine) -> None:
    first = await add(do, billing_email="ap@example.com")
    assert (first.version, first.valid_from) == (1, date(2026, 1, 1))
    changed = await change(do, "2026-12-01", per_1000_requests_cents="2.20 USD")
    assert changed.changed["per_1000_requests_cents"] == [250, 220]
    one, two = await versions(engine)
    assert (one.per_1000_requests_cents, two.per_1000_requests_cents) == (250, 220)
    assert (two.version, two.valid_from, two.billing_email) == (2, date(2026, 12, 1), "ap@example.com")
    between = await change(do, "2026-11-25", monthly_flat_fee_cents=100)
    assert (between.contract.version, between.contract.per_1000_requests_cents) == (3, 250)
    async with engine.connect() as conn:
        held = [
            await table.current(conn, "nw_live", date(2026, month, day)) for month, day in ((11, 24), (11, 30), (12, 1))
        ]
        assert [row and row["version"] for row in held] == [1, 3, 2]
        early = await table.current(conn, "nw_live", date(2025, 1, 1))
        assert early is not None
        assert early["version"] == 1
        assert await table.current(conn, "other", date(2026, 1, 1)) is None
        assert await table.prefixes(conn) == ["nw_live"]
    told = await rows(engine, "audit_log")
    assert [(one["who"], one["action"], one["target"]) for one in told] == [
        ("ada", "partners.add", "nw_live"),
        ("ada", "partners.change", "nw_live"),
        ("ada", "partners.change", "nw_live"),
    ]


async def test_an_added_prefix_is_taken(do: Do) -> None:
    await add(do)
    with pytest.raises(NotAllowedError, match="nw_live has a contract"):
        await add(do)
    with pytest.raises(NotAllowedError, match="a version from 2026-01-01 already"):
        await change(do, "2026-01-01", per_1000_requests_cents=1)
    with pytest.raises(NotAllowedError, match="nothing would be other"):
        await change(do, "2026-12-01")
    with pytest.raises(UnknownIdsError):
        await do(lambda tx: changes.change(tx, "who", "2026-12-01", {}, ADA))


async def test_nothing_begins_in_what_was_invoiced(do: Do, engine: AsyncEngine) -> None:
    first = await add(do)
    assert first.id is not None
    await invoiced(engine, date(2026, 9, 1), date(2026, 10, 1), first.id)
    await invoiced(engine, date(2026, 10, 1), date(2026, 11, 1), first.id, status="empty")
    with pytest.raises(Refused, match=r"2026-10-15 lies in what is settled.*Choose 2026-11-01 or later"):
        await change(do, "2026-10-15", per_1000_requests_cents=1)
    with pytest.raises(NotAllowedError, match="API-202611-0001 followed from its per_1000_requests_cents"):
        await correct(do, per_1000_requests_cents=1)
    with pytest.raises(Refused, match="contract_end_date: 2026-09-30 lies in what is settled"):
        await correct(do, contract_end_date="2026-09-30")
    with pytest.raises(Refused, match="on: 2026-09-30 lies in what is settled"):
        await do(lambda tx: changes.end(tx, "nw_live", date(2026, 9, 30), ADA))
    corrected = await correct(do, billing_email="ap@example.com", address={"country": "DE"}, notes="x")
    assert set(corrected.changed) == {"billing_email", "address", "notes"}
    assert (await change(do, "2026-11-01", per_1000_requests_cents=1)).contract.version == 2
    with pytest.raises(Refused, match="valid_from: 2026-10-31 lies in what is settled"):
        await correct(do, 2, valid_from="2026-10-31")
    async with engine.connect() as conn:
        with pytest.raises(DBAPIError, match="add a version instead"):  # whoever goes past us
            await conn.execute(text("UPDATE api_partner_contracts SET cap_cents = 1 WHERE version = 1"))


async def test_a_version_is_put_right_while_nothing_follows_from_it(do: Do, engine: AsyncEngine) -> None:
    await add(do)
    moved = await correct(do, contract_start_date="2026-02-01", per_1000_requests_cents=300)
    assert (moved.contract.valid_from, moved.contract.contract_start_date) == (date(2026, 2, 1), date(2026, 2, 1))
    with pytest.raises(Refused, match="valid_from: the contract begins only on 2026-02-01"):
        await change(do, "2026-01-31", per_1000_requests_cents=200)
    await change(do, "2026-12-01", per_1000_requests_cents=200)
    with pytest.raises(Refused, match="another version holds from 2026-12-01"):
        await correct(do, 1, valid_from="2026-12-01")
    with pytest.raises(Refused, match="the contract begins on 2026-02-01, but its first version"):
        await correct(do, 1, valid_from="2026-02-10")
    with pytest.raises(Refused, match="per_1000_requests_cents is 0"):
        await correct(do, 2, per_1000_requests_cents=None)
    with pytest.raises(NotAllowedError, match="says so already"):
        await correct(do, 2, per_1000_requests_cents="2.00 USD")
    with pytest.raises(UnknownIdsError, match="nw_live version 7"):
        await correct(do, 7, notes="x")
    with pytest.raises(Refused, match="api_key_prefix: stays nw_live"):
        await correct(do, 2, api_key_prefix="other")
    with pytest.raises(Refused, match="version: is given by the database"):
        await do(lambda tx: changes.correct(tx, "nw_live", {"version": 9}, ADA))
    assert (await correct(do, notes="held today")).contract.version == 1
    assert [one.per_1000_requests_cents for one in await versions(engine)] == [300, 200]


async def test_the_whole_contract_stands_alike_in_all_versions(do: Do, engine: AsyncEngine) -> None:
    await add(do)
    await change(do, "2026-12-01", per_1000_requests_cents=200)
    await do(lambda tx: changes.pause(tx, "nw_live", ADA))
    assert {one.status for one in await versions(engine)} == {"paused"}
    with pytest.raises(NotAllowedError, match="nw_live is paused"):
        await do(lambda tx: changes.pause(tx, "nw_live", ADA))
    assert (await change(do, "2027-01-01", per_1000_requests_cents=100)).contract.status == "paused"
    with pytest.raises(Refused, match="status: stays paused"):
        await change(do, "2027-02-01", status="active", per_1000_requests_cents=1)
    await do(lambda tx: changes.resume(tx, "nw_live", ADA))
    await do(lambda tx: changes.end(tx, "nw_live", date(2026, 12, 15), ADA))
    found = await versions(engine)
    assert {(one.status, one.contract_end_date) for one in found} == {("ended", date(2026, 12, 15))}
    with pytest.raises(NotAllowedError, match="nw_live is ended"):
        await do(lambda tx: changes.resume(tx, "nw_live", ADA))
    with pytest.raises(Refused, match="the contract ends before"):
        await change(do, "2027-03-01", per_1000_requests_cents=1)
    await correct(do, 1, contract_end_date=None, status="active")
    assert {(one.status, one.contract_end_date) for one in await versions(engine)} == {("active", None)}
    with pytest.raises(Refused, match="before the contract begins"):
        await do(lambda tx: changes.end(tx, "nw_live", date(2025, 12, 15), ADA))


async def test_currency_changes_with_a_period_only(do: Do) -> None:
    await add(do, billing_cycle="quarterly", contract_start_date="2026-02-01")
    with pytest.raises(Refused, match="currency: changes from usd to eur on 2026-06-01, within a period"):
        await change(do, "2026-06-01", currency="eur")
    assert (await change(do, "2026-08-01", currency="eur")).contract.currency == "eur"


async def test_a_day_begins_in_the_contracts_zone(do: Do, engine: AsyncEngine) -> None:
    first = await add(do, timezone="America/New_York")
    assert first.id is not None
    await invoiced(engine, date(2026, 9, 1), date(2026, 10, 1), first.id, status="empty")  # to 20:00 of 30 September
    with pytest.raises(Refused, match=r"2026-09-30 lies in what is settled.*Choose 2026-10-01"):
        await change(do, "2026-09-30", per_1000_requests_cents=1)
    assert (await change(do, "2026-10-01", per_1000_requests_cents=1)).contract.version == 2


async def test_mistakes_of_a_change_are_told_at_once(do: Do) -> None:
    await add(do)
    with pytest.raises(Refused) as told:
        await change(do, "1.12.2026", timezone="Berlin", per_1000_request_cents=5, id=7)
    assert [line.partition(":")[0] for line in told.value.reason.splitlines()] == [
        "id", "per_1000_request_cents", "timezone", "valid_from"
    ]  # fmt: skip


async def test_a_row_of_sql_that_makes_no_sense_can_be_put_right(do: Do, engine: AsyncEngine) -> None:
    async with engine.begin() as conn:
        await conn.execute(
            text(
                "INSERT INTO api_partner_contracts (api_key_prefix, company, pricing_model, contract_start_date,"
                " timezone) VALUES ('nw_live', 'Northwind', 'per_request', '2026-01-01', 'Mars')"
            )
        )
    with pytest.raises(Refused, match="version 1: timezone"):
        await change(do, "2026-12-01", per_1000_requests_cents=5)
    fixed: Json = {"timezone": "Europe/Berlin", "per_1000_requests_cents": 250}
    assert (await correct(do, **fixed)).contract.timezone == "Europe/Berlin"


async def test_two_at_once_make_two_versions(do: Do, engine: AsyncEngine) -> None:
    await add(do)
    days = [f"2026-12-{day:02}" for day in range(1, 7)]
    await asyncio.gather(*(change(do, day, per_1000_requests_cents=300 + int(day[-2:])) for day in days))
    found = await versions(engine)
    assert [one.version for one in sorted(found, key=lambda one: one.version or 0)] == list(range(1, 8))
    same = await asyncio.gather(
        *(change(do, "2027-01-01", per_1000_requests_cents=cents) for cents in (1, 2)), return_exceptions=True
    )
    assert sorted(type(one).__name__ for one in same) == ["Changed", "NotAllowedError"]


async def test_both_looks_are_told_at_once(do: Do, engine: AsyncEngine) -> None:
    """What no field may say, and what the contract as a whole does not allow, in one answer."""
    await add(do)
    await invoiced(engine, date(2026, 1, 1), date(2026, 11, 1))
    with pytest.raises(Refused) as told:
        await change(do, "2026-10-15", per_1000_requests_cents="x", status="paused", locale="xx")
    fields = [line.partition(":")[0] for line in told.value.reason.splitlines()]
    assert fields == ["per_1000_requests_cents", "locale", "status", "valid_from"]
    with pytest.raises(Refused) as told:
        await correct(do, locale="xx", contract_start_date="2026-02-01")
    fields = [line.partition(":")[0] for line in told.value.reason.splitlines()]
    assert fields == ["locale", "valid_from", "contract_start_date"]
    with pytest.raises(Refused) as told:
        await do(lambda tx: changes.add(tx, PLAIN | {"locale": "xx", "valid_from": "2025-01-01"}, ADA))
    assert [line.partition(":")[0] for line in told.value.reason.splitlines()] == ["locale", "valid_from"]
