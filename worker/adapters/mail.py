"""Which carrier letters are handed to, by MAIL_URL."""

from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from worker.adapters.mail_files import Maildir, NullMailer
from worker.adapters.mail_sendgrid import SendGridMailer
from worker.adapters.mail_smtp import SmtpMailer
from worker.ports import Mailer


class Carrier(Mailer, Protocol):
    """A carrier that can be tried without a letter."""

    async def check(self) -> str:
        """Reach it and sign in. Returns what was found, in words; raises TryLater or Refused as `send` does."""
        ...


def mailer(url: str | None, home: Path) -> Carrier:
    """The carrier of `url`; none: a Maildir under `home`. Raises ValueError saying what is wrong with `url`."""
    if url is None:
        return Maildir(home / "mail")
    scheme = urlsplit(url).scheme
    match scheme:
        case "smtp" | "smtps":
            return SmtpMailer(url)
        case "sendgrid":
            return SendGridMailer(url)
        case "maildir":
            return Maildir(Path(unquote(urlsplit(url).path)))
        case "null":
            return NullMailer()
        case _:
            raise ValueError(f"{scheme}: is none of smtp, smtps, sendgrid, maildir, null")
