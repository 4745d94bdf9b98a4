"""Letters are staged once, sent, and recorded; addresses that refuse them for good are remembered."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import BigInteger, Text

from db.states import EmailStatus


@dataclass(frozen=True, slots=True)
class StoredEmail:
    """A letter as its sender needs it."""

    id: int
    key: str
    message_id: str
    template: str
    recipient: str
    recipient_name: str | None
    locale: str | None
    timezone: str | None
    context: Mapping[str, Any]
    status: EmailStatus
    copies: int
    occurred_at: datetime
    created_at: datetime
    document_ids: Sequence[int] | None = None
    """The documents whose PDFs are attached."""


def message_id(key: str) -> str:
    """The left half of a letter's Message-ID: the same for each copy of it (RFC 5322, section 3.6.4)."""
    return hashlib.sha256(key.encode()).hexdigest()[:32]


_REMEMBER = text(
    """
    INSERT INTO emails (key, message_id, template, recipient, recipient_name, user_id, stripe_invoice_id,
                        locale, timezone, context, document_ids, occurred_at, created_at)
    VALUES (:key, :message_id, :template, :recipient, :recipient_name, :user_id, :stripe_invoice_id,
            :locale, :timezone, :context, :document_ids, :occurred_at, :now)
    ON CONFLICT (key) DO NOTHING RETURNING id
    """
).bindparams(bindparam("context", type_=JSONB), bindparam("document_ids", type_=ARRAY(BigInteger)))


async def remember(
    conn: AsyncConnection,
    *,
    key: str,
    template: str,
    recipient: str,
    recipient_name: str | None,
    user_id: int | None,
    stripe_invoice_id: str | None,
    locale: str | None,
    timezone: str | None,
    context: Mapping[str, Any],
    occurred_at: datetime,
    now: datetime,
    document_ids: Sequence[int] = (),
) -> int | None:
    """Write a letter down. Returns its id; None when a letter of this `key` exists already."""
    values = {
        "key": key,
        "message_id": message_id(key),
        "template": template,
        "recipient": recipient,
        "recipient_name": recipient_name,
        "user_id": user_id,
        "stripe_invoice_id": stripe_invoice_id,
        "locale": locale,
        "timezone": timezone,
        "context": dict(context),
        "document_ids": list(document_ids) or None,
        "occurred_at": occurred_at,
        "now": now,
    }
    return (await conn.execute(_REMEMBER, values)).scalar()


async def belongs_to(conn: AsyncConnection, email_id: int, job_id: int | None) -> None:
    """Note which job sends the letter."""
    await conn.execute(text("UPDATE emails SET job_id = :job WHERE id = :id"), {"id": email_id, "job": job_id})


async def begin(conn: AsyncConnection, email_id: int) -> StoredEmail | None:
    """Take a letter in hand: it is `sending`, and a copy may exist from now on. None when it is settled.

    A parked one is taken in hand again when an operator runs its job again.
    """
    found = (
        await conn.execute(
            text(
                """
                UPDATE emails SET status = 'sending', attempts = attempts + 1, copies = copies + 1
                WHERE id = :id AND status IN ('queued', 'sending', 'dead')
                RETURNING id, key, message_id, template, recipient, recipient_name, locale, timezone, context,
                          status, copies, occurred_at, created_at, document_ids
                """
            ),
            {"id": email_id},
        )
    ).mappings()
    row = found.one_or_none()
    return StoredEmail(**row) if row is not None else None


async def give_back(conn: AsyncConnection, email_id: int, reason: str) -> None:
    """The carrier did not take it: no copy came of this attempt."""
    await conn.execute(
        text("UPDATE emails SET status = 'queued', copies = copies - 1, reason = :reason WHERE id = :id"),
        {"id": email_id, "reason": reason},
    )


async def unclear(conn: AsyncConnection, email_id: int, reason: str, *, last: bool) -> None:
    """Nobody knows whether the carrier took it. It is sent once more, or, after the `last` try, it is parked."""
    await conn.execute(
        text("UPDATE emails SET status = :status, reason = :reason WHERE id = :id"),
        {"id": email_id, "reason": reason, "status": EmailStatus.DEAD if last else EmailStatus.SENDING},
    )


