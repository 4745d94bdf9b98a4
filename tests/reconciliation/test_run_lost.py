"""Whatever was lost on the way or changed in the books, one repair brings them back to what Stripe says."""

import json
import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.reconciliation.looking_kit import World, small_life
from tests.reconciliation.test_run import mend, run
from tests.reconciliation.test_run_waits import open_invoice
from tests.simulator.life import one_off_payments
from worker.registry import discover
from worker.runner import Runner


@asynccontextmanager
async def working(world: World) -> AsyncGenerator[None]:
    """A worker applies events meanwhile."""
    runner = Runner(
        replace(world.deps, clock=world.deps.clock),
        discover("jobs"),
        queues=("events",),
        worker="w1",
        lease=timedelta(seconds=60),
    )
    await runner.start()
    try:
        yield
    finally:
        await runner.stop(timedelta(seconds=5))


async def test_events_that_never_came_are_put_into_the_inbox(engine: AsyncEngine) -> None:
    """All of the last days is lost; workers apply what was fetched again while the run waits for them."""
    world = World(engine, small_life())
    report = await run(world, dry_run=True)
    assert report.events.missed > 50
    async with working(world):
        mended = await mend(world, patience=timedelta(seconds=60))
    assert mended.events.put == mended.events.missed > 50
    assert mended.left == 0
    assert await world.query("SELECT 1 FROM webhook_events WHERE status <> 'processed' AND status <> 'ignored'") == []
    assert (await mend(world)).found == 0


BY_EVENTS_ONLY = {"dunning_case", "payment_method", "early_fraud_warning"}
MOMENTS = {"refund_seen_at", "sent_at", "overdue_at", "closed_at"}
"""When something happened that no object tells: Stripe has forgotten it with its event."""


@pytest.mark.parametrize("months", [1, 2])
async def test_an_outage_of_thirty_days(engine: AsyncEngine, months: int) -> None:
    """Nothing came meanwhile. Of two months Stripe's list has forgotten one: objects are asked for themselves."""
    world = World(engine, small_life())
    await world.tell()
    async with working(world):
        assert (await mend(world, patience=timedelta(seconds=60))).left == 0
    assert (await run(world)).agrees
    begun = world.deps.clock.now()
    for _ in range(3):
        one_off_payments(world.life)
        open_invoice(world.life)
        world.life.wait(months * 9)
    world.life.customer("Ada")
    outage = world.deps.clock.now() - begun
    assert (outage < timedelta(days=30)) is (months == 1), outage
    async with working(world):
        report = await mend(world, patience=timedelta(seconds=60))
    assert report.events.put > 50
    assert (report.left, report.skipped) == (0, 0), (report.differences, report.skips)
    left = await world.oracle()
    if months > 1:
        told = [(one, one.split()[0], one.split()[2].strip(":")) for one in left]
        left = [one for one, kind, name in told if kind not in BY_EVENTS_ONLY and name not in MOMENTS]
    assert left == []
    assert (await mend(world)).found == 0


async def test_what_has_just_happened_waits_for_its_webhook(engine: AsyncEngine) -> None:
    world = World(engine, small_life())
    await world.tell()
    (subscription, *_) = [one for one in world.all("subscription") if one["status"] == "active"]
    world.life.post(f"subscriptions/{subscription['id']}", cancel_at_period_end=True)
    report = await run(world)
    assert (report.found, report.waiting > 0) == (0, True), report.differences
    world.life.wait(1 / 24)
    late = await run(world)
    assert {(one.kind, one.field) for one in late.differences} >= {("subscription", "cancel_at_period_end")}
    assert late.waiting == 0


@dataclass
class Lossy(World):
    """Of the last 29 days every third event does not come. Stripe remembers 30."""

    chance: random.Random = field(default_factory=random.Random)

    def events(self) -> list[tuple[str, str, bytes]]:
        kept = self.life.api.account.now() - 29 * 86_400
        return [one for one in super().events() if json.loads(one[2])["created"] < kept or self.chance.random() > 0.3]


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_is_lost_or_changed_the_books_end_as_stripes(engine: AsyncEngine, seed: int) -> None:
    """Events are dropped, rows deleted and changed at random: after one repair the simulator's oracle finds nothing."""
    chance = random.Random(seed)  # noqa: S311 - repeatable on purpose
    world = Lossy(engine, small_life())
    world.chance = chance
    await world.tell()
    for table in ("charges", "invoices", "subscriptions", "refunds", "payouts", "payment_history", "disputes"):
        keys = [row[0] for row in await world.query(f"SELECT id FROM {table}")]  # noqa: S608 - our own tables
        for key in keys:
            if chance.random() < 0.05 and table != "invoices":  # others hold on to these
                await world.change(f"DELETE FROM {table} WHERE id = :id", id=key)  # noqa: S608 - our own tables
            elif chance.random() < 0.1 and table != "subscriptions":
                column = "total_cents" if table == "invoices" else "amount_cents"
                sql = f"UPDATE {table} SET {column} = coalesce({column}, 0) + 7 WHERE id = :id"  # noqa: S608 - our own
                await world.change(sql, id=key)
    async with working(world):
        report = await mend(world, patience=timedelta(seconds=60))
    assert report.skipped == 0, report.skips
    oldest = datetime.fromtimestamp(0, world.deps.clock.now().tzinfo)
    rest = await mend(world, since=oldest)
    left = await world.oracle()
    assert left == [], left[:20]
    assert rest.left == 0
