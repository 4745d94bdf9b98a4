"""Whatever is unfinished on either side is seen, however old it is; what agrees is not asked for again."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from jobs.reconciliation.found import Suspect
from jobs.reconciliation.open_sets import States, compare_states
from tests.reconciliation.looking_kit import World, small_life
from tests.simulator.life import Life
from tests.simulator.stories import Played, filled
from worker.embedded import EmbeddedPostgres

DAY = timedelta(days=1)


@pytest.fixture(scope="module")
def life() -> Life:
    """Stripe's side: nobody changes it in these tests."""
    return small_life()


@pytest.fixture(scope="module")
def template(postgres: EmbeddedPostgres, template: str, life: Life) -> str:
    """The ledger that heard all of it: each test has a copy."""

    async def play(_: Played, engine: AsyncEngine, __: str) -> None:
        await World(engine, life).tell()

    return filled(postgres, template, Played(), play)


@pytest.fixture
def world(engine: AsyncEngine, life: Life) -> World:
    return World(engine, life)


async def compare(world: World, *, days: int = 1) -> States:
    stripe = await world.stripe()
    return await compare_states(world.deps, stripe, stripe.as_of - days * DAY, stripe.as_of)


async def the(world: World, sql: str) -> str:
    ((name,),) = await world.query(sql)
    return name


async def test_a_ledger_that_agrees_leaves_next_to_nothing_to_ask_for(world: World) -> None:
    found = await compare(world, days=400)
    assert found.counted["invoice"] == len(world.all("invoice"))
    assert found.counted["payment_intent"] == len(world.all("payment_intent"))
    assert {one.kind for one in found.suspects} <= {"payment_intent"}
    assert len(found.suspects) <= 1  # an attempt whose last event Stripe has not told of


GONE = """
    DELETE FROM invoices WHERE id = (
        SELECT min(i.id) FROM invoices i WHERE i.status IN ('open', 'draft') AND i.deleted_at IS NULL
          AND NOT EXISTS (SELECT FROM dunning_cases d WHERE d.invoice_id = i.id)
          AND NOT EXISTS (SELECT FROM payment_history p WHERE p.invoice_id = i.id)
    ) RETURNING stripe_invoice_id
"""
OLD: dict[str, tuple[str, str]] = {
    "an open invoice of long ago that is paid here": (
        "invoice",
        (
            "UPDATE invoices SET status = 'paid' WHERE id = (SELECT min(id) FROM invoices WHERE status = 'open')"
            " RETURNING stripe_invoice_id"
        ),
    ),
    "a paid invoice of long ago that is open here": (
        "invoice",
        (
            "UPDATE invoices SET status = 'open' WHERE id = (SELECT min(id) FROM invoices WHERE status = 'paid')"
            " RETURNING stripe_invoice_id"
        ),
    ),
    "an open invoice that is gone": ("invoice", GONE),
    "a subscription that ended, and is active here": (
        "subscription",
        (
            "UPDATE subscriptions SET status = 'active' WHERE id = (SELECT min(id) FROM subscriptions WHERE status ="
            " 'canceled') RETURNING stripe_subscription_id"
        ),
    ),
    "a subscription whose period differs": (
        "subscription",
        (
            "UPDATE subscriptions SET current_period_start = current_period_start - interval '1 s' WHERE id ="
            " (SELECT min(id) FROM subscriptions WHERE status = 'active') RETURNING stripe_subscription_id"
        ),
    ),
    "a refund that is pending here": (
        "refund",
        "UPDATE refunds SET status = 'pending' WHERE id = (SELECT min(id) FROM refunds) RETURNING stripe_refund_id",
    ),
    "a dispute that is open here": (
        "dispute",
        (
            "UPDATE disputes SET status = 'needs_response' WHERE id = (SELECT min(id) FROM disputes WHERE status ="
            " 'lost') RETURNING stripe_dispute_id"
        ),
    ),
    "a payout on its way here": (
        "payout",
        "UPDATE payouts SET status = 'in_transit' WHERE id = (SELECT min(id) FROM payouts) RETURNING stripe_payout_id",
    ),
}


