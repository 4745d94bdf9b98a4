"""Partners report and read usage with keys of their own, which are shown once and kept as SHA-256."""

import hashlib
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from sqlalchemy import ARRAY, DateTime, Text, bindparam, exists, insert, or_, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from db.models.partners import ApiPartnerContract
from db.models.usage import ApiToken
from db.operators.actions import Actor, NotAllowedError, UnknownIdsError, write_audit

SECRET_BYTES = 32
"""Of randomness: 43 characters. What is so long needs no slow hash: nobody guesses it from its SHA-256."""

NOTED_EVERY = timedelta(minutes=1)
"""`last_used_at` is at most so much too old."""


class TokenScope(StrEnum):
    """What a key may do."""

    WRITE = "usage:write"
    READ = "usage:read"


class Access(NamedTuple):
    """What a key opens. `limit` is how many requests its partner may make in a minute, None: as many as it likes."""

    id: int
    prefix: str
    scopes: frozenset[str]
    expires_at: datetime | None
    revoked: bool
    limit: int | None

    def ended(self, now: datetime) -> str | None:
        """Why it opens nothing any more, in a word."""
        if self.revoked:
            return "revoked"
        return "expired" if self.expires_at is not None and now >= self.expires_at else None


def digest(token: str) -> str:
    """What is kept of a key."""
    return hashlib.sha256(token.encode(errors="surrogateescape")).hexdigest()


# A version's first day begins in its own time zone, so those that begin within two days of now are read and compared.
_FIND = text(
    """
    SELECT t.id, t.sha256, t.api_key_prefix, t.scopes, t.expires_at, t.revoked_at,
           c.valid_from, c.timezone, c.rate_limit_per_minute
    FROM api_tokens t LEFT JOIN LATERAL (
        SELECT valid_from, timezone, rate_limit_per_minute FROM api_partner_contracts
        WHERE api_key_prefix = t.api_key_prefix AND lower(status) NOT IN ('draft', 'pending')
          AND valid_from <= (CAST(:now AS timestamptz) AT TIME ZONE 'UTC')::date + 1
        ORDER BY valid_from DESC LIMIT 4
    ) c ON true
    WHERE t.sha256 = ANY(:digests) ORDER BY t.id, c.valid_from DESC
    """
).bindparams(bindparam("now", type_=DateTime(timezone=True)), bindparam("digests", type_=ARRAY(Text())))


async def find(conn: AsyncConnection, digests: Sequence[str], now: datetime) -> dict[str, Access]:
    """The keys of these SHA-256 that exist, with the limit of the contract that is in force at `now`."""
    found: dict[str, Access] = {}
    settled: set[str] = set()
    for row in await conn.execute(_FIND, {"digests": list(digests), "now": now}):
        if row.sha256 in settled:
            continue
        limit = None
        if row.valid_from is not None and row.valid_from <= _today(row.timezone, now):
            limit = row.rate_limit_per_minute or None
            settled.add(row.sha256)
        found[row.sha256] = Access(
            row.id, row.api_key_prefix, frozenset(row.scopes), row.expires_at, row.revoked_at is not None, limit
        )
    return found


def _today(timezone: str, now: datetime) -> Any:
    try:
        return now.astimezone(ZoneInfo(timezone)).date()
    except (KeyError, OSError, ValueError):  # one contract's misspelt zone must not shut the door to all partners
        return now.date()


async def touch(conn: AsyncConnection, ids: Sequence[int], now: datetime) -> None:
    """Note that these keys were used."""
    await conn.execute(
        update(ApiToken)
        .where(ApiToken.id.in_(ids), or_(ApiToken.last_used_at.is_(None), ApiToken.last_used_at <= now - NOTED_EVERY))
        .values(last_used_at=now)
    )


async def create(
    conn: AsyncConnection,
    prefix: str,
    scopes: Sequence[TokenScope],
    actor: Actor,
    *,
    now: datetime,
    name: str | None = None,
    expires_at: datetime | None = None,
) -> tuple[int, str]:
    """A new key of a partner: its id, and the key itself, which nobody can tell again."""
    secret = secrets.token_urlsafe(SECRET_BYTES)
    token = f"{prefix}_{secret}"
    row = await conn.execute(
        insert(ApiToken)
        .values(
            api_key_prefix=prefix,
            name=name,
            sha256=digest(token),
            shown=f"{prefix}_{secret[:4]}…{secret[-4:]}",
            scopes=[scope.value for scope in scopes],
            created_at=now,
            created_by=actor.who,
            expires_at=expires_at,
        )
        .returning(ApiToken.id)
    )
    id_ = row.scalar_one()
    told = {"partner": prefix, "scopes": list(scopes), "expires_at": expires_at and expires_at.isoformat()}
    await write_audit(conn, actor, "tokens.create", str(id_), now=now, details=told)
    return id_, token


async def has_contract(conn: AsyncConnection, prefix: str) -> bool:
    """Whether there is any contract with the partner whose keys begin so."""
    return bool(await conn.scalar(select(exists().where(ApiPartnerContract.api_key_prefix == prefix))))


async def list_tokens(
    conn: AsyncConnection, now: datetime, *, prefix: str | None = None, ended: bool = False
) -> list[dict[str, Any]]:
    """The keys, of one partner or of all, by partner and age; with `ended` also the revoked and expired ones."""
    wanted = select(
        ApiToken.id,
        ApiToken.api_key_prefix,
        ApiToken.name,
        ApiToken.shown,
        ApiToken.scopes,
        ApiToken.created_at,
        ApiToken.created_by,
        ApiToken.expires_at,
        ApiToken.revoked_at,
        ApiToken.last_used_at,
    ).order_by(ApiToken.api_key_prefix, ApiToken.id)
    if prefix is not None:
        wanted = wanted.where(ApiToken.api_key_prefix == prefix)
    if not ended:
        wanted = wanted.where(
            ApiToken.revoked_at.is_(None), or_(ApiToken.expires_at.is_(None), ApiToken.expires_at > now)
        )
    return [dict(row) for row in (await conn.execute(wanted)).mappings()]


async def revoke(conn: AsyncConnection, id_: int, actor: Actor, *, now: datetime) -> str:
    """End a key for good. Returns how it was shown. Raises UnknownIdsError, NotAllowedError when it was ended before.

    The doors let it in for up to 5 seconds more.
    """
    row = (
        await conn.execute(
            select(ApiToken.shown, ApiToken.revoked_at, ApiToken.api_key_prefix)
            .where(ApiToken.id == id_)
            .with_for_update()
        )
    ).one_or_none()
    if row is None:
        raise UnknownIdsError("key", [str(id_)])
    if row.revoked_at is not None:
        raise NotAllowedError([f"key {id_} was revoked at {row.revoked_at:%Y-%m-%d %H:%M} UTC"])
    await conn.execute(update(ApiToken).where(ApiToken.id == id_).values(revoked_at=now))
    await write_audit(conn, actor, "tokens.revoke", str(id_), now=now, details={"partner": row.api_key_prefix})
    return row.shown
