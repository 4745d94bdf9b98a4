"""Money that came past Stripe is recorded once, makes up the whole in parts, and is never more than was due."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from db import collecting
from jobs.invoices import pay
from jobs.invoices.void import void
from tests.conftest import MovedClock
from tests.partners.money_kit import ADA, DAY, Firm
from worker.errors import Refused


@pytest.fixture
async def firm(engine: AsyncEngine, clock: MovedClock, tmp_path: Path) -> Firm:
    made = Firm(engine, clock, tmp_path)
    await made.contract()
    return made


async def test_payments_make_up_the_whole(firm: Firm) -> None:
    issued = await firm.bill()
    first = await firm.paid(issued, 5_000, "one")
    assert (first.new, first.over, await firm.stands(issued)) == (True, 0, ("open", 5_000, 0, 7_000))
    firm.clock.move(DAY)
    arrived = firm.clock.now() - DAY / 2
    await firm.paid(issued, 7_000, "two", paid_at=arrived)
    assert await firm.stands(issued) == ("paid", 12_000, 0, 0)
    row = await firm.invoice_row(issued)
    assert row["paid_at"] == arrived, "when the money came, not when it was recorded"
    assert await firm.audit() == ["invoices.paid", "invoices.paid"]


async def test_the_same_reference_is_one_payment(firm: Firm) -> None:
    issued = await firm.bill()
    first = await firm.paid(issued, 5_000, "tx 9")
    again = await firm.paid(issued, 5_000, " tx 9 ")
    assert (again.new, again.payment_id) == (False, first.payment_id)
    assert await firm.stands(issued) == ("open", 5_000, 0, 7_000)
    with pytest.raises(Refused, match=r"tx 9 was recorded for API-202603-0001 over 50\.00 GBP, and not over 60\.00"):
        await firm.paid(issued, 6_000, "tx 9")
    other = await firm.bill()
    assert (await firm.paid(other, 5_000, "tx 9")).new, "one transfer may pay for two invoices"


async def test_twice_at_once_is_once(firm: Firm) -> None:
    issued = await firm.bill()
    done = await asyncio.gather(*(firm.paid(issued, 12_000, "tx") for _ in range(6)))
    assert sorted(one.new for one in done) == [False] * 5 + [True]
    assert await firm.stands(issued) == ("paid", 12_000, 0, 0)


async def test_more_than_is_due_is_refused_or_kept(firm: Firm) -> None:
    issued = await firm.bill()
    with pytest.raises(Refused, match=r"120\.00 GBP of API-202603-0001 are due, and 150\.00 GBP came: .*-as-credit"):
        await firm.paid(issued, 15_000)
    assert await firm.stands(issued) == ("open", 0, 0, 12_000)
    done = await firm.paid(issued, 15_000, over_as_credit=True)
    assert (done.over, await firm.credits()) == (3_000, [("refund", 3_000, 3_000)])
    assert await firm.stands(issued) == ("paid", 12_000, 0, 0)
    assert (await firm.paid(issued, 100, "late", over_as_credit=True)).over == 100
    row = await firm.invoice_row(issued)
    assert row["amount_overpaid_cents"] == 3_100
    assert (await firm.stands(await firm.bill()))[3] == 12_000 - 3_100, "it pays for the next invoice"


async def test_a_surplus_of_nobody_cannot_be_kept(firm: Firm) -> None:
    issued = await firm.bill(api_key_prefix=None, kind="manual")
    with pytest.raises(Refused, match="neither a partner nor a customer"):
        await firm.paid(issued, 12_001, over_as_credit=True)
    assert await firm.stands(issued) == ("open", 0, 0, 12_000)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"minor": 0}, "amount: 0.00 GBP is not above 0"),
        ({"reference": "  "}, "reference: is one line"),
        ({"method": "a\nb"}, "method: is one line"),
        ({"ahead": 1}, "on: 2026-03-02 is to come"),
    ],
)
async def test_a_wrong_payment_is_told(firm: Firm, values: dict[str, Any], said: str) -> None:
    issued = await firm.bill()
    more = {"method": values["method"]} if "method" in values else {}
    if "ahead" in values:
        more["paid_at"] = firm.clock.now() + DAY
    with pytest.raises(Refused, match=said):
        await firm.paid(issued, values.get("minor", 5), values.get("reference", "x"), **more)


async def test_what_is_void_or_not_ours_is_not_paid(firm: Firm) -> None:
    issued = await firm.bill()
    async with firm.deps.tx() as tx:
        await void(tx, issued.invoice_id, reason="wrong")
    with pytest.raises(Refused, match="is void: give the money back"):
        await firm.paid(issued, 5)
    await firm.execute("INSERT INTO invoices (stripe_invoice_id, status, currency) VALUES ('in_1', 'open', 'eur')")
    (row,) = await firm.query("SELECT id FROM invoices WHERE stripe_invoice_id = 'in_1'")
    with pytest.raises(Refused, match="none of ours"):
        async with firm.deps.tx() as tx:
            await pay.record(tx, row["id"], 5, method="x", reference="x", paid_at=tx.now, by=ADA)


async def test_a_paid_invoice_cannot_be_voided(firm: Firm) -> None:
    issued = await firm.bill()
    await firm.paid(issued, 1)
    with pytest.raises(Refused, match="credit note"):
        async with firm.deps.tx() as tx:
            await void(tx, issued.invoice_id, reason="wrong")


async def test_what_was_given_up_can_still_be_paid(firm: Firm) -> None:
    issued = await firm.bill()
    await firm.execute("UPDATE invoices SET status = 'uncollectible' WHERE id = :id", id=issued.invoice_id)
    await firm.paid(issued, 2_000, "a")
    assert (await firm.stands(issued))[0] == "uncollectible"
    await firm.paid(issued, 10_000, "b")
    assert (await firm.stands(issued))[0] == "paid"


@pytest.mark.parametrize("change", ["UPDATE manual_payments SET amount_cents = 1", "DELETE FROM manual_payments"])
async def test_what_was_recorded_stays(firm: Firm, change: str) -> None:
    await firm.paid(await firm.bill(), 100)
    with pytest.raises(IntegrityError, match="neither changed nor removed"):
        await firm.execute(change)


async def test_the_letter_leads_to_where_it_can_be_paid(firm: Firm) -> None:
    pushed, paid, plain = await firm.bill(), await firm.bill(), await firm.bill()
    for issued in (pushed, paid):
        async with firm.deps.tx() as tx:
            await collecting.payable_at(tx.conn, issued.invoice_id, "https://invoice.stripe.com/i/1", now=tx.now)
    await firm.paid(paid, 12_000)
    await firm.work()
    links = {row["context"]["number"]: row["context"]["link"] for row in await firm.letters()}
    assert links == {pushed.number: "https://invoice.stripe.com/i/1", paid.number: None, plain.number: None}
