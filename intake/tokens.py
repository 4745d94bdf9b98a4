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
        days = _DAYS.fullmatch(typed.strip().lower())
        at = now + timedelta(days=int(days[1])) if days else datetime.fromisoformat(typed.strip())
        at = (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadFilterError("expires", f"{typed!r} is no time: write 90d, or a date (2027-03-01)") from None
    if at <= now:
        raise BadFilterError("expires", f"{typed!r} has passed when the key is made: write 90d, or a date to come")
    return at


def scopes_of(field: str, typed: Sequence[str] | None) -> list[TokenScope]:
    """The scopes that were typed, each once, in their own order; with None all. Raises BadFilterError.

    A list of none is refused: it means no scope to whoever wrote it, and never all of them.
    """
    if typed is None:
        return list(TokenScope)
    found = {one_of(field, one, TokenScope) for one in typed}
    if None in found or not found:
        raise BadFilterError(field, f"names no scope: write {', '.join(TokenScope)}, or leave it out for all of them")
    return [scope for scope in TokenScope if scope in found]


async def make(
    conn: AsyncConnection,
    partner: str,
    by: Actor,
    *,
    now: datetime,
    name: str | None,
    scopes: Sequence[str] | None,
    expires: str | None,
    dry_run: bool,
    field: str = "scopes",
) -> dict[str, Any]:
    """A new key of a partner, committed unless it is a dry run, which tells neither id nor key.

    `field` is what scopes are called where they were typed.
    `has_contract` tells whether its usage will be invoiced. Raises BadFilterError.
    """
    prefix = plain("partner", partner) or ""
    if not _PREFIX.fullmatch(prefix):
        raise BadFilterError("partner", f"{partner!r} is no key prefix: up to 64 letters, digits, _ and -")
    wanted, ends = scopes_of(field, scopes), expiry(expires, now)
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
