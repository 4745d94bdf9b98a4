"""What a subscription is worth is mended: when its coupon becomes known, changes, or a discount runs out."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from db import ledger, subscriptions
from db.states import QueueName
from jobs.derive import worth
from jobs.derive.books import Entry, enter, hold, last_about
from jobs.derive.worth import Wanted
from jobs.events.catalog import coupon as read_coupon
from jobs.events.discount import discount_facts
from jobs.stripe_objects import Obj, StripeEvent
from worker.deps import Deps, Tx
from worker.errors import Held
from worker.registry import Call, job

PAGE = 100
"""Subscriptions that one run looks at before it stages the next page: a run stays short, whatever a coupon's reach."""


@job(queue=QueueName.BATCH)
async def fetch_coupon(d: Deps, coupon: str, account: str, livemode: bool) -> None:  # noqa: FBT001 - a job's arguments have names
    """A discount named a coupon that never came by an event: Stripe is asked for it."""
    found = await d.stripe.retrieve(f"coupons/{coupon}", **_for(account))
    async with d.tx() as tx:
        event = _seen_now(tx, "coupon.updated", found, account=account, livemode=livemode)
        entry = Entry(event.id, list(read_coupon(event)))
        wanted = await _enter(tx, entry)
        # Whoever asked for the coupon measured without it, even if it came by its own event meanwhile.
        remeasured = {(coupon, account, livemode): f"fetched.{int(tx.now.timestamp())}"}
        await stage_wanted(tx, replace(wanted, remeasured=remeasured), [entry])


@job(queue=QueueName.BATCH)
async def fetch_discounts(d: Deps, subscription: str, account: str, livemode: bool) -> None:  # noqa: FBT001 - a job's arguments have names
    """A subscription named discounts by id only: Stripe is asked what they are."""
    # The coupon of an item lies a level deeper than Stripe expands: https://docs.stripe.com/expand#limits.
    expand = ["discounts.source.coupon", "items.data.discounts"]
    found = await d.stripe.retrieve(f"subscriptions/{subscription}", expand=expand, **_for(account))
    async with d.tx() as tx:
        event = _seen_now(tx, "customer.subscription.updated", found, account=account, livemode=livemode)
        obj = event.object
        facts = [
            fact
            for holder in (obj, *obj.each("items"))
            for discount in holder.each("discounts")
            for fact in discount_facts(event, discount, stripe_customer_id=obj.ref("customer"))
        ]
        entry = Entry(event.id, facts)
        await stage_wanted(tx, await _enter(tx, entry), [entry])


@job(queue=QueueName.BATCH)
async def measure_subscription(d: Deps, subscription: str) -> None:
    """A discount of the subscription has run out: it is worth more from now on."""
    async with d.tx() as tx:
        rows = await subscriptions.affected(tx.conn, repriced=(), subscriptions=[subscription], changed=())
        for row in rows:
            await _measure(tx, subscription, row["stripe_customer_id"], whole=False)


@job(queue=QueueName.BATCH)
async def measure_coupon(d: Deps, coupon: str, account: str, livemode: bool, after: str = "") -> None:  # noqa: FBT001 - a job's arguments have names
    """A coupon changed or became known: all subscriptions that it lowers are measured, each under its own locks."""
    async with d.tx() as tx:
        page = await subscriptions.with_coupon(
            tx.conn, coupon=coupon, account=account, livemode=livemode, after=after, limit=PAGE
        )
    for name, customer in page:
        async with d.tx() as tx:
            await _measure(tx, name, customer, whole=True)
    if len(page) == PAGE:
        async with d.tx() as tx:
            await tx.stage(measure_coupon.call(coupon=coupon, account=account, livemode=livemode, after=page[-1][0]))


def _for(account: str) -> dict[str, str]:
    return {"stripe_account": account} if account else {}


def _seen_now(tx: Tx, event_type: str, found: dict[str, object], *, account: str, livemode: bool) -> StripeEvent:
    """An answer of Stripe's API, read like an event of this moment."""
    name = event_type.rpartition(".")[0]
    return StripeEvent(f"api:{event_type}", event_type, int(tx.now.timestamp()), livemode, account, Obj(found, name))


async def _enter(tx: Tx, entry: Entry) -> Wanted:
    if not await hold(tx.conn, [entry]):
        raise Held("another worker is at work on the same customer", after=timedelta(seconds=1))
    return await enter(tx, [entry])


async def _lock(conn: AsyncConnection, names: set[str]) -> None:
    if await ledger.try_lock(conn, names) != names:
        raise Held("another worker is at work on the same customer", after=timedelta(seconds=1))


async def _measure(tx: Tx, subscription: str, customer: str | None, *, whole: bool) -> None:
    await _lock(tx.conn, {subscription} | ({customer} if customer is not None else set()))
    rows = await subscriptions.affected(tx.conn, repriced=(), subscriptions=[subscription], changed=())
    again = [subscription] if whole else []
    _, wanted = await worth.derive(tx.conn, rows=rows, new_states=(), whole=again, now=tx.now)
    await stage_wanted(tx, wanted, ())


async def stage_wanted(tx: Tx, wanted: Wanted, entries: Sequence[Entry]) -> None:
    """Stage what mends worths later; in one order everywhere, so that two transactions never wait in a circle."""
    calls: list[tuple[str, Call, datetime | None, frozenset[str]]] = []
    for (coupon, account, livemode), missing_in in wanted.coupons.items():
        key = f"fetch_coupon:{account}:{livemode}:{coupon}"
        calls.append((key, fetch_coupon.call(coupon=coupon, account=account, livemode=livemode), None, missing_in))
    for (coupon, account, livemode), version in wanted.remeasured.items():
        key = f"measure_coupon:{account}:{livemode}:{coupon}:{version}"
        calls.append((key, measure_coupon.call(coupon=coupon, account=account, livemode=livemode), None, frozenset()))
    for subscription, (key, account, livemode) in wanted.discounts.items():
        call = fetch_discounts.call(subscription=subscription, account=account, livemode=livemode)
        calls.append((key, call, None, frozenset({subscription})))
    for subscription, due in wanted.due.items():
        key = f"measure_subscription:{subscription}:{int(due.timestamp())}"
        call = measure_subscription.call(subscription=subscription)
        calls.append((key, call, due, frozenset({subscription})))
    for key, call, due, about in sorted(calls, key=lambda entry: entry[0]):
        entry = last_about(entries, about) or (entries[-1] if entries else None)
        who = replace(tx, staged_by=entry.id) if entry is not None and tx.staged_by is None else tx
        job_id = await who.stage(call, due_at=due, unique_key=key)
        if job_id is not None and entry is not None:
            entry.staged.append({"job": job_id, "name": call.name, "args": call.args})
