"""Promotion codes are made once, and redeemed by each owner once, never more often than they may be."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from db.usage import Owner


@dataclass(frozen=True, slots=True)
class PromoCode:
    """A promotion code as its row tells. Amounts are minor units of `currency`, times UTC."""

    id: int
    code: str
    amount_cents: int | None
    currency: str | None
    percent: Decimal | None
    months: int | None
    credit_days: int | None
    max_redemptions: int | None
    redeemed: int
    expires_at: datetime | None
    created_at: datetime
    created_by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPromoCode:
    """A code that is about to be made: an amount as a credit, or so many percent off for some months."""

    code: str
    amount_cents: int | None = None
    currency: str | None = None
    percent: Decimal | None = None
    months: int | None = None
    credit_days: int | None = None
    max_redemptions: int | None = None
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Holding:
    """A percentage that an owner has off."""

    code: str
    percent: Decimal
    redeemed_at: datetime
    ends_at: datetime | None


_COLUMNS = ", ".join(PromoCode.__dataclass_fields__)
_ADD = text(
    """
    INSERT INTO promo_codes (code, amount_cents, currency, percent, months, credit_days, max_redemptions, expires_at,
                             created_at, created_by)
    VALUES (:code, :amount_cents, :currency, :percent, :months, :credit_days, :max_redemptions, :expires_at, :now, :by)
    ON CONFLICT (code) DO NOTHING RETURNING id
    """
)


async def add(conn: AsyncConnection, new: NewPromoCode, *, by: str, now: datetime) -> int | None:
    """Make a code. Returns its id; None when there is one of this name."""
    values = {name: getattr(new, name) for name in NewPromoCode.__dataclass_fields__}
    return (await conn.execute(_ADD, values | {"now": now, "by": by})).scalar()


async def locked(conn: AsyncConnection, code: str) -> PromoCode | None:
    """The code, which nobody else redeems until this transaction ends."""
    found = await conn.execute(
        text(f"SELECT {_COLUMNS} FROM promo_codes WHERE code = :code FOR UPDATE"),  # noqa: S608 - names of our own
        {"code": code},
    )
    row = found.first()
    return PromoCode(*row) if row is not None else None


async def known(conn: AsyncConnection) -> list[str]:
    """The names of all codes."""
    return list((await conn.execute(text("SELECT code FROM promo_codes ORDER BY code"))).scalars())


_REDEEM = text(
    """
    WITH used AS (
        INSERT INTO promo_redemptions (promo_code_id, api_key_prefix, user_id, redeemed_at, ends_at)
        VALUES (:promo, :api_key_prefix, :user_id, :now, :ends_at)
        ON CONFLICT (promo_code_id, api_key_prefix, user_id) DO NOTHING RETURNING id, promo_code_id
    ), counted AS (
        UPDATE promo_codes p SET redeemed = p.redeemed + 1 FROM used WHERE p.id = used.promo_code_id
    )
    SELECT id FROM used
    """
)


async def redeem(
    conn: AsyncConnection, promo: int, owner: Owner, *, ends_at: datetime | None, now: datetime
) -> int | None:
    """Note that `owner` used the code, which is locked. Returns the redemption's id; None: it was used before."""
    values = {"promo": promo, "api_key_prefix": owner.api_key_prefix, "user_id": owner.user_id}
    return (await conn.execute(_REDEEM, values | {"now": now, "ends_at": ends_at})).scalar()


async def gave(conn: AsyncConnection, redemption: int, credit: int) -> None:
    """Note which credit a redemption gave."""
    await conn.execute(
        text("UPDATE promo_redemptions SET credit_id = :credit WHERE id = :id"), {"credit": credit, "id": redemption}
    )


_HOLDING = text(
    """
    SELECT p.code, p.percent, r.redeemed_at, r.ends_at
    FROM promo_redemptions r JOIN promo_codes p ON p.id = r.promo_code_id
    WHERE (r.api_key_prefix = CAST(:api_key_prefix AS text) OR r.user_id = CAST(:user_id AS bigint))
      AND p.percent IS NOT NULL AND r.redeemed_at <= :at AND (r.ends_at IS NULL OR :at < r.ends_at)
    ORDER BY r.redeemed_at, r.id
    """
)


async def holding(conn: AsyncConnection, owner: Owner, at: datetime) -> list[Holding]:
    """The percentages that `owner` has off at `at`, in the order in which they were redeemed."""
    values = {"api_key_prefix": owner.api_key_prefix, "user_id": owner.user_id, "at": at}
    return [Holding(*row) for row in await conn.execute(_HOLDING, values)]


_LIST = text(f"SELECT {_COLUMNS} FROM promo_codes ORDER BY id DESC LIMIT :limit")  # noqa: S608 - names of our own
_REDEMPTIONS = text(
    """
    SELECT r.api_key_prefix, r.user_id, r.redeemed_at, r.ends_at, r.credit_id
    FROM promo_redemptions r JOIN promo_codes p ON p.id = r.promo_code_id WHERE p.code = :code ORDER BY r.id
    """
)


async def listing(conn: AsyncConnection, *, limit: int) -> list[PromoCode]:
    """Codes, newest first."""
    return [PromoCode(*row) for row in await conn.execute(_LIST, {"limit": limit})]


async def redemptions(conn: AsyncConnection, code: str) -> list[Mapping[str, Any]]:
    """Who used a code, oldest first."""
    return [dict(row) for row in (await conn.execute(_REDEMPTIONS, {"code": code})).mappings()]
