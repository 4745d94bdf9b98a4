"""The same object in an old and in a new shape leaves the same rows: https://docs.stripe.com/changelog."""

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.events.kit import T0, Json, apply, books, clear, event, row, rows
from tests.events.objects import charge, coupon, customer, discount, intent, invoice, item, price, subscription

PLAN: Json = {
    "id": "price_1",
    "object": "plan",
    "active": True,
    "amount": 1000,
    "amount_decimal": "1000",
    "billing_scheme": "per_unit",
    "currency": "usd",
    "interval": "month",
    "interval_count": 1,
    "product": "prod_1",
    "usage_type": "licensed",
}

END = T0 + 2_592_000

OLD_ITEM: Json = {"id": "si_1", "object": "subscription_item", "plan": PLAN, "price": price(), "quantity": 1}

OLD_DISCOUNT: Json = {
    "id": "di_1",
    "object": "discount",
    "customer": "cus_1",
    "subscription": "sub_1",
    "coupon": coupon(),
    "start": T0,
    "end": None,
}

NEW_LINE: Json = {
    "id": "il_1",
    "amount": 1000,
    "currency": "usd",
    "quantity": 1,
    "description": "One",
    "period": {"start": T0, "end": END},
    "discount_amounts": [{"amount": 100, "discount": "di_1"}],
    "parent": {
        "type": "subscription_item_details",
        "subscription_item_details": {"proration": True, "subscription_item": "si_1", "subscription": "sub_1"},
    },
    "pricing": {"price_details": {"price": "price_1", "product": "prod_1"}},
    "taxes": [{"amount": 70}],
}
OLD_LINE: Json = {
    name: NEW_LINE[name] for name in ("id", "amount", "currency", "quantity", "description", "period")
} | {
    "discount_amounts": [{"amount": 100, "discount": "di_1"}],
    "plan": PLAN,
    "price": price(),
    "proration": True,
    "subscription": "sub_1",
    "subscription_item": "si_1",
    "tax_amounts": [{"amount": 70, "tax_rate": "txr_1"}],
}


def _lines(line: Json) -> Json:
    return {"object": "list", "data": [line], "has_more": False}


TOTALS: Json = {"total_discount_amounts": [{"amount": 100, "discount": "di_1"}], "discounts": ["di_1"]}

PAIRS: dict[str, tuple[str, Json, Json]] = {
    "the period of a subscription stands in its items since basil": (
        "customer.subscription.updated",
        subscription("sub_1", OLD_ITEM, current_period_start=T0, current_period_end=END),
        subscription("sub_1", item("si_1")),
    ),
    "the subscription and taxes of an invoice moved in basil": (
        "invoice.finalized",
        invoice(subscription="sub_1", tax=70, total_tax_amounts=[{"amount": 70}], lines=_lines(OLD_LINE), **TOTALS),
        invoice(
            parent={"type": "subscription_details", "subscription_details": {"subscription": "sub_1"}},
            total_taxes=[{"amount": 70}],
            lines=_lines(NEW_LINE),
            **TOTALS,
        ),
    ),
    "an expanded reference is its id": (
        "charge.succeeded",
        charge(customer=customer(), payment_intent="pi_1", balance_transaction="txn_1"),
        charge(balance_transaction="txn_1"),
    ),
    "credit notes name their refunds in a list since basil": (
        "credit_note.created",
        {"id": "cn_1", "invoice": "in_1", "refund": "re_1", "tax_amounts": [{"amount": 5}], "status": "issued"},
        {"id": "cn_1", "invoice": "in_1", "refunds": [{"refund": "re_1"}], "total_taxes": [{"amount": 5}]},
    ),
    "promotion codes wrap their coupon since clover": (
        "promotion_code.updated",
        {"id": "promo_1", "code": "HALF", "coupon": "HALF", "active": True},
        {"id": "promo_1", "code": "HALF", "promotion": {"type": "coupon", "coupon": "HALF"}, "active": True},
    ),
    "a charge before 2014 has no status": (
        "charge.updated",
        {name: value for name, value in charge().items() if name not in {"status", "amount_captured"}},
        charge(),
    ),
    "a session before 2021 has no status": (
        "checkout.session.completed",
        {"id": "cs_1", "mode": "payment", "payment_status": "paid"},
        {"id": "cs_1", "mode": "payment", "payment_status": "paid", "status": "complete"},
    ),
    "an account balance was once called so": (
        "customer.updated",
        customer(account_balance=-500),
        customer(balance=-500),
    ),
}


