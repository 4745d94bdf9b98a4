"""A comparison finds what differs and nothing else, mends it on request, and may be killed anywhere."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from db.operators import reconciliation as desk
from db.operators.actions import Actor
from db.states import DifferenceClass
from jobs.reconciliation import snapshot_kinds
from jobs.reconciliation.daily import reconcile_books
from jobs.reconciliation.fees import fill
from jobs.reconciliation.money import compare_money
from jobs.reconciliation.report import Report
from jobs.reconciliation.run import NotBegun, reconcile
from tests.conftest import MovedClock
from tests.reconciliation.looking_kit import ALL, Api, World, small_life
from tests.simulator.life import Life
from tests.simulator.stories import Played, filled
from worker.adapters.stripe_api import NoKey
from worker.embedded import EmbeddedPostgres
from worker.errors import Held, Refused, TryLater

NOW = timedelta()
MENDABLE = ALL - {DifferenceClass.MISSING_THERE}


@pytest.fixture(scope="module")
def life() -> Life:
    """Stripe's side: nobody changes it in these tests."""
    return small_life()


@pytest.fixture(scope="module")
def template(postgres: EmbeddedPostgres, template: str, life: Life) -> str:
    """The ledger that heard all of it: each test has a copy."""

    async def play(_: Played, engine: AsyncEngine, __: str) -> None:
        world = World(engine, life)
        await world.tell()
        stripe = await world.stripe()
        await compare_money(world.deps, stripe, stripe.as_of - timedelta(days=400), stripe.as_of)
        assert await fill(world.deps, stripe) > 10  # as the schedule `stripe-fees` does, long before anybody compares

    return filled(postgres, template, Played(), play)


@pytest.fixture
def world(engine: AsyncEngine, life: Life) -> World:
    return World(engine, life)


async def run(world: World, **more: Any) -> Report:
    given: dict[str, Any] = {"asked_by": "ada", "patience": NOW, **more}
    return await reconcile(world.deps, **given)


async def mend(world: World, **more: Any) -> Report:
    return await run(world, repairs=MENDABLE, **more)


async def runs(world: World) -> list[dict[str, Any]]:
    async with world.engine.connect() as conn:
        return await desk.runs(conn, limit=100)


async def kept(world: World, *, all_: bool = False) -> list[dict[str, Any]]:
    async with world.engine.connect() as conn:
        return await desk.differences(conn, limit=1000, all_=all_)


def told(report: Report) -> set[tuple[str, str, str]]:
    return {(one.class_, one.kind, one.field) for one in report.differences}


async def test_books_that_agree(world: World) -> None:
    before = await world.dump()
    report = await run(world)
    assert (report.found, report.waiting, report.skipped, report.differences) == (0, 0, 0, []), report
    assert report.agrees
    assert report.totals
    assert [one for one in report.totals if one.difference] == []
    assert report.compared["invoice"] == len(world.all("invoice"))
    assert report.compared["subscription"] == len(world.all("subscription"))
    assert report.compared["charge"] == len(world.all("charge"))
    after = await world.dump()
    assert after == before
    (row,) = await runs(world)
    assert (row["status"], row["advances"], row["dry_run"], row["asked_by"]) == ("done", True, False, "ada")
    assert row["report"]["requests"] == report.requests > 10
    assert await world.query("SELECT 1 FROM emails WHERE template = 'reconciliation_report'") == []
    again = await run(world)
    assert again.since == report.until - timedelta(days=1)


def newest(statement: str, table: str, where: str) -> str:
    """A change to the newest such row."""
    return f"{statement} WHERE id = (SELECT max(id) FROM {table} WHERE {where})"  # noqa: S608 - our own tables


