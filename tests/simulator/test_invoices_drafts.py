"""What goes onto a draft, what may be changed there, and what is refused once it is none."""

from typing import Any

import pytest

from tests.simulator.invoices_kit import DAY, HOUR, Seller


@pytest.fixture
def seller() -> Seller:
    return Seller()


def test_pending_items_stay_out_unless_they_are_asked_for(seller: Seller) -> None:
    customer = seller.customer()
    item = seller.post("/v1/invoiceitems", customer=customer["id"], amount=1500, currency="usd", description="Setup")
    assert seller.post("/v1/invoices", customer=customer["id"])["lines"]["data"] == []
    draft = seller.invoice(customer)
    line = draft["lines"]["data"][0]
    assert line["parent"]["invoice_item_details"]["invoice_item"] == item["id"]
    assert (line["amount"], line["subtotal"], line["quantity_decimal"]) == (1500, 1500, "1")
    price = seller.get(f"/v1/prices/{line['pricing']['price_details']['price']}")
    assert (price["unit_amount"], price["active"], price["type"]) == (1500, False, "one_time")
    assert seller.get("/v1/invoiceitems", customer=customer["id"], pending=True)["data"] == []
    assert seller.get("/v1/invoiceitems", invoice=draft["id"])["data"][0]["invoice"] == draft["id"]


def test_an_item_on_a_draft_changes_the_draft(seller: Seller) -> None:
    customer = seller.customer()
    draft = seller.post("/v1/invoices", customer=customer["id"])
    item = seller.post("/v1/invoiceitems", customer=customer["id"], invoice=draft["id"], amount=1000, currency="usd")
    assert seller.see(draft)["amount_due"] == 1000
    line = seller.see(draft)["lines"]["data"][0]["id"]
    seller.post(f"/v1/invoiceitems/{item['id']}", unit_amount_decimal="125.5", quantity=3)
    changed = seller.see(draft)
    assert (changed["amount_due"], changed["lines"]["data"][0]["id"]) == (377, line)
    seller.delete(f"/v1/invoiceitems/{item['id']}")
    assert seller.see(draft)["amount_due"] == 0
    missing = seller.refused(f"/v1/invoiceitems/{item['id']}", "GET")
    assert (missing["status"], missing["code"]) == (404, "resource_missing")
    assert seller.heard()[-2:] == ["invoiceitem.deleted", "invoice.updated"]


def test_prices_tiers_and_packages_are_worked_out(seller: Seller) -> None:
    customer = seller.customer()
    product = seller.post("/v1/products", name="Calls")["id"]
    tiers = [{"up_to": 100, "unit_amount": 10, "flat_amount": 500}, {"up_to": "inf", "unit_amount_decimal": "4.5"}]
    shared = {"currency": "usd", "product": product}
    tiered = seller.post(
        "/v1/prices", **shared, billing_scheme="tiered", tiers_mode="graduated", tiers=tiers
    )  # fmt: skip
    packed = seller.post(
        "/v1/prices", **shared, unit_amount=300, transform_quantity={"divide_by": 50, "round": "up"}
    )  # fmt: skip
    draft = seller.post("/v1/invoices", customer=customer["id"])
    lines = [
        {"pricing": {"price": tiered["id"]}, "quantity": 103},
        {"pricing": {"price": packed["id"]}, "quantity": 103},
    ]
    filled = seller.post(f"/v1/invoices/{draft['id']}/add_lines", lines=lines)
    assert [line["amount"] for line in filled["lines"]["data"]] == [900, 500 + 1000 + 14]
    assert filled["lines"]["data"][0]["description"] == "Calls"


