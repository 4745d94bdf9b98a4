"""The seven sequences in which Stripe tells its stories: in Stripe's order, and what our books make of each."""

from collections.abc import Sequence
from typing import Any

import stripe
from pytest import raises  # noqa: PT013 - reads better

from tests.scenarios.acts import customer, latest_charge, latest_invoice, plan, put_card, subscribe
from tests.scenarios.conftest import Opened, at
from tests.scenarios.kit import Stage

PAID = (
    "charge.succeeded",
    "payment_intent.succeeded",
    "invoice_payment.paid",
    "invoice.paid",
    "invoice.payment_succeeded",
)
"""What is told of an invoice that is paid by card."""


def told_in_order(stage: Stage, since: int, expected: Sequence[str]) -> None:
    """Demand that of these types exactly these events happened, in this order."""
    assert stage.told(since, *expected) == list(expected)


async def sign_up(stage: Stage, price: str, card: str = "pm_card_visa") -> str:
    """A stranger subscribes on Stripe's payment page; the session's id."""
    session = await stage.v1.checkout.sessions.create_async(
        {
            "mode": "subscription",
            "line_items": [{"price": price, "quantity": 2}],
            "customer_email": "ines@example.com",
            "success_url": "https://shop.example.com/thanks",
        }
    )
    await stage.act(f"checkout/sessions/{session.id}/complete", payment_method=card)
    return session.id


async def test_sign_up_by_checkout(everywhere: Opened) -> None:
    async with everywhere(at(2026, 1, 5)) as stage:
        price = await plan(stage, 2400)
        mark = stage.mark()
        session = await sign_up(stage, price)
        told_in_order(
            stage,
            mark,
            [
                "customer.created",
                "payment_method.attached",
                "customer.subscription.created",
                "invoice.created",
                "invoice.finalized",
                "payment_intent.created",
                *PAID,
                "customer.subscription.updated",
                "checkout.session.completed",
            ],
        )
        await stage.books_agree()
        [sub] = await stage.rows("subscriptions")
        assert (sub["status"], sub["quantity"], sub["mrr_cents"]) == ("active", 2, 4800)
        invoice = await latest_invoice(stage, sub["stripe_subscription_id"])
        assert (invoice["status"], invoice["amount_paid_cents"]) == ("paid", 4800)
        [payment] = await stage.rows("payment_history")
        assert (payment["status"], payment["amount_cents"]) == ("succeeded", 4800)
        assert payment["stripe_invoice_id"] == invoice["stripe_invoice_id"]
        done = await stage.row("checkout_sessions", stripe_checkout_session_id=session)
        assert (done["status"], done["payment_status"], done["amount_total_cents"]) == ("complete", "paid", 4800)


async def test_renewal(everywhere: Opened) -> None:
    async with everywhere(at(2026, 1, 5)) as stage:
        sub = await subscribe(stage, await customer(stage, "Noor Haddad"), await plan(stage, 4900))
        mark = stage.mark()
        await stage.until(2026, 2, 5, 14)
        told_in_order(
            stage,
            mark,
            [
                "invoice.upcoming",
                "customer.subscription.updated",
                "invoice.created",
                "invoice.finalized",
                "payment_intent.created",
                *PAID,
            ],
        )
        await stage.books_agree()
        renewed = await stage.row("subscriptions", stripe_subscription_id=sub)
        assert renewed["current_period_start"].startswith("2026-02-05T12:00")
        assert renewed["current_period_end"].startswith("2026-03-05T12:00")
        assert [row["amount_paid_cents"] for row in await stage.rows("invoices")] == [4900, 4900]


