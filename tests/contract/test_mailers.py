"""What every carrier keeps to: a letter arrives as it was written, to its one recipient, outside of transactions."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.mail.carriers import (
    URL_PASSWORD,
    URL_USER,
    Capture,
    FakeMailer,
    Parsed,
    SendGrid,
    capturing,
    letter,
    parsed,
    trust,
)
from tests.worker.kit import World
from worker.adapters.mail import mailer
from worker.adapters.mail_smtp import SmtpMailer
from worker.errors import Refused
from worker.ports import Mailer

CARRIERS = ("fake", "maildir", "null", "sendgrid", "smtp plain", "smtp starttls", "smtp signed in", "smtps")


@dataclass
class Carrier:
    """A carrier, and where its letters arrive."""

    mailer: Mailer
    letters: Parsed
    keeps: bool = True


async def _smtp(kind: str, stack: AsyncExitStack) -> Carrier:
    capture, trusted = Capture(), trust()
    if kind == "smtp plain":
        port = await stack.enter_async_context(capturing(capture))
        return Carrier(SmtpMailer(f"smtp://127.0.0.1:{port}"), capture.letters)
    port = await stack.enter_async_context(
        capturing(capture, context=trusted.server, implicit=kind == "smtps", auth=kind == "smtp signed in")
    )
    user = f"{URL_USER}:{URL_PASSWORD}@" if kind == "smtp signed in" else ""
    url = f"smtps://127.0.0.1:{port}" if kind == "smtps" else f"smtp://{user}127.0.0.1:{port}?tls=required"
    return Carrier(SmtpMailer(url, context=trusted.client), capture.letters)


async def _made(kind: str, stack: AsyncExitStack, folder: Path) -> Carrier:
    match kind:
        case "fake":
            fake = FakeMailer()
            return Carrier(fake, fake.letters)
        case "maildir":
            carrier = mailer(f"maildir://{folder}/mail%20box", folder)
            new = folder / "mail box" / "new"
            return Carrier(carrier, lambda: [parsed(file.read_bytes()) for file in sorted(new.glob("*.eml"))])
        case "null":
            return Carrier(mailer("null:", folder), list, keeps=False)
        case "sendgrid":
            stand_in = SendGrid()
            port = await stack.enter_async_context(stand_in.serving())
            return Carrier(mailer(f"sendgrid://SG.key-1_x@127.0.0.1:{port}", folder), stand_in.letters)
        case _:
            return await _smtp(kind, stack)


@pytest.fixture(params=CARRIERS)
async def carrier(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Carrier]:
    async with AsyncExitStack() as stack:
        made = await _made(request.param, stack, tmp_path)
        yield made
        await made.mailer.close()


async def test_a_letter_arrives_as_it_was_written(carrier: Carrier) -> None:
    sent = letter(subject="Ihre Rechnung: 1.299,00 €, 請求書", text="Grüße aus 東京\n")
    await carrier.mailer.send(sent)
    if not carrier.keeps:
        return
    (got,) = carrier.letters()
    for header in ("Message-ID", "Subject", "From", "To", "Auto-Submitted", "List-Id"):
        assert str(got[header]) == str(sent[header]), header
    for kind in ("plain", "html"):
        body, wanted = got.get_body((kind,)), sent.get_body((kind,))
        assert body is not None
        assert wanted is not None
        assert body.get_content().splitlines() == wanted.get_content().splitlines()


async def test_dots_and_long_lines_arrive(carrier: Carrier) -> None:
    text = f".\n..\n.one dot\nfine\n{'0123456789' * 500}\n.\n\nthe end\n"
    await carrier.mailer.send(letter(text=text))
    if carrier.keeps:
        (got,) = carrier.letters()
        body = got.get_body(("plain",))
        assert body is not None
        assert body.get_content().splitlines() == text.splitlines()


async def test_an_attachment_arrives(carrier: Carrier) -> None:
    await carrier.mailer.send(letter(size=300_000))
    if carrier.keeps:
        (got,) = carrier.letters()
        (attached,) = got.iter_attachments()
        assert attached.get_content() == bytes(300_000)
        assert attached.get_filename() == "invoice.pdf"


async def test_many_letters_at_once_and_one_after_another(carrier: Carrier) -> None:
    await asyncio.gather(*(carrier.mailer.send(letter(number=n)) for n in range(1, 13)))
    for n in range(13, 16):
        await carrier.mailer.send(letter(number=n))
    if carrier.keeps:
        assert sorted(str(got["message-id"])[1:33] for got in carrier.letters()) == [f"{n:032}" for n in range(1, 16)]


async def test_a_copy_is_the_same_letter(carrier: Carrier) -> None:
    sent = letter()
    for _ in range(2):
        await carrier.mailer.send(sent)
    assert len({bytes(got) for got in carrier.letters()}) == (1 if carrier.keeps else 0)


async def test_a_recipient_of_another_script(carrier: Carrier) -> None:
    """A domain is written as DNS has it; what stands before the @ arrives, or is refused in words: nothing breaks."""
    await carrier.mailer.send(letter(to="Jörg <joerg@bücher.example>"))
    if carrier.keeps:
        (got,) = carrier.letters()
        assert str(got["to"]).endswith(("<joerg@xn--bcher-kva.example>", "<joerg@bücher.example>"))
    await carrier.mailer.send(letter(to="Jörg <jörg@example.com>", number=2))
    if carrier.keeps:
        assert any(str(got["to"]).endswith("<jörg@example.com>") for got in carrier.letters())


async def test_names_that_need_quotes(carrier: Carrier) -> None:
    await carrier.mailer.send(letter(to='"Lovelace, Ada \\"Countess\\" (née Byron)" <"ada b"@example.com>'))
    if carrier.keeps:
        (got,) = carrier.letters()
        (to,) = got["to"].addresses
        assert (to.username, to.domain) == ("ada b", "example.com")


@pytest.mark.parametrize("to", ["ada@example.com, bob@example.com", "ada"])
async def test_a_letter_has_one_recipient(carrier: Carrier, to: str) -> None:
    with pytest.raises(Refused, match="To: the letter has"):
        await carrier.mailer.send(letter(to=to))
    assert carrier.letters() == []


async def test_no_letter_is_sent_within_a_transaction(carrier: Carrier, engine: AsyncEngine, database_url: str) -> None:
    async with World(engine, database_url).deps.tx():
        with pytest.raises(RuntimeError, match="was called inside an open transaction"):
            await carrier.mailer.send(letter())
    assert carrier.letters() == []


async def test_it_may_be_closed_twice(carrier: Carrier) -> None:
    await carrier.mailer.send(letter())
    await carrier.mailer.close()
    await carrier.mailer.close()
