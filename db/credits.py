"""Credits are given, spent on invoices, given back, and taken back; what one has and what it paid for always add up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import BigInteger

from db.usage import Owner


@dataclass(frozen=True, slots=True)
class CreditRow:
    """A credit as its row tells; amounts in minor units of `currency` (lower case), times UTC."""

    id: int
    api_key_prefix: str | None
    user_id: int | None
    kind: str
    currency: str
    amount_cents: int
    remaining_cents: int
    reason: str
    expires_at: datetime | None
    promo_code_id: int | None
    created_at: datetime
    created_by: str
    voided_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCredit:
    """A credit that is about to be given."""

    owner: Owner
    kind: str
    currency: str
    amount_cents: int
    reason: str
    expires_at: datetime | None = None
    promo_code_id: int | None = None


@dataclass(frozen=True, slots=True)
class Application:
    """What a credit paid of an invoice. `credit` is the credit as it stands now."""

    credit: CreditRow
    amount_cents: int


_COLUMNS = ", ".join(f"c.{name}" for name in CreditRow.__dataclass_fields__)
_OWNED = "(c.api_key_prefix = CAST(:api_key_prefix AS text) OR c.user_id = CAST(:user_id AS bigint))"
_USABLE = f"""
    SELECT {_COLUMNS} FROM credits c
    WHERE {_OWNED} AND c.currency = :currency AND c.remaining_cents > 0 AND c.voided_at IS NULL
      AND (c.expires_at IS NULL OR c.expires_at > :now)
    ORDER BY c.id
