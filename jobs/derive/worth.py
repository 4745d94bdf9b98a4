"""What follows from a subscription's snapshots: its items, its history, and what it is worth in a month."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from db import subscriptions
from db.ledger import Fact, Row, fingerprint
from jobs.derive.changes import Change
from jobs.rules.mrr import Coupon, CouponKey, Discount, Item, Mrr, measure
from jobs.rules.versions import SEEN_AT
from jobs.stripe_objects import moment

STATE = (
    "status",
    "stripe_price_id",
    "quantity",
    "currency",
    "items",
    "items_complete",
    "discount_ids",
    "current_period_start",
    "current_period_end",
    "trial_end",
    "cancel_at_period_end",
    "cancel_at",
    "pause_behavior",
)
"""What makes two states of a subscription different."""


def history_row(fact: Fact) -> Row:
    """The state that a snapshot shows."""
    state = {name: fact.values[name] for name in STATE}
    return {
        **state,
        "stripe_subscription_id": fact.key[0],
        "stripe_customer_id": fact.values["stripe_customer_id"],
        "occurred_at": moment(fact.version[SEEN_AT]),
        "fingerprint": format(fingerprint(state), "016x"),
        "version": fact.version,
    }


def item_rows(subscription: Row) -> list[Row]:
    """The rows of `subscription_items` for a merged subscription."""
    return [
        {
            "stripe_subscription_id": subscription["stripe_subscription_id"],
            "stripe_subscription_item_id": item["id"],
            "position": position,
            "stripe_price_id": item["price"],
            "stripe_product_id": item["product"],
            "quantity": item["quantity"],
            "currency": item["currency"],
            "unit_amount_decimal": item["unit_amount"],
            "interval": item["interval"],
            "interval_count": item["interval_count"],
            "usage_type": item["usage_type"],
            "billing_scheme": item["billing_scheme"],
            "divide_by": item["divide_by"],
            "divide_round": item["divide_round"],
            "current_period_start": item["period_start"],
            "current_period_end": item["period_end"],
            "discount_ids": item["discounts"],
        }
        for position, item in enumerate(subscription["items"])
    ]


def _item(row: Mapping[str, Any]) -> Item:
    return Item(
        unit_amount=None if row["unit_amount"] is None else Decimal(row["unit_amount"]),
        currency=row["currency"],
        quantity=row["quantity"],
        interval=row["interval"],
        interval_count=row["interval_count"],
        metered=row["usage_type"] == "metered",
        tiered=row["billing_scheme"] == "tiered",
        divide_by=row["divide_by"],
        divide_up=row["divide_round"] == "up",
        discounts=tuple(row["discounts"]),
    )


def _time(value: str | None) -> datetime | None:
    return None if value is None else datetime.fromisoformat(value)


@dataclass(slots=True)
class _Knowledge:
    """The discounts and coupons that we know of, ready for the rule."""

    rows: Sequence[Row]
    users: Mapping[str, Row]
    discounts: dict[str, Discount] = field(default_factory=dict[str, Discount])
    coupons: dict[CouponKey, Coupon] = field(default_factory=dict[CouponKey, Coupon])

    def __post_init__(self) -> None:
        """One batch may be about several accounts: a coupon's id names it only within the discount's account."""
        for row in self.rows:
            name = row["stripe_discount_id"]
            named: str | None = row["stripe_coupon_id"]
            key: CouponKey | None = None if named is None else (named, row["stripe_account"], row["livemode"])
            coupon = row["coupon"]
            self.discounts[name] = Discount(name, key, _time(row["end_at"]), _time(row["deleted_at"]))
            if key is not None and coupon is not None:
                percent = coupon["percent_off"]
                self.coupons[key] = Coupon(
                    duration=coupon["duration"],
                    percent_off=None if percent is None else Decimal(str(percent)),
                    amount_off=coupon["amount_off_cents"],
                    currency=coupon["currency"],
                )

    def of_customer(self, customer: str | None, at: datetime, *, past: bool) -> list[str]:
        """The discount for the whole customer at `at`: at most one, the one that began last.

        One that a newer snapshot of the customer no longer shows is over, even if its own last event never came.
        """
        user = self.users.get(customer or "")
        found: list[tuple[str, str]] = []
        for row in self.rows:
            others = ("stripe_subscription_id", "stripe_subscription_item_id", "stripe_invoice_id")
            if row["stripe_customer_id"] != customer or any(row[name] is not None for name in others):
                continue
            name, start = row["stripe_discount_id"], row["start_at"] or ""
            discount = self.discounts[name]
            if any(end is not None and end <= at for end in (discount.end, discount.deleted_at)):
                continue
            if past and start > at.isoformat():
                continue
            if not past and user is not None and user["version"] and user["discount"] != name:
                seen: int = row["version"][SEEN_AT] if row["version"] else 0
                if user["version"][SEEN_AT] > seen:
                    continue
            found.append((start, name))
        return [max(found)[1]] if found else []

    def mrr(self, row: Mapping[str, Any], at: datetime, *, past: bool) -> Mrr:
        """The worth of a subscription's present state, or of a past one."""
        return measure(
            status=row["status"],
            items=[_item(item) for item in row["items"]],
            discount_ids=row["discount_ids"],
            customer_discount_ids=self.of_customer(row["stripe_customer_id"], at, past=past),
            discounts=self.discounts,
            coupons=self.coupons,
            at=at,
            complete=row["items_complete"],
        )


