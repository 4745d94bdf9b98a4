"""Stories of customers who do not pay: failed, reminded, recovered, blocked, lost; by what Stripe really tells."""

from functools import partial

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from db.operators.actions import Actor
from jobs.dunning.policies import put, read_policy
from tests.scenarios.acts import customer, latest_invoice, plan, put_card, subscribe
from tests.scenarios.conftest import CALM, Opened, at
from tests.scenarios.kit import Json, Stage
from tests.scenarios.kit import stage as opening

ORDER = "SELECT template FROM emails WHERE key LIKE 'dunning/%' OR key LIKE 'recovered/%' ORDER BY id"
DUE = "SELECT letter, left((due_at AT TIME ZONE 'Europe/Berlin')::text, 16) FROM dunning_steps ORDER BY position"
SHORT: Json = {
    "name": "short",
    "steps": [
        {"day": 0, "letter": "payment_failed"},
        {"day": 3, "letter": "final_notice"},
        {"day": 5, "letter": "access_suspended", "action": "cancel_at_stripe"},
    ],
}


@pytest.fixture
def calm(engine: AsyncEngine, database_url: str) -> Opened:
    """Opens a stage in calm weather only."""
    return partial(opening, engine, database_url, weather=CALM)


async def days(stage: Stage, count: float) -> None:
    """Days pass, with the worker at work twice a day."""
    for _ in range(int(count * 2)):
        await stage.advance(hours=12)
        await stage.settle()


async def letters(stage: Stage) -> list[str]:
    """The letters of dunning, in the order in which they were decided on."""
    await stage.settle()
    return [found[0] for found in await stage.query(ORDER)]


async def failing(stage: Stage, card: str = "pm_card_chargeCustomerFail") -> tuple[str, str]:
    """A customer in Berlin whose renewal has just failed; the ids of customer and subscription."""
    payer = await customer(stage, "Ingrid Falk", metadata={"timezone": "Europe/Berlin"}, preferred_locales=["de"])
    sub = await subscribe(stage, payer, await plan(stage, 4900))
    await put_card(stage, payer, card)
    await stage.until(2026, 2, 5, 14)
    await stage.settle()
    return payer, sub


async def test_reminded_and_recovered(opened: Opened) -> None:
    async with opened(at(2026, 1, 5)) as stage:
        payer, sub = await failing(stage)
        await days(stage, 5)
        told = await letters(stage)
        assert told[0] == "payment_failed"
        assert set(told) <= {"payment_failed", "dunning_reminder"}
        await put_card(stage, payer, "pm_card_visa")
        await stage.v1.invoices.pay_async((await latest_invoice(stage, sub))["stripe_invoice_id"])
        await days(stage, 5)
        await stage.books_agree()
        assert await letters(stage) == [*told, "recovered"]
        case = await stage.row("dunning_cases")
        assert (case["status"], case["outcome"], case["recovered_cents"]) == ("closed", "recovered", 4900)
        assert (await stage.row("users"))["dunning_status"] == "active"


async def test_each_letter_on_its_day_with_what_stripe_counts(calm: Opened) -> None:
    async with calm(at(2026, 1, 5)) as stage:
        _, sub = await failing(stage)
        await days(stage, 15)
        assert await letters(stage) == ["payment_failed", "dunning_reminder", "final_notice", "access_suspended"]
        assert await stage.query(DUE) == [  # Sunday the 8th becomes Monday
            ("payment_failed", "2026-02-05 14:00"),
            ("dunning_reminder", "2026-02-09 08:00"),
            ("final_notice", "2026-02-12 14:00"),
            ("access_suspended", "2026-02-19 14:00"),
        ]
        first = await stage.row("emails", key=f"dunning/{(await latest_invoice(stage, sub))['stripe_invoice_id']}/0")
        told = first["context"]
        assert (first["recipient"], first["locale"], first["timezone"]) == ("ingrid@example.com", "de", "Europe/Berlin")
        assert (told["attempt_count"], told["hard"], told["decline_code"]) == (1, False, "generic_decline")
        assert told["next_payment_attempt"].startswith("2026-02-08T13:00")
        assert told["method"]["brand"] == "visa"
        assert (await stage.row("users"))["dunning_status"] == "blocked"
        assert {step["read_from"] for step in await stage.rows("dunning_steps")} == {"stripe"}


