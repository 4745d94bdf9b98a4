"""One Stripe account: its objects, its clocks, and the events that tell of every change."""

import random
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from deploy.demo.simulator.errors import Json
from deploy.demo.simulator.registry import LISTENERS
from deploy.demo.simulator.render import CURRENT, render
from deploy.demo.simulator.store import Store
from deploy.demo.simulator.timers import Clock

DAY = 86_400

WITH_PREVIOUS = {
    "charge.refunded",
    "customer.subscription.paused",
    "customer.subscription.resumed",
    "payment_method.automatically_updated",
    "payment_method.detached",
}
"""Events besides `*.updated` that carry `previous_attributes`."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The request that is being answered; changes that time brings have none."""

    id: str
    idempotency_key: str | None


@dataclass(slots=True)
class Settings:
    """What an account's owner chooses in Stripe's dashboard. Times are in seconds."""

    finalize_after: int = 3600
    """A draft that advances by itself is finalized after an hour: https://docs.stripe.com/invoicing/integration."""

    retries: tuple[int, ...] = (3 * DAY, 5 * DAY, 7 * DAY)
    """How long after each failed attempt the next one is made, as Smart Retries would over two weeks."""

    after_retries: Literal["cancel", "unpaid", "past_due"] = "cancel"
    """What becomes of a subscription when all retries have failed."""

    invoice_after_retries: Literal["open", "uncollectible", "void"] = "open"
    """What becomes of its invoice then."""

    incomplete_expires: int = 23 * 3600
    """A first payment that is not authenticated by then expires the subscription."""

    upcoming: int = 7 * DAY
    """How long before a renewal `invoice.upcoming` is sent."""


@dataclass(frozen=True, slots=True)
class Emitted:
    """An event as it happened: the object as JSON bytes in each version that somebody listens in."""

    id: str
    type: str
    created: int
    asked: Asked | None
    objects: dict[str, bytes]
    previous: dict[str, Json | None]
    test_clock: str | None = None

    def body(self, version: str, pending: int) -> Json:
        """The event in `version`. Raises KeyError for a version that nobody listened in then."""
        data: Json = {"object": msgspec.json.decode(self.objects[version])}
        if (previous := self.previous[version]) is not None:
            data["previous_attributes"] = previous
        return {
            "id": self.id,
            "object": "event",
            "api_version": version,
            "created": self.created,
            "data": data,
            "livemode": False,
            "pending_webhooks": pending,
            "request": {
                "id": self.asked.id if self.asked else None,
                "idempotency_key": self.asked.idempotency_key if self.asked else None,
            },
            "type": self.type,
        }


@dataclass(slots=True)
class Account:
    """An account in test mode. The same seed, start and calls make the same objects, ids and events."""

    seed: int
    start: int
    country: str = "US"
    versions: set[str] = field(default_factory=lambda: {CURRENT})
    """The API versions in which events are kept; an endpoint's version joins when it is made."""

    settings: Settings = field(default_factory=Settings)
    chance: random.Random = field(init=False)
    store: Store = field(init=False)
    clock: Clock = field(init=False)
    clocks: dict[str, Clock] = field(default_factory=dict[str, Clock])
    """Test clocks, by id."""

    events: dict[str, Emitted] = field(default_factory=dict[str, Emitted])
    undelivered: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    """The endpoints that have not accepted an event yet, by its id; an event that all have accepted is not here."""

    moments: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict[tuple[str, str], tuple[int, int]])
    """When an object's events of a type happened, first and last: events are forgotten in time, the oracle may not."""

    on_event: list[Callable[[Emitted], None]] = field(default_factory=list[Callable[[Emitted], None]])
    asked: Asked | None = None
    _last: dict[tuple[str, str], bytes] = field(default_factory=dict[tuple[str, str], bytes])
    _held: set[str] = field(default_factory=set[str])

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.store = Store(random.Random(self.seed + 1))
        self.clock = Clock(self.start)

    def clock_of(self, customer: str | None) -> Clock:
        """The clock that a customer lives by: a test clock, or the account's."""
        if customer is None:
            return self.clock
        found = self.store.get("customer", customer)
        return self.clocks.get(found.get("test_clock") or "", self.clock) if found else self.clock

    def now(self, customer: str | None = None) -> int:
        """The present for this customer, in seconds since 1970."""
        return self.clock_of(customer).now

    def add(self, obj: Json, *indexed: str) -> Json:
        """Keep a new object; `indexed` names fields that the store is asked by."""
        return self.store.add(obj, *indexed)

    def emit(self, type_: str, obj: Json, *, customer: str | None = None, twin: Emitted | None = None) -> Emitted:
        """Something happened to `obj`: the event is kept in every version, and whoever follows it inside acts.

        `customer` tells by whose clock, where the object does not name its customer. `twin` is an event of another
        type that told of the same change (`refund.updated`, `charge.refund.updated`).
        """
        customer = customer or (obj["id"] if obj["object"] == "customer" else obj.get("customer"))
        event = Emitted(
            id=self.store.new_id("evt"),
            type=type_,
            created=self.now(customer),
            asked=self.asked,
            objects={},
            previous={},
            test_clock=obj.get("test_clock"),
        )
        for version in self.versions:
            self._keep(event, version, obj)
        if twin is not None:
            event.previous.update(twin.previous)
        if "id" in obj:
            first, _ = self.moments.get((obj["id"], type_), (event.created, event.created))
            self.moments[obj["id"], type_] = (first, event.created)
        self.publish(event)
        for follow in LISTENERS.get(type_, ()):
            follow(self, obj)
        return event

    def _keep(self, event: Emitted, version: str, obj: Json) -> None:
        shown = render(self, obj, version)
        event.objects[version] = encoded = msgspec.json.encode(shown)
        before = self._last.get((version, obj.get("id", "")))
        tells = event.type.endswith(".updated") or event.type in WITH_PREVIOUS
        event.previous[version] = changed(msgspec.json.decode(before), shown) if tells and before else None
        if "id" in obj:
            self._last[version, obj["id"]] = encoded

    def publish(self, event: Emitted) -> None:
        """Let the deliveries know of an event."""
        self.events[event.id] = event
        for tell in self.on_event:
            tell(event)

    @contextmanager
    def as_one(self, obj: Json, type_: str | None = None) -> Generator[None]:
        """What is updated of the object within is told once, at the end; nothing, if it raises."""
        self._held.add(obj["id"])
        try:
            yield
        finally:
            self._held.discard(obj["id"])
        self.updated(obj, type_)

    def updated(self, obj: Json, type_: str | None = None) -> bool:
        """Emit `<kind>.updated` if the object differs from what was told of it last; whether it did."""
        if obj["id"] in self._held:
            return False
        before = self._last.get((CURRENT, obj["id"]))
        if before is not None and before == msgspec.json.encode(render(self, obj, CURRENT)):
            return False
        self.emit(type_ or f"{obj['object']}.updated", obj)
        return True


def changed(before: Json, after: Json) -> Json:
    """`previous_attributes`: the old values of what changed, whole lists, objects by their changed fields."""
    found: Json = {}
    for name in before.keys() | after.keys():
        old, new = before.get(name), after.get(name)
        if old == new:
            continue
        both = isinstance(old, dict) and isinstance(new, dict) and name not in {"items", "lines"}
        found[name] = changed(_json(old), _json(new)) if both else old
    return dict(sorted(found.items()))


def _json(value: Any) -> Json:
    return value
