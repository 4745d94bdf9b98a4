"""What happens seldom: half objects, rows that turn out to be one, numbers that we gave out ourselves."""

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from db.subscriptions import changes
from tests.events.kit import T0, Json, apply, event, row, rows
from tests.events.objects import charge, customer, dispute, intent, invoice, subscription


async def test_two_rows_that_turn_out_to_be_one_attempt_become_one(engine: AsyncEngine) -> None:
    """The charge named its intent only later: the intent's own row goes, its charge's stays."""
    await apply(engine, event("payment_intent.created", intent(status="processing")))
    await apply(engine, event("charge.pending", charge(status="pending", payment_intent=None)))
    assert len(await rows(engine, "payment_history")) == 2
    await apply(engine, event("charge.succeeded", charge(), created=T0 + 9))
    found = await row(engine, "payment_history")
    assert (found["stripe_charge_id"], found["stripe_payment_intent_id"], found["status"]) == (
        "ch_1",
        "pi_1",
        "succeeded",
    )


GONE: list[tuple[str, str, Json]] = [
    ("invoice.deleted", "invoices", {"id": "in_1", "object": "invoice", "customer": "cus_1", "deleted": True}),
    ("customer.tax_id.deleted", "tax_ids", {"id": "txi_1", "object": "tax_id", "deleted": True}),
    ("product.deleted", "products", {"id": "prod_1", "object": "product", "deleted": True}),
    ("coupon.deleted", "coupons", {"id": "HALF", "object": "coupon", "deleted": True}),
]


@pytest.mark.parametrize(("event_type", "table", "obj"), GONE)
async def test_half_an_object_is_enough_to_know_that_it_is_gone(
    engine: AsyncEngine, event_type: str, table: str, obj: Json
) -> None:
    await apply(engine, event(event_type, obj))
    assert (await row(engine, table))["deleted_at"] == "2026-02-02T02:40:00+00:00"


async def test_a_tax_id_is_kept_with_its_verification(engine: AsyncEngine) -> None:
    obj = {
        "id": "txi_1",
        "customer": "cus_1",
        "type": "eu_vat",
        "value": "DE123",
        "verification": {"status": "pending"},
    }
    await apply(engine, event("customer.tax_id.created", obj))
    verified = obj | {"verification": {"status": "verified"}}
    await apply(engine, event("customer.tax_id.updated", verified, created=T0 + 9))
    found = await row(engine, "tax_ids")
    assert (found["stripe_customer_id"], found["value"], found["verification_status"]) == ("cus_1", "DE123", "verified")


async def test_a_fraud_warning_is_kept(engine: AsyncEngine) -> None:
    obj = {"id": "issfr_1", "charge": "ch_1", "actionable": True, "fraud_type": "made_with_stolen_card"}
    await apply(engine, event("radar.early_fraud_warning.created", obj))
    assert (await row(engine, "early_fraud_warnings"))["stripe_charge_id"] == "ch_1"


async def test_a_preview_of_nobodys_invoice_leaves_nothing(engine: AsyncEngine) -> None:
    (applied,) = await apply(engine, event("invoice.upcoming", {"object": "invoice", "total": 5}))
    assert applied.effects == {"changed": []}


async def test_a_preview_without_a_subscription_is_the_customers(engine: AsyncEngine) -> None:
    await apply(engine, event("invoice.upcoming", {"object": "invoice", "customer": "cus_1", "total": 5}))
    assert (await row(engine, "upcoming_invoices"))["key"] == "cus_1"


async def test_an_invoice_of_our_own_keeps_its_number(engine: AsyncEngine) -> None:
    async with engine.begin() as conn:
        await conn.execute(text("INSERT INTO invoices (invoice_number, status) VALUES ('A-0001', 'open')"))
    await apply(engine, event("invoice.finalized", invoice()))
    assert [one["invoice_number"] for one in await rows(engine, "invoices")] == ["A-0001", "A-0001 (in_1)"]


async def test_a_status_of_tomorrow_is_no_failure(engine: AsyncEngine) -> None:
    await apply(
        engine,
        event("invoice.updated", invoice(status="archived")),
        event("customer.subscription.updated", subscription(status="hibernating")),
        event("charge.updated", charge(status="blessed", captured=False)),
    )
    assert (await row(engine, "invoices"))["status"] is None
    assert (await row(engine, "subscriptions"))["status"] == "hibernating"
    assert (await row(engine, "payment_history"))["status"] == "pending"


async def test_a_dispute_inside_an_expanded_charge_counts(engine: AsyncEngine) -> None:
    await apply(engine, event("charge.updated", charge(dispute=dispute("lost"))))
    assert (await row(engine, "payment_history"))["status"] == "disputed"


async def test_fees_come_with_an_expanded_balance_transaction(engine: AsyncEngine) -> None:
    booked = {"id": "txn_1", "object": "balance_transaction", "fee": 59, "net": 941}
    await apply(engine, event("charge.updated", charge(balance_transaction=booked)))
    await apply(engine, event("charge.updated", charge(balance_transaction="txn_1"), created=T0 + 9))
    found = await row(engine, "payment_history")
    assert (found["stripe_fee_cents"], found["net_amount_cents"]) == (59, 941)


async def test_the_changes_of_a_subscription_are_told_with_what_was_before(engine: AsyncEngine) -> None:
    same = subscription(metadata={"note": "x"})
    await apply(
        engine,
        event("customer.updated", customer()),
        event("customer.subscription.created", subscription(status="trialing")),
        event("customer.subscription.updated", subscription(), created=T0 + 5),
        event("customer.subscription.updated", same, created=T0 + 9),
        event("customer.subscription.deleted", subscription(status="canceled"), created=T0 + 20),
    )
    async with engine.connect() as conn:
        told = await changes(conn, "sub_1")
    assert [(one["status_before"], one["status"], one["mrr_cents"]) for one in told] == [
        (None, "trialing", 0),
        ("trialing", "active", 1000),
        ("active", "canceled", 0),
    ]
