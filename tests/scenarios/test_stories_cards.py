"""Stories of cards that fail: recovered, given up, asked for once more."""

from tests.scenarios.acts import customer, latest_invoice, plan, put_card, subscribe
from tests.scenarios.conftest import Opened, at
from tests.scenarios.kit import Json, Stage


async def status_of(stage: Stage, subscription: str) -> tuple[str, int]:
    """A subscription's status and MRR in the ledger."""
    row: Json = await stage.row("subscriptions", stripe_subscription_id=subscription)
    return row["status"], row["mrr_cents"]


async def test_a_card_is_recovered_on_the_third_retry(opened: Opened) -> None:
    async with opened(at(2026, 1, 5)) as stage:
        payer = await customer(stage, "Ingrid Falk")
        sub = await subscribe(stage, payer, await plan(stage, 4900))
        await put_card(stage, payer, "pm_card_chargeCustomerFail")
        for day, attempts, next_day in ((6, 1, "02-08"), (9, 2, "02-13"), (14, 3, "02-20")):
            await stage.until(2026, 2, day)
            await stage.books_agree()
            invoice = await latest_invoice(stage, sub)
            assert (invoice["status"], invoice["attempt_count"]) == ("open", attempts)
            assert invoice["next_payment_attempt"].startswith(f"2026-{next_day}")
            assert await status_of(stage, sub) == ("past_due", 4900)
        await put_card(stage, payer, "pm_card_mastercard")
        await stage.until(2026, 2, 21)
        await stage.books_agree()
        invoice = await latest_invoice(stage, sub)
        assert (invoice["status"], invoice["attempt_count"], invoice["amount_paid_cents"]) == ("paid", 4, 4900)
        assert invoice["paid_at"].startswith("2026-02-20")
        assert await status_of(stage, sub) == ("active", 4900)
        attempts = await stage.rows("payment_history", stripe_invoice_id=invoice["stripe_invoice_id"])
        assert sorted(row["status"] for row in attempts) == ["failed", "failed", "failed", "succeeded"]
        assert len({row["stripe_payment_intent_id"] for row in attempts}) == 1
        assert {row["failure_code"] for row in attempts if row["status"] == "failed"} == {"card_declined"}


async def test_a_customer_whose_card_never_works_again_is_canceled(opened: Opened) -> None:
    async with opened(at(2026, 1, 5)) as stage:
        payer = await customer(stage, "Tomas Varga")
        sub = await subscribe(stage, payer, await plan(stage, 4900))
        await put_card(stage, payer, "pm_card_chargeCustomerFail")
        await stage.until(2026, 3, 10)
        await stage.books_agree()
        assert await status_of(stage, sub) == ("canceled", 0)
        invoice = await latest_invoice(stage, sub)
        assert (invoice["status"], invoice["amount_remaining_cents"]) == ("open", 4900)
        assert invoice["next_payment_attempt"] is None
        assert len(await stage.rows("invoices")) == 2
        assert len(await stage.rows("payment_history", status="failed")) == 4


async def test_an_unpaid_subscription_is_paid_after_all(opened: Opened) -> None:
    async with opened(at(2026, 1, 5)) as stage:
        stage.simulation.account.settings.after_retries = "unpaid"
        payer = await customer(stage, "Rafael Duarte")
        sub = await subscribe(stage, payer, await plan(stage, 4900))
        await put_card(stage, payer, "pm_card_chargeCustomerFail")
        await stage.until(2026, 2, 22)
        await stage.books_agree()
        assert await status_of(stage, sub) == ("unpaid", 0)
        await put_card(stage, payer, "pm_card_visa")
        invoice = await latest_invoice(stage, sub)
        await stage.v1.invoices.pay_async(invoice["stripe_invoice_id"])
        await stage.books_agree()
        assert await status_of(stage, sub) == ("active", 4900)
        await stage.until(2026, 3, 6)
        await stage.books_agree()
        assert [row["status"] for row in await stage.rows("invoices")] == ["paid"] * 3


async def test_a_renewal_must_be_authenticated(opened: Opened) -> None:
    async with opened(at(2026, 1, 5)) as stage:
        payer = await customer(stage, "Chiara Rossi", card=None)
        card = await put_card(stage, payer, "pm_card_visa")
        sub = await subscribe(stage, payer, await plan(stage, 4900))
        await stage.act(f"payment_methods/{card}/behave", requires_action="true")
        await stage.until(2026, 2, 5, 14)
        await stage.books_agree()
        invoice = await latest_invoice(stage, sub)
        assert invoice["status"] == "open"
        assert invoice["payment_action_required_at"].startswith("2026-02-05T13:00")
        assert await status_of(stage, sub) == ("past_due", 4900)
        [pending] = await stage.rows("payment_history", status="pending")
        await stage.act(f"payment_intents/{pending['stripe_payment_intent_id']}/authenticate", outcome="succeed")
        await stage.books_agree()
        assert (await latest_invoice(stage, sub))["amount_paid_cents"] == 4900
        assert await status_of(stage, sub) == ("active", 4900)
        assert [row["status"] for row in await stage.rows("payment_history")] == ["succeeded"] * 2


async def test_a_payment_page_is_left(opened: Opened) -> None:
    async with opened(at(2026, 1, 5)) as stage:
        session = await stage.v1.checkout.sessions.create_async(
            {
                "mode": "subscription",
                "line_items": [{"price": await plan(stage, 4900), "quantity": 1}],
                "customer_email": "someone@example.com",
                "success_url": "https://shop.example.com/thanks",
            }
        )
        await stage.books_agree()
        assert await stage.rows("checkout_sessions") == []
        await stage.advance(hours=25)
        await stage.books_agree()
        left = await stage.row("checkout_sessions", stripe_checkout_session_id=session.id)
        assert (left["status"], left["payment_status"]) == ("expired", "unpaid")
        assert await stage.rows("subscriptions") == []
        assert await stage.rows("payment_history") == []


async def test_a_card_is_declined_for_lack_of_money_and_its_owner_pays_with_another(opened: Opened) -> None:
    async with opened(at(2026, 1, 5)) as stage:
        payer = await customer(stage, "Maud Peeters", card=None)
        card = await put_card(stage, payer, "pm_card_visa")
        await stage.act(f"payment_methods/{card}/behave", decline_code="insufficient_funds")
        sub = await subscribe(stage, payer, await plan(stage, 4900), payment_behavior="allow_incomplete")
        await stage.books_agree()
        assert await status_of(stage, sub) == ("incomplete", 0)
        [failed] = await stage.rows("payment_history")
        assert (failed["status"], failed["decline_code"]) == ("failed", "insufficient_funds")
        await put_card(stage, payer, "pm_card_visa")
        await stage.v1.invoices.pay_async((await latest_invoice(stage, sub))["stripe_invoice_id"])
        await stage.books_agree()
        assert await status_of(stage, sub) == ("active", 4900)
        assert sorted(row["status"] for row in await stage.rows("payment_history")) == ["failed", "succeeded"]