def test_lines_are_added_changed_and_taken_off(seller: Seller) -> None:
    customer = seller.customer()
    waiting = seller.post("/v1/invoiceitems", customer=customer["id"], amount=200, currency="usd")
    draft = seller.post("/v1/invoices", customer=customer["id"])
    path = f"/v1/invoices/{draft['id']}"
    lines = [{"amount": 1000, "description": "One"}, {"invoice_item": waiting["id"]}]
    filled = seller.post(f"{path}/add_lines", lines=lines, invoice_metadata={"order": "7"})
    assert [line["amount"] for line in filled["lines"]["data"]] == [200, 1000]
    assert (filled["metadata"], filled["total"]) == ({"order": "7"}, 1200)
    first, second = (line["id"] for line in filled["lines"]["data"])
    line = seller.post(f"{path}/lines/{second}", amount=1100)
    assert (line["object"], line["amount"], line["description"]) == ("line_item", 1100, "One")
    assert seller.post(f"{path}/update_lines", lines=[{"id": second, "description": "Two"}])["total"] == 1300
    left = seller.post(f"{path}/remove_lines", lines=[{"id": first, "behavior": "unassign"}])
    assert left["total"] == 1100
    assert seller.get(f"/v1/invoiceitems/{waiting['id']}")["invoice"] is None
    emptied = seller.post(f"{path}/remove_lines", lines=[{"id": second, "behavior": "delete"}])
    assert emptied["lines"]["data"] == []
    assert seller.refused(f"{path}/lines/{second}", amount=1)["status"] == 404


def test_lines_are_listed_as_they_stand(seller: Seller) -> None:
    draft = seller.invoice(seller.customer(), *range(100, 115))
    shown = seller.see(draft)["lines"]
    assert (len(shown["data"]), shown["has_more"], shown["total_count"]) == (10, True, 15)
    page = seller.get(shown["url"], limit=100, starting_after=shown["data"][-1]["id"])
    assert [line["amount"] for line in page["data"]] == list(range(110, 115))


def test_a_draft_is_changed_and_worked_out_anew(seller: Seller) -> None:
    draft = seller.invoice(seller.customer(), 10_000)
    path = f"/v1/invoices/{draft['id']}"
    coupon = seller.post("/v1/coupons", amount_off=2500, currency="usd", duration="once")
    rate = seller.post("/v1/tax_rates", display_name="GST", inclusive=True, percentage="10")
    changed = seller.post(
        path,
        discounts=[{"coupon": coupon["id"]}],
        default_tax_rates=[rate["id"]],
        description="For March",
        footer="Thank you",
        custom_fields=[{"name": "Order", "value": "4711"}],
        metadata={"a": "b"},
    )
    assert (changed["subtotal"], changed["total"], changed["total_excluding_tax"]) == (10_000, 7500, 6818)
    assert changed["total_taxes"][0]["tax_behavior"] == "inclusive"
    assert changed["default_tax_rates"][0]["id"] == rate["id"]
    assert (changed["description"], changed["custom_fields"][0]["value"]) == ("For March", "4711")
    plain = seller.post(path, discounts="", default_tax_rates="", description="", custom_fields="")
    assert (plain["total"], plain["description"], plain["custom_fields"]) == (10_000, None, None)
    assert seller.post(path, auto_advance=True)["automatically_finalizes_at"] == draft["created"] + HOUR
    assert seller.post(path, auto_advance=False)["automatically_finalizes_at"] is None
    seller.later(DAY)
    assert seller.see(draft)["status"] == "draft"


def test_discounts_of_a_line_are_in_the_subtotal_those_of_the_invoice_are_not(seller: Seller) -> None:
    customer = seller.customer()
    half = seller.post("/v1/coupons", percent_off=50, duration="forever")["id"]
    seller.post("/v1/invoiceitems", customer=customer["id"], amount=1900, currency="usd", discounts=[{"coupon": half}])
    draft = seller.invoice(customer, discounts=[{"coupon": half}])
    assert (draft["subtotal"], draft["total"]) == (950, 475)
    line = draft["lines"]["data"][0]
    assert [one["amount"] for one in line["discount_amounts"]] == [950, 475]
    assert line["discounts"] == [line["discount_amounts"][0]["discount"]]
    assert draft["discounts"] == [line["discount_amounts"][1]["discount"]]
    seen = seller.see(draft, expand=["total_discount_amounts.discount"])
    assert [one["discount"]["source"]["coupon"] for one in seen["total_discount_amounts"]] == [half, half]
    assert seen["total_discount_amounts"][1]["discount"]["invoice"] == draft["id"]


