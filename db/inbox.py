"""An event is remembered before it is acknowledged, and read back to be applied."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from db.models.inbox import WebhookEvent


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """A webhook event as it lies in the inbox; `payload` are the very bytes that Stripe signed."""

    id: str
    type: str
    livemode: bool
    account: str | None
    created_at: datetime
    received_at: datetime
    payload: bytes


async def load(conn: AsyncConnection, ids: Sequence[str]) -> list[StoredEvent]:
    """The events with these ids, in no particular order."""
    rows = await conn.execute(
        select(
            WebhookEvent.id,
            WebhookEvent.type,
            WebhookEvent.livemode,
            WebhookEvent.account,
            WebhookEvent.created_at,
            WebhookEvent.received_at,
            WebhookEvent.payload,
        ).where(WebhookEvent.id.in_(ids))
    )
    return [StoredEvent(*row) for row in rows]
