"""Letters are handed to an SMTP server, over connections that are kept for the next letter."""

import ssl
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import parseaddr
from time import monotonic
from typing import Literal
from urllib.parse import parse_qs, unquote, urlsplit

import aiosmtplib

from worker.deps import assert_outside_transaction
from worker.errors import Refused, TryLater, Unclear, Undeliverable

TIMEOUT = 20.0
"""Seconds for one answer of the server; the job's own limit is above the few answers that a letter takes."""

IDLE = 30.0
"""Seconds that a connection is kept for the next letter: servers close theirs after a minute or more."""

KEPT = 4
"""Connections that are kept."""

ADDRESS_REFUSED = frozenset({550, 551, 553})
"""No such mailbox, moved, or a name that is not allowed: https://www.rfc-editor.org/rfc/rfc5321#section-4.2.3."""

PERMANENT = 500


@dataclass(frozen=True, slots=True)
class Server:
    """Where and how to connect."""

    host: str
    port: int
    user: str | None
    password: str | None
    tls: Literal["implicit", "required", "optional", "none"]


def server(url: str) -> Server:
    """Read `smtp://user:pass@host:587` or `smtps://…`. `?tls=required|optional|none` is for `smtp://` (STARTTLS).

    A password is never sent in the clear, unless `tls=none` says so. Raises ValueError with the fix.
    """
    parts = urlsplit(url)
    if not parts.hostname:
        raise ValueError("names no host; for example smtp://user:password@mail.example.com:587")
    asked = parse_qs(parts.query).get("tls", [""])[0]
    if asked not in {"", "required", "optional", "none"}:
        raise ValueError(f"tls={asked} is none of required, optional, none")
    if parts.scheme == "smtps":
        tls: Literal["implicit", "required", "optional", "none"] = "implicit"
    elif asked == "required" or (not asked and parts.username):
        tls = "required"
    else:
        tls = "none" if asked == "none" else "optional"
    return Server(
        parts.hostname,
        parts.port or (465 if tls == "implicit" else 587),
        unquote(parts.username) if parts.username else None,
        unquote(parts.password) if parts.password else None,
        tls,
    )


class SmtpMailer:
    """One SMTP server."""

    def __init__(self, url: str, *, context: ssl.SSLContext | None = None) -> None:
        """`context` says whom to trust; the system's authorities by default."""
        self._server = server(url)
        self._context = context or ssl.create_default_context()
        self._idle: deque[tuple[float, aiosmtplib.SMTP]] = deque()

    async def send(self, message: EmailMessage) -> str | None:
        """Hand it over. The server's word is returned before QUIT: the letter is recorded as sent at once."""
        assert_outside_transaction("sending a letter")
        sender, recipient = parseaddr(str(message["from"]))[1], parseaddr(str(message["to"]))[1]
        async with self._connection() as smtp:
            await _step(smtp.mail(sender), who="sender", letter=False)
            await _step(smtp.rcpt(recipient), who="recipient", letter=False)
            return await _step(smtp.data(message.as_bytes(policy=SMTP)), who="letter", letter=True)

    @asynccontextmanager
    async def _connection(self) -> AsyncGenerator[aiosmtplib.SMTP]:
        smtp = await self._kept() or await self._connect()
        try:
            yield smtp
        except BaseException:
            smtp.close()
            raise
        if len(self._idle) < KEPT:
            self._idle.append((monotonic(), smtp))
        else:
            smtp.close()

    async def _kept(self) -> aiosmtplib.SMTP | None:
        """A connection that the server has not closed meanwhile: it answers to RSET."""
        while self._idle:
            since, smtp = self._idle.pop()
            if smtp.is_connected and monotonic() - since < IDLE:
                try:
                    await smtp.rset()
                except aiosmtplib.SMTPException:
                    smtp.close()
                else:
                    return smtp
            smtp.close()
        return None

    async def _connect(self) -> aiosmtplib.SMTP:
        at = self._server
        smtp = aiosmtplib.SMTP(
            hostname=at.host,
            port=at.port,
            use_tls=at.tls == "implicit",
            start_tls={"required": True, "optional": None}.get(at.tls, False),
            tls_context=self._context,
            username=at.user,
            password=at.password,
            timeout=TIMEOUT,
        )
        where = f"{at.host}:{at.port}"
        try:
            await smtp.connect()
        except aiosmtplib.SMTPAuthenticationError as error:
            if error.code < PERMANENT:
                raise TryLater(f"{where} does not let us in now: {error.code} {error.message}") from error
            raise Refused(f"{where} refused the user or password of MAIL_URL: {error.code} {error.message}") from error
        except aiosmtplib.SMTPNotSupported as error:
            raise Refused(f"{where} cannot do what MAIL_URL asks for (TLS, sign-in): {error}") from error
        except ssl.SSLCertVerificationError as error:
            raise Refused(f"{where} shows a certificate that is not trusted: {error.verify_message}") from error
        except (aiosmtplib.SMTPException, OSError) as error:
            if isinstance(error.__cause__, ssl.SSLCertVerificationError):
                raise Refused(f"{where} shows a certificate that is not trusted: {error.__cause__}") from error
            raise TryLater(f"{where} cannot be reached: {error or type(error).__name__}") from error
        return smtp

    async def close(self) -> None:
        """Say goodbye on the kept connections."""
        while self._idle:
            _, smtp = self._idle.pop()
            try:
                await smtp.quit()
            except (aiosmtplib.SMTPException, OSError):
                smtp.close()


async def _step(answer: Awaitable[aiosmtplib.SMTPResponse], *, who: str, letter: bool) -> str:
    """One command and its answer. `letter`: the server may have taken the letter although its answer never came."""
    lost: Callable[[str], TryLater] = Unclear if letter else TryLater
    try:
        return (await answer).message
    except aiosmtplib.SMTPResponseException as error:
        said = f"the mail server refused the {who}: {error.code} {error.message}"
        if error.code < PERMANENT:
            raise TryLater(said) from error
        if who == "recipient" or (letter and error.code in ADDRESS_REFUSED):
            raise Undeliverable(said) from error
        raise Refused(said) from error
    except (aiosmtplib.SMTPException, OSError) as error:
        raise lost(f"the connection to the mail server was lost ({who}): {error or type(error).__name__}") from error
