"""A case that was given up ends for good when nobody claims its invoice any more, or when an operator lets it be."""

import pytest

from db.operators.actions import NotAllowedError
from db.states import CaseOutcome
from jobs.dunning import operate
from jobs.dunning.policies import put, read_policy
from tests.dunning.kit import ADA, Scene
from tests.events.kit import Json


async def paused_at_the_end(scene: Scene) -> None:
    """A policy that pauses collection after three days."""
    steps: list[Json] = [
        {"day": 0, "letter": "payment_failed"},
        {"day": 3, "letter": "access_suspended", "action": "pause_collection"},
    ]
    async with scene.deps.tx() as tx:
        await put(tx.conn, read_policy({"name": "pause", "steps": steps}), ADA, now=tx.now)


async def test_a_lost_invoice_that_is_voided_blocks_nobody_any_more(scene: Scene) -> None:
    await scene.fail()
    await scene.days(47, step=1)
    assert ((await scene.case())["outcome"], await scene.status()) == ("lost", "blocked")
    await scene.change("invoice.voided", "in_1", status="void")
    assert ((await scene.case())["outcome"], await scene.status()) == ("void", "active")
    assert "recovered" not in await scene.letters()


async def test_what_we_paused_goes_on_when_the_lost_invoice_is_voided(scene: Scene) -> None:
    await paused_at_the_end(scene)
    await scene.fail()
    await scene.days(40, step=1)
    assert scene.stripe.things["sub_1"]["pause_collection"] is not None
    await scene.change("invoice.voided", "in_1", status="void")
    await scene.work()
    assert scene.stripe.things["sub_1"]["pause_collection"] is None


async def test_a_lost_invoice_that_is_wholly_credited_blocks_nobody_any_more(scene: Scene) -> None:
    await scene.fail()
    await scene.days(47, step=1)
    await scene.change("invoice.paid", "in_1", status="paid", amount_due=0, amount_remaining=0, amount_paid=0)
    assert ((await scene.case())["outcome"], await scene.status()) == ("void", "active")
    assert "recovered" not in await scene.letters()


async def test_an_operator_lets_a_lost_case_be(scene: Scene) -> None:
    await paused_at_the_end(scene)
    await scene.fail()
    await scene.days(40, step=1)
    assert await scene.status() == "blocked"
    async with scene.deps.tx() as tx:
        with pytest.raises(NotAllowedError, match=r"is closed \(lost\)"):
            await operate.let_be(tx, "in_1", ADA, outcome=CaseOutcome.LOST)
        with pytest.raises(NotAllowedError, match=r"is closed \(lost\)"):
            await operate.pause(tx, "in_1", ADA)
        await operate.let_be(tx, "in_1", ADA)
        with pytest.raises(NotAllowedError, match=r"is closed \(exempt\)"):
            await operate.let_be(tx, "in_1", ADA)
    await scene.work()
    assert ((await scene.case())["outcome"], await scene.status()) == ("exempt", "active")
    assert scene.stripe.things["sub_1"]["pause_collection"] is None
    await scene.deliver(scene.pay())
    assert (await scene.case())["outcome"] == "recovered"


async def test_who_buys_again_still_owes_what_was_lost(scene: Scene) -> None:
    await scene.fail()
    await scene.days(47, step=1)
    await scene.begin("2")
    await scene.tell("customer.subscription.created", scene.stripe.things["sub_2"] | {"customer": "cus_1"})
    invoice = scene.invoice("2", customer="cus_1", billing_reason="subscription_create")
    await scene.tell("invoice.paid", invoice | {"status": "paid", "amount_paid": 1000, "amount_remaining": 0})
    assert await scene.status() == "blocked"
    async with scene.deps.tx() as tx:
        await operate.let_be(tx, "in_1", ADA)
    assert await scene.status() == "active"
