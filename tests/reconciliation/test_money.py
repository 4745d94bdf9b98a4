"""All money at Stripe is laid beside ours, both ways: right books are found right, and each wrong row is named."""

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from db.balance_transactions import staging
from db.states import DifferenceClass
from deploy.demo.simulator.account import DAY
from jobs.reconciliation.fees import fill
from jobs.reconciliation.found import Difference, Suspect
from jobs.reconciliation.money import compare_money, paid_twice
from tests.reconciliation.money_kit import HOUR, SINCE, Money, live
from worker.errors import Refused


@pytest.fixture
async def money(engine: AsyncEngine) -> Money:
    """Both sides, and nothing has happened."""
    return Money(engine)


async def test_right_books_are_found_right(money: Money) -> None:
    live(money.till)
    await money.tell()
    money.later(HOUR)
    found = await money.compare()
    assert (found.suspects, found.duplicates) == (set(), [])
    booked = money.till.account.store.all("balance_transaction")
    assert found.counted["listed"] == found.counted["kept"] == len(booked)
    assert found.counted["without_fee"] == 11
    for currency in ("usd", "eur", "jpy"):
        rows = [row for row in booked if row["currency"] == currency]
        sums = found.totals[currency]
        for name in ("charges", "refunds", "disputes", "payouts"):
            assert sums.get(name, {"there": 0})["there"] == sums.get(name, {"here": 0})["here"]
        fees = {name: part for name, part in sums.items() if name.endswith("fees")}
        assert sum(part["there"] for part in fees.values()) == sum(row["fee"] for row in rows)
        assert sum(part["there"] for name, part in sums.items() if name not in fees) == sum(
            row["amount"] for row in rows
        )
    assert await fill(money.deps, await money.stripe()) == 11
    again = await money.compare()
    told = "SELECT settlement_currency, sum(stripe_fee_cents)::bigint FROM payment_history WHERE stripe_fee_cents > 0"
    for currency, kept in await money.query(f"{told} GROUP BY 1"):
        assert again.totals[currency]["fees"] == {"there": kept, "here": kept}, "what an accountant adds up"
    assert (again.suspects, again.duplicates, again.counted["without_fee"], again.counted["kept"]) == (set(), [], 0, 0)
    assert all(part["there"] == part["here"] for sums in again.totals.values() for part in sums.values())


async def test_what_never_came_is_named(money: Money) -> None:
    ids = live(money.till)
    money.forget()
    found = await money.compare()
    booked = {row["source"] for row in money.till.account.store.all("balance_transaction")}
    assert {suspect.object_id for suspect in found.suspects} == booked
    assert Suspect("refund", ids["refund"]) in found.suspects
    assert found.totals["usd"]["charges"]["here"] == 0


@pytest.mark.parametrize("by", [timedelta(minutes=-1), timedelta(minutes=11)])
async def test_money_of_the_last_minutes_waits_for_its_webhook(money: Money, by: timedelta) -> None:
    intent = money.till.pay(1000)
    money.later(600 + int(by.total_seconds()))
    found = await money.compare()
    late = by > timedelta()
    assert found.suspects == ({Suspect("charge", intent["latest_charge"])} if late else set())
    assert found.counted["waiting"] == (0 if late else 1)


async def test_what_waited_is_the_next_spans(money: Money) -> None:
    money.till.pay(1000)
    money.later(60)
    middle = money.now
    assert (await money.compare(SINCE, middle)).suspects == set()
    money.later(DAY)
    assert len((await money.compare(middle)).suspects) == 1


async def test_money_that_came_back_in_another_span(money: Money) -> None:
    """A refund failed a day after the span in which it was made: its first half is kept, and tells that it adds up."""
    intent = money.till.pay(1000)
    refund = money.till.post("/v1/refunds", {"payment_intent": intent["id"]})["id"]
    money.later(HOUR)
    await money.tell()
    await money.compare()
    middle = money.now
    money.later(DAY)
    money.till.post(f"/_sim/refunds/{refund}/fail")
    money.later(HOUR)
    assert (await money.compare(middle)).suspects == {Suspect("refund", refund)}
    await money.tell()
    found = await money.compare(middle)
    assert found.suspects == set()
    assert found.totals["usd"]["refunds"] == {"there": 1000, "here": 1000}


