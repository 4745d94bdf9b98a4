"""`billing mail`: letters are found, told, sent again on purpose; addresses are suppressed and lifted."""

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from db.operators import jobs as operators
from db.operators.actions import Actor
from db.operators.emails import SENDER
from intake.cli import build
from jobs.mail.send_letter import send_letter
from tests.mail.carriers import FakeMailer
from tests.mail.post import Post
from worker.errors import Refused, Undeliverable

NO_SUCH_USER = Undeliverable("550 5.1.1 no such user")


@pytest.fixture(autouse=True)
def configured(monkeypatch: pytest.MonkeyPatch, database_url: str, tmp_path: Path) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("BILLING_HOME", str(tmp_path))
    monkeypatch.setenv("BILLING_BRAND_NAME", "Northwind")


async def mail(*words: str) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, build("mail"), ["mail", *words])


async def told(*words: str) -> Any:
    result = await mail(*words, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture
async def letters(post: Post, fake: FakeMailer) -> Post:
    """One sent, one bounced, one suppressed, one dead, one cancelled, one queued."""
    fake.answers = ["taken-1"]
    await post.stage("receipt/in_1")
    await post.work()
    fake.answers = [NO_SUCH_USER]
    await post.stage("recovered/in_2", "recovered")
    await post.work()
    await post.stage("receipt/in_3")
    await post.work()
    await post.execute("DELETE FROM suppressed_addresses")
    fake.answers = [Refused("550 5.7.1 this looks like spam")]
    await post.stage("receipt/in_4")
    await post.work()
    await post.stage("receipt/in_5")
    async with post.engine.begin() as conn:
        wanted = await operators.cancel_of_ids(conn, [(await post.job("receipt/in_5"))["id"]])
        await operators.cancel(conn, wanted, Actor("ada"), now=post.clock.now())
    await post.stage("receipt/in_6", occurred_at=post.clock.now() - timedelta(days=1))
    return post


async def keys(*words: str) -> list[str]:
    return [row["key"] for row in await told("list", *words)]


async def test_listing_and_filters(letters: Post) -> None:
    await letters.execute("UPDATE emails SET created_at = now() - interval '3 days' WHERE key = 'receipt/in_1'")
    await letters.execute("UPDATE emails SET created_at = now() WHERE key <> 'receipt/in_1'")
    everything = [f"receipt/in_{n}" for n in (6, 5, 4, 3)] + ["recovered/in_2", "receipt/in_1"]
    assert await keys() == everything
    assert await keys("--limit", "2") == everything[:2]
    assert await keys("--status", "sent") == ["receipt/in_1"]
    assert await keys("--status", "bounced") == ["recovered/in_2"]
    assert await keys("--status", "suppressed") == ["receipt/in_3"]
    assert await keys("--status", "dead") == ["receipt/in_4"]
    assert await keys("--status", "cancelled") == ["receipt/in_5"]
    assert await keys("--status", "queued") == ["receipt/in_6"]
    assert await keys("--template", "reco*") == ["recovered/in_2"]
    assert await keys("--to", "ADA@example.com") == everything
    assert await keys("--to", "*@nowhere.example") == []
    assert await keys("--since", "1d") == everything[:-1]
    assert await keys("--until", "1d") == everything[-1:]
    shown = (await mail("list")).stdout
    assert "this looks like spam" in shown
    assert "recovered/in_2" in shown
    assert (await mail("list", "--to", "nobody@example.com")).stdout.strip() == "no letter matches"
    wrong = await mail("list", "--status", "send")
    assert wrong.exit_code == 2
    assert "did you mean" in wrong.stderr


async def test_a_worker_that_was_killed_too_often_leaves_a_dead_letter(letters: Post) -> None:
    """Nobody is left to say so in the letter's own row: its job's row does."""
    await letters.execute("UPDATE emails SET status = 'sending' WHERE key = 'receipt/in_6'")
    await letters.execute(
        "UPDATE jobs SET status = 'dead', last_error = 'its worker died 5 times' "
        "WHERE unique_key = 'letter/receipt/in_6'"
    )
    (row,) = [row for row in await told("list", "--status", "dead") if row["key"] == "receipt/in_6"]
    assert row["reason"] == "its worker died 5 times"


async def test_one_letters_story(letters: Post) -> None:
    row = await letters.letter("receipt/in_4")
    story = await told("show", "receipt/in_4")
    assert story == await told("show", str(row["id"]))
    assert (story["status"], story["reason"]) == ("dead", "550 5.7.1 this looks like spam")
    assert [one["outcome"] for one in story["history"]] == ["refused"]
    assert "Northwind" in story["text"]
    shown = (await mail("show", "receipt/in_4")).stdout
    for part in ("letter ", "receipt", "ada@example.com", "this looks like spam", "Northwind", "refused"):
        assert part in shown
    unknown = await mail("show", "receipt/in_99")
    assert unknown.exit_code == 1
    assert "no such letter: receipt/in_99" in unknown.stderr


async def test_a_letter_whose_facts_no_longer_fit_is_told_all_the_same(letters: Post) -> None:
    await letters.execute("UPDATE emails SET context = '{}' WHERE key = 'receipt/in_1'")
    assert (await told("show", "receipt/in_1"))["text"].startswith("cannot be written: ")


async def test_a_copy_on_purpose_is_a_letter_of_its_own(letters: Post, fake: FakeMailer) -> None:
    await letters.execute("UPDATE emails SET occurred_at = occurred_at - interval '1 year'")
    assert (await told("resend", "receipt/in_1", "--dry-run")) == {"letter": None, "dry_run": True}
    assert len(await letters.query("SELECT id FROM emails")) == 6
    before = len(fake.raw)
    answer = await told("resend", "receipt/in_1", "--why", "she asked for it", "--who", "bob")
    await letters.work_in_real_time()
    copy = await letters.letter("receipt/in_1/again/1")
    assert (copy["id"], copy["status"]) == (answer["letter"], "sent")
    first = await letters.letter("receipt/in_1")
    assert copy["message_id"] != first["message_id"], "a mail program would hide a second one of the same"
    assert len(fake.raw) > before
    story = await told("show", "receipt/in_1")
    assert [one["key"] for one in story["resent"]] == ["receipt/in_1/again/1"]
    assert [(one["who"], one["why"]) for one in story["audit"]] == [("bob", "she asked for it")]
    assert "on its way" in (await mail("resend", "receipt/in_1")).stdout
    assert await keys("--status", "queued") == ["receipt/in_1/again/2"]


@pytest.mark.parametrize("key", ["receipt/in_4", "receipt/in_5"])
async def test_what_never_went_out_goes_out_itself(letters: Post, key: str) -> None:
    """A parked letter, and one whose job was cancelled."""
    answer = await told("resend", key)
    assert answer["letter"] == (await letters.letter(key))["id"]
    await letters.work_in_real_time()
    assert (await letters.letter(key))["status"] == "sent"
    assert await letters.query("SELECT id FROM emails WHERE key LIKE '%/again/%'") == []


async def test_what_is_on_its_way_is_not_sent_again(letters: Post) -> None:
    result = await mail("resend", "receipt/in_6")
    assert result.exit_code == 1
    assert "is on its way" in result.stderr


async def test_nothing_is_sent_again_to_a_suppressed_address(letters: Post) -> None:
    assert (await mail("suppressed", "add", "Ada@example.com", "--why", "asked us")).exit_code == 0
    result = await mail("resend", "receipt/in_1")
    assert result.exit_code == 1
    assert "billing mail suppressed lift ada@example.com" in result.stderr.replace("\n", " ")


async def test_addresses_are_suppressed_and_lifted(letters: Post) -> None:
    assert await told("suppressed", "list") == []
    assert "every address" in (await mail("suppressed", "list")).stdout
    assert await told("suppressed", "add", "Bob@example.com", "--why", "x", "--dry-run") == {
        "changed": False,
        "dry_run": True,
    }
    assert await told("suppressed", "list") == []
    await told("suppressed", "add", "Bob@example.com", "--why", "asked us by telephone", "--who", "ada")
    (row,) = await told("suppressed", "list")
    assert (row["address"], row["source"], row["reason"]) == ("bob@example.com", "operator", "asked us by telephone")
    assert (await told("suppressed", "add", "bob@example.com", "--why", "again"))["changed"] is False
    assert "telephone" in (await mail("suppressed", "list")).stdout
    assert (await mail("suppressed", "lift", "bob@example.com", "--why", "y", "--dry-run")).exit_code == 0
    assert len(await told("suppressed", "list")) == 1
    assert (await told("suppressed", "lift", "BOB@example.com", "--why", "he is back"))["changed"] is True
    assert await told("suppressed", "list") == []
    gone = await mail("suppressed", "lift", "bob@example.com", "--why", "he is back")
    assert gone.exit_code == 1
    assert "is not suppressed" in gone.stderr
    audit = await letters.query("SELECT action, target, why FROM audit_log WHERE action LIKE 'addresses.%' ORDER BY id")
    assert [(one["action"], one["target"], one["why"]) for one in audit] == [
        ("addresses.suppress", "bob@example.com", "asked us by telephone"),
        ("addresses.lift", "bob@example.com", "he is back"),
    ]


@pytest.mark.parametrize("words", [["bob", "--why", "x"], ["a@b@c", "--why", "x"], ["", "--why", "x"], ["bob@x.de"]])
async def test_an_address_and_a_reason_are_asked_for(words: list[str]) -> None:
    for verb in ("add", "lift"):
        assert (await mail("suppressed", verb, *words)).exit_code == 2


def test_the_sender_keeps_its_name() -> None:
    """Commands stage it by name, and rows hold it."""
    assert send_letter.name == SENDER