def test_a_customers_own_discount_is_used_for_want_of_another(seller: Seller) -> None:
    customer = seller.customer()
    coupon = seller.post("/v1/coupons", percent_off=20, duration="forever")["id"]
    seller.post(f"/_sim/customers/{customer['id']}/discount", coupon=coupon)
    assert seller.invoice(customer, 1000)["total"] == 800
    assert seller.invoice(customer, 1000, discounts="")["total"] == 1000


@pytest.mark.parametrize(("exempt", "reason"), [("exempt", "customer_exempt"), ("reverse", "reverse_charge")])
def test_exempt_customers_are_not_taxed(seller: Seller, exempt: str, reason: str) -> None:
    rate = seller.post("/v1/tax_rates", display_name="VAT", inclusive=False, percentage="19")["id"]
    draft = seller.invoice(seller.customer(tax_exempt=exempt), 1000, default_tax_rates=[rate])
    assert draft["total"] == 1000
    tax = draft["total_taxes"][0]
    assert (tax["amount"], tax["taxability_reason"]) == (0, reason)


def test_finalizing_takes_the_customer_as_it_is_by_then(seller: Seller) -> None:
    rate = seller.post("/v1/tax_rates", display_name="VAT", inclusive=False, percentage="19")["id"]
    customer = seller.customer()
    draft = seller.invoice(customer, 1000, default_tax_rates=[rate])
    seller.post(f"/v1/customers/{customer['id']}", tax_exempt="reverse", name="Ada Lovelace")
    final = seller.post(f"/v1/invoices/{draft['id']}/finalize")
    assert (final["total"], final["customer_tax_exempt"], final["customer_name"]) == (1000, "reverse", "Ada Lovelace")
    seller.post(f"/v1/customers/{customer['id']}", name="Ada King")
    assert seller.see(draft)["customer_name"] == "Ada Lovelace"


def test_a_number_of_ones_own_takes_none_of_the_sequence(seller: Seller) -> None:
    customer = seller.customer()
    own = seller.invoice(customer, 100, number="A-17")
    assert seller.post(f"/v1/invoices/{own['id']}/pay")["number"] == "A-17"
    following = seller.post(f"/v1/invoices/{seller.invoice(customer, 100)['id']}/pay")
    assert following["number"] == f"{customer['invoice_prefix']}-0001"


def test_nothing_is_finalized_for_a_deleted_customer(seller: Seller) -> None:
    customer = seller.customer()
    draft = seller.invoice(customer, 1000, auto_advance=True)
    seller.delete(f"/v1/customers/{customer['id']}")
    seller.later(DAY)
    assert seller.see(draft)["status"] == "draft"
    assert "deleted" in seller.refused(f"/v1/invoices/{draft['id']}/finalize")["message"]


def test_a_draft_with_its_items_is_deleted(seller: Seller) -> None:
    customer = seller.customer()
    draft = seller.invoice(customer, 100)
    item = seller.get("/v1/invoiceitems", customer=customer["id"])["data"][0]
    deleted = seller.delete(f"/v1/invoices/{draft['id']}")
    assert deleted == {"id": draft["id"], "object": "invoice", "deleted": True}
    assert seller.heard()[-1] == "invoice.deleted"
    assert seller.invoice(customer)["lines"]["data"] == []
    assert seller.refused(f"/v1/invoiceitems/{item['id']}", "DELETE")["code"] == "resource_missing"


def test_what_a_state_forbids_is_refused(seller: Seller) -> None:
    customer = seller.customer()
    draft = seller.invoice(customer, 1000)
    path = f"/v1/invoices/{draft['id']}"
    for action in ("void", "mark_uncollectible"):
        assert "isn't open" in seller.refused(f"{path}/{action}")["message"]
    seller.post(f"{path}/finalize")
    assert "already finalized" in seller.refused(f"{path}/finalize")["message"]
    assert seller.refused(path, "DELETE")["message"] == "You can only delete draft invoices."
    refused = seller.refused(path, description="late")
    assert (refused["message"], refused["param"]) == ("Finalized invoices can't be updated in this way", "description")
    assert seller.post(path, metadata={"late": "yes"})["metadata"] == {"late": "yes"}
    assert seller.refused(f"{path}/add_lines", lines=[{"amount": 1}])["code"] == "invoice_not_editable"
    seller.post(f"{path}/pay")
    assert seller.refused(f"{path}/pay")["message"] == "Invoice is already paid"
    assert "`paid` payments" in seller.refused(f"{path}/void")["message"]
    assert "cannot be sent" in seller.refused(f"{path}/send")["message"]


