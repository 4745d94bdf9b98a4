"""What a subscription is worth in a month: its monthly recurring revenue.

MRR is the sum of the monthly-normalised amounts of active and past due subscriptions; trials, taxes and metered
prices do not count: https://support.stripe.com/questions/calculating-monthly-recurring-revenue-(mrr)-in-billing and
https://docs.stripe.com/billing/subscriptions/analytics/glossary. Discounts that last (`forever`, `repeating`) lower it
while they apply, `once` does not. Paused collection changes nothing by itself: the subscription stays active at Stripe.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import TypeAlias

from db.money import rounded

COUNTED = frozenset({"active", "past_due"})

MONTHS = {"day": Fraction(12, 365), "week": Fraction(12, 52), "month": Fraction(1), "year": Fraction(12)}
"""How many months a billing interval has; a year has 365 days or 52 weeks."""


CouponKey: TypeAlias = tuple[str, str, bool]
"""A coupon's id, account and mode: each account chooses its coupons' ids itself."""


@dataclass(frozen=True, slots=True)
class Item:
    """One item; `unit_amount` is in minor units, perhaps with decimals."""

    unit_amount: Decimal | None
    currency: str | None
    quantity: int | None = 1
    interval: str | None = "month"
    interval_count: int | None = 1
    metered: bool = False
    tiered: bool = False
    divide_by: int | None = None
    divide_up: bool = False
    discounts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Coupon:
    """A coupon: percent, or an amount in minor units."""

    duration: str | None
    percent_off: Decimal | None = None
    amount_off: int | None = None
    currency: str | None = None


@dataclass(frozen=True, slots=True)
class Discount:
    """A discount; its coupon is named by its key, and may not be known yet."""

    id: str
    coupon: CouponKey | None
    end: datetime | None = None
    deleted_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Mrr:
    """MRR in minor units. What it leaves out is named; `changes_at` is when a discount that counts now runs out."""

    cents: int
    unknown_coupons: frozenset[CouponKey] = frozenset()
    unknown_discounts: frozenset[str] = frozenset()
    unpriced: bool = False
    changes_at: datetime | None = None

    @property
    def incomplete(self) -> bool:
        """Whether something that we do not know would change the value."""
        return self.unpriced or bool(self.unknown_coupons) or bool(self.unknown_discounts)


def months_of(item: Item) -> Fraction | None:
    """The length of an item's interval in months; None for what is not recurring, or in a unit that we do not know."""
    unit = MONTHS.get(item.interval or "")
    return None if unit is None else unit * (item.interval_count or 1)


def monthly(item: Item) -> Fraction | None:
    """An item's monthly amount before discounts, exactly. None when its price cannot be told from what Stripe sent."""
    if item.metered:
        return Fraction(0)
    months = months_of(item)
    if item.tiered or item.unit_amount is None or months is None:
        return None
    quantity = 1 if item.quantity is None else item.quantity
    if item.divide_by:
        whole, rest = divmod(quantity, item.divide_by)
        quantity = whole + (1 if rest and item.divide_up else 0)
    return Fraction(item.unit_amount) * quantity / months


@dataclass(slots=True)
class _Reckoning:
    """Applies discounts one after the other, as Stripe does, and notes what it does not know."""

    discounts: Mapping[str, Discount]
    coupons: Mapping[CouponKey, Coupon]
    at: datetime
    unknown_coupons: set[CouponKey]
    unknown_discounts: set[str]
    ends: list[datetime]

    def applying(self, ids: Sequence[str]) -> list[str]:
        """Those of `ids` that are not over at `at`."""
        return [name for name in ids if not self._over(self.discounts.get(name))]

    def _over(self, discount: Discount | None) -> bool:
        if discount is None:
            return False
        return any(end is not None and end <= self.at for end in (discount.end, discount.deleted_at))

    def lower(self, amount: Fraction, ids: Sequence[str], *, currency: str | None, months: Fraction) -> Fraction:
        """`amount` a month after the discounts `ids`, at least zero. An amount off is per invoice, so per interval."""
        for name in ids:
            discount = self.discounts.get(name)
            if discount is None or discount.coupon is None:
                self.unknown_discounts.add(name)
                continue
            coupon = self.coupons.get(discount.coupon)
            if coupon is None:
                self.unknown_coupons.add(discount.coupon)
                continue
            if coupon.duration == "once":
                continue
            if discount.end is not None:
                self.ends.append(discount.end)
            if coupon.percent_off is not None:
                amount -= amount * Fraction(coupon.percent_off) / 100
            elif coupon.amount_off is not None and coupon.currency == currency:
                amount -= Fraction(coupon.amount_off) / months
            amount = max(amount, Fraction(0))
        return amount


def measure(
    *,
    status: str,
    items: Sequence[Item],
    discount_ids: Sequence[str],
    customer_discount_ids: Sequence[str],
    discounts: Mapping[str, Discount],
    coupons: Mapping[CouponKey, Coupon],
    at: datetime,
    complete: bool = True,
) -> Mrr:
    """The MRR of a subscription at `at`, in minor units of its currency.

    A customer's discount applies to a subscription without one of its own: https://docs.stripe.com/billing/subscriptions/coupons.
    It is rounded once, at the end.
    """
    if status not in COUNTED:
        return Mrr(0)
    reckoning = _Reckoning(discounts, coupons, at, set(), set(), [])
    total, unpriced = Fraction(0), not complete
    for item in items:
        amount = monthly(item)
        if amount is None:
            unpriced = True
        elif amount:
            months = months_of(item) or Fraction(1)
            ids = reckoning.applying(item.discounts)
            total += reckoning.lower(amount, ids, currency=item.currency, months=months)
    first = next((item for item in items if not item.metered and months_of(item) is not None), None)
    if first is not None and total:
        own = reckoning.applying(discount_ids)
        ids = own or reckoning.applying(customer_discount_ids)
        months = months_of(first) or Fraction(1)
        total = reckoning.lower(total, ids, currency=first.currency, months=months)
    return Mrr(
        rounded(total),
        frozenset(reckoning.unknown_coupons),
        frozenset(reckoning.unknown_discounts),
        unpriced,
        min(reckoning.ends, default=None),
    )