async def test_a_charge_in_another_currency_than_the_balance(money: Money) -> None:
    intent = money.pay(1000, "eur")
    await money.tell()
    charge = intent["latest_charge"]
    row = money.till.account.store.need("balance_transaction", money.till.charge(intent)["balance_transaction"])
    row |= {"currency": "usd", "amount": 1234, "exchange_rate": 1.234, "fee": 66, "net": 1168}
    money.later(HOUR)
    found = await money.compare()
    assert (found.suspects, found.counted["converted"]) == (set(), 1)
    assert "charges" not in found.totals["usd"]
    assert await fill(money.deps, await money.stripe()) == 1
    query = "SELECT stripe_fee_cents, net_amount_cents, settlement_currency FROM payment_history"
    assert await money.query(query) == [(66, 1168, "usd")]
    assert (await money.compare()).suspects == set()
    await money.change("UPDATE payment_history SET net_amount_cents = 1169")
    assert (await money.compare()).suspects == {Suspect("charge", charge)}
    rates = await money.query("SELECT exchange_rate::text FROM balance_transactions WHERE exchange_rate IS NOT NULL")
    assert rates == [("1.234",)]


async def test_a_charge_that_was_captured_in_parts_is_one_payment(money: Money) -> None:
    intent = money.pay(1000)
    await money.tell()
    charge = intent["latest_charge"]
    row = money.till.account.store.need("balance_transaction", money.till.charge(intent)["balance_transaction"])
    row |= {"amount": 600, "fee": 20, "net": 580}
    money.book(charge, 400, fee=10)
    money.later(HOUR)
    found = await money.compare()
    assert (found.suspects, found.duplicates) == (set(), [])
    await fill(money.deps, await money.stripe())
    assert await money.query("SELECT stripe_fee_cents, net_amount_cents FROM charges") == [(30, 970)]
    assert (await money.compare()).suspects == set()


async def test_money_that_moved_twice(money: Money) -> None:
    charge = money.till.pay(1000)["latest_charge"]
    money.later(HOUR)
    refund = money.till.post("/v1/refunds", {"charge": charge, "amount": 300})["id"]
    await money.tell()
    money.book(charge, 1000, fee=59)
    money.book(refund, -300, type="refund", reporting_category="refund")
    money.later(HOUR)
    found = await money.compare()
    told = {(each.kind, each.object_id, each.class_, each.here, each.there) for each in found.duplicates}
    assert told == {
        ("charge", charge, DifferenceClass.DUPLICATE, "1000", "2000"),
        ("refund", refund, DifferenceClass.DUPLICATE, "-300", "-600"),
    }
    assert found.suspects == set()


async def test_an_invoice_that_was_paid_twice(money: Money) -> None:
    till = money.till
    customer, card = till.customer()
    till.post(f"/v1/customers/{customer}", {"invoice_settings": {"default_payment_method": card}})
    till.post("/v1/invoiceitems", {"customer": customer, "amount": 2000, "currency": "usd"})
    invoice = till.post("/v1/invoices", {"customer": customer, "pending_invoice_items_behavior": "include"})["id"]
    till.post(f"/v1/invoices/{invoice}/finalize")
    till.post(f"/v1/invoices/{invoice}/pay")
    money.later(5 * HOUR)
    second = till.pay(2000, customer=customer, payment_method=card)["latest_charge"]
    money.later(HOUR)
    await money.tell()
    assert (await money.compare()).duplicates == []
    await money.change(
        "UPDATE payment_history SET stripe_invoice_id = :invoice WHERE stripe_charge_id = :second",
        invoice=invoice,
        second=second,
    )
    found = await money.compare()
    (first,) = {one["id"] for one in till.account.store.all("charge")} - {second}
    about = {Suspect("invoice", invoice), Suspect("charge", first), Suspect("charge", second)}
    assert (found.suspects, found.duplicates) == (about, [])
    assert (await money.compare(money.now - timedelta(hours=2))).suspects == about
    nothing: set[str] = set()
    (told,) = await paid_twice(money.deps, found, decided=about, unsettled=nothing, before=nothing)
    assert told == Difference("invoice", invoice, DifferenceClass.DUPLICATE, "amount_paid_cents", "4000", "2000", "usd")
    # What waits, or is to be mended yet, may be why; but what was told does not end by that.
    waiting = about - {Suspect("charge", second)}
    assert await paid_twice(money.deps, found, decided=waiting, unsettled=nothing, before=nothing) == []
    assert await paid_twice(money.deps, found, decided=waiting, unsettled=nothing, before={invoice}) == [told]
    assert await paid_twice(money.deps, found, decided=about, unsettled={second}, before=nothing) == []
    # A look has put the payment right, or the invoice has heard of both.
    await money.change("UPDATE invoices SET amount_paid_cents = 4000")
    assert await paid_twice(money.deps, found, decided=about, unsettled=nothing, before={invoice}) == []
    assert (await money.compare()).suspects == set()


