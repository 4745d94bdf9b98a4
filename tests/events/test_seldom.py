"""What happens seldom: half objects, rows that turn out to be one, numbers that we gave out ourselves."""

import json

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from db.subscriptions import changes
from tests.events.kit import T0, Json, apply, books, event, row, rows
from tests.events.objects import charge, customer, dispute, intent, invoice, item, price, refund, subscription


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


@pytest.mark.parametrize("number", ["A-0001", None])
async def test_an_older_invoice_takes_over_the_number_of_one_in_the_same_batch(
    engine: AsyncEngine, number: str | None
) -> None:
    await apply(engine, event("invoice.finalized", invoice("in_b", created=T0 + 9)))
    await apply(
        engine,
        event("invoice.finalized", invoice("in_a")),
        event("invoice.updated", invoice("in_b", created=T0 + 9, number=number), created=T0 + 20),
    )
    found = {one["stripe_invoice_id"]: one["invoice_number"] for one in await rows(engine, "invoices")}
    assert found == {"in_a": "A-0001", "in_b": number and f"{number} (in_b)"}


async def test_two_invoices_exchange_their_numbers(engine: AsyncEngine) -> None:
    for names, created in ((("N", "M"), T0), (("M", "N"), T0 + 9)):
        pairs = zip(("in_a", "in_b"), names, strict=True)
        told = [event("invoice.updated", invoice(one, number=number), created=created) for one, number in pairs]
        await apply(engine, *told)
    found = {one["stripe_invoice_id"]: one["invoice_number"] for one in await rows(engine, "invoices")}
    assert found == {"in_a": "M", "in_b": "N"}


async def test_an_intent_that_failed_without_a_code_failed(engine: AsyncEngine) -> None:
    error = {"type": "api_error", "message": "No."}
    failed = intent(status="requires_payment_method", last_payment_error=error)
    await apply(engine, event("payment_intent.payment_failed", failed))
    found = await row(engine, "payment_history")
    assert (found["status"], found["failure_code"], found["failure_message"]) == ("failed", "api_error", "No.")


async def test_refund_and_dispute_count_where_only_the_intent_told_of_the_charge(engine: AsyncEngine) -> None:
    await apply(engine, event("payment_intent.succeeded", intent(latest_charge="ch_1")))
    await apply(engine, event("refund.created", refund(), created=T0 + 60))
    found = await row(engine, "payment_history")
    assert (found["status"], found["refund_amount_cents"]) == ("partially_refunded", 400)
    await apply(engine, event("charge.dispute.created", dispute(), created=T0 + 90))
    found = await row(engine, "payment_history")
    assert (found["status"], found["dispute_status"]) == ("disputed", "needs_response")


CARD = "4242424242424242"


async def test_no_field_takes_a_card_number_into_the_ledger(engine: AsyncEngine) -> None:
    """Lookup keys, codes, numbers and reasons are typed by people too; what Stripe names keeps its name."""
    failed = intent(
        status="requires_payment_method",
        last_payment_error={"code": CARD, "decline_code": CARD, "message": CARD},
        cancellation_reason=CARD,
    )
    told = [
        event("price.created", price(lookup_key=CARD)),
        event(
            "customer.subscription.created",
            subscription("sub_1", item(of=price(lookup_key=CARD)), cancellation_details={"reason": CARD}),
        ),
        event("promotion_code.created", {"id": f"promo_{CARD}", "code": CARD, "coupon": "HALF"}),
        event("invoice.created", invoice(number=CARD)),
        event("credit_note.created", {"id": "cn_1", "invoice": "in_1", "number": CARD, "amount": 1, "total": 1}),
        event("customer.tax_id.created", {"id": "txi_1", "customer": "cus_1", "type": "eu_vat", "value": CARD}),
        event("customer.created", customer(preferred_locales=[CARD])),
        event("payment_intent.payment_failed", failed),
        event("charge.failed", charge(f"ch_{CARD}", status="failed", failure_code=CARD, outcome={"reason": CARD})),
        event("refund.created", refund(reason=CARD)),
    ]
    applied = await apply(engine, *told)
    everything = json.dumps([await books(engine), [one.effects for one in applied]])
    assert CARD in everything
    assert CARD not in everything.replace(f"ch_{CARD}", "").replace(f"promo_{CARD}", "")
    assert (await row(engine, "charges", stripe_payment_intent_id="pi_1"))["stripe_charge_id"] == f"ch_{CARD}"
    assert (await row(engine, "prices"))["lookup_key"] == "[card number]"


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
