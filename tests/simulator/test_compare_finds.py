"""A ledger that says something else than Stripe is not called equal: one lie after the other, and its name."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pytest
import stripe
from sqlalchemy import func, text, update
from sqlalchemy.ext.asyncio import AsyncEngine

from db.models.all_tables import metadata
from deploy.demo.compare import TABLES, differences, unfinished
from deploy.demo.compare_rows import Difference
from tests.scenarios.acts import customer, latest_charge, plan, subscribe
from tests.scenarios.conftest import CALM, at
from tests.scenarios.kit import Stage, stage
from tests.simulator.stories import Played, filled
from worker.embedded import EmbeddedPostgres


async def _catalog(played: Stage, ids: dict[str, Any]) -> None:
    v1 = played.v1
    ids["coupon"] = (await v1.coupons.create_async({"percent_off": 10, "duration": "forever"})).id
    promotion = {"type": "coupon", "coupon": ids["coupon"]}
    ids["promo"] = (await v1.promotion_codes.create_async({"promotion": promotion, "code": "HALLO"})).id
    ids["price"] = await plan(played, 9000)
    ids["product"] = (await v1.prices.retrieve_async(ids["price"])).product
    unused = await v1.products.create_async({"name": "Never sold"})
    await v1.products.delete_async(unused.id)
    over = await v1.coupons.create_async({"percent_off": 50, "duration": "once"})
    await v1.coupons.delete_async(over.id)


async def _payer(played: Stage, ids: dict[str, Any]) -> None:
    """Ada has a reduction, gets money back, disputes and loses; a bank gives up on another refund."""
    v1 = played.v1
    payer = ids["payer"] = await customer(played, "Ada Byron")
    ids["method"] = (await v1.customers.retrieve_async(payer)).invoice_settings.default_payment_method
    tax = await v1.customers.tax_ids.create_async(payer, {"type": "eu_vat", "value": "DE123456789"})
    gone = await v1.customers.tax_ids.create_async(payer, {"type": "eu_vat", "value": "DE987654321"})
    await v1.customers.tax_ids.delete_async(payer, gone.id)
    seats = {
        "price": await plan(played, 500, "Seat", transform_quantity={"divide_by": 5, "round": "up"}),
        "quantity": 7,
    }
    made = await v1.subscriptions.create_async(
        {
            "customer": payer,
            "items": [{"price": ids["price"]}, seats],
            "discounts": [{"promotion_code": ids["promo"]}],
        }
    )
    ids |= {"tax": tax.id, "sub": made.id, "discount": made.discounts[0], "seats": made["items"].data[1].id}
    charge = ids["charge"] = await latest_charge(played, payer)
    refund = ids["refund"] = (await v1.refunds.create_async({"charge": charge, "amount": 1000})).id
    failed = ids["failed"] = (await v1.refunds.create_async({"charge": charge, "amount": 500})).id
    await played.act(f"refunds/{failed}/fail")
    dispute = ids["dispute"] = (await played.act(f"charges/{charge}/dispute", reason="fraudulent"))["id"]
    await played.act(f"disputes/{dispute}/close", outcome="lost")
    await played.act(f"charges/{charge}/fraud_warning")
    assert refund != failed


async def _debtor(played: Stage, ids: dict[str, Any]) -> None:
    """Bo's card says no; what he is sent, he does not pay."""
    v1 = played.v1
    debtor = ids["debtor"] = await customer(played, "Bo Lindqvist", card="pm_card_chargeCustomerFail")
    sent = await subscribe(played, debtor, ids["price"], collection_method="send_invoice", days_until_due=10)
    for name, amount in (("open", 4000), ("draft", 4100)):
        invoice = ids[name] = (await v1.invoices.create_async({"customer": debtor, "currency": "usd"})).id
        item = {"customer": debtor, "invoice": invoice, "amount": amount, "currency": "usd"}
        await v1.invoice_items.create_async(item)
    await v1.invoices.finalize_invoice_async(ids["open"])
    with suppress(stripe.CardError):
        await v1.invoices.pay_async(ids["open"])
    note = await v1.credit_notes.create_async({"invoice": ids["open"], "amount": 1000, "reason": "order_change"})
    await v1.invoices.delete_async(ids["draft"])
    ids |= {"owed": sent, "note": note.id}


