"""Rows that are gone, too many, or never came are found and mended; what is on its way is waited for."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from db import ledger
from db.states import DifferenceClass
from jobs.reconciliation.found import Suspect
from jobs.reconciliation.snapshot_columns import NAMES
from jobs.reconciliation.snapshots import KINDS, look
from tests.events.kit import books
from tests.reconciliation.looking_kit import ALL, World, cloned, heard, heard_life, the, told
from tests.reconciliation.test_snapshots import EACH, SUSPECTS, corrupt
from worker.embedded import EmbeddedPostgres
from worker.errors import Refused

REMOVED = [name for name in SUSPECTS if name not in {"subscription_items", "users"}]
"""Items are told with their subscription, and customers are held by all that is theirs."""


@pytest.fixture(scope="module")
def template(postgres: EmbeddedPostgres, template: str) -> str:
    """A ledger that is right: each test has a copy."""
    return heard(postgres, template)


@pytest.fixture
def world(engine: AsyncEngine) -> World:
    return World(engine, heard_life())


def without_times(found: Mapping[str, list[str]]) -> Mapping[str, list[str]]:
    """The books without the state of the history that a repair may date anew."""
    return {table: rows for table, rows in found.items() if table != "subscription_history"}


@pytest.mark.parametrize("table", REMOVED)
async def test_a_row_that_is_gone_is_one_difference(world: World, table: str) -> None:
    right = await books(world.engine)
    kind, key = SUSPECTS[table]
    where = {
        "payment_history": "status <> 'pending'",
        "invoice_payments": "status = 'paid'",
        "invoices": "deleted_at IS NULL"
        " AND id NOT IN (SELECT invoice_id FROM payment_history WHERE invoice_id IS NOT NULL)"
        " AND id NOT IN (SELECT invoice_id FROM dunning_cases WHERE invoice_id IS NOT NULL)",
    }.get(table, "true")
    found = await world.query(f"SELECT id, {key} FROM {table} WHERE {key} IS NOT NULL AND {where} ORDER BY id")  # noqa: S608 - our own tables
    number, name = found[0]
    await world.change(f"DELETE FROM {table} WHERE id = :id", id=number)  # noqa: S608 - our own tables
    looked = await world.look(kind, name)
    assert told(looked) == {(NAMES[table], "missing_here", "")}
    (one,) = looked.differences
    assert one.here is None
    assert (await world.look(kind, name, repairs=ALL - {DifferenceClass.MISSING_HERE})).mended is False
    assert (await world.repair(kind, name)).mended
    assert (await world.repair(kind, name)).differences == ()
    assert without_times(await books(world.engine)) == without_times(right)
    assert await world.oracle() == []


async def test_an_attempt_too_many_is_a_duplicate(world: World) -> None:
    right = await books(world.engine)
    ((charge, intent),) = await world.query(
        "SELECT stripe_charge_id, stripe_payment_intent_id FROM payment_history"
        " WHERE status = 'succeeded' ORDER BY id LIMIT 1"
    )
    columns = "stripe_payment_intent_id, amount_cents, currency, status, created_at"
    await world.change(
        f"INSERT INTO payment_history ({columns}) SELECT {columns} FROM payment_history"  # noqa: S608 - constants
        " WHERE stripe_charge_id = :charge",
        charge=charge,
    )
    looked = await world.repair("charge", charge)
    assert told(looked) == {("payment", "duplicate", "")}
    (one,) = looked.differences
    assert (one.object_id, one.there) == (intent, None)
    assert await books(world.engine) == right
    assert (await world.repair("charge", charge)).differences == ()


async def test_a_copy_of_which_only_the_name_is_known_is_missing(world: World) -> None:
    right = await books(world.engine)
    ((customer,),) = await world.query("SELECT stripe_customer_id FROM users WHERE deleted_at IS NULL LIMIT 1")
    ((invoice,),) = await world.query(
        "SELECT stripe_invoice_id FROM invoices WHERE stripe_customer_id = :customer LIMIT 1", customer=customer
    ) or await world.query("SELECT stripe_invoice_id FROM invoices LIMIT 1")
    ((customer,),) = await world.query(
        "SELECT stripe_customer_id FROM invoices WHERE stripe_invoice_id = :invoice", invoice=invoice
    )
    await world.change(
        "UPDATE users SET version = '{}', email = NULL, name = NULL, currency = NULL, balance_cents = NULL"
        " WHERE stripe_customer_id = :customer",
        customer=customer,
    )
    looked = await world.repair("invoice", invoice)
    assert told(looked) == {("customer", "missing_here", "")}
    assert await books(world.engine) == right


async def test_what_stripe_does_not_have_is_told_and_never_mended(world: World) -> None:
    await world.change(
        "INSERT INTO charges (stripe_charge_id, amount_cents, currency, version)"
        " VALUES ('ch_x', 5, 'usd', '{0,1,1,0,0}')"
    )
    before = await world.dump()
    looked = await world.repair("charge", "ch_x")
    assert told(looked) == {("charge", "missing_there", "")}
    assert (looked.differences[0].here, looked.differences[0].there, looked.mended) == ("5", None, False)
    assert (await world.repair("charge", "ch_nobody")).differences == ()
    assert await world.dump() == before
    await world.change("UPDATE charges SET deleted_at = now() WHERE stripe_charge_id = 'ch_x'")
    assert (await world.repair("charge", "ch_x")).differences == ()


async def test_an_unknown_kind_is_refused(world: World) -> None:
    with pytest.raises(Refused, match="cannot be looked at: known are charge"):
        await world.look("source", "src_1")
    assert "charge" in KINDS


async def remembered(world: World, event_id: str, status: str, **values: Any) -> None:
    """An event lies in the inbox; unfinished ones are in the queue, too."""
    row = {"id": event_id, "type": "charge.refunded", "object_id": None, "customer_id": None, "status": status} | values
    async with world.engine.begin() as conn:
        await conn.execute(
            text(
                "INSERT INTO webhook_events (id, type, livemode, object_id, customer_id, payload, created_at,"
                " received_at, status)"
                " VALUES (:id, :type, false, :object_id, :customer_id, '{}', now(), now(), :status)"
            ),
            row,
        )
        await conn.execute(
            text(
                "INSERT INTO queue (queue, name, event_id, due_at, dead_reason)"
                " VALUES ('events', :type, :id, now(), CASE WHEN :status = 'dead' THEN 'exhausted' END)"
            ),
            row,
        )


@pytest.mark.parametrize("status", ["received", "retrying", "dead"])
@pytest.mark.parametrize("by", ["object", "customer"])
async def test_an_event_in_the_inbox_is_waited_for_unless_it_is_dead(world: World, status: str, by: str) -> None:
    ((charge, customer),) = await world.query(
        "SELECT stripe_charge_id, stripe_customer_id FROM charges"
        " WHERE stripe_customer_id IS NOT NULL AND status = 'succeeded' ORDER BY id LIMIT 1"
    )
    await world.change("UPDATE charges SET amount_cents = 1 WHERE stripe_charge_id = :charge", charge=charge)
    about = {"object_id": charge} if by == "object" else {"customer_id": customer}
    await remembered(world, "evt_waits", status, **about)
    looked = await world.repair("charge", charge)
    if status == "dead":
        assert looked.mended
    else:
        assert looked.waits == "the event evt_waits (charge.refunded) is not applied yet"
        assert (looked.differences, looked.mended) == ((), False)
        ((amount,),) = await world.query(
            "SELECT amount_cents FROM charges WHERE stripe_charge_id = :charge", charge=charge
        )
        assert amount == 1


async def test_what_another_worker_holds_is_looked_at_when_it_is_free(world: World) -> None:
    ((charge,),) = await world.query("SELECT stripe_charge_id FROM charges WHERE status = 'succeeded' LIMIT 1")
    await world.change("UPDATE charges SET amount_cents = 1 WHERE stripe_charge_id = :charge", charge=charge)
    async with world.engine.begin() as conn:
        assert await ledger.try_lock(conn, {charge}) == {charge}
        looking = asyncio.create_task(world.repair("charge", charge))
        await asyncio.wait([looking], timeout=0.3)
        assert not looking.done()
    assert (await looking).mended


async def test_what_is_held_all_the_time_waits(world: World) -> None:
    ((charge,),) = await world.query("SELECT stripe_charge_id FROM charges WHERE status = 'succeeded' LIMIT 1")
    async with world.engine.begin() as conn:
        await ledger.try_lock(conn, {charge})
        looked = await world.repair("charge", charge)
    assert looked.waits == "other workers are at it: look again later"


async def test_a_row_that_is_newer_than_the_answer_has_stripe_asked_again(world: World) -> None:
    stripe = await world.stripe()
    ((invoice,),) = await world.query(
        "SELECT stripe_invoice_id FROM invoices WHERE version <> '{}' ORDER BY version[2] DESC LIMIT 1"
    )
    old = replace(stripe, as_of=stripe.as_of - timedelta(days=200))
    world.api.asked.clear()
    looked = await look(world.deps, old, Suspect("invoice", invoice), repairs=ALL, dry_run=False, run_id=None)
    assert (looked.differences, looked.waits) == ((), None)
    assert [path for path, _ in world.api.asked if path in {"events", f"invoices/{invoice}"}] == [
        f"invoices/{invoice}", "events", f"invoices/{invoice}"
    ]  # fmt: skip


async def test_a_row_from_the_future_waits_and_says_why(world: World) -> None:
    ((invoice,),) = await world.query("SELECT stripe_invoice_id FROM invoices WHERE status = 'open' LIMIT 1")
    await world.change(
        "UPDATE invoices SET version[2] = 4102444800 WHERE stripe_invoice_id = :invoice", invoice=invoice
    )
    looked = await world.repair("invoice", invoice)
    assert looked.waits == f"invoices {invoice} was seen as of 2100-01-01 00:00:00, after all that Stripe lists"


async def test_a_version_that_outranks_the_answer_within_its_second_keeps_nothing_wrong(world: World) -> None:
    stripe = await world.stripe()
    second = int(stripe.as_of.timestamp())
    ((invoice,),) = await world.query("SELECT stripe_invoice_id FROM invoices WHERE status = 'open' LIMIT 1")
    await world.change(
        "UPDATE invoices SET status = 'paid', version = ARRAY[1, :second, 2, 99, 9, 9, 9, 9, 9, 9]::bigint[]"
        " WHERE stripe_invoice_id = :invoice",
        invoice=invoice,
        second=second,
    )
    looked = await world.repair("invoice", invoice)
    assert the(looked, "status", "invoice").there == "open"
    ((status, version),) = await world.query(
        "SELECT status, version FROM invoices WHERE stripe_invoice_id = :invoice", invoice=invoice
    )
    assert (status, version[:2]) == ("open", [0, second])


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(which=st.sampled_from([one for one in EACH if one[1].endswith("_cents")]), place=st.integers(0, 10**6))
def test_any_wrong_amount_of_any_row_is_found_and_mended(
    which: tuple[str, str], place: int, postgres: EmbeddedPostgres, template: str
) -> None:
    async def tried() -> None:
        async with cloned(postgres, template) as engine:
            world = World(engine, heard_life())
            right = await books(engine)
            table, column = which
            name, _, _ = await corrupt(world, table, column, place)
            kind = SUSPECTS[table][0]
            looked = await world.repair(kind, name)
            assert looked.mended, (table, column, name, looked)
            assert await books(engine) == right
            assert (await world.repair(kind, name)).differences == ()

    asyncio.run(tried())
