"""A subscriber's parked month is let go, or dropped, beside partners': with a reason, by a form of that page alone."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from db.operators.actions import Actor
from db.usage import Owner
from jobs.usage.overage_release import invoice
from tests.conftest import MovedClock
from tests.operators.door import Door
from tests.operators.test_dashboard import sign_in
from tests.usage.books import NOVEMBER, Books
from tests.usage.overage_kit import INVOICES, equipped

MARK = re.compile(r'name="seen" value="([0-9a-f]+)"')
OCTOBER = datetime(2026, 10, 20, tzinfo=UTC)


@pytest.fixture
async def books(engine: AsyncEngine, clock: MovedClock, tmp_path: Path) -> Books:
    """October of a customer whom Stripe deleted is parked, over 10.00 EUR."""
    clock.time = NOVEMBER + timedelta(days=1, hours=12)
    made = equipped(Books(engine, clock, tmp_path))
    await made.plan()
    user = await made.subscriber(timezone="UTC", company="Ada GmbH", deleted_at="2026-10-30T00:00:00Z")
    await made.use(Owner(user_id=user), 3000, OCTOBER)
    async with made.deps.tx() as tx:
        await invoice(tx, user, "2026-10", made.settings, Actor("ada", "a test"), release=False)
    return made


async def states(books: Books) -> list[str]:
    return [row["status"] for row in await books.rows("SELECT status FROM usage_invoices ORDER BY id")]


async def form(admin: Door, csrf: str, why: str) -> tuple[str, dict[str, str]]:
    page = (await admin.get("/parked")).text
    found = MARK.search(page)
    assert found
    return page, {"csrf": csrf, "period": "2026-10", "why": why, "seen": found[1]}


async def test_it_is_released_for_a_reason(books: Books, admin: Door) -> None:
    csrf = await sign_in(admin)
    assert "1 invoice for usage waits for you</a>, 1 of them a subscriber&#39;s" in (await admin.get("/partners")).text
    page, sent = await form(admin, csrf, "they still owe it")
    for part in (
        "Ada GmbH (1), 2026-10",
        "10.00 EUR",
        "2026-10-01 to 2026-10-31",
        "the customer was deleted at Stripe",
    ):
        assert part in page
    for wrong, code in (({"csrf": "0" * 64}, 403), ({"why": " "}, 422), ({"seen": ""}, 422), ({"seen": "0"}, 409)):
        assert (await admin.post("/parked/1/release", data=sent | wrong)).status_code == code
    assert (await admin.post("/parked/2/release", data=sent)).status_code == 409
    assert await states(books) == ["parked"]
    answer = await admin.post("/parked/1/release", data=sent)
    said = (await admin.get(answer.headers["location"])).text
    (made,) = await books.rows(INVOICES)
    assert f"2026-10 of customer 1 is issued as {made['invoice_number']}, over 10.00 EUR" in said
    assert "No invoice waits for anybody." in said
    (trail,) = await books.rows("SELECT who, why FROM audit_log WHERE action = 'overage.release'")
    assert tuple(trail.values()) == ("Ada (dashboard)", "they still owe it")
    assert (await admin.post("/parked/1/release", data=sent)).status_code == 409
    late = await admin.post("/parked/1/void", data=sent)
    assert (late.status_code, "is issued, and not parked any more" in late.text) == (409, True)


async def test_it_is_dropped_for_a_reason(books: Books, admin: Door) -> None:
    csrf = await sign_in(admin)
    _, sent = await form(admin, csrf, "they have left")
    assert (await admin.post("/parked/1/void", data=sent | {"csrf": ""})).status_code == 403
    answer = await admin.post("/parked/1/void", data=sent)
    said = (await admin.get(answer.headers["location"])).text
    assert "2026-10 of customer 1 is void" in said
    assert await states(books) == ["void"]
    (trail,) = await books.rows("SELECT who, why FROM audit_log WHERE action = 'overage.void'")
    assert tuple(trail.values()) == ("Ada (dashboard)", "they have left")


async def test_another_reason_than_the_page_showed_is_not_released(books: Books, admin: Door) -> None:
    csrf = await sign_in(admin)
    _, sent = await form(admin, csrf, "they still owe it")
    await books.run(
        """UPDATE usage_invoices SET reasons = '[{"guard": "over_average", "why": "it is 9 times as much",
           "stops": true, "final": false}]'"""
    )
    for what in ("release", "void"):
        stale = await admin.post(f"/parked/1/{what}", data=sent)
        assert stale.status_code == 409
        assert "was parked anew since you looked, because it is 9 times as much" in stale.text
    _, sent = await form(admin, csrf, "they use more")
    answer = await admin.post("/parked/1/release", data=sent)
    said = (await admin.get(answer.headers["location"])).text
    assert "2026-10 of customer 1 is still parked: the customer was deleted at Stripe" in said, "nobody released that"
    assert await states(books) == ["parked"]
