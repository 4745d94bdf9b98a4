"""A fresh look names what differs, and mends exactly that; where nothing differs it leaves no trace."""

import json
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from db.ledger import TABLES
from jobs.reconciliation.snapshot_columns import COLUMNS, MATTERS, NAMES
from jobs.reconciliation.snapshots import KINDS
from tests.events.kit import books
from tests.reconciliation.looking_kit import ALL, World, heard, heard_life, the, told
from worker.embedded import EmbeddedPostgres

SUSPECTS = {
    "charges": ("charge", "stripe_charge_id"),
    "refunds": ("refund", "stripe_refund_id"),
    "disputes": ("dispute", "stripe_dispute_id"),
    "payouts": ("payout", "stripe_payout_id"),
    "payment_intents": ("payment_intent", "stripe_payment_intent_id"),
    "invoices": ("invoice", "stripe_invoice_id"),
    "invoice_payments": ("invoice", "stripe_invoice_id"),
    "credit_notes": ("credit_note", "stripe_credit_note_id"),
    "subscriptions": ("subscription", "stripe_subscription_id"),
    "subscription_items": ("subscription", "stripe_subscription_id"),
    "users": ("customer", "stripe_customer_id"),
    "payment_history": ("charge", "stripe_charge_id"),
}
"""By table: which object is looked at when a row of it is wrong."""

EACH = [(table, column) for table, columns in COLUMNS.items() for column in columns]

WRONG: dict[str, str] = {
    "bigint": "coalesce({0}, 0) + 7",
    "integer": "coalesce({0}, 0) + 7",
    "numeric": "coalesce({0}, 0) + 7",
    "boolean": "NOT coalesce({0}, false)",
    "timestamp with time zone": "coalesce({0}, now()) + interval '1 day'",
    "jsonb": "jsonb_set({0}, '{{0}}', {0} -> 0 || '{{\"quantity\": 77}}')",
}
"""By type: a value that the column does not have."""

OTHER = {"invoices": ("open", "void"), "payment_history": ("pending", "succeeded")}
"""Two values of a status that knows no others."""


@pytest.fixture(scope="module")
def template(postgres: EmbeddedPostgres, template: str) -> str:
    """A ledger that is right: each test has a copy."""
    return heard(postgres, template)


@pytest.fixture
def world(engine: AsyncEngine) -> World:
    return World(engine, heard_life())


async def test_the_ledger_is_as_stripe_is_and_knows_the_fees(world: World) -> None:
    assert await world.oracle() == []
    booked = {one["id"]: (one["fee"], one["net"], one["currency"]) for one in world.all("balance_transaction")}
    expected = {
        one["id"]: booked[one["balance_transaction"]] for one in world.all("charge") if one["balance_transaction"]
    }
    for table in ("charges", "payment_history"):
        found = await world.query(
            f"SELECT stripe_charge_id, stripe_fee_cents, net_amount_cents, settlement_currency FROM {table}"  # noqa: S608 - our own tables
            " WHERE stripe_fee_cents IS NOT NULL"
        )
        assert {row[0]: row[1:] for row in found} == expected


@pytest.mark.parametrize("kind", KINDS)
async def test_nothing_is_found_where_nothing_differs(world: World, kind: str) -> None:
    found = world.all(kind)
    assert found
    before = await world.dump()
    for obj in found:
        looked = await world.look(kind, obj["id"])
        assert (looked.differences, looked.waits, looked.mended) == ((), None, False), obj["id"]
    assert await world.dump() == before


def test_every_copy_and_what_is_derived_is_compared() -> None:
    assert COLUMNS.keys() == NAMES.keys() == SUSPECTS.keys()
    assert {kind.table for kind in KINDS.values()} <= COLUMNS.keys()
    for table, columns in COLUMNS.items():
        if table in TABLES:
            known = {*TABLES[table].plain, *TABLES[table].sticky, "mrr_cents"}
            assert columns.keys() <= known
            money = {name for name in known if name.endswith("_cents")} - {"mrr_cents"}
            assert money <= columns.keys(), f"{table}: {money - columns.keys()}"


async def corrupt(world: World, table: str, column: str, place: int = 0) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Write something else into a column of a row; the suspect's id, and the row before and after."""
    key = SUSPECTS[table][1]
    full = f"{column} IS NOT NULL" if column not in MATTERS else f"jsonb_array_length({column}) > 0"
    there = " AND deleted_at IS NULL" if table in TABLES else ""
    found = await world.query(f"SELECT id, {key}, {full} FROM {table} WHERE {key} IS NOT NULL{there} ORDER BY id")  # noqa: S608 - our own tables
    chosen = [row for row in found if row[2]] or found
    number, name = int(chosen[place % len(chosen)][0]), str(chosen[place % len(chosen)][1])
    ((type_,),) = await world.query(
        "SELECT data_type FROM information_schema.columns"
        " WHERE table_schema = 'public' AND table_name = :table AND column_name = :column",
        table=table,
        column=column,
    )
    wrong = WRONG.get(type_, "'xxx'").format(column)
    if column == "status" and table in OTHER:
        wrong = "CASE status WHEN '{0}' THEN '{1}' ELSE '{0}' END".format(*OTHER[table])
    before = await row_of(world, table, number)
    await world.change(f"UPDATE {table} SET {column} = {wrong} WHERE id = :id", id=number)  # noqa: S608 - our own tables
    return name, before, await row_of(world, table, number)


async def row_of(world: World, table: str, number: int) -> dict[str, Any]:
    ((raw,),) = await world.query(f"SELECT to_jsonb(t)::text FROM {table} t WHERE id = :id", id=number)  # noqa: S608 - our own tables
    return json.loads(raw)


def as_text(value: Any) -> str | None:
    if isinstance(value, bool):
        return str(value).lower()
    return None if value is None else str(value)


@pytest.mark.parametrize(("table", "column"), EACH, ids=[f"{table}.{column}" for table, column in EACH])
async def test_a_wrong_value_is_named_and_mended(world: World, table: str, column: str) -> None:
    right = await books(world.engine)
    name, before, after = await corrupt(world, table, column)
    kind = SUSPECTS[table][0]
    wrong = await world.dump()
    looked = await world.look(kind, name)
    assert looked.waits is None
    assert not looked.mended
    found = the(looked, column, NAMES[table])
    assert found.class_ is COLUMNS[table][column]
    if column not in MATTERS:
        assert (found.here, found.there) == (as_text(after[column]), as_text(before[column]))
        assert told(looked) == {(found.kind, found.class_.value, column)}
    assert (await world.look(kind, name, repairs=ALL, dry_run=True)).differences == looked.differences
    assert (await world.look(kind, name, repairs=ALL - {found.class_})).differences == looked.differences
    assert await world.dump() == wrong
    mended = await world.repair(kind, name)
    assert (mended.differences, mended.mended) == (looked.differences, True)
    assert await books(world.engine) == right
    assert await world.oracle() == []
    again = await world.repair(kind, name)
    assert (again.differences, again.mended) == ((), False)
    ((who, target, details),) = await world.query("SELECT who, target, details FROM audit_log")
    assert (who, target) == ("reconciliation", f"{kind} {name}")
    assert column in {one["field"] for one in details["differences"]}
