"""The comparison finds what it is for: every kind of wrong row is named, and right books are found right."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from deploy.demo.compare import differences
from tests.scenarios.acts import customer, latest_charge, plan, subscribe
from tests.scenarios.conftest import CALM, at
from tests.scenarios.kit import Stage, stage

Named = tuple[str, str, str]
"""Kind, id and field of a difference."""


async def play(stage: Stage) -> dict[str, str]:
    """A customer with a coupon who paid, got something back, and went to the bank for the rest; ids by name."""
    coupon = await stage.v1.coupons.create_async({"percent_off": 10, "duration": "forever"})
    payer = await customer(stage, "Ada Byron")
    other = await customer(stage, "Bo Lindqvist")
    sub = await subscribe(stage, payer, await plan(stage, 9000), discounts=[{"coupon": coupon.id}])
    charge = await latest_charge(stage, payer)
    refund = await stage.v1.refunds.create_async({"charge": charge, "amount": 1000})
    dispute = await stage.act(f"charges/{charge}/dispute", reason="fraudulent")
    await stage.until(2026, 2, 6)
    await stage.books_agree()
    renewal = await latest_charge(stage, payer)
    whole = await stage.v1.subscriptions.retrieve_async(sub)
    invoice = await stage.v1.invoices.retrieve_async(whole.latest_invoice)
    return {
        "payer": payer,
        "other": other,
        "sub": sub,
        "item": whole["items"].data[0].id,
        "invoice": invoice.id,
        "line": invoice.lines.data[0].id,
        "charge": charge,
        "renewal": renewal,
        "refund": refund.id,
        "dispute": dispute["id"],
        "coupon": coupon.id,
        "intent": (await stage.v1.charges.retrieve_async(renewal)).payment_intent,
    }


CORRUPTIONS = (
    ("UPDATE invoices SET amount_paid_cents = amount_paid_cents - 1 WHERE stripe_invoice_id = :invoice",
     "invoice", "{invoice}", "amount_paid_cents"),
    ("UPDATE invoices SET status = 'open' WHERE stripe_invoice_id = :invoice", "invoice", "{invoice}", "status"),
    ("UPDATE invoices SET billing_period_end = billing_period_end + interval '1 s' WHERE stripe_invoice_id = :invoice",
     "invoice", "{invoice}", "billing_period_end"),
    (("UPDATE invoices i SET user_id = u.id FROM users u WHERE stripe_invoice_id = :invoice"
     " AND u.stripe_customer_id = :other"), "invoice", "{invoice}", "user"),
    (("UPDATE invoices SET line_items = jsonb_set(line_items, '{0,amount_cents}', '8999')"
     " WHERE stripe_invoice_id = :invoice"), "line_item", "{invoice} {line}", "amount_cents"),
    ("UPDATE subscriptions SET mrr_cents = 9000 WHERE stripe_subscription_id = :sub",
     "subscription", "{sub}", "mrr_cents"),
    ("UPDATE subscriptions SET status = 'past_due' WHERE stripe_subscription_id = :sub",
     "subscription", "{sub}", "status"),
    ("UPDATE subscription_items SET quantity = 2 WHERE stripe_subscription_id = :sub",
     "subscription_item", "{sub} {item}", "quantity"),
    ("UPDATE payment_history SET status = 'succeeded' WHERE stripe_charge_id = :charge",
     "payment", "{charge}", "status"),
    ("UPDATE payment_history SET invoice_id = NULL WHERE stripe_charge_id = :charge",
     "payment", "{charge}", "invoice"),
    ("UPDATE payment_history SET refund_amount_cents = 999 WHERE stripe_charge_id = :charge",
     "payment", "{charge}", "refund_amount_cents"),
    ("UPDATE payment_history SET stripe_fee_cents = 1 WHERE stripe_charge_id = :charge",
     "payment", "{charge}", "stripe_fee_cents"),
    ("DELETE FROM payment_history WHERE stripe_charge_id = :renewal", "payment", "{renewal}", "exists"),
    (("INSERT INTO payment_history (stripe_charge_id, amount_cents, currency, status, created_at)"
     " VALUES ('ch_invented', 1, 'usd', 'succeeded', now())"), "payment", "ch_invented", "exists"),
    ("UPDATE charges SET amount_cents = amount_cents + 1 WHERE stripe_charge_id = :charge",
     "charge", "{charge}", "amount_cents"),
    ("UPDATE invoice_payments SET amount_paid_cents = 1 WHERE stripe_invoice_id = :invoice",
     "invoice_payment", "{invoice} {intent}", "amount_paid_cents"),
    ("DELETE FROM refunds WHERE stripe_refund_id = :refund", "refund", "{refund}", "exists"),
    ("UPDATE disputes SET status = 'won' WHERE stripe_dispute_id = :dispute", "dispute", "{dispute}", "status"),
    ("UPDATE coupons SET percent_off = 11", "coupon", "{coupon}", "percent_off"),
    ("UPDATE users SET email = NULL WHERE stripe_customer_id = :payer", "customer", "{payer}", "email"),
    ("UPDATE users SET deleted_at = now() WHERE stripe_customer_id = :payer", "customer", "{payer}", "deleted_at"),
    ("INSERT INTO users (stripe_customer_id) VALUES ('cus_invented')", "customer", "cus_invented", "exists"),
)  # fmt: skip
"""What may be wrong with a ledger, and the kind, id and field by which the comparison must name it."""


async def test_every_kind_of_wrong_row_is_named(engine: AsyncEngine, database_url: str) -> None:
    async with stage(engine, database_url, at(2026, 1, 5), weather=CALM) as played:
        ids = await play(played)
        books, now = played.books(), played.simulation.account.now()
    known: set[Named] = set()
    for sql, kind, name, field in CORRUPTIONS:
        async with engine.begin() as conn:
            assert (await conn.execute(text(sql), ids)).rowcount == 1, sql
        found = {(each.kind, each.id, each.field) for each in await differences(engine, books, at=now)}
        rows = {named for named in found if not named[0].startswith("sum of")}
        assert rows - known == {(kind, name.format(**ids), field)}, sql
        known = rows


async def test_a_difference_reads_as_a_sentence(engine: AsyncEngine, database_url: str) -> None:
    async with stage(engine, database_url, at(2026, 1, 5), weather=CALM) as played:
        ids = await play(played)
        books, now = played.books(), played.simulation.account.now()
    async with engine.begin() as conn:
        await conn.execute(
            text("UPDATE invoices SET amount_paid_cents = 0 WHERE stripe_invoice_id = :id"), {"id": ids["invoice"]}
        )
        await conn.execute(text("DELETE FROM refunds"))
    assert [str(each) for each in await differences(engine, books, at=now)] == [
        f"invoice {ids['invoice']} amount_paid_cents: Stripe 8100, here 0",
        f"refund {ids['refund']} exists: Stripe yes, here no",
        "sum of invoices usd amount_paid: Stripe 16200, here 8100",
        "sum of refunds usd amount: Stripe 1000, here 0",
        "sum of refunds usd count: Stripe 1, here 0",
    ]


async def test_an_empty_ledger_lacks_everything(engine: AsyncEngine, database_url: str) -> None:
    async with stage(engine, database_url, at(2026, 1, 5), weather=CALM) as played:
        await customer(played, "Ada Byron")
        books = dict(played.books())
    async with engine.begin() as conn:
        await conn.execute(text("TRUNCATE users, payment_methods CASCADE"))
    found = await differences(engine, books)
    assert {(each.kind, each.field, each.there, each.here) for each in found} == {
        ("customer", "exists", True, False),
        ("payment_method", "exists", True, False),
    }
    assert await differences(engine, {}) == []
