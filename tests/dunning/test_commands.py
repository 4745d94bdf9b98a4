"""`billing dunning`: operators see the cases, what comes next, and have their say; each time it is written down."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from intake.cli import build
from tests.dunning.kit import TUESDAY, Scene
from tests.events.kit import Json, row, rows

Billing = Callable[..., Awaitable[Result]]
MINE: Json = {
    "name": "enterprise",
    "applies_to": {"currencies": ["usd"], "min_amount_cents": 100_000},
    "steps": [
        {"day": 0, "letter": "payment_failed"},
        {"day": 30, "letter": "access_suspended", "action": "cancel_at_stripe"},
    ],
}


@pytest.fixture
def billing(monkeypatch: pytest.MonkeyPatch, database_url: str, tmp_path: Path, scene: Scene) -> Billing:
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


async def told(billing: Billing, *words: str) -> Any:
    result = await billing(*words, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


async def audit(scene: Scene) -> list[tuple[str, str, str, str | None]]:
    found = await rows(scene.engine, "audit_log")
    return [(one["who"], one["action"], one["target"], one["why"]) for one in found]


async def test_the_list_tells_who_owes_what_and_what_comes_next(scene: Scene, billing: Billing) -> None:
    assert (await billing("list")).stdout == "no case matches\n"
    await scene.begin("2", email="ben@example.org", name="Ben")
    await scene.fail()
    await scene.fail("2", code="lost_card")
    await scene.work()
    await scene.deliver(scene.pay("2"))
    (case,) = await told(billing, "list")
    told_of = [case[name] for name in ("stripe_invoice_id", "email", "status", "amount_cents", "currency")]
    assert told_of == ["in_1", "ada@example.org", "open", 1000, "usd"]
    assert (case["done_step"], case["steps_total"], case["next_step_at"]) == (0, 4, "2026-03-06T14:30:00Z")
    assert [one["stripe_invoice_id"] for one in await told(billing, "list", "--status", "all")] == ["in_2", "in_1"]
    assert [one["outcome"] for one in await told(billing, "list", "--outcome", "recovered")] == ["recovered"]
    assert await told(billing, "list", "--outcome", "lost") == []
    assert [one["id"] for one in await told(billing, "list", "--customer", "cus_1")] == [case["id"]]
    assert await told(billing, "list", "--status", "all", "--until", "2026-03-03") == []
    shown = (await billing("list", "--status", "all")).stdout
    for words in ("in_1", "A-0001", "ada@example.org", "10.00 USD", "open", "recovered", "lost_card", "1 of 4"):
        assert words in shown


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--status", "opened"], "did you mean 'open'"),
        (["--outcome", "lost", "--status", "open"], "only closed cases have one"),
        (["--limit", "0"], "limit"),
    ],
)
async def test_what_is_misspelt_is_explained(billing: Billing, words: list[str], said: str) -> None:
    result = await billing("list", *words)
    assert result.exit_code == 2
    assert said in result.stderr


async def test_a_case_tells_its_story(scene: Scene, billing: Billing) -> None:
    await scene.fail(code="do_not_honor")
    await scene.work()
    await billing("pause", "in_1", "--why", "a cheque is on its way", "--who", "ada")
    for ref in ("in_1", "A-0001", str((await row(scene.engine, "invoices"))["id"])):
        story = await told(billing, "show", ref)
        assert story["stripe_invoice_id"] == "in_1"
    assert [(one["position"], one["outcome"], one["read_from"]) for one in story["taken"]] == [(0, "taken", "stripe")]
    assert [(one["template"], one["status"]) for one in story["letters"]] == [("payment_failed", "queued")]
    assert [one["action"] for one in story["audit"]] == ["dunning.pause"]
    shown = (await billing("show", "in_1")).stdout
    for words in ("A-0001", "paused", "do_not_honor", "a cheque is on its way", "payment_failed", "read from stripe"):
        assert words in shown
    unknown = await billing("show", "in_9")
    assert unknown.exit_code == 1
    assert "no such invoice: in_9" in unknown.stderr


async def test_the_preview_shows_thirty_days(scene: Scene, billing: Billing) -> None:
    await scene.fail()
    await scene.work()
    found = await told(billing, "preview", "in_1")
    assert [(step["at"], step["letter"], step["action"]) for step in found["steps"]] == [
        ("2026-03-06T14:30:00Z", "dunning_reminder", "none"),
        ("2026-03-10T14:30:00Z", "final_notice", "none"),
        ("2026-03-17T14:30:00Z", "access_suspended", "mark_blocked"),
    ]
    shown = (await billing("preview", "A-0001")).stdout
    assert "2026-03-10 14:30:00" in shown
    assert "mark_blocked" in shown
    assert "given up" in shown
    assert await audit(scene) == []


async def test_an_invoice_that_is_paid_has_nothing_before_it(scene: Scene, billing: Billing) -> None:
    scene.invoice()
    await scene.deliver(scene.pay())
    found = await told(billing, "preview", "in_1")
    assert (found["steps"], found["why"]) == ([], "the invoice is paid")
    assert "nothing would happen" in (await billing("preview", "in_1")).stdout


async def test_a_pause_and_its_end(scene: Scene, billing: Billing) -> None:
    await scene.fail()
    await scene.work()
    paused = await told(billing, "pause", "in_1", "--until", "2026-04-01", "--why", "holidays", "--who", "ada")
    assert (paused["status"], paused["paused_until"], paused["dry_run"]) == ("paused", "2026-04-01T00:00:00Z", False)
    again = await billing("pause", "in_1", "--why", "holidays")
    assert again.exit_code == 1
    assert "paused already" in again.stderr
    assert (await told(billing, "resume", "in_1", "--why", "home", "--who", "ben"))["status"] == "open"
    assert (await billing("resume", "in_1", "--why", "home")).exit_code == 1
    assert await audit(scene) == [
        ("ada", "dunning.pause", "in_1", "holidays"), ("ben", "dunning.resume", "in_1", "home")
    ]  # fmt: skip


async def test_a_step_is_skipped_another_sent_now_and_time_is_given(scene: Scene, billing: Billing) -> None:
    await scene.fail()
    await scene.work()
    assert (await told(billing, "skip", "in_1", "--why", "we spoke"))["done_step"] == 1
    put_off = await told(billing, "extend", "in_1", "--days", "7", "--why", "holidays")
    assert (put_off["grace_days"], put_off["next_step_at"]) == (7, "2026-03-17T14:30:00Z")
    sent = await billing("send-now", "in_1", "--why", "they asked")
    assert sent.exit_code == 0
    (job,) = await scene.query("SELECT args FROM jobs WHERE name = 'take_step' ORDER BY id DESC LIMIT 1")
    assert job[0]["forced"] is True
    assert [action for _, action, _, _ in await audit(scene)] == ["dunning.skip", "dunning.extend", "dunning.send_now"]


@pytest.mark.parametrize(("option", "outcome"), [((), "exempt"), (("--lost",), "lost")])
async def test_a_case_is_let_be(scene: Scene, billing: Billing, option: tuple[str, ...], outcome: str) -> None:
    await scene.fail()
    closed = await told(billing, "close", "in_1", *option, "--why", "a friend of the house")
    assert (closed["status"], closed["outcome"]) == ("closed", outcome)
    refused = await billing("pause", "in_1", "--why", "holidays")
    assert refused.exit_code == 1
    assert f"is closed ({outcome})" in refused.stderr


@pytest.mark.parametrize("why", [(), ("--why", ""), ("--why", " ")])
@pytest.mark.parametrize(
    "what", [("pause",), ("resume",), ("skip",), ("send-now",), ("extend", "--days", "3"), ("close",)]
)
async def test_nobody_is_dealt_with_by_hand_without_a_reason(
    scene: Scene, billing: Billing, what: tuple[str, ...], why: tuple[str, ...]
) -> None:
    refused = await billing(what[0], "in_1", *what[1:], *why)
    assert refused.exit_code == 2
    assert "--why is missing" in refused.stderr
    assert f"billing dunning {' '.join([what[0], 'in_1', *what[1:]])} --why '" in refused.stderr
    assert await audit(scene) == []


@pytest.mark.parametrize(
    "words",
    [("pause", "in_1"), ("skip", "in_1"), ("send-now", "in_1"), ("extend", "in_1", "--days", "3"), ("close", "in_1")],
)
async def test_a_dry_run_changes_nothing(scene: Scene, billing: Billing, words: tuple[str, ...]) -> None:
    await scene.fail()
    await scene.work()
    before = await scene.case()
    shown = await billing(*words, "--dry-run", "--why", "a try")
    assert shown.exit_code == 0, shown.output
    assert "nothing was changed" in shown.stdout
    tried = await told(billing, *words, "--dry-run", "--why", "a try")
    assert tried["dry_run"] is True
    assert await scene.case() == before
    assert await audit(scene) == []


async def test_policies_are_written_shown_and_taken_away(scene: Scene, billing: Billing, tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    file.write_text(json.dumps(MINE))
    tried = await billing("policies", "set", str(file), "--dry-run")
    assert "enterprise would be added; nothing was changed" in tried.stdout
    assert [one["name"] for one in await told(billing, "policies", "list")] == ["default"]
    assert (
        await billing("policies", "set", str(file), "--why", "sales", "--who", "ada")
    ).stdout == "enterprise added\n"
    assert (await billing("policies", "set", str(file))).stdout == "enterprise changed\n"
    assert [one["name"] for one in await told(billing, "policies", "list")] == ["enterprise", "default"]
    table = (await billing("policies", "list")).stdout
    assert "everybody else" in table
    assert "0, 3, 7, 14" in table
    shown = await billing("policies", "show", "enterprise")
    file.write_text(shown.stdout)
    assert (await billing("policies", "set", str(file))).exit_code == 0
    assert (await billing("policies", "remove", "enterprise", "--dry-run")).exit_code == 0
    assert (await billing("policies", "remove", "enterprise")).stdout == "enterprise removed\n"
    for gone in (("remove", "enterprise"), ("show", "enterprise")):
        refused = await billing("policies", *gone)
        assert refused.exit_code == 1
        assert "no such policy: enterprise" in refused.stderr
    assert (await audit(scene))[0] == ("ada", "dunning.policy.put", "enterprise", "sales")


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("{", "is not JSON"),
        ('{"name": "x"}', "steps: Field required"),
        (json.dumps(MINE | {"name": "default"}), "choose another name"),
        (json.dumps(MINE | {"stepz": []}), "stepz: Extra inputs"),
    ],
)
async def test_a_policy_that_cannot_be_is_explained(billing: Billing, tmp_path: Path, written: str, said: str) -> None:
    file = tmp_path / "mine.json"
    file.write_text(written)
    result = await billing("policies", "set", str(file))
    assert result.exit_code == 2
    assert said in result.stderr
    assert (await billing("policies", "set", str(tmp_path / "none.json"))).exit_code == 2


async def test_the_figures_at_a_terminal(scene: Scene, billing: Billing) -> None:
    assert "no case was opened" in (await billing("figures")).stdout
    await scene.begin("2")
    await scene.fail()
    await scene.fail("2", code="lost_card")
    await scene.work()
    scene.clock.move(timedelta(days=2, hours=5))
    await scene.deliver(scene.pay("2"))
    found = await told(billing, "figures", "--since", "90d")
    assert (found["cases"], found["decided"], found["recovered"], found["rate_bp"]) == (2, 1, 1, 10_000)
    assert found["since"] == (TUESDAY - timedelta(days=87, hours=19)).isoformat().replace("+00:00", "Z")
    shown = (await billing("figures")).stdout
    for words in ("2 cases: 1 open, 1 recovered", "100.00 %", "2 d 5 h", "10.00 USD", "payment_failed", "lost_card"):
        assert words in shown
