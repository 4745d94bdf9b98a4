"""Events are applied: late, twice, in one second, malformed, with odd characters, while another worker is at work."""

import json
from collections.abc import Sequence
from itertools import permutations

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from db.inbox import StoredEvent
from db.ledger import try_lock
from jobs.stripe_objects import Malformed
from tests.events.kit import T0, apply, books, clear, event, outcomes, row, rows, stored
from tests.events.objects import charge, customer, dispute, intent, invoice, item, price, refund, subscription
from worker.registry import Applied, Busy


async def test_a_late_event_changes_nothing_and_says_so(engine: AsyncEngine) -> None:
    await apply(engine, event("customer.updated", customer(email="new@example.org"), created=T0 + 9))
    (applied,) = await apply(engine, event("customer.updated", customer(email="old@example.org"), created=T0 + 1))
    assert applied.effects == {"changed": [], "stale": True}
    assert (await row(engine, "users"))["email"] == "new@example.org"


async def test_the_same_event_twice_changes_nothing_the_second_time(engine: AsyncEngine) -> None:
    events = [
        event("customer.subscription.created", subscription()),
        event("charge.succeeded", charge()),
        event("invoice.paid", invoice(status="paid")),
    ]
    await apply(engine, *events)
    before = await books(engine)
    for applied in await apply(engine, *events):
        assert applied.effects == {"changed": []}
    assert await books(engine) == before


async def test_within_a_second_collection_ends_and_discounts_are_used_up(engine: AsyncEngine) -> None:
    """Stripe tells the last failure and the end of collection, a renewal and its used discount, in one second each."""
    due = invoice(status="open", attempt_count=4, attempted=True, auto_advance=True)
    renewed = subscription(discounts=["di_1"])
    events = [
        event("invoice.payment_failed", due),
        event("invoice.updated", due | {"auto_advance": False}),
        event("customer.subscription.updated", renewed),
        event("customer.subscription.updated", renewed | {"discounts": []}),
    ]
    for order in (events, events[::-1]):
        await clear(engine)
        for one in order:
            await apply(engine, one)
        assert (await row(engine, "invoices"))["auto_advance"] is False
        assert (await row(engine, "subscriptions"))["discount_ids"] == []


async def test_effects_tell_what_was_and_what_is(engine: AsyncEngine) -> None:
    await apply(engine, event("invoice.created", invoice(status="draft")))
    (applied,) = await apply(engine, event("invoice.paid", invoice(status="paid"), created=T0 + 1))
    (change,) = applied.effects["changed"]
    assert (change["table"], change["key"]) == ("invoices", "in_1")
    assert change["fields"]["status"] == ["draft", "paid"]
    assert change["fields"]["amount_paid_cents"] == [0, 1000]
    assert "currency" not in change["fields"]


async def test_a_derived_payment_is_told_with_the_last_event_about_it(engine: AsyncEngine) -> None:
    first, second = await apply(
        engine,
        event("payment_intent.succeeded", intent(latest_charge="ch_1")),
        event("charge.succeeded", charge()),
    )
    assert [change["table"] for change in first.effects["changed"]] == ["users", "payment_intents", "charges"]
    assert [change["table"] for change in second.effects["changed"]] == ["charges", "payment_history"]


async def _in_each_order(engine: AsyncEngine, events: Sequence[StoredEvent]) -> dict[str, list[str]]:
    expected = None
    for order in permutations(events):
        await clear(engine)
        for one in order:
            await apply(engine, one)
        found = await books(engine)
        expected = expected or found
        assert found == expected, [one.type for one in order]
    assert expected is not None
    return expected


async def test_within_one_second_the_state_decides(engine: AsyncEngine) -> None:
    await _in_each_order(
        engine,
        [
            event("invoice.created", invoice(status="draft")),
            event("invoice.finalized", invoice(status="open")),
            event("invoice.paid", invoice(status="paid")),
            event("invoice.payment_succeeded", invoice(status="paid")),
        ],
    )
    assert (await row(engine, "invoices"))["status"] == "paid"


@pytest.mark.parametrize(
    ("table", "final", "late"),
    [
        (
            "invoices",
            event("invoice.paid", invoice(status="paid")),
            event("invoice.updated", invoice(), created=T0 + 9),
        ),
        ("invoices", event("invoice.voided", invoice(status="void")), event("invoice.sent", invoice(), created=T0 + 9)),
        (
            "subscriptions",
            event("customer.subscription.deleted", subscription(status="canceled")),
            event("customer.subscription.updated", subscription(), created=T0 + 9),
        ),
        (
            "payment_intents",
            event("payment_intent.succeeded", intent()),
            event("payment_intent.processing", intent(status="processing"), created=T0 + 9),
        ),
        (
            "refunds",
            event("refund.failed", refund(status="failed")),
            event("refund.updated", refund(), created=T0 + 9),
        ),
    ],
)
async def test_a_final_state_is_never_left(
    engine: AsyncEngine, table: str, final: StoredEvent, late: StoredEvent
) -> None:
    await apply(engine, final)
    state = (await row(engine, table))["status"]
    await apply(engine, late)
    assert (await row(engine, table))["status"] == state