@dataclass(frozen=True, slots=True)
class Wanted:
    """What must be fetched or done later, so that a worth becomes right or stays so."""

    coupons: Mapping[CouponKey, frozenset[str]] = field(default_factory=dict[CouponKey, frozenset[str]])
    """Unknown coupons, and whose worth they are missing in."""
    discounts: Mapping[str, tuple[str, str, bool]] = field(default_factory=dict[str, tuple[str, str, bool]])
    """Subscriptions with discounts of which only the ids are known: what names the need, account, mode."""
    due: Mapping[str, datetime] = field(default_factory=dict[str, datetime])
    """Subscriptions with a discount that runs out, and when."""
    remeasured: Mapping[CouponKey, str] = field(default_factory=dict[CouponKey, str])
    """Coupons that changed, or came after the discounts that name them, and their version."""


def _listed(row: Mapping[str, Any]) -> list[str]:
    return [*row["discount_ids"], *(name for item in row["items"] for name in item["discounts"])]


async def derive(
    conn: AsyncConnection, *, rows: Iterable[Row], new_states: Sequence[Row], whole: Iterable[str], now: datetime
) -> tuple[list[Change], Wanted]:
    """Measure `rows` (merged subscriptions) and `new_states`; for those in `whole` every past state is measured again.

    The caller holds the locks of the subscriptions and their customers.
    """
    by_id = {row["stripe_subscription_id"]: row for row in rows}
    repriced = sorted(set(whole) & set(by_id))
    past = await subscriptions.history(conn, repriced) if repriced else []
    states: dict[tuple[str, str, str], Row] = {}
    for state in sorted((*past, *new_states), key=lambda state: list(state["version"])):
        states[state["stripe_subscription_id"], state["occurred_at"], state["fingerprint"]] = state
    everything = [*by_id.values(), *states.values()]
    known = _Knowledge(
        *await subscriptions.context(
            conn,
            discounts={name for row in everything for name in _listed(row)},
            customers={row["stripe_customer_id"] for row in everything if row["stripe_customer_id"] is not None},
        )
    )
    changes, changed_rows, wanted = _measure_now(known, by_id, now)
    if changed_rows:
        await subscriptions.write_mrr(conn, changed_rows)
    mended: list[Row] = []
    for state in states.values():
        worth = known.mrr(state, datetime.fromisoformat(state["occurred_at"]), past=True)
        if state.get("mrr_cents") != worth.cents or state.get("mrr_incomplete") != worth.incomplete:
            mended.append(state | {"mrr_cents": worth.cents, "mrr_incomplete": worth.incomplete})
    if mended:
        await subscriptions.write_history(conn, mended, now=now)
    return changes, wanted


def _measure_now(known: _Knowledge, by_id: Mapping[str, Row], now: datetime) -> tuple[list[Change], list[Row], Wanted]:
    changes: list[Change] = []
    written: list[Row] = []
    coupons: dict[CouponKey, frozenset[str]] = {}
    discounts: dict[str, tuple[str, str, bool]] = {}
    due: dict[str, datetime] = {}
    for name, row in sorted(by_id.items()):
        worth = known.mrr(row, now, past=False)
        for coupon in worth.unknown_coupons:
            coupons[coupon] = coupons.get(coupon, frozenset()) | {name}
        if worth.unknown_discounts:
            need = f"fetch_discounts:{name}:{','.join(sorted(worth.unknown_discounts))}"
            discounts[name] = (need, row["stripe_account"], row["livemode"])
        if worth.changes_at is not None:
            due[name] = worth.changes_at
        old, flagged = row.get("mrr_cents") or 0, bool(row.get("mrr_incomplete"))
        if (old, flagged) == (worth.cents, worth.incomplete):
            continue
        written.append({"stripe_subscription_id": name, "mrr_cents": worth.cents, "mrr_incomplete": worth.incomplete})
        fields: dict[str, list[Any]] = {"mrr_cents": [old, worth.cents]}
        if flagged != worth.incomplete:
            fields["mrr_incomplete"] = [flagged, worth.incomplete]
        changes.append(Change("subscriptions", name, fields, frozenset({name, row["stripe_customer_id"] or name})))
    return changes, written, Wanted(coupons, discounts, due)