async def test_a_dry_run_keeps_nothing(money: Money) -> None:
    live(money.till)
    await money.tell()
    money.later(HOUR)
    dry = await compare_money(money.deps, await money.stripe(), SINCE, money.now, dry_run=True)
    assert await money.query("SELECT count(*) FROM balance_transactions") == [(0,)]
    real = await money.compare()
    assert (dry.suspects, dry.duplicates, dry.totals, dry.counted) == (
        real.suspects, real.duplicates, real.totals, real.counted,
    )  # fmt: skip
    assert dry.counted["kept"] == len(money.till.account.store.all("balance_transaction"))
    assert all(part["there"] == part["here"] for sums in dry.totals.values() for part in sums.values())


async def test_kept_rows_that_stripe_tells_otherwise(money: Money) -> None:
    money.till.pay(1000)
    money.till.pay(2000)
    money.later(HOUR)
    await money.tell()
    await money.compare()
    first, second = sorted(row["id"] for row in money.till.account.store.all("balance_transaction"))
    await money.change(
        "UPDATE balance_transactions SET fee_cents = fee_cents + 1, net_cents = net_cents - 1"
        " WHERE stripe_balance_transaction_id = :id",
        id=first,
    )
    copy = "stripe_balance_transaction_id, livemode, stripe_account, type, reporting_category, source_id, currency"
    rest = "amount_cents, fee_cents, net_cents, exchange_rate, available_on, stripe_created_at, seen_at"
    await money.change(
        f"INSERT INTO balance_transactions ({copy}, {rest}) SELECT 'txn_invented'"  # noqa: S608 - our own names
        f"{copy.removeprefix('stripe_balance_transaction_id')}, {rest} FROM balance_transactions"
        " WHERE stripe_balance_transaction_id = :id",
        id=second,
    )
    found = await money.compare()
    assert {(each.object_id, each.class_, each.field) for each in found.duplicates} == {
        (first, DifferenceClass.FEE, "fee_cents"),
        (first, DifferenceClass.AMOUNT, "net_cents"),
        ("txn_invented", DifferenceClass.MISSING_THERE, ""),
    }
    assert found.suspects == set()


async def test_sums_that_do_not_add_up_are_told_and_not_kept(money: Money) -> None:
    money.pay(1000)
    await money.tell()
    id_ = money.book("ch_strange", 100, net=7)
    money.later(HOUR)
    found = await money.compare()
    assert [(each.object_id, each.field, each.there) for each in found.duplicates] == [(id_, "net_cents", "7")]
    assert found.counted["kept"] == 1


async def test_money_of_nobody_is_counted(money: Money) -> None:
    await money.tell()
    money.book("src_x", 0, fee=30, type="stripe_fee", reporting_category="fee")
    row = money.till.account.store.need("balance_transaction", money.book("tr_x", -5000, type="transfer"))
    row["source"] = None
    money.later(HOUR)
    found = await money.compare()
    assert (found.suspects, found.counted["other"], found.totals["usd"]["other_fees"]) == (
        set(),
        2,
        {"there": 30, "here": 30},
    )


async def test_others_money_is_not_ours(money: Money) -> None:
    money.pay(1000)
    await money.tell()
    money.later(HOUR)
    assert (await money.compare()).suspects == set()
    for table in ("charges", "payment_history"):
        await money.change(f"UPDATE {table} SET stripe_account = 'acct_other'")  # noqa: S608 - our own names
    assert len((await money.compare()).suspects) == 1
    live_ = replace(await money.stripe(), livemode=True)
    found = await compare_money(money.deps, live_, SINCE, money.now)
    assert {suspect.kind for suspect in found.suspects} == {"charge"}


async def test_a_debit_on_its_way_is_no_alarm(money: Money) -> None:
    money.till.pay(6000, method="pm_usBankAccount_success", payment_method_types=["us_bank_account"])
    money.later(DAY)
    await money.tell()
    assert (await money.compare()).suspects == set()


