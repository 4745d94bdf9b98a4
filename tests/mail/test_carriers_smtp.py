"""SMTP servers that hang, refuse or hang up at any stage: no letter is lost, and we say whose fault it is."""

import asyncio
import logging
import ssl
from datetime import UTC, datetime, timedelta

import pytest
import trustme
import uvloop

from tests.mail.carriers import (
    DROP,
    HANG,
    PASSWORD,
    URL_PASSWORD,
    URL_USER,
    USER,
    Capture,
    Faults,
    capturing,
    letter,
    trust,
)
from worker.adapters import mail_smtp
from worker.adapters.mail_smtp import SmtpMailer
from worker.errors import Refused, TryLater, Unclear, Undeliverable
from worker.failures import classify


def impatient(port: int, query: str = "") -> SmtpMailer:
    return SmtpMailer(f"smtp://127.0.0.1:{port}{query}", timeout=0.3, acceptance=0.3, preparation=5.0)


async def told_of(faults: Faults, *, size: int = 0, to: str = "ada@example.com") -> TryLater | Refused:
    """What sending one letter through a server with these faults says."""
    async with faults.serving() as port:
        mailer = impatient(port)
        with pytest.raises((TryLater, Refused)) as told:
            await mailer.send(letter(to=to, size=size))
        await mailer.close()
    return told.value


@pytest.mark.parametrize("stage", ["greeting", "EHLO", "MAIL", "RCPT", "DATA"])
@pytest.mark.parametrize("fault", [HANG, DROP])
async def test_before_the_letter_nothing_was_handed_over(stage: str, fault: str) -> None:
    faults = Faults({stage: fault})
    assert type(await told_of(faults)) is TryLater
    assert faults.taken == []


@pytest.mark.parametrize("fault", [HANG, DROP])
@pytest.mark.parametrize(
    ("stage", "extension", "url"),
    [("STARTTLS", "STARTTLS", "smtp://127.0.0.1:{}"), ("AUTH", "AUTH PLAIN", "smtp://u:p@127.0.0.1:{}?tls=none")],
)
async def test_tls_and_sign_in_hang_too(stage: str, extension: str, url: str, fault: str) -> None:
    faults = Faults({stage: fault}, extensions=(extension,))
    async with faults.serving() as port:
        with pytest.raises(TryLater) as told:
            await SmtpMailer(url.format(port), timeout=0.3).send(letter())
    assert type(told.value) is TryLater