async def _page(played: Stage, ids: dict[str, Any]) -> None:
    """A page is sent off, a payment is never confirmed, another fails by 3D Secure, and Cleo leaves."""
    v1 = played.v1
    thing = {"currency": "usd", "unit_amount": 1500, "product_data": {"name": "Mug"}}
    page = {"mode": "payment", "line_items": [{"price_data": thing, "quantity": 1}], "success_url": "https://x.example"}
    session = ids["session"] = (await v1.checkout.sessions.create_async(page)).id
    await played.act(f"checkout/sessions/{session}/complete", payment_method="pm_card_visa")
    payment = {"amount": 700, "currency": "usd", "payment_method_types": ["card"]}
    ids["intent"] = (await v1.payment_intents.create_async(payment)).id
    asked = payment | {"payment_method": "pm_card_authenticationRequired", "confirm": True}
    unsure = ids["unsure"] = (await v1.payment_intents.create_async(asked)).id
    await played.act(f"payment_intents/{unsure}/authenticate", outcome="fail")
    gone = ids["gone"] = await customer(played, "Cleo Marsh")
    await v1.customers.delete_async(gone)


async def _play(told: Played, engine: AsyncEngine, url: str) -> None:
    async with stage(engine, url, at(2026, 1, 5), weather=CALM) as played:
        for scene in (_catalog, _payer, _debtor, _page):
            await scene(played, told.ids)
        await played.until(2026, 3, 2)
        await played.books_agree()
        told.end(played)
    payments = {row["invoice"]: row["payment"]["payment_intent"] for row in told.books["invoice_payment"]}
    paid = next(
        row["id"] for row in told.books["invoice"] if row["status"] == "paid" and row["customer"] == told.ids["payer"]
    )
    due = next(row["id"] for row in told.books["invoice"] if row["due_date"] is not None)
    told.ids |= {"paid": paid, "paying": payments[paid], "owing": payments[told.ids["open"]], "due": due}
    told.ids |= {"payout": told.books["payout"][0]["id"], "warning": told.books["radar.early_fraud_warning"][0]["id"]}


@pytest.fixture(scope="module")
def played() -> Played:
    """What `template` fills."""
    return Played()


@pytest.fixture(scope="module")
def template(postgres: EmbeddedPostgres, template: str, played: Played) -> str:
    """The ledger at the end of the story: each test has a copy."""
    return filled(postgres, template, played, _play)


async def named(engine: AsyncEngine, played: Played) -> set[tuple[str, str, str]]:
    """Kind, id and fields of what differs, without the sums."""
    found = await differences(engine, played.books, at=played.now)
    return {(each.kind, each.id, each.field) for each in found if not each.kind.startswith("sum of")}


async def lie(engine: AsyncEngine, sql: str, ids: Mapping[str, Any]) -> None:
    async with engine.begin() as conn:
        assert (await conn.execute(text(sql), ids)).rowcount >= 1, sql


KEYS = {
    "payment_intents": ("payment_intent", "stripe_payment_intent_id", "paying"),
    "charges": ("charge", "stripe_charge_id", "charge"),
    "refunds": ("refund", "stripe_refund_id", "refund"),
    "disputes": ("dispute", "stripe_dispute_id", "dispute"),
    "early_fraud_warnings": ("early_fraud_warning", "stripe_early_fraud_warning_id", "warning"),
    "checkout_sessions": ("checkout_session", "stripe_checkout_session_id", "session"),
    "payouts": ("payout", "stripe_payout_id", "payout"),
    "payment_methods": ("payment_method", "stripe_payment_method_id", "method"),
    "users": ("customer", "stripe_customer_id", "payer"),
    "tax_ids": ("tax_id", "stripe_tax_id", "tax"),
    "products": ("product", "stripe_product_id", "product"),
    "prices": ("price", "stripe_price_id", "price"),
    "coupons": ("coupon", "stripe_coupon_id", "coupon"),
    "promotion_codes": ("promotion_code", "stripe_promotion_code_id", "promo"),
    "discounts": ("discount", "stripe_discount_id", "discount"),
    "subscriptions": ("subscription", "stripe_subscription_id", "sub"),
    "upcoming_invoices": ("upcoming_invoice", "key", "sub"),
    "invoices": ("invoice", "stripe_invoice_id", "open"),
    "credit_notes": ("credit_note", "stripe_credit_note_id", "note"),
    "invoice_payments": ("invoice_payment", "stripe_invoice_id", "paid"),
}
"""By table: the kind of a difference, the column of Stripe's id, and an object of the story."""


