"""Letters are staged once, sent, and recorded; addresses that refuse them for good are remembered."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import Text

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


_REMEMBER = text(
    """
    INSERT INTO emails (key, message_id, template, recipient, recipient_name, user_id, stripe_invoice_id,
                        locale, timezone, context, occurred_at, created_at)
    VALUES (:key, :message_id, :template, :recipient, :recipient_name, :user_id, :stripe_invoice_id,
            :locale, :timezone, :context, :occurred_at, :now)
    ON CONFLICT (key) DO NOTHING RETURNING id
    """
).bindparams(bindparam("context", type_=JSONB))


async def remember(
    conn: AsyncConnection,
    *,
    key: str,
    message_id: str,
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
) -> int | None:
    """Write a letter down. Returns its id; None when a letter of this `key` exists already."""
    values = {
        "key": key,
        "message_id": message_id,
        "template": template,
        "recipient": recipient,
        "recipient_name": recipient_name,
        "user_id": user_id,
        "stripe_invoice_id": stripe_invoice_id,
        "locale": locale,
        "timezone": timezone,
        "context": dict(context),
        "occurred_at": occurred_at,
        "now": now,
    }
    return (await conn.execute(_REMEMBER, values)).scalar()


async def belongs_to(conn: AsyncConnection, email_id: int, job_id: int | None) -> None:
    """Note which job sends the letter."""
    await conn.execute(text("UPDATE emails SET job_id = :job WHERE id = :id"), {"id": email_id, "job": job_id})


async def begin(conn: AsyncConnection, email_id: int) -> StoredEmail | None:
    """Take a letter in hand: it is `sending`, and a copy may exist from now on. None when it is in a final state."""
    found = (
        await conn.execute(
            text(
                """
                UPDATE emails SET status = 'sending', attempts = attempts + 1, copies = copies + 1
                WHERE id = :id AND status IN ('queued', 'sending')
                RETURNING id, key, message_id, template, recipient, recipient_name, locale, timezone, context,
                          status, copies, occurred_at, created_at
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


async def sent(conn: AsyncConnection, email_id: int, *, subject: str, provider_id: str | None, now: datetime) -> None:
    """The carrier has it."""
    await conn.execute(
        text(
            "UPDATE emails SET status = 'sent', reason = NULL, subject = :subject, provider_id = :provider, "
            "sent_at = :now WHERE id = :id"
        ),
        {"id": email_id, "subject": subject, "provider": provider_id, "now": now},
    )


async def not_sent(conn: AsyncConnection, email_id: int, status: EmailStatus, reason: str, now: datetime) -> None:
    """It will not be sent, for `reason`; no copy came of this attempt."""
    await conn.execute(
        text(
            "UPDATE emails SET status = :status, reason = :reason, copies = greatest(copies - 1, 0), "
            "bounced_at = CASE WHEN :status = 'bounced' THEN CAST(:now AS timestamptz) END WHERE id = :id"
        ),
        {"id": email_id, "status": status, "reason": reason, "now": now},
    )


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
