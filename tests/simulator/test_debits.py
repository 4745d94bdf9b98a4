"""A bank debit takes days, in which its subscription goes on; and nothing that time brings about ever fails."""

import random

import pytest

from deploy.demo.simulator.account import DAY
from tests.simulator.kit import Json, ask
from tests.simulator.shop import Shop, item_of

GOOD, BAD = "pm_usBankAccount_success", "pm_usBankAccount_insufficientFunds"


def first(shop: Shop, sub: Json) -> Json:
    return shop.invoices(sub)[0]


class TestFirstPayment:
    """https://docs.stripe.com/billing/subscriptions/overview#delayed-payment-confirmation."""

    def test_the_subscription_is_active_while_the_debit_is_on_its_way(self) -> None:
        shop = Shop()
        customer = shop.subscriber(GOOD)
        shop.told()
        sub = shop.subscribe(customer=customer)
        told = shop.told()
        assert told.index("payment_intent.processing") < told.index("customer.subscription.updated")
        assert (sub["status"], first(shop, sub)["status"]) == ("active", "open")
        shop.days(2)
        assert shop.see(sub)["status"] == "active"
        shop.days(6)
        assert (shop.see(sub)["status"], first(shop, sub)["status"]) == ("active", "paid")
        shop.days(30)
        assert [invoice["status"] for invoice in shop.invoices(sub)] == ["paid", "paid"]

    def test_it_is_active_once_the_customer_has_confirmed(self) -> None:
        shop = Shop()
        sub = shop.subscribe(customer=shop.subscriber(GOOD), payment_behavior="default_incomplete")
        assert sub["status"] == "incomplete"
        intent = shop.get("/v1/payment_intents")["data"][0]
        shop.post(f"/v1/payment_intents/{intent['id']}/confirm", {"payment_method": GOOD})
        assert shop.see(sub)["status"] == "active"
        shop.days(8)
        assert first(shop, sub)["status"] == "paid"

    def test_a_debit_that_fails_voids_the_invoice_and_leaves_the_subscription_active(self) -> None:
        shop = Shop()
        sub = shop.subscribe(customer=shop.subscriber(BAD))
        shop.told()
        shop.days(8)
        told = [name for name in shop.told() if name.startswith(("invoice.", "customer."))]
        assert told == ["invoice.payment_failed", "invoice.updated", "invoice.voided"]
        assert (shop.see(sub)["status"], first(shop, sub)["status"]) == ("active", "void")
        assert shop.get(f"/v1/customers/{sub['customer']}")["delinquent"] is False

    def test_checkout_is_complete_before_the_money_has_come(self) -> None:
        for method, status, told in ((GOOD, "paid", "succeeded"), (BAD, "unpaid", "failed")):
            shop = Shop()
            session = shop.complete(shop.session(), method)
            assert (session["status"], session["payment_status"]) == ("complete", "unpaid")
            shop.days(8)
            after = shop.get(f"/v1/checkout/sessions/{session['id']}")
            assert after["payment_status"] == status
            assert shop.told().count(f"checkout.session.async_payment_{told}") == 1

    def test_a_renewal_stays_active_until_the_debit_has_failed(self) -> None:
        shop = Shop()
        customer = shop.subscriber()
        sub = shop.subscribe(customer=customer)
        shop.switch(customer, BAD)
        shop.days(32)
        assert shop.see(sub)["status"] == "active"
        shop.days(8)
        assert shop.see(sub)["status"] == "past_due"


