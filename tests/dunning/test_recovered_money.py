"""Recovered is what was paid since the case was opened: never what was paid before, and never what was credited."""

from datetime import timedelta

from db.operators.figures import figures
from tests.dunning.kit import Scene
from tests.events.kit import Json, row


async def settle(scene: Scene, *, due: int, paid: int, **more: object) -> None:
    """The invoice is paid; a credit note may have lowered what was due."""
    at = {"paid_at": scene.at()}
    changes: Json = {"amount_due": due, "amount_paid": paid, "amount_remaining": 0, "status_transitions": at, **more}
    await scene.change("invoice.paid", "in_1", status="paid", **changes)


async def in_arrears(scene: Scene) -> None:
    """Of ten dollars six were paid before; the rest failed."""
    scene.invoice(amount_due=1000, amount_paid=600, amount_remaining=400)
    await scene.fail()
    await scene.work()


async def test_what_was_paid_before_and_what_was_credited_is_not_recovered(scene: Scene) -> None:
    await in_arrears(scene)
    await settle(scene, due=700, paid=700)
    case = await scene.case()
    assert (case["amount_cents"], case["paid_at_opening_cents"]) == (400, 600)
    assert (case["recovered_cents"], case["credited_cents"]) == (100, 300)
    assert (await scene.letter("recovered/in_1"))["amount"]["amount"] == 100
    async with scene.engine.connect() as conn:
        (usd,) = (await figures(conn))["currencies"]
    assert (usd["recovered_cents"], usd["decided_cents"], usd["amount_rate_bp"]) == (100, 100, 10_000)


async def test_a_credited_rest_is_no_recovery(scene: Scene) -> None:
    await in_arrears(scene)
    await settle(scene, due=600, paid=600)
    case = await scene.case()
    assert (case["outcome"], case["recovered_cents"]) == ("void", None)
    assert await scene.letters() == ["payment_failed"]
    assert await scene.status() == "active"


async def test_what_was_transferred_is_recovered(scene: Scene) -> None:
    await in_arrears(scene)
    await settle(scene, due=1000, paid=600, paid_out_of_band=True)
    case = await scene.case()
    assert (case["outcome"], case["recovered_cents"], case["credited_cents"]) == ("recovered", 400, 0)


async def test_what_was_credited_before_it_was_lost_was_never_to_be_had(scene: Scene) -> None:
    await scene.fail()
    await scene.work()
    await scene.change("invoice.updated", "in_1", amount_due=700, amount_remaining=700)
    await scene.change("invoice.marked_uncollectible", "in_1", status="uncollectible")
    assert (await scene.case())["credited_cents"] == 300
    async with scene.engine.connect() as conn:
        (usd,) = (await figures(conn))["currencies"]
    assert (usd["recovered_cents"], usd["decided_cents"]) == (0, 700)


async def test_a_payment_counts_for_the_step_before_it_however_late_it_is_told(scene: Scene) -> None:
    scene.keyless = True
    await scene.fail()
    await scene.days(2)
    paid = scene.pay()
    await scene.days(2)
    assert await scene.letters() == ["payment_failed", "dunning_reminder"]
    await scene.deliver(paid)
    assert (await scene.case())["recovered_after_step"] == 0
    async with scene.engine.connect() as conn:
        found = await figures(conn)
    days = int(timedelta(days=2).total_seconds())
    assert [(one["position"], one["recovered"], one["median_seconds"]) for one in found["steps"]] == [
        (0, 1, days), (1, 0, None)
    ]  # fmt: skip
    assert [(one["decline_code"], one["median_seconds"]) for one in found["decline_codes"]] == [(None, days)]


async def test_what_is_given_back_later_was_recovered_all_the_same(scene: Scene) -> None:
    await scene.fail()
    await scene.work()
    await scene.deliver(scene.pay())
    await scene.tell("invoice_payment.paid", _link(scene))
    await scene.change("charge.refunded", "ch_1", amount_refunded=1000, refunded=True)
    assert (await row(scene.engine, "payment_history", stripe_charge_id="ch_1"))["status"] == "refunded"
    case = await scene.case()
    assert (case["outcome"], case["recovered_cents"]) == ("recovered", 1000)


def _link(scene: Scene) -> Json:
    payment = scene.stripe.things["in_1"]["payments"]["data"][0]
    return payment | {"invoice": "in_1", "amount_paid": 1000, "currency": "usd"}