async def test_a_capture_whose_money_never_came(money: Money) -> None:
    """It was charged before the span and captured in it: our books have the money, and Stripe's do not."""
    intent = money.till.pay(1000, capture_method="manual")
    money.later(2 * DAY)
    middle = money.now
    money.till.post(f"/v1/payment_intents/{intent['id']}/capture")
    money.later(HOUR)
    await money.tell()
    assert (await money.compare(middle)).suspects == set()
    (row,) = money.till.account.store.all("balance_transaction")
    row["source"] = None
    await money.change("DELETE FROM balance_transactions")
    found = await money.compare(middle)
    assert found.suspects == {Suspect("charge", intent["latest_charge"])}
    assert found.totals["usd"]["charges"] == {"there": 0, "here": 1000}


async def test_a_row_that_a_moving_list_tells_twice_counts_once(money: Money) -> None:
    ids = live(money.till)
    await money.tell()
    money.later(HOUR)
    await fill(money.deps, await money.stripe())
    once = await money.compare()
    rows = money.till.account.store.all("balance_transaction")
    listed = money.counter.read

    async def twice(path: str, **params: object) -> bytes:
        body = await listed(path, **params)
        if path != "balance_transactions":
            return body
        return body.replace(b'"data":[', b'"data":[' + body[body.index(b"[") + 1 : body.rindex(b"]")] + b",", 1)

    money.counter.read = twice  # type: ignore[method-assign] - a Stripe that repeats itself
    found = await money.compare()
    assert found.counted["listed"] == 2 * len(rows)
    assert (found.suspects, found.duplicates, found.totals) == (set(), [], once.totals)
    assert ids


async def test_nothing_stays_behind_on_the_connection(money: Money) -> None:
    async with staging(money.engine) as stage:
        await stage.execute("CREATE TEMPORARY TABLE mine (id int)")
    for _ in range(12):
        async with money.engine.connect() as conn:
            assert (await conn.execute(text("SHOW lock_timeout"))).scalar_one() == "2s"
            assert (await conn.execute(text("SELECT to_regclass('pg_temp.staged')"))).scalar_one() is None


async def test_what_stripe_cannot_answer_ends_the_comparison(money: Money) -> None:
    stripe = await money.stripe()
    money.counter.fails = lambda path: Refused("no") if path == "balance_transactions" else None
    with pytest.raises(Refused):
        await compare_money(money.deps, stripe, SINCE, money.now)


@pytest.mark.parametrize(
    ("spoilt", "less"),
    [
        ("UPDATE payment_history SET amount_cents = amount_cents - 1 {}", 1),
        ("UPDATE payment_history SET status = 'failed' {}", 1200),
        ("UPDATE payment_history SET captured = false {}", 1200),
        ("UPDATE payment_history SET currency = 'eur' {}", 1200),
        ("DELETE FROM payment_history {}", 1200),
        ("UPDATE payment_history SET stripe_fee_cents = stripe_fee_cents + 1 {}", 0),
        ("UPDATE charges SET amount_cents = amount_cents + 1, amount_captured_cents = amount_captured_cents + 1 {}", 0),
        ("DELETE FROM charges {}", -1800),  # of the payment alone nobody knows that it was captured in part
    ],
)
async def test_what_was_charged_by_our_books_is_what_the_payments_say(money: Money, spoilt: str, less: int) -> None:
    ids = live(money.till)
    await money.tell()
    money.later(HOUR)
    whole = (await money.compare()).totals["usd"]["charges"]["there"]
    await fill(money.deps, await money.stripe())
    charge = ids["captured in part"]
    await money.change(spoilt.format("WHERE stripe_charge_id = :charge"), charge=charge)
    found = await money.compare()
    assert found.suspects == {Suspect("charge", charge)}
    assert found.totals["usd"]["charges"] == {"there": whole, "here": whole - less}


async def test_a_payment_that_stripe_never_booked_counts_by_its_own_amount(money: Money) -> None:
    money.pay(1000)
    await money.tell()
    (row,) = money.till.account.store.all("balance_transaction")
    row["source"] = None
    await money.change("UPDATE payment_history SET amount_cents = 999")
    money.later(HOUR)
    assert (await money.compare()).totals["usd"]["charges"] == {"there": 0, "here": 999}