async def sent(conn: AsyncConnection, email_id: int, *, subject: str, provider_id: str | None, now: datetime) -> None:
    """The carrier has it; it may even have told by now that it came back."""
    await conn.execute(
        text(
            "UPDATE emails SET status = CASE WHEN status = 'bounced' THEN status ELSE 'sent' END, "
            "reason = CASE WHEN status = 'bounced' THEN reason END, subject = :subject, provider_id = :provider, "
            "sent_at = :now WHERE id = :id"
        ),
        {"id": email_id, "subject": subject, "provider": provider_id, "now": now},
    )


async def not_sent(conn: AsyncConnection, email_id: int, status: EmailStatus, reason: str, now: datetime) -> None:
    """It will not be sent, for `reason`; no copy came of this attempt."""
    await conn.execute(
        text(
            "UPDATE emails SET status = :status, reason = :reason, copies = copies - 1, "
            "bounced_at = CASE WHEN :status = 'bounced' THEN CAST(:now AS timestamptz) END WHERE id = :id"
        ),
        {"id": email_id, "status": status, "reason": reason, "now": now},
    )


@dataclass(frozen=True, slots=True)
class Carried:
    """A letter that came back to its carrier."""

    id: int
    template: str
    recipient: str


_BY_CARRIER = """
    id = coalesce(
        (SELECT id FROM emails WHERE message_id = :message_id),
        (SELECT max(id) FROM emails WHERE provider_id = ANY(:provider_ids))
    )
"""
_CAME_BACK = text(
    f"""
    UPDATE emails SET status = 'bounced', reason = :reason, bounced_at = CAST(:at AS timestamptz)
    WHERE {_BY_CARRIER} AND status NOT IN ('bounced', 'suppressed')
    RETURNING id, template, recipient
    """  # noqa: S608 - what is formatted in is a constant of this module
).bindparams(bindparam("provider_ids", type_=ARRAY(Text)))
_ARRIVED = text(
    f"UPDATE emails SET delivered_at = :at WHERE {_BY_CARRIER} AND delivered_at IS NULL"  # noqa: S608 - as above
).bindparams(bindparam("provider_ids", type_=ARRAY(Text)))


async def came_back(
    conn: AsyncConnection, *, message_id: str | None, provider_ids: Sequence[str], reason: str, at: datetime
) -> Carried | None:
    """The carrier tells that a letter did not arrive. None when it is no letter of ours, or was told so before.

    A letter is known by its Message-ID, or else by an id that the carrier gave it.
    """
    values = {"message_id": message_id, "provider_ids": list(provider_ids), "reason": reason, "at": at}
    row = (await conn.execute(_CAME_BACK, values)).first()
    return Carried(*row) if row is not None else None


async def arrived(conn: AsyncConnection, *, message_id: str | None, provider_ids: Sequence[str], at: datetime) -> None:
    """The recipient's server has taken the letter; the first time is kept."""
    await conn.execute(_ARRIVED, {"message_id": message_id, "provider_ids": list(provider_ids), "at": at})


async def suppression(conn: AsyncConnection, address: str) -> str | None:
    """Why no letter goes to this address; None when letters do."""
    found = await conn.execute(
        text("SELECT source || ': ' || reason FROM suppressed_addresses WHERE address = lower(:address)"),
        {"address": address},
    )
    return found.scalar()


async def suppress(
    conn: AsyncConnection, address: str, *, reason: str, source: str, email_id: int | None, now: datetime
) -> None:
    """No letter goes to this address from now on, until somebody lifts it. The first reason is kept."""
    await conn.execute(
        text(
            "INSERT INTO suppressed_addresses (address, reason, source, email_id, created_at) "
            "VALUES (lower(:address), :reason, :source, :email, :now) ON CONFLICT (address) DO NOTHING"
        ),
        {"address": address, "reason": reason, "source": source, "email": email_id, "now": now},
    )


async def lift(conn: AsyncConnection, addresses: Sequence[str]) -> list[str]:
    """Letters go to these addresses again. Returns those that were suppressed."""
    found = await conn.execute(
        text(
            "DELETE FROM suppressed_addresses WHERE address = ANY(SELECT lower(a) FROM unnest(:addresses) a) "
            "RETURNING address"
        ).bindparams(bindparam("addresses", type_=ARRAY(Text))),
        {"addresses": list(addresses)},
    )
    return sorted(found.scalars())
