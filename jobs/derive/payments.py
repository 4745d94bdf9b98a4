"""The payment history follows what Stripe told of intents, charges, refunds, disputes and links to invoices."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from db import payments
from db.ledger import Row
from jobs.derive.changes import Change, differences
from jobs.rules.payments import Charge, Dispute, Intent, PaymentRow, Refund, payment_rows
from jobs.rules.versions import SEEN_AT


def _time(value: str | None) -> datetime | None:
    return None if value is None else datetime.fromisoformat(value)


def _seconds(value: str | None) -> int | None:
    return None if value is None else int(datetime.fromisoformat(value).timestamp())


def _iso(value: datetime) -> str:
    return value.astimezone(UTC).isoformat()


def _intent(row: Row, now: datetime) -> Intent:
    return Intent(
        id=row["stripe_payment_intent_id"],
        status=row["status"],
        amount=row["amount_cents"],
        currency=row["currency"] or "",
        created=_time(row["stripe_created_at"]) or now,
        latest_charge=row["latest_stripe_charge_id"],
        customer=row["stripe_customer_id"],
        failure_code=row["failure_code"],
        failure_message=row["failure_message"],
        decline_code=row["decline_code"],
        payment_method=row["payment_method_type"],
        payment_method_id=row["payment_method_id"],
    )


def _charge(row: Row) -> Charge:
    version: Sequence[int] = row["version"]
    return Charge(
        id=row["stripe_charge_id"],
        seen_at=version[SEEN_AT] if version else 0,
        status=row["status"],
        amount=row["amount_cents"],
        currency=row["currency"],
        created=_time(row["stripe_created_at"]),
        captured=bool(row["captured"]),
        amount_refunded=row["amount_refunded_cents"] or 0,
        refunded=bool(row["refunded"]),
        customer=row["stripe_customer_id"],
        failure_code=row["failure_code"],
        failure_message=row["failure_message"],
        decline_code=row["decline_code"],
        payment_method=row["payment_method"],
        payment_method_id=row["payment_method_id"],
        card_brand=row["card_brand"],
        card_last4=row["card_last4"],
        fee=row["stripe_fee_cents"],
        net=row["net_amount_cents"],
        settled_in=row["settlement_currency"],
        refund_seen_at=_time(row["refund_seen_at"]),
        expired=row["expired_at"] is not None,
    )


def _refund(row: Row) -> Refund:
    return Refund(
        id=row["stripe_refund_id"],
        charge=row["stripe_charge_id"],
        amount=row["amount_cents"],
        status=row["status"],
        created=_seconds(row["stripe_created_at"]) or 0,
        reason=row["reason"],
        failed_at=_seconds(row["failed_at"]),
    )


def _dispute(row: Row) -> Dispute:
    return Dispute(
        id=row["stripe_dispute_id"],
        charge=row["stripe_charge_id"],
        status=row["status"],
        created=_seconds(row["stripe_created_at"]) or 0,
    )


@dataclass(slots=True)
class _Group:
    """The facts of one intent, or of one charge that has none."""

    intent: Row | None = None
    charges: list[Row] = field(default_factory=list[Row])
    refunds: list[Row] = field(default_factory=list[Row])
    disputes: list[Row] = field(default_factory=list[Row])
    present: list[Row] = field(default_factory=list[Row])


def _group(found: Mapping[str, Sequence[Row]]) -> dict[str, _Group]:
    groups: dict[str, _Group] = defaultdict(_Group)
    home: dict[str, str] = {}
    for row in found["intent"]:
        groups[row["stripe_payment_intent_id"]].intent = row
    for row in found["charge"]:
        name = home[row["stripe_charge_id"]] = row["stripe_payment_intent_id"] or row["stripe_charge_id"]
        groups[name].charges.append(row)
    for row in found["refund"]:
        name = home.get(row["stripe_charge_id"] or "") or row["stripe_payment_intent_id"]
        groups[name].refunds.append(row)
    for row in found["dispute"]:
        groups[home[row["stripe_charge_id"]]].disputes.append(row)
    for row in found["payment"]:
        name = home.get(row["stripe_charge_id"] or "") or row["stripe_payment_intent_id"]
        groups[name].present.append(row)
    return groups


def _columns(row: PaymentRow, group: _Group, links: Mapping[str, Row]) -> Row:
    source = next((c for c in group.charges if c["stripe_charge_id"] == row.charge and c["version"]), None)
    source = source or group.intent or group.charges[0]
    intent = row.intent or source.get("stripe_payment_intent_id")
    link = links.get(intent or "") or links.get(row.charge or "")
    user = source["user_id"] or (group.intent["user_id"] if group.intent is not None else None)
    return {
        "invoice_id": link["id"] if link is not None else None,
        "user_id": user,
        "stripe_customer_id": row.customer,
        "stripe_invoice_id": link["invoice"] if link is not None else None,
        "stripe_payment_intent_id": intent,
        "stripe_charge_id": row.charge,
        "livemode": source["livemode"],
        "stripe_account": source["stripe_account"],
        "amount_cents": row.amount,
        "currency": row.currency,
        "status": row.status.value,
        "captured": row.captured,
        "stripe_fee_cents": row.fee,
        "net_amount_cents": row.net,
        "settlement_currency": row.settled_in,
        "payment_method": row.payment_method,
        "payment_method_id": row.payment_method_id,
        "card_brand": row.card_brand,
        "card_last4": row.card_last4,
        "failure_code": row.failure_code,
        "failure_message": row.failure_message,
        "decline_code": row.decline_code,
        "refunded_at": None if row.refunded_at is None else _iso(datetime.fromtimestamp(row.refunded_at, UTC)),
        "refund_reason": row.refund_reason,
        "refund_amount_cents": row.refund_amount,
        "dispute_status": row.dispute_status,
        "created_at": _iso(row.created),
    }


FILLED_LATER = ("stripe_fee_cents", "net_amount_cents", "settlement_currency")
"""What reconciliation learns from balance transactions; that Stripe's webhooks do not show it takes nothing away."""