@pytest.mark.parametrize("what", OLD)
async def test_old_things_are_seen_by_a_look_at_the_last_day(world: World, what: str) -> None:
    kind, sql = OLD[what]
    async with world.engine.begin() as conn:
        name: Any = (await conn.exec_driver_sql(sql)).scalar_one()
    assert Suspect(kind, name) in (await compare(world)).suspects


async def test_our_own_invoices_are_none_of_stripes(world: World) -> None:
    await world.change(
        "INSERT INTO invoices (kind, own_key, status, currency, invoice_number, finalized_at, livemode)"
        " VALUES ('manual', 'manual/1', 'open', 'eur', 'A-1', now(), false)"
    )
    assert {one.kind for one in (await compare(world)).suspects} <= {"payment_intent"}


async def test_an_old_invoice_that_is_paid_today_is_seen_by_its_event(engine: AsyncEngine) -> None:
    """Neither is it unfinished at Stripe, nor was it made of late."""
    world = World(engine, small_life())
    await world.tell()
    name = await the(world, "SELECT min(stripe_invoice_id) FROM invoices WHERE status = 'open'")
    world.life.wait(45)
    await world.tell()
    world.life.post(f"invoices/{name}/pay", paid_out_of_band=True)
    await world.change("UPDATE invoices SET status = 'void' WHERE stripe_invoice_id = :name", name=name)
    found = await compare(world)
    assert Suspect("invoice", name) in found.suspects


DAY_MORE = " + interval '1 day'"
CUSTOMER = "stripe_customer_id = 'cus_other'"
WRONG: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "invoice": (
        "invoices",
        "status = 'paid' AND amount_paid_cents > 0 AND stripe_subscription_id IS NOT NULL",
        (
            "tax_cents = tax_cents + 7",
            "discount_cents = discount_cents + 7",
            "starting_balance_cents = -900",
            "ending_balance_cents = ending_balance_cents + 7",
            "pre_payment_credit_cents = pre_payment_credit_cents + 7",
            "post_payment_credit_cents = post_payment_credit_cents + 7",
            "amount_overpaid_cents = 7",
            "attempt_count = attempt_count + 1",
            f"paid_at = paid_at{DAY_MORE}",
            "paid_at = NULL",
            f"finalized_at = finalized_at{DAY_MORE}",
            "voided_at = now()",
            "marked_uncollectible_at = now()",
            f"stripe_created_at = stripe_created_at{DAY_MORE}",
            "stripe_subscription_id = 'sub_other'",
            CUSTOMER,
        ),
    ),
    "credit_note": (
        "credit_notes",
        "true",
        (
            "tax_cents = tax_cents + 7",
            "subtotal_cents = subtotal_cents + 7",
            "discount_cents = discount_cents + 7",
            "out_of_band_cents = 7",
            "stripe_invoice_id = 'in_other'",
            f"stripe_created_at = stripe_created_at{DAY_MORE}",
            CUSTOMER,
        ),
    ),
    "subscription": (
        "subscriptions",
        "status = 'active' AND trial_start IS NULL",
        (
            "stripe_price_id = 'price_other'",
            "items = jsonb_set(items, '{0,price}', '\"price_other\"')",
            'items = items || \'[{"id": "si_other", "quantity": 1}]\'',
            "trial_start = now()",
            f"started_at = started_at{DAY_MORE}",
            f"stripe_created_at = stripe_created_at{DAY_MORE}",
            CUSTOMER,
        ),
    ),
    "charge": (
        "charges",
        "status = 'succeeded' AND stripe_customer_id IS NOT NULL AND stripe_payment_intent_id IS NOT NULL",
        ("stripe_payment_intent_id = 'pi_other'", f"stripe_created_at = stripe_created_at{DAY_MORE}", CUSTOMER),
    ),
    "payment": (
        "payment_history",
        "status = 'succeeded' AND stripe_customer_id IS NOT NULL AND stripe_invoice_id IS NOT NULL",
        (
            "created_at = created_at - interval '1 month'",
            "stripe_invoice_id = 'in_other'",
            "stripe_invoice_id = NULL",
            CUSTOMER,
        ),
    ),
    "refund": ("refunds", "true", ("stripe_charge_id = 'ch_other'", "stripe_payment_intent_id = 'pi_other'")),
    "dispute": (
        "disputes",
        "evidence_due_by IS NOT NULL",
        ("stripe_charge_id = 'ch_other'", f"evidence_due_by = evidence_due_by{DAY_MORE}"),
    ),
    "payment_intent": (
        "payment_intents",
        "status = 'succeeded' AND stripe_customer_id IS NOT NULL",
        ("amount_capturable_cents = 7", "canceled_at = now()", "latest_stripe_charge_id = 'ch_other'", CUSTOMER),
    ),
    "payout": ("payouts", "true", (f"arrival_date = arrival_date{DAY_MORE}",)),
}


