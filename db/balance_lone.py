"""Money that moved by our books and not by Stripe's, and invoices that were paid more than once."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from db.balance_comparison import HERE, PAID, Span
from db.balance_transactions import LACKING, Session, Staging

# A balance transaction is as old as what it is for, or younger; one that is kept for this span was listed again by now,
# or Stripe takes it back.
_UNBOOKED = """NOT EXISTS (SELECT FROM staged s WHERE s.source = {id}) AND NOT EXISTS (
    SELECT FROM balance_transactions k WHERE k.source_id = {id} AND k.stripe_account = $1 AND k.livemode = $2
        AND (k.stripe_created_at < to_timestamp({{since}}) OR k.stripe_created_at >= to_timestamp({{limit}}))
)"""

_WITHIN = "{time} >= to_timestamp({{since}}) AND {time} < to_timestamp({{limit}})"

# Charges have no index by time, but for those without fee, and money that Stripe has not booked has none. One that was
# captured of late shows it by the time at which Stripe showed it so.
_LONE_CHARGES = f"""
    WITH lone AS (
        SELECT unnest($3::text[]) AS id
        UNION
        SELECT x.stripe_charge_id FROM charges x
        WHERE {LACKING.replace("c.", "x.")} AND {HERE} AND x.amount_captured_cents > 0
          AND (({_WITHIN.format(time="x.stripe_created_at")}) OR ({_WITHIN.format(time="to_timestamp(x.version[2])")}))
    )
    SELECT l.id, coalesce(p.currency, x.currency) AS currency, {PAID} AS amount
    FROM lone l LEFT JOIN charges x ON x.stripe_charge_id = l.id
    LEFT JOIN payment_history p ON p.stripe_charge_id = l.id
    WHERE coalesce(x.version[2], 0) < {{limit}}
      AND {_UNBOOKED.format(id="l.id")}
"""  # noqa: S608 - constants

# The refund of an authorisation that was never captured moves nothing.
_LONE_REFUNDS = f"""
    SELECT x.stripe_refund_id AS id, x.currency, -x.amount_cents AS amount
    FROM refunds x LEFT JOIN charges c ON c.stripe_charge_id = x.stripe_charge_id
    WHERE x.status = 'succeeded' AND x.amount_cents > 0 AND {HERE} AND c.captured IS NOT FALSE
      AND {_WITHIN.format(time="x.stripe_created_at")} AND {_UNBOOKED.format(id="x.stripe_refund_id")}
"""  # noqa: S608 - constants

_LONE_DISPUTES = f"""
    SELECT x.stripe_dispute_id AS id, x.currency, -x.amount_cents AS amount FROM disputes x
    WHERE {_WITHIN.format(time="x.funds_withdrawn_at")} AND {HERE} AND {_UNBOOKED.format(id="x.stripe_dispute_id")}
"""  # noqa: S608 - constants

_LONE_PAYOUTS = f"""
    SELECT x.stripe_payout_id AS id, x.currency, -x.amount_cents AS amount FROM payouts x
    WHERE x.status IN ('in_transit', 'paid') AND x.amount_cents > 0 AND {HERE}
      AND {_WITHIN.format(time="x.stripe_created_at")} AND {_UNBOOKED.format(id="x.stripe_payout_id")}
"""  # noqa: S608 - constants

_LONE = {"charge": _LONE_CHARGES, "refund": _LONE_REFUNDS, "dispute": _LONE_DISPUTES, "payout": _LONE_PAYOUTS}


@dataclass(frozen=True, slots=True)
class Lone:
    """Money that moved by our books, and not by Stripe's. Signed, in minor units."""

    kind: str
    id: str
    currency: str
    amount: int


async def lone(stage: Staging, span: Span, charges: Sequence[str]) -> list[Lone]:
    """What happened in the span by our books, and has no balance transaction, neither listed now nor kept before.

    `charges` are those that may have none.
    """
    return [
        Lone(kind, row["id"], row["currency"] or "", row["amount"] or 0)
        for kind, sql in _LONE.items()
        for row in await stage.fetch(span.within(sql), *span.owner, *([charges] if kind == "charge" else []))
    ]


# What was refunded paid nothing in the end: the customer who paid twice has it back.
_PAID = "stripe_invoice_id IS NOT NULL AND stripe_account = $1 AND livemode = $2 AND status IN ({states})".format(
    states="'succeeded', 'partially_refunded'"
)

# Both payments are of the span, or one of them is not: be the span all time or a day, one of the two reads few rows.
_PAID_TWICE = f"""
    WITH n AS NOT MATERIALIZED (
        SELECT stripe_invoice_id FROM payment_history WHERE {_PAID} AND {_WITHIN.format(time="created_at")}
    ), o AS NOT MATERIALIZED (
        SELECT stripe_invoice_id FROM payment_history
        WHERE {_PAID} AND (created_at < to_timestamp({{since}}) OR created_at >= to_timestamp({{limit}}))
    )
    SELECT stripe_invoice_id FROM n GROUP BY 1 HAVING count(*) > 1
    UNION
    SELECT n.stripe_invoice_id FROM n WHERE EXISTS (SELECT FROM o WHERE o.stripe_invoice_id = n.stripe_invoice_id)
"""  # noqa: S608 - constants

_OVERPAID = text(
    """
    SELECT p.stripe_invoice_id AS invoice, min(p.currency) AS currency,
           sum(coalesce(c.amount_captured_cents, p.amount_cents) - p.refund_amount_cents)::bigint AS paid,
           coalesce((
               SELECT i.amount_paid_cents FROM invoices i WHERE i.stripe_invoice_id = p.stripe_invoice_id
           ), 0) AS told,
           array_agg(p.stripe_charge_id ORDER BY p.stripe_charge_id)
               FILTER (WHERE p.stripe_charge_id IS NOT NULL) AS charges
    FROM payment_history p LEFT JOIN charges c ON c.stripe_charge_id = p.stripe_charge_id
    WHERE p.stripe_invoice_id = ANY (CAST(:invoices AS text[])) AND p.status IN ('succeeded', 'partially_refunded')
    GROUP BY p.stripe_invoice_id
    ORDER BY 1
    """
)


@dataclass(frozen=True, slots=True)
class Overpaid:
    """An invoice with several payments, which add up to more than it says was paid. Minor units."""

    invoice: str
    currency: str
    paid: int
    told: int
    charges: tuple[str, ...]


async def paid_twice(aside: Session, span: Span) -> list[str]:
    """Invoices that were paid in the span, and more than once."""
    return [row[0] for row in await aside.fetch(span.within(_PAID_TWICE), *span.owner)]


async def overpaid(conn: AsyncConnection, invoices: Sequence[str]) -> list[Overpaid]:
    """Those of these invoices of which more was paid by our payments than they say themselves, by id."""
    rows = await conn.execute(_OVERPAID, {"invoices": list(invoices)})
    found = (
        Overpaid(invoice, currency, paid, told, tuple(charges or ())) for invoice, currency, paid, told, charges in rows
    )
    return [one for one in found if one.paid > one.told]