async def test_a_deleted_customer_stays_deleted(engine: AsyncEngine) -> None:
    await apply(engine, event("customer.deleted", {"id": "cus_1", "object": "customer", "deleted": True}))
    await apply(engine, event("customer.updated", customer(), created=T0 + 9))
    found = await row(engine, "users")
    assert (found["email"], found["deleted_at"]) == ("ada@example.org", "2026-02-02T02:40:00+00:00")


async def test_a_dispute_that_was_won_can_still_be_appealed(engine: AsyncEngine) -> None:
    await apply(engine, event("charge.succeeded", charge()))
    await apply(engine, event("charge.dispute.closed", dispute("won"), created=T0 + 5))
    assert (await row(engine, "payment_history"))["status"] == "succeeded"
    await apply(engine, event("charge.dispute.updated", dispute("appeal_under_review"), created=T0 + 9))
    assert (await row(engine, "payment_history"))["status"] == "disputed"


async def test_a_customer_is_stubbed_until_its_event_comes(engine: AsyncEngine) -> None:
    await apply(engine, event("customer.subscription.created", subscription()))
    stub = await row(engine, "users")
    assert (stub["stripe_customer_id"], stub["email"]) == ("cus_1", None)
    await apply(engine, event("customer.created", customer()))
    user = await row(engine, "users")
    assert (user["id"], user["email"]) == (stub["id"], "ada@example.org")
    assert (await row(engine, "subscriptions"))["user_id"] == user["id"]


@pytest.mark.parametrize("batch", [True, False])
async def test_payment_invoice_and_link_find_each_other_in_any_order(engine: AsyncEngine, *, batch: bool) -> None:
    payment = {"type": "payment_intent", "payment_intent": "pi_1"}
    events = [
        event("invoice_payment.paid", {"id": "inpay_1", "invoice": "in_1", "payment": payment, "status": "paid"}),
        event("charge.succeeded", charge()),
        event("invoice.paid", invoice(status="paid")),
        event("payment_intent.succeeded", intent(latest_charge="ch_1")),
    ]
    for order in permutations(events):
        await clear(engine)
        if batch:
            await apply(engine, *order)
        else:
            for one in order:
                await apply(engine, one)
        found = await row(engine, "payment_history")
        assert found["invoice_id"] == (await row(engine, "invoices"))["id"]
        assert (found["status"], found["stripe_charge_id"]) == ("succeeded", "ch_1")
        assert found["user_id"] == (await row(engine, "users"))["id"]


async def test_the_first_charge_takes_over_the_row_of_its_intent(engine: AsyncEngine) -> None:
    await apply(engine, event("payment_intent.created", intent(status="requires_payment_method")))
    bare = await row(engine, "payment_history")
    assert (bare["status"], bare["stripe_charge_id"]) == ("pending", None)
    await apply(engine, event("charge.failed", charge(status="failed", failure_code="card_declined"), created=T0 + 1))
    taken = await row(engine, "payment_history")
    assert (taken["id"], taken["status"], taken["stripe_charge_id"]) == (bare["id"], "failed", "ch_1")
    await apply(engine, event("charge.succeeded", charge("ch_2", created=T0 + 5), created=T0 + 5))
    assert [one["status"] for one in await rows(engine, "payment_history")] == ["failed", "succeeded"]


async def test_refund_and_dispute_may_come_before_their_charge(engine: AsyncEngine) -> None:
    await apply(engine, event("refund.created", refund(payment_intent=None), created=T0 + 60))
    await apply(engine, event("charge.dispute.created", dispute(payment_intent=None), created=T0 + 90))
    assert await rows(engine, "payment_history") == []
    await apply(engine, event("charge.succeeded", charge()))
    found = await row(engine, "payment_history")
    assert (found["status"], found["refund_amount_cents"], found["dispute_status"]) == (
        "disputed",
        400,
        "needs_response",
    )


async def test_what_reconciliation_filled_in_is_not_taken_away(engine: AsyncEngine) -> None:
    await apply(engine, event("charge.succeeded", charge()))
    async with engine.begin() as conn:
        await conn.execute(text("UPDATE payment_history SET stripe_fee_cents = 59, net_amount_cents = 941"))
    await apply(engine, event("charge.updated", charge(amount_refunded=400), created=T0 + 9))
    found = await row(engine, "payment_history")
    assert (found["status"], found["stripe_fee_cents"], found["net_amount_cents"]) == ("partially_refunded", 59, 941)


