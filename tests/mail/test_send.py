"""A staged letter is sent once and recorded; what its carrier says decides whether it is tried again, and when not."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from db.operators import emails as letters
from db.operators import jobs as operators
from db.operators.actions import Actor
from jobs.mail.letters import Recipient
from jobs.mail.send_letter import MOST_UNCLEAR, OPERATORS, TRIES, UNCLEAR_WAIT
from tests.mail.carriers import FakeMailer
from tests.mail.post import ADA, Post, counted
from worker.errors import Refused, TryLater, Unclear, Undeliverable

LATER = TryLater("451 4.3.0 the disk is full")
WHO_KNOWS = Unclear("the server was sent the letter, and did not say that it took it")
NO_SUCH_USER = Undeliverable("550 5.1.1 no such user")
SPAM = Refused("550 5.7.1 this looks like spam")

Counts = Callable[[str], float]


def _status(row: dict[str, Any]) -> str:
    return row["status"]


@pytest.fixture
def receipts() -> Counts:
    """How many receipts came to an outcome since the test began."""
    before = {one: counted("receipt", one) for one in ("sent", "later", "unclear", "possible_copy", "bounced", "dead")}
    return lambda outcome: counted("receipt", outcome) - before[outcome]


async def test_a_staged_letter_is_sent_once_and_recorded(post: Post, fake: FakeMailer, receipts: Counts) -> None:
    assert await post.stage("receipt/in_1") is not None
    assert await post.stage("receipt/in_1") is None, "staging it twice is staging it once"
    await post.work()
    (sent,) = fake.letters()
    assert str(sent["to"]) == "Ada Lovelace <ada@example.com>"
    assert str(sent["from"]) == "Northwind <billing@northwind.example>"
    assert str(sent["message-id"]).endswith("@northwind.example>")
    row = await post.letter("receipt/in_1")
    assert (row["status"], row["attempts"], row["copies"]) == ("sent", 1, 1)
    assert (row["provider_id"], row["sent_at"], row["reason"]) == ("taken-1", post.clock.now(), None)
    assert row["subject"] == str(sent["subject"])
    assert (await post.job("receipt/in_1"))["status"] == "done"
    assert row["job_id"] == (await post.job("receipt/in_1"))["id"]
    assert (receipts("sent"), receipts("possible_copy")) == (1, 0)


async def test_a_letter_exists_only_if_its_transaction_commits(post: Post) -> None:
    async def fails() -> None:
        async with post.deps.tx() as tx:
            await post.stage_in(tx, "receipt/in_1")
            raise LookupError

    with pytest.raises(LookupError):
        await fails()
    assert await post.query("SELECT id FROM emails") == []
    assert await post.query("SELECT id FROM jobs") == []


async def test_what_is_busy_is_tried_again(post: Post, fake: FakeMailer, receipts: Counts) -> None:
    fake.answers = [LATER, LATER]
    await post.stage("receipt/in_1")
    await post.work()
    row = await post.letter("receipt/in_1")
    assert (row["status"], row["copies"], row["reason"]) == ("queued", 0, LATER.reason)
    await post.work_on()
    row = await post.letter("receipt/in_1")
    assert (row["status"], row["attempts"], row["copies"], row["reason"]) == ("sent", 3, 1, None)
    assert (receipts("later"), receipts("sent"), receipts("possible_copy")) == (2, 1, 0)


async def test_an_unclear_answer_sends_the_same_letter_again_and_counts_it(
    post: Post, fake: FakeMailer, receipts: Counts
) -> None:
    fake.answers = [WHO_KNOWS]
    await post.stage("receipt/in_1")
    await post.work()
    row = await post.letter("receipt/in_1")
    assert (row["status"], row["copies"], row["reason"]) == ("sending", 1, WHO_KNOWS.reason)
    fake.answers = [LATER]
    await post.work_on()
    row = await post.letter("receipt/in_1")
    assert (row["status"], row["attempts"], row["copies"]) == ("sent", 3, 2)
    assert (receipts("unclear"), receipts("possible_copy"), receipts("sent")) == (1, 1, 1)


async def test_each_copy_is_the_same_to_the_byte(post: Post, fake: FakeMailer) -> None:
    await post.stage("receipt/in_1")
    await post.work()
    post.clock.move(timedelta(days=1))
    await post.execute("UPDATE emails SET status = 'sending'")
    async with post.engine.begin() as conn:
        wanted = await operators.retry_of_ids(conn, [(await post.job("receipt/in_1"))["id"]], again=True)
        await operators.retry(conn, wanted, Actor("ada"), now=post.clock.now(), again=True)
    await post.work()
    assert len(fake.raw) == 2
    assert fake.raw[0] == fake.raw[1]


async def test_a_refused_address_is_suppressed_until_somebody_lifts_it(
    post: Post, fake: FakeMailer, receipts: Counts
) -> None:
    fake.answers = [NO_SUCH_USER]
    await post.stage("receipt/in_1", to=replace(ADA, address="Ada@Example.com"))
    await post.work()
    row = await post.letter("receipt/in_1")
    assert (row["status"], row["copies"], row["reason"]) == ("bounced", 0, NO_SUCH_USER.reason)
    assert row["bounced_at"] == post.clock.now()
    assert (await post.job("receipt/in_1"))["status"] == "done", "nothing is left to do about it"
    assert await post.suppressed() == {"ada@example.com": "carrier"}
    await post.stage("receipt/in_2")
    await post.work()
    row = await post.letter("receipt/in_2")
    assert (row["status"], row["reason"], row["copies"]) == ("suppressed", f"carrier: {NO_SUCH_USER.reason}", 0)
    await post.execute("DELETE FROM suppressed_addresses")
    await post.stage("receipt/in_3")
    await post.work()
    assert (await post.letter("receipt/in_3"))["status"] == "sent"
    assert len(fake.raw) == 1
    assert (receipts("bounced"), receipts("sent")) == (1, 1)


async def test_a_refused_letter_is_parked_and_suppresses_nobody(post: Post, fake: FakeMailer, receipts: Counts) -> None:
    fake.answers = [SPAM]
    await post.stage("receipt/in_1")
    await post.stage("receipt/in_2")
    await post.work()
    parked, sent = sorted([await post.letter("receipt/in_1"), await post.letter("receipt/in_2")], key=_status)
    assert (parked["status"], parked["copies"], parked["reason"]) == ("dead", 0, SPAM.reason)
    job = await post.job(parked["key"])
    assert (job["status"], job["dead_reason"]) == ("dead", "refused")
    assert sent["status"] == "sent", "the worker goes on"
    assert await post.suppressed() == {}
    assert receipts("dead") == 1


async def test_a_parked_letter_is_sent_when_its_job_is_run_again(post: Post, fake: FakeMailer) -> None:
    fake.answers = [SPAM]
    await post.stage("receipt/in_1")
    await post.work()
    async with post.engine.begin() as conn:
        wanted = await operators.retry_of_ids(conn, [(await post.job("receipt/in_1"))["id"]], again=False)
        await operators.retry(conn, wanted, Actor("ada"), now=post.clock.now())
    await post.work()
    row = await post.letter("receipt/in_1")
    assert (row["status"], row["copies"], row["reason"]) == ("sent", 1, None)


async def test_when_the_last_try_fails_the_letter_is_parked_with_its_job(post: Post, fake: FakeMailer) -> None:
    fake.answers = [LATER] * TRIES
    await post.stage("receipt/in_1")
    await post.work_on()
    job = await post.job("receipt/in_1")
    assert (job["status"], job["dead_reason"], job["attempts"]) == ("dead", "exhausted", TRIES)
    row = await post.letter("receipt/in_1")
    assert (row["status"], row["attempts"], row["copies"], row["reason"]) == ("dead", TRIES, 0, LATER.reason)


@pytest.mark.parametrize("answer", [WHO_KNOWS, OSError("what?"), Unclear("busy", after=timedelta(seconds=3))])
async def test_a_carrier_that_never_says_whether_it_took_a_letter_floods_nobody(
    post: Post, fake: FakeMailer, receipts: Counts, answer: Exception
) -> None:
    fake.answers = [answer] * TRIES
    await post.stage("receipt/in_1")
    begun = post.clock.now()
    await post.work()
    post.clock.move(UNCLEAR_WAIT - timedelta(seconds=1))
    await post.work()
    assert (await post.letter("receipt/in_1"))["attempts"] == 1, "nothing within a quarter of an hour"
    await post.work_on()
    assert post.clock.now() - begun == UNCLEAR_WAIT * (MOST_UNCLEAR - 1)
    job, row = await post.job("receipt/in_1"), await post.letter("receipt/in_1")
    assert (job["status"], job["dead_reason"], job["attempts"]) == ("dead", "refused", MOST_UNCLEAR)
    assert (row["status"], row["copies"]) == ("dead", MOST_UNCLEAR)
    for words in (
        "may have it",
        str(answer),
        row["message_id"],
        f"mail resend {row['id']}",
        f"jobs cancel {job['id']}",
    ):
        assert words in row["reason"]
    assert (receipts("unclear"), receipts("dead")) == (MOST_UNCLEAR, 1)


async def test_who_asks_for_a_parked_copy_gets_one(post: Post, fake: FakeMailer) -> None:
    fake.answers = [WHO_KNOWS] * MOST_UNCLEAR
    await post.stage("receipt/in_1")
    await post.work_on()
    async with post.engine.begin() as conn:
        await letters.resend(conn, "receipt/in_1", Actor("ada", "it did not arrive"), now=post.clock.now())
    await post.work()
    row = await post.letter("receipt/in_1")
    assert (row["status"], row["copies"], row["reason"]) == ("sent", MOST_UNCLEAR + 1, None)


async def test_a_carriers_bug_may_have_sent_it(post: Post, fake: FakeMailer, receipts: Counts) -> None:
    fake.answers = [RuntimeError("a bug after the letter was sent")]
    await post.stage("receipt/in_1")
    await post.work()
    row = await post.letter("receipt/in_1")
    assert (row["status"], row["copies"]) == ("sending", 1)
    assert row["reason"] == "RuntimeError: a bug after the letter was sent"
    await post.work_on()
    assert ((await post.letter("receipt/in_1"))["status"], receipts("possible_copy")) == ("sent", 1)


@pytest.mark.parametrize("bad", ["\r\nBcc: eve@example.com", "\n", "\u2028", "\x0b", "\x7f"])
async def test_a_name_that_would_break_a_header_is_cleaned_and_the_letter_goes(
    post: Post, fake: FakeMailer, bad: str
) -> None:
    await post.stage("receipt/in_1", to=replace(ADA, name=f"Ada{bad}Lovelace"))
    await post.work()
    assert (await post.letter("receipt/in_1"))["status"] == "sent"
    (sent,) = fake.letters()
    (to,) = sent["to"].addresses
    assert (to.addr_spec, sent["bcc"]) == (ADA.address, None)
    assert to.display_name.startswith("Ada ")


@pytest.mark.parametrize("address", ["", "ada", "ada@", "a@b@c"])
async def test_an_address_that_is_none_parks_its_letter(post: Post, fake: FakeMailer, address: str) -> None:
    await post.stage("receipt/in_1", to=Recipient(address))
    await post.work()
    row = await post.letter("receipt/in_1")
    assert row["status"] == "dead"
    assert row["reason"].startswith("To: ")
    assert fake.raw == []


async def test_facts_that_do_not_fit_park_the_letter_by_name(post: Post) -> None:
    await post.stage("receipt/in_1")
    await post.execute("UPDATE emails SET context = context - 'number'")
    await post.work()
    row = await post.letter("receipt/in_1")
    assert (row["status"], row["copies"]) == ("dead", 0)
    assert "'receipt' cannot be written" in row["reason"]
    assert "number" in row["reason"]


async def test_a_damaged_logo_parks_letters_and_says_which_variable(post: Post, tmp_path: Path) -> None:
    logo = tmp_path / "logo.png"
    logo.write_bytes(b"\x89PNG\r\n\x1a\n")
    post.set(billing_brand_logo=logo)
    await post.stage("receipt/in_1")
    await post.work()
    row = await post.letter("receipt/in_1")
    assert row["status"] == "dead"
    assert row["reason"].startswith("BILLING_BRAND_LOGO: ")


async def test_what_stripe_mails_we_do_not(post: Post, fake: FakeMailer) -> None:
    post.set(billing_stripe_mails=frozenset({"receipt"}))
    await post.stage("receipt/in_1")
    await post.stage("recovered/in_1", "recovered")
    await post.work()
    row = await post.letter("receipt/in_1")
    assert (row["status"], row["reason"]) == ("suppressed", "Stripe mails this (BILLING_STRIPE_MAILS)")
    assert (await post.letter("recovered/in_1"))["status"] == "sent"
    assert len(fake.raw) == 1


async def test_old_news_are_not_sent(post: Post, fake: FakeMailer) -> None:
    """A backlog of a year that is replayed must not tell a year of letters."""
    week = timedelta(days=7)
    await post.stage("receipt/in_1", occurred_at=post.clock.now() - week - timedelta(seconds=1))
    await post.stage("receipt/in_2", occurred_at=post.clock.now() - week)
    await post.work()
    row = await post.letter("receipt/in_1")
    assert row["status"] == "suppressed"
    assert row["reason"].startswith("old news: it happened on 2026-02-22")
    assert (await post.letter("receipt/in_2"))["status"] == "sent"
    assert len(fake.raw) == 1


async def test_operators_hear_only_where_somebody_is_named(post: Post, fake: FakeMailer) -> None:
    await post.stage("dispute/du_1", "dispute_notice", Recipient(OPERATORS))
    await post.work()
    row = await post.letter("dispute/du_1")
    assert row["status"] == "suppressed"
    assert "BILLING_OPERATORS_MAIL" in row["reason"]
    post.set(billing_operators_mail="Billing team <team@northwind.example>")
    await post.stage("dispute/du_2", "dispute_notice", Recipient(OPERATORS))
    await post.work()
    (sent,) = fake.letters()
    assert str(sent["to"]) == "team@northwind.example"


async def test_it_is_the_operators_real_address_that_is_suppressed(post: Post, fake: FakeMailer) -> None:
    post.set(billing_operators_mail="team@northwind.example")
    fake.answers = [NO_SUCH_USER]
    await post.stage("dispute/du_1", "dispute_notice", Recipient(OPERATORS))
    await post.work()
    assert await post.suppressed() == {"team@northwind.example": "carrier"}
    await post.stage("dispute/du_2", "dispute_notice", Recipient(OPERATORS))
    await post.work()
    assert (await post.letter("dispute/du_2"))["status"] == "suppressed"
    post.set(billing_operators_mail="others@northwind.example")
    await post.stage("dispute/du_3", "dispute_notice", Recipient(OPERATORS))
    await post.work()
    assert (await post.letter("dispute/du_3"))["status"] == "sent"


async def test_a_cancelled_job_leaves_its_letter_unsent(post: Post, fake: FakeMailer) -> None:
    await post.stage("receipt/in_1")
    async with post.engine.begin() as conn:
        wanted = await operators.cancel_of_ids(conn, [(await post.job("receipt/in_1"))["id"]])
        await operators.cancel(conn, wanted, Actor("ada", "sent by hand"), now=post.clock.now())
    await post.work()
    assert (await post.letter("receipt/in_1"))["status"] == "queued"
    assert fake.raw == []


async def test_a_sender_of_another_script(post: Post, fake: FakeMailer) -> None:
    post.set(mail_from="Müller <rechnung@müller.example>")
    await post.stage("receipt/in_1")
    await post.work()
    (sent,) = fake.letters()
    assert str(sent["message-id"]).endswith("@xn--mller-kva.example>")
