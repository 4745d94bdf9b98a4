"""An intent is paid, declined, authenticated, captured, canceled: https://docs.stripe.com/payments/paymentintents/lifecycle."""

from typing import Any

import pytest

from deploy.demo.simulator.account import DAY
from deploy.demo.simulator.resources import payment_intents
from tests.simulator.kit import Json
from tests.simulator.till import Till


def invoiced(till: Till, customer: str, amount: int = 4900) -> Json:
    """An intent as an invoice makes it."""
    invoice = {
        "id": "in_1",
        "amount_due": amount,
        "currency": "eur",
        "customer": customer,
        "billing_reason": "subscription_cycle",
    }
    return payment_intents.for_invoice(till.account, invoice)


class TestPaid:
    """What is told of a payment."""

    def test_in_stripes_order(self) -> None:
        till = Till()
        customer, method = till.customer()
        till.told()
        intent = till.pay(customer=customer, method=method, metadata={"order": "7"}, description="Order 7")
        assert till.told() == ["payment_intent.created", "charge.succeeded", "payment_intent.succeeded"]
        assert (intent["status"], intent["amount_received"]) == ("succeeded", 2900)
        charge = till.charge(intent)
        assert (charge["paid"], charge["captured"], charge["amount_captured"]) == (True, True, 2900)
        assert (charge["description"], charge["metadata"]) == ("Order 7", {"order": "7"})
        assert charge["balance_transaction"] is None
        till.later(5)
        assert till.told() == ["charge.updated"]
        previous = till.last("charge.updated")["previous_attributes"]
        assert previous == {"balance_transaction": None}
        transaction = till.get(f"/v1/charges/{charge['id']}", {"expand": ["balance_transaction"]})
        assert transaction["balance_transaction"]["net"] == 2900 - (84 + 30)

    def test_step_by_step(self) -> None:
        till = Till()
        made = till.post("/v1/payment_intents", {"amount": 1000, "currency": "USD"})
        assert (made["status"], made["currency"]) == ("requires_payment_method", "usd")
        error = till.refused(f"/v1/payment_intents/{made['id']}/confirm")
        assert (error["code"], error["payment_intent"]["id"]) == ("payment_intent_unexpected_state", made["id"])
        changed = till.post(f"/v1/payment_intents/{made['id']}", {"amount": 1200, "payment_method": "pm_card_visa"})
        assert (changed["status"], changed["amount"]) == ("requires_confirmation", 1200)
        assert till.post(f"/v1/payment_intents/{made['id']}/confirm")["status"] == "succeeded"
        again = till.refused(f"/v1/payment_intents/{made['id']}/confirm")
        assert "already succeeded" in again["message"]
        assert till.refused(f"/v1/payment_intents/{made['id']}", {"amount": 5})["code"] == error["code"]

    def test_a_customer_given_later_is_found_by(self) -> None:
        till = Till()
        customer, method = till.customer()
        made = till.post("/v1/payment_intents", {"amount": 1000, "currency": "usd"})
        till.post(f"/v1/payment_intents/{made['id']}", {"customer": customer, "payment_method": method})
        rows = till.get("/v1/payment_intents", {"customer": customer})["data"]
        assert [row["id"] for row in rows] == [made["id"]]

    @pytest.mark.parametrize(
        ("amount", "currency", "code"),
        [
            (0, "usd", "parameter_invalid_integer"),
            (49, "usd", "amount_too_small"),
            (100_000_000, "usd", "amount_too_large"),
            (1001, "kwd", None),
            (1000, "xxx", None),
        ],
    )
    def test_amounts_that_cannot_be(self, amount: int, currency: str, code: str | None) -> None:
        error = Till().refused("/v1/payment_intents", {"amount": amount, "currency": currency})
        assert error.get("code") == code
        assert error["param"] == ("currency" if currency == "xxx" else "amount")

    def test_with_an_address_to_send_to(self) -> None:
        till = Till()
        address = {"line1": "12 Sea Road", "city": "Whitby", "country": "GB"}
        intent = till.pay(shipping={"name": "Ada", "address": address})
        whole = address | {"line2": None, "postal_code": None, "state": None}
        shown = {"address": whole, "carrier": None, "name": "Ada", "phone": None, "tracking_number": None}
        assert intent["shipping"] == till.charge(intent)["shipping"] == shown
        moved = till.post(f"/v1/charges/{intent['latest_charge']}", {"shipping": {"address": {"city": "York"}}})
        assert (moved["shipping"]["address"]["city"], moved["shipping"]["name"]) == ("York", None)

    @pytest.mark.parametrize(("amount", "currency"), [(500, "jpy"), (12340, "kwd"), (100_000_000, "jpy")])
    def test_other_decimals(self, amount: int, currency: str) -> None:
        assert Till().pay(amount, currency)["amount_received"] == amount

    def test_lists_and_expands(self) -> None:
        till = Till()
        customer, method = till.customer()
        intents = [till.pay(customer=customer, method=method)["id"] for _ in range(3)]
        assert [row["id"] for row in till.get("/v1/payment_intents", {"customer": customer})["data"]] == intents[::-1]
        whole = till.get(
            f"/v1/payment_intents/{intents[0]}", {"expand": ["latest_charge.refunds.data", "payment_method"]}
        )
        assert whole["latest_charge"]["refunds"]["data"] == []
        assert whole["payment_method"]["card"]["last4"] == "4242"
        rows = till.get("/v1/charges", {"payment_intent": intents[1]})["data"]
        assert [row["payment_intent"] for row in rows] == [intents[1]]


