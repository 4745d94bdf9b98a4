"""Receipts, refunds and disputes: who hears what, once, whatever order the events come in."""

import asyncio
import itertools
from typing import Any

import pytest
from sqlalchemy import event as sqlalchemy_event
from sqlalchemy.ext.asyncio import AsyncEngine

from db.inbox import StoredEvent
from tests.events.kit import T0, Json, apply, event, outcomes, row
from tests.events.objects import charge, customer, dispute, intent, invoice, refund
from tests.mail.letters_kit import keys, letter, letters, staged, written
from worker.registry import Busy

DAY = 86_400


def line(amount: int = 1000, **changes: Any) -> Json:
    period = {"start": T0, "end": T0 + 28 * DAY}
    return {"id": "il_1", "description": "1 x Team", "amount": amount, "currency": "usd", "period": period} | changes


def paid(name: str = "in_1", /, **changes: Any) -> Json:
    lines = {"object": "list", "data": [line()], "has_more": False}
    link = f"https://invoice.stripe.com/i/{name}"
    return invoice(name, "paid", lines=lines, hosted_invoice_url=link, **changes)


def link_of(name: str = "in_1", intent_id: str = "pi_1") -> Json:
    return {
        "id": f"inpay_{name}",
        "object": "invoice_payment",
        "invoice": name,
        "status": "paid",
        "currency": "usd",
        "amount_paid": 1000,
        "amount_requested": 1000,
        "payment": {"type": "payment_intent", "payment_intent": intent_id},
        "status_transitions": {"paid_at": T0},
    }


async def test_who_pays_gets_one_receipt(engine: AsyncEngine) -> None:
    told = event("invoice.paid", paid())
    payer = customer(preferred_locales=["de"], metadata={"timezone": "Europe/Berlin"})
    await apply(engine, event("customer.created", payer))
    await apply(engine, event("charge.succeeded", charge()), event("invoice_payment.paid", link_of()))
    assert await keys(engine) == []
    await apply(engine, told, event("invoice.payment_succeeded", paid()))
    await apply(engine, event("invoice.payment_succeeded", paid(), created=T0 + 9), told)
    found = await letter(engine, "receipt/in_1")
    assert await keys(engine) == ["receipt/in_1"]
    assert [found[name] for name in ("template", "recipient", "recipient_name", "locale", "timezone", "status")] == [
        "receipt", "ada@example.org", "Ada", "de", "Europe/Berlin", "queued"
    ]  # fmt: skip
    assert found["stripe_invoice_id"] == "in_1"
    assert found["user_id"] == (await row(engine, "users"))["id"]
    assert await staged(engine) == [("send_letter", {"email_id": found["id"]}, told.id)]
    assert found["job_id"] == (await row(engine, "jobs", name="send_letter"))["id"]
    seen = written(found)
    assert seen.locale == "de"
    assert "10,00\xa0$" in seen.subject
    for words in ("A-0001", "1 x Team", "Visa", "4242", "https://invoice.stripe.com/i/in_1", "2. Februar 2026"):
        assert words in seen.text


@pytest.mark.parametrize(
    "not_yet",
    [
        invoice(),
        invoice(status="void"),
        paid(amount_paid=0, amount_due=0, total=0, subtotal=0),
        invoice(status="uncollectible"),
    ],
)
async def test_who_has_not_paid_money_gets_none(engine: AsyncEngine, not_yet: Json) -> None:
    await apply(engine, event("customer.created", customer()), event("invoice.updated", not_yet))
    await apply(engine, event("invoice.paid", not_yet, created=T0 + 1))
    assert await keys(engine) == []


async def test_a_payment_out_of_band_is_receipted_too(engine: AsyncEngine) -> None:
    await apply(engine, event("customer.created", customer()), event("invoice.paid", paid(paid_out_of_band=True)))
    assert (await letter(engine, "receipt/in_1"))["context"]["method"] is None


async def test_a_receipt_tells_discounts_taxes_and_the_months_that_were_paid_for(engine: AsyncEngine) -> None:
    before = {"start": T0 - 9, "end": T0}
    lines = [line(2000, discount_amounts=[{"amount": 500}]), line(-300, proration=True, period=before)]
    told = paid(
        amount_paid=1440, subtotal=1700, tax=240, total=1440, total_discount_amounts=[{"amount": 500}],
        period_start=T0 - 28 * DAY, period_end=T0, invoice_pdf="https://pay.stripe.com/invoice/x/pdf",
    )  # fmt: skip
    told["lines"]["data"] = lines
    await apply(engine, event("customer.created", customer()), event("invoice.paid", told))
    found = (await letter(engine, "receipt/in_1"))["context"]
    assert [found[name] and found[name]["amount"] for name in ("amount", "subtotal", "discount", "tax", "total")] == [
        1440, 1700, -500, 240, 1440
    ]  # fmt: skip
    assert [one["amount"]["amount"] for one in found["lines"]] == [2000, -300]
    assert found["period"] == {"first": "2026-02-02T02:40:00Z", "last": "2026-03-02T02:40:00Z"}
    assert found["pdf_link"] == "https://pay.stripe.com/invoice/x/pdf"


