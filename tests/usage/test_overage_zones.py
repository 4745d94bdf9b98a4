"""A customer moves to another time zone: each unit is charged once, in one month."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncEngine

from db.operators.actions import Actor
from db.usage import Owner
from db.usage_invoices import Known
from jobs.rules.billing_periods import Period
from jobs.rules.months import month_typed
from jobs.usage import months_of_users, overage_release, reading
from jobs.usage.months_of_users import closed_months, fitted
from tests.conftest import MovedClock
from tests.usage.books import Books
from tests.usage.overage_kit import equipped, run_month

ADA = Actor("ada", "looked into it")
ZONES = ["UTC", "Europe/Berlin", "America/Los_Angeles", "Asia/Tokyo", "Pacific/Kiritimati", "Pacific/Niue"]


def at(day: str) -> datetime:
    return datetime.fromisoformat(day).replace(tzinfo=UTC)


@pytest.fixture
def books(engine: AsyncEngine, clock: MovedClock, tmp_path: Path) -> Books:
    clock.time = at("2026-11-10 12:00")
    return equipped(Books(engine, clock, tmp_path))


async def periods(books: Books) -> list[tuple[datetime, datetime, str]]:
    rows = await books.rows("SELECT period_start, period_end, status FROM usage_invoices ORDER BY period_start")
    return [(row["period_start"], row["period_end"], row["status"]) for row in rows]


async def moves(books: Books, zone: str) -> None:
    await books.run("UPDATE users SET timezone = :zone", zone=zone)


async def run_on(books: Books, day: str) -> list[dict[str, Any]]:
    books.clock.time = at(day)
    return await run_month(books)


async def test_who_moves_east_pays_once(books: Books) -> None:
    await books.plan(included_units=0)
    user = await books.subscriber(timezone="America/Los_Angeles")
    await books.use(Owner(user_id=user), 1000, at("2026-12-01 03:00"))  # November there
    assert [row["subtotal_cents"] for row in await run_on(books, "2026-12-02 07:00")] == [500]
    await moves(books, "UTC")
    assert [row["subtotal_cents"] for row in await run_on(books, "2027-01-02 07:00")] == [500]
    assert await periods(books) == [
        (at("2026-11-01 07:00"), at("2026-12-01 08:00"), "issued"),
        (at("2026-12-01 08:00"), at("2027-01-01 00:00"), "empty"),
    ]


@pytest.mark.parametrize("more", [True, False])
async def test_who_moves_west_pays_for_all(books: Books, *, more: bool) -> None:
    await books.plan(included_units=0)
    user = await books.subscriber(timezone="Asia/Tokyo")
    await books.use(Owner(user_id=user), 100, at("2026-11-20 03:00"))
    await run_on(books, "2026-12-01 04:00")
    await books.use(Owner(user_id=user), 1000, at("2026-11-30 20:00"))  # 1 December in Tokyo, 30 November where it goes
    if more:
        await books.use(Owner(user_id=user), 100, at("2026-12-05 03:00"))
    await moves(books, "America/Los_Angeles")
    await run_on(books, "2027-01-02 07:00")
    rows = await run_on(books, "2027-02-02 07:00")
    assert [row["subtotal_cents"] for row in rows] == [50, 550 if more else 500]
    assert (await periods(books))[1][:2] == (at("2026-11-30 15:00"), at("2027-01-01 08:00"))


async def test_a_parked_month_is_released_as_it_was(books: Books) -> None:
    await books.plan(included_units=0)
    user = await books.subscriber(timezone="America/Los_Angeles", deleted_at="2026-11-30T00:00:00Z")
    await books.use(Owner(user_id=user), 1000, at("2026-12-01 03:00"))
    await run_on(books, "2026-12-02 07:00")
    before = await periods(books)
    assert [status for *_, status in before] == ["parked"]
    await moves(books, "Asia/Tokyo")
    async with books.deps.tx() as tx:
        done = await overage_release.invoice(tx, user, "2026-11", books.settings, ADA, release=True)
    assert (done.status, done.prepared.total) == ("issued", 500)
    assert [bounds for *bounds, _ in await periods(books)] == [bounds for *bounds, _ in before]


async def test_reports_are_of_the_months_that_are_invoiced(books: Books) -> None:
    await books.plan(included_units=0)
    user = await books.subscriber(timezone="Asia/Tokyo")
    await books.use(Owner(user_id=user), 100, at("2026-11-20 03:00"))
    await run_on(books, "2026-12-01 04:00")
    await moves(books, "America/Los_Angeles")
    async with books.engine.connect() as conn:
        november = await reading.of_user(conn, user, "2026-11", books.clock.now(), "UTC")
        running = await reading.of_user(conn, user, None, at("2026-11-30 20:00"), "UTC")
        quoted = await reading.quote_of_user(conn, user, at("2026-11-30 20:00"), "UTC")
        early = await months_of_users.running(conn, user, at("2026-11-15 00:00"), "America/Los_Angeles")
    assert (november["period"]["end"], november["period"]["timezone"]) == (at("2026-11-30 15:00"), "Asia/Tokyo")
    assert running["period"]["name"] == quoted["period"]["name"] == "2026-12"
    assert running["period"]["start"] == at("2026-11-30 15:00")
    assert early.name == "2026-11"


@given(zones=st.lists(st.sampled_from(ZONES), min_size=4, max_size=4), order=st.permutations(range(4)))
def test_months_follow_one_another_wherever_somebody_moves_and_whenever_one_is_looked_at(
    zones: list[str], order: list[int]
) -> None:
    known: list[Known] = []
    made: dict[int, Period] = {}
    for number in order:
        month = fitted(month_typed(f"2026-{number + 3:02}", zones[number]), known)
        known.append(Known(month.start, month.end, "issued", month.timezone))
        made[number] = month
    chain = [made[number] for number in range(4)]
    assert all(one.end == two.start for one, two in pairwise(chain))
    assert [fitted(month_typed(one.name, "UTC"), known) for one in chain] == chain
    used = chain[0].start, chain[-1].start
    assert closed_months(*used, zones[0], known, chain[-1].end + timedelta(days=60)) in (
        [], [month_typed("2026-02", zones[0])], [fitted(month_typed("2026-02", zones[0]), known)],
    )  # fmt: skip
