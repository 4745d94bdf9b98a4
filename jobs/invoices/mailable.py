"""An invoice that is to be mailed has an address that a letter can carry: known before it takes a number."""

from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage

from jobs.mail.render import BREAKS, POLICY
from worker.adapters.mail_address import mailbox
from worker.errors import Refused

LONGEST = 254
LONGEST_LOCAL = 64
"""Octets, RFC 5321, sections 4.5.3.1.1 and .3, and its erratum 1690."""


def unmailable(email: str) -> str | None:
    """Why no letter can go to `email`, as the letters and their carriers would say it; None when one can."""
    local, _, domain = email.rpartition("@")
    if not local or not domain or BREAKS.search(email) or " " in domain:
        return f"{email!r} is no address that mail can be sent to"
    try:
        if len(email.encode()) > LONGEST or len(local.encode()) > LONGEST_LOCAL:
            return f"{email[:40]!r}… is longer than an address may be"
        letter = EmailMessage(policy=POLICY)
        letter["To"] = Address(addr_spec=f"{local}@{domain.encode('idna').decode()}")
        mailbox(letter, "To")
    except (MessageError, ValueError, IndexError, Refused) as error:
        return f"{email!r} is no address that mail can be sent to: {error}"
    return None
