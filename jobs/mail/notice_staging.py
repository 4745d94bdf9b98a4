"""The letters that a batch of events asks for are staged together: as many statements for one as for two hundred."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from db import notices
from db.notices import NewEmail
from db.states import EmailStatus
from jobs.mail.contexts import Link, Method
from jobs.mail.letters import Recipient
from jobs.mail.send_letter import send_letter
from worker import telemetry
from worker.deps import Tx

NO_ADDRESS = "the customer has no e-mail address at Stripe"
"""Why a letter is written down and not sent, where operators look for letters that did not go out."""


@dataclass(frozen=True, slots=True)
class Notice:
    """A letter that is owed. Without `context`, or `to` an empty address, it only says why it is `suppressed`."""

    key: str
    name: str
    context: msgspec.Struct | None
    to: Recipient
    occurred_at: datetime
    stripe_invoice_id: str | None = None
    staged_by: str | None = None
    suppressed: str | None = None


async def stage_notices(tx: Tx, letters: Iterable[Notice]) -> dict[str, int]:
    """Stage letters, those of a key that exists already aside. Returns the ids of the new ones, by key."""
    wanted = [_email(tx, letter) for letter in letters]
    if not wanted:
        return {}
    queue = send_letter.queue
    new = await notices.write(tx.conn, wanted, job=send_letter.name, queue=queue, now=tx.now, wall=tx.wall)
    for letter in wanted:
        if letter.key not in new:
            continue
        if letter.suppressed is None:
            tx.rings.add(queue)
        else:
            telemetry.EMAILS.labels(letter.template, EmailStatus.SUPPRESSED).inc()
    return new


def _email(tx: Tx, letter: Notice) -> NewEmail:
    return NewEmail(
        key=letter.key,
        template=letter.name,
        recipient=letter.to.address,
        recipient_name=letter.to.name,
        user_id=letter.to.user_id,
        stripe_invoice_id=letter.stripe_invoice_id,
        locale=letter.to.locale,
        timezone=letter.to.timezone,
        context=msgspec.to_builtins(letter.context) if letter.context is not None else {},
        occurred_at=letter.occurred_at,
        staged_by=letter.staged_by or tx.staged_by,
        suppressed=letter.suppressed or (None if letter.to.address else NO_ADDRESS),
    )


def reader(row: Mapping[str, Any]) -> Recipient | None:
    """Whom a letter about `row` goes to.

    The address is the customer's. Of one who is not known yet, an invoice may tell it; else None: the letter waits for
    the customer's own event. A known customer without an address, or a payment of no customer, has an empty one.
    """
    if row["known"]:
        return Recipient(row["email"] or "", row["name"], row["locale"], row["timezone"], row["user_id"])
    if row["customer_email"]:
        return Recipient(row["customer_email"], row["customer_name"], user_id=row["user_id"])
    return Recipient("") if row.get("guest") else None


def link(url: str | None) -> Link | None:
    """A page of Stripe's, if it can stand in a letter."""
    try:
        return msgspec.convert(url, Link) if url is not None else None
    except msgspec.ValidationError:
        return None


def paid_by(row: Mapping[str, Any]) -> Method | None:
    """How the payment of `row` was made, as far as it is known by now."""
    brand = row["card_brand"] or row["payment_method"]
    return Method(brand=brand, last4=row["card_last4"]) if brand else None


def charged_to(row: Mapping[str, Any]) -> Method | None:
    """What the subscription of `row` will be charged to; None: nothing."""
    if row["method_id"] is None or row["method_gone"]:
        return None
    return Method(brand=row["method_brand"] or row["method_type"] or "card", last4=row["method_last4"])
