"""Letters are handed to an SMTP server, over connections that are kept for the next letter."""

import asyncio
import re
import ssl
from collections import deque
from collections.abc import AsyncGenerator, Awaitable
from contextlib import asynccontextmanager
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from time import monotonic

import aiosmtplib

from worker.adapters.mail_address import mailbox
from worker.adapters.mail_url import server
from worker.deps import assert_outside_transaction
from worker.errors import Refused, TryLater, Unclear, Undeliverable

TIMEOUT = 20.0
"""Seconds for one answer of the server."""

ACCEPTANCE = 120.0
"""Seconds for its word on the whole letter, which it may first search for spam. Who waits too short makes copies:
https://www.rfc-editor.org/rfc/rfc5321#section-4.5.3.2.6 says ten minutes."""

PREPARATION = 60.0
"""Seconds from the connection's beginning to the letter's: nothing is handed over yet, so giving up is free."""

IDLE = 30.0
"""Seconds that a connection is kept for the next letter: servers close theirs after a minute or more."""

ALIVE = 5.0
"""Seconds in which a kept connection must show that it is still one."""

KEPT = 8
"""Connections that are kept: as many as one worker sends letters at once."""

PIECE = 16 * 1024
"""Bytes that are written at once; between two of them a connection's end is noticed."""

ABOUT_MAILBOX = re.compile(r"5\.1\.(?:0|1|2|3|6|10)\b|5\.2\.1\b")
"""Mailbox, domain or syntax bad, moved, or disabled: https://www.rfc-editor.org/rfc/rfc3463#section-3.2."""

ENHANCED = re.compile(r"[245]\.\d{1,3}\.\d{1,3}\b")

ADDRESS_REFUSED = frozenset({550, 551, 553, 501, 556})
"""What RCPT answers about the recipient where it gives no enhanced code: no such mailbox, moved, a name that is not
allowed (https://www.rfc-editor.org/rfc/rfc5321#section-4.2.3), not well formed, no mail there (RFC 7504)."""

ABOUT_US = re.compile(
    r"relay|authenti|spam|policy|policies|black|block|denylist|reputation|spf|dkim|dmarc", re.IGNORECASE
)
"""Words of answers without an enhanced code that speak of us: one closed relay must not suppress every customer."""

TRANSIENT, PERMANENT, BEYOND = 400, 500, 600
"""Where the classes of answers begin: https://www.rfc-editor.org/rfc/rfc5321#section-4.2.1."""

CLOSING, GO_AHEAD, TAKEN = 421, 354, 250

EXPIRED_OR_NOT_YET = frozenset({9, 10})
"""OpenSSL's X509_V_ERR_CERT_NOT_YET_VALID and _HAS_EXPIRED: whoever runs the server will mend it."""


