"""Operators are written to when something is wrong, once, and again when what is wrong has changed."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncEngine

from db import reconciliation as comparisons
from db import schedules
from db.reconciliation import NewRun
from db.states import DifferenceClass
from jobs.mail.brand import Brand
from jobs.mail.render import render
from jobs.reconciliation.daily import reconcile_books
from jobs.reconciliation.outages import notice_outages
from tests.reconciliation.looking_kit import World
from tests.reconciliation.test_run import mend, run
from tests.reconciliation.test_run_guards import Sick
from tests.reconciliation.test_run_missed import go_on, lose_a_product
from tests.reconciliation.test_run_waits import open_invoice
from tests.simulator.life import Life
from worker.adapters.stripe_api import NoKey
from worker.errors import Refused


@pytest.fixture
async def world(engine: AsyncEngine) -> World:
    world = World(engine, Life())
    settings = world.deps.settings.model_copy(update={"billing_admin_url": "https://desk.example/"})
    world.deps = replace(world.deps, settings=settings)
    open_invoice(world.life)
    await go_on(world, 0.5, "Ada")
    assert (await run(world)).agrees
    return world


async def letters(world: World, template: str = "reconciliation_report") -> list[dict[str, Any]]:
    rows = await world.query("SELECT context FROM emails WHERE template = :name ORDER BY id", name=template)
    return [row[0] for row in rows]


def text_of(context: dict[str, Any], template: str = "reconciliation_report") -> str:
    brand = Brand(name="Acme", color="#3552d1")
    written = render(template, context, locale="en", timezone="UTC", brand=brand)
    return f"{written.subject}\n{written.text}"


async def test_what_remains_is_told_once_and_again_when_it_changes(world: World) -> None:
    await world.change("UPDATE invoices SET total_cents = total_cents + 1")
    for _ in range(3):
        await run(world)
    (letter,) = await letters(world)
    said = text_of(letter)
    for part in (
        "1 difference needs you",
        "another amount",
        "billing reconcile --repair",
        f"billing reconcile show {letter['run']}",
        f"https://desk.example/reconciliation/{letter['run']}",
        "Mode: test",
        "Stripe account: acct_",
    ):
        assert part in said, said
    await world.change("UPDATE invoices SET total_cents = total_cents + 1")
    await run(world)
    assert len(await letters(world)) == 2, "another value"
    await mend(world)
    assert "all repaired" in text_of((await letters(world))[2]) or "repaired" in text_of((await letters(world))[2])
    await run(world)
    assert len(await letters(world)) == 3, "books that agree are no news"
    await world.change("UPDATE invoices SET total_cents = total_cents + 1")
    await run(world)
    assert len(await letters(world)) == 4, "it is back"


async def test_events_that_did_not_come_and_are_fetched(world: World) -> None:
    await lose_a_product(world)
    await go_on(world, 2, "Bo")
    for _ in range(2):
        assert (await run(world)).found == 0
    (letter,) = await letters(world)
    said = text_of(letter)
    assert "Reconciliation: incomplete, please have a look" in said
    assert "1 event of Stripe's did not come since 2026-" in said
    await run(world, repairs=frozenset({DifferenceClass.MISSING_HERE}))
    said = text_of((await letters(world))[1])
    assert "Reconciliation: missed events were fetched" in said
    assert "1 event of Stripe's had never come" in said
    assert "There is nothing to do." in said
    await run(world)
    assert len(await letters(world)) == 2


async def test_an_event_of_some_minutes_ago_is_no_news(world: World) -> None:
    await lose_a_product(world)
    await go_on(world, 0.5 / 24, "Bo")
    report = await run(world)
    assert (report.events.missed, report.events.lost) == (1, 0)
    assert await letters(world) == []


async def test_objects_that_could_not_be_compared(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.reconciliation.snapshot_kinds.TRIES", 1)
    await world.change("UPDATE invoices SET total_cents = total_cents + 1")
    api = Sick(world.life)
    api.sick = ("invoices/",)
    world.deps = replace(world.deps, stripe=api)
    for _ in range(2):
        assert (await run(world)).skipped == 1
    (letter,) = await letters(world)
    assert "could not be compared: Stripe answered 500" in text_of(letter)


async def test_a_run_that_could_not_begin_is_told_once_for_each_reason(world: World) -> None:
    class Wrong(Sick):
        why = "Stripe answered 401 to GET /v1/events: Invalid API Key provided: sk_test_****"

        async def retrieve(self, path: str, **params: Any) -> dict[str, Any]:
            self.asked.append((path, params))
            raise Refused(self.why)

    right = world.deps

    async def daily() -> None:
        await reconcile_books.run(world.deps, {"period": world.deps.clock.now().isoformat()})

    async def told() -> int:
        return len(await letters(world, "books_alarm"))

    for stripe, count in ((Wrong(world.life), 1), (NoKey(), 2), (Wrong(world.life), 2), (NoKey(), 2)):
        world.deps = replace(right, stripe=stripe)
        await daily()
        assert await told() == count
    said = text_of((await letters(world, "books_alarm"))[0], "books_alarm")
    for part in ("not compared with Stripe", "Invalid API Key", "billing reconcile list", "https://desk.example/recon"):
        assert part in said, said
    world.deps = right
    await daily()
    world.deps = replace(right, stripe=NoKey())
    await daily()
    assert await told() == 3, "it was well in between"


async def test_without_an_address_of_the_dashboard_the_command_is_named(world: World) -> None:
    world.deps = replace(world.deps, settings=world.deps.settings.model_copy(update={"billing_admin_url": None}))
    await world.change("UPDATE invoices SET total_cents = total_cents + 1")
    await run(world)
    (letter,) = await letters(world)
    assert letter["link"] is None
    assert f"billing reconcile show {letter['run']}" in text_of(letter)


async def test_overdue_names_no_error_of_long_ago(world: World) -> None:
    settings = world.deps.settings.model_copy(update={"stripe_secret_key": SecretStr("sk_test_x")})
    world.deps = replace(world.deps, settings=settings)
    now = world.deps.clock.now()
    new = NewRun("", None, "schedule", now - timedelta(days=1), now, frozenset(), dry_run=False)
    async with world.engine.begin() as conn:
        await comparisons.could_not(conn, new, "STRIPE_SECRET_KEY is a key of live mode", now)
    world.life.wait(60)
    world.life.customer("Bo")
    await world.tell()
    assert (await run(world)).agrees
    begun = world.deps.clock.now()
    async with world.engine.begin() as conn:
        await schedules.take_period(conn, "reconcile", begun, now=begun)
    world.life.wait(1.5)
    async with world.engine.begin() as conn:
        new = NewRun("acct_b", None, "schedule", begun - timedelta(days=1), begun, frozenset(), dry_run=False)
        await comparisons.could_not(conn, new, "Stripe answered 503", world.deps.clock.now())
    world.life.wait(1)
    await notice_outages.run(world.deps, {"period": world.deps.clock.now().isoformat()})
    (letter,) = await letters(world, "books_alarm")
    assert "live mode" not in text_of(letter, "books_alarm")
    assert "The last one ended with: acct_b: Stripe answered 503" in text_of(letter, "books_alarm")