async def test_a_list_of_lines_that_is_not_whole_is_left_out(engine: AsyncEngine) -> None:
    told = paid()
    told["lines"]["has_more"] = True
    await apply(engine, event("customer.created", customer()), event("invoice.paid", told))
    found = await letter(engine, "receipt/in_1")
    assert found["context"]["lines"] == []
    assert "$10.00" in written(found).text


async def test_a_link_that_is_none_is_left_out(engine: AsyncEngine) -> None:
    await apply(engine, event("customer.created", customer()))
    await apply(engine, event("invoice.paid", paid() | {"hosted_invoice_url": "javascript:alert(1)"}))
    found = await letter(engine, "receipt/in_1")
    assert found["context"]["link"] is None
    assert written(found)


async def test_a_customer_who_is_not_known_yet_is_reached_by_what_the_invoice_tells(engine: AsyncEngine) -> None:
    await apply(engine, event("invoice.paid", paid(customer_email="early@example.org", customer_name="Early Bird")))
    found = await letter(engine, "receipt/in_1")
    assert (found["recipient"], found["recipient_name"]) == ("early@example.org", "Early Bird")
    await apply(engine, event("customer.created", customer()))
    assert await keys(engine) == ["receipt/in_1"]


async def test_without_any_address_the_receipt_waits_for_the_customer(engine: AsyncEngine) -> None:
    told = event("customer.created", customer())
    await apply(engine, event("invoice.paid", paid()))
    assert await keys(engine) == []
    await apply(engine, told)
    assert (await letter(engine, "receipt/in_1"))["recipient"] == "ada@example.org"
    assert [by for _, _, by in await staged(engine)] == [told.id]


async def test_a_customer_without_an_address_is_written_down_as_not_reached(engine: AsyncEngine) -> None:
    await apply(engine, event("customer.created", customer(email=None)), event("invoice.paid", paid()))
    await apply(engine, event("invoice.payment_succeeded", paid()))
    found = await letter(engine, "receipt/in_1")
    assert (found["status"], found["reason"]) == ("suppressed", "the customer has no e-mail address at Stripe")
    assert await staged(engine) == []


async def test_a_refund_is_told_when_it_was_sent(engine: AsyncEngine) -> None:
    await apply(engine, event("customer.created", customer()), event("invoice.paid", paid()))
    await apply(engine, event("charge.succeeded", charge()), event("invoice_payment.paid", link_of()))
    await apply(engine, event("refund.created", refund(status="pending")))
    assert "refund/re_1" not in await keys(engine)
    await apply(engine, event("refund.updated", refund(), created=T0 + 600))
    found = await letter(engine, "refund/re_1")
    assert found["context"]["amount"] == {"amount": 400, "currency": "usd"}
    assert found["context"]["payment"] == {"amount": 1000, "currency": "usd"}
    assert found["context"]["full"] is False
    assert found["context"]["number"] == "A-0001"
    assert int(found["occurred_at"].timestamp()) == T0 + 600
    await apply(engine, event("charge.refunded", charge(amount_refunded=1000, refunded=True), created=T0 + 700))
    await apply(engine, event("refund.created", refund("re_2", 600), created=T0 + 700))
    assert (await letter(engine, "refund/re_2"))["context"]["full"] is False


async def test_a_full_refund_says_so(engine: AsyncEngine) -> None:
    await apply(engine, event("customer.created", customer()), event("charge.succeeded", charge()))
    await apply(engine, event("refund.created", refund(amount=1000)))
    found = await letter(engine, "refund/re_1")
    assert found["context"]["full"] is True
    assert "$10.00" in written(found).subject


@pytest.mark.parametrize("status", ["failed", "canceled", "pending", "requires_action"])
async def test_a_refund_that_was_not_sent_is_not_told(engine: AsyncEngine, status: str) -> None:
    await apply(engine, event("customer.created", customer()), event("charge.succeeded", charge()))
    await apply(engine, event("refund.updated", refund(status=status)))
    assert await keys(engine) == []


async def test_refunds_that_only_an_old_charge_shows_are_told(engine: AsyncEngine) -> None:
    shown = charge(amount_refunded=400, refunds={"object": "list", "data": [refund()]})
    await apply(engine, event("customer.created", customer()), event("charge.refunded", shown, created=T0 + 60))
    assert await keys(engine) == ["refund/re_1"]


async def test_a_refund_of_an_intent_finds_its_payment(engine: AsyncEngine) -> None:
    await apply(engine, event("customer.created", customer()))
    await apply(engine, event("payment_intent.succeeded", intent(latest_charge="ch_1")))
    await apply(engine, event("refund.created", refund(charge=None)))
    assert await keys(engine) == ["refund/re_1"]