async def change(engine: AsyncEngine, played: Played, name: str, **values: Any) -> tuple[str, str]:
    """Write into one row of a table; the kind and the name of what was changed."""
    kind, column, known = KEYS[name]
    id_, table = played.ids[known], metadata.tables[name]
    async with engine.begin() as conn:
        await conn.execute(update(table).where(table.c[column] == id_).values(**values))
    return kind, f"{id_} {played.ids['paying']}" if kind == "invoice_payment" else id_


def test_every_table_of_copies_is_tried() -> None:
    assert {table.source.split()[0] for table in TABLES if table.mirror} == KEYS.keys()


@pytest.mark.parametrize("table", KEYS)
async def test_what_stripe_still_has_is_not_deleted(engine: AsyncEngine, played: Played, table: str) -> None:
    kind, name = await change(engine, played, table, deleted_at=func.now())
    found = await named(engine, played)
    assert {one for one in found if one[0] != "line_item"} == {(kind, name, "deleted_at")}


@pytest.mark.parametrize("table", KEYS)
async def test_everything_is_our_own_and_in_test_mode(engine: AsyncEngine, played: Played, table: str) -> None:
    kind, name = await change(engine, played, table, livemode=True, stripe_account="acct_other")
    assert await named(engine, played) == {(kind, name, "livemode"), (kind, name, "stripe_account")}


NOBODYS = (
    ("INSERT INTO charges (stripe_charge_id, amount_cents, deleted_at) VALUES ('x_1', 5, now())", "charge"),
    ("INSERT INTO products (stripe_product_id, deleted_at) VALUES ('x_1', now())", "product"),
    ("INSERT INTO discounts (stripe_discount_id, deleted_at) VALUES ('x_1', now())", "discount"),
    ("INSERT INTO invoices (stripe_invoice_id, status, deleted_at) VALUES ('x_1', 'draft', now())", "invoice"),
    ("INSERT INTO users (stripe_customer_id, deleted_at) VALUES ('x_1', now())", "customer"),
    ("INSERT INTO upcoming_invoices (key) VALUES ('x_1')", "upcoming_invoice"),
    (("INSERT INTO payment_history (stripe_charge_id, amount_cents, currency, status, created_at)"
     " VALUES ('x_1', 777, 'usd', 'succeeded', now())"), "payment"),
)  # fmt: skip


@pytest.mark.parametrize(("sql", "kind"), NOBODYS, ids=[kind for _, kind in NOBODYS])
async def test_what_never_was_is_not_excused_by_being_deleted(
    engine: AsyncEngine, played: Played, sql: str, kind: str
) -> None:
    await lie(engine, sql, {})
    assert await named(engine, played) == {(kind, "x_1", "exists")}


async def test_a_row_without_any_id_is_nobodys(engine: AsyncEngine, played: Played) -> None:
    nameless = (
        "INSERT INTO payment_history (amount_cents, currency, status, created_at) VALUES (7, 'usd', 'failed', now())"
    )
    await lie(engine, nameless, {})
    await lie(engine, nameless, {})
    found = [each for each in await differences(engine, played.books, at=played.now) if each.kind == "payment"]
    assert [(each.id, each.field, each.here) for each in found] == [("(no id)", "exists", True)] * 2


TWICE = (
    ("INSERT INTO prices (stripe_price_id, stripe_account) VALUES (:price, 'acct_other')", "price", "{price}"),
    ("INSERT INTO coupons (stripe_coupon_id, livemode) VALUES (:coupon, true)", "coupon", "{coupon}"),
    ("UPDATE invoices SET line_items = line_items || line_items WHERE stripe_invoice_id = :open",
     "line_item", "{open} {line}"),
)  # fmt: skip