async def test_each_column_that_stripe_shows_is_compared(world: World) -> None:
    async with world.engine.connect() as conn:
        rows: dict[str, list[str]] = {}
        for kind, (table, where, changes) in WRONG.items():
            key = "stripe_charge_id" if kind == "payment" else f"stripe_{kind}_id"
            names = (await conn.exec_driver_sql(f"SELECT {key} FROM {table} WHERE {where} ORDER BY id")).scalars()  # noqa: S608 - our own tables
            rows[kind] = list(names)
            assert rows[kind], kind
            assert changes
    most = max(len(changes) for _, _, changes in WRONG.values())
    missed: list[str] = []
    for number in range(most):
        touched: dict[Suspect, str] = {}
        before: list[tuple[str, str]] = []
        for kind, (table, _, changes) in WRONG.items():
            if number >= len(changes):
                continue
            name = rows[kind][number % len(rows[kind])]
            key = "stripe_charge_id" if kind == "payment" else f"stripe_{kind}_id"
            ((was,),) = await world.query(f"SELECT to_jsonb(x)::text FROM {table} x WHERE {key} = :name", name=name)  # noqa: S608 - our own tables
            before.append((table, was))
            await world.change(f"UPDATE {table} SET {changes[number]} WHERE {key} = :name", name=name)  # noqa: S608 - our own tables
            touched[Suspect("charge" if kind == "payment" else kind, name)] = f"{table}: {changes[number]}"
        found = await compare(world, days=400)
        missed += [what for suspect, what in touched.items() if suspect not in found.suspects]
        for table, was in before:
            await put_back(world, table, was)
    assert missed == []
    assert len((await compare(world, days=400)).suspects) <= 1


async def put_back(world: World, table: str, was: str) -> None:
    columns = await world.query(
        "SELECT string_agg(quote_ident(column_name), ', ') FROM information_schema.columns"
        " WHERE table_schema = 'public' AND table_name = :table AND column_name <> 'id' AND is_generated = 'NEVER'",
        table=table,
    )
    names = columns[0][0]
    await world.change(
        f"UPDATE {table} x SET ({names}) ="  # noqa: S608 - our own tables
        f" (SELECT {names} FROM jsonb_populate_record(NULL::{table}, CAST(:was AS jsonb)))"
        " WHERE id = CAST(CAST(:was AS jsonb)->>'id' AS bigint)",
        was=was,
    )


async def test_a_customer_of_the_other_mode_under_the_same_id_is_left_alone(world: World) -> None:
    """Customers may have ids of one's own choosing, the same in both modes."""
    name = await the(world, "SELECT min(stripe_customer_id) FROM users WHERE stripe_customer_id IS NOT NULL")
    await world.change(
        "UPDATE users SET livemode = true, balance_cents = -700 WHERE stripe_customer_id = :name", name=name
    )
    assert Suspect("customer", name) not in (await compare(world, days=400)).suspects


async def test_a_row_under_another_account_is_named(world: World) -> None:
    """Stripe's own ids are never the same: the row is wrong, and a look tells of it."""
    name = await the(world, "SELECT min(stripe_invoice_id) FROM invoices WHERE status = 'open'")
    await world.change("UPDATE invoices SET stripe_account = 'acct_other' WHERE stripe_invoice_id = :name", name=name)
    assert Suspect("invoice", name) in (await compare(world)).suspects
