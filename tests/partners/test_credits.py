"""Credits pay for invoices once, come back when these are voided, and always add up."""

import asyncio
import random
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from db.usage import Owner
from jobs.invoices.issue import Issued
from jobs.invoices.void import void
from jobs.partners import credits as credits_
from tests.conftest import MovedClock
from tests.invoices.office import draft
from tests.partners.money_kit import ADA, DAY, PARTNER, Firm
from worker.errors import Refused


@pytest.fixture
async def firm(engine: AsyncEngine, clock: MovedClock, tmp_path: Path) -> Firm:
    made = Firm(engine, clock, tmp_path)
    await made.contract()
    return made


async def voided(firm: Firm, issued: Issued) -> None:
    async with firm.deps.tx() as tx:
        assert await void(tx, issued.invoice_id, reason="wrong company")


async def test_credits_pay_before_money_does(firm: Firm) -> None:
    never = await firm.grant(5_000)
    soon = await firm.grant(4_000, "promotional", days=10)
    await firm.grant(9_900, currency="eur")
    issued = await firm.bill()
    assert await firm.stands(issued) == ("open", 0, 0, 3_000)
    assert await firm.credits() == [("goodwill", 5_000, 0), ("promotional", 4_000, 0), ("goodwill", 9_900, 9_900)]
    spent = await firm.query("SELECT credit_id, amount_cents FROM credit_applications ORDER BY id")
    assert {row["credit_id"]: row["amount_cents"] for row in spent} == {never: 5_000, soon: 4_000}
    says = (await firm.document(issued)).content
    assert [each["minor"] for each in says["credits"]] == [4_000, 5_000], "what expires first is spent first"
    assert (await firm.stands(await firm.bill()))[3] == 12_000, "nothing is left in this currency"


async def test_what_credits_pay_whole_is_paid_and_can_be_voided(firm: Firm) -> None:
    await firm.grant(20_000)
    issued = await firm.bill("partner/hopper/1")
    assert await firm.stands(issued) == ("paid", 0, 0, 0)
    await voided(firm, issued)
    assert await firm.credits() == [("goodwill", 20_000, 20_000)]
    assert (await firm.bill("partner/hopper/1")).new, "and the same thing can be invoiced again"
    assert await firm.credits() == [("goodwill", 20_000, 8_000)]


async def test_what_expired_meanwhile_stays_expired(firm: Firm) -> None:
    await firm.grant(1_000, days=5)
    issued = await firm.bill()
    firm.clock.move(6 * DAY)
    await voided(firm, issued)
    assert await firm.credits() == [("goodwill", 1_000, 1_000)]
    async with firm.deps.tx() as tx:
        assert await credits_.available(tx, PARTNER, "gbp") == []
        assert await credits_.give_back(tx, issued.invoice_id) == {}, "it is given back once"


async def test_a_credit_that_was_taken_back_pays_for_nothing(firm: Firm) -> None:
    credit = await firm.grant(20_000)
    issued = await firm.bill()
    async with firm.deps.tx() as tx:
        assert await credits_.void(tx, credit, ADA)
        assert not await credits_.void(tx, credit, ADA)
    await voided(firm, issued)
    assert await firm.stands(await firm.bill()) == ("open", 0, 0, 12_000)
    assert await firm.audit() == ["credits.grant", "credits.void"]
    with pytest.raises(Refused, match="there is no credit 99"):
        async with firm.deps.tx() as tx:
            await credits_.void(tx, 99, ADA)


async def test_a_wrong_grant_is_told_whole(firm: Firm) -> None:
    with pytest.raises(Refused) as refused:
        await firm.grant(-1, "gift", days=-1, currency="zzz", owner=Owner(api_key_prefix="nobody"))
    for said in (
        "kind: 'gift' is none of refund",
        "currency: 'zzz'",
        "amount_cents: -0.01 ZZZ",
        "is past",
        "no partner nobody",
    ):
        assert said in refused.value.reason
    with pytest.raises(Refused, match=r"^there is no customer 7$"):
        await firm.grant(1, owner=Owner(user_id=7))
    assert await firm.credits() == []


