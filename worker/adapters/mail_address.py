"""Whom a letter is from and goes to, as carriers want to be told."""

from collections.abc import Sequence
from email.headerregistry import Address
from email.message import EmailMessage
from typing import Any

from worker.errors import Refused


def person(message: EmailMessage, header: str) -> Address:
    """The one address of `From`, `To` or `Reply-To`. Raises Refused when there is not exactly one."""
    found: Any = message[header]
    addresses: Sequence[Address] = found.addresses if found is not None else ()
    if len(addresses) != 1 or not addresses[0].domain:
        raise Refused(f"{header}: the letter has {len(addresses)} addresses there, and must have one")
    return addresses[0]


def mailbox(message: EmailMessage, header: str) -> str:
    """That address alone, its domain as DNS writes it (RFC 5891). The part before the @ may be of any script."""
    one = person(message, header)
    try:
        return f"{quoted(one.username)}@{one.domain.encode('idna').decode()}"
    except UnicodeError as error:
        raise Refused(f"{header}: {one.domain!r} is no name of a domain") from error


def quoted(local: str) -> str:
    """The part before the @, in quotes where its characters demand it (RFC 5321, section 4.1.2)."""
    spec = Address(username=local, domain="x").addr_spec
    return spec.removesuffix("@x")
