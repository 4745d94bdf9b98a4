"""What is asked of Stripe about an object that is looked at afresh: itself, and all that is derived with it."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from db.ledger import Row
from jobs.reconciliation.answers import Part, Snapshot
from jobs.reconciliation.lists import FIRST_WAIT, LONGEST_WAIT, ROWS, TRIES, on_behalf
from jobs.stripe_objects import Obj, moment, parse
from worker.backoff import delay
from worker.deps import Deps
from worker.errors import Refused, TryLater

NOT_FOUND = 404
"""HTTP: Stripe does not know the object, or this key may not see it."""

SOON_OVER = 3 * 86_400
"""Seconds ahead of a trial's end at which Stripe tells of it."""


class Missing(Exception):  # noqa: N818 - an answer, not an error
    """Stripe does not have the object."""


@dataclass(frozen=True, slots=True)
class Ask:
    """Asks Stripe about objects of one account; outside of any transaction."""

    d: Deps
    account: str

    async def one(self, path: str, **params: Any) -> Obj:
        """An object. Raises Missing, TryLater, Refused."""
        tries = 0
        while True:
            tries += 1
            try:
                found = parse(await self.d.stripe.read(path, **params, **on_behalf(self.account)))
            except TryLater as later:
                if tries >= TRIES:
                    raise
                wait = later.after or delay(tries, 0.5 + random.random() / 2, base=FIRST_WAIT, cap=LONGEST_WAIT)  # noqa: S311 - spreads retries, guards nothing
                await asyncio.sleep(wait.total_seconds())
            except Refused as error:
                if getattr(error.__cause__, "http_status", None) == NOT_FOUND:
                    raise Missing(path) from error
                raise
            else:
                return Obj(found, str(found.get("object") or path.partition("/")[0]))

    async def all(self, path: str, **params: Any) -> list[Obj]:
        """A whole list."""
        found: list[Obj] = []
        while True:
            after = {"starting_after": found[-1].id()} if found else {}
            page = await self.one(path, **params, **after, limit=ROWS)
            rows = list(page.each("data"))
            found += [Obj(row.json, str(row.json.get("object"))) for row in rows]
            if not rows or page.flag("has_more") is not True:
                return found


Fetch: TypeAlias = Callable[[Ask, str, int], Awaitable[Snapshot]]
"""Asks for an object by its id; the number is the moment of the look, in Stripe's seconds. Raises Missing."""


async def _charge(ask: Ask, name: str, _: int) -> Snapshot:
    found = Snapshot()
    charge = await ask.one(f"charges/{name}", expand=EXPANDED)
    await _add_charge(ask, found, charge)
    if (intent := charge.ref("payment_intent")) is not None:
        await _add_links(ask, found, intent)
    return found


async def _add_links(ask: Ask, found: Snapshot, intent: str) -> None:
    """Which invoice the intent is for: neither of the two shows it."""
    payment = {"type": "payment_intent", "payment_intent": intent}
    links = await ask.all("invoice_payments", payment=payment)
    found.parts += [Part("invoice_payment.paid", one) for one in links]
    found.links[intent] = {(invoice, intent) for one in links if (invoice := one.ref("invoice")) is not None}


EXPANDED = ["balance_transaction", "refunds", "payment_intent"]
"""What is shown in whole with a charge."""


async def _add_charge(ask: Ask, found: Snapshot, charge: Obj) -> None:
    """A charge with all that its payment is derived from: intent, refunds, disputes."""
    name = charge.id()
    if name in found.ids("charge"):
        return
    intent = charge.sub("payment_intent")
    if "status" in intent:
        _add_intent(found, intent)
    charge = await _booked(ask, charge)
    found.parts.append(Part("charge.updated", charge))
    found.customer = found.customer or charge.ref("customer")
    refunds = [Obj(one.json, "refund") for one in charge.each("refunds")]
    if charge.complete("refunds") is False:
        refunds = await ask.all("refunds", charge=name)
    for refund in refunds:
        await _add_refund(ask, found, refund)
    disputes = await ask.all("disputes", charge=name) if charge.flag("disputed") else []
    for dispute in disputes:
        _add_dispute(found, dispute)
    if charge.text("status") == "succeeded":
        found.follows.append(Part("charge.succeeded", charge, charge.integer("created"), new=True))
    if charge.number("amount_refunded"):
        found.follows.append(
            Part("charge.refunded", charge, max((one.number("created") for one in refunds), default=None))
        )
    found.follows.append(Part("charge.updated", charge))


async def _booked(ask: Ask, charge: Obj) -> Obj:
    """The charge with all that Stripe booked of it: it shows one row, and several captures make one each.

    https://docs.stripe.com/payments/multicapture
    """
    shown = charge.sub("balance_transaction")
    several = charge.sub("payment_method_details").sub("card").sub("multicapture").text("status") == "available"
    alike = shown.text("currency") == charge.text("currency")
    part = alike and "amount_captured" in charge and shown.integer("amount") != charge.integer("amount_captured")
    if "fee" not in shown or not (several or part):
        return charge
    every = await ask.all("balance_transactions", source=charge.id())
    rows = [one for one in every if one.text("type") in {"charge", "payment"}]
    if not rows:
        return charge
    sums = {name: sum(one.number(name) for one in rows) for name in ("fee", "net")}
    return Obj({**charge.json, "balance_transaction": {**shown.json, **sums}}, charge.name)


