"""Who was dunned for an invoice and pays it hears `recovered`, and whoever was not gets a receipt: one or the other."""

import itertools

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.conftest import MovedClock
from tests.dunning.kit import TUESDAY, Scene
from tests.mail.letters_kit import keys


@pytest.fixture
async def scene(engine: AsyncEngine) -> Scene:
    """A customer with an active subscription."""
    made = Scene(engine, MovedClock(TUESDAY))
    await made.begin()
    return made


async def test_who_was_written_to_is_thanked_and_gets_no_receipt(scene: Scene) -> None:
    await scene.fail()
    await scene.work()
    paid = scene.pay()
    await scene.deliver(paid, scene.event("invoice.payment_succeeded", scene.stripe.things["in_1"]))
    await scene.deliver(paid)
    assert await keys(scene.engine) == ["dunning/in_1/0", "recovered/in_1"]


async def test_who_paid_before_anything_was_written_gets_a_receipt(scene: Scene) -> None:
    await scene.fail()
    await scene.deliver(scene.pay())
    await scene.work()
    assert await keys(scene.engine) == ["receipt/in_1"]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
async def test_a_failure_that_is_heard_of_late_does_not_take_the_receipt_away(
    scene: Scene, order: tuple[int, ...]
) -> None:
    failed, paid = scene.failed(), scene.pay()
    told = (failed, paid, scene.event("invoice.payment_succeeded", scene.stripe.things["in_1"]))
    for place in order:
        await scene.deliver(told[place])
    await scene.work()
    assert await keys(scene.engine) == ["receipt/in_1"]


async def test_stripe_knows_of_the_payment_before_its_event_comes(scene: Scene) -> None:
    await scene.fail()
    paid = scene.pay()
    await scene.work()
    assert await keys(scene.engine) == []
    await scene.deliver(paid)
    assert await keys(scene.engine) == ["receipt/in_1"]


async def test_the_bank_wants_a_confirmation_and_dunning_asks_for_it(scene: Scene) -> None:
    invoice = scene.invoice()
    scene.stripe.things["pi_1"]["status"] = "requires_action"
    await scene.tell("invoice.payment_action_required", invoice)
    await scene.work()
    assert await keys(scene.engine) == ["dunning/in_1/0"]
    assert await scene.letters() == ["action_required"]


async def test_at_the_checkout_page_nobody_is_asked_by_mail(scene: Scene) -> None:
    await scene.change("customer.subscription.updated", "sub_1", status="incomplete")
    invoice = scene.invoice(billing_reason="subscription_create")
    scene.stripe.things["pi_1"]["status"] = "requires_action"
    await scene.tell("invoice.payment_action_required", invoice)
    await scene.work()
    assert await keys(scene.engine) == []
