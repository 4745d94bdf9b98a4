"""In a browser, a person clicks release and void: asked first, and only with a reason; what was done is said."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from playwright.async_api import Dialog, Page, expect
from sqlalchemy.ext.asyncio import AsyncEngine

from db.operators.actions import Actor
from db.usage import Owner
from intake.admin.app import build_app
from intake.admin.auth import COOKIE
from intake.admin.desk import Desk
from jobs.usage.overage_release import invoice
from tests.conftest import MovedClock
from tests.intake.kit import serving
from tests.operators.browser import CHROMIUM, browser
from tests.partners.run_kit import Firm
from tests.usage.books import Books
from tests.usage.overage_kit import equipped
from worker.clock import SystemClock
from worker.settings import Settings

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here: apt-get install chromium")


@pytest.fixture
async def firm(parked: Firm, engine: AsyncEngine, clock: MovedClock, tmp_path: Path) -> Firm:
    """October is parked, of a partner and of a subscriber."""
    books = equipped(Books(engine, clock, tmp_path))
    await books.plan()
    user = await books.subscriber(timezone="UTC", company="Ada GmbH", deleted_at="2026-10-30T00:00:00Z")
    await books.use(Owner(user_id=user), 3000, datetime(2026, 10, 20, tzinfo=UTC))
    async with books.deps.tx() as tx:
        await invoice(tx, user, "2026-10", books.settings, Actor("ada", "a test"), release=False)
    return parked


@pytest.fixture
async def page(settings: Settings) -> AsyncIterator[Page]:
    """A browser at the internal door, whose person has signed in."""
    app = build_app(settings, schedules=())
    desk: Desk = app.state.desk
    cookie = (COOKIE, desk.gate.sign_in("Ada", SystemClock().now()))
    async with serving(app) as client, browser(f"http://127.0.0.1:{client.port}", cookie) as made:
        yield made


async def test_a_person_clicks_release_and_void(firm: Firm, page: Page) -> None:
    asked, answers = list[str](), [False, True, True]

    async def answer(question: Dialog) -> None:
        asked.append(question.message)
        await (question.accept() if answers.pop(0) else question.dismiss())

    page.on("dialog", answer)
    await page.goto("/parked")
    drop = page.locator("[formaction='/parked/1/void']")
    await drop.click()  # without a reason the browser sends nothing, and asks nothing
    assert asked == []
    await page.locator("[action='/parked/1/release'] [name=why]").fill("they have left")
    await drop.click()
    await drop.click()
    assert await page.locator(".said").inner_text() == (
        "2026-10 of customer 1 is void: `billing usage overage invoice 1 --period 2026-10` does it anew"
    )
    await page.locator("[action='/partners/nw/release'] [name=why]").fill("it was a trial")
    await page.locator("[action='/partners/nw/release'] button.main").click()
    await expect(page.locator(".said")).to_have_text("2026-10: API-202611-0001")
    question = "Drop it: Ada GmbH (1), 2026-10? No schedule invoices it again by itself."
    release = "Issue the invoice: nw, 2026-10, by what is known now? It goes out at once."
    assert asked == [question, question, release]
    rows = await firm.query("SELECT kind, status FROM usage_invoices ORDER BY id")
    assert [tuple(row.values()) for row in rows] == [("partner", "issued"), ("overage", "void")]
    trail = await firm.query("SELECT action, who, why FROM audit_log WHERE action ~ 'release|void' ORDER BY id")
    assert [tuple(row.values()) for row in trail] == [
        ("overage.void", "Ada (dashboard)", "they have left"),
        ("partners.release", "Ada (dashboard)", "it was a trial"),
    ]
