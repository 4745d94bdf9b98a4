"""Each period of a partner has one row that is not void: what was frozen, and whether it is issued, parked or empty."""

import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import msgspec
from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import BigInteger

from db.ledger import hash63
from db.usage import Owner

PARTNER = "partner"
A_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class UsageRow:
    """A period as its row tells. Amounts are minor units of `currency`, times UTC."""

    id: int
    api_key_prefix: str | None
    user_id: int | None
    period_start: datetime
    period_end: datetime
    timezone: str
    status: str
    """`pending`, `parked` for `reasons`, `issued`, `empty`, `void`."""
    reasons: list[dict[str, Any]] | None
    contract_ids: list[int] | None
    input_sha256: str | None
    currency: str | None
    total_cents: int | None
    billed_cents: int | None
    invoice_id: int | None
    job_id: int | None
    released_by: str | None
    stripe_invoice_id: str | None
    updated_at: datetime
    input: Mapping[str, Any] | None = field(repr=False)
    billed_usage: Mapping[str, Any] | None = field(repr=False)


_COLUMNS = ", ".join(f"u.{name}" for name in UsageRow.__dataclass_fields__)


def owner_lock(name: str) -> int:
    """The key of the advisory lock of whoever invoices, or changes, what this partner or customer is charged."""
    return hash63(f"usage_invoices/{name}")


def customer(user_id: int | None) -> str:
    """The name of a customer where partners have their prefix; no prefix holds a colon."""
    return f"user:{user_id}"


def owner_named(name: str) -> Owner:
    """The partner or the customer of a name, which `customer` gave or is a prefix."""
    kind, colon, number = name.partition(":")
    return Owner(user_id=int(number)) if colon and kind == "user" else Owner(api_key_prefix=name)


def _owned(owner: Owner) -> tuple[str, dict[str, Any]]:
    """Which rows are an owner's, so that their index finds them."""
    if owner.api_key_prefix is not None:
        return "u.kind = 'partner' AND u.api_key_prefix = :prefix", {"prefix": owner.api_key_prefix}
    return "u.kind = 'overage' AND u.user_id = :user_id", {"user_id": owner.user_id}


