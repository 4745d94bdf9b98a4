"""Which carrier letters are handed to, by MAIL_URL."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from worker.adapters.mail_files import Maildir, NullMailer
from worker.adapters.mail_sendgrid import SendGridMailer
from worker.adapters.mail_smtp import SmtpMailer
from worker.ports import Mailer


def mailer(url: str | None, home: Path) -> Mailer:
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
