"""An object on which the books and Stripe seem to differ is asked for afresh: that decides, and mends.

What Stripe says is told to the books by the same readers, merged and derived under the same locks as an event. The
changes that this makes are the differences; to mend them is to commit. So what is found, what a dry run shows and what
a repair does are one thing, and a second look finds nothing.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from db import snapshots, subscriptions
from db.ledger import Address, Fact, Row
from db.operators.actions import Actor, write_audit
from db.states import DifferenceClass
from jobs.derive import payments, worth
from jobs.derive.books import Entry, enter, hold
from jobs.events.apply import facts_of, read
from jobs.follow import follow
from jobs.mrr.mend import stage_wanted
from jobs.reconciliation.answers import Link, Snapshot
from jobs.reconciliation.found import Difference, Looked, Stripe, Suspect
from jobs.reconciliation.lists import newest
from jobs.reconciliation.snapshot_columns import Beside, amount_of, beside, differences, lowered
from jobs.reconciliation.snapshot_guard import Newer, Versions, check, refuse_others
from jobs.reconciliation.snapshot_kinds import KINDS, Ask, Missing, add_attempts, add_customer
from jobs.rules.versions import SEEN_AT
from worker.deps import Deps, Tx
from worker.errors import Held, Refused

__all__ = ["KINDS", "look"]

TRIES = 5
"""How often an object is looked at, when a worker holds it or it changes meanwhile, before it waits."""

A_MOMENT = 0.2
"""Seconds until another worker may be done with the object."""

WHO = "reconciliation"
"""Who repairs, in the audit log."""

AUDITED = 100
"""Differences that a row of the audit log names at most."""

COPIES = frozenset(
    {
        "charges",
        "refunds",
        "disputes",
        "payouts",
        "payment_intents",
        "invoices",
        "invoice_payments",
        "credit_notes",
        "subscriptions",
        "users",
    }
)
"""Tables whose rows a fresh answer puts right whatever they say; rows shared by customers only follow the rule."""

INTENT = "stripe_payment_intent_id"
BOOKED = (INTENT, "stripe_fee_cents", "net_amount_cents", "settlement_currency")
"""Columns that only grow as events come in, but that a fresh answer knows better."""


class _Undone(Exception):  # noqa: N818 - how a transaction is left without a trace
    """Nothing is to be committed."""

    def __init__(self, looked: Looked) -> None:
        super().__init__()
        self.looked = looked


@dataclass(frozen=True, slots=True)
class _Order:
    """What is to be done about one suspect."""

    suspect: Suspect
    repairs: frozenset[DifferenceClass]
    dry_run: bool
    run_id: int | None
    known: Versions = field(default_factory=Versions)
    """Rows as they were seen here before Stripe was asked: what they tell, the answer knows too."""

    @property
    def name(self) -> str:
        """Who tells the books, where an event's id would stand."""
        return WHO if self.run_id is None else f"{WHO}:{self.run_id}"

    def mends(self, found: Sequence[Difference]) -> bool:
        """Whether all that was found may be put right; what is no difference goes along."""
        return not self.dry_run and bool(self.repairs) and {one.class_ for one in found} <= self.repairs


async def look(
    d: Deps,
    stripe: Stripe,
    suspect: Suspect,
    *,
    repairs: frozenset[DifferenceClass],
    dry_run: bool,
    run_id: int | None,
) -> Looked:
    """Ask Stripe for an object, and tell in what the books differ from the answer.

    With `repairs` that have every class that was found, the books then say what Stripe says, letters and dunning follow
    as they follow an event, and the audit log tells; else nothing is changed. Without a difference only what is no
    difference is mended along, such as a fee that was not known yet. Raises TryLater when Stripe is away, Refused when
    the kind is unknown or the key may not read it, Malformed when an answer cannot be read.
    """
    if suspect.kind not in KINDS:
        raise Refused(f"{suspect.kind} {suspect.object_id} cannot be looked at: known are {', '.join(KINDS)}")
    order = _Order(suspect, repairs, dry_run, run_id)
    why = "other workers are at it: look again later"
    found: Snapshot | None = None
    for attempt in range(TRIES):
        if attempt:
            await asyncio.sleep(A_MOMENT * attempt)
        try:
            found = found or await _ask(d, Ask(d, stripe.account), stripe, suspect)
            return await _compare(d, stripe, order, found)
        except Missing:
            return await _absent(d, stripe, suspect)
        except Held:
            continue  # the answer stays as good as it was
        except Newer as error:
            why, found = str(error), None
            stripe = await newest(d, stripe.account)
    return Looked(suspect, waits=why)


async def _ask(d: Deps, ask: Ask, stripe: Stripe, suspect: Suspect) -> Snapshot:
    """What Stripe says of the suspect, of its customer where only the name is known here, and of its other attempts.

    The attempts of one intent are derived together: one that were not asked for would be told as Stripe's word, though
    it came from a copy of ours that may be as wrong.
    """
    found = await KINDS[suspect.kind].fetch(ask, suspect.object_id, int(stripe.as_of.timestamp()))
    charges, intents = found.ids("charge"), found.ids("payment_intent")
    known, others = True, set[str]()
    async with d.tx() as tx:
        if found.customer is not None and suspect.kind != "customer":
            known = await snapshots.knows_customer(tx.conn, found.customer)
        if charges or intents:
            others = await snapshots.attempted(tx.conn, intents=intents, charges=charges)
    if not known:
        await add_customer(ask, found)
    for intent in sorted(others | found.retried()):
        await add_attempts(ask, found, intent)
    return found


