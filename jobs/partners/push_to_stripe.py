"""An invoice of ours is written at Stripe too, so that it can be paid by link: one invoice there, over what is due."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from db import collecting, ledger, manual_payments
from db.collecting import MARK, NUMBER, WITHDRAWN, Payer
from db.manual_payments import Standing
from db.states import QueueName
from jobs.spent_keys import with_new_key
from jobs.stripe_objects import Obj
from worker.deps import Deps, Tx
from worker.errors import Held, Refused, TryLater
from worker.registry import job

TRIES = 24
"""The waits between them add up to about seven hours: an outage of Stripe's parks no invoice."""

HOUR = 3600
"""Seconds for which a change has the same idempotency keys. Stripe answers a key as it did at first, for a day
(https://docs.stripe.com/api/idempotent_requests): a try an hour later looks whether it was done, and asks anew."""

LATE = timedelta(hours=1)
"""Stripe wants a due date that is to come; one that is nearer than this is a day from now."""

BEFORE = timedelta(days=1)
"""An invoice at Stripe is looked for from so long before ours was issued: two clocks may differ."""

PAGE = 100
LIVE = frozenset({"draft", "open", "uncollectible"})
OWED = frozenset({"open", "uncollectible"})


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is to be collected at Stripe. `amount` (minor units) is 0 when nothing is, any more."""

    ours: Standing
    payer: Payer
    amount: int
    now: datetime
    salt: str
    """The hour, and how many keys were spent in it: by these idempotency keys differ."""
    known: tuple[str, ...]
    """Stripe's ids of the invoices that we know to collect it, or to have done so."""
    settled: frozenset[str]
    """Of those whose payment is in our books."""


async def stage_push(tx: Tx, invoice_id: int) -> None:
    """Have an invoice of ours collected at Stripe; or what is there made to fit what is due now."""
    await tx.stage(push_to_stripe.call(invoice_id))


async def follow_ours(tx: Tx, invoice_id: int) -> None:
    """An invoice of ours changed: what is collected for it at Stripe follows, if anything is."""
    if any(one.live for one in await collecting.of_ours(tx.conn, invoice_id)):
        await stage_push(tx, invoice_id)


@job(queue=QueueName.BATCH, tries=TRIES, timeout=timedelta(seconds=120))
async def push_to_stripe(d: Deps, invoice_id: int) -> None:
    """Make Stripe collect what is due of an invoice of ours: one invoice there, or none when nothing is due.

    It looks at Stripe before it acts, and each act has an idempotency key of our own id: run twice, at once or after a
    crash at any point, it makes one; what does not fit is withdrawn. Raises Refused when there is no customer at
    Stripe to send it to.
    """
    await with_new_key(partial(_push, d, invoice_id))


async def _push(d: Deps, invoice_id: int, number: int) -> None:
    async with d.tx() as tx:
        wanted = await _wanted(tx, invoice_id, number)
    if wanted.amount and wanted.payer.customer is None:
        raise Refused(
            f"{wanted.ours.number} has no customer at Stripe: give the contract its stripe_customer_id"
            " (`billing partners change`), then retry this job"
        )
    found = await _at_stripe(d, wanted)
    for one in found:
        if one.text("status") == "paid" and one.id() not in wanted.settled:
            raise TryLater(f"{one.id()} was paid at Stripe, and its event is not applied yet")
    fit = next((one for one in found if wanted.amount and _fits(one, wanted.amount)), None)
    for one in found:
        if one is not fit and one.text("status") in LIVE:
            await _withdraw(d, one, salt=wanted.salt)
    if wanted.amount:
        dead = sum(1 for one in found if one is not fit)
        key = f"billing/push/{invoice_id}/{wanted.amount}/{dead}/{wanted.salt}"
        fit = await _finalized(d, wanted, fit or await _draft(d, wanted, key=key), key=key)
    async with d.tx() as tx:
        await _record(tx, wanted, fit)