async def test_a_failed_renewal_is_recovered(everywhere: Opened) -> None:
    async with everywhere(at(2026, 1, 5)) as stage:
        payer = await customer(stage, "Jonas Lind")
        sub = await subscribe(stage, payer, await plan(stage, 4900))
        await put_card(stage, payer, "pm_card_chargeCustomerFail")
        mark = stage.mark()
        await stage.until(2026, 2, 5, 14)
        failed = ["charge.failed", "payment_intent.payment_failed", "invoice.payment_failed"]
        told_in_order(stage, mark, failed)
        assert stage.told(mark)[-1] == "customer.subscription.updated"
        await stage.books_agree()
        assert (await stage.row("subscriptions", stripe_subscription_id=sub))["status"] == "past_due"
        invoice = await latest_invoice(stage, sub)
        assert (invoice["status"], invoice["attempt_count"]) == ("open", 1)
        assert invoice["next_payment_attempt"].startswith("2026-02-08")
        assert invoice["payment_failed_at"] is not None

        await stage.until(2026, 2, 9)
        told_in_order(stage, mark, failed * 2)
        await put_card(stage, payer, "pm_card_visa")
        mark = stage.mark()
        await stage.until(2026, 2, 15)
        told_in_order(stage, mark, [*PAID, "customer.subscription.updated"])
        await stage.books_agree()
        assert (await stage.row("subscriptions", stripe_subscription_id=sub))["status"] == "active"
        invoice = await latest_invoice(stage, sub)
        assert (invoice["status"], invoice["attempt_count"], invoice["amount_paid_cents"]) == ("paid", 3, 4900)
        attempts = await stage.rows("payment_history", stripe_invoice_id=invoice["stripe_invoice_id"])
        assert sorted(row["status"] for row in attempts) == ["failed", "failed", "succeeded"]


async def test_retries_are_exhausted(everywhere: Opened) -> None:
    async with everywhere(at(2026, 1, 5)) as stage:
        payer = await customer(stage, "Olu Adeyemi")
        sub = await subscribe(stage, payer, await plan(stage, 4900))
        await put_card(stage, payer, "pm_card_chargeCustomerFail")
        stage.simulation.account.settings.invoice_after_retries = "uncollectible"
        mark = stage.mark()
        await stage.until(2026, 2, 25)
        told_in_order(
            stage,
            mark,
            [*["invoice.payment_failed"] * 4, "customer.subscription.deleted", "invoice.marked_uncollectible"],
        )
        await stage.books_agree()
        ended = await stage.row("subscriptions", stripe_subscription_id=sub)
        assert (ended["status"], ended["cancel_reason"], ended["mrr_cents"]) == ("canceled", "payment_failed", 0)
        invoice = await latest_invoice(stage, sub)
        assert (invoice["status"], invoice["attempt_count"]) == ("uncollectible", 4)
        assert invoice["amount_remaining_cents"] == 4900


async def test_3ds_at_the_first_payment(everywhere: Opened) -> None:
    async with everywhere(at(2026, 1, 5)) as stage:
        price = await plan(stage, 4900)
        payer = await customer(stage, "Elif Demir", card="pm_card_authenticationRequired")
        mark = stage.mark()
        sub = await subscribe(stage, payer, price, payment_behavior="default_incomplete")
        invoice = await stage.v1.invoices.retrieve_async(
            (await stage.v1.subscriptions.retrieve_async(sub)).latest_invoice, {"expand": ["payments"]}
        )
        intent = invoice.payments.data[0].payment.payment_intent
        method = (await stage.v1.customers.retrieve_async(payer)).invoice_settings.default_payment_method
        await stage.v1.payment_intents.confirm_async(intent, {"payment_method": method})
        asked = ["payment_intent.requires_action", "invoice.payment_action_required"]
        told_in_order(stage, mark, asked)
        await stage.books_agree()
        assert (await stage.row("subscriptions", stripe_subscription_id=sub))["status"] == "incomplete"
        assert [row["status"] for row in await stage.rows("payment_history")] == ["pending"]

        mark = stage.mark()
        await stage.act(f"payment_intents/{intent}/authenticate", outcome="succeed")
        told_in_order(stage, mark, [*PAID, "customer.subscription.updated"])
        await stage.books_agree()
        assert (await stage.row("subscriptions", stripe_subscription_id=sub))["status"] == "active"
        assert [row["status"] for row in await stage.rows("payment_history")] == ["succeeded"]


async def test_3ds_that_nobody_answers(everywhere: Opened) -> None:
    async with everywhere(at(2026, 1, 5)) as stage:
        payer = await customer(stage, "Elif Demir", card="pm_card_authenticationRequired")
        sub = await subscribe(stage, payer, await plan(stage, 4900))
        await stage.books_agree()
        assert (await stage.row("subscriptions", stripe_subscription_id=sub))["status"] == "incomplete"
        await stage.advance(hours=24)
        await stage.books_agree()
        ended = await stage.row("subscriptions", stripe_subscription_id=sub)
        assert (ended["status"], ended["mrr_cents"]) == ("incomplete_expired", 0)
        assert (await latest_invoice(stage, sub))["status"] == "void"
        assert [row["status"] for row in await stage.rows("payment_history")] == ["failed"]


