"""Carriers for tests: servers that capture letters, servers that fail as they are told, and a carrier in memory."""

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.headerregistry import Address
from email.message import EmailMessage
from typing import Any, cast

import trustme
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

from worker.adapters.mail_address import mailbox
from worker.deps import assert_outside_transaction

USER, PASSWORD = "billing@northwind.example", "p@ss/word:100%"
URL_USER, URL_PASSWORD = "billing%40northwind.example", "p%40ss%2Fword%3A100%25"

Parsed = Callable[[], list[EmailMessage]]


def letter(
    *,
    to: str = "Ada Lovelace <ada@example.com>",
    subject: str = "Ihre Rechnung über 49,00 €",
    text: str = "Guten Tag,\n\nbezahlt.\n",
    number: int = 1,
    size: int = 0,
) -> EmailMessage:
    """A letter with both bodies; `size` bytes are attached."""
    made = EmailMessage(policy=policy.SMTP)
    made["From"] = "Northwind Ltd. <billing@northwind.example>"
    made["To"] = to
    made["Subject"] = subject
    made["Date"] = datetime(2026, 3, 1, 12, tzinfo=UTC)
    made["Message-ID"] = f"<{number:032}@northwind.example>"
    made["Reply-To"] = "Help <help@northwind.example>"
    made["Auto-Submitted"] = "auto-generated"
    made["List-Id"] = "<letters.northwind.example>"
    made.set_content(text, cte="quoted-printable")
    made.add_alternative(f"<html><body><pre>{text}</pre></body></html>", subtype="html", cte="quoted-printable")
    if size:
        made.add_attachment(bytes(size), maintype="application", subtype="pdf", filename="invoice.pdf")
    return made


def parsed(raw: bytes) -> EmailMessage:
    """A letter as it was received."""
    return message_from_bytes(raw, policy=policy.default)


class Capture:
    """A handler of aiosmtpd that keeps every letter, with whom its envelope names."""

    def __init__(self) -> None:
        self.raw: list[bytes] = []
        self.envelopes: list[tuple[str, str]] = []
        self.secured: list[bool] = []
        self.users: list[object] = []

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        self.raw.append(cast("bytes", envelope.content))
        self.envelopes.append((envelope.mail_from or "", *envelope.rcpt_tos))  # type: ignore[arg-type] - one recipient
        transport = server.transport
        self.secured.append(transport is not None and transport.get_extra_info("sslcontext") is not None)
        self.users.append(session.auth_data)
        return f"250 2.0.0 Ok: queued as {len(self.raw):08X}"

    def letters(self) -> list[EmailMessage]:
        return [parsed(raw) for raw in self.raw]


def _signs_in(_server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, data: Any) -> AuthResult:
    good = (data.login, data.password) == (USER.encode(), PASSWORD.encode())
    return AuthResult(success=good, auth_data=data.login, handled=False)


@asynccontextmanager
async def listening(
    factory: Callable[[], asyncio.Protocol], context: ssl.SSLContext | None = None
) -> AsyncGenerator[int]:
    """A server on a free port of 127.0.0.1."""
    server = await asyncio.get_running_loop().create_server(factory, "127.0.0.1", 0, ssl=context)
    try:
        yield cast("int", server.sockets[0].getsockname()[1])
    finally:
        server.close()


@asynccontextmanager
async def capturing(
    capture: Capture,
    *,
    context: ssl.SSLContext | None = None,
    implicit: bool = False,
    auth: bool = False,
    **options: Any,
) -> AsyncGenerator[int]:
    """A capture server: plain, STARTTLS with a `context`, or `implicit` TLS. Yields its port."""
    if context is not None and not implicit:
        options |= {"tls_context": context, "require_starttls": True}
    if auth:
        options |= {"authenticator": _signs_in, "auth_required": True}

    def made() -> asyncio.Protocol:
        return SMTP(capture, hostname="mail.test", enable_SMTPUTF8=True, **options)

    async with listening(made, context if implicit else None) as port:
        yield port


@dataclass(frozen=True)
class Trust:
    """An authority of the tests' own, a server's certificate by it, and a client that trusts it."""

    server: ssl.SSLContext
    client: ssl.SSLContext


def trust(*names: str) -> Trust:
    authority: Any = trustme.CA()  # its types leave pyOpenSSL's context unknown
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert(*(names or ("127.0.0.1", "localhost"))).configure_cert(server)
    authority.configure_trust(client)
    return Trust(server, client)


HANG, DROP = "hang", "drop"