def _add_intent(found: Snapshot, intent: Obj) -> None:
    found.parts.append(Part("payment_intent.processing", Obj(intent.json, "payment_intent")))
    found.customer = found.customer or intent.ref("customer")


async def _add_refund(ask: Ask, found: Snapshot, refund: Obj) -> None:
    name = refund.id()
    if any(part.object.ref("id") == name for part in found.parts):
        return
    if refund.ref("failure_balance_transaction") is not None:
        booked = refund.sub("failure_balance_transaction")
        if "created" not in booked:
            booked = await ask.one(f"balance_transactions/{refund.ref('failure_balance_transaction')}")
        if (at := booked.time("created")) is not None:
            found.own["refunds", (name,)] = {"failed_at": at}
    found.parts.append(Part("refund.updated", refund))
    found.follows.append(Part("refund.updated", refund))


SETTLED = frozenset({"won", "lost", "warning_closed", "prevented", "charge_refunded"})
"""States in which a dispute is closed: https://docs.stripe.com/api/disputes/object."""


def _add_dispute(found: Snapshot, dispute: Obj) -> None:
    """When the bank took the money, and gave it back, is told by what was booked."""
    name = dispute.id()
    if any(part.object.ref("id") == name for part in found.parts):
        return
    booked = [(one.number("amount"), one.number("created")) for one in dispute.each("balance_transactions")]
    taken = min((at for amount, at in booked if amount < 0), default=None)
    back = min((at for amount, at in booked if amount > 0), default=None)
    own: Row = {}
    if taken is not None:
        own["funds_withdrawn_at"] = moment(taken)
    if back is not None:
        own["funds_reinstated_at"] = moment(back)
        if dispute.text("status") in SETTLED:
            own["closed_at"] = moment(back)
    if own:
        found.own["disputes", (name,)] = own
    found.parts.append(Part("charge.dispute.updated", dispute))
    closed = dispute.text("status") in SETTLED
    told = "charge.dispute.closed" if closed else "charge.dispute.created"
    found.follows.append(Part(told, dispute, back if closed else dispute.integer("created")))


async def _refund(ask: Ask, name: str, at: int) -> Snapshot:
    refund = await ask.one(f"refunds/{name}")
    found = await _of_payment(ask, refund, at)
    await _add_refund(ask, found, refund)
    return found


async def _dispute(ask: Ask, name: str, at: int) -> Snapshot:
    dispute = await ask.one(f"disputes/{name}")
    found = await _of_payment(ask, dispute, at)
    _add_dispute(found, dispute)
    return found


async def _of_payment(ask: Ask, obj: Obj, at: int) -> Snapshot:
    """The charge that a refund or a dispute is of; very old ones may not have been kept."""
    charge, intent = obj.ref("charge"), obj.ref("payment_intent")
    try:
        if charge is not None:
            return await _charge(ask, charge, at)
        return await _payment_intent(ask, intent, at) if intent is not None else Snapshot()
    except Missing:
        return Snapshot()


async def _payout(ask: Ask, name: str, _: int) -> Snapshot:
    return Snapshot([Part("payout.updated", await ask.one(f"payouts/{name}"))])


async def _payment_intent(ask: Ask, name: str, _: int) -> Snapshot:
    found = Snapshot()
    _add_intent(found, await ask.one(f"payment_intents/{name}"))
    await _add_attempts(ask, found, name)
    await _add_links(ask, found, name)
    return found


async def add_attempts(ask: Ask, found: Snapshot, intent: str) -> None:
    """An intent that is not in it yet, and all of its attempts; nothing when Stripe does not have it."""
    try:
        if intent not in found.ids("payment_intent"):
            _add_intent(found, await ask.one(f"payment_intents/{intent}"))
        await _add_attempts(ask, found, intent)
    except Missing:
        return


async def _add_attempts(ask: Ask, found: Snapshot, intent: str) -> list[Obj]:
    """Every attempt of an intent, those that failed too: nothing else at Stripe names them all."""
    inside = [f"data.{name}" for name in ("balance_transaction", "refunds")]
    charges = await ask.all("charges", payment_intent=intent, expand=inside)
    for charge in charges:
        await _add_charge(ask, found, charge)
    return charges