"""  # noqa: S608 - names of our own
_LOCKED = text(f"{_USABLE} FOR UPDATE")
_SEEN = text(_USABLE)


def _of(owner: Owner) -> dict[str, Any]:
    return {"api_key_prefix": owner.api_key_prefix, "user_id": owner.user_id}


async def usable(
    conn: AsyncConnection, owner: Owner, currency: str, *, now: datetime, lock: bool = True
) -> list[CreditRow]:
    """The credits of `owner` that can pay at `now`, by id.

    With `lock` nobody else can spend them until this transaction ends; all lock in the order of ids, so that two
    invoices of one owner never wait for each other in a circle.
    """
    rows = await conn.execute(_LOCKED if lock else _SEEN, _of(owner) | {"currency": currency, "now": now})
    return [CreditRow(*row) for row in rows]


async def owner_exists(conn: AsyncConnection, owner: Owner) -> bool:
    """Whether there is such a partner (by a contract) or customer."""
    found = await conn.execute(
        text(
            "SELECT EXISTS (SELECT FROM api_partner_contracts WHERE api_key_prefix = CAST(:api_key_prefix AS text))"
            " OR EXISTS (SELECT FROM users WHERE id = CAST(:user_id AS bigint))"
        ),
        _of(owner),
    )
    return bool(found.scalar_one())


_ADD = text(
    """
    INSERT INTO credits (api_key_prefix, user_id, kind, currency, amount_cents, remaining_cents, reason, expires_at,
                         promo_code_id, created_at, created_by)
    VALUES (:api_key_prefix, :user_id, :kind, :currency, :amount_cents, :amount_cents, :reason, :expires_at,
            :promo_code_id, :now, :by)
    RETURNING id
    """
)


async def add(conn: AsyncConnection, new: NewCredit, *, by: str, now: datetime) -> int:
    """Give a credit. Returns its id."""
    values = {
        **_of(new.owner),
        "kind": new.kind,
        "currency": new.currency,
        "amount_cents": new.amount_cents,
        "reason": new.reason,
        "expires_at": new.expires_at,
        "promo_code_id": new.promo_code_id,
        "now": now,
        "by": by,
    }
    return (await conn.execute(_ADD, values)).scalar_one()


async def get(conn: AsyncConnection, credit_id: int, *, lock: bool = False) -> CreditRow | None:
    """The credit of this id; with `lock` nobody else changes it until this transaction ends."""
    found = await conn.execute(
        text(f"SELECT {_COLUMNS} FROM credits c WHERE c.id = :id{' FOR UPDATE' if lock else ''}"),  # noqa: S608 - names of our own
        {"id": credit_id},
    )
    row = found.first()
    return CreditRow(*row) if row is not None else None


_SPEND = text(
    """
    WITH spent AS (
        UPDATE credits c SET remaining_cents = c.remaining_cents - s.amount
        FROM unnest(:ids, :amounts) AS s (id, amount)
        WHERE c.id = s.id AND c.remaining_cents >= s.amount AND c.voided_at IS NULL
        RETURNING c.id, s.amount
    )
    INSERT INTO credit_applications (credit_id, invoice_id, amount_cents, created_at)
    SELECT id, :invoice, amount, :now FROM spent ORDER BY id
    """
).bindparams(bindparam("ids", type_=ARRAY(BigInteger)), bindparam("amounts", type_=ARRAY(BigInteger)))


async def spend(conn: AsyncConnection, invoice_id: int, amounts: Mapping[int, int], *, now: datetime) -> int:
    """Let credits (by id) pay so much of an invoice each. Returns how many of them could: all, if they were locked."""
    if not amounts:
        return 0
    done = await conn.execute(
        _SPEND, {"ids": list(amounts), "amounts": list(amounts.values()), "invoice": invoice_id, "now": now}
    )
    return done.rowcount


_LOCK_OF_INVOICE = text(
    """
    SELECT c.id FROM credits c WHERE c.id IN (
        SELECT a.credit_id FROM credit_applications a WHERE a.invoice_id = :invoice AND a.reversed_at IS NULL
        UNION ALL
        SELECT CAST(one ->> 'credit_id' AS bigint) FROM usage_invoices u
        CROSS JOIN LATERAL jsonb_array_elements(u.input -> 'adjustments') AS one
        WHERE u.invoice_id = :invoice
    )
    ORDER BY c.id FOR UPDATE
    """
)
_GIVE_BACK = text(
    """
    WITH undone AS (
        UPDATE credit_applications SET reversed_at = :now WHERE invoice_id = :invoice AND reversed_at IS NULL
        RETURNING credit_id, amount_cents
    )
    UPDATE credits c SET remaining_cents = c.remaining_cents + u.amount_cents FROM undone u WHERE c.id = u.credit_id
    RETURNING c.id, u.amount_cents
    """
)


async def lock_of_invoice(conn: AsyncConnection, invoice_id: int) -> None:
    """Lock the credits that pay for an invoice, and those that came with it, in the order of all.

    Whoever locks the invoice too does so after it.
    """
    await conn.execute(_LOCK_OF_INVOICE, {"invoice": invoice_id})


async def give_back(conn: AsyncConnection, invoice_id: int, *, now: datetime) -> dict[int, int]:
    """Undo what credits paid of an invoice. Returns the amounts by credit; what expired meanwhile stays expired."""
    rows = await conn.execute(_GIVE_BACK, {"invoice": invoice_id, "now": now})
    return {row[0]: row[1] for row in rows}


_GIVEN_FOR_LATE = text(
    """
    SELECT coalesce(sum(CAST(taken ->> 'gross' AS bigint)), 0)::bigint
    FROM usage_invoices mine
    JOIN usage_invoices u ON u.kind = mine.kind
        AND (u.api_key_prefix = mine.api_key_prefix OR u.user_id = mine.user_id)
    CROSS JOIN LATERAL jsonb_array_elements(u.input -> 'adjustments') AS one
    CROSS JOIN LATERAL jsonb_array_elements(one -> 'took') AS taken
    WHERE mine.invoice_id = :invoice AND u.status IN ('issued', 'empty')
      AND taken -> 'usage_invoice' = to_jsonb(mine.id)
    """
)


async def given_for_late(conn: AsyncConnection, invoice_id: int) -> int:
    """What credits gave back of an invoice since usage that came late made it cheaper (minor units)."""
    return (await conn.execute(_GIVEN_FOR_LATE, {"invoice": invoice_id})).scalar_one()


async def void(conn: AsyncConnection, credit_id: int, *, now: datetime) -> None:
    """Take a credit back: what remains of it pays for nothing any more. What it paid for stays paid."""
    await conn.execute(text("UPDATE credits SET voided_at = :now WHERE id = :id"), {"id": credit_id, "now": now})


_APPLIED = text(
    f"""
    SELECT {_COLUMNS}, a.amount_cents FROM credit_applications a JOIN credits c ON c.id = a.credit_id
    WHERE a.invoice_id = :invoice AND a.reversed_at IS NULL ORDER BY a.id
    """  # noqa: S608 - names of our own
)


async def applied_to(conn: AsyncConnection, invoice_id: int) -> list[Application]:
    """What credits paid of an invoice and was not given back, in the order in which they were spent."""
    rows = await conn.execute(_APPLIED, {"invoice": invoice_id})
    return [Application(CreditRow(*row[:-1]), row[-1]) for row in rows]


_LIST = text(
    f"""
    SELECT {_COLUMNS} FROM credits c
    WHERE (CAST(:api_key_prefix AS text) IS NULL OR c.api_key_prefix = :api_key_prefix)
      AND (CAST(:user_id AS bigint) IS NULL OR c.user_id = :user_id)
      AND (CAST(:kind AS text) IS NULL OR c.kind = :kind)
      AND (CAST(:after AS bigint) IS NULL OR c.id < :after)
      AND (:all OR (c.remaining_cents > 0 AND c.voided_at IS NULL AND (c.expires_at IS NULL OR c.expires_at > :now)))
    ORDER BY c.id DESC LIMIT :limit
    """  # noqa: S608 - names of our own
)


async def listing(
    conn: AsyncConnection,
    *,
    now: datetime,
    limit: int,
    owner: Owner | None = None,
    kind: str | None = None,
    all_: bool = False,
    after: int | None = None,
) -> list[CreditRow]:
    """Credits that can still pay at `now`, or `all_`, newest first; `after` is the last id of the page before."""
    values = {
        "api_key_prefix": owner and owner.api_key_prefix,
        "user_id": owner and owner.user_id,
        "kind": kind,
        "now": now,
        "all": all_,
        "after": after,
        "limit": limit,
    }
    return [CreditRow(*row) for row in await conn.execute(_LIST, values)]


_HISTORY = text(
    """
    SELECT a.invoice_id, i.invoice_number, i.status AS invoice_status, a.amount_cents, a.created_at, a.reversed_at
    FROM credit_applications a JOIN invoices i ON i.id = a.invoice_id WHERE a.credit_id = :id ORDER BY a.id
    """
)


async def history(conn: AsyncConnection, credit_id: int) -> Sequence[Mapping[str, Any]]:
    """What a credit paid for, oldest first, given back or not."""
    return [dict(row) for row in (await conn.execute(_HISTORY, {"id": credit_id})).mappings()]
