"""What was never told, and is too old for the Events API, is mended with letters, dunning and history."""

from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.reconciliation.looking_kit import World, told
from tests.simulator.life import Life

Json = dict[str, Any]

PAID = (
    "invoice.paid",
    "invoice.payment_succeeded",
    "invoice.updated",
    "invoice.finalized",
    "invoice_payment.paid",
    "charge.succeeded",
    "payment_intent.succeeded",
    "payment_intent.created",
)


@pytest.fixture
def world(engine: AsyncEngine) -> World:
    return World(engine, Life())


async def renewal(world: World) -> tuple[Json, Json]:
    """A customer whose subscription renews; all was told until the day before."""
    life = world.life
    customer = life.customer("Ada Lovelace")
    made = life.subscribe(customer, life.price(2000))
    life.wait(27)
    await world.tell()
    return customer, made


def at(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


async def letters(world: World) -> list[tuple[Any, ...]]:
    return await world.query("SELECT key, occurred_at, status FROM emails ORDER BY id")


async def test_a_payment_that_was_never_told_gets_its_one_receipt(world: World) -> None:
    _, made = await renewal(world)
    first = await letters(world)
    world.life.wait(5)
    await world.tell(without=PAID)
    invoice = world.life.get(f"subscriptions/{made['id']}")["latest_invoice"]
    looked = await world.repair("invoice", invoice)
    assert looked.mended
    missing = {("charge", "missing_here", ""), ("invoice_payment", "missing_here", "")}
    assert missing | {("invoice", "status", "status")} <= told(looked)
    shown = world.life.get(f"invoices/{invoice}")
    new = [one for one in await letters(world) if one not in first]
    assert new == [(f"receipt/{invoice}", at(shown["status_transitions"]["paid_at"]), "queued")]
    ((status, amount, link),) = await world.query(
        "SELECT p.status, p.amount_cents, i.stripe_invoice_id FROM payment_history p"
        " LEFT JOIN invoices i ON i.id = p.invoice_id WHERE p.stripe_invoice_id = :invoice",
        invoice=invoice,
    )
    assert (status, amount, link) == ("succeeded", 2000, invoice)
    assert (await world.repair("invoice", invoice)).differences == ()
    await world.repair("charge", world.all("charge")[-1]["id"])
    assert [one for one in await letters(world) if one not in first] == new


async def test_nobody_gets_a_receipt_for_a_payment_of_two_months_ago(world: World) -> None:
    _, made = await renewal(world)
    before = len(await letters(world))
    world.life.wait(5)
    await world.tell(without=PAID)
    invoice = world.life.get(f"subscriptions/{made['id']}")["latest_invoice"]
    world.life.post(f"subscriptions/{made['id']}", cancel_at_period_end=True)
    world.life.wait(60)
    await world.tell()
    looked = await world.repair("invoice", invoice)
    assert looked.mended
    await world.work("mail")
    ((key, _, status),) = (await letters(world))[before:]
    assert (key, status) == (f"receipt/{invoice}", "suppressed")


async def test_a_refund_of_long_ago_is_mended_without_a_letter(world: World) -> None:
    life = world.life
    customer = life.customer("Ada Lovelace")
    paid = life.post("payment_intents", amount=5000, currency="usd", customer=customer["id"], confirm=True,
                     payment_method=customer["invoice_settings"]["default_payment_method"])  # fmt: skip
    await world.tell()
    refund = life.post("refunds", payment_intent=paid["id"], amount=1500)
    life.wait(50)
    life.customer("Somebody Else")
    lost = ("charge.refunded", "refund.created", "refund.updated", "charge.refund.updated", "charge.updated")
    await world.tell(without=lost)
    looked = await world.repair("charge", paid["latest_charge"])
    assert {("refund", "missing_here", ""), ("charge", "refund", "amount_refunded_cents"),
            ("payment", "refund", "refund_amount_cents"), ("payment", "status", "status")} <= told(looked)  # fmt: skip
    assert [row[:2] for row in await letters(world)] == [(f"refund/{refund['id']}", at(refund["created"]))]
    await world.work("mail")
    assert [row[2] for row in await letters(world)] == ["suppressed"]
    ((status, sum_, refunded_at),) = await world.query(
        "SELECT status, refund_amount_cents, refunded_at FROM payment_history"
    )
    assert (status, sum_, refunded_at) == ("partially_refunded", 1500, at(refund["created"]))
    assert (await world.repair("refund", refund["id"])).differences == ()


async def test_a_failed_renewal_that_was_never_told_is_dunned_since_it_failed(world: World) -> None:
    customer, made = await renewal(world)
    life = world.life
    bad = life.post("payment_methods/pm_card_chargeCustomerFail/attach", customer=customer["id"])
    life.post(f"customers/{customer['id']}", invoice_settings={"default_payment_method": bad["id"]})
    await world.tell()
    life.wait(5)
    lost = (*PAID, "invoice.payment_failed", "charge.failed", "payment_intent.payment_failed")
    await world.tell(without=(*lost, "customer.subscription.updated"))
    invoice = life.get(f"subscriptions/{made['id']}")["latest_invoice"]
    looked = await world.repair("invoice", invoice)
    assert {("charge", "missing_here", ""), ("invoice", "status", "attempt_count")} <= told(looked)
    failed = [one for one in world.all("charge") if one["status"] == "failed"]
    ((name, status, failed_at),) = await world.query("SELECT stripe_invoice_id, status, failed_at FROM dunning_cases")
    assert (name, status) == (invoice, "open")
    assert failed_at == at(failed[0]["created"]) or failed_at == at(failed[-1]["created"])
    ((marked,),) = await world.query(
        "SELECT payment_failed_at FROM invoices WHERE stripe_invoice_id = :invoice", invoice=invoice
    )
    assert marked == at(failed[-1]["created"])
    assert await world.query("SELECT status FROM payment_history WHERE status = 'failed'")
    behind = await world.repair("subscription", made["id"])
    assert ("subscription", "status", "status") in told(behind)
    assert (await world.repair("subscription", made["id"])).differences == ()


async def test_a_subscription_that_ended_unheard_leaves_the_history_when_it_ended(world: World) -> None:
    _, made = await renewal(world)
    world.life.delete(f"subscriptions/{made['id']}")
    ended = world.life.get(f"subscriptions/{made['id']}")["ended_at"]
    world.life.wait(40)
    world.life.customer("Somebody Else")
    await world.tell(without=("customer.subscription.deleted",))
    looked = await world.repair("subscription", made["id"])
    assert {("subscription", "status", "status"), ("subscription", "period", "ended_at"),
            ("subscription", "amount", "mrr_cents")} <= told(looked)  # fmt: skip
    history = "SELECT occurred_at, status, mrr_cents FROM subscription_history ORDER BY occurred_at DESC, version DESC"
    states = await world.query(history)
    assert states[0] == (at(ended), "canceled", 0)
    await world.repair("subscription", made["id"])
    assert await world.query(history) == states
    assert await world.oracle() == []


async def test_a_dispute_that_was_never_told_is_dated_by_its_money(world: World) -> None:
    life = world.life
    paid = life.post("payment_intents", amount=8000, currency="usd", confirm=True, payment_method="pm_card_visa")
    life.wait(1)
    await world.tell()
    dispute = life.post(f"/_sim/charges/{paid['latest_charge']}/dispute", reason="fraudulent")
    life.wait(3)
    life.customer("Somebody Else")
    await world.tell(without=("charge.dispute.created", "charge.dispute.funds_withdrawn", "charge.updated"))
    looked = await world.repair("dispute", dispute["id"])
    assert {("dispute", "missing_here", ""), ("payment", "status", "status")} <= told(looked)
    ((withdrawn, closed),) = await world.query("SELECT funds_withdrawn_at, closed_at FROM disputes")
    assert (withdrawn, closed) == (at(dispute["created"]), None)
    assert [row[0] for row in await letters(world)] == [f"dispute/{dispute['id']}"]
    life.post(f"/_sim/disputes/{dispute['id']}/close", outcome="won")
    won = life.api.account.now()
    life.wait(1)
    life.customer("Another One")
    await world.tell(without=("charge.dispute.closed", "charge.dispute.funds_reinstated"))
    looked = await world.repair("charge", paid["latest_charge"])
    assert {("dispute", "status", "status"), ("payment", "status", "dispute_status")} <= told(looked)
    ((reinstated, closed, status),) = await world.query(
        "SELECT d.funds_reinstated_at, d.closed_at, p.status"
        " FROM disputes d JOIN payment_history p USING (stripe_charge_id)"
    )
    assert (reinstated, closed, status) == (at(won), at(won), "succeeded")
    assert len(await letters(world)) == 1
    assert await world.oracle() == []


async def test_a_customer_who_was_deleted_unheard(world: World) -> None:
    customer = world.life.customer("Clara Nobody")
    await world.tell()
    world.life.delete(f"customers/{customer['id']}")
    world.life.wait(40)
    world.life.customer("Somebody Else")
    await world.tell(without=("customer.deleted", "payment_method.detached"))
    looked = await world.repair("customer", customer["id"])
    assert told(looked) == {("customer", "status", "deleted_at")}
    assert (await world.repair("customer", customer["id"])).differences == ()


async def test_what_a_repair_did_is_in_the_audit_log(world: World) -> None:
    customer = world.life.customer("Ada Lovelace")
    await world.tell(without=("customer.created", "customer.updated"))
    assert (await world.repair("customer", customer["id"])).mended
    ((who, action, target, details),) = await world.query("SELECT who, action, target, details FROM audit_log")
    assert (who, action, target) == ("reconciliation", "reconciliation.repair", f"customer {customer['id']}")
    one = {"kind": "customer", "object": customer["id"], "class": "missing_here", "field": ""}
    assert details == {"run": None, "differences": [one | {"here": None, "there": None}]}
