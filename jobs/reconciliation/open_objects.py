"""What is compared of each of Stripe's objects, read from lists and events of any shape, as our readers read them."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import msgspec
from msgspec import UNSET, UnsetType


class _Named(msgspec.Struct):
    id: str | None = None


Ref: TypeAlias = str | _Named | None
"""Another object, by its id or shown as a whole."""


def _id(ref: Ref) -> str | None:
    return ref.id if isinstance(ref, _Named) else ref


class _Part(msgspec.Struct):
    amount: int | None = None


Parts: TypeAlias = list[_Part] | None


def _sum(parts: Parts) -> int:
    return sum(part.amount or 0 for part in parts or ())


def _first_told(*fields: Parts | UnsetType) -> int:
    """Taxes are told under the name that their time had; the first that is there counts."""
    return next((_sum(field) for field in fields if not isinstance(field, UnsetType)), 0)


class Object(msgspec.Struct):
    """What is compared of an object; `amounts` and `times` have the order of `db.open_sets.COPIES`."""

    id: str = ""
    created: int = 0
    """Compared of every object, where it is told."""
    object: str | None = None
    currency: str | None = None
    status: str | None = None
    amount: int | None = None

    def state(self) -> str | None:
        """As the object says it."""
        return self.status

    def amounts(self) -> Sequence[int | None]:
        """Of the whole."""
        return (self.amount,)

    def times(self) -> Sequence[int | None]:
        """None."""
        return ()

    def names(self) -> Sequence[str | None]:
        """To which others it belongs."""
        return ()


class _Transitions(msgspec.Struct):
    finalized_at: int | None = None
    paid_at: int | None = None
    voided_at: int | None = None
    marked_uncollectible_at: int | None = None


class _Details(msgspec.Struct):
    subscription: Ref = None


class _Parent(msgspec.Struct):
    subscription_details: _Details | None = None


class Invoice(Object):
    """https://docs.stripe.com/api/invoices/object."""

    paid: bool | None = None
    """Before 2018 there was no status."""
    subtotal: int | None = None
    total: int | None = None
    amount_due: int | None = None
    amount_paid: int | None = None
    amount_remaining: int | None = None
    period_start: int | None = None
    period_end: int | None = None
    due_date: int | None = None
    tax: int | UnsetType | None = UNSET
    total_taxes: Parts | UnsetType = UNSET
    total_tax_amounts: Parts | UnsetType = UNSET
    total_discount_amounts: Parts = None
    starting_balance: int | None = None
    ending_balance: int | None = None
    pre_payment_credit_notes_amount: int | None = None
    post_payment_credit_notes_amount: int | None = None
    amount_overpaid: int | None = None
    attempt_count: int | None = None
    status_transitions: _Transitions | None = None
    customer: Ref = None
    subscription: Ref = None
    parent: _Parent | None = None

    def state(self) -> str | None:
        """As the reader of events has it (`jobs.events.invoice`)."""
        return self.status or ("paid" if self.paid else "draft")

    def amounts(self) -> Sequence[int | None]:
        """Stripe's sums, and how often it was tried."""
        taxes = _first_told(self.total_taxes, self.total_tax_amounts)
        return (
            self.subtotal,
            self.total,
            self.amount_due,
            self.amount_paid,
            self.amount_remaining,
            taxes if isinstance(self.tax, UnsetType) else self.tax or 0,
            _sum(self.total_discount_amounts),
            self.starting_balance,
            self.ending_balance,
            self.pre_payment_credit_notes_amount,
            self.post_payment_credit_notes_amount,
            self.amount_overpaid,
            self.attempt_count,
        )

    def times(self) -> Sequence[int | None]:
        """The period, when it is due, and when it became what it is."""
        moments = self.status_transitions or _Transitions()
        return (
            self.period_start,
            self.period_end,
            self.due_date,
            moments.finalized_at,
            moments.paid_at,
            moments.voided_at,
            moments.marked_uncollectible_at,
        )

    def names(self) -> Sequence[str | None]:
        """Whose it is, and for which subscription: https://docs.stripe.com/changelog/basil (`parent`)."""
        details = (self.parent.subscription_details if self.parent else None) or _Details()
        return (_id(self.customer), _id(self.subscription) or _id(details.subscription))


class _Recurring(msgspec.Struct):
    usage_type: str | None = None


class _Price(msgspec.Struct):
    id: str | None = None
    recurring: _Recurring | None = None
    usage_type: str | None = None


class _Item(msgspec.Struct):
    id: str | None = None
    price: _Price | str | None = None
    plan: _Price | str | None = None
    quantity: int | None = None
    current_period_start: int | None = None
    current_period_end: int | None = None

    @property
    def metered(self) -> bool:
        """Whether usage is counted; then it does not stand for the subscription."""
        price = self.price or self.plan
        if not isinstance(price, _Price):
            return False
        return "metered" in (price.usage_type, price.recurring.usage_type if price.recurring else None)

    @property
    def priced(self) -> str | None:
        """The id of its price, or of its plan."""
        price = self.price or self.plan
        return price.id if isinstance(price, _Price) else price

    def told(self) -> str:
        """What of it is compared, in one text."""
        return ":".join(str(part) for part in (self.id, self.priced, self.quantity) if part is not None)


class _Items(msgspec.Struct):
    data: list[_Item] = msgspec.field(default_factory=list[_Item])
    has_more: bool | None = None


