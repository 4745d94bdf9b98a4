"""Events that no webhook brought are fetched from Stripe, and the books are as if they had come."""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from db import envelope, inbox
from jobs.reconciliation import replay as replaying
from jobs.reconciliation.found import Stripe
from jobs.reconciliation.replay import Replayed, backfill_events, replay
from jobs.stripe_objects import READERS
from tests.events.kit import books
from tests.reconciliation.looking_kit import World, emptied, registry
from tests.simulator.kit import START
from tests.simulator.life import Life, one_off_payments
from worker.deps import Deps
from worker.errors import Refused
from worker.settings import Settings, StripeMode

BEGIN = datetime.fromtimestamp(START, UTC)
QUEUES = ("events", "mail")


def lively() -> Life:
    """Payments, disputes and a subscription that renews and then fails, within 27 days."""
    life = Life()
    one_off_payments(life)
    customer = life.customer("Grace Hopper")
    life.subscribe(customer, life.price(2000, interval="week"))
    life.wait(10)
    bad = life.post("payment_methods/pm_card_chargeCustomerFail/attach", customer=customer["id"])
    life.post(f"customers/{customer['id']}", invoice_settings={"default_payment_method": bad["id"]})
    life.wait(8)
    paid = life.post("payment_intents", amount=8000, currency="usd", confirm=True, payment_method="pm_card_visa")
    life.post(f"/_sim/charges/{paid['latest_charge']}/dispute", reason="fraudulent")
    life.wait(1)
    return life


@pytest.fixture
def world(engine: AsyncEngine) -> World:
    return World(engine, lively())


async def again(world: World, since: datetime = BEGIN, *, dry_run: bool = False, **more: Any) -> Replayed:
    return await replay(world.deps, await world.stripe(), since, dry_run=dry_run, **more)


async def sent(world: World, events: list[tuple[str, str, bytes]]) -> None:
    """The door takes them in, and a worker applies them."""
    async with world.engine.begin() as conn:
        await inbox.put(conn, [envelope.read(body, world.deps.clock.now()) for _, _, body in events], priority=0)