@dataclass(slots=True)
class _Plan:
    new: list[Row] = field(default_factory=list[Row])
    changed: list[Row] = field(default_factory=list[Row])
    gone: list[int] = field(default_factory=list[int])
    changes: list[Change] = field(default_factory=list[Change])

    def settle(self, group: _Group, wanted: Sequence[Row]) -> None:
        """Match the attempts to their present rows; the row of a bare intent goes to its first charge."""
        by_charge = {row["stripe_charge_id"]: row for row in group.present if row["stripe_charge_id"] is not None}
        bare = [row for row in group.present if row["stripe_charge_id"] is None]
        for row in wanted:
            present = by_charge.pop(row["stripe_charge_id"], None) or (bare.pop() if bare else None)
            if present is not None:
                for name in FILLED_LATER:
                    row[name] = present[name] if row[name] is None else row[name]
            self._note(present, row)
        self.gone += [row["id"] for row in (*bare, *by_charge.values())]

    def _note(self, present: Row | None, row: Row) -> None:
        fields = differences(present, row, payments.COLUMNS)
        if not fields:
            return
        if present is None:
            self.new.append(row)
        else:
            self.changed.append(row | {"id": present["id"]})
        key = row["stripe_charge_id"] or row["stripe_payment_intent_id"]
        ids = {row["stripe_charge_id"], row["stripe_payment_intent_id"]} - {None}
        self.changes.append(Change("payment_history", key, fields, frozenset(ids)))


async def derive(
    conn: AsyncConnection, *, intents: Iterable[str], charges: Iterable[str], now: datetime
) -> list[Change]:
    """Bring the attempts of these intents and charges up to date. The caller holds their locks."""
    found = await payments.inputs(conn, intents=intents, charges=charges)
    links: dict[str, Row] = {}
    for link in sorted(found["link"], key=lambda link: str(link["invoice"]), reverse=True):
        links[link["payment"]] = link
    plan = _Plan()
    for _, group in sorted(_group(found).items()):
        rows = payment_rows(
            None if group.intent is None else _intent(group.intent, now),
            [_charge(row) for row in group.charges],
            [_refund(row) for row in group.refunds],
            [_dispute(row) for row in group.disputes],
        )
        plan.settle(group, [_columns(row, group, links) for row in rows])
    await payments.write(conn, new=plan.new, changed=plan.changed, gone=plan.gone, now=now)
    return plan.changes


def touched(table: str, row: Mapping[str, Any], intents: set[str], charges: set[str]) -> None:
    """Note whose attempts a changed row of `table` may change."""
    if table not in {"payment_intents", "charges", "refunds", "disputes", "invoice_payments"}:
        return
    if table == "invoice_payments":
        intents.add(row["payment_id"])
        charges.add(row["payment_id"])
        return
    if row.get("stripe_payment_intent_id") is not None:
        intents.add(row["stripe_payment_intent_id"])
    if row.get("stripe_charge_id") is not None:
        charges.add(row["stripe_charge_id"])