CORRUPT = {
    "amount": newest("UPDATE invoices SET total_cents = total_cents + 1", "invoices", "status = 'open'"),
    "status": newest("UPDATE subscriptions SET status = 'unpaid'", "subscriptions", "status = 'active'"),
    "missing": newest("DELETE FROM refunds", "refunds", "true"),
    "refund": newest(
        "UPDATE payment_history SET refund_amount_cents = refund_amount_cents + 5",
        "payment_history",
        "refund_amount_cents > 0",
    ),
    "currency": newest("UPDATE charges SET currency = 'chf'", "charges", "status = 'succeeded'"),
    "failed": newest(
        "DELETE FROM payment_history", "payment_history", "status = 'failed' AND stripe_charge_id IS NOT NULL"
    ),
    "payout": newest("UPDATE payouts SET status = 'failed'", "payouts", "status = 'paid'"),
    "period": newest(
        "UPDATE subscriptions SET current_period_end = current_period_end + interval '1 day'",
        "subscriptions",
        "status IN ('trialing', 'past_due')",
    ),
}


async def test_what_was_changed_is_found_told_and_mended(world: World) -> None:
    for sql in CORRUPT.values():
        await world.change(sql)
    before = await world.dump()
    found = await run(world)
    assert {one for one, _, _ in told(found)} >= {"amount", "status", "missing_here", "refund", "currency", "period"}
    assert found.mended == 0
    assert not found.agrees
    after = await world.dump()
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"emails", "jobs", "queue"}  # the letter
    (letter,) = await world.query(
        "SELECT template, recipient, context FROM emails WHERE template = 'reconciliation_report'"
    )
    assert letter[:2] == ("reconciliation_report", "operators")
    assert sum(one["count"] for one in letter[2]["differences"]) == found.found
    opened = await kept(world)
    assert len(opened) == found.found
    assert {one["first_run_id"] for one in opened} == {found.run}

    again = await run(world)
    assert told(again) == told(found)
    assert {(one["first_run_id"], one["last_run_id"]) for one in await kept(world)} == {(found.run, again.run)}

    mended = await mend(world, why="it was us")
    assert told(mended) == told(found)
    assert (mended.left, mended.agrees) == (0, True)
    assert await kept(world) == []
    assert {one["settled_how"] for one in await kept(world, all_=True)} == {"repaired"}
    assert await world.oracle() == []
    (audit,) = await world.query("SELECT who, why FROM audit_log WHERE action = 'reconciliation.run'")
    assert audit == ("ada", "it was us")

    last = await mend(world)
    assert (last.found, last.settled) == (0, 0)


@pytest.mark.parametrize("name", CORRUPT)
async def test_each_change_is_found_by_a_daily_run(world: World, name: str) -> None:
    """Open sets, balance transactions and events of the last days find it; older ones find a wider look."""
    await world.change(CORRUPT[name])
    report = await run(world)
    assert report.found
    mended = await mend(world)
    assert (mended.found, mended.left) == (report.found, 0)
    assert await world.oracle() == []


async def test_a_dry_run_tells_what_would_be_mended_and_changes_nothing(world: World) -> None:
    for sql in CORRUPT.values():
        await world.change(sql)
    before = await world.dump()
    report = await mend(world, dry_run=True)
    assert report.found == report.mended > 5
    assert await world.dump() == before
    assert await kept(world, all_=True) == []
    (row,) = await runs(world)
    assert (row["dry_run"], row["advances"]) == (True, False)
    only = await run(world, repairs=frozenset({DifferenceClass.STATUS}), dry_run=True)
    assert only.found == report.found
    assert 0 < only.mended < report.mended


async def test_only_the_classes_that_are_asked_for_are_mended(world: World) -> None:
    await world.change(CORRUPT["status"])
    await world.change(CORRUPT["amount"])
    report = await run(world, repairs=frozenset({DifferenceClass.STATUS}))
    assert {(one.class_, one.mended) for one in report.differences} >= {("status", True), ("amount", False)}
    assert {one["class"] for one in await kept(world)} == {"amount"}


async def test_what_mends_itself_agrees_the_next_time(world: World) -> None:
    await world.change(CORRUPT["amount"])
    await run(world)
    await world.change(CORRUPT["amount"].replace("+ 1", "- 1"))
    report = await run(world)
    assert (report.found, report.settled) == (0, 1)
    assert [one["settled_how"] for one in await kept(world, all_=True)] == ["agrees"]