@pytest.mark.parametrize("name", PAIRS)
async def test_old_and_new_leave_the_same_rows(engine: AsyncEngine, name: str) -> None:
    event_type, old, new = PAIRS[name]
    left: list[dict[str, list[str]]] = []
    for shape in (old, new):
        await clear(engine)
        await apply(engine, event(event_type, shape))
        left.append(await books(engine))
    assert left[0] == left[1]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
async def test_the_two_renderings_of_one_event_are_one(engine: AsyncEngine, order: tuple[int, int]) -> None:
    """Two endpoints of different versions, or one that was upgraded: the second changes nothing."""
    for event_type, *shapes in PAIRS.values():
        await clear(engine)
        await apply(engine, event(event_type, shapes[order[0]]))
        (applied,) = await apply(engine, event(event_type, shapes[order[1]]))
        assert applied.effects == {"changed": []}, event_type


async def test_old_invoices_and_charges_name_each_other(engine: AsyncEngine) -> None:
    await apply(engine, event("invoice.paid", invoice(status="paid", payment_intent="pi_1", charge="ch_1")))
    await apply(engine, event("charge.succeeded", charge(invoice="in_1")))
    await apply(engine, event("payment_intent.succeeded", intent(invoice="in_1")))
    link = await row(engine, "invoice_payments")
    assert (link["stripe_invoice_id"], link["payment_id"]) == ("in_1", "pi_1")
    assert (await row(engine, "payment_history"))["invoice_id"] is not None


async def test_an_old_charge_without_an_intent_is_its_own_link(engine: AsyncEngine) -> None:
    await apply(engine, event("invoice.paid", invoice(status="paid", charge="ch_1")))
    await apply(engine, event("charge.succeeded", charge(payment_intent=None)))
    assert (await row(engine, "invoice_payments"))["payment_id"] == "ch_1"
    assert (await row(engine, "payment_history"))["stripe_invoice_id"] == "in_1"


async def test_an_old_discount_brings_its_coupon_and_a_new_one_names_it(engine: AsyncEngine) -> None:
    await apply(engine, event("customer.subscription.updated", subscription(discount=OLD_DISCOUNT)))
    assert (await row(engine, "subscriptions"))["mrr_cents"] == 500
    assert (await row(engine, "coupons"))["percent_off"] == 50
    await clear(engine)
    await apply(engine, event("customer.subscription.updated", subscription(discounts=[discount()])))
    assert await rows(engine, "coupons") == []
    assert (await row(engine, "subscriptions"))["mrr_incomplete"] is True
    assert (await row(engine, "discounts"))["stripe_coupon_id"] == "HALF"


async def test_a_discount_without_an_id_is_known_by_what_it_is_on(engine: AsyncEngine) -> None:
    nameless = {name: value for name, value in OLD_DISCOUNT.items() if name != "id"}
    await apply(engine, event("customer.discount.created", nameless))
    await apply(engine, event("customer.subscription.updated", subscription(discount=nameless)))
    assert (await row(engine, "discounts"))["stripe_discount_id"] == f"sub_1:HALF:{T0}"
    assert (await row(engine, "subscriptions"))["mrr_cents"] == 500


async def test_plan_and_price_are_one_row_and_price_outranks(engine: AsyncEngine) -> None:
    events = [event("plan.updated", PLAN | {"nickname": "plan"}), event("price.updated", price(nickname="price"))]
    for order in (events, events[::-1]):
        await clear(engine)
        for one in order:
            await apply(engine, one)
        found = await row(engine, "prices")
        assert (found["nickname"], found["interval"], found["unit_amount_decimal"]) == ("price", "month", 1000)


