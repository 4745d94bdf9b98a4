"""Documents are issued once, rendered once, stored for ever, and found by any of their names."""

import hashlib
import json
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import BigInteger, Text

Content = Mapping[str, Any]
"""What a document says, as JSON values (`jobs.invoices.document.Document` through msgspec)."""


def content_sha256(content: Content) -> str:
    """The SHA-256 of what a document says, in hexadecimal, whatever the order of its fields."""
    raw = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(raw.encode()).hexdigest()


_LETTERS = str.maketrans("0123456789", "ghjkmnpqrs")


def file_name(kind: str, number: str, issued_at: datetime, sha256: str) -> str:
    """A name in the storage: readable for people, and with 128 random bits that nobody guesses.

    Those are written in letters alone: digits beside the number's own would look like a card's now and then, and be
    hidden wherever the name is told.
    """
    readable = re.sub(r"[^A-Za-z0-9_-]+", "-", number).strip("-")[:60] or "document"
    chance = f"{sha256[:16]}-{secrets.token_hex(16)}".translate(_LETTERS)
    return f"{kind}s/{issued_at:%Y/%m}/{readable}-{chance}.pdf"


@dataclass(frozen=True, slots=True)
class NewDocument:
    """A document that is about to be issued. `issued_at` is when it was finalized, in UTC; `total` in minor units.

    Name what it is about: `invoice_id` for one of ours, `stripe_object_id` (`in_…`, `cn_…`, `ch_…`) for one of
    Stripe's, `stripe_invoice_id` in both cases where there is one. `mailed`: a letter takes it to the customer.
    """

    key: str
    """`invoice/17` and `credit_note/3` for our own, `invoice/in_…`, `credit_note/cn_…`, `receipt/ch_…` for Stripe's."""
    kind: str
    number: str
    locale: str
    currency: str
    total_cents: int
    content: Content
    issued_at: datetime
    invoice_id: int | None = None
    stripe_invoice_id: str | None = None
    stripe_object_id: str | None = None
    user_id: int | None = None
    stamp: str | None = None
    copy_of: int | None = None
    mailed: bool = False


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A document as its row tells. Sizes are bytes, amounts minor units, times UTC."""

    id: int
    key: str
    kind: str
    number: str
    status: str
    """`waiting`, `stored`, or `dead` with a `reason`."""
    reason: str | None
    invoice_id: int | None
    stripe_invoice_id: str | None
    stripe_object_id: str | None
    user_id: int | None
    locale: str
    currency: str
    total_cents: int
    content_sha256: str
    stamp: str | None
    mailed: bool
    attempts: int
    job_id: int | None
    file: str
    sha256: str | None
    size_bytes: int | None
    copy_of: int | None
    issued_at: datetime
    created_at: datetime
    stored_at: datetime | None
    content: Content = field(repr=False)


_COLUMNS = (
    "id, key, kind, number, status, reason, invoice_id, stripe_invoice_id, stripe_object_id, user_id, locale, currency,"
    " total_cents, content_sha256, stamp, mailed, attempts, job_id, file, sha256, size_bytes, copy_of, issued_at,"
    " created_at, stored_at, content"
)

_ADD = text(
    """
    INSERT INTO documents (key, kind, number, locale, currency, total_cents, content, content_sha256, file, issued_at,
                           invoice_id, stripe_invoice_id, stripe_object_id, user_id, stamp, copy_of, mailed, created_at)
    SELECT key, kind, number, locale, currency, total_cents, content, content_sha256, file, issued_at,
           invoice_id, stripe_invoice_id, stripe_object_id, user_id, stamp, copy_of, mailed, :now
    FROM jsonb_to_recordset(CAST(CAST(:rows AS text) AS jsonb)) AS new (
        key text, kind text, number text, locale text, currency text, total_cents bigint, content jsonb,
        content_sha256 text, file text, issued_at timestamptz, invoice_id bigint, stripe_invoice_id text,
        stripe_object_id text, user_id bigint, stamp text, copy_of bigint, mailed boolean
    )
    ON CONFLICT (key) DO NOTHING RETURNING key, id
    """
)


def _row(new: NewDocument) -> dict[str, Any]:
    row: dict[str, Any] = msgspec.to_builtins(new)
    sha256 = content_sha256(row["content"])
    return row | {"content_sha256": sha256, "file": file_name(new.kind, new.number, new.issued_at, sha256)}


async def add_many(conn: AsyncConnection, new: Sequence[NewDocument], *, now: datetime) -> dict[str, int]:
    """Write documents down, in one statement. Returns their ids by key, without those whose key existed already."""
    if not new:
        return {}
    rows = msgspec.json.encode([_row(one) for one in new]).decode()
    return {row[0]: row[1] for row in await conn.execute(_ADD, {"rows": rows, "now": now})}


async def add(conn: AsyncConnection, new: NewDocument, *, now: datetime) -> int | None:
    """Write a document down. Returns its id; None when one of this `key` exists already."""
    return (await add_many(conn, [new], now=now)).get(new.key)


_STAGE = text(
    """
    WITH staged AS (
        INSERT INTO jobs (name, queue, args, unique_key, staged_by, created_at)
        SELECT :job, :queue, jsonb_build_object('document_id', id), 'document/' || id, :by, :now
        FROM unnest(:ids) AS wanted (id) ORDER BY id
        ON CONFLICT (unique_key) WHERE unique_key IS NOT NULL DO NOTHING
        RETURNING id, (args->>'document_id')::bigint AS document_id
    ), queued AS (
        INSERT INTO queue (queue, name, job_id, priority, due_at)
        SELECT :queue, :job, id, 0, :now FROM staged ORDER BY document_id
    )
    UPDATE documents d SET job_id = staged.id FROM staged WHERE d.id = staged.document_id
    """
).bindparams(bindparam("ids", type_=ARRAY(BigInteger)))


async def stage(
    conn: AsyncConnection, ids: Sequence[int], *, job: str, queue: str, now: datetime, by: str | None
) -> None:
    """Stage the job that renders each of these documents, once; `now` is the machine's time."""
    await conn.execute(_STAGE, {"ids": list(ids), "job": job, "queue": queue, "now": now, "by": by})


