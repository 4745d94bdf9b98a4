"""Stripe's test cards behave as Stripe's own page says."""

import pytest

from deploy.demo.simulator.cards import ACCOUNTS, CARDS, DECLINES, luhn
from tests.simulator.till import Till


def test_every_test_card_has_a_number_that_could_be_a_card() -> None:
    assert [name for name, card in CARDS.items() if not luhn(card.number)] == []


def test_every_decline_of_a_card_has_words() -> None:
    assert {card.decline for card in CARDS.values()} - {None} <= DECLINES.keys()


@pytest.mark.parametrize("name", sorted(CARDS))
def test_a_test_card_can_be_charged_or_is_declined(name: str) -> None:
    till, card = Till(), CARDS[name]
    params = {"amount": 500, "currency": "usd", "payment_method": name, "confirm": True}
    if card.authentication in {"always", "on_session", "unless_set_up"}:
        assert till.post("/v1/payment_intents", params)["status"] == "requires_action"
    elif card.decline is None:
        intent = till.post("/v1/payment_intents", params)
        shown = till.charge(intent)["payment_method_details"]["card"]
        assert (intent["status"], shown["last4"], shown["brand"]) == ("succeeded", card.number[-4:], card.brand)
    else:
        assert till.refused("/v1/payment_intents", params, status=402)["code"] == DECLINES[card.decline].code


@pytest.mark.parametrize("name", sorted(name for name, card in CARDS.items() if card.decline and not card.attaches))
def test_a_declining_card_cannot_be_attached(name: str) -> None:
    till = Till()
    customer, _ = till.customer(None)
    error = till.refused(f"/v1/payment_methods/{name}/attach", {"customer": customer}, status=402)
    assert error["type"] == "card_error"
    assert till.get(f"/v1/customers/{customer}/payment_methods")["data"] == []


def test_the_recorded_decline_of_an_attachment() -> None:
    till = Till()
    customer, _ = till.customer(None)
    error = till.refused("/v1/payment_methods/pm_card_chargeDeclined/attach", {"customer": customer}, status=402)
    del error["request_log_url"]
    assert error == {
        "advice_code": "try_again_later",
        "code": "card_declined",
        "decline_code": "generic_decline",
        "doc_url": "https://stripe.com/docs/error-codes/card-declined",
        "message": "Your card was declined.",
        "network_decline_code": "01",
        "param": "",
        "type": "card_error",
    }


def test_a_card_by_its_number() -> None:
    till = Till()
    method = till.post(
        "/v1/payment_methods",
        {
            "type": "card",
            "card": {"number": "5555 5555 5555 4444", "exp_month": 8, "exp_year": 2031, "cvc": "123"},
            "billing_details": {"name": "Ada", "address": {"country": "DE"}},
            "metadata": {"a": "1"},
        },
    )
    shown = method["card"]
    assert (shown["brand"], shown["last4"], shown["exp_month"], shown["exp_year"]) == ("mastercard", "4444", 8, 2031)
    assert method["billing_details"]["address"]["country"] == "DE"
    assert (method["customer"], method["metadata"]) == (None, {"a": "1"})


@pytest.mark.parametrize(
    ("number", "code"), [("4242424242424241", "incorrect_number"), ("4111111111111111", "card_declined")]
)
def test_a_number_that_is_no_test_card_is_refused(number: str, code: str) -> None:
    card = {"number": number, "exp_month": 1, "exp_year": 2030}
    assert Till().refused("/v1/payment_methods", {"type": "card", "card": card}, status=402)["code"] == code


def test_a_token_names_a_card_too() -> None:
    method = Till().post("/v1/payment_methods", {"type": "card", "card": {"token": "tok_amex"}})
    assert method["card"]["display_brand"] == "american_express"


@pytest.mark.parametrize("number", sorted(ACCOUNTS))
def test_a_bank_account_by_its_number(number: str) -> None:
    kind = ACCOUNTS[number].kind
    typed = {"iban": number} if kind == "sepa_debit" else {"account_number": number, "routing_number": "110000000"}
    method = Till().post("/v1/payment_methods", {"type": kind, kind: typed})
    assert (method["type"], method[kind]["last4"]) == (kind, number[-4:])


def test_an_account_that_is_no_test_account_is_refused() -> None:
    till = Till()
    error = till.refused("/v1/payment_methods", {"type": "sepa_debit", "sepa_debit": {"iban": "DE00"}})
    assert error["param"] == "sepa_debit[iban]"
    assert till.refused("/v1/payment_methods", {"type": "card"})["param"] == "card"


class TestBehaviour:
    """A story tells a card how to answer."""

    def test_it_declines_so_many_times_and_then_works(self) -> None:
        till = Till()
        customer, method = till.customer()
        till.post(f"/_sim/payment_methods/{method}/behave", {"decline_code": "insufficient_funds", "uses": 2})
        params = {"amount": 900, "currency": "eur", "customer": customer, "payment_method": method, "confirm": True}
        codes = [till.refused("/v1/payment_intents", params, status=402)["decline_code"] for _ in range(2)]
        assert codes == ["insufficient_funds", "insufficient_funds"]
        assert till.post("/v1/payment_intents", params)["status"] == "succeeded"

    def test_it_fails_from_one_time_to_another(self) -> None:
        till = Till()
        customer, method = till.customer()
        now = till.account.now()
        how = {"decline_code": "expired_card", "since": now + 100, "until": now + 200}
        till.post(f"/_sim/payment_methods/{method}/behave", how)
        params = {"amount": 900, "currency": "eur", "customer": customer, "payment_method": method, "confirm": True}
        assert till.post("/v1/payment_intents", params)["status"] == "succeeded"
        till.later(100)
        assert till.refused("/v1/payment_intents", params, status=402)["code"] == "expired_card"
        till.later(100)
        assert till.post("/v1/payment_intents", params)["status"] == "succeeded"

    def test_a_failing_card_heals(self) -> None:
        till = Till()
        customer, method = till.customer("pm_card_chargeCustomerFail")
        params = {"amount": 900, "currency": "eur", "customer": customer, "payment_method": method, "confirm": True}
        assert till.refused("/v1/payment_intents", params, status=402)["decline_code"] == "generic_decline"
        till.post(f"/_sim/payment_methods/{method}/behave", {"decline_code": ""})
        assert till.post("/v1/payment_intents", params)["status"] == "succeeded"

    def test_it_asks_for_3ds(self) -> None:
        till = Till()
        customer, method = till.customer()
        till.post(f"/_sim/payment_methods/{method}/behave", {"requires_action": True})
        assert till.pay(customer=customer, method=method)["status"] == "requires_action"


