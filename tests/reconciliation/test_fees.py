"""Payments learn what Stripe kept of them: soon, in pages, and without asking when there is nothing to ask."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncEngine

from db.balance_transactions import Unlisted
from db.ledger import try_lock
from deploy.demo.simulator.account import DAY
from jobs.reconciliation import fees
from jobs.reconciliation.fees import APART, BY_ID, NEAR, fill, fill_stripe_fees, spans
from tests.reconciliation.money_kit import HOUR, SINCE, Money, live
from worker.adapters.stripe_api import NoKey
from worker.deps import Deps
from worker.errors import Refused, TryLater

LISTS = "balance_transactions"
LACKING = "SELECT stripe_charge_id FROM payment_history WHERE stripe_fee_cents IS NULL AND status = 'succeeded'"


@pytest.fixture
async def money(engine: AsyncEngine) -> Money:
    """Both sides, and nothing has happened."""
    return Money(engine)


async def run(money: Money) -> list[str]:
    """The schedule's next run; what Stripe was asked."""
    money.till.customer(None)  # something has just happened at Stripe, so that the present is known there
    before = len(money.counter.asked)
    await fill_stripe_fees.fn(money.deps, money.now)
    return money.counter.asked[before:]


async def test_a_payment_has_its_fee_ten_minutes_later(money: Money) -> None:
    money.pay(1000)
    money.pay(5000, "jpy")
    await money.tell()
    money.later(600)
    assert await run(money) == ["events", "balance", LISTS]
    columns = "stripe_fee_cents, net_amount_cents, settlement_currency"
    expected = [(59, 941, "usd"), (185, 4815, "jpy")]
    assert await money.query(f"SELECT {columns} FROM charges ORDER BY amount_cents") == expected  # noqa: S608 - our own names
    assert await money.query(f"SELECT {columns} FROM payment_history ORDER BY amount_cents") == expected  # noqa: S608 - our own names
    kept = await money.query("SELECT count(*), sum(fee_cents), bool_or(livemode) FROM balance_transactions")
    assert kept == [(2, 59 + 185, False)]
    assert await run(money) == []


async def test_without_payments_nobody_is_asked(money: Money) -> None:
    assert await run(money) == []
    money.pay(900, capture_method="manual")
    money.till.pay(6000, method="pm_usBankAccount_success", payment_method_types=["us_bank_account"])
    money.later(HOUR)
    await money.tell()
    assert await run(money) == []


async def test_a_whole_life(money: Money) -> None:
    live(money.till)
    await money.tell()
    await run(money)
    old = money.now - timedelta(days=7)
    lacking = "SELECT count(*) FROM charges WHERE status = 'succeeded' AND captured AND stripe_fee_cents IS NULL"
    assert await money.query(f"{lacking} AND stripe_created_at >= :old", old=old) == [(0,)]


async def test_hundreds_are_asked_for_in_pages(money: Money) -> None:
    for _ in range(230):
        money.till.pay(1000)
    money.later(600)
    await money.tell()
    asked = await run(money)
    assert asked.count(LISTS) <= 8
    assert set(asked) == {"events", "balance", LISTS}
    assert await money.query(LACKING) == []


async def test_a_capture_after_days_is_found_where_it_was_captured(money: Money) -> None:
    for _ in range(30):
        money.pay(500)
    early = money.pay(1000, capture_method="manual")
    money.later(5 * DAY)
    money.till.post(f"/v1/payment_intents/{early['id']}/capture")
    money.later(600)
    await money.tell()
    assert await run(money) == ["events", "balance", LISTS, LISTS]
    assert await money.query(LACKING) == []


async def test_what_no_list_has_is_asked_for_by_name(money: Money) -> None:
    """It was captured on Tuesday, and changed on Thursday: neither its first day nor what we heard last tells when."""
    late = money.pay(1000, capture_method="manual")
    money.later(2 * DAY)
    money.till.post(f"/v1/payment_intents/{late['id']}/capture")
    money.later(2 * DAY)
    money.till.post(f"/v1/charges/{late['latest_charge']}", {"description": "late"})
    money.later(600)
    await money.tell()
    asked = await run(money)
    assert asked[:4] == ["events", "balance", LISTS, LISTS]
    assert asked[4].startswith(f"{LISTS}/txn_")
    assert await money.query(LACKING) == []