class TestDeclined:
    """A decline is the answer, and stays on the intent."""

    def test_the_answer_tells_everything(self) -> None:
        till = Till()
        params = {"amount": 2000, "currency": "usd", "payment_method": "pm_card_visa_chargeDeclinedInsufficientFunds"}
        till.told()
        error = till.refused("/v1/payment_intents", params | {"confirm": True}, status=402)
        assert till.told() == ["payment_intent.created", "charge.failed", "payment_intent.payment_failed"]
        told = {name: error[name] for name in ("type", "code", "decline_code", "message")}
        assert told == {
            "type": "card_error",
            "code": "card_declined",
            "decline_code": "insufficient_funds",
            "message": "Your card has insufficient funds.",
        }
        assert error["payment_method"]["card"]["last4"] == "9995"
        intent = till.get(f"/v1/payment_intents/{error['payment_intent']['id']}")
        assert (intent["status"], intent["payment_method"]) == ("requires_payment_method", None)
        assert intent["last_payment_error"]["charge"] == intent["latest_charge"] == error["charge"]
        charge = till.charge(intent)
        assert (charge["status"], charge["failure_code"]) == ("failed", "card_declined")
        assert (charge["outcome"]["type"], charge["outcome"]["reason"]) == ("issuer_declined", "insufficient_funds")
        assert (charge["amount_captured"], charge["paid"]) == (0, False)

    def test_each_attempt_is_a_charge_of_its_own(self) -> None:
        till = Till()
        customer, bad = till.customer("pm_card_chargeCustomerFail")
        good = till.post("/v1/payment_methods/pm_card_visa/attach", {"customer": customer})["id"]
        intent = till.post("/v1/payment_intents", {"amount": 900, "currency": "usd", "customer": customer})["id"]
        path = f"/v1/payment_intents/{intent}/confirm"
        till.refused(path, {"payment_method": bad}, status=402)
        till.refused(path, {"payment_method": bad}, status=402)
        assert till.post(path, {"payment_method": good})["last_payment_error"] is None
        rows = till.get("/v1/charges", {"payment_intent": intent})["data"]
        assert [row["status"] for row in rows] == ["succeeded", "failed", "failed"]

    def test_radar_blocks(self) -> None:
        till = Till()
        params = {"amount": 2000, "currency": "usd", "payment_method": "pm_card_radarBlock", "confirm": True}
        error = till.refused("/v1/payment_intents", params, status=402)
        assert till.charge(error["payment_intent"])["outcome"]["type"] == "blocked"

    def test_a_method_of_another_kind(self) -> None:
        params = {"amount": 2000, "currency": "usd", "payment_method": "pm_sepaDebit_success_de"}
        error = Till().refused("/v1/payment_intents", params)
        assert error["code"] == "payment_intent_incompatible_payment_method"