class Subscription(Object):
    """https://docs.stripe.com/api/subscriptions/object; since basil each item has its own period."""

    items: _Items = msgspec.field(default_factory=_Items)
    current_period_start: int | None = None
    current_period_end: int | None = None
    cancel_at_period_end: bool | None = None
    trial_end: int | None = None
    cancel_at: int | None = None
    canceled_at: int | None = None
    ended_at: int | None = None
    trial_start: int | None = None
    start_date: int | None = None
    start: int | None = None
    """Its name before 2019."""
    customer: Ref = None

    def _first(self) -> _Item:
        items = self.items.data
        return next((item for item in items if not item.metered), items[0] if items else _Item())

    def amounts(self) -> Sequence[int | None]:
        """How many, and whether it ends with the period."""
        return (self._first().quantity, int(bool(self.cancel_at_period_end)))

    def times(self) -> Sequence[int | None]:
        """The period and the ends."""
        first = self._first()
        return (
            first.current_period_start or self.current_period_start,
            first.current_period_end or self.current_period_end,
            self.trial_end,
            self.cancel_at,
            self.canceled_at,
            self.ended_at,
            self.trial_start,
            self.start_date or self.start,
        )

    def names(self) -> Sequence[str | None]:
        """Whose it is, its price, and all of its items."""
        items = {item.id: item for item in self.items.data}.values()
        told = None if self.items.has_more else ",".join(sorted(item.told() for item in items))
        return (_id(self.customer), self._first().priced, told)


class CreditNote(Object):
    """https://docs.stripe.com/api/credit_notes/object."""

    total: int | None = None
    subtotal: int | None = None
    discount_amount: int | None = None
    out_of_band_amount: int | None = None
    total_taxes: Parts | UnsetType = UNSET
    taxes: Parts | UnsetType = UNSET
    total_tax_amounts: Parts | UnsetType = UNSET
    tax_amounts: Parts | UnsetType = UNSET
    voided_at: int | None = None
    invoice: Ref = None
    customer: Ref = None

    def state(self) -> str | None:
        """As the reader of events has it."""
        return self.status or "issued"

    def amounts(self) -> Sequence[int | None]:
        """All of its sums."""
        return (
            self.amount,
            self.total,
            self.subtotal,
            _first_told(self.total_taxes, self.taxes, self.total_tax_amounts, self.tax_amounts),
            self.discount_amount,
            self.out_of_band_amount or 0,
        )

    def times(self) -> Sequence[int | None]:
        """When it was taken back."""
        return (self.voided_at,)

    def names(self) -> Sequence[str | None]:
        """Of which invoice it is, and whose."""
        return (_id(self.invoice), _id(self.customer))


class Charge(Object):
    """https://docs.stripe.com/api/charges/object."""

    paid: bool | None = None
    amount_captured: int | None = None
    amount_refunded: int | None = None
    captured: bool | None = None
    refunded: bool | None = None
    disputed: bool | None = None
    customer: Ref = None
    payment_intent: Ref = None

    def state(self) -> str | None:
        """As the reader of events has it (`jobs.events.payment`)."""
        if self.status is None:
            return "succeeded" if self.paid else "failed"
        return "pending" if self.status == "succeeded" and self.paid is False else self.status

    def amounts(self) -> Sequence[int | None]:
        """What was asked for, taken and given back."""
        flags = (None if flag is None else int(flag) for flag in (self.captured, self.refunded, self.disputed))
        return (self.amount, self.amount_captured, self.amount_refunded, *flags)

    def names(self) -> Sequence[str | None]:
        """Whose it is, and of which intent."""
        return (_id(self.customer), _id(self.payment_intent))


class PaymentIntent(Object):
    """https://docs.stripe.com/api/payment_intents/object."""

    amount_received: int | None = None
    amount_capturable: int | None = None
    canceled_at: int | None = None
    customer: Ref = None
    latest_charge: Ref = None
    charges: dict[str, Any] | None = None
    """Before November 2022 the charges were shown instead."""

    def amounts(self) -> Sequence[int | None]:
        """What was asked for, what came, and whether it was tried at all."""
        tried = None if self.charges is not None else int(self.latest_charge is not None)
        return (self.amount, self.amount_received, tried, self.amount_capturable)

    def times(self) -> Sequence[int | None]:
        """When it was given up."""
        return (self.canceled_at,)

    def names(self) -> Sequence[str | None]:
        """Whose it is, and its last attempt."""
        return (_id(self.customer), _id(self.latest_charge))


class _OfCharge(Object):
    """What happened to a charge."""

    charge: Ref = None
    payment_intent: Ref = None

    def names(self) -> Sequence[str | None]:
        """The charge and its intent."""
        return (_id(self.charge), _id(self.payment_intent))


class Refund(_OfCharge):
    """https://docs.stripe.com/api/refunds/object."""

    def state(self) -> str | None:
        """As the reader of events has it."""
        return self.status or "succeeded"


class _Evidence(msgspec.Struct):
    due_by: int | None = None


class Dispute(_OfCharge):
    """https://docs.stripe.com/api/disputes/object."""

    evidence_details: _Evidence | None = None
    evidence_due_by: int | None = None
    """Its name before 2015."""

    def times(self) -> Sequence[int | None]:
        """Until when it can be answered."""
        return ((self.evidence_details.due_by if self.evidence_details else None) or self.evidence_due_by,)


class Customer(Object):
    """https://docs.stripe.com/api/customers/object."""

    balance: int | None = None
    delinquent: bool | None = None

    def amounts(self) -> Sequence[int | None]:
        """What is owed to them or by them, and whether a payment failed."""
        return (self.balance, int(bool(self.delinquent)))


class Payout(Object):
    """https://docs.stripe.com/api/payouts/object."""

    arrival_date: int | None = None

    def times(self) -> Sequence[int | None]:
        """When it is at the bank."""
        return (self.arrival_date,)
