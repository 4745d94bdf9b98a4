"""A payment that was recorded by mistake is voided: the invoice is owed again, its receipt is void, the books agree."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from db.operators.actions import Actor
from db.verify import invoices as invariants
from db.verify.invariant import Span, ask
from jobs.invoices.credit_note import PaidOut
from jobs.invoices.issue import Issued
from jobs.invoices.pay import collected, record
from jobs.invoices.void_payment import Voided, void_payment
from tests.conftest import MovedClock
from tests.partners.money_kit import DAY, Firm
from worker.errors import Refused

MISTAKE = Actor("ada", "it was for another customer")


async def voided(firm: Firm, issued: Issued, reference: str = "tx 1", by: Actor = MISTAKE) -> Voided:
    async with firm.deps.tx() as tx:
        return await void_payment(tx, issued.invoice_id, reference, by=by)


async def broken(firm: Firm) -> list[str]:
    """The invariants about invoices of ours that do not hold."""
    at = Span(now=firm.clock.now() + DAY, wall=datetime.now(UTC), since=None, wall_since=None)
    async with firm.engine.connect() as conn:
        return [one.name for one in invariants.INVARIANTS if (await ask(conn, one, at)).broken]


@pytest.fixture
async def firm(engine: AsyncEngine, clock: MovedClock, tmp_path: Path) -> Firm:
    made = Firm(engine, clock, tmp_path)
    await made.contract()
    return made


async def test_the_invoice_is_open_again_and_everybody_can_see_why(firm: Firm) -> None:
    issued = await firm.bill()
    await firm.paid(issued, 12_000)
    done = await voided(firm, issued)
    assert (done.new, done.payment.reference, await firm.stands(issued)) == (True, "tx 1", ("open", 0, 0, 12_000))
    assert (await firm.invoice_row(issued))["paid_at"] is None
    (row,) = await firm.query("SELECT voided_by, void_reason, amount_cents FROM manual_payments")
    assert tuple(row.values()) == ("ada", MISTAKE.why, 12_000)
    trail = await firm.query("SELECT action, target, why, details->>'reference' AS ref FROM audit_log ORDER BY id")
    assert tuple(trail[-1].values()) == ("invoices.void_payment", issued.number, MISTAKE.why, "tx 1")
    assert await broken(firm) == []


async def test_it_is_voided_once_also_by_many_at_once(firm: Firm) -> None:
    issued = await firm.bill()
    await firm.paid(issued, 5_000, "one")
    await firm.paid(issued, 7_000, "two")
    done = await asyncio.gather(*(voided(firm, issued, "two") for _ in range(5)))
    assert sorted(one.new for one in done) == [False] * 4 + [True]
    assert await firm.stands(issued) == ("open", 5_000, 0, 7_000)
    assert (await firm.audit()).count("invoices.void_payment") == 1


async def test_the_same_reference_can_be_recorded_rightly_afterwards(firm: Firm) -> None:
    issued = await firm.bill()
    await firm.paid(issued, 12_000, "SEPA 7")
    await voided(firm, issued, "SEPA 7")
    again = await firm.paid(issued, 11_900, "SEPA 7")
    assert (again.new, await firm.stands(issued)) == (True, ("open", 11_900, 0, 100))
    await voided(firm, issued, "SEPA 7")
    await firm.paid(issued, 12_000, "SEPA 7")
    assert await firm.stands(issued) == ("paid", 12_000, 0, 0)
    assert await broken(firm) == []


async def test_a_twin_that_waited_leaves_what_was_recorded_rightly_meanwhile(firm: Firm) -> None:
    issued = await firm.bill()
    await firm.paid(issued, 15_000, "SEPA 7", over_as_credit=True)
    go = asyncio.Event()

    async def waiting() -> Voided:
        await go.wait()
        return await voided(firm, issued, "SEPA 7")

    twin = asyncio.create_task(waiting())
    async with firm.deps.tx() as tx:
        await void_payment(tx, issued.invoice_id, "SEPA 7", by=MISTAKE)
        go.set()
        await asyncio.sleep(0.3)  # it has seen the payment, and waits for the credit
        await record(
            tx, issued.invoice_id, 12_000, method="bank_transfer", reference="SEPA 7", paid_at=tx.now, by=MISTAKE
        )
    done = await twin
    assert (done.new, done.payment.amount_cents) == (False, 15_000)
    assert await firm.stands(issued) == ("paid", 12_000, 0, 0)
    assert (await firm.invoice_row(issued))["amount_overpaid_cents"] is None
    assert await broken(firm) == []


async def test_a_reason_and_a_payment_are_needed(firm: Firm) -> None:
    issued = await firm.bill()
    await firm.paid(issued, 100, "one")
    with pytest.raises(Refused, match="say why"):
        await voided(firm, issued, "one", Actor("ada", " "))
    with pytest.raises(Refused, match="two was not recorded for API-202603-0001; recorded are: one"):
        await voided(firm, issued, "two")
    await firm.execute("INSERT INTO invoices (stripe_invoice_id, status, currency) VALUES ('in_1', 'open', 'eur')")
    (row,) = await firm.query("SELECT id FROM invoices WHERE stripe_invoice_id = 'in_1'")
    with pytest.raises(Refused, match="none of ours"):
        async with firm.deps.tx() as tx:
            await void_payment(tx, row["id"], "one", by=MISTAKE)


async def test_the_credit_of_a_surplus_goes_with_it(firm: Firm) -> None:
    issued = await firm.bill()
    await firm.paid(issued, 15_000, over_as_credit=True)
    await voided(firm, issued)
    assert await firm.stands(issued) == ("open", 0, 0, 12_000)
    (credit,) = await firm.query("SELECT voided_at, remaining_cents FROM credits")
    assert credit["voided_at"] is not None
    assert (await firm.invoice_row(issued))["amount_overpaid_cents"] is None
    assert await broken(firm) == []


async def test_a_surplus_alone_leaves_the_invoice_paid(firm: Firm) -> None:
    issued = await firm.bill()
    await firm.paid(issued, 12_000, "right")
    before = await firm.invoice_row(issued)
    await firm.paid(issued, 500, "wrong", over_as_credit=True)
    await voided(firm, issued, "wrong")
    assert await firm.stands(issued) == ("paid", 12_000, 0, 0)
    assert (await firm.invoice_row(issued))["paid_at"] == before["paid_at"]
    assert await broken(firm) == []


async def test_a_credit_that_was_spent_stands_in_the_way(firm: Firm) -> None:
    issued = await firm.bill()
    await firm.paid(issued, 15_000, over_as_credit=True)
    later = await firm.bill()
    with pytest.raises(Refused, match=rf"paid for {later.number} \(30\.00 GBP\): void that first"):
        await voided(firm, issued)
    assert await firm.stands(issued) == ("paid", 12_000, 0, 0)
    assert await broken(firm) == []


async def test_a_surplus_of_another_payment_goes_first(firm: Firm) -> None:
    issued = await firm.bill()
    await firm.paid(issued, 12_000, "wrong")
    await firm.paid(issued, 12_000, "right", over_as_credit=True)
    with pytest.raises(Refused, match="void right first, then this one, and record right again"):
        await voided(firm, issued, "wrong")
    await voided(firm, issued, "right")
    await voided(firm, issued, "wrong")
    await firm.paid(issued, 12_000, "right")
    assert await firm.stands(issued) == ("paid", 12_000, 0, 0)
    assert await broken(firm) == []


async def test_what_a_credit_note_gave_back_stands_in_the_way(firm: Firm) -> None:
    issued = await firm.bill()
    await firm.paid(issued, 12_000)
    await firm.credit(issued, 5_000, paid_out=PaidOut("bank_transfer", "SEPA 9"))
    with pytest.raises(Refused, match=r"CN-2026-0001 gave back 50\.00 GBP of what was paid .*billing invoices issue"):
        await voided(firm, issued)
    assert await broken(firm) == []


async def test_what_a_credit_note_took_off_stays_off(firm: Firm) -> None:
    issued = await firm.bill()
    await firm.credit(issued, 5_000)
    await firm.paid(issued, 7_000)
    await voided(firm, issued)
    assert await firm.stands(issued) == ("open", 0, 5_000, 7_000)
    assert await broken(firm) == []


async def test_what_came_through_stripe_as_well_is_told(firm: Firm) -> None:
    issued = await firm.bill()
    await firm.paid(issued, 12_000)
    await firm.execute(
        "INSERT INTO invoices (stripe_invoice_id, status, currency, total_cents, amount_paid_cents, paid_at,"
        " collects_invoice_id) VALUES ('in_1', 'paid', 'gbp', 12000, 12000, now(), :id)",
        id=issued.invoice_id,
    )
    async with firm.deps.tx() as tx:
        await collected(tx, issued.invoice_id)
    with pytest.raises(Refused, match=r"came for .* through Stripe as well"):
        await voided(firm, issued)
    assert await broken(firm) == []


async def test_a_voided_payment_is_not_counted_with_what_stripe_collects(firm: Firm) -> None:
    issued = await firm.bill()
    await firm.paid(issued, 12_000)
    await voided(firm, issued)
    await firm.execute(
        "INSERT INTO invoices (stripe_invoice_id, status, currency, total_cents, amount_paid_cents, paid_at,"
        " collects_invoice_id) VALUES ('in_1', 'paid', 'gbp', 12000, 12000, now(), :id)",
        id=issued.invoice_id,
    )
    async with firm.deps.tx() as tx:
        await collected(tx, issued.invoice_id)
    assert await firm.stands(issued) == ("paid", 12_000, 0, 0)
    assert await firm.credits() == []
    assert await broken(firm) == []


async def test_what_had_been_collected_at_stripe_is_collected_again(firm: Firm) -> None:
    issued = await firm.bill()
    await firm.execute(
        "INSERT INTO invoices (stripe_invoice_id, status, currency, total_cents, collects_invoice_id, metadata)"
        " VALUES ('in_1', 'void', 'gbp', 12000, :id, '{\"billing_withdrawn\": \"settled\"}')",
        id=issued.invoice_id,
    )
    await firm.paid(issued, 12_000)
    await voided(firm, issued)
    assert len(await firm.query("SELECT 1 FROM jobs WHERE name = 'push_to_stripe'")) == 1


async def test_what_was_given_up_is_owed_again(firm: Firm) -> None:
    issued = await firm.bill()
    await firm.execute("UPDATE invoices SET status = 'uncollectible' WHERE id = :id", id=issued.invoice_id)
    await firm.paid(issued, 2_000, "part")
    await voided(firm, issued, "part")
    assert (await firm.stands(issued))[0] == "uncollectible"
    await firm.paid(issued, 12_000, "whole")
    await voided(firm, issued, "whole")
    assert (await firm.stands(issued))[0] == "open"


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE manual_payments SET voided_at = NULL, voided_by = NULL, void_reason = NULL",
        "UPDATE manual_payments SET void_reason = 'another'",
        "DELETE FROM manual_payments",
    ],
)
async def test_what_was_voided_stays_so(firm: Firm, change: str) -> None:
    issued = await firm.bill()
    await firm.paid(issued, 100)
    await voided(firm, issued)
    with pytest.raises(IntegrityError, match="neither changed nor removed"):
        await firm.execute(change)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    acts=st.lists(
        st.tuples(st.sampled_from(["pay", "void", "credit"]), st.integers(0, 3), st.integers(1, 8_000)), max_size=12
    )
)
async def test_whatever_is_recorded_and_voided_the_books_add_up(firm: Firm, acts: list[tuple[str, int, int]]) -> None:
    issued = await firm.bill()
    for act, which, amount in acts:
        try:
            if act == "pay":
                await firm.paid(issued, amount, f"ref {which}", over_as_credit=True)
            elif act == "void":
                await voided(firm, issued, f"ref {which}")
            else:
                await firm.credit(issued, amount)
        except Refused:
            pass
        row = await firm.invoice_row(issued)
        came = await firm.query(
            "SELECT coalesce(sum(amount_cents), 0)::bigint AS came FROM manual_payments"
            " WHERE invoice_id = :id AND voided_at IS NULL",
            id=issued.invoice_id,
        )
        assert came[0]["came"] == row["amount_paid_cents"] + (row["amount_overpaid_cents"] or 0)
        await firm.stands(issued)
        assert (row["status"] == "paid") == (row["amount_remaining_cents"] == 0)
    assert await broken(firm) == []