async def test_a_price_inside_an_item_fills_a_gap_and_never_outranks(engine: AsyncEngine) -> None:
    inlined = subscription("sub_1", item("si_1", of=price(nickname="inlined")))
    await apply(engine, event("customer.subscription.updated", inlined, created=T0 + 9))
    assert (await row(engine, "prices"))["nickname"] == "inlined"
    await apply(engine, event("price.created", price(nickname="own")))
    await apply(engine, event("customer.subscription.updated", inlined, created=T0 + 99))
    assert (await row(engine, "prices"))["nickname"] == "own"


@pytest.mark.parametrize(
    ("metadata", "of", "tier"),
    [
        ({"tier": "gold"}, price(lookup_key="pro"), "gold"),
        ({}, price(metadata={"tier": "silver"}, lookup_key="pro"), "silver"),
        ({}, price(lookup_key="pro", nickname="Professional"), "pro"),
        ({}, price(nickname="Professional"), "Professional"),
        ({}, price(), None),
    ],
)
async def test_the_tier_is_what_the_merchant_says(
    engine: AsyncEngine, metadata: Json, of: Json, tier: str | None
) -> None:
    obj = subscription("sub_1", item("si_1", of=of), metadata=metadata)
    await apply(engine, event("customer.subscription.updated", obj))
    assert (await row(engine, "subscriptions"))["tier"] == tier


async def test_the_first_licensed_item_stands_for_the_subscription(engine: AsyncEngine) -> None:
    metered = price("price_m", recurring={"interval": "month", "interval_count": 1, "usage_type": "metered"})
    yearly = price("price_y", 12000, recurring={"interval": "year", "interval_count": 1, "usage_type": "licensed"})
    items = [item("si_m", of=metered, quantity=0), item("si_y", of=yearly, quantity=3)]
    await apply(engine, event("customer.subscription.updated", subscription("sub_1", *items)))
    found = await row(engine, "subscriptions")
    assert (found["stripe_price_id"], found["quantity"], found["billing_cycle"]) == ("price_y", 3, "yearly")
    assert (found["mrr_cents"], found["mrr_incomplete"]) == (3000, False)
    assert len(await rows(engine, "subscription_items")) == 2


async def test_an_intent_that_names_its_charge_makes_one_row_with_it(engine: AsyncEngine) -> None:
    """New intents name their charges by id only; each is an attempt, even if its own event never comes."""
    error = {"code": "card_declined", "decline_code": "insufficient_funds", "charge": "ch_1"}
    failed = intent(status="requires_payment_method", latest_charge="ch_1", last_payment_error=error)
    await apply(engine, event("payment_intent.payment_failed", failed))
    await apply(engine, event("payment_intent.succeeded", intent(latest_charge="ch_2"), created=T0 + 9))
    found = {one["stripe_charge_id"]: one["status"] for one in await rows(engine, "payment_history")}
    assert found == {"ch_1": "failed", "ch_2": "succeeded"}
    await apply(engine, event("charge.succeeded", charge("ch_2")))
    assert len(await rows(engine, "payment_history")) == 2


async def test_a_payment_that_is_not_made_yet_is_joined_to_its_invoice_only(engine: AsyncEngine) -> None:
    """No webhook tells that it was given up: an `open` of today would stand there for ever."""
    unpaid: Json = {
        "id": "inpay_1",
        "object": "invoice_payment",
        "invoice": "in_1",
        "amount_requested": 1000,
        "amount_paid": None,
        "currency": "usd",
        "is_default": True,
        "status": "open",
        "payment": {"type": "payment_intent", "payment_intent": "pi_1"},
        "created": T0,
    }
    shown = {"object": "list", "data": [unpaid], "has_more": False}
    await apply(engine, event("invoice.updated", invoice(payments=shown)))
    link = await row(engine, "invoice_payments")
    assert (link["stripe_invoice_id"], link["payment_id"]) == ("in_1", "pi_1")
    assert (link["status"], link["amount_requested_cents"], link["version"]) == (None, None, [])