async def test_cancel_at_the_end_of_the_period(everywhere: Opened) -> None:
    async with everywhere(at(2026, 1, 5)) as stage:
        sub = await subscribe(stage, await customer(stage, "Mei Tanaka"), await plan(stage, 4900))
        mark = stage.mark()
        await stage.v1.subscriptions.update_async(sub, {"cancel_at_period_end": True})
        await stage.books_agree()
        leaving = await stage.row("subscriptions", stripe_subscription_id=sub)
        assert (leaving["status"], leaving["cancel_at_period_end"], leaving["mrr_cents"]) == ("active", True, 4900)
        assert leaving["canceled_at"].startswith("2026-01-05")
        await stage.until(2026, 2, 6)
        told_in_order(stage, mark, ["customer.subscription.updated", "customer.subscription.deleted"])
        await stage.books_agree()
        ended = await stage.row("subscriptions", stripe_subscription_id=sub)
        assert (ended["status"], ended["cancel_reason"]) == ("canceled", "cancellation_requested")
        assert ended["ended_at"].startswith("2026-02-05T12:00")
        assert len(await stage.rows("invoices")) == 1


async def test_a_trial_is_paused_and_resumed(everywhere: Opened) -> None:
    async with everywhere(at(2026, 1, 5)) as stage:
        payer = await customer(stage, "Ana Souza", card=None)
        trial: dict[str, Any] = {
            "trial_settings": {"end_behavior": {"missing_payment_method": "pause"}},
            "trial_period_days": 14,
        }
        mark = stage.mark()
        sub = await subscribe(stage, payer, await plan(stage, 4900), **trial)
        await stage.until(2026, 1, 20)
        told_in_order(
            stage,
            mark,
            [
                "customer.subscription.created",
                "customer.subscription.trial_will_end",
                "customer.subscription.paused",
            ],
        )
        await stage.books_agree()
        assert (await stage.row("subscriptions", stripe_subscription_id=sub))["status"] == "paused"
        await put_card(stage, payer, "pm_card_visa")
        mark = stage.mark()
        await stage.v1.subscriptions.resume_async(sub, {"billing_cycle_anchor": "now"})
        assert "customer.subscription.resumed" in stage.told(mark)
        await stage.books_agree()
        resumed = await stage.row("subscriptions", stripe_subscription_id=sub)
        assert (resumed["status"], resumed["mrr_cents"]) == ("active", 4900)
        assert (await latest_invoice(stage, sub))["amount_paid_cents"] == 4900


async def test_a_refund_and_a_dispute(everywhere: Opened) -> None:
    async with everywhere(at(2026, 1, 5)) as stage:
        payer = await customer(stage, "Pete Novak")
        await subscribe(stage, payer, await plan(stage, 9000))
        charge = await latest_charge(stage, payer)
        mark = stage.mark()
        await stage.v1.refunds.create_async({"charge": charge, "amount": 1500, "reason": "requested_by_customer"})
        told_in_order(stage, mark, ["charge.refunded", "refund.created"])
        await stage.books_agree()
        payment = await stage.row("payment_history", stripe_charge_id=charge)
        assert (payment["status"], payment["refund_amount_cents"]) == ("partially_refunded", 1500)
        assert payment["refund_reason"] == "requested_by_customer"

        mark = stage.mark()
        dispute = await stage.act(f"charges/{charge}/dispute", reason="product_not_received")
        told_in_order(stage, mark, ["charge.dispute.created", "charge.dispute.funds_withdrawn"])
        await stage.books_agree()
        assert (await stage.row("payment_history", stripe_charge_id=charge))["status"] == "disputed"
        mark = stage.mark()
        await stage.act(f"disputes/{dispute['id']}/close", outcome="won")
        told_in_order(stage, mark, ["charge.dispute.closed", "charge.dispute.funds_reinstated"])
        await stage.books_agree()
        payment = await stage.row("payment_history", stripe_charge_id=charge)
        assert (payment["status"], payment["dispute_status"]) == ("partially_refunded", "won")


async def test_a_decline_at_the_first_payment_leaves_nothing_active(everywhere: Opened) -> None:
    async with everywhere(at(2026, 1, 5)) as stage:
        payer = await customer(stage, "Gil Moreau", card="pm_card_chargeCustomerFail")
        price = await plan(stage, 4900)
        with raises(stripe.CardError) as refused:
            await subscribe(stage, payer, price, payment_behavior="error_if_incomplete")
        assert refused.value.code == "card_declined"
        await stage.books_agree()
        assert await stage.rows("subscriptions", status="active") == []
