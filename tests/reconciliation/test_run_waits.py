"""What may still come is waited for: by Stripe's clock, from run to run, and not for ever."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from db import envelope, inbox
from intake.reconciliation import next_steps, verdict
from jobs.reconciliation import report as reports
from jobs.reconciliation.lists import by_stripe
from jobs.reconciliation.report import Report
from tests.reconciliation.looking_kit import Api, Json, World
from tests.reconciliation.test_run import kept, mend, run
from tests.simulator.life import Life


@pytest.fixture
def world(engine: AsyncEngine) -> World:
    return World(engine, Life())


def pay(life: Life, amount: int) -> Json:
    return life.post("payment_intents", amount=amount, currency="usd", confirm=True, payment_method="pm_card_visa")


def open_invoice(life: Life) -> Json:
    customer = life.customer("Ada", card=None)
    made = life.post("invoices", customer=customer["id"], collection_method="send_invoice", days_until_due=10)
    life.post("invoiceitems", customer=customer["id"], amount=5000, currency="usd", invoice=made["id"])
    return life.post(f"invoices/{made['id']}/finalize")


async def lie(world: World, status: str) -> None:
    """What was not told yet lies in the inbox in this state, and nothing of it is applied."""
    found = world.events()
    async with world.engine.begin() as conn:
        now = world.deps.clock.now()
        await inbox.put(conn, [envelope.read(body, now) for _, _, body in found], priority=0)
        names = {"ids": [name for name, _, _ in found], "status": status}
        await conn.execute(text("UPDATE webhook_events SET status = :status WHERE id = ANY(:ids)"), names)
        if status == "processed":
            await conn.execute(text("DELETE FROM queue WHERE event_id = ANY(:ids)"), {"ids": names["ids"]})


async def give_up(world: World) -> None:
    await world.change("UPDATE webhook_events SET status = 'dead' WHERE status = 'retrying'")
    await world.change("UPDATE queue SET dead_reason = 'refused' WHERE event_id IS NOT NULL")


async def test_what_waits_is_looked_at_by_the_runs_that_follow(world: World) -> None:
    """A refund's event is retried for two days, then given up: nothing else tells of the old charge any more."""
    life = world.life
    paid = pay(life, 5000)
    life.wait(40)
    life.customer("X")
    await world.tell()
    assert (await run(world)).agrees
    life.wait(23 / 24)
    life.post("refunds", charge=paid["latest_charge"], amount=1500)
    await lie(world, "retrying")
    life.wait(1 / 24)
    found: list[Report] = []
    for day in range(4):
        life.post("products", name="Y")  # the newest event, of something that is not compared
        await lie(world, "processed")
        if day == 3:
            await give_up(world)
        found.append(await run(world))
        life.wait(1)
    first, second, third, last = found
    assert [(one.found, one.waiting > 0, one.advances) for one in (first, second, third)] == [(0, True, True)] * 3
    assert (first.overdue, first.agrees) == (0, True)
    assert second.overdue == second.waiting
    assert [one.agrees for one in (second, third, last)] == [False] * 3
    assert ("refund", "missing_here") in {(one.kind, one.class_) for one in last.differences}
    assert (last.waiting, last.again) == (0, [])
    assert last.events.dead > 0


async def test_what_waits_for_something_that_does_not_come_is_told_on_the_second_day(world: World) -> None:
    """A version of the year 2038 in the books outranks all that Stripe says."""
    life = world.life
    open_invoice(life)
    life.wait(0.5)
    life.customer("X")
    await world.tell()
    await world.change("UPDATE invoices SET total_cents = 1, version[2] = version[2] + 400000000")
    found: list[Report] = []
    for _ in range(3):
        life.wait(1)
        life.customer("Y")
        await world.tell()
        found.append(await mend(world))
    assert [(one.waiting, one.agrees) for one in found] == [(1, True), (1, False), (1, False)]
    report = found[-1]
    assert "could not be compared for a day" in verdict(report)
    said = " ".join(next_steps(report))
    assert "after all that Stripe lists" in said


async def test_more_than_can_be_kept_hold_the_next_run_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    life = world.life
    for _ in range(3):
        open_invoice(life)
    life.wait(1)
    life.customer("X")
    await world.tell()
    await world.change("UPDATE invoices SET total_cents = 1, version[2] = version[2] + 400000000")
    monkeypatch.setattr(reports, "CARRIED", 2)
    report = await run(world)
    assert (report.waiting, len(report.again), report.advances) == (3, 2, False)


@dataclass
class OfOurs:
    """Our clock, which is wrong."""

    life: Life
    off: timedelta

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.life.api.account.now(), UTC) + self.off


@pytest.mark.parametrize("hours", [0, 2, -2])
async def test_webhooks_under_way_are_waited_for_whatever_our_clock_shows(world: World, hours: int) -> None:
    life = world.life
    life.customer("Ada")
    await world.tell()
    life.wait(0.3)
    pay(life, 7700)
    life.wait(60 / 86400)
    world.deps = replace(world.deps, clock=OfOurs(life, timedelta(hours=hours)))
    report = await run(world)
    assert (report.found, report.left) == (0, 0), report.differences
    life.wait(1 / 24)
    late = await run(world)
    assert "missing_here" in {one.class_ for one in late.differences}


async def test_a_stand_in_without_a_clock_goes_by_ours(world: World) -> None:
    class Mute(Api):
        told_at = None  # type: ignore[assignment] - it tells nothing

    world.deps = replace(world.deps, stripe=Mute(world.life))
    assert by_stripe(world.deps) == world.deps.clock.now()


async def test_what_less_was_compared_than_before_settles_nothing(world: World) -> None:
    life = world.life
    pay(life, 5000)
    life.wait(5)
    life.customer("X")
    await world.tell()
    begin = (await world.stripe()).as_of - timedelta(days=10)
    assert (await run(world, since=begin)).found == 0
    await world.change("UPDATE balance_transactions SET amount_cents = amount_cents + 7, net_cents = net_cents + 7")
    found = (await run(world, since=begin)).found
    assert found > 0
    assert (await run(world, since=begin, until=begin + timedelta(days=1))).settled == 0
    assert len(await kept(world)) == found
    await world.change("UPDATE balance_transactions SET amount_cents = amount_cents - 7, net_cents = net_cents - 7")
    assert (await run(world, since=begin)).settled == found
