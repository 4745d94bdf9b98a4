"""Money that moved at Stripe is laid beside ours, a set at a time: what does not fit is named, and both are summed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from db.balance_transactions import KIND, Staging

# In all statements $1 is the account and $2 the livemode; `{since}` and `{limit}` are the ends of the span in seconds.
# What Stripe booked at or after the limit waits: its webhooks may be on their way.

_SEVERAL = """
    SELECT coalesce(source, id) AS key FROM staged GROUP BY 1 HAVING count(*) > 1
"""
"""Objects with more than one row. Almost all have one, so that these are laid beside ours without being summed first.
A list that changes while it is read may tell a row twice."""

_REST = "CREATE TEMPORARY TABLE rest AS SELECT * FROM staged WHERE kind <> 'charge'"
"""The few that are no charges, so that each of their kinds need not look for its own among a million."""

_SINGLE = """
    SELECT s.source, s.currency, s.rate IS NOT NULL AS converted,
           s.amount, s.amount AS seen_amount, s.fee, s.net, s.fee AS seen_fee,
           CASE WHEN s.type IN ('charge', 'payment') THEN s.fee ELSE 0 END AS paid_fee,
           s.amount AS least, s.amount AS most, s.amount AS latest, false AS twice, NULL::bigint[] AS alone
    FROM {rows} s
    WHERE s.kind = '{kind}' AND s.created < {limit} AND s.source <> ALL ($3)
"""

_AGAIN = "CREATE TEMPORARY TABLE again AS SELECT DISTINCT unnest($1::text[]) AS key"

# `seen` are rows of this span; the others were kept earlier, and tell of the same objects. Stripe's fee for a charge is
# that of the row that booked it; what a row that takes money back costs belongs to the sums only.
_SUMMED = """
    CREATE TEMPORARY TABLE summed AS
    WITH every AS (
        SELECT id, kind, type, source, currency, rate IS NOT NULL AS converted, amount, fee, net, created, true AS seen
        FROM staged WHERE source IN (SELECT key FROM again)
        UNION ALL
        SELECT id, {kind}, type, source, currency, rate IS NOT NULL, amount, fee, net, created, false
        FROM (
            SELECT stripe_balance_transaction_id AS id, type, source_id AS source, currency, exchange_rate AS rate,
                   amount_cents AS amount, fee_cents AS fee, net_cents AS net,
                   extract(epoch FROM stripe_created_at)::bigint AS created
            FROM balance_transactions
            WHERE source_id IN (SELECT key FROM again) AND stripe_account = $1 AND livemode = $2
              AND (stripe_created_at < to_timestamp({since}) OR stripe_created_at >= to_timestamp({limit}))
        ) k
    ), once AS (
        SELECT DISTINCT ON (id) *, type IN ('charge', 'payment', 'refund', 'payment_refund', 'payout') AS main
        FROM every ORDER BY id, seen DESC
    )
    SELECT source, kind, max(currency) AS currency,
           bool_or(converted) AS converted, sum(amount)::bigint AS amount,
           coalesce(sum(amount) FILTER (WHERE seen AND created < {limit}), 0)::bigint AS seen_amount,
           coalesce(sum(fee) FILTER (WHERE main), 0)::bigint AS fee,
           coalesce(sum(net) FILTER (WHERE main), 0)::bigint AS net,
           coalesce(sum(fee) FILTER (WHERE seen AND created < {limit}), 0)::bigint AS seen_fee,
           coalesce(sum(fee) FILTER (WHERE seen AND created < {limit} AND type IN ('charge', 'payment')), 0)::bigint
               AS paid_fee,
           min(amount) AS least, max(amount) AS most,
           (array_agg(amount ORDER BY created DESC, id DESC))[1] AS latest,
           count(*) FILTER (WHERE main) > 1 AS twice, array_agg(amount) FILTER (WHERE main) AS alone
    FROM once WHERE source IS NOT NULL
    GROUP BY source, kind HAVING min(created) FILTER (WHERE seen) < {limit}
