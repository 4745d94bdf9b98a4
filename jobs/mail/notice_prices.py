"""What a subscription will cost at its next charge, in the words of a letter."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal, TypeAlias, cast, get_args

from sqlalchemy.ext.asyncio import AsyncConnection

from db import subscriptions
from db.ledger import Row
from jobs.mail.contexts import Amount
from jobs.rules.mrr import Coupon, CouponKey, Discount, Item, measure

Interval: TypeAlias = Literal["day", "week", "month", "year"]


@dataclass(frozen=True, slots=True)
class Price:
    """What one interval costs, in minor units, less the discounts that last; taxes may come on top, as at Stripe."""

    amount: Amount
    interval: Interval
    count: int


@dataclass(frozen=True, slots=True)
class Discounts:
    """The discounts and coupons that some subscriptions have."""

    discounts: Mapping[str, Discount] = field(default_factory=dict[str, Discount])
    coupons: Mapping[CouponKey, Coupon] = field(default_factory=dict[CouponKey, Coupon])
    of_customers: Mapping[str, str] = field(default_factory=dict[str, str])

    @classmethod
    async def of(cls, conn: AsyncConnection, rows: Sequence[Row]) -> "Discounts":
        """Those of these rows of `subscriptions`, in one statement."""
        named = {name for row in rows for name in _named(row)}
        customers = {row["stripe_customer_id"] for row in rows} - {None}
        found, users = await subscriptions.context(conn, discounts=named, customers=customers)
        discounts: dict[str, Discount] = {}
        coupons: dict[CouponKey, Coupon] = {}
        for row in found:
            key = None
            if row["stripe_coupon_id"] is not None:
                key = (row["stripe_coupon_id"], row["stripe_account"], row["livemode"])
            name: str = row["stripe_discount_id"]
            discounts[name] = Discount(name, key, _time(row["end_at"]), _time(row["deleted_at"]))
            if key is not None and (coupon := row["coupon"]) is not None:
                percent = coupon["percent_off"]
                coupons[key] = Coupon(
                    coupon["duration"],
                    percent_off=None if percent is None else Decimal(str(percent)),
                    amount_off=coupon["amount_off_cents"],
                    currency=coupon["currency"],
                )
        return cls(discounts, coupons, {name: one["discount"] for name, one in users.items() if one["discount"]})

    def price(self, row: Row, at: datetime) -> Price | None:
        """What the subscription `row` costs at `at`: its items of the first one's interval, which are charged together.

        None when Stripe's events do not tell: metered or tiered prices, or items that were left out.
        """
        items = [_item(one) for one in row["items"]]
        first = next((one for one in items if not one.metered), None)
        if first is None or first.interval not in get_args(Interval) or first.currency is None:
            return None
        rhythm = first.interval, first.interval_count or 1
        # An item that is charged once a month is worth in a month what it costs.
        together = [
            replace(one, interval="month", interval_count=1)
            for one in items
            if (one.interval, one.interval_count or 1) == rhythm and one.currency == first.currency
        ]
        customers = self.of_customers.get(row["stripe_customer_id"] or "")
        worth = measure(
            status="active",
            items=together,
            discount_ids=row["discount_ids"],
            customer_discount_ids=[customers] if customers is not None else [],
            discounts=self.discounts,
            coupons=self.coupons,
            at=at,
            complete=row["items_complete"],
        )
        if worth.unpriced or any(one.metered for one in items):
            return None
        return Price(Amount(worth.cents, first.currency), cast("Interval", first.interval), rhythm[1])


def _named(row: Row) -> list[str]:
    return [*row["discount_ids"], *(name for item in row["items"] for name in item["discounts"])]


def _time(value: str | None) -> datetime | None:
    return None if value is None else datetime.fromisoformat(value)


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
