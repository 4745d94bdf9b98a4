"""Keys of partners as they are asked for, at the terminal or by the admin API."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from db import tokens
from db.operators.actions import Actor
from db.operators.filters import BadFilterError, one_of, plain
from db.tokens import TokenScope

_PREFIX = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_DAYS = re.compile(r"([0-9]{1,5})\s*d", re.ASCII)


def expiry(typed: str | None, now: datetime) -> datetime | None:
    """When a key ends: `90d` from now, or a date. Raises BadFilterError."""
    if not typed:
        return None
    try:
        if days := _DAYS.fullmatch(typed.strip().lower()):
            return now + timedelta(days=int(days[1]))
        at = datetime.fromisoformat(typed.strip())
        at = (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadFilterError("expires", f"{typed!r} is no time: write 90d, or a date (2027-03-01)") from None
    if at <= now:
        raise BadFilterError("expires", f"{typed!r} has passed")
    return at


def scopes_of(typed: Sequence[str]) -> list[TokenScope]:
    """The scopes that were typed, each once, in their own order; all where none was. Raises BadFilterError."""
    found = {one_of("scope", one, TokenScope) for one in typed}
    return [scope for scope in TokenScope if scope in found] or list(TokenScope)


async def make(
    conn: AsyncConnection,
    partner: str,
    by: Actor,
    *,
    now: datetime,
    name: str | None,
    scopes: Sequence[str],
    expires: str | None,
    dry_run: bool,
) -> dict[str, Any]:
    """A new key of a partner, committed unless it is a dry run, which tells neither id nor key.

    `has_contract` tells whether its usage will be invoiced. Raises BadFilterError.
    """
    prefix = plain("partner", partner) or ""
    if not _PREFIX.fullmatch(prefix):
        raise BadFilterError("partner", f"{partner!r} is no key prefix: up to 64 letters, digits, _ and -")
    wanted, ends = scopes_of(scopes), expiry(expires, now)
    known = await tokens.has_contract(conn, prefix)
    id_, key = await tokens.create(conn, prefix, wanted, by, now=now, name=plain("name", name), expires_at=ends)
    await (conn.rollback() if dry_run else conn.commit())
    return {
        "id": None if dry_run else id_,
        "partner": prefix,
        "scopes": wanted,
        "expires_at": ends,
        "key": None if dry_run else key,
        "has_contract": known,
    }