async def test_what_was_dismissed_is_not_told_again_until_it_changes(world: World) -> None:
    await world.change(CORRUPT["amount"])
    await run(world)
    (one,) = await kept(world)
    async with world.engine.begin() as conn:
        await desk.dismiss(conn, [one["id"]], Actor("ada", "known"), now=world.deps.clock.now())
    report = await run(world)
    assert (report.found, report.classes["amount"].dismissed, report.agrees) == (0, 1, True)
    assert await kept(world) == []
    await world.change(CORRUPT["amount"])
    assert (await run(world)).found == 1
    (row,) = await world.query("SELECT who, why FROM audit_log")
    assert row == ("ada", "known")


class Failing(Api):
    """Stripe's API; the `fatal`th request ends as it says."""

    fatal = 0
    error: Exception | None = None
    kills: asyncio.Task[Any] | None = None

    async def retrieve(self, path: str, **params: Any) -> dict[str, Any]:
        if len(self.asked) + 1 == self.fatal:
            self.asked.append((path, params))
            if self.error is not None:
                raise self.error
            assert self.kills is not None
            self.kills.cancel()
        await asyncio.sleep(0)
        return await super().retrieve(path, **params)


async def test_a_run_that_is_killed_at_any_request_is_made_again(world: World) -> None:
    for sql in CORRUPT.values():
        await world.change(sql)
    fatal = 0
    while True:
        fatal += 1 if fatal < 30 else 7
        api = Failing(world.life)
        api.fatal = fatal
        world.deps = replace(world.deps, stripe=api)
        api.kills = asyncio.create_task(mend(world))
        try:
            report = await api.kills
        except asyncio.CancelledError:
            continue
        break
    assert fatal > 30
    assert report.left == 0
    assert await world.oracle() == []
    assert await kept(world) == []
    found = await runs(world)
    assert {one["status"] for one in found[1:]} == {"failed"}
    assert {one["error"] for one in found[1:]} == {"it was stopped"}
    assert found[0]["advances"]
    assert (await mend(world)).found == 0


async def test_stripe_away_in_mid_run_puts_it_off_and_holds_up_nobody(world: World) -> None:
    api = Failing(world.life)
    api.fatal, api.error = 4, Refused("Stripe answered 403")
    world.deps = replace(world.deps, stripe=api)
    with pytest.raises(Refused, match="403"):
        await run(world)
    (row,) = await runs(world)
    assert (row["status"], row["error"]) == ("failed", "Stripe answered 403")
    assert (await run(world)).agrees


async def test_one_goes_on_at_a_time_and_a_killed_one_holds_up_nobody(world: World) -> None:
    inside, go_on = asyncio.Event(), asyncio.Event()

    class Slow(Api):
        async def retrieve(self, path: str, **params: Any) -> dict[str, Any]:
            if path == "balance_transactions":
                inside.set()
                await go_on.wait()
            return await super().retrieve(path, **params)

    await world.change(CORRUPT["amount"])
    slow = replace(world.deps, stripe=Slow(world.life))
    first = asyncio.create_task(reconcile(slow, asked_by="grace", patience=NOW))
    await inside.wait()
    with pytest.raises(Held, match="another comparison"):
        await run(world)
    with pytest.raises(Held, match="another comparison"):  # who waits does not even ask Stripe
        await reconcile(replace(world.deps, stripe=NoKey()), asked_by="ada")
    await world.change("UPDATE reconciliation_runs SET heartbeat_at = heartbeat_at - interval '1 minute'")
    second = await run(world)
    assert second.found == 1
    go_on.set()
    with pytest.raises(TryLater, match="taken for dead"):
        await first
    last, first_row = await runs(world)
    assert (last["status"], first_row["status"]) == ("done", "failed")
    assert "killed" in first_row["error"]
    assert len(await kept(world)) == 1


