"""Without an API key nobody is written to, or blocked, on what the ledger only half knows."""

from datetime import timedelta

import pytest

from db.inbox import StoredEvent
from db.operators.actions import NotAllowedError
from jobs.dunning import operate
from tests.dunning.kit import ADA, Scene
from tests.events import objects


@pytest.fixture
def keyless(scene: Scene) -> Scene:
    """The ledger is all there is."""
    scene.keyless = True
    return scene


async def test_a_payment_that_is_booked_counts_before_its_invoice_tells_of_it(keyless: Scene) -> None:
    await keyless.fail()
    await keyless.days(2.9)
    keyless.stripe.put(objects.charge("ch_1", customer="cus_1", payment_intent="pi_1", invoice="in_1"))
    await keyless.tell("charge.succeeded", "ch_1")
    await keyless.days(4)
    case = await keyless.case()
    assert (case["status"], case["paused_by"]) == ("paused", "stripe")
    assert "payments that cover it are booked" in case["reason"]
    assert await keyless.letters() == ["payment_failed"]
    await keyless.deliver(keyless.pay())
    assert await keyless.letters() == ["payment_failed", "recovered"]


async def test_a_part_that_is_booked_covers_nothing(keyless: Scene) -> None:
    await keyless.fail()
    await keyless.days(2.9)
    keyless.stripe.put(objects.charge("ch_1", customer="cus_1", payment_intent="pi_1", invoice="in_1", amount=999))
    await keyless.tell("charge.succeeded", "ch_1")
    await keyless.days(1)
    assert await keyless.letters() == ["payment_failed", "dunning_reminder"]


async def test_what_lies_in_the_inbox_is_waited_for(keyless: Scene) -> None:
    await keyless.fail()
    await keyless.days(2.9)
    paid = keyless.pay()
    await _lies_in_the_inbox(keyless, paid)
    await keyless.days(1)
    assert await keyless.letters() == ["payment_failed"]
    [(waits,)] = await keyless.query("SELECT last_error FROM jobs WHERE name = 'take_step' AND status = 'retrying'")
    assert f"the event {paid.id} of this customer is not applied yet" in waits
    await keyless.query_and_commit("DELETE FROM queue WHERE event_id IS NOT NULL")
    await keyless.deliver(paid)
    await keyless.days(1)
    assert await keyless.letters() == ["payment_failed", "recovered"]


async def _lies_in_the_inbox(scene: Scene, event: StoredEvent) -> None:
    await scene.query_and_commit(
        """
        WITH w AS (
            INSERT INTO webhook_events (id, type, livemode, object_id, customer_id, payload, created_at, received_at)
            VALUES (:id, 'invoice.paid', false, 'in_1', 'cus_1', '{}', :now, :now) RETURNING id
        )
        INSERT INTO queue (queue, name, event_id, due_at) SELECT 'webhooks', 'invoice.paid', id, :now FROM w
        """,
        id=event.id,
        now=scene.clock.now(),
    )


async def test_old_news_waits_for_an_operator(keyless: Scene) -> None:
    told = keyless.failed()
    keyless.clock.move(timedelta(days=60))
    await keyless.deliver(told)
    await keyless.days(20, step=1)
    case = await keyless.case()
    assert (case["status"], case["paused_by"], case["next_step_at"]) == ("paused", "operator", None)
    assert "nobody was told in time: it failed 60 days ago" in case["reason"]
    assert (await keyless.letters(), await keyless.status()) == ([], "active")
    async with keyless.deps.tx() as tx:
        with pytest.raises(NotAllowedError, match="resume it first"):
            await operate.send_now(tx, "in_1", ADA, position=0)
        await operate.resume(tx, "in_1", ADA)
    await keyless.days(4)
    assert await keyless.letters() == ["payment_failed", "dunning_reminder"]
    ages = await keyless.query("SELECT created_at - occurred_at < interval '1 day' FROM emails")
    assert ages == [(True,), (True,)]


async def test_news_within_the_age_of_a_letter_go_out(keyless: Scene) -> None:
    told = keyless.failed()
    keyless.clock.move(timedelta(days=2))
    await keyless.deliver(told)
    await keyless.work()
    assert await keyless.letters() == ["payment_failed"]


async def test_the_decline_code_is_that_of_the_invoice_itself(scene: Scene) -> None:
    """Two invoices of one customer with the same amount fail twenty seconds apart, for different reasons."""
    scene.keyless = True
    scene.stripe.put(objects.subscription("sub_2", customer="cus_1", pause_collection=None))
    scene.invoice("1")
    scene.invoice("2", customer="cus_1")
    for tag, code in (("1", "insufficient_funds"), ("2", "lost_card")):
        told = scene.failed(tag, code=code)
        charge = objects.charge(
            f"ch_{tag}",
            "failed",
            customer="cus_1",
            payment_intent=f"pi_{tag}",
            created=scene.at(),
            failure_code="card_declined",
            outcome={"reason": code},
        )
        await scene.tell("charge.failed", charge)
        await scene.deliver(told)
        scene.clock.move(timedelta(seconds=20))
    await scene.work()
    codes = [(await scene.case(tag))["decline_code"] for tag in ("1", "2")]
    assert codes == ["insufficient_funds", "lost_card"]