class TestKeeping:
    """A customer keeps payment methods: https://docs.stripe.com/api/payment_methods/attach."""

    def test_attached_listed_detached(self) -> None:
        till = Till()
        customer, first = till.customer()
        second = till.post("/v1/payment_methods/pm_card_mastercard/attach", {"customer": customer})["id"]
        default = {"invoice_settings": {"default_payment_method": second}}
        till.post(f"/v1/customers/{customer}", default)
        for path, params in (
            (f"/v1/customers/{customer}/payment_methods", {}),
            ("/v1/payment_methods", {"customer": customer}),
        ):
            rows = till.get(path, params | {"type": "card"})["data"]
            assert [row["id"] for row in rows] == [second, first]
            assert till.get(path, params | {"type": "sepa_debit"})["data"] == []
        till.told()
        till.post(f"/v1/payment_methods/{second}/detach")
        assert till.told() == ["payment_method.detached", "customer.updated"]
        assert till.last("payment_method.detached")["previous_attributes"] == {"customer": customer}
        assert till.get(f"/v1/customers/{customer}")["invoice_settings"]["default_payment_method"] is None
        assert [row["id"] for row in till.get(f"/v1/customers/{customer}/payment_methods")["data"]] == [first]
        again = till.refused(f"/v1/payment_methods/{second}/attach", {"customer": customer})
        assert "may not be used again" in again["message"]

    def test_only_one_customer_can_keep_it(self) -> None:
        till = Till()
        _, method = till.customer()
        other, _ = till.customer(None)
        error = till.refused(f"/v1/payment_methods/{method}/attach", {"customer": other})
        assert error["code"] == "resource_already_exists"
        pay = {"amount": 500, "currency": "usd", "payment_method": method, "confirm": True}
        assert till.refused("/v1/payment_intents", pay)["param"] == "payment_method"
        assert till.refused("/v1/payment_intents", pay | {"customer": other})["param"] == "payment_method"

    def test_one_that_nobody_keeps_is_used_once(self) -> None:
        till = Till()
        method = till.post("/v1/payment_methods", {"type": "card", "card": {"token": "tok_visa"}})["id"]
        till.pay(method=method)
        error = till.refused(
            "/v1/payment_intents", {"amount": 500, "currency": "usd", "payment_method": method, "confirm": True}
        )
        assert "previously used" in error["message"]

    def test_setup_future_usage_keeps_it(self) -> None:
        till = Till()
        customer, _ = till.customer(None)
        till.told()
        intent = till.pay(customer=customer, setup_future_usage="off_session")
        assert till.told()[:2] == ["payment_intent.created", "payment_method.attached"]
        assert till.get(f"/v1/payment_methods/{intent['payment_method']}")["customer"] == customer

    def test_a_card_is_renewed(self) -> None:
        till = Till()
        _, method = till.customer()
        till.told()
        changed = till.post(f"/v1/payment_methods/{method}", {"card": {"exp_year": 2035}, "metadata": {"a": "b"}})
        assert (changed["card"]["exp_year"], changed["metadata"]) == (2035, {"a": "b"})
        assert till.told() == ["payment_method.updated"]
        assert till.last("payment_method.updated")["previous_attributes"]["metadata"] == {"a": None}

    def test_its_network_renews_it(self) -> None:
        till = Till()
        _, method = till.customer()
        before = till.get(f"/v1/payment_methods/{method}")["card"]["exp_year"]
        till.told()
        renewed = till.post(f"/_sim/payment_methods/{method}/renew")
        assert (renewed["card"]["exp_year"], till.told()) == (before + 4, ["payment_method.automatically_updated"])
        previous = till.last("payment_method.automatically_updated")["previous_attributes"]
        assert previous == {"card": {"exp_year": before}}
        till.post(f"/v1/payment_methods/{method}/detach")
        assert "customer keeps" in till.refused(f"/_sim/payment_methods/{method}/renew")["message"]

    def test_what_is_not_there(self) -> None:
        till = Till()
        customer, _ = till.customer(None)
        error = till.refused("/v1/payment_methods/invalid/attach", {"customer": customer}, status=404)
        assert (error["code"], error["param"]) == ("resource_missing", "payment_method")
        loose = till.post("/v1/payment_methods", {"type": "card", "card": {"token": "tok_visa"}})["id"]
        assert "detachment is impossible" in till.refused(f"/v1/payment_methods/{loose}/detach")["message"]
        assert "save this PaymentMethod" in till.refused(f"/v1/payment_methods/{loose}", {})["message"]
        assert [row["id"] for row in till.get("/v1/payment_methods")["data"]] == [loose]