async def test_lost_when_stripe_gives_up(opened: Opened) -> None:
    async with opened(at(2026, 1, 5)) as stage:
        await failing(stage)
        await days(stage, 30)
        await stage.books_agree()
        assert (await stage.row("subscriptions"))["status"] == "canceled"
        case = await stage.row("dunning_cases")
        assert (case["status"], case["outcome"]) == ("closed", "lost")
        told = await letters(stage)
        assert len(told) == len(set(told))


async def test_we_cancel_and_the_books_agree(calm: Opened) -> None:
    async with calm(at(2026, 1, 5)) as stage:
        async with stage.runner.deps.tx() as tx:
            await put(tx.conn, read_policy(SHORT), Actor("ada"), now=tx.now)
        await failing(stage)
        await days(stage, 7)
        await stage.books_agree()
        assert await letters(stage) == ["payment_failed", "final_notice", "access_suspended"]
        row = await stage.row("subscriptions")
        assert (row["status"], row["cancel_reason"]) == ("canceled", "cancellation_requested")
        case = await stage.row("dunning_cases")
        assert (case["outcome"], case["final_action"]) == ("lost", "cancel_at_stripe")
        assert (await stage.row("users"))["dunning_status"] == "blocked"


async def test_a_confirmation_is_asked_for_and_given(opened: Opened) -> None:
    async with opened(at(2026, 1, 5)) as stage:
        payer = await customer(stage, "Chiara Rossi", card=None)
        card = await put_card(stage, payer, "pm_card_visa")
        await subscribe(stage, payer, await plan(stage, 4900))
        await stage.act(f"payment_methods/{card}/behave", requires_action="true")
        await stage.until(2026, 2, 5, 14)
        assert await letters(stage) == ["action_required"]
        [pending] = await stage.rows("payment_history", status="pending")
        await stage.act(f"payment_intents/{pending['stripe_payment_intent_id']}/authenticate", outcome="succeed")
        await stage.books_agree()
        assert await letters(stage) == ["action_required", "recovered"]


async def test_a_first_payment_at_the_checkout_is_not_dunned(opened: Opened) -> None:
    async with opened(at(2026, 1, 5)) as stage:
        payer = await customer(stage, "Maud Peeters", card="pm_card_chargeCustomerFail")
        await subscribe(stage, payer, await plan(stage, 4900), payment_behavior="allow_incomplete")
        await days(stage, 3)
        await stage.books_agree()
        assert await stage.rows("dunning_cases") == []


async def test_a_sent_invoice_is_overdue(opened: Opened) -> None:
    async with opened(at(2026, 1, 5)) as stage:
        payer = await customer(stage, "Hanna Weiss")
        price = await plan(stage, 90_000, currency="eur")
        await subscribe(stage, payer, price, collection_method="send_invoice", days_until_due=14)
        await stage.until(2026, 1, 18)
        assert await letters(stage) == []
        await days(stage, 4)
        assert (await letters(stage))[0] == "invoice_overdue"
        case = await stage.row("dunning_cases")
        assert (case["opened_by"], case["currency"], case["amount_cents"]) == ("overdue", "eur", 90_000)
        await stage.act(f"invoices/{case['stripe_invoice_id']}/bank_transfer")
        await stage.books_agree()
        assert (await letters(stage))[-1] == "recovered"


async def test_paused_collection_is_silence(calm: Opened) -> None:
    async with calm(at(2026, 1, 5)) as stage:
        _, sub = await failing(stage)
        await stage.v1.subscriptions.update_async(sub, {"pause_collection": {"behavior": "keep_as_draft"}})
        await days(stage, 10)
        assert await letters(stage) == ["payment_failed"]
        assert (await stage.row("dunning_cases"))["status"] == "paused"
        await stage.v1.subscriptions.update_async(sub, {"pause_collection": ""})
        await days(stage, 1)
        assert await letters(stage) == ["payment_failed", "final_notice"]


async def test_stripe_breaks_off_in_the_middle_of_the_cancellation(calm: Opened) -> None:
    async with calm(at(2026, 1, 5)) as stage:
        async with stage.runner.deps.tx() as tx:
            await put(tx.conn, read_policy(SHORT), Actor("ada"), now=tx.now)
        await failing(stage)
        await days(stage, 4)
        script = {"api": [{"kind": "drop_after", "method": "DELETE", "nth": [1, 2, 3]}]}
        await stage.http.post(f"{stage.address}/_sim/faults", json=script)
        await days(stage, 3)
        await stage.books_agree()
        assert await letters(stage) == ["payment_failed", "final_notice", "access_suspended"]
        assert stage.told(1, "customer.subscription.deleted") == ["customer.subscription.deleted"]