"""

HERE = "x.stripe_account = $1 AND x.livemode = $2"

_AMOUNT_OFF = """CASE WHEN b.converted THEN (coalesce(o.expected, 0) = 0) <> (b.amount = 0)
    ELSE o.expected IS DISTINCT FROM b.amount OR o.currency IS DISTINCT FROM b.currency END"""
"""Amounts that Stripe converted are in another currency than ours: then only whether money moved is compared."""

_PAYMENT = """LEFT JOIN payment_history p
    ON p.stripe_charge_id = {charge} AND p.stripe_account = $1 AND p.livemode = $2"""

PAID = """CASE WHEN p.captured AND p.status NOT IN ('pending', 'failed') THEN
    p.amount_cents - CASE WHEN x.captured THEN coalesce(x.amount_cents - x.amount_captured_cents, 0) ELSE 0 END
    ELSE 0 END"""
"""What a payment of ours (`p`) says was paid, before refunds. What of it was never captured its charge (`x`) tells."""

_DISPUTED_OFF = """(p.status = 'disputed') <> coalesce(
    p.dispute_status NOT IN ('won', 'warning_closed', 'prevented', 'charge_refunded'), false)"""

# What of a charge (`x`) its payment (`p`) must have as well.
_UNLIKE_ITS_PAYMENT = f"""(x.stripe_fee_cents IS NULL) <> (x.net_amount_cents IS NULL)
    OR p.id IS NULL OR p.amount_cents IS DISTINCT FROM x.amount_cents OR p.currency IS DISTINCT FROM x.currency
    OR p.captured IS DISTINCT FROM coalesce(x.captured, false)
    OR p.stripe_fee_cents IS DISTINCT FROM x.stripe_fee_cents
    OR p.net_amount_cents IS DISTINCT FROM x.net_amount_cents
    OR p.settlement_currency IS DISTINCT FROM x.settlement_currency
    OR (p.status IN ('pending', 'failed')) <> (x.status IS DISTINCT FROM 'succeeded')
    OR CASE WHEN x.status = 'succeeded' THEN
        p.refund_amount_cents <> coalesce(x.amount_refunded_cents, 0)
        OR (p.status <> 'disputed' AND (p.refund_amount_cents > 0)
            <> (p.status IN ('refunded', 'partially_refunded')))
        OR (p.status <> 'disputed' AND (p.status = 'refunded')
            <> (p.refund_amount_cents >= p.amount_cents OR coalesce(x.refunded, false)))
        OR {_DISPUTED_OFF}
    ELSE false END"""

# A charge without its fee is not at odds: the fee comes later, by a job that asks in pages, and is summed as if it were
# here. One that failed has no money, or gave it back. The fees here are those of the payment history.
_CHARGE = f"""
    SELECT b.*, CASE WHEN (o.status = 'failed' AND o.fee_paid IS NULL)
                OR (o.status = 'succeeded' AND o.fee_here IS NULL) THEN 0
            ELSE coalesce(o.fee_paid, 0) - b.fee END AS fee_more,
        CASE WHEN o.status = 'failed' AND o.fee_paid IS NULL THEN 0 ELSE b.paid_fee END AS of_payment,
        o.expected, CASE WHEN o.paid_in = b.currency THEN o.paid ELSE 0 END AS ours,
        coalesce(o.status = 'succeeded' AND o.fee_here IS NULL, false) AS lacks,
        NULL::text AS besides, {{lone}} AS lone,
        b.source IS NOT NULL AND (o.key IS NULL OR {_AMOUNT_OFF}
            OR coalesce(o.fee_here <> b.fee OR o.net_here <> b.net OR o.settlement_currency <> b.currency, false)
            OR o.unlike) AS off
    FROM booked b {{joined}} (
        SELECT {{key}} AS key, x.status, x.currency, x.stripe_fee_cents AS fee_here, x.net_amount_cents AS net_here,
            x.settlement_currency, p.stripe_fee_cents AS fee_paid,
            CASE WHEN x.status = 'succeeded' THEN x.amount_captured_cents WHEN x.id IS NOT NULL THEN 0 END AS expected,
            {PAID} AS paid, p.currency AS paid_in,
            x.id IS NULL OR {_UNLIKE_ITS_PAYMENT} AS unlike,
            p.captured AND p.amount_cents > 0 AND p.status NOT IN ('pending', 'failed') AS moved
        FROM {{ours}}
    ) o ON o.key = b.source