def test_what_does_not_fit_together_is_refused_and_changes_nothing(seller: Seller) -> None:
    customer = seller.customer()
    who = {"customer": customer["id"]}
    before = len(seller.a.events)
    assert "you must specify" in seller.refused("/v1/invoices", **who, collection_method="send_invoice")["message"]
    assert "You can only specify" in seller.refused("/v1/invoices", **who, days_until_due=3)["message"]
    assert seller.refused("/v1/invoices", **who, default_tax_rates=["txr_no"])["code"] == "resource_missing"
    assert seller.refused("/v1/invoices", **who, discounts=[{"coupon": "no"}])["code"] == "resource_missing"
    assert seller.refused("/v1/invoices", subscription="sub_no")["param"] == "subscription"
    assert seller.refused("/v1/invoices")["param"] == "customer"
    both = seller.refused("/v1/invoiceitems", **who, amount=1, quantity=2)
    assert both["message"] == "You may only specify one of these parameters: amount, quantity."
    assert seller.refused("/v1/invoiceitems", **who, amount=1, invoice="in_no")["code"] == "resource_missing"
    turned = seller.refused("/v1/invoiceitems", **who, amount=1, period={"start": 2, "end": 1})
    assert turned["param"] == "period[end]"
    euros = seller.post("/v1/prices", currency="eur", unit_amount=100, product_data={"name": "Euro"})["id"]
    other = seller.refused("/v1/invoiceitems", **who, currency="usd", pricing={"price": euros})
    assert other["param"] == "pricing[price]"
    seller.heard()
    assert seller.a.store.all("invoice") == []
    assert seller.a.store.all("invoiceitem") == []
    assert [event.type for event in list(seller.a.events.values())[before:]] == ["product.created", "price.created"]


def test_invoices_are_found_by_what_they_are(seller: Seller) -> None:
    customer = seller.customer()
    paid = seller.post(f"/v1/invoices/{seller.invoice(customer, 100)['id']}/pay")
    sent = seller.invoice(customer, 200, collection_method="send_invoice", days_until_due=5)
    seller.invoice(seller.customer(), 300)

    def found(**params: Any) -> list[str]:
        return [row["id"] for row in seller.get("/v1/invoices", **params)["data"]]

    assert found(customer=customer["id"]) == [sent["id"], paid["id"]]
    assert found(status="paid") == [paid["id"]]
    assert found(collection_method="send_invoice") == [sent["id"]]
    assert found(due_date={"lte": sent["due_date"]}) == [sent["id"]]
    assert found(due_date=sent["due_date"] + 1) == []
    assert found(subscription="sub_none") == []
    assert len(found(created={"gte": paid["created"]})) == 3


def test_a_preview_keeps_nothing(seller: Seller) -> None:
    customer = seller.customer()
    nothing = seller.refused("/v1/invoices/create_preview", customer=customer["id"])
    assert (nothing["status"], nothing["code"]) == (404, "invoice_upcoming_none")
    seller.post("/v1/invoiceitems", customer=customer["id"], amount=250, currency="usd")
    shown = seller.post(
        "/v1/invoices/create_preview", customer=customer["id"], invoice_items=[{"amount": 750, "description": "More"}]
    )  # fmt: skip
    assert (shown["total"], shown["billing_reason"], shown["status"]) == (1000, "upcoming", "draft")
    assert shown["id"].startswith("upcoming_in_")
    assert all(line["id"].startswith("il_tmp_") for line in shown["lines"]["data"])
    assert len(seller.get("/v1/invoiceitems", customer=customer["id"], pending=True)["data"]) == 1
    assert seller.get("/v1/invoices")["data"] == []