async def test_what_stripe_does_not_have_is_asked_for_no_more_than_so_often(money: Money) -> None:
    for _ in range(BY_ID + 5):
        money.pay(500)
    money.pay(700)
    await money.tell()
    for row in money.till.account.store.all("balance_transaction"):
        if row["amount"] == 500:
            row["created"] -= DAY  # at Stripe nothing of it is where it should be
    money.later(600)
    money.counter.fails = lambda path: Refused("404") if path.startswith(f"{LISTS}/") else None
    asked = await run(money)
    assert sum(path.startswith(f"{LISTS}/") for path in asked) == BY_ID
    assert await money.query("SELECT amount_cents FROM charges WHERE stripe_fee_cents IS NOT NULL") == [(700,)]


async def test_a_charge_that_somebody_is_at_work_on_is_left_for_the_next_run(money: Money) -> None:
    held = money.pay(1000)["latest_charge"]
    money.pay(2000)
    await money.tell()
    money.later(600)
    async with money.engine.begin() as conn:
        assert await try_lock(conn, {held}) == {held}
        await run(money)
    assert await money.query(LACKING) == [(held,)]
    assert LISTS not in await run(money)  # it is kept already
    assert await money.query(LACKING) == []


@pytest.mark.parametrize("error", [TryLater("Stripe is away"), Refused("this key may not")])
async def test_what_stripe_does_not_answer_is_no_dead_job(money: Money, error: Exception) -> None:
    money.pay(1000)
    await money.tell()
    money.later(600)
    money.counter.fails = lambda _: error
    await run(money)
    money.counter.fails = lambda _: None
    await run(money)
    assert await money.query(LACKING) == []


async def test_without_a_key_it_is_said_once(money: Money) -> None:
    money.pay(1000)
    await money.tell()
    money.later(600)
    fees.say_once.cache_clear()  # another test may have said it
    deps = Deps(engine=money.engine, clock=money.clock, stripe=NoKey())
    with structlog.testing.capture_logs() as logs:
        for _ in range(3):
            await fill_stripe_fees.fn(deps, money.now)
    assert [line["log_level"] for line in logs if "fees" in line["event"]] == ["info"]


async def test_fees_of_years_ago_are_filled_from_what_a_comparison_kept(money: Money) -> None:
    money.pay(1000)
    await money.tell()
    money.later(40 * DAY)
    assert await run(money) == []
    assert (await money.compare()).counted["without_fee"] == 1
    assert await fill(money.deps, await money.stripe()) == 1
    assert await money.query(LACKING) == []
    assert await fill(money.deps, await money.stripe()) == 0


async def test_accounts_are_asked_in_their_own_name(money: Money) -> None:
    money.pay(1000)
    await money.tell()
    money.later(600)
    for table in ("charges", "payment_history"):
        await money.change(f"UPDATE {table} SET stripe_account = 'acct_1'")  # noqa: S608 - our own names
    await run(money)
    assert await money.query(LACKING) == []
    assert await money.query("SELECT DISTINCT stripe_account FROM balance_transactions") == [("acct_1",)]
    assert money.counter.accounts == {"acct_1"}


MOMENTS = st.integers(0, 7 * DAY).map(lambda seconds: SINCE + timedelta(seconds=seconds))


@given(st.lists(st.tuples(MOMENTS, MOMENTS), max_size=30))
def test_spans_hold_both_moments_of_each_charge(moments: list[tuple[datetime, datetime]]) -> None:
    found = list(spans([Unlisted("txn", min(pair), max(pair)) for pair in moments]))
    for pair in moments:
        for moment in pair:
            assert any(begin <= moment - NEAR and moment + NEAR <= end for begin, end in found)
    assert all(end + APART < begin for (_, end), (begin, _) in pairwise(found))
    assert sum((end - begin for begin, end in found), timedelta()) <= 2 * len(moments) * (2 * NEAR + APART)


def test_the_beginning_is_before_all_charges() -> None:
    assert datetime(2011, 1, 1, tzinfo=UTC) > fees.BEGIN
