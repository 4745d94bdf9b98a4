"""Customers fetch their documents by links that are signed and end: whoever has one needs no account."""

import hmac
import re
from base64 import urlsafe_b64encode
from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final
from urllib.parse import urlencode

from worker.settings import Settings

PATH: Final = "/documents"
"""Of the public door; a document's id follows."""

_SIGNATURE = re.compile(r"[A-Za-z0-9_-]{43}")
_NUMBER = re.compile(r"[1-9][0-9]{0,14}")
"""Ids and times, in one writing only: what is signed is what was written."""


class Verdict(StrEnum):
    """What is to be thought of a link."""

    GOOD = "good"
    EXPIRED = "expired"
    WRONG = "wrong"


def link_secrets(settings: Settings) -> tuple[bytes, ...]:
    """The secrets of BILLING_LINK_SECRET, the one that signs first; several while it is rolled."""
    if settings.billing_link_secret is None:
        return ()
    return tuple(part.strip().encode() for part in settings.billing_link_secret.get_secret_value().split(","))


def signature(document_id: int, expires: int, secret: bytes) -> str:
    """HMAC-SHA-256 over what kind of link it is, the document's id and the end (seconds since 1970), as base64url.

    256 bits cannot be guessed, however many guesses a second: the door needs no limit for that (RFC 2104, section 6).
    """
    told = f"billing document 1\n{document_id}\n{expires}".encode()
    return urlsafe_b64encode(hmac.digest(secret, told, "sha256")).rstrip(b"=").decode()


def document_path(document_id: int, *, ends: datetime, secrets: Sequence[bytes]) -> str:
    """The path of a link at the public door; it works until `ends`. Raises ValueError without a secret."""
    if not secrets:
        raise ValueError("BILLING_LINK_SECRET is not set: links cannot be signed")
    expires = int(ends.timestamp())
    query = urlencode({"expires": expires, "signature": signature(document_id, expires, secrets[0])})
    return f"{PATH}/{document_id}?{query}"


def document_link(document_id: int, settings: Settings, *, now: datetime) -> str | None:
    """A link that works for BILLING_LINK_DAYS from `now`; None when no secret or no public address is configured."""
    secrets = link_secrets(settings)
    if not secrets or settings.billing_public_url is None:
        return None
    ends = now + timedelta(days=settings.billing_link_days)
    return settings.billing_public_url.rstrip("/") + document_path(document_id, ends=ends, secrets=secrets)


def judge(document_id: str, expires: str, given: str, *, secrets: Sequence[bytes], now: datetime) -> Verdict:
    """Whether a link is one of ours, and not over. An altered one is WRONG, whether or not it would be over."""
    if not (_NUMBER.fullmatch(document_id) and _NUMBER.fullmatch(expires) and _SIGNATURE.fullmatch(given)):
        return Verdict.WRONG
    ours = [signature(int(document_id), int(expires), secret) for secret in secrets]
    # Every secret is tried, so that the time tells nothing of which one it was.
    if not any([hmac.compare_digest(one, given) for one in ours]):  # noqa: C419 - see above
        return Verdict.WRONG
    return Verdict.GOOD if int(expires) > now.timestamp() else Verdict.EXPIRED