async def test_without_a_key_the_daily_run_says_so_and_does_not_die(world: World) -> None:
    d = replace(world.deps, stripe=NoKey())
    await reconcile_books.run(d, {"period": d.clock.now().isoformat()})
    (row,) = await runs(world)
    assert row["status"] == "failed"
    assert "STRIPE_SECRET_KEY" in row["error"]
    async with world.engine.connect() as conn:
        assert len(await desk.failed(conn)) == 1
    await reconcile_books.run(world.deps, {"period": d.clock.now().isoformat()})
    async with world.engine.connect() as conn:
        assert await desk.failed(conn) == []
    assert (await runs(world))[0]["asked_by"] == "schedule"


async def test_the_daily_run_mends_what_it_is_told_to(world: World) -> None:
    await world.change(CORRUPT["status"])
    await world.change(CORRUPT["amount"])
    settings = world.deps.settings.model_copy(update={"billing_reconcile_repair": frozenset({"status"})})
    d = replace(world.deps, settings=settings)
    await reconcile_books.run(d, {"period": d.clock.now().isoformat()})
    assert {one["class"] for one in await kept(world)} == {"amount"}


async def test_the_cursor_leaves_no_gap(world: World) -> None:
    first = await run(world)
    day = timedelta(days=1)
    behind = await run(world, since=first.until - day / 2, until=first.until - day / 4)
    assert not behind.advances
    whole = await run(world, since=first.until - 40 * day)
    assert whole.advances
    with pytest.raises(NotBegun, match="nothing happened at Stripe after"):
        await run(world, since=first.until + day)

    async def unreadable(*_: Any, **__: Any) -> Any:
        raise ValueError("a shape of tomorrow")

    await world.change(CORRUPT["amount"])
    api = Failing(world.life)
    world.deps = replace(world.deps, stripe=api)
    original = api.retrieve

    async def retrieve(path: str, **params: Any) -> dict[str, Any]:
        return await (unreadable if path.startswith("invoices/") else original)(path, **params)

    api.retrieve = retrieve  # type: ignore[method-assign] - this one object only
    skipped = await run(world)
    assert (skipped.skipped, skipped.advances, skipped.agrees) == (1, False, False)
    assert "a shape of tomorrow" in skipped.skips[0].why


class Busy(Api):
    """Stripe's API in an hour in which every third request is answered 429 or 500."""

    async def retrieve(self, path: str, **params: Any) -> dict[str, Any]:
        if len(self.asked) > 2 and len(self.asked) % 3 == 0:
            self.asked.append((path, params))
            raise TryLater("Stripe answered 429", after=timedelta())
        return await super().retrieve(path, **params)


async def test_limits_and_errors_in_mid_run_only_cost_time(world: World) -> None:
    for sql in CORRUPT.values():
        await world.change(sql)
    world.deps = replace(world.deps, stripe=Busy(world.life))
    report = await mend(world)
    assert (report.left, report.skipped, report.advances) == (0, 0, True)
    assert await world.oracle() == []


async def test_stripe_that_stays_away_puts_the_run_off(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot_kinds, "TRIES", 1)
    await world.change(CORRUPT["amount"])

    class Away(Api):
        gone = False

        async def retrieve(self, path: str, **params: Any) -> dict[str, Any]:
            self.gone |= path.startswith("invoices/")
            if self.gone:
                raise TryLater("Stripe answered 503", after=timedelta())
            return await super().retrieve(path, **params)

    d = replace(world.deps, stripe=Away(world.life))
    with pytest.raises(TryLater, match="503"):
        await reconcile_books.run(d, {"period": d.clock.now().isoformat()})
    (row,) = await runs(world)
    assert (row["status"], row["error"], row["advances"]) == ("failed", "Stripe answered 503", False)
    assert (await run(world)).found == 1


async def test_a_clock_of_ours_that_is_wrong_does_no_harm(world: World) -> None:
    """What was compared and how new an answer is goes by Stripe's clock."""
    for sql in CORRUPT.values():
        await world.change(sql)
    for hours in (-72, 72):
        world.deps = replace(world.deps, clock=MovedClock(world.deps.clock.now() + timedelta(hours=hours)))
        report = await mend(world)
        assert (report.left, report.waiting) == (0, 0)
        assert await world.oracle() == []
        assert report.until == (await world.stripe()).as_of
        await world.change(CORRUPT["amount"])
    assert (await run(world)).found == 1
