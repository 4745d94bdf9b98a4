"""Facts are joined: in any order, any number of times, in memory and in PostgreSQL alike."""

from datetime import UTC, datetime
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from db.ledger import TABLES, Fact, Row, fingerprint, hash63, merge, read, try_lock, write

NOW = datetime(2026, 3, 1, tzinfo=UTC)
KEY = ("ch_1",)


def fact(version: tuple[int, ...], status: str | None = None, **sticky: Any) -> Fact:
    values: Row = {"status": status} if version else {}
    return Fact("charges", KEY, version, values, {"livemode": False, "stripe_account": ""} | sticky)


def joined(*facts: Fact, start: Row | None = None) -> Row | None:
    row = start
    for one in facts:
        row = merge(row, one)
    return row


VERSIONS = st.one_of(st.just(()), st.tuples(st.integers(0, 2), st.integers(0, 2)))


# Equal versions are of equal content: the fingerprint is part of them.
def _told(version: tuple[int, ...], sticky: Row) -> Fact:
    return fact(version, f"status {version}", **sticky)


FACTS = st.builds(
    _told,
    VERSIONS,
    st.fixed_dictionaries(
        {},
        optional={
            "expired_at": st.sampled_from(["2026-01-01T00:00:00+00:00", "2026-01-02T00:00:00+00:00", None]),
            "stripe_fee_cents": st.integers(0, 3),
            "stripe_payment_intent_id": st.sampled_from(["pi_1", None]),
        },
    ),
)


@given(facts=st.lists(FACTS, min_size=1, max_size=6), seed=st.randoms())
def test_the_order_of_facts_does_not_matter(facts: list[Fact], seed: Any) -> None:
    shuffled = [*facts, *facts]
    seed.shuffle(shuffled)
    assert joined(*shuffled) == joined(*facts)


@given(one=FACTS, other=FACTS, start=st.lists(FACTS, max_size=3))
def test_a_join_is_commutative_and_idempotent(one: Fact, other: Fact, start: list[Fact]) -> None:
    row = joined(*start)
    assert joined(one, other, start=row) == joined(other, one, start=row)
    assert joined(one, one, start=row) == joined(one, start=row)


def test_plain_columns_are_the_newest_facts_and_sticky_ones_only_grow() -> None:
    old = fact((1,), "pending", expired_at="2026-01-02T00:00:00+00:00", stripe_fee_cents=3)
    new = fact((2,), "succeeded", expired_at="2026-01-01T00:00:00+00:00", stripe_fee_cents=None)
    for order in permutations([old, new]):
        row = joined(*order)
        assert row is not None
        assert (row["status"], row["expired_at"], row["stripe_fee_cents"]) == (
            "succeeded",
            "2026-01-01T00:00:00+00:00",
            3,
        )


def test_a_stub_never_takes_anything_away() -> None:
    row = joined(fact((1,), "pending"), fact(()))
    assert row is not None
    assert row["status"] == "pending"


async def _write(engine: AsyncEngine, row: Row) -> None:
    async with engine.begin() as conn:
        await write(conn, "charges", [row], now=NOW)


async def _read(engine: AsyncEngine) -> Row:
    async with engine.connect() as conn:
        return (await read(conn, [("charges", KEY)]))["charges", KEY]


async def test_postgres_joins_as_python_does_even_when_two_writers_knew_nothing_of_each_other(
    engine: AsyncEngine,
) -> None:
    facts = [
        fact((0, 5), "pending", expired_at="2026-01-02T00:00:00+00:00", stripe_fee_cents=3),
        fact((1, 1), "succeeded", expired_at="2026-01-03T00:00:00+00:00"),
        fact((0, 9, 9), "failed", stripe_fee_cents=7),
        fact((), expired_at="2026-01-01T00:00:00+00:00"),
    ]
    expected = joined(*facts)
    assert expected is not None
    for order in permutations(facts):
        async with engine.begin() as conn:
            await conn.execute(text("TRUNCATE charges"))
        for one in order:
            await _write(engine, merge(None, one))
        found = await _read(engine)
        assert {name: found[name] for name in expected} == expected


async def test_what_is_read_is_what_was_merged(engine: AsyncEngine) -> None:
    row = joined(fact((0, 5), "pending", stripe_fee_cents=3))
    assert row is not None
    await _write(engine, row)
    found = await _read(engine)
    assert {name: found[name] for name in row} == row


async def test_decimals_and_composite_keys_survive_the_way(engine: AsyncEngine) -> None:
    prices = [
        Fact("prices", ("gold", account, False), (1,), {"unit_amount_decimal": "0.000381"}, {})
        for account in ("", "acct_1")
    ]
    async with engine.begin() as conn:
        await write(conn, "prices", [merge(None, price) for price in prices], now=NOW)
        found = await read(conn, [price.address for price in prices[1:]])
    assert list(found) == [("prices", ("gold", "acct_1", False))]
    assert found[prices[1].address]["unit_amount_decimal"] == "0.000381"


async def test_a_lock_is_had_at_once_or_not_at_all(engine: AsyncEngine) -> None:
    async with engine.begin() as one, engine.begin() as other:
        assert await try_lock(one, ["cus_1", "cus_2"]) == {"cus_1", "cus_2"}
        assert await try_lock(one, ["cus_1"]) == {"cus_1"}
        assert await try_lock(other, ["cus_2", "cus_3"]) == {"cus_3"}
        assert await try_lock(other, []) == set()
    async with engine.begin() as later:
        assert await try_lock(later, ["cus_1"]) == {"cus_1"}


def test_every_table_says_how_each_column_is_merged() -> None:
    for table in TABLES.values():
        kinds = [*table.key, *table.sticky, *table.plain, *table.own]
        assert len(kinds) == len(set(kinds)), table.name
        assert "id" not in kinds


@pytest.mark.parametrize("name", ["cus_1", "", "ключ", b"\x00\xff"])
def test_hashes_fit_postgres_bigint(name: str | bytes) -> None:
    assert 0 <= hash63(name) < 2**63


def test_a_fingerprint_does_not_depend_on_the_order_of_keys() -> None:
    assert fingerprint({"a": 1, "b": [{"c": 2, "d": 3}]}) == fingerprint({"b": [{"d": 3, "c": 2}], "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": "1"})
