"""`billing reconcile` as an operator calls it: against a simulated Stripe over HTTP, and with what was found before."""

import asyncio
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from typer.testing import CliRunner, Result

from db import reconciliation as comparisons
from db.reconciliation import NewRun
from deploy.demo.simulator.server import serving
from deploy.demo.simulator.simulation import Simulation
from intake.cli import build
from tests.operators.books import Billing
from tests.reconciliation.desk_kit import AT, CUSTOMER, MISSING, PERIOD, compared
from tests.reconciliation.looking_kit import World
from tests.simulator.kit import START
from tests.simulator.life import Life, catalogue, one_off_payments
from worker.settings import ConfigurationError, Settings, load_settings


@pytest.fixture
def billing(monkeypatch: pytest.MonkeyPatch, database_url: str, tmp_path: Path) -> Billing:
    """Runs the command `billing …` against this test's database."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")  # away: each process counts its requests for itself
    monkeypatch.setenv("BILLING_HOME", str(tmp_path))

    async def run(*words: str, answer: str | None = None) -> Result:
        return await asyncio.to_thread(CliRunner().invoke, build(words[0]), list(words), input=answer)

    return run


async def test_without_a_key_it_says_what_is_missing(billing: Billing) -> None:
    told = await billing("reconcile")
    assert told.exit_code == 2
    assert "STRIPE_SECRET_KEY" in told.output


async def test_what_is_wrongly_typed_is_told(billing: Billing) -> None:
    for words, said in (
        (["--repair", "--only", "statuss"], "did you mean 'status'"),
        (["--repair", "--only", "missing_there"], "never mended by itself"),
        (["--only", "status"], "add --repair"),
        (["--account-changed"], "--why is missing"),
        (["dismiss", "1"], "--why is missing"),
        (["differences", "--class", "amoun"], "did you mean 'amount'"),
        (["dismiss", "--why", "x"], "name ids, or a filter"),
        (["dismiss", "1", "--class", "amount", "--why", "x"], "name ids, or a filter"),
        (["dismiss", "--class", "amoun", "--why", "x"], "did you mean 'amount'"),
        (["dismiss", "1", "--why", "r\udcfcckst\udce4ndig"], "--why: holds a character that is no text"),
        (["dismiss", "1", "--why", "x", "--who", "\udcfc"], "--who: holds a character that is no text"),
        (["show", str(2**63)], "9223372036854775807"),
    ):
        told = await billing("reconcile", *words)
        assert (told.exit_code, said in " ".join(told.output.split())) == (2, True), told.output
    nothing = await billing("reconcile", "dismiss", "--class", "amount", "--why", "x")
    assert (nothing.exit_code, "no difference that is open matches" in nothing.output) == (1, True)
    assert (await billing("reconcile", "show", "7")).exit_code == 1
    assert (await billing("reconcile", "dismiss", "7", "--why", "x")).exit_code == 1


async def test_a_comparison_over_http(
    billing: Billing, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    simulation = Simulation(7, START)
    life = Life(simulation.api)
    catalogue(life)
    one_off_payments(life)
    life.wait(0.5)
    world = World(engine, life)
    await world.tell()
    clock = tmp_path / "clock"
    clock.write_text(str(life.api.account.now()))
    monkeypatch.setenv("BILLING_CLOCK_FILE", str(clock))
    monkeypatch.setenv("STRIPE_SECRET_KEY", "sk_test_reconcile")
    monkeypatch.setenv("BILLING_STRIPE_REQUESTS_PER_SECOND", "1000")
    async with serving(simulation) as address:
        monkeypatch.setenv("STRIPE_API_BASE", address)
        told = await billing("reconcile")
        assert (told.exit_code, "our books agree with Stripe" in told.output) == (0, True), told.output
        own = json.loads((await billing("reconcile", "list", "--json")).stdout)[0]["report"]["stripe_id"]
        named = await billing("reconcile", "--account", own, "--json")
        assert json.loads(named.stdout)["account"] == "", "our own account, however it is named"
        future = await billing("reconcile", "--until", "2030-01-01")
        assert (future.exit_code, "is in the future" in future.output) == (2, True), future.output
        await world.change(
            "UPDATE charges SET amount_cents = amount_cents + 1 WHERE id = (SELECT max(id) FROM charges)"
        )
        dry = await billing("reconcile", "--dry-run", "--json")
        assert (dry.exit_code, json.loads(dry.stdout)["classes"]["amount"]["mended"] > 0) == (1, True), dry.output
        off = await billing("reconcile")
        assert off.exit_code == 1
        assert "What Stripe" not in off.output
        assert "billing reconcile --repair" in off.output
        mended = await billing("reconcile", "--repair", "--why", "it was us", "--who", "ada")
        assert (mended.exit_code, "all mended" in mended.output) == (0, True), mended.output
        assert (await billing("reconcile", "differences")).output.strip() == "no difference is open"
        assert "repaired" in (await billing("reconcile", "differences", "--all")).output
    assert await world.query("SELECT who, why FROM audit_log WHERE action = 'reconciliation.run'") == [
        ("ada", "it was us")
    ]
    away = await billing("reconcile")
    assert (away.exit_code, "run it again later" in away.output) == (1, True), away.output
    assert "support@stripe.com" not in away.output


async def test_what_was_found_before(billing: Billing, engine: AsyncEngine) -> None:
    assert "never compared" in (await billing("reconcile", "list")).output
    report = await compared(engine, MISSING, PERIOD)
    listed = await billing("reconcile", "list")
    assert "2026-11-19 06:00 to 2026-11-20 06:00" in listed.output
    (row,) = json.loads((await billing("reconcile", "list", "--json")).stdout)
    assert (row["found"], row["left"]) == (2, 1)
    shown = (await billing("reconcile", "show", str(report.run))).output
    for said in ("12,000.00", "12,049.00", "-49.00", "49.00 EUR", "2026-12-31 00:00:00", "repaired", "1 remains"):
        assert said in shown, shown
    tried = await billing("reconcile", "dismiss", "1", "--why", "known", "--dry-run")
    assert "nothing was changed" in tried.output
    done = await billing("reconcile", "dismiss", "1", "--why", "known", "--json")
    assert json.loads(done.stdout) == {"dismissed": [1], "dry_run": False}
    assert (await billing("reconcile", "differences")).output.strip() == "no difference is open"


async def test_many_are_dismissed_at_once_and_an_account_that_is_gone_is_told(
    billing: Billing, engine: AsyncEngine
) -> None:
    gone = "acct_gone"
    await compared(engine, MISSING, CUSTOMER)
    await compared(engine, MISSING, replace(MISSING, object_id="ch_2"), account=gone)
    async with engine.begin() as conn:
        new = NewRun(gone, None, "schedule", AT, AT + timedelta(days=1), frozenset(), dry_run=False)
        await comparisons.could_not(conn, new, "Stripe answered 403 to GET /v1/events", AT + timedelta(days=1))
    listed = " ".join((await billing("reconcile", "differences")).output.split())
    for said in ("our own", f"{gone} could not be compared", f"dismiss --account {gone} --why", "customer cus_1"):
        assert said in listed, listed
    assert "customer cus_1 missing there" in listed, "words, not two dashes"
    assert len(json.loads((await billing("reconcile", "differences", "--account", gone, "--json")).stdout)) == 2
    assert len(json.loads((await billing("reconcile", "differences", "--account", "own", "--json")).stdout)) == 2
    words = ("reconcile", "dismiss", "--account", gone, "--class", "missing_here", "--why", "disconnected")
    tried = await billing(*words, "--dry-run")
    assert tried.output.count("would be dismissed; nothing was changed") == 2
    done = await billing(*words, "--json")
    assert len(json.loads(done.stdout)["dismissed"]) == 2
    async with engine.connect() as conn:
        audited = await conn.execute(text("SELECT why FROM audit_log WHERE action LIKE '%dismiss'"))
        assert list(audited.scalars()) == ["disconnected"] * 2, "each of them"
    assert {
        one["stripe_account"] for one in json.loads((await billing("reconcile", "differences", "--json")).stdout)
    } == {""}


def test_the_setting_names_classes_that_can_be_mended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BILLING_RECONCILE_REPAIR", "safe,amount")
    wanted = {"missing_here", "status", "period", "fee", "refund", "amount"}
    assert load_settings().billing_reconcile_repair == wanted
    assert Settings(admin_token=SecretStr("x"), billing_reconcile_repair=frozenset()).billing_reconcile_repair == set()
    for value, said in (
        ("stats", "did you mean status"),
        ("missing_there", "did you mean missing_here"),
        ("x", "there are safe"),
    ):
        monkeypatch.setenv("BILLING_RECONCILE_REPAIR", value)
        with pytest.raises(ConfigurationError, match=said):
            load_settings()