async def _wanted(tx: Tx, invoice_id: int, number: int) -> _Wanted:
    ours = await manual_payments.standing(tx.conn, invoice_id, lock=False)
    if ours is None:
        raise Refused(f"invoice {invoice_id} is none of ours, or has no number yet: it cannot be collected at Stripe")
    known = await collecting.of_ours(tx.conn, invoice_id)
    return _Wanted(
        ours,
        await collecting.payer(tx.conn, invoice_id),
        ours.remaining if ours.status in OWED else 0,
        tx.now,
        f"{int(tx.wall.timestamp()) // HOUR}.{number}",
        tuple(one.stripe_invoice_id for one in known if one.live or one.status == "paid"),
        frozenset(one.stripe_invoice_id for one in known if one.status == "paid"),
    )


def _left(one: Obj) -> int:
    """What it still asks for, before Stripe's balance of the customer is set off."""
    return one.number("total") - one.number("pre_payment_credit_notes_amount") - one.number("amount_paid")


def _fits(one: Obj, amount: int) -> bool:
    status = one.text("status")
    return (status == "open" and _left(one) == amount) or (status == "draft" and _left(one) in {0, amount})


async def _at_stripe(d: Deps, wanted: _Wanted) -> list[Obj]:
    """The invoices at Stripe that bear our mark, oldest first, and those that we know of.

    Stripe's list is complete at once, its search is not: https://docs.stripe.com/search#data-freshness.
    """
    found: dict[str, Obj] = {}
    if wanted.payer.customer is not None:
        since = int((wanted.payer.finalized_at - BEFORE).timestamp())
        asked: dict[str, Any] = {
            "customer": wanted.payer.customer,
            "collection_method": "send_invoice",
            "created": {"gte": since},
            "limit": PAGE,
        }
        while True:
            page = Obj(await d.stripe.retrieve("invoices", **asked), "invoices")
            rows = list(page.each("data"))
            found |= {one.id(): one for one in rows if _is_of(one, wanted.ours)}
            if page.flag("has_more") is not True or not rows:
                break
            asked["starting_after"] = rows[-1].id()
    for name in wanted.known:
        if name not in found:
            found[name] = Obj(await d.stripe.retrieve(f"invoices/{name}"), "invoice")
    return sorted(found.values(), key=lambda one: (one.number("created"), one.id()))


def _is_of(one: Obj, ours: Standing) -> bool:
    metadata = one.sub("metadata").json
    return metadata.get(MARK) == str(ours.id) and metadata.get(NUMBER) == ours.number


async def _withdraw(d: Deps, one: Obj, *, salt: str) -> None:
    """Nobody is to pay it: a draft is deleted, else it is voided, and bears a mark that we did it."""
    name = one.id()
    path, key = f"invoices/{name}", f"billing/withdraw/{name}/{salt}"
    try:
        if one.text("status") == "draft":
            await d.stripe.act("delete", path, idempotency_key=f"{key}/delete")
            return
        if WITHDRAWN not in one.sub("metadata").json:
            why = {WITHDRAWN: "the invoice that it collected was settled, changed or voided"}
            await d.stripe.act("post", path, idempotency_key=f"{key}/mark", metadata=why)
        await d.stripe.act("post", f"{path}/void", idempotency_key=f"{key}/void")
    except Refused as refused:  # it was paid, finalized or voided in this very moment: look again
        raise TryLater(f"{name} could not be withdrawn: {refused.reason}") from refused


async def _draft(d: Deps, wanted: _Wanted, *, key: str) -> Obj:
    """A draft at Stripe that bears our mark, and nothing on it yet."""
    ours = wanted.ours
    made = await d.stripe.act(
        "post",
        "invoices",
        idempotency_key=f"{key}/invoice",
        customer=wanted.payer.customer,
        currency=ours.currency,
        collection_method="send_invoice",
        auto_advance=False,  # it must not be finalized, by itself, before its line is on it
        pending_invoice_items_behavior="exclude",
        discounts="",  # else the customer's own discount at Stripe would lower it
        description=f"Invoice {ours.number}",
        metadata={NUMBER: ours.number, MARK: str(ours.id)},
        **_due(wanted),
    )
    return Obj(made, "invoice")


