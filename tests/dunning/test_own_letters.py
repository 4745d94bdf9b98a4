"""What letters about invoices of our own say: true in each language, with the way to pay, and never after the money."""

import re
from datetime import UTC, date, datetime, timedelta
from html import unescape
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from db.operators import emails
from db.operators.actions import NotAllowedError
from jobs.dunning import operate
from jobs.invoices.document import Party
from jobs.invoices.void import void
from tests.dunning.kit import ADA
from tests.dunning.own import GRACE, OwnScene, seller
from tests.mail.carriers import FakeMailer
from tests.mail.post import Post
from worker.errors import TryLater

CARDS = re.compile(
    r"\bcard|declin|automatic|again|Karte|abgelehnt|automatisch|tarjeta|rechaz|automátic|carte|refus|automatique|カード|自動",
    re.IGNORECASE,
)
"""What would speak of a card, or of another attempt."""


@pytest.fixture
async def scene(engine: AsyncEngine, tmp_path: Path) -> OwnScene:
    """A seller on a Monday morning."""
    return seller(engine, tmp_path)


@pytest.mark.parametrize(
    ("language", "day"),
    [
        ("en", "November 17, 2026"),
        ("de", "17. November 2026"),
        ("es", "17 de noviembre de 2026"),
        ("fr", "17 novembre 2026"),
        ("ja", "2026年11月17日"),
    ],
)
async def test_each_sentence_is_true_and_tells_how_to_pay(scene: OwnScene, language: str, day: str) -> None:
    await scene.contract(timezone="Asia/Tokyo")  # where the seller's midnight is the morning after
    await scene.issue(locale=language)
    await scene.until(2026, 12, 10)
    assert await scene.templates() == ["invoice_overdue", "invoice_overdue", "final_notice"]
    for letter in await scene.mails():
        written = scene.written(letter)
        assert letter["locale"] == language
        for form in (written.text, unescape(written.html)):
            assert scene.numbers["nw"] in form
            assert day in form
            assert "DE89\xa03704\xa00044\xa00532\xa00130\xa000" in form
            assert "COBADEFFXXX" in form
            assert "PDF" in form
        assert CARDS.findall(written.text) == []
    first, _, last = [scene.written(letter) for letter in await scene.mails()]
    assert (first.locale, last.locale) == (language, language)


async def test_the_pdf_goes_along_where_it_is_stored(scene: OwnScene) -> None:
    await scene.issue()
    await scene.issue("bare", stored=False)
    await scene.until(2026, 11, 19)
    [(document,)] = await scene.query("SELECT id FROM documents WHERE status = 'stored'")
    [letter], [bare] = await scene.mails(), await scene.mails("bare")
    assert (letter["document_ids"], letter["context"]["attached"]) == ([document], True)
    assert (bare["document_ids"], bare["context"]["attached"]) == (None, False)
    assert "PDF" not in scene.written(bare).text


async def test_a_page_to_pay_at_is_shown_until_it_is_paid(scene: OwnScene) -> None:
    await scene.issue(pay_url="https://pay.example/42")
    await scene.until(2026, 11, 19)
    await scene.paid()
    reminder, thanks = await scene.mails()
    assert "https://pay.example/42" in scene.written(reminder).text
    assert thanks["template"] == "recovered"
    assert "pay.example" not in scene.written(thanks).text


