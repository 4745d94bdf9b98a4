"""Any life of the money agrees in every span; and when rows are spoilt at random, exactly these are the suspects."""

import asyncio
import json
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import replace

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from db.engine import create_engine
from jobs.reconciliation.fees import fill
from jobs.reconciliation.found import Suspect
from tests.reconciliation.money_kit import HOUR, SINCE, Money, live
from tests.simulator.kit import ask
from tests.simulator.till import Till
from worker.embedded import EmbeddedPostgres

Change = tuple[str, str, str, str]
"""Kind, name of the object, the table of ours, and what is done to the row."""

CHARGES = (
    "plain",
    "refunded in part",
    "yen",
    "yen kept",
    "euro",
    "won",
    "lost",
    "asked",
    "debit",
    "captured",
    "captured in part",
)

OF_CHARGES = (
    "amount_cents = amount_cents + 1", "amount_captured_cents = amount_captured_cents - 1", "currency = 'xxx'",
    "status = 'failed'", "status = 'pending'", "captured = false", "stripe_fee_cents = stripe_fee_cents + 1",
    "net_amount_cents = net_amount_cents - 1", "settlement_currency = 'xxx'", "net_amount_cents = NULL",
    "amount_refunded_cents = amount_refunded_cents + 1", "stripe_account = 'acct_other'", "delete",
)  # fmt: skip
OF_PAYMENTS = (
    "amount_cents = amount_cents - 1", "currency = 'xxx'", "status = 'failed'", "captured = NOT captured",
    "stripe_fee_cents = NULL", "net_amount_cents = net_amount_cents + 1", "settlement_currency = NULL",
    "refund_amount_cents = refund_amount_cents + 1", "livemode = true", "delete",
)  # fmt: skip
FAILED = "status = 'failed'"
OTHERS = ("amount_cents = amount_cents + 1", "currency = 'xxx'", "livemode = true", "delete")

CHANGES: Sequence[Change] = [
    *(("charge", name, "charges", act) for name in CHARGES for act in OF_CHARGES),
    *(("charge", name, "payment_history", act) for name in CHARGES for act in OF_PAYMENTS),
    *(("refund", name, "refunds", act) for name in ("refund", "refund of yen") for act in (*OTHERS, FAILED)),
    ("refund", "refund that fails", "refunds", "status = 'succeeded'"),
    ("refund", "refund that fails", "refunds", "delete"),
    *(("dispute", f"dispute {name}", "disputes", act) for name in ("won", "lost") for act in OTHERS),
    ("dispute", "dispute won", "disputes", "status = 'lost'"),
    ("dispute", "dispute lost", "disputes", "status = 'won'"),
    *(("payout", name, "payouts", act) for name in ("payout usd", "payout jpy") for act in (*OTHERS, FAILED)),
    ("payout", "payout eur", "payouts", "status = 'paid'"),
    ("payout", "payout eur", "payouts", "delete"),
]  # fmt: skip

KEYS = {
    "charges": "stripe_charge_id",
    "payment_history": "stripe_charge_id",
    "refunds": "stripe_refund_id",
    "disputes": "stripe_dispute_id",
    "payouts": "stripe_payout_id",
}
INVENTED = {"charges": "charge", "payment_history": "charge", "refunds": "refund", "payouts": "payout"}


class Ledger:
    """A ledger that agrees with Stripe, copies of its tables, and the ids of what happened, by name."""

    def __init__(self, url: str, money: Money, ids: dict[str, str]) -> None:
        self.url, self.money, self.ids = url, money, ids


@pytest.fixture(scope="module")
def ledger(postgres: EmbeddedPostgres, template: str) -> Iterator[Ledger]:
    """Made once: each example puts back what it changed."""
    name = f"test_{uuid.uuid4().hex}"
    money, ids = asyncio.run(_told(postgres, name, template))
    lived = name.replace("test_", "lived_")
    asyncio.run(_at(postgres, f"CREATE DATABASE {lived} TEMPLATE {template} STRATEGY FILE_COPY"))
    yield Ledger(postgres.url(name), money, ids)
    for database in (name, lived):
        asyncio.run(_at(postgres, f"DROP DATABASE {database} WITH (FORCE)"))


async def _at(postgres: EmbeddedPostgres, sql: str) -> None:
    connection = await asyncpg.connect(postgres.url())
    await connection.execute(sql)
    await connection.close()