async def _finalized(d: Deps, wanted: _Wanted, one: Obj, *, key: str) -> Obj:
    """The invoice at Stripe, open: gone on with where an earlier run of this job stopped."""
    if one.text("status") != "draft":
        return one
    if _left(one) == 0:
        await d.stripe.act(
            "post",
            "invoiceitems",
            idempotency_key=f"{key}/item/{one.id()}",
            customer=one.ref("customer"),
            invoice=one.id(),
            currency=wanted.ours.currency,
            amount=wanted.amount,  # what is due, with its tax: no rate is named, so that none comes on top
            description=f"Invoice {wanted.ours.number}",
            discountable=False,
        )
    seen = Obj(await d.stripe.retrieve(f"invoices/{one.id()}"), "invoice")
    if seen.text("status") == "open" and _left(seen) == wanted.amount:
        return seen  # a twin of this job was first
    if seen.text("status") != "draft" or _left(seen) != wanted.amount:
        raise TryLater(f"{one.id()} is {seen.text('status')} over {_left(seen)}, and not {wanted.amount}: look again")
    try:
        final = await d.stripe.act(
            "post", f"invoices/{one.id()}/finalize", idempotency_key=f"{key}/finalize/{one.id()}", auto_advance=True
        )
    except Refused as refused:  # a twin of this job was first
        seen = Obj(await d.stripe.retrieve(f"invoices/{one.id()}"), "invoice")
        if seen.text("status") == "draft":
            raise
        raise TryLater(f"{one.id()} was finalized by another: look again") from refused
    return Obj(final, "invoice")


def _due(wanted: _Wanted) -> Mapping[str, int]:
    due = wanted.payer.due_date
    if due is not None and due > wanted.now + LATE:
        return {"due_date": int(due.timestamp())}
    return {"days_until_due": 1}


async def _record(tx: Tx, wanted: _Wanted, fit: Obj | None) -> None:
    """Note where ours can be paid. What changed meanwhile is followed by another run."""
    if fit is not None:
        if await ledger.try_lock(tx.conn, {fit.id()}) != {fit.id()}:
            raise Held("an event of the invoice at Stripe is being applied", after=timedelta(seconds=1))
        live = bool(fit.flag("livemode"))
        await collecting.know(tx.conn, fit.id(), wanted.ours.id, livemode=live, now=tx.now)
    ours = await manual_payments.standing(tx.conn, wanted.ours.id)
    assert ours is not None, "what was issued is never removed"
    left = ours.remaining if ours.status in OWED else 0
    await collecting.payable_at(
        tx.conn, ours.id, fit.link("hosted_invoice_url") if fit is not None and left else None, now=tx.now
    )
    if left and left != wanted.amount:
        await stage_push(tx, ours.id)


@job(queue=QueueName.BATCH, tries=1)
async def look_into_collection(d: Deps, invoice_id: int, stripe_invoice_id: str, why: str) -> None:
    """Something happened at Stripe that only a person can put right: this job is parked with what, for operators.

    Raises Refused, always.
    """
    del d, invoice_id, stripe_invoice_id
    raise Refused(f"{why}; then cancel this job (`billing jobs cancel`)")


def reasons(one: collecting.Collecting, ours: Standing) -> Sequence[str]:
    """What a person must look into, now that an invoice at Stripe stands so, and ours so."""
    name, what = one.stripe_invoice_id, "deleted" if one.deleted else one.status or ""
    if one.withdrawn or ours.status not in OWED:
        return []
    if one.deleted or one.status in {"void", "uncollectible"}:
        said = (
            f"{name}, which collects {ours.number}, is {what} at Stripe, and {ours.number} is still open: have it"
            f" collected again (`billing invoices push {ours.number}`), or void or credit it here"
        )
        return [said]
    if one.status == "paid":
        said = (
            f"{name} was paid at Stripe, but {ours.remaining} minor units of {ours.number} are still open (a credit"
            " note, or an amount too small to charge, at Stripe): record a payment or write a credit note here"
        )
        return [said]
    return []
