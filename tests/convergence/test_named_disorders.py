"""Disorders that other systems fell over, each by its name; the books must be those of the life itself."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.lives.driver import Delivery, apply_all, clear, deps, in_order, run_jobs
from tests.lives.ledger import KEYS, Dump, disagreements, dump, same
from tests.lives.oracle import books, monthly
from tests.lives.play import Moment, named, play
from tests.lives.shapes import Shape
from tests.lives.stripe_world import World

Disorder = Callable[[list[Delivery]], list[Delivery]]


def last(kind: str) -> Disorder:
    """All events of a kind come after everything else."""
    return lambda told: sorted(told, key=lambda x: x.event.type == kind)


def first(*kinds: str) -> Disorder:
    """These kinds come before everything else, in this order."""
    rank = {kind: place for place, kind in enumerate(kinds)}
    return lambda told: sorted(told, key=lambda x: rank.get(x.event.type, len(rank)))


def drop(*kinds: str) -> Disorder:
    """Events of these kinds never come."""
    return lambda told: [x for x in told if x.event.type not in kinds]


BUY_AND_REFUND: list[Moment] = [(0, "buy", 1), (0, "refund_part", 1), (0, "refund_part", 2)]
DISPUTED: list[Moment] = [(0, "buy", 0), (0, "dispute", 1)]

DISORDERS: dict[str, tuple[Callable[[], World], Disorder]] = {
    "a late update (open) after the invoice was paid": (lambda: named("recovered"), last("invoice.updated")),
    "a late finalization after the invoice was paid": (lambda: named("recovered"), last("invoice.finalized")),
    "a late failure after the invoice was paid": (lambda: named("recovered"), last("invoice.payment_failed")),
    "a subscription deleted before it was created": (
        lambda: named("sign_up_and_renewals"),
        first("customer.subscription.deleted"),
    ),
    "a subscription updated after it was deleted": (lambda: named("leaves"), last("customer.subscription.updated")),
    "a customer deleted before they were created": (lambda: named("leaves"), first("customer.deleted")),
    "all charges before their intents": (
        lambda: named("purchases"),
        first("charge.failed", "charge.succeeded", "payment_intent.succeeded"),
    ),
    "all charges after their intents": (lambda: named("purchases"), last("charge.succeeded")),
    "an intent created after it was canceled": (lambda: named("purchases"), last("payment_intent.created")),
    "a refund before its charge": (lambda: play(BUY_AND_REFUND), first("refund.created", "charge.refunded")),
    "a charge after its refunds": (lambda: play(BUY_AND_REFUND), last("charge.succeeded")),
    "a bounced refund before the refund": (lambda: named("refund_bounces"), first("refund.failed", "refund.updated")),
    "a dispute before its charge": (lambda: play(DISPUTED), first("charge.dispute.created")),
    "a dispute closed before it was opened": (lambda: named("dispute_won"), first("charge.dispute.closed")),
    "a dispute opened last": (lambda: named("dispute_lost"), last("charge.dispute.created")),
    "a payment linked before invoice and charge exist": (lambda: named("recovered"), first("invoice_payment.paid")),
    "a payment linked last": (lambda: named("recovered"), last("invoice_payment.paid")),
    "a coupon told after all that it lowers": (lambda: named("discounts"), last("coupon.created")),
    "a discount told after its subscription": (lambda: named("discounts"), last("customer.discount.created")),
    "a coupon never told: Stripe is asked for it": (
        lambda: play([(0, "sign_up", 1), (0, "give_discount", 0)]),
        drop("coupon.created"),
    ),
    "a coupon over an amount never told": (
        lambda: play([(0, "sign_up", 3), (0, "give_discount", 1)]),
        drop("coupon.created"),
    ),
    "a customer told last: a stub carries all else": (lambda: named("dispute_won"), last("customer.created")),
}


async def _books_agree(engine: AsyncEngine, world: World, told: Sequence[Delivery]) -> Dump:
    found = await dump(engine)
    same(disagreements(books(world, [x.told for x in told]), found))
    return found


@pytest.mark.parametrize("name", DISORDERS)
async def test_disorder(engine: AsyncEngine, name: str) -> None:
    """One transaction for each event of a new endpoint; then all events of an old one in a single transaction."""
    make, disorder = DISORDERS[name]
    world = make()
    for shape, cut in ((Shape.NEW, True), (Shape.OLD, False)):
        told = disorder(in_order(world, shape))
        await clear(engine)
        await apply_all(engine, world, told, cuts=range(len(told)) if cut else ())
        await _books_agree(engine, world, told)


SAME_SECOND = ("invoice.finalized", "invoice.paid", "invoice.payment_succeeded")


@pytest.mark.parametrize("order", list(itertools.permutations(SAME_SECOND)), ids=", ".join)
async def test_finalized_and_paid_within_one_second(engine: AsyncEngine, order: tuple[str, ...]) -> None:
    """A strict `<` on `created` loses the second event of a second: stripe/sync-engine#268, PostHog#98651."""
    world = play([(0, "sign_up", 0)])
    seconds = {e.created for e in world.events if e.type in SAME_SECOND}
    assert len(seconds) == 1
    told = first(*order)(in_order(world))
    await apply_all(engine, world, told, cuts=range(len(told)))
    await _books_agree(engine, world, told)