async def get(conn: AsyncConnection, document_id: int) -> StoredDocument | None:
    """The document of this id."""
    return next(iter(await of_ids(conn, [document_id])), None)


async def of_ids(conn: AsyncConnection, ids: Sequence[int]) -> list[StoredDocument]:
    """The documents of these ids that exist, in the order of `ids`."""
    found = await conn.execute(
        text(f"SELECT {_COLUMNS} FROM documents WHERE id = ANY(:ids)").bindparams(  # noqa: S608 - a constant
            bindparam("ids", type_=ARRAY(BigInteger))
        ),
        {"ids": list(ids)},
    )
    rows = {row["id"]: StoredDocument(**row) for row in found.mappings()}
    return [rows[one] for one in ids if one in rows]


async def of_key(conn: AsyncConnection, key: str) -> StoredDocument | None:
    """The document of this key."""
    found = (
        await conn.execute(
            text(f"SELECT {_COLUMNS} FROM documents WHERE key = :key"),  # noqa: S608 - a constant
            {"key": key},
        )
    ).mappings()
    row = found.one_or_none()
    return StoredDocument(**row) if row is not None else None


_FIND = text(
    f"""
    SELECT {_COLUMNS} FROM documents d
    WHERE d.number = :ref OR d.stripe_object_id = :ref OR d.stripe_invoice_id = :ref OR d.key = :ref
       OR d.invoice_id IN (SELECT i.id FROM invoices i
                           WHERE i.id = CAST(:id AS bigint) OR i.invoice_number = :ref OR i.stripe_invoice_id = :ref)
    ORDER BY d.copy_of NULLS FIRST, d.id
    """  # noqa: S608 - a constant
)


async def find(conn: AsyncConnection, ref: str) -> list[StoredDocument]:
    """Documents by a name that people use: a number, our invoice's id, Stripe's id, or a key. Originals come first.

    An invoice has several: itself, credit notes and receipts about it, copies.
    """
    digits = ref if re.fullmatch(r"[0-9]{1,18}", ref) else None
    found = await conn.execute(_FIND, {"ref": ref, "id": int(digits) if digits else None})
    return [StoredDocument(**row) for row in found.mappings()]