async def test_a_goodbye_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The letter is recorded long before it; only a worker that stops says it at all."""
    monkeypatch.setattr(mail_smtp, "ALIVE", 0.2)
    faults = Faults({"QUIT": HANG})
    async with faults.serving() as port:
        mailer = impatient(port)
        await asyncio.gather(*(mailer.send(letter(number=number)) for number in range(8)))
        async with asyncio.timeout(1.5):
            await mailer.close()
    assert len(faults.taken) == 8


async def test_a_server_that_hangs_up_within_the_letter_does_not_have_it() -> None:
    faults = Faults({"body": DROP})
    assert type(await told_of(faults, size=2_000_000)) is TryLater
    assert faults.taken == []


@pytest.mark.parametrize(("fault", "taken"), [(HANG, 0), ("taken, then drop", 1), ("nonsense", 0)])
async def test_after_the_letter_silence_means_that_nobody_knows(fault: str, taken: int) -> None:
    faults = Faults({"end": fault})
    told = await told_of(faults)
    assert type(told) is Unclear
    assert len(faults.taken) == taken


async def test_all_that_comes_before_the_letter_has_one_limit_together() -> None:
    """Each answer comes in time, but nobody waits for ever for all of them."""
    faults = Faults({"RCPT": HANG})
    async with faults.serving() as port:
        mailer = SmtpMailer(f"smtp://127.0.0.1:{port}", timeout=60, preparation=0.3)
        with pytest.raises(TryLater, match="takes longer than 0"):
            await mailer.send(letter())
        faults.at.clear()
        await mailer.send(letter())
        assert faults.connections == 2, "an answer that came late is not taken for another one's"
        await mailer.close()


@pytest.mark.parametrize(
    ("stage", "answer", "verb"),
    [
        ("greeting", "421 4.3.2 too busy", TryLater),
        ("greeting", "554 no mail from your network", Refused),
        ("EHLO", "421 4.3.2 closing", TryLater),
        ("MAIL", "451 4.7.1 try again later", TryLater),
        ("MAIL", "550 5.7.1 you may not send as billing@northwind.example", Refused),
        ("MAIL", "550 no such sender", Refused),
        ("RCPT", "450 4.2.1 greylisted", TryLater),
        ("RCPT", "451 later", TryLater),
        ("RCPT", "452 4.2.2 mailbox full", TryLater),
        ("RCPT", "550 5.1.1 no such user", Undeliverable),
        ("RCPT", "550 no such user", Undeliverable),
        ("RCPT", "551 user not local", Undeliverable),
        ("RCPT", "553 mailbox name not allowed", Undeliverable),
        ("RCPT", "501 5.1.3 bad address syntax", Undeliverable),
        ("RCPT", "556 5.1.10 the domain takes no mail", Undeliverable),
        ("RCPT", "554 5.7.1 relay access denied", Refused),
        ("RCPT", "550 relay not permitted", Refused),
        ("RCPT", "550 your address is on our blacklist", Refused),
        ("RCPT", "530 5.7.0 authentication required", Refused),
        ("RCPT", "552 5.2.2 mailbox full", Refused),
        ("RCPT", "554 5.3.2 not accepting", Refused),
        ("DATA", "451 4.3.0 no", TryLater),
        ("DATA", "554 no valid recipients", Refused),
        ("DATA", "250 what?", TryLater),
        ("end", "451 4.3.0 the disk is full", TryLater),
        ("end", "421 4.3.2 closing", TryLater),
        ("end", "550 5.7.1 this looks like spam", Refused),
        ("end", "554 rejected", Refused),
        ("end", "550 rejected", Refused),
        ("end", "552 5.3.4 too large", Refused),
        ("end", "550 5.1.1 no such user", Undeliverable),
        ("end", "299 hm", Unclear),
    ],
)
async def test_what_an_answer_means(stage: str, answer: str, verb: type[Exception]) -> None:
    told = await told_of(Faults({stage: answer}))
    assert type(told) is verb
    if verb is not Unclear:
        assert answer.partition(" ")[2] in told.reason


async def test_a_connection_is_kept_for_the_next_letter() -> None:
    faults = Faults()
    async with faults.serving() as port:
        mailer = impatient(port)
        for number in (1, 2, 3):
            assert await mailer.send(letter(number=number)) == "2.0.0 Ok: queued"
        assert "QUIT" not in faults.heard, "what was taken is recorded before goodbye is said"
        await mailer.close()
    assert faults.connections == 1
    assert faults.heard.count("EHLO " + faults.heard[0].split()[1]) == 1
    assert faults.heard[-1] == "QUIT"


@pytest.mark.parametrize(
    "at",
    [
        {"RSET": [DROP]},
        {"RSET": ["421 4.4.2 idle for too long"]},
        {"RSET": ["500 what?"]},
        {"MAIL": [None, DROP]},
        {"MAIL": [None, "421 4.7.0 too many letters over one connection"]},
    ],
)
async def test_a_kept_connection_that_has_ended_costs_no_try(at: dict[str, str | list[str | None]]) -> None:
    faults = Faults(at)
    async with faults.serving() as port:
        mailer = impatient(port)
        await mailer.send(letter())
        await mailer.send(letter(number=2))
        await mailer.close()
    assert (faults.connections, len(faults.taken)) == (2, 2)


async def test_a_server_that_was_started_anew_costs_no_try() -> None:
    faults = Faults()
    async with faults.serving() as port:
        mailer = impatient(port)
        await asyncio.gather(*(mailer.send(letter(number=number)) for number in range(8)))
        faults.hang_up()
        await asyncio.gather(*(mailer.send(letter(number=number)) for number in range(8)))
        await mailer.close()
    assert len(faults.taken) == 16


async def test_a_refused_address_leaves_the_connection_for_the_next_letter() -> None:
    faults = Faults({"RCPT": ["550 5.1.1 no such user"]})
    async with faults.serving() as port:
        mailer = impatient(port)
        with pytest.raises(Undeliverable):
            await mailer.send(letter())
        await mailer.send(letter(number=2))
        await mailer.close()
    assert faults.connections == 1


async def test_a_busy_server_is_not_asked_twice_at_once() -> None:
    faults = Faults({"MAIL": [None, "451 4.7.1 slow down"]})
    async with faults.serving() as port:
        mailer = impatient(port)
        await mailer.send(letter())
        with pytest.raises(TryLater, match="slow down"):
            await mailer.send(letter(number=2))
        await mailer.close()
    assert faults.connections == 1


async def test_a_server_that_is_not_there() -> None:
    with pytest.raises(TryLater, match=r"127\.0\.0\.1:1 cannot be reached"):
        await SmtpMailer("smtp://127.0.0.1:1").send(letter())


async def test_another_script_before_the_at_goes_only_where_the_server_can() -> None:
    told = await told_of(Faults(), to="jörg@example.com")
    assert type(told) is Refused, "the address may be good: nobody is suppressed"
    assert "SMTPUTF8" in told.reason
    able = Faults(extensions=("SMTPUTF8", "8BITMIME"))
    async with able.serving() as port:
        mailer = impatient(port)
        await mailer.send(letter(to="Jörg <jörg@bücher.example>"))
        await mailer.close()
    assert any(line.startswith("MAIL FROM:") and line.endswith("SMTPUTF8 BODY=8BITMIME") for line in able.heard)
    assert "jörg@".encode() in able.taken[0]
    assert "RCPT TO:<jörg@xn--bcher-kva.example>" in [line.encode("latin-1").decode() for line in able.heard]


async def test_dots_are_stuffed_and_lines_end_as_they_must() -> None:
    faults = Faults()
    async with faults.serving() as port:
        mailer = impatient(port)
        await mailer.send(letter(text=".\n.dot\nlong " + "x" * 3000 + "\n"))
        await mailer.close()
    (body,) = faults.taken
    assert body.endswith(b"\r\n.\r\n")
    assert b"\r\n..\r\n..dot\r\n" in body
    assert b"\n" not in body.replace(b"\r\n", b"")
    assert max(map(len, body.split(b"\r\n"))) <= 998, "https://www.rfc-editor.org/rfc/rfc5322#section-2.1.1"


# --- TLS and sign-in ------------------------------------------------------------------------------------------------


async def test_a_password_goes_over_tls_only() -> None:
    faults = Faults(extensions=("AUTH PLAIN LOGIN",))
    async with faults.serving() as port:
        with pytest.raises(Refused, match="cannot do what MAIL_URL asks for"):
            await SmtpMailer(f"smtp://{URL_USER}:{URL_PASSWORD}@127.0.0.1:{port}").send(letter())
    assert [line.split()[0] for line in faults.heard] == ["EHLO"]


async def test_signed_in_over_tls() -> None:
    capture, trusted = Capture(), trust()
    async with capturing(capture, context=trusted.server, auth=True) as port:
        mailer = SmtpMailer(f"smtp://{URL_USER}:{URL_PASSWORD}@127.0.0.1:{port}", context=trusted.client)
        await mailer.send(letter())
        assert await mailer.check() == f"127.0.0.1:{port} answers; TLS, signed in"
        await mailer.close()
    assert (capture.users, capture.secured) == ([USER.encode()], [True])
    assert len(capture.raw) == 1, "a check sends nothing"


async def test_a_wrong_password_parks_and_is_never_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    trusted = trust()
    async with capturing(Capture(), context=trusted.server, auth=True) as port:
        url = f"smtp://{URL_USER}:wrong{URL_PASSWORD}@127.0.0.1:{port}"
        mailer = SmtpMailer(url, context=trusted.client)
        with pytest.raises(Refused, match="refused the user or password of MAIL_URL: 535") as told:
            await mailer.send(letter())
    failure = classify(told.value, attempt=1, tries=3, now=datetime.now(UTC), chance=0)
    ours = [record.getMessage() for record in caplog.records if not record.name.startswith("mail")]
    for words in (failure.error, failure.traceback, repr(mailer), repr(vars(mailer)), *ours):
        assert PASSWORD not in (words or "")
        assert URL_PASSWORD not in (words or "")


@pytest.mark.parametrize("scheme", ["smtps", "smtp"])
async def test_a_certificate_that_nobody_vouches_for(scheme: str) -> None:
    trusted = trust()
    async with capturing(Capture(), context=trusted.server, implicit=scheme == "smtps") as port:
        query = "" if scheme == "smtps" else "?tls=required"
        with pytest.raises(Refused, match="certificate that is not trusted"):
            await SmtpMailer(f"{scheme}://127.0.0.1:{port}{query}").send(letter())


async def test_a_certificate_of_another_host() -> None:
    trusted = trust("mail.elsewhere.example")
    async with capturing(Capture(), context=trusted.server, implicit=True) as port:
        with pytest.raises(Refused, match="certificate that is not trusted"):
            await SmtpMailer(f"smtps://127.0.0.1:{port}", context=trusted.client).send(letter())


async def test_an_expired_certificate_will_be_renewed() -> None:
    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    expired = authority.issue_cert("127.0.0.1", not_after=datetime.now(UTC) - timedelta(days=1))
    expired.configure_cert(server)  # pyright: ignore[reportUnknownMemberType] - pyOpenSSL's half of its union
    authority.configure_trust(client)  # pyright: ignore[reportUnknownMemberType] - the same
    async with capturing(Capture(), context=server, implicit=True) as port:
        with pytest.raises(TryLater, match="expired"):
            await SmtpMailer(f"smtps://127.0.0.1:{port}", context=client).send(letter())


async def test_without_a_password_tls_is_taken_where_it_is_offered() -> None:
    """Who would also send in the clear gains nothing by refusing a certificate: a local relay often has its own."""
    capture = Capture()
    async with capturing(capture, context=trust().server) as port:
        mailer = SmtpMailer(f"smtp://127.0.0.1:{port}")
        await mailer.send(letter())
        assert (await mailer.check()).endswith("; TLS, no sign-in")
        await mailer.close()
    assert capture.secured == [True]


async def test_tls_that_was_asked_for_and_is_not_offered() -> None:
    told = await _told_required(Faults())
    assert type(told) is Refused
    told = await _told_required(Faults({"STARTTLS": "454 4.7.0 not now"}, extensions=("STARTTLS",)))
    assert type(told) is TryLater


async def _told_required(faults: Faults) -> TryLater | Refused:
    async with faults.serving() as port:
        with pytest.raises((TryLater, Refused)) as told:
            await impatient(port, "?tls=required").send(letter())
    return told.value


def test_the_workers_own_loop_does_the_same() -> None:
    """Workers run on uvloop, whose TLS is another."""

    async def sent() -> Capture:
        capture, trusted = Capture(), trust()
        for implicit in (True, False):
            async with capturing(capture, context=trusted.server, implicit=implicit, auth=not implicit) as port:
                user = "" if implicit else f"{URL_USER}:{URL_PASSWORD}@"
                url = f"{'smtps' if implicit else 'smtp'}://{user}127.0.0.1:{port}"
                mailer = SmtpMailer(url, context=trusted.client)
                await mailer.send(letter(size=300_000))
                await mailer.send(letter(number=2))
                await mailer.close()
        return capture

    assert uvloop.run(sent()).secured == [True] * 4
