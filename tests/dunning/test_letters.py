"""What the letters of a case tell, and that none is sent on stale knowledge."""

from datetime import timedelta

import pytest

from db.dunning import was_dunned
from tests.dunning.kit import Scene
from tests.events.kit import Json, rows
from worker.settings import Settings


async def test_the_first_letter_tells_what_stripe_counts_and_plans(scene: Scene) -> None:
    """Known elsewhere: an attempt count that is off by one, because it was counted, not read."""
    await scene.fail(again=3)
    await scene.work()
    letter = await scene.letter("dunning/in_1/0")
    assert letter["attempt_count"] == 1
    assert letter["next_payment_attempt"].startswith("2026-03-06T14:30")
    assert (letter["hard"], letter["decline_code"]) == (False, "insufficient_funds")
    assert letter["amount"] == {"amount": 1000, "currency": "usd"}
    assert letter["method"] == {"brand": "visa", "last4": "4242"}
    [email] = await rows(scene.engine, "emails")
    assert (email["recipient"], email["locale"], email["timezone"]) == ("ada@example.org", "de", "Europe/Berlin")


@pytest.mark.parametrize("url", ["", "javascript:alert(1)", "invoice.stripe.com/i/1", None])
async def test_a_link_that_is_none_costs_no_letter(scene: Scene, url: str | None) -> None:
    scene.invoice(hosted_invoice_url=url)
    await scene.fail()
    await scene.work()
    await scene.deliver(scene.pay())
    for key in ("dunning/in_1/0", "recovered/in_1"):
        assert (await scene.letter(key))["link"] is None


async def test_a_hard_decline_promises_no_retries(scene: Scene) -> None:
    await scene.fail(code="stolen_card", again=3)
    await scene.days(4)
    letter = await scene.letter("dunning/in_1/0")
    assert (letter["hard"], letter["next_payment_attempt"]) == (True, None)
    assert (await scene.letter("dunning/in_1/1"))["next_payment_attempt"] is None
    assert (await scene.case())["decline_code"] == "stolen_card"


async def test_reminders_tell_what_follows_and_when(scene: Scene) -> None:
    await scene.fail()
    await scene.days(8)
    reminder, notice = await scene.letter("dunning/in_1/1"), await scene.letter("dunning/in_1/2")
    assert (reminder["reminder"], reminder["days_overdue"], reminder["action"]) == (1, 3, "block")
    assert notice["days_overdue"] == 7
    assert notice["final_on"].startswith("2026-03-17T15:30")


async def test_the_bank_asks_for_a_confirmation(scene: Scene) -> None:
    invoice = scene.invoice()
    scene.stripe.things["pi_1"]["status"] = "requires_action"
    await scene.tell("invoice.payment_action_required", invoice)
    await scene.work()
    assert await scene.letters() == ["action_required"]
    assert (await scene.case())["opened_by"] == "payment_action_required"


async def test_an_invoice_that_is_sent_is_dunned_when_it_is_overdue(scene: Scene) -> None:
    due = scene.at() + 3 * 86_400
    scene.invoice(collection_method="send_invoice", due_date=due)
    await scene.fail()  # a card that its customer tried by hand, before anything was due
    assert await rows(scene.engine, "dunning_cases") == []
    await scene.days(3)
    await scene.tell("invoice.overdue", "in_1")
    await scene.days(8)
    assert await scene.letters() == ["invoice_overdue", "invoice_overdue", "final_notice"]
    assert (await scene.letter("dunning/in_1/1"))["days_overdue"] == 3
    assert (await scene.case())["opened_by"] == "overdue"


async def test_whoever_has_paid_is_not_written_to_though_the_event_is_late(scene: Scene) -> None:
    """Known elsewhere: `renewed` and `failed` both sent."""
    await scene.fail()
    paid = scene.pay()
    await scene.work()
    assert await scene.letters() == []
    assert (await scene.case())["outcome"] == "recovered"
    await scene.deliver(paid)
    await scene.work()
    assert await scene.letters() == []


async def test_while_stripe_is_away_nothing_is_sent_and_nothing_is_lost(scene: Scene) -> None:
    await scene.fail()
    scene.stripe.away = True
    await scene.days(0.5)
    assert await scene.letters() == []
    scene.stripe.away = False
    await scene.days(0.5)
    assert await scene.letters() == ["payment_failed"]


async def test_without_a_key_the_ledger_is_read_and_that_is_said(scene: Scene) -> None:
    scene.keyless = True
    await scene.fail()
    await scene.days(4)
    found = await scene.query("SELECT letter, read_from FROM dunning_steps ORDER BY position")
    assert found == [("payment_failed", "ledger"), ("dunning_reminder", "ledger")]
    assert scene.stripe.asked == []
    assert await scene.parked() == []