async def test_it_goes_to_whom_the_contract_names_now(scene: OwnScene) -> None:
    await scene.issue()
    await scene.issue("manual", kind="manual", buyer=Party("Hopper Labs", email="labs@hopper.example"))
    await scene.issue("stranger", kind="manual", api_key_prefix=None, buyer=Party("A Stranger"))
    await scene.contract(version=1, valid_from=date(2026, 1, 1))
    await scene.contract(
        version=2, valid_from=date(2026, 12, 1), billing_email="new@hopper.example", timezone="Asia/Tokyo"
    )
    await scene.until(2026, 11, 19)
    [letter], [by_hand] = await scene.mails(), await scene.mails("manual")
    assert (letter["recipient"], letter["timezone"], letter["locale"]) == ("new@hopper.example", "Asia/Tokyo", "de")
    assert (by_hand["recipient"], letter["recipient_name"]) == ("labs@hopper.example", GRACE.name)
    assert await scene.mails("stranger") == []
    [(detail,)] = await scene.query(
        "SELECT s.detail FROM dunning_steps s JOIN dunning_cases c ON c.id = s.case_id WHERE c.invoice_id = :id",
        id=scene.ids["stranger"],
    )
    assert "no e-mail address" in detail


async def test_without_a_contract_the_invoice_says_whom_and_when(scene: OwnScene) -> None:
    await scene.issue(locale="fr")
    await scene.until(2026, 11, 19)
    [letter] = await scene.mails()
    told = (letter["recipient"], letter["timezone"], letter["locale"])
    assert told == ("grace@hopper.example", "Europe/Berlin", "fr")


@pytest.fixture
def carrier() -> FakeMailer:
    """A carrier that is busy at first."""
    return FakeMailer([TryLater("451 busy")])


@pytest.fixture
async def office(scene: OwnScene, carrier: FakeMailer) -> Post:
    """A letter is staged, and its carrier is busy."""
    await scene.issue(stored=False)
    scene.clock.time = datetime(2026, 11, 18, 9, tzinfo=UTC)
    await scene.look()
    made = Post(scene.engine, scene.clock, carrier, scene.settings)
    await made.work()
    return made


async def suppressed(scene: OwnScene) -> str | None:
    """Why the first letter was not sent; None: it was."""
    letter = (await scene.mails())[0]
    assert letter["status"] in {"suppressed", "sent"}
    return letter["reason"]


async def test_who_paid_while_the_carrier_was_away_is_only_thanked(
    scene: OwnScene, office: Post, carrier: FakeMailer
) -> None:
    await scene.paid()
    await office.work_on()
    assert "recovered" in (await suppressed(scene) or "")
    assert len(carrier.letters()) == 1
    async with scene.engine.begin() as conn:
        with pytest.raises(NotAllowedError, match="nobody who has paid is dunned"):
            await emails.resend(conn, f"dunning/own-{scene.ids['nw']}/0", ADA, now=scene.clock.now())


async def test_a_letter_that_waited_is_held_against_the_books(
    scene: OwnScene, office: Post, carrier: FakeMailer
) -> None:
    """The invoice was settled by somebody who told dunning nothing of it."""
    await scene.query_and_commit(
        "UPDATE invoices SET status = 'paid', amount_paid_cents = 12000, amount_remaining_cents = 0"
    )
    scene.clock.move(timedelta(minutes=20))
    await office.work_on()
    assert "recovered" in (await suppressed(scene) or "")
    assert [str(one["subject"])[:11] for one in carrier.letters()] == ["Vielen Dank"]
    assert (await scene.own())["outcome"] == "recovered"


async def test_nothing_goes_out_when_it_was_voided_or_paused(
    scene: OwnScene, office: Post, carrier: FakeMailer
) -> None:
    async with scene.deps.tx() as tx:
        await operate.pause(tx, f"own-{scene.ids['nw']}", ADA)
    await office.work_on()
    assert "dunning is paused" in (await suppressed(scene) or "")
    async with scene.deps.tx() as tx:
        await void(tx, scene.ids["nw"], reason="a wrong price")
    await office.work_on()
    assert carrier.letters() == []


async def test_what_is_still_due_goes_out_late_but_once(scene: OwnScene, office: Post, carrier: FakeMailer) -> None:
    scene.clock.move(timedelta(hours=3))
    await office.work_on()
    assert await suppressed(scene) is None
    assert [str(one["to"]) for one in carrier.letters()] == ["Hopper Analytics Ltd <grace@hopper.example>"]