async def test_until_the_coupon_is_known_the_mrr_is_undiscounted_and_says_so(engine: AsyncEngine) -> None:
    world = play([(0, "sign_up", 1), (0, "give_discount", 0)])
    sub = world.subscriptions[0]
    told = drop("coupon.created")(in_order(world))
    await apply_all(engine, world, told, jobs=False)
    before = (await dump(engine))["subscriptions"][0]
    discount, sub.discount = sub.discount, None
    assert (before["mrr_cents"], before["mrr_incomplete"]) == (monthly(sub, world.now), True)
    async with engine.connect() as conn:
        staged = await conn.scalar(text("SELECT count(*) FROM jobs WHERE name = 'fetch_coupon'"))
    assert staged == 1
    sub.discount = discount
    await run_jobs(deps(engine, world))
    after = (await dump(engine))["subscriptions"][0]
    assert (after["mrr_cents"], after["mrr_incomplete"]) == (monthly(sub, world.now), False)
    assert after["mrr_cents"] < before["mrr_cents"]


@pytest.mark.parametrize("copies", [2, 5])
async def test_the_same_change_under_several_ids_is_one_change(engine: AsyncEngine, copies: int) -> None:
    world = named("upgrade_and_seats")
    once = in_order(world)
    await apply_all(engine, world, once)
    expected = await dump(engine)
    again = [Delivery(x.event, Shape.NEW, f"{x.event.id}{n}") for n in range(copies) for x in reversed(once)]
    await apply_all(engine, world, again, cuts=range(0, len(again), 30))
    assert await dump(engine) == expected


async def test_the_first_charge_takes_over_the_row_of_its_intent(engine: AsyncEngine) -> None:
    """A row that somebody has seen, by its own number, stays; a further charge has another."""
    world = play([(0, "buy", 1)])
    told = in_order(world)
    first_charge = next(n for n, x in enumerate(told) if x.event.type == "charge.failed")
    await apply_all(engine, world, told[:first_charge])
    seen = await _payments(engine)
    assert [(status, charge) for _, status, charge in seen] == [("pending", None)]
    await apply_all(engine, world, told[first_charge:])
    failed, succeeded = await _payments(engine)
    assert failed == (seen[0][0], "failed", world.charges[0].id)
    assert succeeded[1:] == ("succeeded", world.charges[1].id)


async def _payments(engine: AsyncEngine) -> list[tuple[int, str, str | None]]:
    async with engine.connect() as conn:
        found = await conn.execute(text("SELECT id, status, stripe_charge_id FROM payment_history ORDER BY id"))
        return [(row[0], row[1], row[2]) for row in found]


FINAL: dict[str, tuple[str, str, str]] = {
    "a paid invoice is not opened again": ("recovered", "invoice.finalized", "invoice.paid"),
    "a void invoice is not opened again": ("exhausted_void", "invoice.finalized", "invoice.voided"),
    "a canceled subscription does not run again": (
        "leaves",
        "customer.subscription.updated",
        "customer.subscription.deleted",
    ),
    "an expired subscription does not wait again": (
        "three_d_secure_expires",
        "customer.subscription.created",
        "customer.subscription.updated",
    ),
    "a payment that succeeded does not fail again": (
        "refund_bounces",
        "payment_intent.payment_failed",
        "payment_intent.succeeded",
    ),
    "a canceled payment does not wait again": ("purchases", "payment_intent.created", "payment_intent.canceled"),
    "a refund that failed does not succeed again": ("refund_bounces", "refund.created", "refund.failed"),
    "a void credit note is not issued again": ("given_up_invoices", "credit_note.created", "credit_note.voided"),
    "an expired checkout is not opened again": ("purchases", "checkout.session.expired", "checkout.session.expired"),
    "a deleted customer does not come back": ("leaves", "customer.updated", "customer.deleted"),
}
"""A life, the state before, and the event that brought the final state."""


@pytest.mark.parametrize("name", FINAL)
async def test_a_final_state_is_never_left(engine: AsyncEngine, name: str) -> None:
    """An event that shows an earlier state, though it is stamped later, leaves the final state as it is."""
    life, before, final = FINAL[name]
    world = named(life)
    end = next(e for e in world.events if e.type == final)
    key = end.key or ""
    earlier = next(e for e in world.events if e.type == before and e.key == key)
    told = in_order(world)
    await apply_all(engine, world, told)
    status = await _status(engine, key)
    belated = replace(earlier, id=f"{earlier.id}late", created=world.now)
    await apply_all(engine, world, [Delivery(belated)])
    assert await _status(engine, key) == status
    await clear(engine)
    await apply_all(engine, world, [Delivery(belated), *told], cuts=range(len(told)))
    assert await _status(engine, key) == status


async def _status(engine: AsyncEngine, key: str) -> list[object]:
    """How the ledger says that an object of this id stands."""
    found = await dump(engine)
    return [
        (table, row.get("status"), row.get("deleted_at"))
        for table, rows in found.items()
        for row in rows
        if row.get(KEYS.get(table, "")) == key
    ]
