"""A Stripe in miniature: objects change, and each change is told by an event, in all shapes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from db.inbox import StoredEvent
from tests.lives import money_shapes as m
from tests.lives import objects as o
from tests.lives import shapes as s
from tests.lives.shapes import Json, Shape

START = 1_767_607_200
"""2026-01-05 10:00 UTC, as Stripe's whole seconds."""

HOUR = 3600
DAY = 86_400

Told = frozenset[tuple[str, ...]]
"""What only some shapes say: `("link", intent, invoice)`, `("out_of_band", invoice)`."""


@dataclass(frozen=True, slots=True)
class WorldEvent:
    """One event as Stripe would send it, its object in each shape; `told_old` is what only shapes before basil say."""

    id: str
    type: str
    created: int
    bodies: Mapping[Shape, Json]
    told_old: Told = frozenset()
    told_always: Told = frozenset()

    @property
    def key(self) -> str | None:
        """The object's id; a preview of an invoice has none."""
        return self.bodies[Shape.NEW].get("id")

    def at(self) -> datetime:
        """When it happened."""
        return datetime.fromtimestamp(self.created, UTC)

    def told(self, shape: Shape) -> Told:
        """What a reader of this shape learns beyond the object itself."""
        return self.told_always | self.told_old if shape.before_basil else self.told_always

    def stored(self, shape: Shape, *, event_id: str | None = None) -> StoredEvent:
        """The event as it lies in the inbox; another `event_id` makes it the same change told twice."""
        envelope: Json = {
            "id": event_id or self.id,
            "object": "event",
            "api_version": shape.value,
            "created": self.created,
            "data": {"object": self.bodies[shape]},
            "livemode": False,
            "pending_webhooks": 1,
            "request": {"id": None, "idempotency_key": None},
            "type": self.type,
        }
        return StoredEvent(
            id=envelope["id"],
            type=self.type,
            livemode=False,
            account=None,
            created_at=self.at(),
            received_at=self.at() + timedelta(seconds=1),
            payload=msgspec.json.format(msgspec.json.encode(envelope), indent=2),
        )


