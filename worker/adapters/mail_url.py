"""Where letters are handed over, as MAIL_URL tells it."""

from dataclasses import dataclass, field
from typing import Literal, cast
from urllib.parse import parse_qs, unquote, urlsplit

Tls = Literal["implicit", "required", "optional", "none"]

LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})
"""Where a stand-in may be spoken to in the clear."""

_ESCAPE = (
    "cannot be read: write @ : / ? # % in a user or password as %40 %3A %2F %3F %23 %25; "
    "for example smtp://user:p%40ss@mail.example.com:587"
)


@dataclass(frozen=True, slots=True)
class Server:
    """An SMTP server, and how to connect to it."""

    host: str
    port: int
    user: str | None = field(repr=False)
    password: str | None = field(repr=False)
    tls: Tls


def server(url: str) -> Server:
    """Read `smtp://user:pass@host:587` or `smtps://…`. `?tls=required|optional|none` is for `smtp://` (STARTTLS).

    With a user STARTTLS is required, else it is taken where offered. Raises ValueError with the fix, and never with
    what may be a password.
    """
    try:
        parts = urlsplit(url)
        port, asked = parts.port, parse_qs(parts.query, strict_parsing=bool(parts.query))
    except ValueError:
        raise ValueError(_ESCAPE) from None
    if not parts.hostname:
        raise ValueError("names no host; for example smtp://user:password@mail.example.com:587")
    if parts.path not in {"", "/"} or parts.fragment:
        raise ValueError(_ESCAPE)
    tls = _tls(parts.scheme, asked, signs_in=bool(parts.username))
    return Server(
        parts.hostname,
        port or (465 if tls == "implicit" else 587),
        unquote(parts.username) if parts.username else None,
        unquote(parts.password) if parts.password else None,
        tls,
    )


def _tls(scheme: str, asked: dict[str, list[str]], *, signs_in: bool) -> Tls:
    if unknown := sorted(asked.keys() - {"tls"}):
        raise ValueError(f"{unknown[0]} is no option of it; there is tls=required, tls=optional, tls=none")
    if scheme == "smtps":
        if asked:
            raise ValueError("smtps:// is TLS from the first byte: leave tls= out, or write smtp://")
        return "implicit"
    wanted = asked.get("tls", ["required" if signs_in else "optional"])[0]
    if wanted not in {"required", "optional", "none"}:
        raise ValueError(f"tls={wanted} is none of required, optional, none")
    if signs_in and wanted == "optional":
        raise ValueError("tls=optional may send the password in the clear: write tls=required, or tls=none to allow it")
    return cast("Tls", wanted)


@dataclass(frozen=True, slots=True)
class Account:
    """A SendGrid account, and the address of its API."""

    key: str = field(repr=False)
    base: str


def account(url: str) -> Account:
    """Read `sendgrid://KEY`, or `sendgrid://KEY@api.eu.sendgrid.com` for another host of theirs, or a stand-in.

    Only a stand-in on this machine is spoken to without TLS. Raises ValueError with the fix.
    """
    key, at, host = urlsplit(url).netloc.rpartition("@")
    if not at:
        key, host = host, "api.sendgrid.com"
    key = unquote(key)
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise ValueError("names no API key; for example sendgrid://SG.…, or sendgrid://SG.…@api.eu.sendgrid.com")
    try:
        parts = urlsplit(f"//{host}")
        name, port = parts.hostname, parts.port
    except ValueError:
        name, port = None, None
    if not name:
        raise ValueError("names no host after its @; for example sendgrid://SG.…@api.eu.sendgrid.com")
    scheme = "http" if name in LOOPBACK else "https"
    shown = f"[{name}]" if ":" in name else name
    return Account(key, f"{scheme}://{shown}" + (f":{port}" if port else ""))