async def _told(postgres: EmbeddedPostgres, name: str, template: str) -> tuple[Money, dict[str, str]]:
    await _at(postgres, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
    engine = create_engine(postgres.url(name))
    money = Money(engine)
    ids = live(money.till)
    await money.tell()
    money.later(HOUR)
    await money.compare()
    await fill(money.deps, await money.stripe())
    async with engine.begin() as conn:
        for table in KEYS:
            await conn.execute(text(f"CREATE TABLE was_{table} AS TABLE {table}"))
    await engine.dispose()
    return money, ids


async def _corrupted(ledger: Ledger, changes: Sequence[Change], invented: str | None) -> None:
    engine, ids = create_engine(ledger.url), ledger.ids
    money = replace(ledger.money, engine=engine)
    try:
        expected = {Suspect(kind, ids[name]) for kind, name, _, _ in changes}
        async with engine.begin() as conn:
            for _, name, table, act in changes:
                where = f"WHERE {KEYS[table]} = :id"
                sql = f"DELETE FROM {table} {where}" if act == "delete" else f"UPDATE {table} SET {act} {where}"  # noqa: S608 - our own names
                await conn.execute(text(sql), {"id": ids[name]})
            if invented is not None:
                expected.add(await _invent(conn, invented))
        found = await money.compare()
        assert (found.suspects, found.duplicates) == (expected, [])
    finally:
        async with engine.begin() as conn:
            for table in KEYS:
                await conn.execute(text(f"DELETE FROM {table}"))  # noqa: S608 - our own names
                await conn.execute(
                    text(f"INSERT INTO {table} OVERRIDING SYSTEM VALUE SELECT * FROM was_{table}")  # noqa: S608 - our own names
                )
        await engine.dispose()


async def _invent(conn: AsyncConnection, table: str) -> Suspect:
    """A row that Stripe knows nothing of: a copy of a right one under another name."""
    name = f"{table}_invented"
    new = json.dumps({"id": 9999, KEYS[table]: name} | ({"stripe_fee_cents": None} if table == "charges" else {}))
    right = {"payouts": "status = 'paid'", "refunds": "balance_transaction_id IS NOT NULL"}.get(
        table, "status = 'succeeded' AND captured"
    )
    await conn.execute(
        text(
            f"INSERT INTO {table} OVERRIDING SYSTEM VALUE SELECT (jsonb_populate_record(x, CAST(:new AS jsonb))).*"  # noqa: S608 - our own names
            f" FROM was_{table} x WHERE {right} LIMIT 1"
        ),
        {"new": new},
    )
    return Suspect(INVENTED[table], name)


@given(
    changes=st.lists(st.sampled_from(CHANGES), max_size=6, unique_by=lambda change: change[:2]),
    invented=st.one_of(st.none(), st.sampled_from(sorted(INVENTED))),
)
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
def test_the_suspects_are_those_that_were_touched(ledger: Ledger, changes: list[Change], invented: str | None) -> None:
    asyncio.run(_corrupted(ledger, changes, invented))


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["pay", "hold", "debit", "capture", "refund", "dispute", "decide", "fail", "wait", "compare"]),
        st.integers(50, 90_000),
        st.sampled_from(["usd", "eur", "jpy"]),
    ),
    min_size=4,
    max_size=25,
)


def step(till: Till, what: str, number: int, currency: str) -> None:
    """Something happens to some of the money, or is refused."""
    store = till.account.store

    def one(kind: str) -> str:
        rows = store.all(kind)
        return rows[number % len(rows)]["id"] if rows else "none"

    match what:
        case "pay":
            till.pay(number, currency)
        case "hold":
            till.pay(number, currency, capture_method="manual")
        case "debit":
            method = ("pm_usBankAccount_success", "pm_usBankAccount_accountClosed")[number % 2]
            till.pay(number, "usd", method, payment_method_types=["us_bank_account"])
        case "capture":
            ask(till.api, "POST", f"/v1/payment_intents/{one('payment_intent')}/capture", {"amount_to_capture": 50})
        case "refund":
            ask(till.api, "POST", "/v1/refunds", {"charge": one("charge"), "amount": number})
        case "dispute":
            ask(till.api, "POST", f"/_sim/charges/{one('charge')}/dispute", {"inquiry": number % 3 == 0})
        case "decide":
            outcome = ("won", "lost")[number % 2]
            ask(till.api, "POST", f"/_sim/disputes/{one('dispute')}/close", {"outcome": outcome})
        case "fail":
            kind = ("refund", "payout")[number % 2]
            ask(till.api, "POST", f"/_sim/{kind}s/{one(kind)}/fail")
        case _:
            till.later(number * 10)
    till.later(5)


@given(steps=STEPS)
@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
def test_right_books_agree_in_every_span(ledger: Ledger, steps: list[tuple[str, int, str]]) -> None:
    asyncio.run(_lived(ledger, steps))


async def _lived(ledger: Ledger, steps: Sequence[tuple[str, int, str]]) -> None:
    engine = create_engine(ledger.url.replace("/test_", "/lived_", 1))
    money = Money(engine)
    since = SINCE
    try:
        async with engine.begin() as conn:
            for table in (*KEYS, "payment_intents", "balance_transactions", "users"):
                await conn.execute(text(f"TRUNCATE {table} CASCADE"))
        for what, number, currency in (*steps, ("compare", 50, "")):
            step(money.till, what, number, currency)
            if what == "compare":
                money.later(2 * HOUR)
                await money.tell()
                found = await money.compare(since)
                assert (found.suspects, found.duplicates) == (set(), [])
                await fill(money.deps, await money.stripe())
                since = money.now
        found = await money.compare()
        assert (found.suspects, found.duplicates, found.counted["without_fee"]) == (set(), [], 0)
        assert all(part["there"] == part["here"] for sums in found.totals.values() for part in sums.values())
    finally:
        await engine.dispose()