class SmtpMailer:
    """One SMTP server."""

    def __init__(
        self,
        url: str,
        *,
        context: ssl.SSLContext | None = None,
        timeout: float = TIMEOUT,
        acceptance: float = ACCEPTANCE,
        preparation: float = PREPARATION,
    ) -> None:
        """`context` says whom to trust, the system's authorities by default; the times are in seconds.

        Raises ValueError saying what is wrong with `url`.
        """
        self._server = server(url)
        self._context = context or ssl.create_default_context()
        if context is None and self._server.tls == "optional":  # who would also send in the clear gains nothing by it
            self._context.check_hostname = False
            self._context.verify_mode = ssl.CERT_NONE
        self._timeout = timeout
        self._acceptance = acceptance
        self._preparation = preparation
        self._own_name: str | None = None
        self._idle: deque[tuple[float, aiosmtplib.SMTP]] = deque()

    async def send(self, message: EmailMessage) -> str:
        """Hand it over. Returns the server's word at once: it is recorded before QUIT is said."""
        assert_outside_transaction("sending a letter")
        sender, recipient = mailbox(message, "From"), mailbox(message, "To")
        async with self._connection(sender, recipient) as smtp:
            policy = SMTP if (sender + recipient).isascii() else SMTPUTF8
            return await self._hand_over(smtp, _stuffed(message.as_bytes(policy=policy)))

    async def check(self) -> str:
        """Sign in and take leave, without a letter. Returns what was found; raises as `send` does."""
        smtp = await self._connect()
        secured = smtp.get_transport_info("sslcontext") is not None
        try:
            await smtp.quit(timeout=ALIVE)
        except (aiosmtplib.SMTPException, OSError):
            smtp.close()
        signed_in = "signed in" if self._server.user else "no sign-in"
        return f"{self._server.host}:{self._server.port} answers; {'TLS' if secured else 'no TLS'}, {signed_in}"

    @asynccontextmanager
    async def _connection(self, sender: str, recipient: str) -> AsyncGenerator[aiosmtplib.SMTP]:
        """A connection that awaits the letter, sender and recipient having been told."""
        try:
            async with asyncio.timeout(self._preparation):
                smtp = await self._begun(sender, recipient)
                async with self._closed_on_failure(smtp):
                    await _answer(smtp.rcpt(recipient, encoding=_encoding(recipient)), who="recipient")
        except TimeoutError as error:
            raise TryLater(f"{self._where} takes longer than {self._preparation:g} s to begin with a letter") from error
        async with self._closed_on_failure(smtp):
            yield smtp
        self._keep(smtp)

    @asynccontextmanager
    async def _closed_on_failure(self, smtp: aiosmtplib.SMTP) -> AsyncGenerator[None]:
        try:
            yield
        except Undeliverable:
            self._keep(smtp)  # a bad address says nothing about the connection
            raise
        except BaseException:
            smtp.close()
            raise

    def _keep(self, smtp: aiosmtplib.SMTP) -> None:
        if smtp.is_connected and len(self._idle) < KEPT:
            self._idle.append((monotonic(), smtp))
        else:
            smtp.close()

    async def _begun(self, sender: str, recipient: str) -> aiosmtplib.SMTP:
        """A connection with MAIL said: a kept one, if its server has not closed it or had enough letters over it."""
        while self._idle:
            since, smtp = self._idle.pop()
            async with self._closed_on_failure(smtp):
                if monotonic() - since < IDLE and await self._begins_again(smtp, sender, recipient):
                    return smtp
            smtp.close()
        smtp = await self._connect()
        async with self._closed_on_failure(smtp):
            await self._mail(smtp, sender, recipient)
        return smtp

    async def _begins_again(self, smtp: aiosmtplib.SMTP, sender: str, recipient: str) -> bool:
        """Whether a kept connection took MAIL; False when it has ended, which says nothing about the letter."""
        try:
            await smtp.rset(timeout=min(ALIVE, self._timeout))
            await self._mail(smtp, sender, recipient)
        except (aiosmtplib.SMTPException, OSError):
            return False
        except TryLater:
            if smtp.is_connected:
                raise
            return False
        return True

    async def _mail(self, smtp: aiosmtplib.SMTP, sender: str, recipient: str) -> None:
        options: list[str] = []
        if not (sender + recipient).isascii():
            if not smtp.supports_extension("smtputf8"):
                raise Refused(f"{self._where} carries no letters to or from addresses like {recipient} (SMTPUTF8)")
            options = ["SMTPUTF8", "BODY=8BITMIME"]
        await _answer(smtp.mail(sender, options=options, encoding=_encoding(sender + recipient)), who="sender")

    async def _hand_over(self, smtp: aiosmtplib.SMTP, body: bytes) -> str:
        """Send the letter itself. Until its last line is written the server cannot have taken it; then it may have."""
        said = await _answer(smtp.execute_command(b"DATA"), who="beginning of the letter")
        if said.code != GO_AHEAD or (wire := smtp.protocol) is None:
            raise _refusal(said.code, said.message, who="beginning of the letter")
        for start in range(0, len(body), PIECE):
            if not wire.is_connected:
                raise TryLater(f"{self._where} hung up before the whole letter was sent")
            wire.write(body[start : start + PIECE])
            await asyncio.sleep(0)  # so that a connection's end is noticed
        if not wire.is_connected:
            raise TryLater(f"{self._where} hung up before the whole letter was sent")
        wire.write(b".\r\n")
        try:
            said = await wire.read_response(timeout=self._acceptance)
        except (aiosmtplib.SMTPException, OSError) as error:
            smtp.close()
            raise Unclear(f"{self._where} was sent the letter, and did not say that it took it: {error}") from error
        if said.code == TAKEN:
            return said.message
        raise _refusal(said.code, said.message, who="letter")

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
            timeout=self._timeout,
            local_hostname=self._own_name,
        )
        try:
            await smtp.connect()
            if smtp.is_ehlo_or_helo_needed:
                await smtp.ehlo()
        except (aiosmtplib.SMTPException, OSError) as error:
            smtp.close()
            raise _unreachable(error, self._where) from error
        except BaseException:
            smtp.close()
            raise
        self._own_name = smtp.local_hostname  # it was asked of DNS, which need not be asked again
        return smtp

    @property
    def _where(self) -> str:
        return f"the mail server {self._server.host}:{self._server.port}"

    async def close(self) -> None:
        """Say goodbye on the kept connections, to all at once."""
        kept, self._idle = [smtp for _, smtp in self._idle], deque()
        await asyncio.gather(*(smtp.quit(timeout=ALIVE) for smtp in kept), return_exceptions=True)
        for smtp in kept:
            smtp.close()


