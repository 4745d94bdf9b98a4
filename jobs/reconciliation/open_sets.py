"""Invoices, subscriptions and all else that has a state are laid beside Stripe's: what is unfinished on either side.

To look at what was *created* lately would be wrong: an invoice of 40 days ago that was paid today must be seen. So we
ask for Stripe's unfinished objects, whenever they were made; for those that events told of; and for those made lately.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, Generic, TypeVar

import msgspec

from db.open_sets import State, collecting
from jobs.reconciliation.found import Stripe, Suspect
from jobs.reconciliation.lists import EVENTS_KEPT, each_page
from jobs.rules import versions
from worker.deps import Deps

MARGIN = timedelta(hours=1)
"""Stripe forgets events of 30 days ago while we ask for them."""

STRIPE_BEGAN = datetime(2011, 1, 1, tzinfo=UTC)
"""No object is older. Lists from then on can be read in slices, several at once."""


class _Object(msgspec.Struct):
    """What is compared of an object; `amounts` and `times` have the order of `db.open_sets.COPIES`."""

    id: str = ""
    created: int = 0
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


class Invoice(_Object):
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

    def state(self) -> str | None:
        """As the reader of events has it (`jobs.events.invoice`)."""
        return self.status or ("paid" if self.paid else "draft")

    def amounts(self) -> Sequence[int | None]:
        """Stripe's sums."""
        return (self.subtotal, self.total, self.amount_due, self.amount_paid, self.amount_remaining)

    def times(self) -> Sequence[int | None]:
        """The period, and when it is due."""
        return (self.period_start, self.period_end, self.due_date)


class _Recurring(msgspec.Struct):
    usage_type: str | None = None


class _Price(msgspec.Struct):
    recurring: _Recurring | None = None
    usage_type: str | None = None


class _Item(msgspec.Struct):
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


class _Items(msgspec.Struct):
    data: list[_Item] = msgspec.field(default_factory=list[_Item])


class Subscription(_Object):
    """https://docs.stripe.com/api/subscriptions/object; since basil each item has its own period."""

    items: _Items = msgspec.field(default_factory=_Items)
    current_period_start: int | None = None
    current_period_end: int | None = None
    cancel_at_period_end: bool | None = None
    trial_end: int | None = None
    cancel_at: int | None = None
    canceled_at: int | None = None
    ended_at: int | None = None

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
        )


class CreditNote(_Object):
    """https://docs.stripe.com/api/credit_notes/object."""

    total: int | None = None
    voided_at: int | None = None

    def state(self) -> str | None:
        """As the reader of events has it."""
        return self.status or "issued"

    def amounts(self) -> Sequence[int | None]:
        """Before and after taxes."""
        return (self.amount, self.total)

    def times(self) -> Sequence[int | None]:
        """When it was taken back."""
        return (self.voided_at,)


class Charge(_Object):
    """https://docs.stripe.com/api/charges/object."""

    paid: bool | None = None
    amount_captured: int | None = None
    amount_refunded: int | None = None
    captured: bool | None = None
    refunded: bool | None = None
    disputed: bool | None = None

    def state(self) -> str | None:
        """As the reader of events has it (`jobs.events.payment`)."""
        if self.status is None:
            return "succeeded" if self.paid else "failed"
        return "pending" if self.status == "succeeded" and self.paid is False else self.status

    def amounts(self) -> Sequence[int | None]:
        """What was asked for, taken and given back."""
        flags = (None if flag is None else int(flag) for flag in (self.captured, self.refunded, self.disputed))
        return (self.amount, self.amount_captured, self.amount_refunded, *flags)


class PaymentIntent(_Object):
    """https://docs.stripe.com/api/payment_intents/object."""

    amount_received: int | None = None
    latest_charge: str | dict[str, Any] | None = None
    charges: dict[str, Any] | None = None
    """Before November 2022 the charges were shown instead."""

    def amounts(self) -> Sequence[int | None]:
        """What was asked for, what came, and whether it was tried at all."""
        tried = None if self.charges is not None else int(self.latest_charge is not None)
        return (self.amount, self.amount_received, tried)


class Refund(_Object):
    """https://docs.stripe.com/api/refunds/object."""

    def state(self) -> str | None:
        """As the reader of events has it."""
        return self.status or "succeeded"


class Dispute(_Object):
    """https://docs.stripe.com/api/disputes/object."""


class Customer(_Object):
    """https://docs.stripe.com/api/customers/object."""

    balance: int | None = None
    delinquent: bool | None = None

    def amounts(self) -> Sequence[int | None]:
        """What is owed to them or by them, and whether a payment failed."""
        return (self.balance, int(bool(self.delinquent)))


class Payout(_Object):
    """https://docs.stripe.com/api/payouts/object."""


R = TypeVar("R", bound=_Object)


class _Data(msgspec.Struct, Generic[R]):
    object: R


class Event(msgspec.Struct, Generic[R]):
    """https://docs.stripe.com/api/events/object: the object as it was when that happened."""

    id: str
    created: int
    type: str
    data: _Data[R]


