"""What a document is made of is asked of Stripe afresh and in whole or, without an API key, read from the inbox."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from db import told
from jobs.invoices.from_stripe_parts import rate_ids
from jobs.stripe_objects import Json, Obj, event_from, parse
from worker.deps import Deps
from worker.errors import Refused, TryLater, Unconfigured

COUPONS = "total_discount_amounts.discount.source.coupon"
"""Shown in whole with an invoice, for its name. Payments are shown for what came out of band."""

PAGE = 100
"""As many lines as Stripe gives at once."""

LATE = timedelta(minutes=5)
"""How long we wait, without an API key, for the event that tells which invoice a charge has paid."""


@dataclass(frozen=True, slots=True)
class Source:
    """An object of Stripe's to be documented, and the event that told of it. It is of our own account."""

    kind: str
    """`invoice`, `credit_note`, `receipt` (of a charge) or `outside` (a receipt of an invoice paid out of band)."""
    object_id: str
    event_id: str
    livemode: bool = True


@dataclass(frozen=True, slots=True)
class Material:
    """The object in whole, and the invoice that it is about: itself, for an invoice."""

    json: Json
    invoice: Json | None
    tax_rates: Mapping[str, Json] = field(default_factory=dict[str, Json])

    @property
    def customer(self) -> str | None:
        """Whose document it is, by their id at Stripe."""
        return Obj(self.json, "object").ref("customer") or (
            Obj(self.invoice, "invoice").ref("customer") if self.invoice is not None else None
        )

    @property
    def coupons(self) -> set[str]:
        """The coupons and discounts that it names by id."""
        found: set[str | None] = set()
        for json in (self.json, self.invoice or {}):
            obj = Obj(json, "object")
            entries = [*obj.each("total_discount_amounts"), *obj.each("discount_amounts")]
            for line in obj.each("lines"):
                entries += line.each("discount_amounts")
            for entry in entries:
                source = entry.sub("discount").sub("source")
                found |= {entry.ref("discount"), entry.sub("discount").ref("coupon"), source.ref("coupon")}
        return {name for name in found if name is not None}


async def material(d: Deps, source: Source) -> Material:
    """All that the document needs. Raises TryLater while Stripe is away, Refused when it can never be had."""
    try:
        return await _from_stripe(d, source)
    except Unconfigured:
        return await _from_inbox(d, source)


async def _from_stripe(d: Deps, source: Source) -> Material:
    async def get(path: str, **params: Any) -> Obj:
        return Obj(await d.stripe.retrieve(path, **params), path.partition("/")[0])

    async def whole(path: str, **params: Any) -> Json:
        """An object with all of its lines."""
        found = await get(path, **params)
        if found.complete("lines"):
            return found.json
        lines = list(found.entries("lines"))
        more = True
        while more:
            page = await get(f"{path}/lines", limit=PAGE, starting_after=lines[-1]["id"])
            lines += page.entries("data")
            more = page.flag("has_more") is True and bool(page.entries("data"))
        return {**found.json, "lines": {"object": "list", "data": lines, "has_more": False}}

    async def rates(*about: Json | None) -> dict[str, Json]:
        ids = {name for one in about if one is not None for name in rate_ids(Obj(one, "object"))}
        return {name: (await get(f"tax_rates/{name}")).json for name in sorted(ids)}

    async def invoice(name: str) -> Json:
        return await whole(f"invoices/{name}", expand=[COUPONS, "payments"])

    if source.kind in {"invoice", "outside"}:
        found = await invoice(source.object_id)
        return Material(found, found, await rates(found))
    if source.kind == "credit_note":
        note = await whole(f"credit_notes/{source.object_id}")
        about = (await get(f"invoices/{_about(note)}")).json
        return Material(note, about, await rates(note))
    charge = await get(f"charges/{source.object_id}")
    paid = {"type": "charge", "charge": charge.id()}
    if (intent := charge.ref("payment_intent")) is not None:
        paid = {"type": "payment_intent", "payment_intent": intent}
    payments = await get("invoice_payments", payment=paid, limit=PAGE)
    named = _first([charge.ref("invoice"), *(one.ref("invoice") for one in payments.each("data"))])
    about = await invoice(named) if named is not None else None
    return Material(charge.json, about, await rates(about))


def _first(names: Iterable[str | None]) -> str | None:
    return next((name for name in names if name is not None), None)


def _about(note: Json) -> str:
    name = Obj(note, "credit_note").ref("invoice")
    if name is None:
        raise Refused(f"{Obj(note, 'credit_note').id()} names no invoice: Stripe sent what we cannot read")
    return name


async def _from_inbox(d: Deps, source: Source) -> Material:
    async with d.tx() as tx:
        event = await told.event(tx.conn, source.event_id)
        if event is None:
            raise Refused(f"{source.event_id} is not in the inbox, and STRIPE_SECRET_KEY is not set to ask Stripe")
        json = _shown(event.payload, source)
        if source.kind in {"invoice", "outside"}:
            return Material(json, json)
        obj = Obj(json, source.kind)
        if source.kind == "credit_note":
            named: str | None = _about(json)
        else:
            intent = obj.ref("payment_intent")
            paid = await told.invoice_paid_by(tx.conn, charge=source.object_id, intent=intent)
            named = obj.ref("invoice") or paid
        if named is None and tx.wall - event.received_at < LATE:
            raise TryLater(f"which invoice {source.object_id} paid, if any, is not known yet", after=LATE / 5)
        found = await told.newest_invoice(tx.conn, named, obj.ref("customer")) if named is not None else None
    if found is None and named is not None:
        raise Refused(f"{named} is not in the inbox: set STRIPE_SECRET_KEY for the workers, and retry this job")
    return Material(json, _shown(found.payload, source) if found is not None else None)


def _shown(payload: bytes, source: Source) -> Json:
    """The object in an event."""
    event = event_from(parse(payload), event_id=source.event_id, event_type="", livemode=source.livemode, account="")
    return event.object.json
