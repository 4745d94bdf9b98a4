"""Who pays past Stripe gets a receipt: a document and a letter, once, and none for a payment that was a mistake."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from db.operators.actions import Actor
from jobs.invoices.document import Document, Party
from jobs.invoices.issue import Issued
from jobs.invoices.void_payment import void_payment
from jobs.rules.documents import problems
from tests.conftest import MovedClock
from tests.invoices.office import GRACE
from tests.mail.carriers import FakeMailer
from tests.partners.money_kit import Firm
from worker.errors import TryLater

MISTAKE = Actor("ada", "it was for another customer")
RECEIPTS = "SELECT * FROM documents WHERE kind = 'receipt' ORDER BY id"


@pytest.fixture
async def firm(engine: AsyncEngine, clock: MovedClock, tmp_path: Path) -> Firm:
    made = Firm(engine, clock, tmp_path)
    await made.contract()
    return made


async def receipts(firm: Firm) -> list[tuple[str, Document]]:
    """Their keys, and what they say."""
    rows = await firm.query(RECEIPTS)
    found = [(row["key"], msgspec.convert(row["content"], Document)) for row in rows]
    assert [problems(says) for _, says in found] == [[] for _ in found]
    return found


async def written(firm: Firm) -> list[dict[str, Any]]:
    """The letters that take them."""
    return [row for row in await firm.letters() if row["template"] == "receipt"]


async def voided(firm: Firm, issued: Issued, reference: str) -> None:
    async with firm.deps.tx() as tx:
        await void_payment(tx, issued.invoice_id, reference, by=MISTAKE)


async def test_what_was_paid_whole_is_confirmed_with_its_lines(firm: Firm) -> None:
    issued = await firm.bill()
    arrived = firm.clock.now() - timedelta(days=1)
    done = await firm.paid(issued, 12_000, "SEPA 77", paid_at=arrived)
    ((key, says),) = await receipts(firm)
    assert (key, says.number) == (f"receipt/payment-{done.payment_id}", f"{issued.number}-R1")
    assert says.reference is not None
    assert (says.reference.number, says.total_minor, says.tax_minor, says.due_minor) == (
        issued.number,
        12_000,
        2_000,
        0,
    )
    assert [line.description for line in says.lines] == ["API calls"]
    (paid,) = says.payments
    assert (paid.paid_at, paid.amount_minor, paid.reference) == (arrived, 12_000, "SEPA 77")
    assert paid.method == "Überweisung", "the seller's default language is German"
    await firm.work()
    (letter,) = await written(firm)
    context = letter["context"]
    assert (letter["recipient"], letter["status"]) == (GRACE.email, "sent")
    assert (context["number"], context["amount"]["amount"], context["attached"]) == (issued.number, 12_000, True)
    assert context["remaining"] is None
    assert letter["document_ids"] == [done.receipt_id]


async def test_parts_have_a_receipt_each_that_tells_what_is_left(firm: Firm) -> None:
    issued = await firm.bill()
    await firm.paid(issued, 5_000, "one")
    await firm.work()
    await firm.paid(issued, 7_000, "two")
    await firm.work()
    said = [(says.number, says.total_minor, len(says.lines), says.tax_minor) for _, says in await receipts(firm)]
    assert said == [(f"{issued.number}-R1", 5_000, 1, 0), (f"{issued.number}-R2", 7_000, 1, 0)]
    left = [letter["context"]["remaining"] for letter in await written(firm)]
    assert left == [{"amount": 7_000, "currency": "gbp"}, None]


async def test_recorded_twice_it_is_confirmed_once(firm: Firm) -> None:
    issued = await firm.bill()
    done = [await firm.paid(issued, 12_000) for _ in range(3)]
    assert [one.receipt_id is None for one in done] == [False, True, True]
    await firm.work()
    await firm.work()
    assert (len(await receipts(firm)), len(await written(firm))) == (1, 1)


async def test_all_that_came_is_confirmed_also_what_was_too_much(firm: Firm) -> None:
    issued = await firm.bill()
    await firm.paid(issued, 15_000, over_as_credit=True)
    ((_, says),) = await receipts(firm)
    assert (says.total_minor, [line.amount_minor for line in says.lines]) == (15_000, [15_000])


async def test_who_has_no_address_gets_no_letter(firm: Firm) -> None:
    issued = await firm.bill(buyer=Party("Hopper Analytics Ltd"))
    await firm.paid(issued, 12_000)
    await firm.work()
    assert (len(await receipts(firm)), await written(firm)) == (1, [])


async def test_of_a_mistake_there_is_a_copy_that_says_so_and_no_letter_that_still_waits(firm: Firm) -> None:
    issued = await firm.bill()
    await firm.paid(issued, 12_000, "wrong")
    await voided(firm, issued, "wrong")
    await firm.work()
    keys = [row["key"] for row in await firm.query(RECEIPTS)]
    stamps = [row["stamp"] for row in await firm.query(RECEIPTS)]
    assert (keys, stamps) == ([keys[0], f"void/{keys[0]}"], [None, "void"])
    assert await written(firm) == []
    await firm.paid(issued, 12_000, "right")
    await firm.work()
    assert [says.number for key, says in await receipts(firm) if key.startswith("receipt")][-1] == f"{issued.number}-R2"
    assert len(await written(firm)) == 1


async def test_a_letter_that_waited_for_its_carrier_is_not_sent_for_a_mistake(firm: Firm) -> None:
    issued = await firm.bill()
    await firm.work()
    assert isinstance(firm.mailer, FakeMailer)
    firm.mailer.answers = [TryLater("busy")]
    await firm.paid(issued, 12_000, "wrong")
    await firm.work()
    await voided(firm, issued, "wrong")
    await firm.work_on()
    (letter,) = await written(firm)
    assert letter["status"] == "suppressed"
    assert letter["reason"] == f"the payment that {issued.number}-R1 confirms was voided"