async def _absent(d: Deps, stripe: Stripe, suspect: Suspect) -> Looked:
    """Stripe does not have it. That is never mended by itself: a wrong key would empty the books."""
    async with d.tx() as tx:
        row = await snapshots.here(tx.conn, KINDS[suspect.kind].table, suspect.object_id)
        if row is None or row.get("deleted_at") is not None:
            return Looked(suspect)
        refuse_others(stripe, suspect.kind, suspect.object_id, row)
        customer = row.get("stripe_customer_id")
        waiting = await snapshots.pending(tx.conn, customer=customer, objects=[suspect.object_id])
    if waiting is not None:
        return Looked(suspect, waits=_waits_for(waiting))
    one = Difference(
        suspect.kind,
        suspect.object_id,
        DifferenceClass.MISSING_THERE,
        "",
        amount_of(row),
        None,
        row.get("currency"),
    )
    return Looked(suspect, (one,))


def _waits_for(event: tuple[str, str]) -> str:
    name, type_ = event
    return f"the event {name} ({type_}) is not applied yet"


@dataclass(slots=True)
class _Look:
    """One look inside its transaction."""

    tx: Tx
    stripe: Stripe
    order: _Order
    found: Snapshot
    entry: Entry
    subscriptions: list[str] = field(default_factory=list[str])
    links: set[Link] = field(default_factory=set[Link])
    """Payments that the books join to invoices, and Stripe does not."""

    @property
    def as_of(self) -> int:
        """The moment of the answer, in Stripe's seconds."""
        return int(self.stripe.as_of.timestamp())

    async def held(self) -> snapshots.Held:
        """How the books stand at this point of the transaction."""
        addresses: set[Address] = {fact.address for fact in self.entry.facts if fact.table in COPIES}
        addresses |= {("invoice_payments", link) for link in self.links}
        return await snapshots.read(
            self.tx.conn, addresses, payments=self.entry.payments, subscriptions=self.subscriptions
        )


async def _compare(d: Deps, stripe: Stripe, order: _Order, found: Snapshot) -> Looked:
    try:
        async with d.tx() as tx:
            return await _enter(tx, stripe, order, found)
    except _Undone as undone:
        return undone.looked


async def _enter(tx: Tx, stripe: Stripe, order: _Order, found: Snapshot) -> Looked:
    """Tell the books, and see what that changes. Raises Held, Newer, and _Undone when nothing may be committed."""
    suspect = order.suspect
    facts = found.facts(stripe, order.name)
    entry = Entry(order.name, facts)
    entry.payments |= await snapshots.payments_of(tx.conn, [suspect.object_id])
    links = found.too_many(await snapshots.links(tx.conn, found.links))
    entry.payments |= {payment for _, payment in links}
    entry.ids |= entry.payments | {invoice for invoice, _ in links}
    if not await hold(tx.conn, [entry]):
        raise Held(f"another worker is at {suspect.kind} {suspect.object_id}")
    names = sorted({fact.key[0] for fact in facts if fact.table == "subscriptions"})
    one = _Look(tx, stripe, order, found, entry, names, links)
    before = await one.held()
    over = {address for address, row in before.copies.items() if row.get("status") == "canceled"}
    entry.facts = [fact for fact in facts if fact.address not in over or fact.version[1:2] == (one.as_of,)]
    await _prepare(one, before.copies)
    await snapshots.unlink(tx.conn, links)
    wanted = await enter(tx, [entry])
    more = await _derive(one)
    after = await one.held()
    found_all = differences(before, after)
    told, others = await _told(tx, found_all), beside(before, after, found_all)
    if told and (why := await _waits(one)) is not None:
        raise _Undone(Looked(suspect, waits=why))
    if not order.mends(told) or (others and not told):
        raise _Undone(Looked(suspect, told))
    await stage_wanted(tx, wanted, [entry])
    await stage_wanted(tx, more, [entry])
    await _follow(one, told)
    if told:
        await _audit(one, told, others)
    return Looked(suspect, told, mended=bool(told))


async def _told(tx: Tx, found: Sequence[Difference]) -> tuple[Difference, ...]:
    """What is told of what was found: all but what Stripe never tells."""
    named = {one.object_id for one in found if one.field == "amount_cents"}
    credited = await snapshots.credited(tx.conn, named) if named else {}
    return tuple(one for one in found if not lowered(one, credited))