async def test_items_follow_the_subscription(engine: AsyncEngine) -> None:
    seats, usage = item("si_1"), item("si_2", price("price_2", 500))
    await apply(engine, event("customer.subscription.created", subscription("sub_1", seats, usage)))
    changed = item("si_2", price("price_2", 500), quantity=3)
    await apply(engine, event("customer.subscription.updated", subscription("sub_1", changed), created=T0 + 9))
    (found,) = await rows(engine, "subscription_items")
    assert (found["stripe_subscription_item_id"], found["quantity"], found["position"]) == ("si_2", 3, 0)
    assert [one["mrr_cents"] for one in await rows(engine, "subscription_history")] == [1500, 1500]


async def test_the_history_is_a_set_of_states(engine: AsyncEngine) -> None:
    active = subscription()
    late = subscription(status="past_due")
    events = [
        event("customer.subscription.created", subscription(status="incomplete")),
        event("customer.subscription.updated", active, created=T0 + 5),
        event("customer.subscription.resumed", active, created=T0 + 5),
        event("customer.subscription.updated", late, created=T0 + 9),
    ]
    await _in_each_order(engine, events)
    found = sorted(await rows(engine, "subscription_history"), key=lambda one: one["occurred_at"])
    assert [(one["status"], one["mrr_cents"]) for one in found] == [
        ("incomplete", 0),
        ("active", 1000),
        ("past_due", 1000),
    ]


async def test_invoice_numbers_stay_unique_whatever_comes_first(engine: AsyncEngine) -> None:
    """Stripe gives a number again after test data was deleted; no event may be lost to our unique key."""
    events = [
        event("invoice.finalized", invoice("in_b", created=T0)),
        event("invoice.finalized", invoice("in_a", created=T0 + 5)),
        event("invoice.finalized", invoice("in_c", created=T0 - 5)),
    ]
    await _in_each_order(engine, events)
    found = {one["stripe_invoice_id"]: one["invoice_number"] for one in await rows(engine, "invoices")}
    assert found == {"in_c": "A-0001", "in_b": "A-0001 (in_b)", "in_a": "A-0001 (in_a)"}
    await clear(engine)
    await apply(engine, *events)
    assert {one["stripe_invoice_id"]: one["invoice_number"] for one in await rows(engine, "invoices")} == found


async def test_accounts_and_modes_have_their_own_numbers_and_prices(engine: AsyncEngine) -> None:
    await apply(
        engine,
        event("invoice.finalized", invoice("in_1")),
        event("invoice.finalized", invoice("in_2"), account="acct_1"),
        event("invoice.finalized", invoice("in_3"), livemode=True),
        event("price.created", price("gold", 100)),
        event("price.created", price("gold", 200), account="acct_1"),
    )
    assert {one["invoice_number"] for one in await rows(engine, "invoices")} == {"A-0001"}
    assert {(p["stripe_account"], p["unit_amount_decimal"]) for p in await rows(engine, "prices")} == {
        ("", 100),
        ("acct_1", 200),
    }


async def test_an_unknown_type_is_ignored_with_the_reason(engine: AsyncEngine) -> None:
    (applied,) = await apply(engine, event("tax_rate.created", {"id": "txr_1", "object": "tax_rate"}))
    assert applied == Applied(ignored="no handler for tax_rate.created")


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (event("invoice.paid", invoice(amount_due="much")), "invoice.amount_due: expected a whole number"),
        (event("invoice.paid", invoice(created=2**62)), "invoice.created: expected seconds"),
        (event("invoice.paid", invoice(customer=5)), "invoice.customer: expected an id"),
        (event("invoice.paid", invoice(billing_reason=[])), "invoice.billing_reason: expected a text"),
        (event("invoice.paid", invoice(attempted="yes")), "invoice.attempted: expected true or false"),
        (event("invoice.paid", invoice(total=2**63)), "invoice.total: expected a whole number"),
        (event("price.created", price(unit_amount_decimal="ten")), "price.unit_amount_decimal: expected a decimal"),
        (event("price.created", price(unit_amount_decimal="NaN")), "price.unit_amount_decimal: expected a decimal"),
        (event("customer.created", {"object": "customer"}), "customer.id is missing"),
        (event("charge.succeeded", charge(amount=None)), "charge.amount is missing"),
        (event("payment_intent.created", intent() | {"status": None}), "payment_intent.status is missing"),
        (event("customer.subscription.created", subscription(status=None)), "subscription.status is missing"),
        (event("charge.dispute.created", {"object": "dispute"}), "dispute.id and dispute.charge are missing"),
        (stored("invoice.paid", b'{"created": 1, "data": {}}'), "event.data.object is missing"),
        (stored("invoice.paid", b'{"data": {"object": {}}}'), "event.created is missing"),
        (
            stored("invoice.paid", b'{"created": 99999999999999, "data": {"object": {}}}'),
            "event.created: expected seconds",
        ),
        (stored("invoice.paid", b"[]"), "not a JSON object"),
        (stored("invoice.paid", b"{"), "not JSON"),
        (stored("invoice.paid", b"[" * 100_000 + b"]" * 100_000), "not JSON"),
    ],
)
async def test_a_malformed_event_fails_alone_and_names_the_field(
    engine: AsyncEngine, bad: StoredEvent, reason: str
) -> None:
    good = event("customer.created", customer())
    found = await outcomes(engine, bad, good)
    outcome = found[bad.id]
    assert isinstance(outcome, Malformed)
    assert reason in outcome.reason
    assert isinstance(found[good.id], Applied)
    assert len(await rows(engine, "users")) == 1