@pytest.mark.parametrize(("sql", "kind", "name"), TWICE, ids=[kind for _, kind, _ in TWICE])
async def test_one_object_has_one_row(engine: AsyncEngine, played: Played, sql: str, kind: str, name: str) -> None:
    invoice = next(row for row in played.books["invoice"] if row["id"] == played.ids["open"])
    await lie(engine, sql, played.ids)
    called = name.format(**played.ids, line=invoice["lines"]["data"][0]["id"])
    assert (kind, called, "rows") in await named(engine, played)


def _set(table: str, column: str, value: str, field: str | None = None) -> tuple[str, str, str, str]:
    kind, key, name = KEYS[table]
    sql = f"UPDATE {table} SET {column} = {value} WHERE {key} = :{name}"  # noqa: S608 - our own names
    return sql, kind, f"{{{name}}}", field or column


LIES = (
    (("INSERT INTO invoice_payments (stripe_invoice_id, payment_id, status, currency, amount_requested_cents,"
     " amount_paid_cents) VALUES (:open, :owing, 'paid', 'usd', 4000, 4000)"),
     "invoice_payment", "{open} {owing}", "amount_paid_cents amount_requested_cents status"),
    ("DELETE FROM discounts WHERE stripe_discount_id = :discount", "discount", "{discount}", "exists"),
    ("DELETE FROM products WHERE deleted_at IS NOT NULL", "product", "{unsold}", "exists"),
    ("UPDATE products SET deleted_at = NULL WHERE deleted_at IS NOT NULL", "product", "{unsold}", "deleted_at"),
    ("UPDATE invoices SET deleted_at = now() WHERE stripe_invoice_id = :draft", "invoice", "{draft}", "deleted_at"),
    ("UPDATE users SET deleted_at = NULL WHERE stripe_customer_id = :gone", "customer", "{gone}", "deleted_at"),
    ("DELETE FROM subscription_history WHERE stripe_subscription_id = :sub",
     "subscription_history", "{sub}", "exists"),
    (("UPDATE subscription_history SET mrr_cents = 1, status = 'canceled' WHERE version ="
     " (SELECT max(version) FROM subscription_history WHERE stripe_subscription_id = :sub)"),
     "subscription_history", "{sub}", "mrr_cents status"),
    (("UPDATE subscription_history SET stripe_price_id = 'p', quantity = 2, occurred_at = now() WHERE version ="
     " (SELECT max(version) FROM subscription_history WHERE stripe_subscription_id = :sub)"),
     "subscription_history", "{sub}", "occurred_at quantity stripe_price_id"),
    ("DELETE FROM upcoming_invoices WHERE key = :sub", "upcoming_invoice", "{sub}", "exists"),
    _set("upcoming_invoices", "total_cents", "1"),
    _set("upcoming_invoices", "line_items", "'[]'", "amounts"),
    _set("charges", "stripe_fee_cents", "1"),
    _set("charges", "net_amount_cents", "-1"),
    _set("charges", "receipt_url", "'https://x.example'"),
    _set("charges", "refund_seen_at", "NULL"),
    _set("disputes", "funds_withdrawn_at", "NULL"),
    _set("disputes", "funds_reinstated_at", "now()"),
    _set("disputes", "closed_at", "NULL"),
    _set("disputes", "metadata", """'{"a": "b"}'"""),
    _set("refunds", "failed_at", "now()"),
    ("UPDATE refunds SET failed_at = NULL WHERE stripe_refund_id = :failed", "refund", "{failed}", "failed_at"),
    _set("invoices", "amount_overpaid_cents", "999999"),
    _set("invoices", "sent_at", "now()"),
    _set("invoices", "overdue_at", "now()"),
    _set("invoices", "payment_failed_at", "NULL"),
    _set("invoices", "payment_action_required_at", "now()"),
    _set("invoices", "finalization_error", "'no'"),
    ("UPDATE invoices SET sent_at = NULL, overdue_at = NULL WHERE stripe_invoice_id = :due",
     "invoice", "{due}", "overdue_at sent_at"),
    _set("credit_notes", "metadata", """'{"a": "b"}'"""),
    _set("payouts", "metadata", """'{"a": "b"}'"""),
    _set("payment_methods", "billing_name", "'x'"),
    _set("promotion_codes", "active", "NOT active"),
    _set("prices", "tiers_mode", "'volume'"),
    _set("prices", "trial_period_days", "7"),
    _set("discounts", "stripe_subscription_item_id", "'si_x'"),
    _set("discounts", "stripe_invoice_id", "'in_x'"),
    _set("subscriptions", "items_complete", "false"),
    _set("subscriptions", "stripe_schedule_id", "'sub_sched_x'"),
    (("UPDATE subscription_items SET billing_scheme = 'tiered', divide_by = 99, divide_round = 'down',"
     " discount_ids = '[\"di_x\"]' WHERE stripe_subscription_item_id = :seats"),
     "subscription_item", "{sub} {seats}", "billing_scheme discount_ids divide_by divide_round"),
    _set("payment_intents", "capture_method", "'manual'"),
    (("UPDATE payment_intents SET failure_message = NULL, payment_method_type = NULL"
     " WHERE stripe_payment_intent_id = :unsure"),
     "payment_intent", "{unsure}", "failure_message payment_method_type"),
    _set("checkout_sessions", "completed_at", "NULL"),
    _set("checkout_sessions", "expired_at", "now()"),
    _set("checkout_sessions", "async_payment_failed_at", "now()"),
    _set("users", "stripe_created_at", "now()"),
    (("UPDATE payment_history SET stripe_fee_cents = 1, net_amount_cents = 1, captured = true, refunded_at = now(),"
     " refund_reason = 'x', card_brand = 'visa', card_last4 = '4242', dispute_status = 'won'"
     " WHERE stripe_payment_intent_id = :intent"), "payment", "{intent}",
     "captured card_brand card_last4 dispute_status net_amount_cents refund_reason refunded_at stripe_fee_cents"),
    (("UPDATE payment_history SET payment_method = NULL, payment_method_id = NULL, failure_message = NULL"
     " WHERE stripe_payment_intent_id = :unsure"),
     "payment", "{unsure}", "failure_message payment_method payment_method_id"),
    ("UPDATE payment_history SET livemode = true, stripe_account = 'acct_other' WHERE stripe_charge_id = :charge",
     "payment", "{charge}", "livemode stripe_account"),
)  # fmt: skip