async def _invoice(ask: Ask, name: str, _: int) -> Snapshot:
    """An invoice with what paid it, or was to pay it."""
    invoice = await ask.one(f"invoices/{name}", expand=["payments.data.payment.payment_intent"])
    found = Snapshot(customer=invoice.ref("customer"))
    found.parts.append(Part("invoice.updated", invoice))
    payments = list(invoice.each("payments"))
    if invoice.complete("payments") is False:
        payments = await ask.all("invoice_payments", invoice=name)
        found.parts += [Part("invoice_payment.paid", one) for one in payments if one.text("status") == "paid"]
    paid = [one.sub("payment") for one in payments]
    by = [one.ref("payment_intent") or one.ref("charge") or one.ref("payment_record") for one in paid]
    found.links[name] = {(name, one) for one in by if one is not None}
    charges: list[Obj] = []
    for payment in payments:
        intent, charge = payment.sub("payment").ref("payment_intent"), payment.sub("payment").ref("charge")
        if "status" in payment.sub("payment").sub("payment_intent"):
            _add_intent(found, payment.sub("payment").sub("payment_intent"))
        if intent is not None:
            charges += await _add_attempts(ask, found, intent)
        elif charge is not None:
            await _add_charge(ask, found, await ask.one(f"charges/{charge}", expand=EXPANDED))
    failed = [one.number("created") for one in charges if one.text("status") == "failed"]
    _tell_invoice(found, invoice, max(failed, default=None))
    return found


_TOLD_AS = {"paid": "invoice.paid", "void": "invoice.voided", "uncollectible": "invoice.marked_uncollectible"}
_SINCE = {"paid": "paid_at", "void": "voided_at", "uncollectible": "marked_uncollectible_at"}


def _tell_invoice(found: Snapshot, invoice: Obj, failed_at: int | None) -> None:
    """An attempt that failed is dated by its charge: it failed the invoice's payment only if Stripe counts attempts."""
    status, moments = invoice.text("status") or "draft", invoice.sub("status_transitions")
    failed = failed_at is not None and invoice.number("attempt_count") > 0
    if failed and failed_at is not None:
        found.own["invoices", (invoice.id(),)] = {"payment_failed_at": moment(failed_at)}
    if (finalized := moments.integer("finalized_at")) is not None:
        found.follows.append(Part("invoice.finalized", invoice, finalized, new=True))
    told = _TOLD_AS.get(status, "invoice.updated")
    if failed and status == "open":
        found.follows.append(Part("invoice.payment_failed", invoice, failed_at))
    found.follows.append(Part(told, invoice, moments.integer(_SINCE.get(status, ""))))


async def _subscription(ask: Ask, name: str, at: int) -> Snapshot:
    """One that is over is told as of its end, too: that is when it left the history of states."""
    obj = await ask.one(f"subscriptions/{name}")
    found = Snapshot(customer=obj.ref("customer"))
    over = obj.text("status") == "canceled"
    told = "customer.subscription.deleted" if over else "customer.subscription.updated"
    ended = obj.integer("ended_at")
    if over and ended is not None and ended < at:
        found.parts.append(Part(told, obj, ended))
    found.parts.append(Part(told, obj))
    found.follows.append(Part(told, obj, ended if over else None))
    if obj.text("status") == "trialing" and 0 < obj.number("trial_end") - at <= SOON_OVER:
        found.follows.append(Part("customer.subscription.trial_will_end", obj))
    return found


async def _credit_note(ask: Ask, name: str, _: int) -> Snapshot:
    obj = await ask.one(f"credit_notes/{name}")
    told = "credit_note.voided" if obj.text("status") == "void" else "credit_note.updated"
    made = Part("credit_note.created", obj, obj.integer("created"), new=True)
    return Snapshot([Part(told, obj)], [made, Part(told, obj)], customer=obj.ref("customer"))


async def _customer(ask: Ask, name: str, _: int) -> Snapshot:
    obj = await ask.one(f"customers/{name}")
    if obj.flag("deleted"):
        gone = Part("customer.deleted", obj)
        return Snapshot([gone], [gone], customer=name)
    made = Part("customer.created", obj, obj.integer("created"), new=True)
    return Snapshot([Part("customer.updated", obj)], [made, Part("customer.updated", obj)], customer=name)


@dataclass(frozen=True, slots=True)
class Kind:
    """An object that can be looked at: the table of our copies, and how Stripe is asked."""

    table: str
    fetch: Fetch


KINDS: Mapping[str, Kind] = {
    "charge": Kind("charges", _charge),
    "refund": Kind("refunds", _refund),
    "dispute": Kind("disputes", _dispute),
    "payout": Kind("payouts", _payout),
    "invoice": Kind("invoices", _invoice),
    "subscription": Kind("subscriptions", _subscription),
    "credit_note": Kind("credit_notes", _credit_note),
    "payment_intent": Kind("payment_intents", _payment_intent),
    "customer": Kind("users", _customer),
}
"""By Stripe's name of the object."""


async def add_customer(ask: Ask, found: Snapshot) -> None:
    """The customer in whole, of whom only the name is known here."""
    if found.customer is None:
        return
    try:
        more = await _customer(ask, found.customer, 0)
    except Missing:
        return
    found.parts[:0] = more.parts
    found.follows[:0] = more.follows