async def test_numbers_that_no_float_can_hold_are_read(engine: AsyncEngine) -> None:
    body = b'{"created": 1770000000, "data": {"object": {"id": "cus_1", "balance": 5, "odd": 1e400}}}'
    await apply(engine, stored("customer.created", body))
    assert (await row(engine, "users"))["balance_cents"] == 5


async def test_what_postgres_cannot_hold_is_replaced(engine: AsyncEngine) -> None:
    body = {"created": T0, "data": {"object": customer(name="A\0da \ud800 \U0001f600", metadata={"\0": "\udfff"})}}
    await apply(engine, stored("customer.created", json.dumps(body).encode()))
    found = await row(engine, "users")
    assert found["name"] == "A\ufffdda \ufffd \U0001f600"
    assert found["metadata"] == {"\ufffd": "\ufffd"}


CARD = "4242424242424242"


async def test_card_numbers_and_secrets_never_reach_the_ledger(engine: AsyncEngine) -> None:
    typed = f"card {CARD} and sk_live_abcdef123456"
    spaced = "4242 4242 4242 4242"
    await apply(
        engine,
        event(
            "customer.created",
            customer(name=typed, description=spaced, metadata={"note": typed, CARD: "x"}, address={"line1": typed}),
        ),
        event("charge.failed", charge(status="failed", description=typed, failure_message=typed)),
        event("invoice.created", invoice(description=typed, lines={"data": [{"id": "il", "description": typed}]})),
        event("payment_intent.created", intent(description=typed, status="processing")),
        event("price.created", price(nickname=typed)),
        event("product.created", {"id": "prod_1", "object": "product", "name": typed}),
    )
    everything = json.dumps(await books(engine))
    assert CARD not in everything
    assert spaced not in everything
    assert "abcdef123456" not in everything
    assert (await row(engine, "charges"))["card_last4"] == "4242"


async def test_an_event_whose_customer_another_worker_holds_is_busy_and_others_go_on(engine: AsyncEngine) -> None:
    mine, other = event("customer.updated", customer()), event("customer.updated", customer("cus_2"))
    async with engine.begin() as conn:
        assert await try_lock(conn, ["cus_1"]) == {"cus_1"}
        found = await outcomes(engine, mine, other)
    assert isinstance(found[mine.id], Busy)
    assert isinstance(found[other.id], Applied)
    assert [one["stripe_customer_id"] for one in await rows(engine, "users")] == ["cus_2"]
    await apply(engine, mine)


async def test_a_refund_waits_for_the_lock_of_its_charges_intent(engine: AsyncEngine) -> None:
    """The refund names only the charge; its intent's attempts are derived together."""
    await apply(engine, event("charge.succeeded", charge(customer=None)))
    late = event("refund.created", refund(payment_intent=None))
    async with engine.begin() as conn:
        assert await try_lock(conn, ["pi_1"])
        assert isinstance((await outcomes(engine, late))[late.id], Busy)
    await apply(engine, late)
    assert (await row(engine, "payment_history"))["refund_amount_cents"] == 400


async def test_a_payment_waits_for_the_lock_of_an_invoice_that_is_just_coming(engine: AsyncEngine) -> None:
    payment = {"type": "payment_intent", "payment_intent": "pi_1"}
    await apply(engine, event("invoice_payment.paid", {"invoice": "in_1", "payment": payment, "status": "paid"}))
    one = event("charge.succeeded", charge())
    async with engine.begin() as conn:
        assert await try_lock(conn, ["in_1"])
        assert isinstance((await outcomes(engine, one))[one.id], Busy)
    await apply(engine, event("invoice.paid", invoice(status="paid")))
    await apply(engine, one)
    assert (await row(engine, "payment_history"))["invoice_id"] is not None
