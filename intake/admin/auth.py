"""Who may pass the internal door: a bearer token for programs, and for people a session that is opened with it."""

import base64
import binascii
import hashlib
import hmac
import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pydantic import SecretStr

COOKIE = "billing_session"

SESSION = timedelta(hours=12)
"""A working day; then one signs in again."""

LONGEST_NAME = 60
"""Characters of a person's name in the audit log."""


@dataclass(frozen=True, slots=True)
class Session:
    """A person who signed in. `csrf` must come back with every form."""

    who: str
    csrf: str


class Gate:
    """Holds the admin token. Sessions are signed with a key made from it: a new token ends them all."""

    def __init__(self, token: SecretStr | None) -> None:
        """Without a token the door stays shut."""
        self._token = (token.get_secret_value() if token else "").strip().encode()
        self._key = hmac.digest(self._token, b"billing dashboard session", hashlib.sha256)

    @property
    def open(self) -> bool:
        """Whether a token is configured at all."""
        return bool(self._token)

    def knows(self, token: str) -> bool:
        """Whether this is the token; takes as long for a nearly right one as for a wrong one."""
        given = hashlib.sha256(token.strip().encode(errors="surrogateescape")).digest()
        return self.open and hmac.compare_digest(given, hashlib.sha256(self._token).digest())

    def bearer(self, header: str | None) -> bool:
        """Whether an `Authorization` header holds the token (RFC 6750, section 2.1)."""
        scheme, _, token = (header or "").partition(" ")
        return scheme.lower() == "bearer" and self.knows(token)

    def sign_in(self, who: str, now: datetime) -> str:
        """A new session's cookie."""
        name = "".join(char for char in " ".join(who.split()) if char.isprintable())[:LONGEST_NAME] or "an operator"
        body = json.dumps({"who": name, "until": int((now + SESSION).timestamp())}).encode()
        packed = base64.urlsafe_b64encode(body).decode()
        return f"{packed}.{self._sign(packed)}"

    def session(self, cookie: str | None, now: datetime) -> Session | None:
        """The session of a cookie; None when it is not ours, was changed, or is over."""
        packed, _, signature = (cookie or "").partition(".")
        if not self.open or not hmac.compare_digest(signature.encode(), self._sign(packed).encode()):
            return None
        try:
            body: dict[str, Any] = json.loads(base64.urlsafe_b64decode(packed))
        except (ValueError, binascii.Error):
            return None
        if body["until"] <= now.timestamp():
            return None
        return Session(body["who"], self._sign(f"csrf {packed}"))

    def _sign(self, text: str) -> str:
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()