@dataclass(slots=True)
class World:
    """All objects, the events told so far, and the present second. `tag` keeps the ids of several worlds apart.

    In a world that stands still all of a life falls into one second: nothing but the rules tells what was last.
    """

    tag: str = "a"
    still: bool = False
    now: int = START
    events: list[WorldEvent] = field(default_factory=list[WorldEvent])
    products: list[o.Product] = field(default_factory=list[o.Product])
    prices: list[o.Price] = field(default_factory=list[o.Price])
    coupons: list[o.Coupon] = field(default_factory=list[o.Coupon])
    customers: list[o.Customer] = field(default_factory=list[o.Customer])
    subscriptions: list[o.Subscription] = field(default_factory=list[o.Subscription])
    invoices: list[o.Invoice] = field(default_factory=list[o.Invoice])
    intents: list[o.Intent] = field(default_factory=list[o.Intent])
    charges: list[o.Charge] = field(default_factory=list[o.Charge])
    refunds: list[o.Refund] = field(default_factory=list[o.Refund])
    disputes: list[o.Dispute] = field(default_factory=list[o.Dispute])
    credit_notes: list[o.CreditNote] = field(default_factory=list[o.CreditNote])
    sessions: list[o.Session] = field(default_factory=list[o.Session])
    serial: int = 0

    def new_id(self, prefix: str) -> str:
        """An id that no other object has; event ids do not sort by time, as at Stripe."""
        self.serial += 1
        scrambled = (self.serial * 2_654_435_761) % 2**32
        return f"{prefix}_{self.tag}{scrambled:08x}{self.serial:04d}"

    def wait(self, seconds: int) -> None:
        """Let time pass; without it, events share a second."""
        self.now += 0 if self.still else seconds

    def at(self) -> datetime:
        """The present instant."""
        return datetime.fromtimestamp(self.now, UTC)

    def _emit(
        self, kind: str, render: Callable[[Shape], Json], told_old: Told = frozenset(), told: Told = frozenset()
    ) -> None:
        bodies = {shape: render(shape) for shape in Shape}
        self.events.append(WorldEvent(self.new_id("evt"), kind, self.now, bodies, told_old, told))

    def tell_customer(self, kind: str, c: o.Customer) -> None:
        """`customer.created`, `.updated`, `.deleted`."""
        self._emit(f"customer.{kind}", lambda shape: s.customer(c, shape))

    def tell_tax_id(self, kind: str, t: o.TaxId) -> None:
        """`customer.tax_id.*`."""
        self._emit(f"customer.tax_id.{kind}", lambda _: s.tax_id(t))

    def tell_product(self, kind: str, p: o.Product) -> None:
        """`product.*`."""
        self._emit(f"product.{kind}", lambda _: s.product(p))

    def tell_price(self, kind: str, p: o.Price) -> None:
        """`price.*`, and `plan.*`, which tells the same change under the older name."""
        self._emit(f"price.{kind}", lambda shape: s.price(p, shape))
        if p.interval:
            self._emit(f"plan.{kind}", lambda shape: s.plan(p, shape))

    def tell_coupon(self, kind: str, c: o.Coupon) -> None:
        """`coupon.*`."""
        self._emit(f"coupon.{kind}", lambda _: s.coupon(c))

    def tell_discount(self, kind: str, d: o.Discount) -> None:
        """`customer.discount.*`."""
        self._emit(f"customer.discount.{kind}", lambda shape: s.discount(d, shape))

    def tell_method(self, kind: str, method: o.PaymentMethod) -> None:
        """`payment_method.*`."""
        self._emit(f"payment_method.{kind}", lambda _: s.payment_method(method))

    def tell_subscription(self, kind: str, sub: o.Subscription) -> None:
        """`customer.subscription.*`."""
        self._emit(f"customer.subscription.{kind}", lambda shape: s.subscription(sub, shape))

    def tell_invoice(self, kind: str, i: o.Invoice) -> None:
        """`invoice.*`; the old shape also says what paid it, and whether that was out of band."""
        told = {("link", i.intent.id, i.id)} if i.intent else set[tuple[str, ...]]()
        told |= {("out_of_band", i.id)} if i.paid_out_of_band else set()
        self._emit(f"invoice.{kind}", lambda shape: m.invoice(i, shape, upcoming=kind == "upcoming"), frozenset(told))

    def tell_invoice_payment(self, p: o.InvoicePayment) -> None:
        """`invoice_payment.paid`."""
        link = ("link", p.intent, p.invoice)
        self._emit("invoice_payment.paid", lambda _: m.invoice_payment(p), told=frozenset({link}))

    def tell_intent(self, kind: str, i: o.Intent) -> None:
        """`payment_intent.*`; the old shape names the invoice."""
        told = frozenset({("link", i.id, i.invoice)}) if i.invoice else frozenset[tuple[str, ...]]()
        self._emit(f"payment_intent.{kind}", lambda shape: m.payment_intent(i, shape), told)

    def tell_charge(self, kind: str, c: o.Charge) -> None:
        """`charge.*`; the old shape names the invoice."""
        told = frozenset({("link", c.intent or c.id, c.invoice)}) if c.invoice else frozenset[tuple[str, ...]]()
        self._emit(f"charge.{kind}", lambda shape: m.charge(c, shape), told)

    def tell_refund(self, kind: str, r: o.Refund) -> None:
        """`refund.*`; an update is told under its older name too."""
        self._emit(f"refund.{kind}", lambda _: m.refund(r))
        if kind == "updated":
            self._emit("charge.refund.updated", lambda _: m.refund(r))

    def tell_dispute(self, kind: str, d: o.Dispute) -> None:
        """`charge.dispute.*`."""
        self._emit(f"charge.dispute.{kind}", lambda _: m.dispute(d))

    def tell_credit_note(self, kind: str, n: o.CreditNote) -> None:
        """`credit_note.*`."""
        self._emit(f"credit_note.{kind}", lambda shape: m.credit_note(n, shape))

    def tell_session(self, kind: str, session: o.Session) -> None:
        """`checkout.session.*`."""
        self._emit(f"checkout.session.{kind}", lambda shape: m.session(session, shape))

    def tell_fraud_warning(self, kind: str, w: o.FraudWarning) -> None:
        """`radar.early_fraud_warning.*`."""
        self._emit(f"radar.early_fraud_warning.{kind}", lambda _: m.fraud_warning(w))

    def retrieve(self, path: str) -> dict[str, Any] | None:
        """What `GET /v1/{path}` answers; None if there is no such object."""
        kind, _, key = path.strip("/").partition("/")
        if kind == "coupons":
            return next((s.coupon(c) for c in self.coupons if c.id == key), None)
        if kind == "prices":
            return next((s.price(p, Shape.NEW) for p in self.prices if p.id == key), None)
        if kind == "subscriptions":
            found = next((x for x in self.subscriptions if x.id == key), None)
            return found and s.subscription(found, Shape.NEW) | {
                "discounts": [s.discount(found.discount, Shape.NEW)] if found.discount else []
            }
        return None