async def test_without_a_key_the_decline_is_found_by_customer_amount_and_time(scene: Scene) -> None:
    scene.keyless = True
    intent: Json = {"id": "pi_1", "object": "payment_intent", "customer": "cus_1", "amount": 1000, "currency": "usd"}
    error = {"code": "card_declined", "decline_code": "lost_card"}
    intent |= {"status": "requires_payment_method", "last_payment_error": error, "created": scene.at()}
    await scene.tell("payment_intent.payment_failed", intent)
    await scene.fail()
    await scene.work()
    assert (await scene.letter("dunning/in_1/0"))["decline_code"] == "lost_card"


async def test_a_late_worker_writes_once_the_newest(scene: Scene) -> None:
    await scene.fail()
    await scene.work()
    scene.clock.move(timedelta(days=9))
    await scene.work()
    assert await scene.letters() == ["payment_failed", "final_notice"]
    assert await scene.steps() == [(0, "taken"), (1, "collapsed"), (2, "taken")]


async def test_a_worker_that_comes_back_at_night_waits_for_the_morning(scene: Scene) -> None:
    await scene.fail()
    await scene.work()
    scene.clock.move(timedelta(days=3, hours=9))  # Friday night in Berlin
    await scene.work()
    assert await scene.letters() == ["payment_failed"]
    assert (await scene.case())["next_step_at"] == "2026-03-09T07:00:00+00:00"  # Monday, eight o'clock
    await scene.days(3)
    assert await scene.letters() == ["payment_failed", "dunning_reminder"]


async def test_whoever_hears_of_it_for_the_first_time_late_gets_the_days_before_the_action(scene: Scene) -> None:
    """Known elsewhere: a step anchored to the time of the run, and so skipped; here it is only late."""
    await scene.fail()
    scene.clock.move(timedelta(days=30))
    await scene.work()
    assert await scene.letters() == ["final_notice"]
    await scene.days(6.5)
    assert await scene.letters() == ["final_notice"]
    await scene.days(2)
    assert await scene.letters() == ["final_notice", "access_suspended"]
    assert await scene.steps() == [(0, "collapsed"), (1, "collapsed"), (2, "taken"), (3, "taken")]


async def test_a_customer_without_address_is_blocked_but_not_written_to(scene: Scene) -> None:
    scene.stripe.things["cus_1"]["email"] = None
    await scene.fail()
    await scene.days(15)
    assert await scene.letters() == []
    found = await scene.query("SELECT DISTINCT detail FROM dunning_steps")
    assert found == [("the customer has no e-mail address",)]
    assert await scene.status() == "blocked"


async def test_paying_opens_the_door_again(scene: Scene) -> None:
    await scene.fail()
    await scene.days(15)
    assert await scene.status() == "blocked"
    await scene.deliver(scene.pay())
    assert await scene.status() == "active"
    assert (await scene.letter("recovered/in_1"))["restored"] is True


async def test_two_invoices_are_two_cases_and_one_status(scene: Scene) -> None:
    await scene.fail()
    await scene.begin("2")
    scene.invoice("2", customer="cus_1")
    await scene.fail("2")
    await scene.days(15)
    await scene.deliver(scene.pay("1"))
    assert await scene.status() == "blocked"
    await scene.deliver(scene.pay("2"))
    assert await scene.status() == "active"


async def test_who_was_dunned_gets_no_receipt(scene: Scene) -> None:
    async with scene.engine.connect() as conn:
        assert await was_dunned(conn, ["in_1"]) == set()
    await scene.fail()
    async with scene.engine.connect() as conn:
        assert await was_dunned(conn, ["in_1"]) == set()
    await scene.work()
    async with scene.engine.connect() as conn:
        assert await was_dunned(conn, ["in_1", "in_2"]) == {"in_1"}
    await scene.deliver(scene.pay())
    async with scene.engine.connect() as conn:
        assert await was_dunned(conn, ["in_1"]) == {"in_1"}
        assert await was_dunned(conn, []) == set()


@pytest.mark.parametrize(("says", "zone"), [(None, "Asia/Tokyo"), ("Mars/Olympus", "Asia/Tokyo"), ("UTC", "UTC")])
async def test_the_customers_time_zone_or_the_configured_one(scene: Scene, says: str | None, zone: str) -> None:
    scene.settings = Settings.model_construct(billing_default_timezone="Asia/Tokyo")
    scene.stripe.things["cus_1"]["metadata"] = {"timezone": says} if says else {}
    await scene.fail()
    await scene.work()
    assert (await scene.case())["timezone"] == zone
