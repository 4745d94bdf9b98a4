"""`billing events backfill` as an operator calls it, against a simulated Stripe over HTTP."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from typer.testing import CliRunner, Result

from deploy.demo.simulator.server import serving
from deploy.demo.simulator.simulation import Simulation
from intake.cli import build
from tests.operators.books import Billing
from tests.reconciliation.looking_kit import World
from tests.simulator.kit import START
from tests.simulator.life import Life, one_off_payments


@pytest.fixture
def simulation() -> Simulation:
    return Simulation(7, START)


@pytest.fixture
def world(engine: AsyncEngine, simulation: Simulation) -> World:
    life = Life(simulation.api)
    one_off_payments(life)
    life.wait(1)
    return World(engine, life)


@pytest.fixture
async def billing(
    monkeypatch: pytest.MonkeyPatch, database_url: str, tmp_path: Path, simulation: Simulation, world: World
) -> AsyncIterator[Billing]:
    """Runs the command `billing …` against this test's database and the simulated Stripe."""
    clock = tmp_path / "clock"
    clock.write_text(str(world.life.api.account.now()))
    async with serving(simulation) as address:
        for name, value in (
            ("DATABASE_URL", database_url),
            ("REDIS_URL", "redis://127.0.0.1:1/0"),
            ("BILLING_HOME", str(tmp_path)),
            ("BILLING_CLOCK_FILE", str(clock)),
            ("STRIPE_SECRET_KEY", "sk_test_backfill"),
            ("STRIPE_API_BASE", address),
            ("BILLING_STRIPE_REQUESTS_PER_SECOND", "1000"),
        ):
            monkeypatch.setenv(name, value)

        async def run(*words: str, answer: str | None = None) -> Result:
            return await asyncio.to_thread(CliRunner().invoke, build(words[0]), list(words), input=answer)

        yield run


async def test_a_script_counts_puts_and_is_audited(billing: Billing, world: World) -> None:
    dry = await billing("events", "backfill", "--since", "20d", "--dry-run", "--json")
    assert dry.exit_code == 0, dry.output
    told = json.loads(dry.stdout)
    assert (told["put"], told["dry_run"]) == (0, True)
    assert told["missed"] == told["seen"] == sum(told["by_type"].values()) > 20
    assert await world.query("SELECT 1 FROM webhook_events") == []
    done = await billing("events", "backfill", "--since", "20d", "--why", "an outage", "--who", "ada", "--json")
    assert json.loads(done.stdout) == told | {"put": told["missed"], "dry_run": False}
    ((who, action, why, details),) = await world.query("SELECT who, action, why, details FROM audit_log")
    assert (who, action, why) == ("ada", "events.backfill", "an outage")
    assert (details["put"], details["by_type"]) == (told["missed"], told["by_type"])
    again = await billing("events", "backfill", "--since", "20d")
    assert again.exit_code == 0
    assert "0 of them were not here; 0 were put into the inbox" in again.stdout
    assert len(await world.query("SELECT 1 FROM audit_log")) == 1


async def test_a_person_is_asked(billing: Billing, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("intake.commands.render.is_person", lambda: True)
    no = await billing("events", "backfill", "--since", "20d", "--type", "charge.succeeded", answer="n\n")
    assert no.exit_code == 1
    assert "charge.succeeded" in no.stdout
    assert await world.query("SELECT 1 FROM webhook_events") == []
    yes = await billing("events", "backfill", "--since", "20d", "--type", "charge.succeeded", answer="y\n")
    assert yes.exit_code == 0, yes.output
    assert await world.query("SELECT DISTINCT type, source FROM webhook_events") == [("charge.succeeded", "events_api")]


async def test_what_cannot_be_is_said(billing: Billing, monkeypatch: pytest.MonkeyPatch) -> None:
    old = await billing("events", "backfill", "--since", "40d")
    assert old.exit_code == 2
    assert "billing reconcile --repair" in " ".join(old.output.split())
    wrong = await billing("events", "backfill", "--since", "soon")
    assert wrong.exit_code == 2
    assert "is no time" in wrong.output
    typed = await billing("events", "backfill", "--since", "1d", "--type", "invoice.payed")
    assert (typed.exit_code, "did you mean 'invoice.paid'" in typed.output) == (2, True), typed.output
    group = await billing("events", "backfill", "--since", "1d", "--type", "invioce.*")
    assert (group.exit_code, "is no type of event that Stripe has" in group.output) == (2, True), group.output
    future = await billing("events", "backfill", "--since", "2030-01-01")
    assert (future.exit_code, "--since: is in the future" in future.output) == (2, True), future.output
    upside_down = await billing("events", "backfill", "--since", "1d", "--until", "2d")
    assert upside_down.exit_code == 2
    monkeypatch.setattr("jobs.reconciliation.lists.TRIES", 1)
    monkeypatch.setenv("STRIPE_API_BASE", "http://127.0.0.1:1")
    away = await billing("events", "backfill", "--since", "1d")
    assert away.exit_code == 1, away.output
    assert "run it again later" in " ".join(away.output.split())
    assert "Stripe answered nothing to GET /v1/events: ConnectError. What was" in " ".join(away.output.split())
