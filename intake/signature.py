"""Only what Stripe signed comes in: the signature of a webhook is checked against our secrets and the clock."""

import hmac
from collections.abc import Sequence
from enum import StrEnum

TOLERANCE = 300
"""Seconds that the signed timestamp may lie before or after now (Stripe's libraries: 300 s, into the past only)."""

_MAX_DIGITS = 12
"""Seconds since 1970 have ten digits; more than twelve lie outside of every calendar."""

MAX_HEADER = 4096
"""Bytes; Stripe's header has fewer than 300, and some more while secrets are rolled."""


class Reason(StrEnum):
    """Why a signature was refused: for metrics and logs, never told to the caller."""

    MISSING = "missing_signature"
    MALFORMED = "malformed_signature"
    MISMATCH = "wrong_signature"
    STALE = "stale"
    FUTURE = "future"


class BadSignatureError(Exception):
    """The request was not signed by Stripe, or not now."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


def _parse(header: bytes) -> tuple[int, list[bytes]]:
    if len(header) > MAX_HEADER:
        raise BadSignatureError(Reason.MALFORMED)
    timestamp: bytes | None = None
    signatures: list[bytes] = []
    for item in header.split(b","):
        name, equals, value = item.partition(b"=")
        if not equals and name in {b"t", b"v1"}:
            raise BadSignatureError(Reason.MALFORMED)
        if name == b"v1":
            signatures.append(value)
        elif name == b"t" and timestamp is None:
            timestamp = value
    if timestamp is None or not signatures:
        raise BadSignatureError(Reason.MALFORMED)
    if not timestamp.isdigit() or len(timestamp) > _MAX_DIGITS:
        raise BadSignatureError(Reason.MALFORMED)
    return int(timestamp), signatures


def verify(
    header: bytes | None, body: bytes, secrets: Sequence[bytes], *, now: float, tolerance: float = TOLERANCE
) -> None:
    """Check `header` (`Stripe-Signature`) against the raw `body`: any secret may have made any `v1`; `v0` is ignored.

    `now` is in seconds since 1970, `tolerance` in seconds; both bounds are inside. Raises BadSignatureError.
    Several `v1` come while Stripe rolls a secret: https://docs.stripe.com/webhooks#verify-manually.
    """
    if not header:
        raise BadSignatureError(Reason.MISSING)
    timestamp, signatures = _parse(header)
    signed = b"%d.%s" % (timestamp, body)
    for secret in secrets:
        expected = hmac.digest(secret, signed, "sha256").hex().encode()
        if any([hmac.compare_digest(expected, signature) for signature in signatures]):  # noqa: C419 - compares each one
            break
    else:
        raise BadSignatureError(Reason.MISMATCH)
    # Only now: a stranger learns nothing about our clock.
    age = now - timestamp
    if age > tolerance:
        raise BadSignatureError(Reason.STALE)
    if age < -tolerance:
        raise BadSignatureError(Reason.FUTURE)


def sign(body: bytes, secrets: Sequence[bytes], *, at: int) -> bytes:
    """The header that Stripe would send with `body` at `at` (seconds since 1970), one `v1` for each secret."""
    made = [b"v1=" + hmac.digest(secret, b"%d.%s" % (at, body), "sha256").hex().encode() for secret in secrets]
    return b",".join([b"t=%d" % at, *made])