"""  # noqa: S608 - constants

_CHARGE_AGAIN = _CHARGE.format(
    key="k.key",
    lone="NULL::text",
    joined="LEFT JOIN",
    ours=f"""again k LEFT JOIN charges x ON x.stripe_charge_id = k.key AND {HERE}
        {_PAYMENT.format(charge="k.key")}""",
)

# Both ways at once: payments of the span that have no row of Stripe's show up as well. One that was charged before the
# span and booked in it does not find its payment here, and is looked at again.
_CHARGE_FIRST = _CHARGE.format(
    key="p.stripe_charge_id",
    lone="CASE WHEN b.source IS NULL AND o.moved THEN o.key END",
    joined="FULL JOIN",
    ours=f"""payment_history p LEFT JOIN charges x ON x.stripe_charge_id = p.stripe_charge_id AND {HERE}
        WHERE p.stripe_account = $1 AND p.livemode = $2 AND p.stripe_charge_id IS NOT NULL
          AND p.created_at >= to_timestamp({{since}}) AND p.created_at < to_timestamp({{limit}})""",
)

_REFUND = f"""
    SELECT b.*, 0 AS fee_more, 0 AS of_payment, o.expected, o.expected AS ours, false AS lacks,
        CASE WHEN p.refund_amount_cents IS DISTINCT FROM c.amount_refunded_cents THEN o.stripe_charge_id END AS besides,
        NULL::text AS lone,
        o.key IS NULL OR {_AMOUNT_OFF} AS off
    FROM booked b
    LEFT JOIN (
        SELECT x.*, x.stripe_refund_id AS key, CASE WHEN x.status IN ('failed', 'canceled') THEN 0
            ELSE -x.amount_cents END AS expected FROM refunds x WHERE {HERE}
    ) o ON o.key = b.source
    LEFT JOIN charges c ON c.stripe_charge_id = o.stripe_charge_id
    {_PAYMENT.format(charge="o.stripe_charge_id")}
"""  # noqa: S608 - constants

# A dispute that was won gave back what was withdrawn; an inquiry withdraws nothing:
# https://docs.stripe.com/disputes/how-disputes-work. Which of the two came last must fit its state.
_DISPUTE = f"""
    SELECT b.*, 0 AS fee_more, 0 AS of_payment, o.expected, o.expected AS ours, false AS lacks,
        CASE WHEN p.dispute_status IS NULL OR {_DISPUTED_OFF} THEN o.stripe_charge_id END AS besides,
        NULL::text AS lone,
        o.key IS NULL OR (NOT b.converted AND (o.currency IS DISTINCT FROM b.currency
                OR greatest(-b.least, b.most) IS DISTINCT FROM o.amount_cents))
            OR (b.latest < 0 AND (o.status = 'won' OR o.status LIKE 'warning%' OR o.status IS NULL))
            OR (b.latest > 0 AND o.status IN ('needs_response', 'under_review', 'lost')) AS off
    FROM booked b
    LEFT JOIN (
        SELECT x.*, x.stripe_dispute_id AS key, CASE WHEN x.status IN ('won', 'prevented') OR x.status LIKE 'warning%'
            THEN 0 ELSE -x.amount_cents END AS expected FROM disputes x WHERE {HERE}
    ) o ON o.key = b.source
    {_PAYMENT.format(charge="o.stripe_charge_id")}
"""  # noqa: S608 - constants

_PAYOUT = f"""
    SELECT b.*, 0 AS fee_more, 0 AS of_payment, o.expected, o.expected AS ours, false AS lacks,
        NULL::text AS besides, NULL::text AS lone,
        o.key IS NULL OR {_AMOUNT_OFF} AS off
    FROM booked b
    LEFT JOIN (
        SELECT x.*, x.stripe_payout_id AS key, CASE WHEN x.status IN ('failed', 'canceled') THEN 0
            ELSE -x.amount_cents END AS expected FROM payouts x WHERE {HERE}
    ) o ON o.key = b.source
"""  # noqa: S608 - constants

BESIDE = {"charge": _CHARGE_AGAIN, "refund": _REFUND, "dispute": _DISPUTE, "payout": _PAYOUT}
"""By kind: Stripe's sums beside our row, and whether they are at odds (`off`)."""

# What we have and Stripe has not booked is added here; what was booked outside of the span, and agrees, is not.
_COMPARE = """
    WITH booked AS ({booked}), beside AS ({beside} OFFSET 0)
    SELECT currency, converted, count(*) FILTER (WHERE {told}) AS count,
           coalesce(sum(seen_amount) FILTER (WHERE {told}), 0)::bigint AS there,
           coalesce(sum(CASE WHEN off THEN coalesce(ours, 0) - amount + seen_amount ELSE seen_amount END)
               FILTER (WHERE {told}), 0)::bigint AS here,
           coalesce(sum(of_payment) FILTER (WHERE {told}), 0)::bigint AS fees_there,
           coalesce(sum(of_payment + fee_more) FILTER (WHERE {told}), 0)::bigint AS fees_here,
           coalesce(sum(seen_fee - of_payment) FILTER (WHERE {told}), 0)::bigint AS other_fees,
           count(*) FILTER (WHERE {told} AND lacks) AS without_fee,
           array_agg(source) FILTER (WHERE off AND NOT (twice AND expected = ANY (alone))) AS off,
           array_agg(besides) FILTER (WHERE besides IS NOT NULL) AS besides,
           array_agg(lone) FILTER (WHERE lone IS NOT NULL) AS lone,
           array_agg(source) FILTER (WHERE off AND twice AND expected = ANY (alone)) AS twice,
           array_agg(expected) FILTER (WHERE off AND twice AND expected = ANY (alone)) AS twice_expected,
           array_agg(amount) FILTER (WHERE off AND twice AND expected = ANY (alone)) AS twice_amount
    FROM beside GROUP BY currency, converted ORDER BY 1, 2
"""