@dataclass
class Faults:
    """An SMTP server that answers as it should, but `at` a stage with this line, or silence, or by hanging up.

    A list of answers is used up, one at a time; None in it is the usual one. Stages: `greeting`, the verbs, `body`
    (within the letter), `end` (after it).
    """

    at: dict[str, str | list[str | None]] = field(default_factory=dict[str, "str | list[str | None]"])
    extensions: tuple[str, ...] = ("8BITMIME", "ENHANCEDSTATUSCODES")
    heard: list[str] = field(default_factory=list[str])
    taken: list[bytes] = field(default_factory=list[bytes])
    connections: int = 0
    _open: set[asyncio.StreamWriter] = field(default_factory=set[asyncio.StreamWriter])
    _tasks: set[asyncio.Task[None]] = field(default_factory=set["asyncio.Task[None]"])

    @asynccontextmanager
    async def serving(self) -> AsyncGenerator[int]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        try:
            yield cast("int", server.sockets[0].getsockname()[1])
        finally:
            server.close()
            self.hang_up()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def hang_up(self) -> None:
        """Close every connection, without a word."""
        for writer in self._open:
            writer.transport.abort()
        self._open.clear()

    def _planned(self, stage: str) -> str | None:
        plan = self.at.get(stage)
        if isinstance(plan, list):
            return plan.pop(0) if plan else None
        return plan

    async def _say(self, writer: asyncio.StreamWriter, stage: str, usual: str) -> str:
        planned = self._planned(stage)
        if planned == HANG:
            await asyncio.Event().wait()
        if planned == DROP:
            writer.transport.abort()
            raise ConnectionAbortedError
        said = planned or usual
        writer.write(said.encode() + b"\r\n")
        await writer.drain()
        if said.startswith("421"):
            writer.close()
            raise ConnectionAbortedError
        return said

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._open.add(writer)
        self.connections += 1
        try:
            await self._say(writer, "greeting", "220 mail.test ESMTP")
            while line := await reader.readline():
                await self._command(line.decode("latin-1").strip(), reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._open.discard(writer)
            writer.close()

    async def _command(self, line: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heard.append(line)
        verb = line.partition(" ")[0].upper()
        if verb == "EHLO":
            lines = ["mail.test", *self.extensions]
            await self._say(
                writer, verb, "\r\n".join(f"250{'-' if n < len(lines) else ' '}{one}" for n, one in enumerate(lines, 1))
            )
        elif verb == "DATA":
            if (await self._say(writer, verb, "354 go ahead")).startswith("354"):
                await self._letter(reader, writer)
        elif verb == "QUIT":
            await self._say(writer, verb, "221 bye")
            writer.close()
        else:
            await self._say(writer, verb, "250 2.0.0 OK")

    async def _letter(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._planned("body") == DROP:
            await reader.read(1)
            writer.transport.abort()
            raise ConnectionAbortedError
        body = await reader.readuntil(b"\r\n.\r\n")
        planned = self._planned("end")
        if planned in {"taken, then drop", None} or (planned or "").startswith("2"):
            self.taken.append(body)
        if planned == "taken, then drop":
            writer.transport.abort()
            raise ConnectionAbortedError
        if planned == HANG:
            await asyncio.Event().wait()
        writer.write((planned or "250 2.0.0 Ok: queued").encode() + b"\r\n")
        await writer.drain()


@dataclass
class SendGrid:
    """Stands in for SendGrid's API: answers with `status`, `headers` and `body`, and keeps what it was given."""

    status: int = 202
    headers: dict[str, str] = field(default_factory=lambda: {"X-Message-Id": "14c5d75ce93.dfd.64b469"})
    body: Any = None
    drop: bool = False
    asked: list[tuple[str, dict[str, str], Any]] = field(default_factory=list[tuple[str, dict[str, str], Any]])

    @asynccontextmanager
    async def serving(self) -> AsyncGenerator[int]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        try:
            yield cast("int", server.sockets[0].getsockname()[1])
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        self.asked.append((head[0], headers, json.loads(body) if body else None))
        if not self.drop:
            answer = json.dumps(self.body).encode() if self.body is not None else b""
            lines = [f"HTTP/1.1 {self.status} x", f"Content-Length: {len(answer)}", "Connection: close"]
            lines += [f"{name}: {value}" for name, value in self.headers.items()]
            writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + answer)
            await writer.drain()
        writer.close()

    def letters(self) -> list[EmailMessage]:
        """What SendGrid would make of what it was given."""
        return [_composed(body) for head, _, body in self.asked if head.startswith("POST /v3/mail/send")]


def _composed(given: Any) -> EmailMessage:
    made = EmailMessage()
    (to,) = given["personalizations"][0]["to"]
    for header, one in (("From", given["from"]), ("To", to)):
        local, _, domain = one["email"].rpartition("@")
        made[header] = Address(one.get("name", ""), username=local.strip('"'), domain=domain)
    made["Subject"] = given["subject"]
    for name, value in given["headers"].items():
        made[name] = value
    plain, page = given["content"]
    made.set_content(plain["value"])
    made.add_alternative(page["value"], subtype="html")
    for one in given.get("attachments", ()):
        main, _, sub = one["type"].partition("/")
        made.add_attachment(base64.b64decode(one["content"]), maintype=main, subtype=sub, filename=one["filename"])
    for number, part in enumerate(made.walk()):
        if part.is_multipart():
            part.set_boundary(f"=_{number}")
    return made


@dataclass
class FakeMailer:
    """A carrier in memory; `answers` are raised or returned one by one, then each letter is taken."""

    answers: list[Exception | str | None] = field(default_factory=list["Exception | str | None"])
    raw: list[bytes] = field(default_factory=list[bytes])

    async def send(self, message: EmailMessage) -> str | None:
        assert_outside_transaction("sending a letter")
        mailbox(message, "To")
        answer = self.answers.pop(0) if self.answers else f"taken-{len(self.raw) + 1}"
        if isinstance(answer, Exception):
            raise answer
        self.raw.append(message.as_bytes(policy=policy.SMTPUTF8))
        return answer

    async def close(self) -> None:
        """Nothing is held open."""

    def letters(self) -> list[EmailMessage]:
        return [parsed(raw) for raw in self.raw]
