"""Operators see invoices of our own beside Stripe's, by their numbers, and have the same say in them."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncEngine
from typer.testing import CliRunner, Result

from db.operators import dunning
from db.operators.actions import UnknownIdsError
from intake.cli import build
from tests.dunning.own import OwnScene, seller
from tests.dunning.test_commands_admin import BEARER
from tests.operators.door import TOKEN, Door, door
from tests.operators.test_dashboard import sign_in
from worker.settings import Settings

Billing = Callable[..., Awaitable[Result]]


@pytest.fixture
async def scene(engine: AsyncEngine, tmp_path: Path) -> OwnScene:
    """A partner's invoice was due yesterday, and a letter says so."""
    made = seller(engine, tmp_path)
    await made.contract()
    await made.issue()
    return made


@pytest.fixture
def billing(monkeypatch: pytest.MonkeyPatch, database_url: str, tmp_path: Path, scene: OwnScene) -> Billing:
    """Runs `billing dunning …` on this test's database, at the business's time of the scene."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")  # away: a ring that nobody hears changes nothing
    monkeypatch.setenv("BILLING_HOME", str(tmp_path))
    clock = tmp_path / "clock"
    monkeypatch.setenv("BILLING_CLOCK_FILE", str(clock))

    async def run(*words: str) -> Result:
        clock.write_text(str(scene.clock.now().timestamp()))
        return await asyncio.to_thread(CliRunner().invoke, build("dunning"), ["dunning", *words])

    return run


@pytest.fixture
async def admin(database_url: str, tmp_path: Path) -> AsyncIterator[Door]:
    """The internal door on this test's database."""
    settings = Settings(
        database_url=database_url,
        redis_url="redis://127.0.0.1:1/0",
        admin_token=SecretStr(TOKEN),
        billing_home=tmp_path,
    )
    async with door(settings) as opened:
        yield opened


async def told(billing: Billing, *words: str) -> Any:
    result = await billing(*words, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


async def test_it_is_found_by_its_number_our_id_and_our_name(scene: OwnScene) -> None:
    id_, number = scene.ids["nw"], scene.numbers["nw"]
    await scene.query_and_commit(
        "INSERT INTO invoices (stripe_invoice_id, invoice_number, status) VALUES ('in_7', :number, 'open')", number="7"
    )
    async with scene.engine.connect() as conn:
        for ref in (number, str(id_), f"own-{id_}"):
            assert await dunning.invoice_of(conn, ref) == f"own-{id_}"
        assert await dunning.invoice_of(conn, "7") == "in_7"
        for ref in ("own-999", "own-", "999", "own-0", "9" * 30):
            with pytest.raises(UnknownIdsError):
                await dunning.invoice_of(conn, ref)


async def test_the_commands_name_it_by_its_number(scene: OwnScene, billing: Billing) -> None:
    await scene.until(2026, 11, 18)
    number = scene.numbers["nw"]
    [listed] = await told(billing, "list", "--customer", "nw_live")
    assert (listed["invoice"], listed["stripe_invoice_id"]) == (f"own-{scene.ids['nw']}", None)
    assert (listed["invoice_number"], listed["kind"], listed["api_key_prefix"]) == (number, "partner", "nw_live")
    assert (listed["email"], listed["amount_remaining_cents"]) == ("grace@hopper.example", 12_000)
    assert number in (await billing("list")).stdout
    story = await told(billing, "show", number)
    assert [one["key"].partition("/")[0] for one in story["letters"]] == ["dunning"]
    page = (await billing("show", number)).stdout
    assert page.startswith(number)
    assert "nw_live" in page


async def test_it_is_paused_resumed_skipped_and_closed(scene: OwnScene, billing: Billing) -> None:
    await scene.until(2026, 11, 18)
    number = scene.numbers["nw"]
    dry = await billing("pause", number, "--why", "they called", "--who", "ada", "--dry-run")
    assert f"{number} would be paused" in dry.stdout
    assert (await scene.own())["status"] == "open"
    paused = await told(billing, "pause", number, "--why", "they called", "--who", "ada")
    assert (paused["status"], paused["audit"][0]["why"]) == ("paused", "they called")
    await scene.days(10)
    assert await scene.templates() == ["invoice_overdue"]
    await told(billing, "resume", number, "--why", "no cheque", "--who", "ada")
    await told(billing, "skip", number, "--why", "we spoke", "--who", "ada")
    story = await told(billing, "close", number, "--lost", "--why", "insolvent", "--who", "ada")
    assert [one["action"] for one in story["audit"]] == [
        "dunning.pause",
        "dunning.resume",
        "dunning.skip",
        "dunning.close",
    ]
    assert (story["outcome"], story["invoice_status"]) == ("lost", "uncollectible")
    assert await scene.query("SELECT DISTINCT target FROM audit_log") == [(f"own-{scene.ids['nw']}",)]


async def test_what_comes_is_foretold_before_and_after_its_day(scene: OwnScene, billing: Billing) -> None:
    number = scene.numbers["nw"]
    ahead = await told(billing, "preview", number)
    assert ahead["why"] == "it is not due yet"
    foretold = [(step["at"][:10], step["letter"]) for step in ahead["steps"]]
    assert foretold[:3] == [
        ("2026-11-18", "invoice_overdue"),
        ("2026-11-23", "invoice_overdue"),
        ("2026-11-25", "final_notice"),
    ]
    scene.clock.time = datetime(2026, 11, 18, 0, 3, tzinfo=UTC)
    assert (await told(billing, "preview", number))["why"] == "it is overdue, and gets a case within the hour"
    await scene.days(30)
    letters = [(letter["created_at"][:10], letter["template"]) for letter in await scene.mails()]
    assert letters == foretold[:3]
    await scene.issue("paid")
    await scene.paid("paid")
    assert (await told(billing, "preview", scene.numbers["paid"]))["why"] == "the invoice is paid"


async def test_the_dashboard_and_the_api_show_it(scene: OwnScene, admin: Door) -> None:
    await scene.until(2026, 11, 18)
    name, number = f"own-{scene.ids['nw']}", scene.numbers["nw"]
    [listed] = (await admin.get("/admin/dunning", headers=BEARER)).json()["cases"]
    assert (listed["invoice"], listed["invoice_number"]) == (name, number)
    story = await admin.get(f"/admin/dunning/{number}", headers=BEARER)
    assert story.json()["invoice_id"] == scene.ids["nw"]
    await sign_in(admin)
    page = (await admin.get("/dunning")).text
    assert f'<a href="/dunning/{name}">{number}</a>' in page
    case = (await admin.get(f"/dunning/{name}")).text
    assert f"<h1>{number} " in case
    assert f'action="/dunning/{name}/pause"' in case
    letter = (await scene.mails())[0]["id"]
    assert f'href="/dunning/{name}">{number}</a>' in (await admin.get(f"/letters/{letter}")).text
