"""What stands around an invoice: its payments, balances, tax ids, and how older versions see it all."""

import pytest

from tests.simulator.invoices_kit import OLD, Seller


@pytest.fixture
def seller() -> Seller:
    return Seller()


def test_one_intent_collects_an_invoice_over_all_its_charges(seller: Seller) -> None:
    customer = seller.customer("pm_card_chargeCustomerFail")
    draft = seller.invoice(customer, 1200, auto_advance=True)
    seller.later(3600)
    seller.card(customer, "pm_card_visa")
    seller.post(f"/v1/invoices/{draft['id']}/pay")
    payments = seller.get("/v1/invoice_payments", invoice=draft["id"])["data"]
    assert [(row["status"], row["amount_paid"], row["is_default"]) for row in payments] == [("paid", 1200, True)]
    intent = payments[0]["payment"]["payment_intent"]
    assert [row["status"] for row in seller.get("/v1/charges", payment_intent=intent)["data"]] == [
        "succeeded",
        "failed",
    ]
    by_intent = {"type": "payment_intent", "payment_intent": intent}
    assert seller.get("/v1/invoice_payments", payment=by_intent, status="paid")["data"] == payments
    assert seller.get("/v1/invoice_payments", payment=by_intent, status="open")["data"] == []
    assert seller.get(f"/v1/invoice_payments/{payments[0]['id']}") == payments[0]
    strange = {"type": "payment_intent", "payment_intent": "pi_none"}
    assert seller.get("/v1/invoice_payments", payment=strange)["data"] == []


def test_payments_and_the_secret_are_shown_when_asked_for(seller: Seller) -> None:
    draft = seller.invoice(seller.customer(), 1200)
    assert "payments" not in seller.see(draft)
    seller.post(f"/v1/invoices/{draft['id']}/finalize")
    seen = seller.see(draft, expand=["payments", "confirmation_secret"])
    assert seen["payments"]["data"][0]["status"] == "open"
    assert seen["confirmation_secret"]["type"] == "payment_intent"


def test_an_intent_confirmed_by_the_customer_pays_without_an_attempt(seller: Seller) -> None:
    draft = seller.invoice(seller.customer(), 1200)
    seller.post(f"/v1/invoices/{draft['id']}/finalize")
    payment = seller.get("/v1/invoice_payments", invoice=draft["id"])["data"][0]
    path = f"/v1/payment_intents/{payment['payment']['payment_intent']}/confirm"
    assert seller.refused(path, payment_method="pm_card_chargeDeclined")["code"] == "card_declined"
    assert seller.see(draft)["attempt_count"] == 1
    seller.post(path, payment_method="pm_card_visa")
    paid = seller.see(draft)
    assert (paid["status"], paid["attempted"], paid["amount_paid"]) == ("paid", True, 1200)


def test_invoices_of_before_basil_name_their_payment_and_their_subscription(seller: Seller) -> None:
    rate = seller.post("/v1/tax_rates", display_name="VAT", inclusive=False, percentage="20")["id"]
    draft = seller.invoice(seller.customer(), 1000, default_tax_rates=[rate])
    seller.post(f"/v1/invoices/{draft['id']}/pay")
    new = seller.see(draft)
    old = seller.get(f"/v1/invoices/{draft['id']}", version=OLD)
    assert (old["paid"], old["paid_out_of_band"], old["tax"]) == (True, False, 200)
    assert old["charge"].startswith("ch_")
    assert old["payment_intent"].startswith("pi_")
    assert old["total_tax_amounts"][0] == {
        "amount": 200,
        "inclusive": False,
        "tax_rate": rate,
        "taxability_reason": "not_available",
        "taxable_amount": 1000,
    }
    line = old["lines"]["data"][0]
    assert (line["type"], line["proration"], line["price"]["unit_amount"]) == ("invoiceitem", False, 1000)
    assert (line["amount_excluding_tax"], line["unit_amount_excluding_tax"]) == (1000, "1000")
    for gone in ("parent", "total_taxes", "customer_account"):
        assert gone in new
        assert gone not in old
    for gone in ("pricing", "taxes", "parent", "subtotal"):
        assert gone in new["lines"]["data"][0]
        assert gone not in line
    told = seller.told("invoice.updated", OLD)
    assert told["previous_attributes"]["paid"] is False
    item = seller.told("invoiceitem.created", OLD)["object"]
    assert (item["unit_amount"], item["subscription"], item["price"]["type"]) == (1000, None, "one_time")


def test_a_balance_is_moved_by_hand_in_the_customers_currency(seller: Seller) -> None:
    customer = seller.customer()
    path = f"/v1/customers/{customer['id']}/balance_transactions"
    made = seller.post(path, amount=-500, currency="usd", description="Sorry", metadata={"case": "9"})
    assert (made["type"], made["ending_balance"], made["description"]) == ("adjustment", -500, "Sorry")
    assert seller.heard() == ["customer.updated"]
    assert "does not match" in seller.refused(path, amount=1, currency="eur")["message"]
    changed = seller.post(f"{path}/{made['id']}", description="", metadata={"case": ""})
    assert (changed["description"], changed["metadata"], changed["amount"]) == (None, {}, -500)
    euros = seller.post("/v1/invoices", customer=customer["id"], currency="eur")
    assert euros["starting_balance"] == 0
    assert [row["id"] for row in seller.get(path)["data"]] == [made["id"]]


def test_a_balance_that_is_set_is_reached_by_transactions(seller: Seller) -> None:
    customer = seller.customer(balance=-700)
    path = f"/v1/customers/{customer['id']}"
    assert seller.post(path, balance=250)["balance"] == 250
    moved = seller.get(f"{path}/balance_transactions")["data"]
    assert [(row["type"], row["amount"], row["ending_balance"]) for row in moved] == [
        ("adjustment", 950, 250),
        ("initial", -700, -700),
    ]


def test_tax_ids_are_verified_some_minutes_later(seller: Seller) -> None:
    customer = seller.customer()
    path = f"/v1/customers/{customer['id']}/tax_ids"
    good = seller.post(path, type="eu_vat", value="DE123456789")
    bad = seller.post(path, type="gb_vat", value="GB111111111")
    still = seller.post(path, type="eu_vat", value="FR222222222")
    plain = seller.post(path, type="us_ein", value="12-3456789")
    assert (good["country"], good["verification"]["status"]) == ("DE", "pending")
    assert plain["verification"]["status"] == "unavailable"
    assert seller.heard() == ["customer.tax_id.created"] * 4
    seller.later(600)
    assert seller.heard() == ["customer.tax_id.updated"] * 2
    states = [seller.get(f"{path}/{one['id']}")["verification"]["status"] for one in (good, bad, still)]
    assert states == ["verified", "unverified", "pending"]
    carried = seller.invoice(customer, 100)["customer_tax_ids"]
    assert carried[0] == {"type": "eu_vat", "value": "DE123456789"}
    seller.delete(f"{path}/{bad['id']}")
    assert seller.heard()[-1] == "customer.tax_id.deleted"
    assert len(seller.get(path)["data"]) == 3
    assert seller.refused(path, type="vat", value="1")["code"] == "tax_id_invalid"
