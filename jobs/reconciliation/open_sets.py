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
from jobs.reconciliation.open_objects import (
    Charge,
    CreditNote,
    Customer,
    Dispute,
    Invoice,
    Object,
    PaymentIntent,
    Payout,
    Refund,
    Subscription,
)
from jobs.reconciliation.report import Piece
from jobs.rules import versions
from worker.deps import Deps

MARGIN = timedelta(hours=1)
"""Stripe forgets events of 30 days ago while we ask for them."""

STRIPE_BEGAN = datetime(2011, 1, 1, tzinfo=UTC)
"""No object is older. Lists from then on can be read in slices, several at once."""


R = TypeVar("R", bound=Object)


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


async def compare_states(
    d: Deps, stripe: Stripe, since: datetime, until: datetime, older: Piece | None = None
) -> States:
    """Lay what is unfinished, or changed or was made in [since, until], beside our copies. Raises as `each_page`.

    What was made in `older` is laid beside them, too. Nothing is decided here: whoever is named is asked for afresh.
    """
    end = until + timedelta(seconds=1)  # Stripe counts whole seconds, and `until` is one of them
    made = [Piece(since, end), *([] if older is None else [older])]
    suspects: set[Suspect] = set()
    async with collecting(d.engine) as shown:
        for kind in KINDS:
            async with aclosing(_states(d, stripe, kind, made)) as pages:
                async for page in pages:
                    await shown.add(page)
        counted = await shown.settle()
        for kind in KINDS:
            names = await shown.odd(kind.name, stripe.account, livemode=stripe.livemode)
            names += await shown.unseen(kind.name, stripe.as_of, stripe.account, livemode=stripe.livemode)
            suspects |= {Suspect(kind.name, name) for name in names}
        halves = await shown.halves(stripe.as_of, stripe.account, livemode=stripe.livemode)
        suspects |= {Suspect(kind, name) for kind, name in halves}
    return States(suspects, {kind.name: counted.get(kind.name, 0) for kind in KINDS})


async def _states(d: Deps, stripe: Stripe, kind: Kind[Any], made: Sequence[Piece]) -> AsyncGenerator[list[State]]:
    """Events first, of the first of these times: what a list shows is newer."""
    since, end = made[0].since, made[0].until
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
    windows: list[tuple[datetime, datetime | None, Mapping[str, str]]] = [(one.since, one.until, {}) for one in made]
    windows += [(STRIPE_BEGAN, None, params) for params in kind.unfinished]
    for begin, before, params in windows:
        wanted: dict[str, Any] = dict(params)
        if kind.name == "subscription" and before is not None:
            wanted["status"] = "all"
        pages = each_page(d, kind.path, kind.row, account=stripe.account, since=begin, until=before, **wanted)
        async with aclosing(pages):
            async for page in pages:
                yield [_state(kind, one, None) for one in page]


def _state(kind: Kind[Any], shown: Object, event: Event[Any] | None) -> State:
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
        names=list(shown.names()),
    )