class TestAuthentication:
    """3D Secure: https://docs.stripe.com/payments/3d-secure."""

    def test_the_customer_answers(self) -> None:
        till = Till()
        customer, method = till.customer("pm_card_authenticationRequired")
        till.told()
        intent = till.pay(customer=customer, method=method, return_url="https://example.com/back")
        assert till.told() == ["payment_intent.created", "payment_intent.requires_action"]
        assert intent["next_action"]["redirect_to_url"]["return_url"] == "https://example.com/back"
        assert intent["latest_charge"] is None
        done = till.post(f"/_sim/payment_intents/{intent['id']}/authenticate", {"outcome": "succeed"})
        assert (done["status"], done["next_action"]) == ("succeeded", None)
        assert till.told() == ["charge.succeeded", "payment_intent.succeeded"]
        secured = till.charge(done)["payment_method_details"]["card"]["three_d_secure"]
        assert secured["result"] == "authenticated"

    def test_the_customer_fails(self) -> None:
        till = Till()
        intent = till.pay(method="pm_card_threeDSecure2Required")
        assert intent["next_action"]["type"] == "use_stripe_sdk"
        till.told()
        failed = till.post(f"/_sim/payment_intents/{intent['id']}/authenticate", {"outcome": "fail"})
        assert till.told() == ["payment_intent.payment_failed"]
        error = failed["last_payment_error"]
        assert (error["code"], error["type"]) == ("payment_intent_authentication_failure", "invalid_request_error")
        assert (failed["status"], failed["latest_charge"]) == ("requires_payment_method", None)
        again = till.refused(f"/_sim/payment_intents/{intent['id']}/authenticate")
        assert again["code"] == "payment_intent_unexpected_state"

    def test_the_bank_declines_after_it(self) -> None:
        till = Till()
        intent = till.pay(method="pm_card_authenticationRequiredChargeDeclinedInsufficientFunds")
        failed = till.post(f"/_sim/payment_intents/{intent['id']}/authenticate")
        assert failed["last_payment_error"]["decline_code"] == "insufficient_funds"

    def test_nobody_answers(self) -> None:
        till = Till()
        intent = till.pay(method="pm_card_authenticationRequired")
        till.later(90 * DAY)
        assert till.get(f"/v1/payment_intents/{intent['id']}")["status"] == "requires_action"

    def test_nobody_is_there_to_answer(self) -> None:
        till = Till()
        customer, method = till.customer("pm_card_authenticationRequired")
        params = {"amount": 500, "currency": "usd", "customer": customer, "payment_method": method, "confirm": True}
        error = till.refused("/v1/payment_intents", params | {"off_session": True}, status=402)
        assert (error["code"], error["decline_code"]) == ("authentication_required", "authentication_required")
        error = till.refused("/v1/payment_intents", params | {"error_on_requires_action": True}, status=402)
        assert error["payment_intent"]["status"] == "requires_payment_method"

    def test_a_card_that_was_set_up_is_charged_off_session(self) -> None:
        till = Till()
        customer, _ = till.customer(None)
        setup = till.post(
            "/v1/setup_intents",
            {"customer": customer, "payment_method": "pm_card_authenticationRequiredOnSetup", "confirm": True},
        )
        assert setup["status"] == "requires_action"
        done = till.post(f"/_sim/setup_intents/{setup['id']}/authenticate", {"outcome": "succeed"})
        paid = till.pay(customer=customer, method=done["payment_method"], off_session=True)
        assert paid["status"] == "succeeded"