def _encoding(address: str) -> str:
    return "ascii" if address.isascii() else "utf-8"


def _stuffed(letter: bytes) -> bytes:
    """As DATA wants it: each line ends with CRLF, and one that begins with a dot has another before it."""
    lines = re.sub(rb"\r\n|\r|\n", b"\r\n", letter)
    return re.sub(rb"(?m)^\.", b"..", lines if lines.endswith(b"\r\n") else lines + b"\r\n")


async def _answer(answer: Awaitable[aiosmtplib.SMTPResponse], *, who: str) -> aiosmtplib.SMTPResponse:
    """One command before the letter, and its answer: whatever fails here, nothing was handed over."""
    try:
        return await answer
    except aiosmtplib.SMTPResponseException as error:
        raise _refusal(error.code, error.message, who=who) from error
    except (aiosmtplib.SMTPException, OSError) as error:
        raise TryLater(
            f"the connection to the mail server was lost ({who}): {error or type(error).__name__}"
        ) from error


def _refusal(code: int, message: str, *, who: str) -> TryLater | Refused:
    """What an answer that is no consent means for the letter."""
    said = f"the mail server refused the {who}: {code} {message}"
    if TRANSIENT <= code < PERMANENT:
        return TryLater(said)
    if not PERMANENT <= code < BEYOND:
        strange = f"the mail server's answer about the {who} cannot be read: {message}"
        return Unclear(strange) if who == "letter" else TryLater(strange)
    return Undeliverable(said) if _is_about_the_address(code, message, who) else Refused(said)


def _is_about_the_address(code: int, message: str, who: str) -> bool:
    """An enhanced status code says whose fault it is (RFC 3463); without one, only RCPT is about the recipient."""
    if ENHANCED.match(message):
        return who != "sender" and ABOUT_MAILBOX.match(message) is not None
    return who == "recipient" and code in ADDRESS_REFUSED and not ABOUT_US.search(message)


def _unreachable(error: aiosmtplib.SMTPException | OSError, where: str) -> TryLater | Refused:
    """What a connection that did not come about means: a wrong password never passes, an outage does."""
    untrusted = next((e for e in (error, error.__cause__) if isinstance(e, ssl.SSLCertVerificationError)), None)
    if untrusted is not None:
        said = f"{where} shows a certificate that is not trusted: {untrusted.verify_message}"
        return TryLater(said) if untrusted.verify_code in EXPIRED_OR_NOT_YET else Refused(said)
    if isinstance(error, aiosmtplib.SMTPResponseException):
        what = (
            "refused the user or password of MAIL_URL"
            if isinstance(error, aiosmtplib.SMTPAuthenticationError)
            else "does not let us in"
        )
        said = f"{where} {what}: {error.code} {error.message}"
        return Refused(said) if PERMANENT <= error.code < BEYOND else TryLater(said)
    if type(error) in {aiosmtplib.SMTPException, aiosmtplib.SMTPNotSupported}:  # neither lost nor late: it cannot
        return Refused(f"{where} cannot do what MAIL_URL asks for: {error}")
    return TryLater(f"{where} cannot be reached: {error or type(error).__name__}")