async def _prepare(one: _Look, copies: Mapping[Address, Row]) -> None:
    """Let the answer win over copies that are not newer than it, whatever was done to them.

    An event's version may outrank the answer's within one second, or by a state that nothing leaves; and some columns
    only grow. Yet the answer was given after all of that, which is checked first. What earlier events told of rows that
    are gone is told again.
    """
    check(one.stripe, one.entry.facts, copies, one.links, one.order.known)
    sticky: dict[Address, Row] = {}
    newer: dict[Address, Fact] = {}
    for fact in one.entry.facts:
        if fact.table not in COPIES:
            continue
        row = copies.get(fact.address)
        if row is None or not fact.version or fact.version[SEEN_AT] != one.as_of:
            continue
        newer[fact.address] = fact
        if fact.table == "charges" and fact.sticky.get("stripe_fee_cents") is None:
            await snapshots.unbook(one.tx.conn, fact.key[0])
        sticky[fact.address] = _wrong(fact, row)
    for address, fact in sorted(newer.items(), key=lambda each: str(each[0])):
        values = dict(sticky[address])
        if copies[address]["version"] > fact.version:
            values["version"] = ()
        if values:
            await snapshots.put(one.tx.conn, address, values)
    await _tell_again(one, copies)


def _wrong(fact: Fact, row: Row) -> Row:
    """The columns that only grow as events come in, but that the answer knows better; as they must be."""
    told = fact.sticky
    columns = BOOKED if fact.table == "charges" else ()
    wrong = {name: told[name] for name in columns if name in told and told[name] != row[name]}
    overpaid = "amount_overpaid_cents"
    if told.get(overpaid) is not None and told[overpaid] != row[overpaid]:
        wrong[overpaid] = told[overpaid]
    if wrong.get(INTENT, "") is None:  # a charge does not lose its intent: the shape does not show it
        del wrong[INTENT]
    if row["deleted_at"] is not None and "deleted_at" not in told:
        wrong["deleted_at"] = None
    return wrong


async def _tell_again(one: _Look, copies: Mapping[Address, Row]) -> None:
    """Rows that are missing here may have been there: what the inbox still holds of them tells when things happened."""
    gone = {fact.address for fact in one.entry.facts if fact.table in COPIES and fact.version} - copies.keys()
    if not gone:
        return
    names = {str(part) for _, key in gone for part in key}
    more: list[Fact] = []
    for event in await snapshots.told(one.tx.conn, customer=one.found.customer, objects=names):
        with suppress(Exception):  # an event that a reader of today refuses tells nothing
            seen = read(event)
            more += [] if seen is None else [fact for fact in facts_of(seen) if fact.address in gone]
    one.entry.facts = [*one.entry.facts, *(Fact(fact.table, fact.key, sticky=fact.sticky) for fact in more)]


async def _derive(one: _Look) -> worth.Wanted:
    """Derive anew what is ours, though the copies did not change: it may be our rows that are wrong."""
    conn, now = one.tx.conn, one.tx.now
    names = one.entry.payments
    if names:
        await payments.derive(conn, intents=names, charges=names, now=now)
    if not one.subscriptions:
        return worth.Wanted()
    rows = await subscriptions.affected(conn, repriced=(), subscriptions=one.subscriptions, changed=())
    for row in rows:
        name = row["stripe_subscription_id"]
        await subscriptions.write_items(conn, worth.item_rows(row), shrunk=[name])
        await snapshots.drop_same_state(conn, name, as_of=one.stripe.as_of, now=now)
    _, wanted = await worth.derive(conn, rows=rows, new_states=(), whole=one.subscriptions, now=now)
    return wanted


async def _waits(one: _Look) -> str | None:
    """Why nothing is said of the differences yet: an event that may explain them is in the inbox."""
    objects = {one.order.suspect.object_id} | one.found.names()
    waiting = await snapshots.pending(one.tx.conn, customer=one.found.customer, objects=objects)
    return None if waiting is None else _waits_for(waiting)


async def _follow(one: _Look, told: Sequence[Difference]) -> None:
    """Letters and dunning hear of what changed, with the times that the objects tell; of nothing else."""
    changed = {difference.object_id for difference in told}
    if told:
        changed.add(one.order.suspect.object_id)
    arrived = {difference.object_id for difference in told if difference.class_ is DifferenceClass.MISSING_HERE}
    arrived |= {difference.object_id for difference in told if difference.field == "status"}
    events = [
        part.event(one.stripe, one.order.name)
        for part in one.found.follows
        if part.object.ref("id") in (arrived if part.new else changed)
    ]
    await follow(one.tx, events)
    refunds = [str(fact.key[0]) for fact in one.entry.facts if fact.table == "refunds"]
    if refunds:
        await snapshots.date_letters(one.tx.conn, refunds)


async def _audit(one: _Look, told: Sequence[Difference], others: Sequence[Beside]) -> None:
    details: dict[str, Any] = {
        "run": one.order.run_id,
        "differences": [
            {
                "kind": each.kind,
                "object": each.object_id,
                "class": each.class_.value,
                "field": each.field,
                "here": each.here,
                "there": each.there,
            }
            for each in told[:AUDITED]
        ],
    }
    if others:
        details["beside"] = [asdict(each) for each in others[:AUDITED]]
    target = f"{one.order.suspect.kind} {one.order.suspect.object_id}"
    await write_audit(one.tx.conn, Actor(WHO), "reconciliation.repair", target, now=one.tx.now, details=details)
