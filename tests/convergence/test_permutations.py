"""Small sets of events, in every order that there is, one transaction after the other."""

import itertools
import json
import re
from collections.abc import Callable, Sequence

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from db.inbox import StoredEvent
from tests.lives.driver import Delivery, apply_batch, deps, run_jobs
from tests.lives.ledger import Dump, differences, dump, without_what_only_some_shapes_tell
from tests.lives.play import named, play
from tests.lives.shapes import Shape
from tests.lives.stripe_world import World, WorldEvent

TAG = re.compile(r"p\d{3}q")
AT_ONCE = 360
"""How many worlds, each told in another order, share a transaction; PostgreSQL's table of locks has an end."""


def _named(name: str) -> Callable[[str], World]:
    return lambda tag: named(name, tag=tag)


SETS: dict[str, tuple[Callable[[str], World], Sequence[str]]] = {
    "an invoice is paid": (
        _named("sign_up_and_renewals"),
        (
            "invoice.created",
            "invoice.finalized",
            "invoice.updated",
            "invoice.paid",
            "invoice.payment_succeeded",
            "invoice_payment.paid",
        ),
    ),
    "an intent with two charges": (
        lambda tag: play([(0, "buy", 1)], tag=tag),
        (
            "payment_intent.created",
            "charge.failed",
            "payment_intent.payment_failed",
            "charge.succeeded",
            "payment_intent.succeeded",
        ),
    ),
    "an invoice is paid after 3D Secure": (
        _named("three_d_secure"),
        (
            "payment_intent.created",
            "payment_intent.requires_action",
            "charge.succeeded",
            "invoice_payment.paid",
            "invoice.paid",
        ),
    ),
    "a refund and a dispute": (
        lambda tag: play([(0, "buy", 0), (0, "refund_part", 1), (0, "dispute", 0), (0, "dispute_goes_on", 0)], tag=tag),
        (
            "charge.succeeded",
            "charge.refunded",
            "refund.created",
            "refund.updated",
            "charge.dispute.created",
            "charge.dispute.closed",
        ),
    ),
    "a refund bounces": (
        lambda tag: play([(0, "buy", 0), (0, "refund_part", 2), (0, "refund_bounces", 1)], tag=tag),
        ("charge.succeeded", "charge.refunded", "refund.created", "refund.failed", "charge.updated"),
    ),
    "a subscription's beginning and end": (
        _named("leaves"),
        (
            "customer.created",
            "customer.subscription.created",
            "customer.subscription.updated",
            "customer.subscription.deleted",
            "customer.deleted",
        ),
    ),
    "a discount": (
        lambda tag: play([(0, "sign_up", 1), (0, "give_discount", 0)], tag=tag),
        (
            "customer.subscription.created",
            "customer.discount.created",
            "customer.subscription.updated",
            "coupon.created",
            "price.created",
        ),
    ),
}


def _last(world: World, kinds: Sequence[str]) -> list[WorldEvent]:
    """The last event of each kind, in order."""
    found = {event.type: event for event in world.events if event.type in kinds}
    assert len(found) == len(kinds), f"missing: {set(kinds) - found.keys()}"
    return sorted(found.values(), key=world.events.index)


def _by_world(found: Dump) -> dict[str, Dump]:
    """The rows of each world, with its tag taken out of them."""
    parts: dict[str, Dump] = {}
    for table, rows in found.items():
        for row in rows:
            row.pop("fingerprint", None)  # it stands for the ids too, and these differ from world to world
            words = json.dumps(row, sort_keys=True)
            tag = TAG.search(words)
            assert tag, f"{table} has a row of no world: {words}"
            parts.setdefault(tag[0], {}).setdefault(table, []).append(json.loads(words.replace(tag[0], "")))
    return parts


@pytest.mark.parametrize("name", SETS)
async def test_every_order_gives_the_same_ledger(engine: AsyncEngine, name: str) -> None:
    """Each order is told to a world of its own, in a mixture of shapes of its own; the first one in the new shape."""
    make, kinds = SETS[name]
    orders = list(itertools.permutations(range(len(kinds))))
    worlds = [make(f"p{number:03d}q") for number in range(len(orders))]
    chosen = [_last(world, kinds) for world in worlds]
    d = deps(engine, *worlds)
    for start in range(0, len(orders), AT_ONCE):
        several = range(start, min(start + AT_ONCE, len(orders)))
        for turn in range(len(kinds)):
            await apply_batch(d, [_told(chosen[n][orders[n][turn]], n, orders[n][turn]) for n in several])
            await run_jobs(d)
    parts = _by_world(without_what_only_some_shapes_tell(await dump(engine)))
    assert len(parts) == len(orders)
    for number, order in enumerate(orders):
        found = differences(parts["p000q"], parts[f"p{number:03d}q"])
        assert found == [], f"order {[chosen[0][place].type for place in order]}"


def _told(event: WorldEvent, number: int, place: int) -> StoredEvent:
    return Delivery(event, Shape.OLD if number >> place & 1 else Shape.NEW).stored()