class TestInvoices:
    """What invoices use of this part."""

    def test_an_intent_over_what_is_due(self) -> None:
        till = Till()
        customer, method = till.customer()
        till.told()
        intent = invoiced(till, customer)
        assert till.told() == ["payment_intent.created"]
        assert (intent["amount"], intent["status"], intent["capture_method"]) == (
            4900,
            "requires_payment_method",
            "automatic",
        )
        payment_intents.attempt(till.account, intent, method, off_session=True)
        assert till.told() == ["charge.succeeded", "payment_intent.succeeded"]
        charge = till.charge(intent)
        assert charge["balance_transaction"].startswith("txn_")
        old = till.get(f"/v1/charges/{charge['id']}", stripe_version="2024-06-20")
        assert (old["invoice"], old["dispute"]) == ("in_1", None)
        old = till.get(f"/v1/payment_intents/{intent['id']}", stripe_version="2024-06-20")
        assert old["invoice"] == "in_1"

    def test_a_decline_is_not_raised(self) -> None:
        till = Till()
        customer, method = till.customer("pm_card_chargeCustomerFail")
        intent = invoiced(till, customer)
        till.told()
        payment_intents.attempt(till.account, intent, method, off_session=True)
        assert till.told() == ["charge.failed", "payment_intent.payment_failed"]
        assert intent["status"] == "requires_payment_method"

    def test_a_renewal_asks_for_authentication(self) -> None:
        till = Till()
        customer, method = till.customer("pm_card_authenticationRequired")
        intent = invoiced(till, customer)
        till.told()
        payment_intents.attempt(till.account, intent, method, off_session=True)
        assert (intent["status"], till.told()) == ("requires_action", ["payment_intent.requires_action"])
        payment_intents.authenticate(till.account, intent, succeeds=True)
        assert intent["status"] == "succeeded"
        before = len(till.account.events)
        payment_intents.attempt(till.account, intent, method, off_session=True)
        assert len(till.account.events) == before

    def test_canceled_with_its_invoice(self) -> None:
        till = Till()
        customer, _ = till.customer()
        intent = payment_intents.cancel(till.account, invoiced(till, customer), "void_invoice")
        assert (intent["status"], intent["cancellation_reason"]) == ("canceled", "void_invoice")


class TestHeld:
    """Authorized now, captured later: https://docs.stripe.com/payments/place-a-hold-on-a-payment-method."""

    def held(self, till: Till, **more: Any) -> Json:
        return till.pay(capture_method="manual", **more)

    def test_all_of_it(self) -> None:
        till = Till()
        till.told()
        intent = self.held(till)
        assert till.told() == [
            "payment_intent.created",
            "charge.succeeded",
            "payment_intent.amount_capturable_updated",
        ]
        assert (intent["status"], intent["amount_capturable"]) == ("requires_capture", 2900)
        charge = till.charge(intent)
        assert charge["captured"] is False
        assert charge["payment_method_details"]["card"]["capture_before"] == charge["created"] + 7 * DAY
        done = till.post(f"/v1/payment_intents/{intent['id']}/capture")
        assert till.told() == ["charge.captured", "payment_intent.succeeded"]
        assert (done["amount_received"], done["amount_capturable"]) == (2900, 0)
        assert till.refused(f"/v1/charges/{done['latest_charge']}/capture")["code"] == "charge_already_captured"

    def test_a_part_of_it(self) -> None:
        till = Till()
        intent = self.held(till)
        path = f"/v1/payment_intents/{intent['id']}/capture"
        assert till.refused(path, {"amount_to_capture": 2901})["code"] == "amount_too_large"
        done = till.post(path, {"amount_to_capture": 1000})
        charge = till.charge(done)
        assert (done["amount_received"], charge["amount_captured"], charge["amount"]) == (1000, 1000, 2900)
        refund = till.post("/v1/refunds", {"payment_intent": intent["id"]})
        assert (refund["amount"], till.charge(done)["refunded"]) == (1000, True)

    def test_by_the_charge(self) -> None:
        till = Till()
        intent = self.held(till)
        assert till.post(f"/v1/charges/{intent['latest_charge']}/capture", {"amount": 700})["captured"] is True
        assert till.get(f"/v1/payment_intents/{intent['id']}")["amount_received"] == 700

    def test_released(self) -> None:
        till = Till()
        intent = self.held(till)
        till.told()
        canceled = till.post(
            f"/v1/payment_intents/{intent['id']}/cancel", {"cancellation_reason": "requested_by_customer"}
        )
        assert till.told() == ["charge.refunded", "refund.created", "payment_intent.canceled"]
        assert canceled["amount_capturable"] == 0
        assert till.charge(intent)["refunded"] is True
        assert till.get("/v1/balance_transactions")["data"] == []
        error = till.refused(f"/v1/payment_intents/{intent['id']}/cancel")
        assert "status of canceled" in error["message"]
        assert till.refused(f"/v1/payment_intents/{intent['id']}/capture")["code"] == error["code"]

    def test_forgotten(self) -> None:
        till = Till()
        intent = self.held(till)
        till.told()
        till.later(7 * DAY)
        assert till.told()[:2] == ["charge.expired", "charge.refunded"]
        assert till.get(f"/v1/payment_intents/{intent['id']}")["cancellation_reason"] == "expired"


