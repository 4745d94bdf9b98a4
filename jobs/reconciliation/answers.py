"""Stripe's answer about an object that was asked for afresh is told to the books as its events would have told it."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from db.ledger import Address, Fact, Row
from jobs.reconciliation.found import Stripe
from jobs.stripe_objects import READERS, Obj, StripeEvent, origin


@dataclass(frozen=True, slots=True)
class Part:
    """An object of an answer, and the type of event as which it is told; `at` (seconds) when the object says when."""

    type: str
    object: Obj
    at: int | None = None
    new: bool = False
    """It is followed only when the object was not known here, or stood otherwise."""

    def event(self, stripe: Stripe, name: str) -> StripeEvent:
        """The event that Stripe would have sent; without a time of its own it is of the moment of the look."""
        created = int(stripe.as_of.timestamp()) if self.at is None else self.at
        return StripeEvent(name, self.type, created, stripe.livemode, stripe.account, self.object)


Link: TypeAlias = tuple[str, str]
"""An invoice and what pays it: a payment intent, else a charge or a payment record."""


@dataclass(slots=True)
class Snapshot:
    """What Stripe said: `parts` are read into facts, `follows` are what letters and dunning hear of.

    A snapshot does not know when something happened, unless the object says so: `own` are times that it says, by row.
    """

    parts: list[Part] = field(default_factory=list[Part])
    follows: list[Part] = field(default_factory=list[Part])
    own: dict[Address, Row] = field(default_factory=dict[Address, Row])
    customer: str | None = None
    links: dict[str, set[Link]] = field(default_factory=dict[str, set[Link]])
    """By invoice or payment, of which Stripe listed them all: which payment is for which invoice."""

    def too_many(self, here: Iterable[Link]) -> set[Link]:
        """Of the links `here` those that Stripe does not have. An empty list proves nothing: old ones may lack them."""
        whole = [(name, listed) for name, listed in self.links.items() if listed]
        return {link for link in here if any(name in link and link not in listed for name, listed in whole)}

    def names(self) -> set[str]:
        """The ids of all objects in it, invoice payments too."""
        found = {name for part in self.parts if (name := part.object.ref("id")) is not None}
        return found | {row.id() for part in self.parts for row in part.object.each("payments") if "id" in row}

    def ids(self, kind: str) -> set[str]:
        """The ids of the objects of a kind that are in it."""
        return {part.object.id() for part in self.parts if part.object.name == kind}

    def retried(self) -> set[str]:
        """The intents whose newest charge is not in it."""
        charges = self.ids("charge")
        intents = [part.object for part in self.parts if part.object.name == "payment_intent"]
        return {one.id() for one in intents if (last := one.ref("latest_charge")) is not None and last not in charges}

    def facts(self, stripe: Stripe, name: str) -> list[Fact]:
        """What the readers of events make of it, with the times that the objects tell. Raises Malformed."""
        found: list[Fact] = []
        for part in self.parts:
            event = part.event(stripe, name)
            for fact in READERS[part.type](event):
                told = self.own.get(fact.address, {})
                sticky = {column: told.get(column, value) for column, value in fact.sticky.items()}
                found.append(replace(fact, sticky=sticky))
        at = int(stripe.as_of.timestamp())
        whose = origin(StripeEvent(name, "", at, stripe.livemode, stripe.account, Obj({}, "")))
        found += [Fact(table, key, sticky=whose | row) for (table, key), row in self.own.items()]
        return found