async def test_a_plan_on_credits_that_were_not_locked_is_refused(firm: Firm) -> None:
    await firm.grant(500)
    async with firm.deps.tx() as tx:
        stale = credits_.plan(await credits_.available(tx, PARTNER, "gbp", lock=False), 500)
    first, second = await firm.issue(draft()), await firm.issue(draft())
    async with firm.deps.tx() as tx:
        await credits_.record(tx, first.invoice_id, stale)
    with pytest.raises(Refused, match="plan again"):
        async with firm.deps.tx() as tx:
            await credits_.record(tx, second.invoice_id, stale)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("UPDATE credits SET remaining_cents = remaining_cents - 1", "700 were given, but 199 are left and 500"),
        ("UPDATE credits SET remaining_cents = -1", "ck_credits_remaining"),
        ("UPDATE credits SET amount_cents = 900", "neither changed nor removed"),
        ("UPDATE credit_applications SET amount_cents = 1", "neither changed nor removed"),
        ("UPDATE credit_applications SET reversed_at = now()", "700 were given, but 200 are left and 0"),
        ("DELETE FROM credit_applications", "neither changed nor removed"),
        ("DELETE FROM credits", "neither changed nor removed"),
    ],
)
async def test_postgresql_itself_keeps_the_balance(firm: Firm, change: str, said: str) -> None:
    await firm.grant(700)
    async with firm.deps.tx() as tx:
        issued = await firm.bill_in(tx, draft(), total=500)
    assert issued.new
    with pytest.raises(IntegrityError, match=said):
        await firm.execute(change)


async def test_many_invoices_at_once_spend_no_credit_twice(firm: Firm) -> None:
    """Invoices and voids of one partner from many sides, with a look at every balance."""
    for minor in (3_000, 700, 15_000, 40, 9_000):
        await firm.grant(minor, days=minor)
    dice = random.Random(4)  # noqa: S311 - which transactions fail is no secret
    at_once = asyncio.Semaphore(6)  # more would wait for the same rows longer than a lock is waited for

    async def one(number: int) -> Issued | None:
        async with at_once:
            try:
                issued = await firm.bill(f"partner/hopper/{number % 9}")
                if dice.random() < 0.5:
                    async with firm.deps.tx() as tx:
                        await void(tx, issued.invoice_id, reason="again")
            except Refused:
                return None  # its key was invoiced over another sum, while a credit paid for it
            return issued

    done = await asyncio.gather(*(one(number) for number in range(40)))
    assert any(done)
    for row in await firm.query(
        "SELECT c.amount_cents - c.remaining_cents AS gone, coalesce(sum(a.amount_cents), 0) AS spent FROM credits c"
        " LEFT JOIN credit_applications a ON a.credit_id = c.id AND a.reversed_at IS NULL GROUP BY c.id"
    ):
        assert row["gone"] == row["spent"]
    left = await firm.query("SELECT sum(remaining_cents)::int AS left FROM credits")
    due = await firm.query(
        "SELECT sum(total_cents - amount_due_cents)::int AS paid FROM invoices WHERE status <> 'void'"
    )
    assert left[0]["left"] + (due[0]["paid"] or 0) == 27_740, "what is on the invoices is what is gone"


moves = st.lists(
    st.tuples(st.sampled_from(["grant", "invoice", "void", "wait", "take back"]), st.integers(0, 30)), max_size=12
)


@given(moves)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
async def test_whatever_happens_credits_add_up(firm: Firm, story: list[tuple[str, int]]) -> None:
    async with firm.engine.begin() as conn:
        await conn.execute(text("UPDATE credits SET voided_at = now() WHERE voided_at IS NULL"))
    mine: list[int] = []
    issued: list[Issued] = []
    for what, number in story:
        match what:
            case "grant":
                mine.append(await firm.grant(100 * number + 1, days=number or None))
            case "invoice":
                issued.append(await firm.bill())
            case "void" if issued:
                await voided(firm, issued.pop(number % len(issued)))
            case "wait":
                firm.clock.move(timedelta(days=number))
            case "take back" if mine:
                with suppress(Refused):  # it is used up: there is nothing to take back
                    async with firm.deps.tx() as tx:
                        await credits_.void(tx, mine[number % len(mine)], ADA)
            case _:
                pass
    rows = await firm.query(
        "SELECT amount_cents, remaining_cents, (SELECT coalesce(sum(amount_cents), 0) FROM credit_applications a"
        " WHERE a.credit_id = c.id AND a.reversed_at IS NULL) AS spent FROM credits c WHERE id = ANY(:ids)",
        ids=mine,
    )
    assert all(row["amount_cents"] == row["remaining_cents"] + row["spent"] for row in rows)
    for one in issued:
        row = await firm.invoice_row(one)
        (sums,) = await firm.query(
            "SELECT coalesce(sum(amount_cents), 0)::int AS paid FROM credit_applications"
            " WHERE invoice_id = :id AND reversed_at IS NULL",
            id=one.invoice_id,
        )
        assert row["total_cents"] - row["amount_due_cents"] == sums["paid"]
