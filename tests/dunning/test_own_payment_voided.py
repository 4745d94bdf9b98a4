"""A payment that was a mistake had ended a case: it goes on where it stood, and nobody is written to twice."""

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from db import ledger
from jobs.invoices.pay import record
from jobs.invoices.void_payment import void_payment
from tests.dunning.kit import ADA
from tests.dunning.own import OwnScene, seller
from tests.events.kit import rows
from worker.errors import Refused


@pytest.fixture
async def scene(engine: AsyncEngine, tmp_path: Path) -> OwnScene:
    """A seller with a partner in London, on a Monday morning."""
    made = seller(engine, tmp_path)
    await made.contract()
    return made


async def recorded(scene: OwnScene, reference: str, amount: int = 12_000) -> None:
    async with scene.deps.tx() as tx:
        await record(tx, scene.ids["nw"], amount, method="bank_transfer", reference=reference, paid_at=tx.now, by=ADA)
    await scene.work()


async def voided(scene: OwnScene, reference: str) -> None:
    async with scene.deps.tx() as tx:
        await void_payment(tx, scene.ids["nw"], reference, by=ADA)
    await scene.work()


async def test_the_case_goes_on_with_the_days_that_it_was_closed(scene: OwnScene) -> None:
    await scene.issue()
    await scene.until(2026, 11, 24)
    assert await scene.templates() == ["invoice_overdue", "invoice_overdue"]
    await recorded(scene, "wrong")
    assert ((await scene.own())["outcome"], (await scene.templates())[-1]) == ("recovered", "recovered")
    await scene.days(20)
    await voided(scene, "wrong")
    case = await scene.own()
    assert (case["status"], case["outcome"], case["closed_at"], case["grace_days"]) == ("open", None, None, 20)
    assert (case["recovered_cents"], case["recovered_after_step"]) == (None, None)
    await scene.days(2)
    said = ["invoice_overdue", "invoice_overdue", "recovered", "final_notice"]
    assert await scene.templates() == said, "the final notice is as many days later"
    assert (await scene.mails())[-1]["created_at"][:10] == "2026-12-15"
    await recorded(scene, "right")
    case = await scene.own()
    assert (case["outcome"], case["recovered_cents"], case["recovered_after_step"]) == ("recovered", 12_000, 2)
    await scene.days(60)
    assert await scene.templates() == said
    mailed = "SELECT mailed FROM documents WHERE kind = 'receipt' AND copy_of IS NULL ORDER BY id"
    assert await scene.query(mailed) == [(False,), (True,)], "thanks were spent on the mistake: a receipt goes"
    assert len(await rows(scene.engine, "dunning_cases")) == 1


async def test_what_was_paid_before_its_day_is_overdue_after_all(scene: OwnScene) -> None:
    await scene.issue()
    await scene.until(2026, 11, 10)
    await recorded(scene, "wrong")
    await scene.until(2026, 11, 18)
    assert await rows(scene.engine, "dunning_cases") == []
    await voided(scene, "wrong")
    await scene.until(2026, 11, 19)
    assert ((await scene.own())["status"], await scene.templates()) == ("open", ["invoice_overdue"])


async def test_a_part_that_never_came_is_asked_for_again(scene: OwnScene) -> None:
    await scene.issue()
    await scene.until(2026, 11, 19)
    await recorded(scene, "wrong", 4_500)
    await voided(scene, "wrong")
    await scene.until(2026, 11, 24)
    amounts = [letter["context"]["amount"]["amount"] for letter in await scene.mails()]
    assert amounts == [12_000, 12_000]
    assert (await scene.own())["grace_days"] == 0
    await recorded(scene, "right")
    assert (await scene.templates())[-1] == "recovered"
    mailed = "SELECT mailed FROM documents WHERE kind = 'receipt' AND copy_of IS NULL ORDER BY id"
    assert await scene.query(mailed) == [(True,), (False,)], "thanked once: nobody was thanked for the mistake"


async def test_who_was_blocked_is_so_again(scene: OwnScene) -> None:
    await scene.begin()
    [(user,)] = await scene.query("SELECT id FROM users WHERE stripe_customer_id = 'cus_1'")
    await scene.issue(kind="overage", user_id=user, api_key_prefix=None)
    await scene.until(2026, 12, 4)
    assert await scene.status() == "blocked"
    await recorded(scene, "wrong")
    assert await scene.status() == "active"
    await voided(scene, "wrong")
    assert (await scene.status(), (await scene.own())["status"]) == ("blocked", "open")


async def test_it_is_not_given_up_for_the_days_in_which_it_was_closed(scene: OwnScene) -> None:
    await scene.begin()
    [(user,)] = await scene.query("SELECT id FROM users WHERE stripe_customer_id = 'cus_1'")
    await scene.issue(kind="overage", user_id=user, api_key_prefix=None)
    await scene.until(2026, 12, 4)
    await recorded(scene, "wrong")
    await scene.days(40)
    await voided(scene, "wrong")
    assert (await scene.status(), (await scene.own())["status"]) == ("blocked", "open")
    await scene.days(25)
    assert (await scene.own())["outcome"] is None
    await scene.days(10)
    assert (await scene.own())["outcome"] == "lost"


async def test_while_another_worker_holds_the_case_it_is_to_be_tried_again(scene: OwnScene) -> None:
    await scene.issue()
    await scene.until(2026, 11, 19)
    await recorded(scene, "wrong")
    async with scene.engine.begin() as other:
        await ledger.try_lock(other, {f"own-{scene.ids['nw']}"})
        with pytest.raises(Refused, match="try again"):
            await voided(scene, "wrong")
    scene.clock.move(timedelta(hours=1))
    await voided(scene, "wrong")
    assert (await scene.own())["status"] == "open"