@pytest.mark.parametrize("row", LIES, ids=[f"{kind}-{fields}" for _, kind, _, fields in LIES])
async def test_a_lie_is_named(engine: AsyncEngine, played: Played, row: tuple[str, str, str, str]) -> None:
    sql, kind, name, fields = row
    unsold = next(row["of"] for row in played.books["moment"] if row["type"] == "product.deleted")
    await lie(engine, sql, played.ids)
    called = name.format(**played.ids, unsold=unsold)
    assert await named(engine, played) == {(kind, called, one) for one in fields.split()}


async def test_work_that_was_given_up_is_named(engine: AsyncEngine) -> None:
    assert await unfinished(engine) == []
    async with engine.begin() as conn:
        events = (await conn.execute(text("SELECT id FROM webhook_events ORDER BY id LIMIT 2"))).scalars().all()
        await conn.execute(text("UPDATE webhook_events SET status = 'dead' WHERE id = ANY(:ids)"), {"ids": events})
        parked = "INSERT INTO queue (queue, name, event_id, job_id, due_at, dead_reason)"
        await conn.execute(text(f"{parked} VALUES ('events', 'x', :id, NULL, now(), 'bad_payload')"), {"id": events[0]})
        await conn.execute(text(f"{parked} VALUES ('batch', 'fetch_coupon', NULL, 77, now(), 'worker_lost')"))
    assert await unfinished(engine) == [
        Difference("event", events[0], "given up", None, "bad_payload"),
        Difference("event", events[1], "given up", None, "dead"),
        Difference("job", "77", "given up", None, "worker_lost"),
    ]