async def of_invoice(
    conn: AsyncConnection, *, invoice_id: int | None = None, stripe_invoice_id: str | None = None
) -> list[StoredDocument]:
    """All documents that are, or are about, one invoice; originals first, oldest first."""
    found = await conn.execute(
        text(
            f"SELECT {_COLUMNS} FROM documents WHERE invoice_id = :ours OR stripe_invoice_id = :stripes"  # noqa: S608 - a constant
            " ORDER BY copy_of NULLS FIRST, id"
        ),
        {"ours": invoice_id, "stripes": stripe_invoice_id},
    )
    return [StoredDocument(**row) for row in found.mappings()]


_BEGIN = text(
    "UPDATE documents SET attempts = attempts + 1"  # noqa: S608 - a constant
    f" WHERE id = :id AND status IN ('waiting', 'dead') RETURNING {_COLUMNS}"
)


async def begin(conn: AsyncConnection, document_id: int) -> StoredDocument | None:
    """Take a document in hand to render it; above one attempt its file may exist. None when it is stored."""
    row = (await conn.execute(_BEGIN, {"id": document_id})).mappings().one_or_none()
    return StoredDocument(**row) if row is not None else None


async def stored(conn: AsyncConnection, document_id: int, *, sha256: str, size: int, now: datetime) -> bool:
    """Its bytes are in the storage, for ever. False when that was recorded before."""
    done = await conn.execute(
        text(
            "UPDATE documents SET status = 'stored', reason = NULL, sha256 = :sha256, size_bytes = :size,"
            " stored_at = :now WHERE id = :id AND sha256 IS NULL"
        ),
        {"id": document_id, "sha256": sha256, "size": size, "now": now},
    )
    return done.rowcount == 1


async def not_stored(conn: AsyncConnection, document_id: int, reason: str, *, dead: bool) -> None:
    """It waits on, or it is parked, for `reason`."""
    await conn.execute(
        text("UPDATE documents SET status = :status, reason = :reason WHERE id = :id AND status <> 'stored'"),
        {"id": document_id, "reason": reason, "status": "dead" if dead else "waiting"},
    )


_PARK_STRANDED = text(
    """
    UPDATE documents d SET status = 'dead', reason = coalesce(j.last_error, 'its job was ' || j.status)
    FROM jobs j WHERE j.id = d.job_id AND d.status = 'waiting' AND j.status IN ('dead', 'cancelled')
    """
)
_PARKED = text(
    """
    SELECT count(*), min(d.job_id) FROM documents d LEFT JOIN jobs j ON j.id = d.job_id
    WHERE d.status <> 'stored' AND (j.id IS NULL OR j.status IN ('dead', 'cancelled', 'done'))
    """
)


async def park_stranded(conn: AsyncConnection) -> int:
    """Park the documents that wait for a job that is parked or cancelled. Returns how many.

    A job tells of its own failures; this is for one that could not: its worker died, its time was up, an operator took
    it away.
    """
    return (await conn.execute(_PARK_STRANDED)).rowcount


async def parked(conn: AsyncConnection) -> tuple[int, int | None]:
    """How many documents nobody will render unless an operator lets them, and the first job to run again for that."""
    row = (await conn.execute(_PARKED)).one()
    return row[0], row[1]


async def keep_assets(conn: AsyncConnection, assets: Mapping[str, tuple[str, bytes]], *, now: datetime) -> None:
    """Keep pictures: media type and content by SHA-256 (hexadecimal). What is kept already stays as it is."""
    for sha256, (media_type, content) in sorted(assets.items()):
        await conn.execute(
            text(
                "INSERT INTO document_assets (sha256, media_type, content, created_at)"
                " VALUES (:sha256, :media_type, :content, :now) ON CONFLICT (sha256) DO NOTHING"
            ),
            {"sha256": sha256, "media_type": media_type, "content": content, "now": now},
        )


async def assets(conn: AsyncConnection, names: Sequence[str]) -> dict[str, bytes]:
    """Pictures that are kept, by SHA-256."""
    found = await conn.execute(
        text("SELECT sha256, content FROM document_assets WHERE sha256 = ANY(:names)").bindparams(
            bindparam("names", type_=ARRAY(Text))
        ),
        {"names": list(names)},
    )
    return {row[0]: row[1] for row in found}