async def hold_owner(conn: AsyncConnection, prefix: str) -> bool:
    """Be the only one who invoices or changes this contract, until the transaction ends. False: somebody else is at it.

    The lock is that of `db.contracts.hold`, which waits for it.
    """
    found = await conn.execute(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": owner_lock(prefix)})
    return bool(found.scalar_one())


@dataclass(frozen=True, slots=True)
class Known:
    """A period that somebody looked at, whatever became of it."""

    start: datetime
    end: datetime
    status: str
    timezone: str

    def shares(self, start: datetime, end: datetime) -> bool:
        """Whether it has more than a day in common with `[start, end)`: a day's difference is that of time zones."""
        return min(self.end, end) - max(self.start, start) > A_DAY


async def known(conn: AsyncConnection, since: datetime, prefix: str | None = None) -> dict[str, list[Known]]:
    """All periods that end after `since` and were looked at, void ones too, by partner; oldest first."""
    rows = await conn.execute(
        text(
            "SELECT api_key_prefix, period_start, period_end, status, timezone FROM usage_invoices"
            " WHERE kind = 'partner' AND period_end > :since AND api_key_prefix IS NOT NULL"
            " AND (CAST(:prefix AS text) IS NULL OR api_key_prefix = :prefix)"
            " ORDER BY api_key_prefix, period_start, id"
        ),
        {"since": since, "prefix": prefix},
    )
    found: defaultdict[str, list[Known]] = defaultdict(list)
    for owner, *period in rows:
        found[owner].append(Known(*period))
    return dict(found)


@dataclass(frozen=True, slots=True)
class NewPeriod:
    """A period of a partner that nobody has looked at yet."""

    api_key_prefix: str
    period_start: datetime
    period_end: datetime
    timezone: str


_ADD = text(
    """
    INSERT INTO usage_invoices (kind, api_key_prefix, period_start, period_end, timezone, created_at, updated_at)
    SELECT 'partner', api_key_prefix, period_start, period_end, timezone, :now, :now
    FROM jsonb_to_recordset(CAST(CAST(:rows AS text) AS jsonb)) AS new (
        api_key_prefix text, period_start timestamptz, period_end timestamptz, timezone text
    )
    ORDER BY api_key_prefix, period_start
    ON CONFLICT (kind, api_key_prefix, user_id, period_start) WHERE status <> 'void' DO NOTHING
    """
)


async def add(conn: AsyncConnection, new: Sequence[NewPeriod], *, now: datetime) -> None:
    """Write down that these periods are to be invoiced; what has a row that is not void keeps it."""
    if new:
        await conn.execute(_ADD, {"rows": msgspec.json.encode(new).decode(), "now": now})


_NEXT = """
    SELECT u.id, u.api_key_prefix, u.period_start FROM usage_invoices u
    WHERE u.kind = 'partner' AND u.status = 'pending' AND u.job_id IS NULL
      AND NOT EXISTS (SELECT FROM usage_invoices o WHERE o.kind = 'partner' AND o.api_key_prefix = u.api_key_prefix
                      AND o.status = 'pending' AND o.period_start < u.period_start)
"""


async def next_pending(conn: AsyncConnection, prefix: str | None = None) -> list[tuple[int, str, datetime]]:
    """Each partner's oldest period that waits, if no job was staged for it: (id, prefix, start), in order."""
    only = " AND u.api_key_prefix = :prefix" if prefix is not None else ""
    rows = await conn.execute(
        text(f"{_NEXT}{only} ORDER BY u.api_key_prefix"), {"prefix": prefix} if prefix is not None else {}
    )
    return [(row[0], row[1], row[2]) for row in rows]


_STAGED = text(
    "UPDATE usage_invoices u SET job_id = s.job FROM unnest(:ids, :jobs) AS s (id, job) WHERE u.id = s.id"
).bindparams(bindparam("ids", type_=ARRAY(BigInteger)), bindparam("jobs", type_=ARRAY(BigInteger)))


async def staged(conn: AsyncConnection, jobs: Mapping[int, int]) -> None:
    """Say which job looks at which period."""
    if jobs:
        await conn.execute(_STAGED, {"ids": list(jobs), "jobs": list(jobs.values())})


async def _one(conn: AsyncConnection, where: str, **values: Any) -> UsageRow | None:
    found = (await conn.execute(text(f"SELECT {_COLUMNS} FROM usage_invoices u WHERE {where}"), values)).mappings()  # noqa: S608 - names of our own
    row = found.first()
    return UsageRow(**row) if row is not None else None


async def of_period(conn: AsyncConnection, prefix: str, start: datetime, *, lock: bool = False) -> UsageRow | None:
    """The row of a partner's period that is not void; with `lock` nobody else changes it."""
    return await _one(
        conn,
        "u.kind = 'partner' AND u.api_key_prefix = :prefix AND u.period_start = :start AND u.status <> 'void'"
        + (" FOR UPDATE" if lock else ""),
        prefix=prefix,
        start=start,
    )


async def of_partner(conn: AsyncConnection, prefix: str) -> list[UsageRow]:
    """All periods of a partner that are not void, newest first."""
    found = await conn.execute(
        text(
            f"SELECT {_COLUMNS} FROM usage_invoices u WHERE u.kind = 'partner' AND u.api_key_prefix = :prefix"  # noqa: S608 - names of our own
            " AND u.status <> 'void' ORDER BY u.period_start DESC"
        ),
        {"prefix": prefix},
    )
    return [UsageRow(**row) for row in found.mappings()]


_NUMBERS = text(
    """
    SELECT u.id, coalesce(i.invoice_number, u.input ->> 'name') FROM usage_invoices u
    LEFT JOIN invoices i ON i.id = u.invoice_id WHERE u.id = ANY(:ids)
    """
).bindparams(bindparam("ids", type_=ARRAY(BigInteger)))


async def numbers(conn: AsyncConnection, row_ids: Collection[int]) -> dict[int, str]:
    """The numbers of the invoices of these rows; the month of one that has none."""
    if not row_ids:
        return {}
    return {row[0]: row[1] for row in await conn.execute(_NUMBERS, {"ids": list(row_ids)}) if row[1] is not None}


async def get(conn: AsyncConnection, row_id: int, *, lock: bool = False) -> UsageRow | None:
    """The row of this id; with `lock` nobody else changes it."""
    return await _one(conn, "u.id = :id" + (" FOR UPDATE" if lock else ""), id=row_id)


async def of_invoice(conn: AsyncConnection, invoice_id: int, *, lock: bool = False) -> UsageRow | None:
    """The period that an invoice of ours is for; None: it is for something else."""
    return await _one(conn, "u.invoice_id = :id" + (" FOR UPDATE" if lock else ""), id=invoice_id)


async def closed_before(
    conn: AsyncConnection, owner: Owner, start: datetime, *, limit: int, lock: bool
) -> list[UsageRow]:
    """The last periods that ended by `start` and are issued or empty, oldest first; with `lock` nobody changes them."""
    whose, values = _owned(owner)
    found = await conn.execute(
        text(
            f"SELECT {_COLUMNS} FROM usage_invoices u WHERE {whose}"  # noqa: S608 - names of our own
            " AND u.period_end <= :start AND u.status IN ('issued', 'empty') AND u.input IS NOT NULL"
            f" ORDER BY u.period_start DESC LIMIT :limit{' FOR UPDATE' if lock else ''}"
        ),
        values | {"start": start, "limit": limit},
    )
    return [UsageRow(**row) for row in found.mappings()][::-1]


async def parked(conn: AsyncConnection) -> dict[str, int]:
    """How many periods wait for an operator, by kind: `partner`, `overage`."""
    found = await conn.execute(text("SELECT kind, count(*) FROM usage_invoices WHERE status = 'parked' GROUP BY 1"))
    return {row[0]: row[1] for row in found}


async def standing(conn: AsyncConnection, owner: Owner) -> list[UsageRow]:
    """All periods of a partner or a customer that are issued or empty, oldest first."""
    whose, values = _owned(owner)
    found = await conn.execute(
        text(
            f"SELECT {_COLUMNS} FROM usage_invoices u WHERE {whose}"  # noqa: S608 - names of our own
            " AND u.status IN ('issued', 'empty') AND u.input IS NOT NULL ORDER BY u.period_start"
        ),
        values,
    )
    return [UsageRow(**row) for row in found.mappings()]


async def totals_before(conn: AsyncConnection, prefix: str, start: datetime, *, limit: int) -> list[tuple[int, int]]:
    """What the last periods before `start` that were issued came to, and how many months they had; newest first."""
    found = await conn.execute(
        text(
            "SELECT total_cents, (input->>'months')::int FROM usage_invoices"
            " WHERE kind = 'partner' AND status = 'issued' AND api_key_prefix = :prefix AND period_end <= :start"
            " ORDER BY period_start DESC LIMIT :limit"
        ),
        {"prefix": prefix, "start": start, "limit": limit},
    )
    return [(row[0], row[1]) for row in found]


async def overlapping(conn: AsyncConnection, prefix: str, start: datetime, end: datetime) -> list[str]:
    """Numbers of invoices of ours to this partner, not void, for a period that shares more than a day with this one.

    A day's difference is that of time zones: an invoice shows days, and its row the instants of its seller's days.
    """
    found = await conn.execute(
        text(
            "SELECT invoice_number FROM invoices WHERE api_key_prefix = :prefix AND kind = 'partner'"
            " AND status NOT IN ('void', 'draft') AND billing_period_start < CAST(:end AS timestamptz) - interval '1 d'"
            " AND billing_period_end > CAST(:start AS timestamptz) + interval '1 d' ORDER BY id"
        ),
        {"prefix": prefix, "start": start, "end": end},
    )
    return list(found.scalars())


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a period; amounts in minor units, `reasons` only where it is parked."""

    status: str
    contract_ids: Sequence[int] = ()
    input: Mapping[str, Any] | None = None
    input_sha256: str | None = None
    currency: str | None = None
    total_cents: int | None = None
    billed_usage: Mapping[str, Any] | None = None
    billed_cents: int | None = None
    invoice_id: int | None = None
    reasons: Sequence[Mapping[str, Any]] | None = None


_RECORD = text(
    """
    UPDATE usage_invoices SET status = :status, contract_ids = :contract_ids, currency = :currency,
        total_cents = :total_cents, billed_cents = :billed_cents, invoice_id = :invoice_id,
        input = CAST(CAST(:input AS text) AS jsonb), input_sha256 = :input_sha256,
        billed_usage = CAST(CAST(:billed_usage AS text) AS jsonb), reasons = CAST(CAST(:reasons AS text) AS jsonb),
        updated_at = :now
    WHERE id = :id
    """
).bindparams(bindparam("contract_ids", type_=ARRAY(BigInteger)))


def _json(value: object) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False, allow_nan=False)


async def record(conn: AsyncConnection, row_id: int, outcome: Outcome, *, now: datetime) -> None:
    """Write down what became of a period that waited or was parked."""
    await conn.execute(
        _RECORD,
        {
            "id": row_id,
            "status": outcome.status,
            "contract_ids": list(outcome.contract_ids),
            "currency": outcome.currency,
            "total_cents": outcome.total_cents,
            "billed_cents": outcome.billed_cents,
            "invoice_id": outcome.invoice_id,
            "input": _json(outcome.input),
            "input_sha256": outcome.input_sha256,
            "billed_usage": _json(outcome.billed_usage),
            "reasons": _json(outcome.reasons),
            "now": now,
        },
    )


async def charged(conn: AsyncConnection, row_id: int, cents: int, usage: Mapping[str, Any], *, now: datetime) -> None:
    """`cents` more (or less) were charged for a closed period, for which `usage` is charged now."""
    await conn.execute(
        text(
            "UPDATE usage_invoices SET billed_cents = coalesce(billed_cents, 0) + :cents, updated_at = :now,"
            " billed_usage = CAST(CAST(:usage AS text) AS jsonb) WHERE id = :id"
        ),
        {"id": row_id, "cents": cents, "usage": _json(usage), "now": now},
    )


_CHARGING_LATE = text(
    """
    SELECT coalesce(i.invoice_number, u.input ->> 'name') FROM usage_invoices me
    JOIN usage_invoices u ON u.kind = me.kind AND u.api_key_prefix IS NOT DISTINCT FROM me.api_key_prefix
        AND u.user_id IS NOT DISTINCT FROM me.user_id
    LEFT JOIN invoices i ON i.id = u.invoice_id
    WHERE me.id = :id AND u.status IN ('issued', 'empty') AND u.id <> me.id AND EXISTS (
        SELECT FROM jsonb_array_elements(u.input -> 'adjustments') AS one
        WHERE (one -> 'usage_invoice' = to_jsonb(me.id)
               AND (u.status = 'issued' OR jsonb_typeof(one -> 'credit') = 'number'))
           OR one -> 'took' @> jsonb_build_array(jsonb_build_object('usage_invoice', me.id))
    )
    ORDER BY u.period_start
    """
)


async def charging_late(conn: AsyncConnection, row_id: int) -> list[str]:
    """Later invoices (their numbers; a month where there is none) that stand on this one.

    They charge for usage of its period that came late, or gave back what it charged.
    """
    return list((await conn.execute(_CHARGING_LATE, {"id": row_id})).scalars())


async def free(conn: AsyncConnection, row_id: int, *, now: datetime) -> None:
    """The period is void: it can be invoiced anew, which no schedule does by itself."""
    await conn.execute(
        text("UPDATE usage_invoices SET status = 'void', updated_at = :now WHERE id = :id"), {"id": row_id, "now": now}
    )


async def release(conn: AsyncConnection, row_id: int, by: str, *, now: datetime) -> None:
    """An operator lets a parked period be invoiced."""
    await conn.execute(
        text("UPDATE usage_invoices SET released_by = :by, updated_at = :now WHERE id = :id"),
        {"id": row_id, "by": by, "now": now},
    )