class TestBankDebits:
    """A debit takes days: https://docs.stripe.com/payments/ach-direct-debit."""

    def test_it_succeeds_days_later(self) -> None:
        till = Till()
        customer, method = till.customer("pm_usBankAccount_success")
        till.told()
        intent = till.pay(100_000, customer=customer, method=method)
        assert till.told() == ["payment_intent.created", "payment_intent.processing", "charge.pending"]
        assert intent["status"] == "processing"
        till.later(6 * DAY)
        assert till.told()[:2] == ["charge.succeeded", "payment_intent.succeeded"]
        charge = till.charge(intent)
        assert charge["id"].startswith("py_")
        fees = till.get("/v1/balance_transactions", {"source": charge["id"]})["data"]
        assert [(row["type"], row["fee"]) for row in fees] == [("payment", 500)]
        refund = till.post("/v1/refunds", {"charge": charge["id"]})
        assert (refund["status"], refund["destination_details"]["type"]) == ("pending", "us_bank_transfer")

    def test_it_fails_days_later(self) -> None:
        till = Till()
        customer, method = till.customer("pm_sepaDebit_failed_de")
        intent = till.pay(5000, "eur", customer=customer, method=method)
        till.told()
        till.later(8 * DAY)
        assert till.told() == ["charge.failed", "payment_intent.payment_failed"]
        failed = till.get(f"/v1/payment_intents/{intent['id']}")
        assert failed["last_payment_error"]["code"] == "payment_intent_payment_attempt_failed"
        assert till.charge(failed)["failure_code"] == "generic_could_not_process"
        assert till.get("/v1/balance_transactions")["data"] == []

    def test_one_that_never_ends_is_canceled(self) -> None:
        till = Till()
        intent = till.pay(5000, method="pm_usBankAccount_processing")
        till.later(30 * DAY)
        assert till.post(f"/v1/payment_intents/{intent['id']}/cancel")["status"] == "canceled"
        assert till.charge(intent)["status"] == "failed"


class TestSetup:
    """A payment method is saved without a payment: https://docs.stripe.com/payments/setup-intents."""

    def test_saved(self) -> None:
        till = Till()
        customer, _ = till.customer(None)
        intent = till.post("/v1/setup_intents", {"customer": customer, "usage": "off_session"})
        assert intent["status"] == "requires_payment_method"
        till.told()
        done = till.post(f"/v1/setup_intents/{intent['id']}/confirm", {"payment_method": "pm_card_visa"})
        assert till.told() == ["payment_method.attached", "setup_intent.succeeded"]
        assert done["status"] == "succeeded"
        assert till.get(f"/v1/payment_methods/{done['payment_method']}")["customer"] == customer
        assert till.refused(f"/v1/setup_intents/{intent['id']}/cancel")["code"] == "setup_intent_unexpected_state"

    def test_declined(self) -> None:
        till = Till()
        till.told()
        error = till.refused(
            "/v1/setup_intents", {"payment_method": "pm_card_chargeDeclinedExpiredCard", "confirm": True}, status=402
        )
        assert till.told() == ["setup_intent.created", "setup_intent.setup_failed"]
        assert (error["code"], error["setup_intent"]["status"]) == ("expired_card", "requires_payment_method")

    def test_not_authenticated(self) -> None:
        till = Till()
        intent = till.post("/v1/setup_intents", {"payment_method": "pm_card_authenticationRequired", "confirm": True})
        failed = till.post(f"/_sim/setup_intents/{intent['id']}/authenticate", {"outcome": "fail"})
        error = failed["last_setup_error"]
        assert (error["code"], error["type"]) == ("setup_intent_authentication_failure", "invalid_request_error")

    def test_changed_listed_canceled(self) -> None:
        till = Till()
        customer, _ = till.customer(None)
        intent = till.post("/v1/setup_intents", {"metadata": {"a": "1"}})
        path = f"/v1/setup_intents/{intent['id']}"
        assert "missing a payment method" in till.refused(f"{path}/confirm")["message"]
        till.post(path, {"customer": customer, "payment_method": "pm_card_visa", "description": "Later"})
        (row,) = till.get("/v1/setup_intents", {"customer": customer})["data"]
        assert (row["status"], row["description"]) == ("requires_confirmation", "Later")
        till.post(f"{path}/cancel", {"cancellation_reason": "abandoned"})
        assert till.get(path)["status"] == "canceled"
        assert till.told()[-1] == "setup_intent.canceled"