_OTHERS = """
    SELECT currency, count(*) AS count, sum(fee)::bigint AS fees
    FROM (SELECT DISTINCT ON (id) * FROM rest WHERE kind = 'other' AND created < {limit} ORDER BY id) s GROUP BY 1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The rows of one kind, currency and conversion. Amounts are signed, in minor units of `currency`.

    Of converted amounts only the fees can be told here, for the others are in another currency.
    """

    kind: str
    currency: str
    converted: bool
    count: int
    there: int
    here: int
    """Of charges by the payment history, of all else by the table of its kind."""
    fees_there: int
    """Of payments."""
    fees_here: int
    """Of the payment history."""
    other_fees: int
    """Of what no payment tells: disputes, debits that failed later."""
    without_fee: int
    off: Sequence[str]
    """Objects that are at odds with ours."""
    besides: Sequence[str]
    """Charges whose payment does not fit a refund or dispute of theirs."""
    twice: Sequence[tuple[str, int, int]]
    """Objects that Stripe booked more than once: id, what we have, what all of its rows add up to."""


@dataclass(frozen=True, slots=True)
class Span:
    """Whose money is compared, and of which time. `limit`: what came later still waits for its webhooks."""

    account: str
    livemode: bool
    since: datetime
    limit: datetime

    def within(self, sql: str, **more: str) -> str:
        """A statement for this span."""
        return sql.format(since=int(self.since.timestamp()), limit=int(self.limit.timestamp()), **more)

    @property
    def owner(self) -> tuple[str, bool]:
        """Its first two parameters."""
        return self.account, self.livemode


async def compare(stage: Staging, span: Span) -> tuple[list[Part], list[str]]:
    """Stripe's rows beside ours. What is at odds by the rows of this span alone is looked at with those kept earlier.

    Also returns charges whose payment is of this span, and which may have no row of Stripe's at all.
    """
    several = [row["key"] for row in await stage.fetch(_SEVERAL)]
    await stage.execute(_REST)
    await stage.execute("ANALYZE rest")
    parts: list[Part] = []
    doubtful: set[str] = set(several)
    lone: list[str] = []
    for kind, beside in (BESIDE | {"charge": span.within(_CHARGE_FIRST)}).items():
        booked = span.within(_SINGLE, kind=kind, rows="staged" if kind == "charge" else "rest")
        for row in await _compare(stage, span, booked, beside, several, told="NOT off AND source IS NOT NULL"):
            doubtful.update(row["off"] or ())
            lone += row["lone"] or ()
            parts += _part(kind, row, off=())
    await stage.execute(_AGAIN, sorted(doubtful))
    await stage.execute("ANALYZE again")
    await stage.execute(span.within(_SUMMED, kind=KIND), *span.owner)
    await stage.execute("ANALYZE summed")
    for kind, beside in BESIDE.items():
        for row in await _compare(stage, span, f"SELECT * FROM summed WHERE kind = '{kind}'", beside, told="true"):  # noqa: S608 - our own kinds
            parts += _part(kind, row, off=row["off"] or ())
    return parts, lone


_PLAIN = ("currency", "converted", "count", "there", "here", "fees_there", "fees_here", "other_fees", "without_fee")


async def _compare(
    stage: Staging, span: Span, booked: str, beside: str, *without: Sequence[str], told: str
) -> list[Any]:
    return await stage.fetch(_COMPARE.format(booked=booked, beside=beside, told=told), *span.owner, *without)


def _part(kind: str, row: Any, *, off: Sequence[str]) -> list[Part]:
    if row["currency"] is None:  # those that only our books have
        return []
    plain: dict[str, Any] = {name: row[name] for name in _PLAIN}
    twice = zip(row["twice"] or (), row["twice_expected"] or (), row["twice_amount"] or (), strict=True)
    return [Part(kind=kind, **plain, off=off, besides=row["besides"] or (), twice=list(twice))]


async def others(stage: Staging, span: Span) -> list[tuple[str, int, int]]:
    """Money that moved for none of our objects (Stripe's own fees, reserves …): currency, count, fees."""
    return [(row["currency"], row["count"], row["fees"]) for row in await stage.fetch(span.within(_OTHERS))]