@pytest.mark.parametrize("seed", [1, 2])
async def test_what_was_dropped_at_random_is_as_if_it_had_come(world: World, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - a test's choice
    came = [one for one in world.events() if chance.random() < 0.6]
    await sent(world, came)
    await world.work(*QUEUES)
    found = await again(world)
    assert found.missed == found.put == sum(found.by_type.values()) > 0
    await world.work(*QUEUES)
    assert [one for one in await world.oracle() if not one.startswith(("dunning", "letter"))] == []
    all_ids = set(world.life.api.account.events)
    known = await world.query("SELECT id, source, status FROM webhook_events WHERE type = ANY(:types)",
                              types=list(READERS))  # fmt: skip
    assert {row[0] for row in known} == {
        name for name in all_ids if world.life.api.account.events[name].type in READERS
    }
    assert {row[1] for row in known} == {"webhook", "events_api"} or {row[1] for row in known} == {"events_api"}
    assert {row[2] for row in known} == {"processed"}
    once = await again(world)
    assert (once.missed, once.put, once.by_type) == (0, 0, {})
    assert once.seen == len(known)


async def test_letters_and_dunning_are_those_of_webhooks_that_came(world: World, engine: AsyncEngine) -> None:
    assert (await again(world)).put > 0
    await world.work(*QUEUES)
    replayed = await books(engine), await outcome(world)
    async with engine.begin() as conn:
        await emptied(conn)
    twin = World(engine, world.life)
    await sent(twin, twin.events())
    await twin.work(*QUEUES)
    assert (await books(engine), await outcome(twin)) == replayed
    assert replayed[1]["emails"]
    assert replayed[1]["cases"]


async def outcome(world: World) -> dict[str, list[tuple[Any, ...]]]:
    return {
        "emails": await world.query("SELECT key, template, recipient, occurred_at FROM emails ORDER BY key"),
        "cases": await world.query(
            "SELECT stripe_invoice_id, opened_by, failed_at, status FROM dunning_cases ORDER BY 1"
        ),
    }


async def test_a_dry_run_counts_and_puts_nothing(world: World) -> None:
    seen: list[int] = []
    found = await again(world, dry_run=True, told=seen.append)
    assert (found.put, found.missed) == (0, found.seen)
    assert found.by_type["charge.succeeded"] > 1
    assert seen == sorted(seen)
    assert seen[-1] == found.seen
    assert await world.query("SELECT 1 FROM webhook_events") == []


async def test_the_envelope_is_read_as_at_the_door_and_the_payload_is_the_apis(world: World) -> None:
    await again(world)
    ((id_,),) = await world.query("SELECT id FROM webhook_events WHERE type = 'customer.created' ORDER BY id LIMIT 1")
    ((payload, created, source, *told),) = await world.query(
        "SELECT payload, created_at, source, object_id, customer_id, account, livemode"
        " FROM webhook_events WHERE id = :id",
        id=id_,
    )
    shown = world.life.get(f"events/{id_}")
    assert json.loads(payload) == shown
    name = shown["data"]["object"]["id"]
    assert told == [name, name, None, False]
    assert (created, source) == (datetime.fromtimestamp(shown["created"], UTC), "events_api")


async def test_the_oldest_are_applied_first_and_behind_live_ones(world: World) -> None:
    await again(world)
    rows = await world.query(
        "SELECT e.created_at, q.priority FROM queue q JOIN webhook_events e ON e.id = q.event_id"
        " ORDER BY q.due_at, q.id"
    )
    assert [row[0] for row in rows] == sorted(row[0] for row in rows)
    assert {row[1] for row in rows} == {1}


async def test_thirty_days_and_no_more(world: World) -> None:
    now = world.deps.clock.now()
    with pytest.raises(Refused, match=r"Stripe keeps events for 30 days.*billing reconcile --repair"):
        await again(world, now - timedelta(days=30, hours=2))
    assert (await again(world, now - timedelta(days=30), dry_run=True)).seen > 0
    world.life.wait(25)
    world.life.customer("Somebody New")
    old = await again(world, world.deps.clock.now() - timedelta(days=30), dry_run=True)
    assert 0 < old.seen < len(world.life.api.account.events)


async def test_only_what_is_asked_for(world: World) -> None:
    found = await again(world, dry_run=True, types=["invoice.paid", "charge.dispute.*"])
    assert {name.partition(".")[0] for name in found.by_type} == {"invoice", "charge"}
    assert set(found.by_type) == {"invoice.paid", "charge.dispute.created", "charge.dispute.funds_withdrawn"}
    some = await again(world, BEGIN + timedelta(days=5), until=BEGIN + timedelta(days=9), dry_run=True)
    all_ = await again(world, dry_run=True)
    assert 0 < some.seen < all_.seen
    unhandled = await again(world, dry_run=True, types=["setup_intent.succeeded"])
    assert unhandled.by_type == {"setup_intent.succeeded": 1}


async def test_what_was_given_up_stays_so_and_is_told(world: World) -> None:
    await again(world)
    await world.work(*QUEUES)
    await world.change("UPDATE webhook_events SET status = 'dead' WHERE type = 'charge.succeeded'")
    found = await again(world)
    assert found.dead == sum(one.type == "charge.succeeded" for one in world.life.api.account.events.values())
    assert found.put == 0


async def test_events_of_the_other_mode_are_refused_as_at_the_door(world: World) -> None:
    live = replace(world.deps, settings=Settings.model_construct(stripe_mode=StripeMode.LIVE))
    found = await replay(live, await world.stripe(), BEGIN, dry_run=False)
    assert (found.missed, found.put) == (0, 0)
    assert found.other_mode == found.seen > 0


async def test_webhooks_may_come_at_the_same_time(world: World) -> None:
    events = world.events()
    random.Random(3).shuffle(events)  # noqa: S311 - a test's choice
    door = asyncio.create_task(sent_in_pieces(world, events))
    found, other = await asyncio.gather(again(world), again(world))
    await door
    await world.work(*QUEUES)
    ((rows, names),) = await world.query("SELECT count(*), count(DISTINCT id) FROM webhook_events")
    assert rows == names == len(events)
    assert found.put + other.put <= rows
    assert [one for one in await world.oracle() if not one.startswith(("dunning", "letter"))] == []


async def sent_in_pieces(world: World, events: list[tuple[str, str, bytes]]) -> None:
    for at in range(0, len(events), 7):
        await sent(world, events[at : at + 7])


class Stopped:
    """Stripe answers so often, and then no more."""

    def __init__(self, read: Callable[..., Awaitable[bytes]], left: int) -> None:
        self.read = read
        self.left = left
        self.reached = asyncio.Event()

    async def __call__(self, path: str, **params: Any) -> bytes:
        self.left -= 1
        if self.left < 0:
            self.reached.set()
            await asyncio.Event().wait()
        return await self.read(path, **params)


async def test_killed_anywhere_and_repeated(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replaying, "BATCH", 10)
    total = (await again(world, dry_run=True)).missed
    read = world.api.read
    for requests in (1, 3, 5):
        stopped = Stopped(read, requests)
        monkeypatch.setattr(world.api, "read", stopped)
        task = asyncio.create_task(again(world))
        await asyncio.wait_for(stopped.reached.wait(), 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    monkeypatch.setattr(world.api, "read", read)
    ((before,),) = await world.query("SELECT count(*) FROM webhook_events")
    found = await again(world)
    assert found.put == total - before
    await world.work(*QUEUES)
    assert [one for one in await world.oracle() if not one.startswith(("dunning", "letter"))] == []


async def test_the_job_does_the_same_and_rings(world: World) -> None:
    rung: list[set[str]] = []
    deps: Deps = replace(world.deps, after_commit=rung.append)
    assert registry.jobs["backfill_events"] is backfill_events
    call = backfill_events.call(since=BEGIN)
    await backfill_events.run(deps, call.args)
    assert rung
    assert set().union(*rung) == {"events"}
    ((count,),) = await world.query("SELECT count(*) FROM queue WHERE queue = 'events'")
    assert count > 20


async def test_events_of_a_connected_account_bear_its_name(world: World) -> None:
    stripe = await world.stripe()
    connected = Stripe("acct_1", stripe.livemode, stripe.as_of)
    assert (await replay(world.deps, connected, BEGIN, dry_run=False)).put > 0
    assert await world.query("SELECT DISTINCT account FROM webhook_events") == [("acct_1",)]
    assert {params.get("stripe_account") for path, params in world.api.asked[-3:] if path == "events"} == {"acct_1"}
    async with world.engine.connect() as conn:
        assert (await conn.execute(text("SELECT count(*) FROM queue"))).scalar_one() > 0
