"""A run refuses a key that is not of these books, and one object that Stripe cannot show stops no run."""

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from intake.reconciliation import next_steps, verdict
from jobs.reconciliation import run as runs
from jobs.reconciliation import snapshot_kinds
from jobs.reconciliation.daily import reconcile_books
from jobs.reconciliation.replay import Replayed
from jobs.reconciliation.run import NotBegun
from tests.reconciliation.looking_kit import Api, World
from tests.reconciliation.test_run import kept, mend, run
from tests.reconciliation.test_run_waits import open_invoice, pay
from tests.simulator.kit import new_api
from tests.simulator.life import Life
from worker.errors import Refused, TryLater
from worker.settings import StripeMode


@pytest.fixture
def world(engine: AsyncEngine) -> World:
    return World(engine, Life())


async def test_a_key_of_the_other_mode_is_refused(world: World) -> None:
    """Test customers would be written into the live books, and mailed."""
    life = world.life
    life.customer("Test Person")
    pay(life, 5000)
    life.wait(1)
    life.customer("Somebody Else")
    world.events()
    life.wait(1)
    settings = world.deps.settings.model_copy(update={"stripe_mode": StripeMode.LIVE})
    world.deps = replace(world.deps, settings=settings)
    for dry_run in (True, False):
        with pytest.raises(NotBegun, match="a key of test mode, but STRIPE_MODE is live"):
            await mend(world, dry_run=dry_run)
    await reconcile_books.run(world.deps, {"period": world.deps.clock.now().isoformat()})
    assert await world.query("SELECT status, error LIKE '%STRIPE_MODE%' FROM reconciliation_runs") == [("failed", True)]
    for table in ("charges", "users", "webhook_events", "balance_transactions"):
        assert await world.query(f"SELECT count(*) FROM {table}") == [(0,)]  # noqa: S608 - our own tables
    for mode in (StripeMode.TEST, StripeMode.ANY):
        world.deps = replace(world.deps, settings=settings.model_copy(update={"stripe_mode": mode}))
        assert (await run(world)).found


class Sick(Api):
    """Stripe answers 500 to all that begins so."""

    sick: tuple[str, ...] = ()

    async def retrieve(self, path: str, **params: Any) -> dict[str, Any]:
        if path.startswith(self.sick):
            self.asked.append((path, params))
            raise TryLater("Stripe answered 500")
        return await super().retrieve(path, **params)


async def several_wrong(world: World, count: int, monkeypatch: pytest.MonkeyPatch) -> tuple[Sick, list[str]]:
    """Invoices that were changed behind everybody's back."""
    monkeypatch.setattr(snapshot_kinds, "TRIES", 1)
    names = sorted(open_invoice(world.life)["id"] for _ in range(count))
    world.life.wait(0.5)
    world.life.customer("X")
    await world.tell()
    assert (await run(world)).found == 0
    await world.change("UPDATE invoices SET total_cents = total_cents + 1")
    api = Sick(world.life)
    world.deps = replace(world.deps, stripe=api)
    return api, names


async def test_an_object_that_stripe_cannot_show_stops_no_run(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    api, (low, high) = await several_wrong(world, 2, monkeypatch)
    api.sick = (f"invoices/{high}",)
    for _ in range(2):
        report = await mend(world)
        assert (report.skipped, report.advances, report.agrees) == (1, False, False)
        assert await world.query("SELECT stripe_invoice_id FROM invoices WHERE total_cents = 5000") == [(low,)]
        assert {one["object_id"] for one in await kept(world, all_=True)} == {low}
    world.life.wait(1)
    world.life.customer("Y")
    await world.tell()
    assert (await mend(world)).skips[0].object_id == high
    api.sick = ("none",)
    last = await mend(world)
    assert (last.left, last.advances) == (0, True)
    assert {one["object_id"] for one in await kept(world, all_=True)} == {low, high}


async def test_what_was_mended_before_stripe_went_away_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    api, (low, high) = await several_wrong(world, 2, monkeypatch)

    async def away(*_: Any) -> Any:
        raise TryLater("Stripe answered 503")

    api.sick = (f"invoices/{high}",)
    monkeypatch.setattr("jobs.reconciliation.looking.newest", away)
    with pytest.raises(TryLater, match="503"):
        await mend(world)
    (row,) = await kept(world, all_=True)
    assert (row["object_id"], row["settled_how"]) == (low, "repaired")


async def test_when_none_of_many_is_answered_the_run_is_put_off(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    api, _ = await several_wrong(world, 8, monkeypatch)
    api.sick = ("invoices/",)
    with pytest.raises(TryLater, match="500"):
        await mend(world)


async def test_events_that_cannot_be_read_or_were_given_up_are_told(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.life.customer("X")
    await world.tell()
    world.life.wait(0.1)

    async def replay(*_: Any, **__: Any) -> Replayed:
        return Replayed(seen=3, missed=1, unread=1, dead=2)

    monkeypatch.setattr(runs, "replay", replay)
    report = await mend(world)
    assert (report.events.unread, report.events.dead, report.advances, report.agrees) == (1, 2, False, False)
    assert "1 event of Stripe's could not be read" in verdict(report)
    assert "given up" in " ".join(next_steps(report))


async def test_a_key_of_another_account_is_refused(engine: AsyncEngine) -> None:
    """Of the same mode: only the account's id tells them apart."""
    ours, theirs = World(engine, Life()), World(engine, Life(new_api(seed=8)))
    for one in (ours, theirs):
        one.life.customer("Ada")
        pay(one.life, 5000)
        one.life.wait(0.5)
    await ours.tell()
    first = await run(ours)
    assert (first.stripe_id or "").startswith("acct_1")
    for dry_run in (True, False):
        with pytest.raises(NotBegun, match=f"these books were compared with {first.stripe_id}"):
            await mend(theirs, dry_run=dry_run)
    assert len(await ours.query("SELECT 1 FROM charges")) == 1
    restricted = Restricted(theirs.life)
    theirs.deps = replace(theirs.deps, stripe=restricted)
    unknown = await run(theirs, dry_run=True)
    theirs.deps = replace(theirs.deps, stripe=theirs.api)
    assert unknown.stripe_id is None
    changed = await run(theirs, account_changed=True, why="the company was sold")
    assert changed.stripe_id != first.stripe_id
    assert await ours.query("SELECT why FROM audit_log WHERE action = 'reconciliation.run'") == [
        ("the company was sold",)
    ]
    with pytest.raises(NotBegun, match=f"{changed.stripe_id}"):
        await run(ours)


class Restricted(Api):
    """A key that may not read its own account."""

    async def retrieve(self, path: str, **params: Any) -> dict[str, Any]:
        if path == "account":
            raise Refused("Stripe answered 403 to GET /v1/account")
        return await super().retrieve(path, **params)
