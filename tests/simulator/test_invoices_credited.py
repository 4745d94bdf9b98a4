"""Credit notes make an invoice come to less, before it is paid or after."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.simulator.invoices_kit import OLD, Seller
from tests.simulator.kit import Json


@pytest.fixture
def seller() -> Seller:
    return Seller()


def opened(seller: Seller, *amounts: int, **params: object) -> Json:
    draft = seller.invoice(seller.customer(), *amounts, **params)
    return seller.post(f"/v1/invoices/{draft['id']}/finalize")


def paid(seller: Seller, *amounts: int, **params: object) -> Json:
    return seller.post(f"/v1/invoices/{opened(seller, *amounts, **params)['id']}/pay")


def test_a_refund_by_credit_note(seller: Seller) -> None:
    invoice = paid(seller, 2500)
    seller.heard()
    line = {"type": "custom_line_item", "description": "Refund", "quantity": 1, "unit_amount": 500}
    note = seller.post("/v1/credit_notes", invoice=invoice["id"], refund_amount=500, lines=[line], reason="duplicate")
    assert (note["total"], note["type"], note["post_payment_amount"]) == (500, "post_payment", 500)
    assert note["number"] == f"{invoice['number']}-CN-01"
    heard = seller.heard()
    assert heard[-2:] == ["credit_note.created", "invoice.updated"]
    assert "refund.created" in heard
    refund = seller.get(f"/v1/refunds/{note['refunds'][0]['refund']}")
    assert refund["amount"] == note["refunds"][0]["amount_refunded"] == 500
    after = seller.see(invoice)
    assert (after["post_payment_credit_notes_amount"], after["amount_paid"], after["status"]) == (500, 2500, "paid")
    old = seller.told("credit_note.created", OLD)["object"]
    assert (old["refund"], old["tax_amounts"]) == (refund["id"], [])
    assert seller.get(note["lines"]["url"])["data"][0]["unit_amount"] == 500


def test_a_refund_that_was_made_before_is_named(seller: Seller) -> None:
    invoice = paid(seller, 2500)
    payment = seller.get("/v1/invoice_payments", invoice=invoice["id"])["data"][0]
    refund = seller.post("/v1/refunds", payment_intent=payment["payment"]["payment_intent"], amount=700)
    wanted: Json = {"invoice": invoice["id"], "amount": 700, "refunds": [{"refund": refund["id"]}]}
    note = seller.post("/v1/credit_notes", **wanted)
    assert note["refunds"][0]["amount_refunded"] == 700
    assert "less left" in seller.refused("/v1/credit_notes", **wanted)["message"]


def test_a_credit_goes_to_the_balance(seller: Seller) -> None:
    invoice = paid(seller, 2500)
    note = seller.post("/v1/credit_notes", invoice=invoice["id"], amount=900, credit_amount=600, out_of_band_amount=300)
    assert note["out_of_band_amount"] == 300
    path = f"/v1/customers/{invoice['customer']}"
    assert seller.get(path)["balance"] == -600
    moved = seller.get(f"{path}/balance_transactions/{note['customer_balance_transaction']}")
    assert (moved["type"], moved["amount"], moved["credit_note"]) == ("credit_note", -600, note["id"])


def test_an_open_invoice_comes_to_less_and_to_as_much_again(seller: Seller) -> None:
    invoice = opened(seller, 2500)
    note = seller.post("/v1/credit_notes", invoice=invoice["id"], amount=1000, memo="Late delivery")
    assert (note["type"], note["pre_payment_amount"], note["memo"]) == ("pre_payment", 1000, "Late delivery")
    less = seller.see(invoice, expand=["payments.data.payment.payment_intent"])
    assert (less["amount_due"], less["amount_remaining"], less["total"]) == (1500, 1500, 2500)
    assert less["payments"]["data"][0]["payment"]["payment_intent"]["amount"] == 1500
    assert seller.post(f"/v1/credit_notes/{note['id']}", memo="")["memo"] is None
    void = seller.post(f"/v1/credit_notes/{note['id']}/void")
    assert (void["status"], void["voided_at"]) == ("void", seller.a.now())
    assert seller.see(invoice)["amount_due"] == 2500
    assert seller.see(invoice)["pre_payment_credit_notes_amount"] == 0
    assert seller.heard()[-3:] == ["credit_note.updated", "credit_note.voided", "invoice.updated"]
    assert "already" in seller.refused(f"/v1/credit_notes/{note['id']}/void")["message"]


def test_what_a_note_leaves_that_is_too_little_to_charge_goes_to_the_balance(seller: Seller) -> None:
    invoice = opened(seller, 2500, auto_advance=True)
    seller.heard()
    note = seller.post("/v1/credit_notes", invoice=invoice["id"], amount=2470)
    assert (note["type"], note["pre_payment_amount"]) == ("pre_payment", 2470)
    heard = seller.heard()
    assert heard[0] == "credit_note.created"
    assert {"payment_intent.canceled", "customer.updated", "invoice.paid"} <= set(heard)
    after = seller.see(invoice)
    assert (after["status"], after["amount_due"], after["amount_remaining"]) == ("paid", 0, 0)
    assert (after["amount_paid"], after["ending_balance"]) == (0, 30)
    path = f"/v1/customers/{invoice['customer']}"
    (moved,) = seller.get(f"{path}/balance_transactions")["data"]
    assert (moved["type"], moved["amount"], moved["invoice"]) == ("invoice_too_small", 30, invoice["id"])
    seller.later(30 * 86_400)
    assert seller.get("/v1/charges")["data"] == []
    draft = seller.invoice(seller.get(path), 1000)
    following = seller.post(f"/v1/invoices/{draft['id']}/finalize")
    assert following["amount_due"] == 1030


def test_a_note_waits_for_a_debit_that_is_on_its_way(seller: Seller) -> None:
    draft = seller.invoice(seller.customer("pm_usBankAccount_success"), 5000)
    seller.post(f"/v1/invoices/{draft['id']}/pay")
    assert "processing" in seller.refused("/v1/credit_notes", invoice=draft["id"], amount=1000)["message"]


def test_a_credit_over_all_that_is_open_pays_the_invoice(seller: Seller) -> None:
    invoice = opened(seller, 2500)
    seller.heard()
    note = seller.post("/v1/credit_notes", invoice=invoice["id"], amount=2500)
    assert seller.heard() == ["credit_note.created", "payment_intent.canceled", "invoice.updated", "invoice.paid"]
    settled = seller.see(invoice)
    assert (settled["status"], settled["amount_due"], settled["amount_paid"]) == ("paid", 0, 0)
    assert "open" in seller.refused(f"/v1/credit_notes/{note['id']}/void")["message"]


def test_lines_are_credited_with_their_share_of_discount_and_tax(seller: Seller) -> None:
    rate = seller.post("/v1/tax_rates", display_name="VAT", inclusive=False, percentage="19")["id"]
    coupon = seller.post("/v1/coupons", percent_off=10, duration="once")["id"]
    invoice = paid(seller, 3333, discounts=[{"coupon": coupon}], default_tax_rates=[rate])
    line = invoice["lines"]["data"][0]
    assert invoice["total"] == 3333 - 333 + 570
    back: list[Json] = []
    for amount, total in ((1000, 1000 - 100 + 171), (2333, 2333 - 233 + 399)):
        row = {"type": "invoice_line_item", "invoice_line_item": line["id"], "amount": amount}
        back.append(seller.post("/v1/credit_notes", invoice=invoice["id"], lines=[row], refund_amount=total))
    assert sum(note["total"] for note in back) == invoice["total"]
    assert sum(note["discount_amount"] for note in back) == line["discount_amounts"][0]["amount"]
    assert sum(note["total_taxes"][0]["amount"] for note in back) == line["taxes"][0]["amount"]
    row = {"type": "invoice_line_item", "invoice_line_item": line["id"], "quantity": 1}
    refused = seller.refused("/v1/credit_notes", invoice=invoice["id"], lines=[row])
    assert refused["param"] == "lines[0][amount]"


def test_what_does_not_fit_the_invoice_is_refused(seller: Seller) -> None:
    invoice = paid(seller, 1000)
    what = {"invoice": invoice["id"]}
    assert "at most" in seller.refused("/v1/credit_notes", **what, amount=1001, refund_amount=1001)["message"]
    assert "must equal" in seller.refused("/v1/credit_notes", **what, amount=500, refund_amount=400)["message"]
    assert seller.refused("/v1/credit_notes", **what)["param"] == "amount"
    draft = seller.invoice(seller.customer(), 100)
    assert "finalized" in seller.refused("/v1/credit_notes", invoice=draft["id"], amount=1)["message"]
    out = opened(seller, 1000)
    seller.post(f"/v1/invoices/{out['id']}/pay", paid_out_of_band=True)
    refused = seller.refused("/v1/credit_notes", invoice=out["id"], amount=10, refund_amount=10)
    assert refused["message"] == "This invoice has no payment that can be refunded."
    assert seller.get("/v1/credit_notes")["data"] == []


def test_credit_notes_are_previewed_and_found(seller: Seller) -> None:
    invoice = paid(seller, 1000)
    wanted: Json = {"invoice": invoice["id"], "amount": 100, "credit_amount": 100}
    assert seller.get("/v1/credit_notes/preview", **wanted)["total"] == 100
    assert seller.get("/v1/credit_notes/preview/lines", **wanted)["data"][0]["amount"] == 100
    assert seller.get("/v1/credit_notes")["data"] == []
    note = seller.post("/v1/credit_notes", **wanted)
    assert seller.get("/v1/credit_notes", invoice=invoice["id"])["data"] == [note]
    assert seller.get("/v1/credit_notes", customer="cus_other")["data"] == []


LEAST = 50
"""What Stripe charges at least, in cents: https://docs.stripe.com/currencies#minimum-and-maximum-charge-amounts."""


@settings(max_examples=20, deadline=None)
@given(parts=st.lists(st.integers(1, 900), min_size=1, max_size=4), charged=st.integers(1000, 5000))
def test_notes_never_give_back_more_than_the_invoice(parts: list[int], charged: int) -> None:
    seller = Seller()
    invoice = opened(seller, charged)
    given_back = 0
    for part in parts:
        left = charged - given_back
        if part > left:
            seller.refused("/v1/credit_notes", invoice=invoice["id"], amount=part)
            continue
        seller.post("/v1/credit_notes", invoice=invoice["id"], amount=part)
        given_back += part
        if charged - given_back < LEAST:  # too little to charge: it is settled, and the rest is owed on the balance
            break
    after, left = seller.see(invoice), charged - given_back
    assert after["amount_remaining"] == after["amount_due"] == (left if left >= LEAST else 0)
    assert (after["status"] == "paid") == (left < LEAST)
    assert after["pre_payment_credit_notes_amount"] == given_back
