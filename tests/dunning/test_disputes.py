"""While the bank decides about a part that was paid, nobody is written to about the rest."""

from tests.dunning.kit import Scene
from tests.events import objects
from tests.events.kit import Json


async def partly_paid(scene: Scene) -> None:
    """Four dollars of ten were paid; the rest failed."""
    await scene.fail()
    await scene.work()
    invoice = scene.stripe.things["in_1"]
    charge = scene.stripe.put(objects.charge("ch_4", customer="cus_1", payment_intent=None, amount=400), disputed=False)
    payment: Json = {
        "id": "inpay_4",
        "object": "invoice_payment",
        "status": "paid",
        "is_default": False,
        "created": scene.at(),
        "payment": {"type": "charge", "charge": charge["id"]},
    }
    invoice["payments"]["data"].append(payment)
    await scene.tell("charge.succeeded", charge)
    await scene.tell("invoice_payment.paid", payment | {"invoice": "in_1", "amount_paid": 400, "currency": "usd"})
    await scene.change("invoice.updated", "in_1", amount_paid=400, amount_remaining=600)


async def test_a_dispute_suspends_and_a_won_one_lets_it_go_on(scene: Scene) -> None:
    await partly_paid(scene)
    scene.stripe.things["ch_4"]["disputed"] = True
    scene.stripe.put(objects.dispute(id="dp_4", charge="ch_4", payment_intent=None, amount=400))
    await scene.tell("charge.dispute.created", "dp_4")
    case = await scene.case()
    assert (case["status"], case["paused_by"], case["outcome"]) == ("paused", "stripe", None)
    assert case["reason"] == "a payment of it is disputed: the bank decides"
    await scene.days(5)
    assert await scene.letters() == ["payment_failed"]
    await scene.change("charge.dispute.closed", "dp_4", status="won")
    await scene.days(1)
    assert (await scene.case())["status"] == "open"
    assert await scene.letters() == ["payment_failed", "dunning_reminder"]