class TestTimersNeverFail:
    """What is due happens, or has become impossible and does not; the clock moves on."""

    def test_a_method_that_was_detached_is_not_charged(self) -> None:
        shop = Shop()
        customer, kept = shop.customer()
        sub = shop.subscribe(customer=customer, default_payment_method=kept)
        shop.post(f"/v1/payment_methods/{kept}/detach")
        shop.days(32)
        assert shop.see(sub)["status"] == "past_due"
        assert shop.invoices(sub)[1]["attempt_count"] == 1

    @pytest.mark.parametrize("behavior", ["void", "mark_uncollectible"])
    def test_a_paused_draft_of_a_customer_who_left_stays_one(self, behavior: str) -> None:
        shop = Shop()
        sub = shop.subscribe()
        shop.change(sub, pause_collection={"behavior": behavior})
        shop.later(item_of(sub)["current_period_end"] - shop.account.now() + 60)
        shop.delete(f"/v1/customers/{sub['customer']}")
        shop.days(2)
        assert shop.invoices(sub)[1]["status"] == "draft"

    def test_a_paused_invoice_that_is_being_paid_is_not_voided(self) -> None:
        shop = Shop()
        customer = shop.subscriber(GOOD)
        sub = shop.subscribe(customer=customer)
        shop.days(8)
        shop.change(sub, pause_collection={"behavior": "void"})
        end = item_of(sub)["current_period_end"]
        shop.later(end - shop.account.now() + shop.account.settings.finalize_after)
        invoice = shop.invoices(sub)[1]
        assert invoice["status"] == "open"
        shop.post(f"/v1/invoices/{invoice['id']}/pay")
        shop.days(8)
        assert shop.invoices(sub)[1]["status"] == "paid"

    def test_a_canceled_incomplete_subscription_voids_only_what_can_be(self) -> None:
        shop = Shop()
        sub = shop.subscribe(customer=shop.subscriber(GOOD), payment_behavior="default_incomplete")
        shop.delete(f"/v1/subscriptions/{sub['id']}")
        assert first(shop, sub)["status"] == "void"

    @pytest.mark.parametrize("seed", range(12))
    def test_whatever_people_do(self, seed: int) -> None:
        chance = random.Random(seed)  # noqa: S311 - a test's own dice
        shop = Shop()
        methods = [GOOD, BAD, "pm_card_visa", "pm_card_createDispute", "pm_card_authenticationRequired",
                   "pm_card_chargeCustomerFail", "pm_card_refundFail", "pm_usBankAccount_processing"]  # fmt: skip
        settings = shop.account.settings
        settings.after_retries = chance.choice(["cancel", "unpaid", "past_due"])
        settings.invoice_after_retries = chance.choice(["open", "void", "uncollectible"])
        price, dear = shop.price(), shop.price(9000)
        for _ in range(90):
            shop.later(chance.randrange(1, 5 * DAY))
            path, params = act(shop, chance, methods, [price, dear])
            method = "DELETE" if path.startswith("-") else "POST"
            status, body, _ = ask(shop.api, method, path.removeprefix("-"), params)
            assert status < 500, body
        shop.days(400)


def act(shop: Shop, chance: random.Random, methods: list[str], prices: list[str]) -> tuple[str, Json]:
    """Something that somebody may ask for, sensible or not."""

    def one(kind: str) -> str:
        rows = [row["id"] for row in shop.account.store.all(kind)]
        return chance.choice(rows) if rows else "none"

    sub, invoice = f"/v1/subscriptions/{one('subscription')}", f"/v1/invoices/{one('invoice')}"
    amount, answer = chance.randrange(1, 3000), chance.choice(["succeed", "fail"])
    acts: list[tuple[str, Json]] = [
        (sub, {"pause_collection": {"behavior": chance.choice(["void", "keep_as_draft", "mark_uncollectible"])}}),
        (sub, {"pause_collection": ""}),
        (sub, {"cancel_at_period_end": True}),
        (sub, {"items": [{"price": prices[1]}], "proration_behavior": "always_invoice"}),
        (sub, {"collection_method": "send_invoice", "days_until_due": 7}),
        (f"-{sub}", {"invoice_now": True, "prorate": True}),
        (f"{invoice}/pay", {}),
        (f"{invoice}/pay", {"payment_method": GOOD}),
        (f"{invoice}/void", {}),
        (f"{invoice}/finalize", {"auto_advance": True}),
        (f"{invoice}/mark_uncollectible", {}),
        ("/v1/credit_notes", {"invoice": one("invoice"), "amount": amount}),
        ("/v1/credit_notes", {"invoice": one("invoice"), "amount": amount, "credit_amount": amount}),
        ("/v1/refunds", {"charge": one("charge")}),
        (f"/_sim/charges/{one('charge')}/dispute", {}),
        (f"/_sim/disputes/{one('dispute')}/close", {"outcome": "won"}),
        (f"/v1/payment_methods/{one('payment_method')}/detach", {}),
        (f"/_sim/payment_intents/{one('payment_intent')}/authenticate", {"outcome": answer}),
        (f"/v1/payment_intents/{one('payment_intent')}/cancel", {}),
        (f"-/v1/customers/{one('customer')}", {}),
    ]  # fmt: skip
    if chance.random() < 0.4:
        customer, kept = shop.customer(chance.choice(methods))
        more: Json = {"trial_period_days": 5} if chance.random() < 0.3 else {}
        return "/v1/subscriptions", {
            "customer": customer, "items": [{"price": prices[0]}], "default_payment_method": kept} | more  # fmt: skip
    return chance.choice(acts)