async def test_operators_hear_of_a_dispute_once(engine: AsyncEngine) -> None:
    await apply(engine, event("customer.created", customer()), event("charge.succeeded", charge()))
    due = {"due_by": T0 + 9 * DAY}
    opened = event("charge.dispute.created", dispute(evidence_details=due), created=T0 + 90)
    await apply(engine, opened, event("charge.dispute.funds_withdrawn", dispute(evidence_details=due), created=T0 + 90))
    await apply(engine, event("charge.dispute.closed", dispute("lost", evidence_details=due), created=T0 + 900), opened)
    found = await letter(engine, "dispute/dp_1")
    assert await keys(engine) == ["dispute/dp_1"]
    assert (found["recipient"], found["locale"]) == ("operators", None)
    assert found["context"] | {"number": None} == {
        "amount": {"amount": 1000, "currency": "usd"},
        "reason": "fraudulent",
        "dispute": "dp_1",
        "payment": "pi_1",
        "link": "https://dashboard.stripe.com/test/disputes/dp_1",
        "payment_link": "https://dashboard.stripe.com/test/payments/pi_1",
        "evidence_due_by": "2026-02-11T02:40:00Z",
        "name": "Ada",
        "email": "ada@example.org",
        "number": None,
    }
    assert written(found)


async def test_a_dispute_that_is_over_when_it_is_heard_of_asks_for_no_evidence(engine: AsyncEngine) -> None:
    due = {"due_by": T0 + 9 * DAY}
    won = event(
        "charge.dispute.closed", dispute("won", evidence_details=due), created=T0 + 900, livemode=True, account="acct_1"
    )
    await apply(engine, won)
    found = (await letter(engine, "dispute/dp_1"))["context"]
    assert found["evidence_due_by"] is None
    assert found["link"] == "https://dashboard.stripe.com/acct_1/disputes/dp_1"


async def test_an_old_dispute_without_an_id_leads_to_its_payment(engine: AsyncEngine) -> None:
    shown = {name: value for name, value in dispute().items() if name not in {"id", "payment_intent"}}
    await apply(engine, event("charge.dispute.created", shown, created=T0 + 90))
    assert (await letter(engine, "dispute/ch_1:dispute"))["context"]["link"].endswith("/payments/ch_1")


def life(number: int) -> list[StoredEvent]:
    """A customer pays an invoice and gets a part of it back; one event comes under two names."""
    whose = {"customer": f"cus_{number}"}
    back = refund(f"re_{number}", charge=f"ch_{number}", payment_intent=f"pi_{number}")
    return [
        event("customer.created", customer(f"cus_{number}")),
        event("invoice.paid", paid(f"in_{number}", number=f"A-{number}", **whose)),
        event("invoice_payment.paid", link_of(f"in_{number}", f"pi_{number}")),
        event("charge.succeeded", charge(f"ch_{number}", payment_intent=f"pi_{number}", **whose)),
        event("refund.created", back, created=T0 + 60),
    ]


def expected(count: int) -> list[str]:
    return sorted(f"{name}_{number}" for name in ("receipt/in", "refund/re") for number in range(count))


async def test_in_every_order_each_letter_is_written_once(engine: AsyncEngine) -> None:
    """Each order is told to a life of its own; in the end all of them hear everything again."""
    orders = list(itertools.permutations(range(5)))
    lives = [life(number) for number in range(len(orders))]
    for turn in (*range(5), *range(5)):
        await apply(engine, *(lives[number][order[turn]] for number, order in enumerate(orders)))
    found = await letters(engine)
    assert sorted(found) == expected(len(orders))
    assert {one["recipient"] for one in found.values()} == {"ada@example.org"}
    assert len(await staged(engine)) == len(found)


async def test_many_workers_write_each_letter_once(engine: AsyncEngine) -> None:
    """What another worker holds comes again."""
    waiting = [copy for number in range(12) for copy in life(number) for _ in range(2)]

    async def work() -> None:
        while waiting:
            several = [waiting.pop() for _ in range(min(7, len(waiting)))]
            batch = {one.id: one for one in several}.values()
            found = await outcomes(engine, *batch)
            waiting.extend(one for one in batch if isinstance(found[one.id], Busy))

    await asyncio.gather(*(work() for _ in range(4)))
    assert await keys(engine) == expected(12)
    assert len(await staged(engine)) == 24


async def test_many_letters_take_no_more_statements_than_one(engine: AsyncEngine) -> None:
    asked: list[str] = []

    def note(_conn: object, _cursor: object, statement: str, *_: object) -> None:
        if "emails" in statement:
            asked.append(statement)

    sqlalchemy_event.listen(engine.sync_engine, "before_cursor_execute", note)
    await apply(engine, *life(0))
    one, asked[:] = len(asked), []
    await apply(engine, *(told for number in range(1, 41) for told in life(number)))
    assert len(asked) == one
    found = await letters(engine)
    assert sorted(found) == expected(41)
    assert all(letter["job_id"] for letter in found.values())
