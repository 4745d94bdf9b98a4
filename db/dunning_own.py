"""Invoices of our own in arrears: how they are named beside Stripe's, which have no case yet, which are given up."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

OWN = "own-"
"""How the name of an invoice of ours begins: `own-17`. Stripe's are named by Stripe's id."""


def own_name(invoice_id: int) -> str:
    """By what an invoice of ours is known to dunning."""
    return f"{OWN}{invoice_id}"


def own_id(name: str) -> int | None:
    """Our id of an invoice that is named so; None when it is Stripe's."""
    found = re.fullmatch(OWN + r"([1-9][0-9]{0,17})", name)
    return int(found[1]) if found else None


@dataclass(frozen=True, slots=True)
class Overdue:
    """An invoice of ours that should have a case: its name, and what whoever opens it holds."""

    invoice: str
    lock: str
    due_date: datetime
    id: int


FIRST = datetime(1, 1, 1, tzinfo=UTC)

COLLECTS = """
    SELECT s.stripe_invoice_id, s.status FROM invoices s
    WHERE s.collects_invoice_id = i.id AND s.status IS DISTINCT FROM 'void' AND s.deleted_at IS NULL
    ORDER BY s.id DESC LIMIT 1
"""
"""Stripe's invoice that was made to collect ours (`i`), as long as it stands: then Stripe's is dunned, and not both."""

# `own_key` is what the index of our own invoices is about: Stripe's millions are not looked at.
_OVERDUE = text(
    f"""
    SELECT '{OWN}' || i.id, coalesce(u.stripe_customer_id, '{OWN}' || i.id), i.due_date, i.id
    FROM invoices i LEFT JOIN users u ON u.id = i.user_id
    WHERE i.own_key IS NOT NULL AND i.kind IS NOT NULL AND i.status = 'open' AND i.amount_remaining_cents > 0
      AND i.due_date < :now AND (i.due_date, i.id) > (:due, :id)
      AND u.deleted_at IS NULL AND lower(trim(coalesce(u.metadata ->> 'dunning', ''))) <> 'off'
      AND NOT EXISTS (SELECT FROM dunning_cases c WHERE c.stripe_invoice_id IS NULL AND c.invoice_id = i.id)
      AND NOT EXISTS ({COLLECTS})
    ORDER BY i.due_date, i.id LIMIT :limit
    """  # noqa: S608 - constants of this module
)


async def overdue(conn: AsyncConnection, *, now: datetime, limit: int, after: Overdue | None = None) -> list[Overdue]:
    """Our open invoices that were due before `now`, and that nobody dunns yet: oldest first, and those after `after`.

    Not those that an invoice at Stripe collects, nor those of customers who are exempt or were deleted.
    """
    place = {"due": after.due_date if after else FIRST, "id": after.id if after else 0}
    return [Overdue(*row) for row in await conn.execute(_OVERDUE, {"now": now, "limit": limit} | place)]


async def give_up(conn: AsyncConnection, invoice_id: int, *, now: datetime) -> bool:
    """An open invoice of ours is not expected to be paid any more; it can be all the same. False: it was not open."""
    done = await conn.execute(
        text(
            "UPDATE invoices SET status = 'uncollectible', marked_uncollectible_at = :now, updated_at = :now"
            " WHERE id = :id AND kind IS NOT NULL AND status = 'open' AND amount_remaining_cents > 0"
        ),
        {"id": invoice_id, "now": now},
    )
    return done.rowcount == 1
