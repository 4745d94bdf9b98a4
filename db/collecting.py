"""Invoices of ours that Stripe collects: which invoice at Stripe stands for which of ours, and how both stand."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import Text

MARK = "billing_invoice_id"
"""Metadata at Stripe: the id of the invoice of ours that one of Stripe's collects."""

NUMBER = "billing_invoice"
"""Metadata at Stripe: its number, for people, and against an id of other books."""

WITHDRAWN = "billing_withdrawn"
"""Metadata at Stripe: we voided it ourselves, because another one or nothing is to be collected."""


@dataclass(frozen=True, slots=True)
class Collecting:
    """An invoice of Stripe's that collects one of ours. Amounts are minor units, times UTC."""

    stripe_invoice_id: str
    ours: int
    status: str | None
    """None while only its existence is known."""
    total: int
    paid: int
    credited: int
    """What credit notes at Stripe took off before it was paid."""
    carried: int
    """What was too little to be charged, and is still owed: it went to the customer's balance at Stripe."""
    paid_at: datetime | None
    deleted: bool
    withdrawn: bool
    hosted_invoice_url: str | None

    @property
    def live(self) -> bool:
        """Whether somebody may still pay it."""
        return not self.deleted and self.status not in {"paid", "void"}

    @property
    def collected(self) -> int:
        """What it brought: all but what was credited at Stripe once it is paid, whatever Stripe's balance gave."""
        return self.total - self.credited - self.carried if self.status == "paid" else self.paid


_COLLECTING = f"""
    SELECT s.stripe_invoice_id, s.collects_invoice_id, s.status, s.total_cents, s.amount_paid_cents,
           coalesce(s.pre_payment_credit_cents, 0), greatest(coalesce(s.ending_balance_cents, 0), 0), s.paid_at,
           s.deleted_at IS NOT NULL, coalesce(s.metadata ? '{WITHDRAWN}', false), s.hosted_invoice_url
    FROM invoices s
"""  # noqa: S608 - constants of ours
_OF_OURS = text(f"{_COLLECTING} WHERE s.collects_invoice_id = :ours ORDER BY s.id")
_OF_STRIPES = text(
    f"{_COLLECTING} WHERE s.stripe_invoice_id = ANY(:names) AND s.collects_invoice_id IS NOT NULL"
    " ORDER BY s.collects_invoice_id, s.id"
).bindparams(bindparam("names", type_=ARRAY(Text)))


async def of_ours(conn: AsyncConnection, invoice_id: int) -> list[Collecting]:
    """The invoices at Stripe that collect one of ours, oldest first; all but the newest are void."""
    return [Collecting(*row) for row in await conn.execute(_OF_OURS, {"ours": invoice_id})]


async def of_stripes(conn: AsyncConnection, names: Collection[str]) -> list[Collecting]:
    """Those of these invoices of Stripe's that collect one of ours, in the order of ours."""
    if not names:
        return []
    return [Collecting(*row) for row in await conn.execute(_OF_STRIPES, {"names": sorted(names)})]


_UNLINKED = text(
    f"""
    SELECT s.stripe_invoice_id, o.id, o.invoice_number, s.metadata ->> '{NUMBER}'
    FROM invoices s JOIN invoices o
      ON o.id = CASE WHEN s.metadata ->> '{MARK}' ~ '^[0-9]{{1,18}}$' THEN CAST(s.metadata ->> '{MARK}' AS bigint) END
    WHERE s.stripe_invoice_id = ANY(:names) AND s.collects_invoice_id IS NULL AND s.stripe_account = ''
      AND s.currency = o.currency
      AND o.kind IS NOT NULL AND o.invoice_number IS NOT NULL
    """  # noqa: S608 - constants of ours
).bindparams(bindparam("names", type_=ARRAY(Text)))


async def marked(conn: AsyncConnection, names: Collection[str]) -> Sequence[tuple[str, int, str, str | None]]:
    """Invoices of Stripe's whose metadata name one of ours, and that do not collect one yet.

    Each with our id, our number, and the number that the metadata tell.
    """
    return [(row[0], row[1], row[2], row[3]) for row in await conn.execute(_UNLINKED, {"names": sorted(names)})]


async def link(conn: AsyncConnection, links: Mapping[str, int]) -> None:
    """Write down which of ours (by id) these of Stripe's collect."""
    for name in sorted(links):
        await conn.execute(
            text("UPDATE invoices SET collects_invoice_id = :ours WHERE stripe_invoice_id = :name"),
            {"name": name, "ours": links[name]},
        )


_KNOW = text(
    """
    INSERT INTO invoices (stripe_invoice_id, livemode, collects_invoice_id, updated_at)
    VALUES (:name, :livemode, :ours, :now)
    ON CONFLICT (stripe_invoice_id) DO UPDATE SET collects_invoice_id = excluded.collects_invoice_id
    """
)


async def know(conn: AsyncConnection, name: str, ours: int, *, livemode: bool, now: datetime) -> None:
    """Know of an invoice at Stripe, before its first event is here, that it collects one of ours.

    The caller holds its lock (`db.ledger.try_lock`).
    """
    await conn.execute(_KNOW, {"name": name, "livemode": livemode, "ours": ours, "now": now})
    await conn.execute(
        text("UPDATE usage_invoices SET stripe_invoice_id = :name, updated_at = :now WHERE invoice_id = :ours"),
        {"name": name, "ours": ours, "now": now},
    )


async def payable_at(conn: AsyncConnection, invoice_id: int, url: str | None, *, now: datetime) -> None:
    """Where an invoice of ours can be paid by link now; None: nowhere any more."""
    await conn.execute(
        text(
            "UPDATE invoices SET hosted_invoice_url = :url, updated_at = :now"
            " WHERE id = :id AND kind IS NOT NULL AND hosted_invoice_url IS DISTINCT FROM CAST(:url AS text)"
        ),
        {"id": invoice_id, "url": url, "now": now},
    )


@dataclass(frozen=True, slots=True)
class Payer:
    """What Stripe must know to collect an invoice of ours."""

    customer: str | None
    """Stripe's customer: of the partner's contract, else of the customer."""
    finalized_at: datetime
    due_date: datetime | None


_PAYER = text(
    """
    SELECT coalesce(
               (SELECT c.stripe_customer_id FROM api_partner_contracts c
                WHERE c.api_key_prefix = i.api_key_prefix ORDER BY c.version DESC LIMIT 1),
               (SELECT u.stripe_customer_id FROM users u WHERE u.id = i.user_id)
           ), i.finalized_at, i.due_date
    FROM invoices i WHERE i.id = :id
    """
)


async def payer(conn: AsyncConnection, invoice_id: int) -> Payer:
    """Who pays an invoice of ours at Stripe. Of a contract, the newest version tells."""
    row = (await conn.execute(_PAYER, {"id": invoice_id})).one()
    return Payer(*row)


async def link_of(conn: AsyncConnection, invoice_id: int) -> str | None:
    """Where an invoice of ours can be paid by link, if it can."""
    found = await conn.execute(
        text("SELECT hosted_invoice_url FROM invoices WHERE id = :id AND status = 'open'"), {"id": invoice_id}
    )
    return found.scalar()