@dataclass(frozen=True, slots=True)
class Kind(Generic[R]):
    """A kind of object: by which lists Stripe shows what is unfinished, and which events tell of it."""

    name: str
    path: str
    row: type[R]
    events: tuple[str, ...]
    unfinished: tuple[Mapping[str, str], ...] = ()
    """Parameters of lists that are asked for as a whole."""
    ranks: Mapping[str, int] = field(default_factory=dict[str, int])


def _statuses(*names: str) -> tuple[Mapping[str, str], ...]:
    return tuple(MappingProxyType({"status": name}) for name in names)


KINDS: tuple[Kind[Any], ...] = (
    Kind(
        "invoice",
        "invoices",
        Invoice,
        ("invoice.*",),
        _statuses("draft", "open", "uncollectible"),
        versions.INVOICE,
    ),
    # Without a status Stripe lists all that were not canceled: https://docs.stripe.com/api/subscriptions/list.
    Kind(
        "subscription",
        "subscriptions",
        Subscription,
        ("customer.subscription.*",),
        (MappingProxyType({}),),
        versions.SUBSCRIPTION,
    ),
    Kind("credit_note", "credit_notes", CreditNote, ("credit_note.*",), ranks=versions.CREDIT_NOTE),
    Kind("payment_intent", "payment_intents", PaymentIntent, ("payment_intent.*",), ranks=versions.PAYMENT_INTENT),
    Kind("charge", "charges", Charge, ("charge.*",), ranks=versions.CHARGE),
    Kind("refund", "refunds", Refund, ("refund.*", "charge.refund.updated"), ranks=versions.REFUND),
    Kind("dispute", "disputes", Dispute, ("charge.dispute.*",), ranks=versions.DISPUTE),
    Kind("customer", "customers", Customer, ("customer.created", "customer.updated", "customer.deleted")),
    Kind("payout", "payouts", Payout, ("payout.*",), _statuses("pending", "in_transit"), versions.PAYOUT),
)


@dataclass(frozen=True, slots=True)
class States:
    """Which objects did not look the same, and how many of each kind were compared."""

    suspects: set[Suspect]
    counted: dict[str, int]


async def compare_states(d: Deps, stripe: Stripe, since: datetime, until: datetime) -> States:
    """Lay what is unfinished, or changed or was made in [since, until], beside our copies. Raises as `each_page`.

    Nothing is decided here: whoever is named is asked for afresh.
    """
    end = until + timedelta(seconds=1)  # Stripe counts whole seconds, and `until` is one of them
    suspects: set[Suspect] = set()
    async with collecting(d.engine) as shown:
        for kind in KINDS:
            async with aclosing(_states(d, stripe, kind, since, end)) as pages:
                async for page in pages:
                    await shown.add(page)
        counted = await shown.settle()
        for kind in KINDS:
            names = await shown.odd(kind.name)
            names += await shown.unseen(kind.name, stripe.as_of, stripe.account, livemode=stripe.livemode)
            suspects |= {Suspect(kind.name, name) for name in names}
    return States(suspects, {kind.name: counted.get(kind.name, 0) for kind in KINDS})


async def _states(
    d: Deps, stripe: Stripe, kind: Kind[Any], since: datetime, end: datetime
) -> AsyncGenerator[list[State]]:
    """Events first: what a list shows is newer."""
    told_since = max(since, stripe.as_of - EVENTS_KEPT + MARGIN)
    if told_since < end:
        for type_ in kind.events:
            row: type[Event[Any]] = Event[kind.row]
            pages = each_page(d, "events", row, account=stripe.account, since=told_since, until=end, type=type_)
            async with aclosing(pages):
                async for page in pages:
                    yield [
                        _state(kind, event.data.object, event)
                        for event in page
                        if event.data.object.object == kind.name and event.data.object.id
                    ]
    windows: list[tuple[datetime, datetime | None, Mapping[str, str]]] = [(since, end, {})]
    windows += [(STRIPE_BEGAN, None, params) for params in kind.unfinished]
    for begin, before, params in windows:
        wanted: dict[str, Any] = dict(params)
        if kind.name == "subscription" and before is not None:
            wanted["status"] = "all"
        pages = each_page(d, kind.path, kind.row, account=stripe.account, since=begin, until=before, **wanted)
        async with aclosing(pages):
            async for page in pages:
                yield [_state(kind, one, None) for one in page]


def _state(kind: Kind[Any], shown: _Object, event: Event[Any] | None) -> State:
    status = shown.state()
    return State(
        kind=kind.name,
        object_id=shown.id,
        listed=event is None,
        seen_at=None if event is None else event.created,
        made_at=shown.created or None,
        final=status in versions.FINAL.get(kind.name, ()),
        rank=kind.ranks.get(status or "", versions.UNKNOWN),
        deleted=event is not None and event.type == f"{kind.name}.deleted",
        status=status,
        # A customer's currency comes with the first invoice, and no webhook tells of it.
        currency=None if kind.name == "customer" else shown.currency,
        amounts=list(shown.amounts()),
        times=list(shown.times()),
    )
