"""A letter is staged in the transaction that decides on it: it exists if and only if that commits, and only once."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from db import emails
from jobs.mail.send_letter import send_letter
from worker.deps import Tx


@dataclass(frozen=True, slots=True)
class Recipient:
    """Whom a letter goes to, in which language, and by whose days."""

    address: str
    name: str | None = None
    locale: str | None = None
    timezone: str | None = None
    user_id: int | None = None


async def stage_letter(
    tx: Tx,
    name: str,
    context: Any,
    *,
    key: str,
    to: Recipient,
    occurred_at: datetime,
    stripe_invoice_id: str | None = None,
    document_ids: Sequence[int] = (),
) -> int | None:
    """Stage the letter `name`. Returns its id; None when the letter of this `key` (`receipt/in_…`) exists already.

    `context` is the letter's own type (`jobs.mail.contexts`); `occurred_at` is when what it tells happened, by
    Stripe's clock; the PDFs of `document_ids` are attached.
    """
    email = await emails.remember(
        tx.conn,
        key=key,
        template=name,
        recipient=to.address,
        recipient_name=to.name,
        user_id=to.user_id,
        stripe_invoice_id=stripe_invoice_id,
        locale=to.locale,
        timezone=to.timezone,
        context=msgspec.to_builtins(context),
        occurred_at=occurred_at,
        now=tx.now,
        document_ids=document_ids,
    )
    if email is not None:
        job = await tx.stage(send_letter.call(email_id=email), unique_key=f"letter/{key}")
        await emails.belongs_to(tx.conn, email, job)
    return email
