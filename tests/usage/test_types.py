"""Event types are kinds of things, and few: one too many is refused at the door, and a report stays short."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from db.tokens import TokenScope
from db.usage import NewUsage, Owner, new_usage
from intake import usage_types
from intake.app import build_app
from intake.usage_types import TypesCap
from tests.operators.books import Billing
from tests.operators.conftest import billing
from tests.usage.books import Books
from tests.usage.test_doors import ADMIN, MONTH, TOKEN, key
from worker.settings import Settings

__all__ = ["billing"]
PARTNER = Owner(api_key_prefix="nw_live")
OCTOBER = datetime(2026, 10, 5, 12, tzinfo=UTC)


def events(*types: str, at: datetime = OCTOBER, owner: Owner = PARTNER) -> list[NewUsage]:
    return [new_usage(owner, f"{at}{name}", name, received_at=at, occurred_at=at) for name in types]


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three types are too many."""
    monkeypatch.setattr(usage_types, "MOST_TYPES", 2)


@pytest.fixture
async def door(database_url: str, books: Books, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """The whole public door, where usage is reported and read; Redis is away."""
    books.clock.time = datetime.now(UTC)
    settings = Settings(
        database_url=database_url,
        redis_url="redis://127.0.0.1:1/0",
        admin_token=SecretStr(TOKEN),
        billing_home=tmp_path,
    )
    app = build_app(settings, clock=books.clock)
    transport = httpx.ASGITransport(app)
    async with (
        app.api.router.lifespan_context(app.api),
        httpx.AsyncClient(transport=transport, base_url="http://b") as client,
    ):
        yield client


async def refused(books: Books, cap: TypesCap, rows: list[NewUsage]) -> tuple[int, ...]:
    async with books.engine.connect() as conn:
        raw: Any = (await conn.get_raw_connection()).driver_connection
        return await cap.refused(raw, rows)


@pytest.mark.usefixtures("few")
async def test_types_are_counted_by_owner_and_month(books: Books) -> None:
    cap = TypesCap()
    assert await refused(books, cap, events("a", "b", "c", "b", "d")) == (2, 4)
    assert await refused(books, cap, events("c", "d")) == (), "what was refused as a whole took no room"
    assert await refused(books, cap, events("a", "c")) == (0,)
    assert await refused(books, cap, events("a", "b", at=OCTOBER + timedelta(days=30))) == ()
    assert await refused(books, cap, events("a", "b", owner=Owner(api_key_prefix="other"))) == ()
    assert await refused(books, cap, events("a", "b", owner=Owner(user_id=7))) == ()


@pytest.mark.usefixtures("few")
async def test_what_others_stored_is_known(books: Books) -> None:
    for kind in ("a", "b", "c"):  # three were stored before there was a cap
        await books.use(PARTNER, type_=kind, at=OCTOBER)
    cap = TypesCap()
    assert await refused(books, cap, events("a", "b", "c")) == ()
    assert await refused(books, cap, events("d", "c")) == (0,)
    assert await refused(books, TypesCap(), events("d")) == (0,)


async def test_a_thousand_types_are_taken_and_no_more(books: Books) -> None:
    cap = TypesCap()
    assert await refused(books, cap, events(*(f"t{number}" for number in range(1_000)))) == ()
    assert await refused(books, cap, events("t999", "t1000")) == (1,)


@pytest.mark.usefixtures("few")
async def test_names_are_forgotten_and_asked_for_again(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage_types, "MOST_NAMES", 3)
    cap = TypesCap()
    for kind in ("a", "b"):
        await books.use(PARTNER, type_=kind, at=OCTOBER)
    assert await refused(books, cap, events("a", "b")) == ()
    assert await refused(books, cap, events("a", "b", owner=Owner(user_id=7))) == ()
    assert await refused(books, cap, events("a", "c")) == (1,)


@pytest.mark.usefixtures("few")
async def test_the_door_names_the_rows_and_the_fix(books: Books, door: httpx.AsyncClient) -> None:
    mine = await key(books, "nw_live", TokenScope.WRITE, TokenScope.READ)
    rows = [{"idempotency_key": f"k{kind}", "event_type": kind} for kind in ("a", "b", "c")]
    answer = await door.post("/usage/events", headers=mine, json=rows)
    assert answer.status_code == 422
    (problem,) = answer.json()["detail"]
    assert (problem["index"], problem["field"], problem["idempotency_key"]) == (2, "event_type", "kc")
    assert "write which one it was into resource_id" in problem["msg"]
    assert (await door.post("/usage/events", headers=mine, json=rows[:2])).json() == {"accepted": 2, "duplicates": 0}
    again = await door.post("/usage/events", headers=mine, json=[rows[0], {**rows[1], "idempotency_key": "k9"}])
    assert again.json() == {"accepted": 1, "duplicates": 1}
    assert (await door.post("/usage/events", headers=mine, json=rows[2])).status_code == 422


@pytest.mark.usefixtures("few")
async def test_a_file_with_too_many_types_is_refused_by_lines(books: Books, billing: Billing, tmp_path: Path) -> None:
    at = datetime.now(UTC).isoformat()
    file = tmp_path / "u.csv"
    lines = [f"k{kind},{kind},{at}" for kind in ("a", "b", "c")]
    file.write_text("\n".join(["idempotency_key,event_type,occurred_at", *lines]) + "\n")
    for more in (("--dry-run",), ()):
        ran = await billing("usage", "import", str(file), "--partner", "nw_live", "--json", *more)
        assert ran.exit_code == 1
        told = json.loads(ran.stdout)
        assert [(one["line"], one["field"]) for one in told["faults"]] == [(4, "event_type")]
    assert await books.rows("SELECT 1 FROM usage_events") == []


async def test_a_report_tells_the_most_used_types_and_sums_the_others(
    books: Books, door: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.usage.reading.MOST_TYPES", 2)
    await books.contract()
    at = datetime.strptime(MONTH, "%Y-%m").replace(day=5, tzinfo=UTC)
    for number, kind in enumerate(("a", "b", "c", "d"), 1):
        await books.use(PARTNER, number, at=at, type_=kind)
    answer = await door.get("/usage/api-partner/nw_live", params={"period": MONTH}, headers=ADMIN)
    usage = answer.json()["usage"]
    assert [(one["event_type"], one["units"]) for one in usage["by_type"]] == [("c", 3), ("d", 4)]
    assert usage["other_types"] == {"event_types": 2, "events": 2, "units": 3}
    assert (usage["events"], usage["units"]) == (4, 10), "nothing is left out of the sums"
