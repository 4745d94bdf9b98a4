"""Currencies keep apart, and amounts are what a currency can be charged in."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.demo.simulator import currencies
from deploy.demo.simulator.account import DAY
from deploy.demo.simulator.amounts import percent, share, spread
from deploy.demo.simulator.proration import unused, used
from tests.simulator.invoices_kit import Seller
from tests.simulator.kit import Json
from tests.simulator.shop import Shop, item_of

GRAINS = {"kwd": 10, "bhd": 10, "jod": 10, "omr": 10, "tnd": 10, "isk": 100, "ugx": 100, "usd": 1, "jpy": 1}


def a_dollar_customer(seller: Seller) -> Json:
    customer = seller.customer()
    seller.post(f"/v1/invoices/{seller.invoice(customer, 2500)['id']}/pay")
    return customer


def billed(seller: Seller, customer: Json, amount: int, currency: str, **params: object) -> Json:
    """A finalized invoice in a currency of its own."""
    seller.post("/v1/invoiceitems", customer=customer["id"], amount=amount, currency=currency)
    wanted: Json = {"customer": customer["id"], "currency": currency, "pending_invoice_items_behavior": "include"}
    draft = seller.post("/v1/invoices", **wanted, **params)
    return seller.post(f"/v1/invoices/{draft['id']}/finalize")


class TestBalances:
    """A customer has one balance, in one currency."""

    def test_a_credit_note_does_not_credit_a_balance_of_another_currency(self) -> None:
        seller = Seller()
        customer = a_dollar_customer(seller)
        yen = billed(seller, customer, 700_000, "jpy")
        seller.post(f"/v1/invoices/{yen['id']}/pay")
        seller.heard()
        error = seller.refused("/v1/credit_notes", invoice=yen["id"], amount=6000, credit_amount=6000)
        assert (error["param"], "jpy" in error["message"]) == ("credit_amount", True)
        assert seller.heard() == []
        assert seller.get(f"/v1/customers/{customer['id']}")["balance"] == 0
        assert seller.get("/v1/credit_notes", invoice=yen["id"])["data"] == []
        assert seller.see(yen)["post_payment_credit_notes_amount"] == 0
        seller.post("/v1/credit_notes", invoice=yen["id"], amount=6000, refund_amount=6000)

    @pytest.mark.parametrize("amount", [-3000, 20])
    def test_an_invoice_moves_no_balance_of_another_currency(self, amount: int) -> None:
        seller = Seller()
        customer = a_dollar_customer(seller)
        yen = billed(seller, customer, amount, "jpy")
        assert (yen["status"], yen["total"], yen["amount_due"], yen["starting_balance"]) == ("paid", amount, 0, 0)
        assert yen["ending_balance"] == 0
        path = f"/v1/customers/{customer['id']}"
        assert (seller.get(path)["balance"], seller.get(f"{path}/balance_transactions")["data"]) == (0, [])

    def test_a_balance_gives_its_customer_a_currency(self) -> None:
        seller = Seller()
        customer = seller.customer(balance=-700)
        assert seller.get(f"/v1/customers/{customer['id']}")["currency"] == "usd"
        yen = billed(seller, customer, 700_000, "jpy")
        assert (yen["amount_due"], yen["starting_balance"]) == (700_000, 0)
        assert seller.get(f"/v1/customers/{customer['id']}")["balance"] == -700


class TestGrains:
    """Three-decimal amounts end in 0, and those of ISK and UGX in 00."""

    def test_of_each_currency(self) -> None:
        assert {currency: currencies.grain(currency) for currency in GRAINS} == GRAINS

    @pytest.mark.parametrize("currency", ["isk", "ugx"])
    def test_fractions_of_a_krona_are_refused_everywhere(self, currency: str) -> None:
        seller = Seller()
        code = "invalid_charge_amount_no_decimal_compatible"
        customer = seller.customer()["id"]

        def refused(path: str, **params: Any) -> str | None:
            return seller.refused(path, currency=currency, **params).get("code")

        assert refused("/v1/payment_intents", amount=15_050) == code
        assert refused("/v1/invoiceitems", customer=customer, amount=15_050) == code
        assert refused("/v1/coupons", amount_off=15_050, duration="once") == code
        assert refused(f"/v1/customers/{customer}/balance_transactions", amount=15_050) == code
        method = {"payment_method": "pm_card_visa", "confirm": True}
        intent = seller.post("/v1/payment_intents", amount=20_000, currency=currency, **method)
        error = seller.refused("/v1/refunds", charge=intent["latest_charge"], amount=150)
        assert (error["code"], error["param"]) == (code, "amount")
        disputed = f"/_sim/charges/{intent['latest_charge']}/dispute"
        assert seller.refused(disputed, amount=150)["code"] == code
        held = seller.post("/v1/payment_intents", amount=20_000, currency=currency, capture_method="manual", **method)
        path = f"/v1/payment_intents/{held['id']}/capture"
        assert seller.refused(path, amount_to_capture=150)["param"] == "amount_to_capture"

    def test_a_credit_note_in_dinars_ends_in_nought(self) -> None:
        seller = Seller()
        customer = seller.customer()
        dinars = billed(seller, customer, 29_990, "kwd")
        error = seller.refused("/v1/credit_notes", invoice=dinars["id"], amount=1234)
        assert "divisible by 10" in error["message"]
        seller.post(f"/v1/invoices/{dinars['id']}/pay")
        path = f"/v1/customers/{customer['id']}"
        assert "divisible by 10" in seller.refused(path, balance=-1234)["message"]
        row: Json = {"type": "invoice_line_item", "invoice_line_item": dinars["lines"]["data"][0]["id"]}
        line = seller.refused("/v1/credit_notes", invoice=dinars["id"], lines=[row | {"amount": 15}], refund_amount=15)
        assert "divisible by 10" in line["message"]

    def test_an_upgrade_in_the_middle_of_a_month(self) -> None:
        shop = Shop()
        cheap, dear = (shop.price(amount, currency="kwd") for amount in (29_990, 45_550))
        made = shop.subscribe(cheap)
        shop.days(11.37)
        shop.swap(made, price=dear, terms={"proration_behavior": "always_invoice"})
        first, second = shop.invoices(made)
        assert (first["amount_paid"], second["status"]) == (29_990, "paid")
        amounts = [line["amount"] for line in second["lines"]["data"]]
        assert [amount % 10 for amount in amounts] == [0, 0]
        assert sum(amounts) == second["amount_paid"] == 9850

    def test_discounts_and_taxes(self) -> None:
        shop = Shop()
        coupon = shop.post("/v1/coupons", {"percent_off": 15, "duration": "forever"})["id"]
        tax: Json = {"display_name": "VAT", "inclusive": False, "percentage": 7.7}
        rate = shop.post("/v1/tax_rates", tax)["id"]
        within = shop.post("/v1/tax_rates", tax | {"inclusive": True})["id"]
        made = shop.subscribe(shop.price(29_990, currency="kwd"), discounts=[{"coupon": coupon}])
        assert shop.invoices(made)[0]["amount_paid"] == 25_490
        taxed = shop.subscribe(shop.price(29_990, currency="kwd"), default_tax_rates=[rate])
        assert shop.invoices(taxed)[0]["amount_paid"] == 29_990 + 2310
        inside = shop.invoices(shop.subscribe(shop.price(29_990, currency="kwd"), default_tax_rates=[within]))[0]
        (one,) = inside["total_taxes"]
        assert (one["amount"], one["taxable_amount"], inside["total"]) == (2140, 27_850, 29_990)

    def test_a_price_in_fractions_of_a_fils_is_rounded_on_its_line(self) -> None:
        shop = Shop()
        month: Json = {"recurring": {"interval": "month"}, "product_data": {"name": "Call"}}
        made = shop.post("/v1/prices", {"currency": "isk", "unit_amount_decimal": "33.3"} | month)
        rows = [{"price": made["id"], "quantity": 1000}]
        sub = shop.post("/v1/subscriptions", {"customer": shop.subscriber(), "items": rows})
        assert shop.invoices(sub)[0]["amount_paid"] == 33_300
        shop.days(10)
        row = [{"id": item_of(sub)["id"], "quantity": 2007}]
        shop.change(sub, items=row, proration_behavior="always_invoice")
        assert all(line["amount"] % 100 == 0 for line in shop.invoices(sub)[1]["lines"]["data"])


@given(
    amount=st.integers(0, 10**9),
    part=st.integers(0, 10**6),
    whole=st.integers(1, 10**6),
    grain=st.sampled_from([1, 10, 100]),
)
def test_what_is_rounded_lies_on_the_grain_and_near(amount: int, part: int, whole: int, grain: int) -> None:
    for found, exact in ((share(amount, part, whole, grain), amount * part / whole),
                         (percent(amount, 7.5, grain), amount * 0.075)):  # fmt: skip
        assert found % grain == 0
        assert abs(found - exact) <= grain / 2 + 1e-3
    period = (0, whole)
    assert unused(amount * grain, period, part, grain) + used(amount * grain, period, part, grain) == amount * grain
    assert used(amount * grain, period, part, grain) % grain == 0


@given(
    units=st.integers(0, 10**7),
    weights=st.lists(st.integers(0, 10**6), min_size=1),
    grain=st.sampled_from([1, 10, 100]),
)
def test_what_is_spread_lies_on_the_grain_and_adds_up(units: int, weights: list[int], grain: int) -> None:
    parts = spread(units * grain, weights, grain)
    assert sum(parts) == units * grain
    assert all(part % grain == 0 and part >= 0 for part in parts)


@settings(max_examples=25, deadline=None)
@given(
    currency=st.sampled_from(["kwd", "isk", "usd"]),
    units=st.lists(st.integers(1, 5000), min_size=2, max_size=2),
    passed=st.integers(1, 30 * DAY),
    off=st.sampled_from([None, 15, 33.3]),
    rate=st.sampled_from([None, "7.7", "19"]),
)
def test_every_amount_of_a_subscription_lies_on_the_grain(
    currency: str, units: list[int], passed: int, off: float | None, rate: str | None
) -> None:
    shop, grain = Shop(), currencies.grain(currency)
    before, after = (shop.price(unit * grain, currency=currency) for unit in units)
    more: Json = {}
    if off is not None:
        more["discounts"] = [{"coupon": shop.post("/v1/coupons", {"percent_off": off, "duration": "forever"})["id"]}]
    if rate is not None:
        tax = {"display_name": "VAT", "inclusive": passed % 2 == 0, "percentage": rate}
        more["default_tax_rates"] = [shop.post("/v1/tax_rates", tax)["id"]]
    made = shop.subscribe(before, **more)
    shop.later(passed)
    shop.swap(made, price=after, terms={"proration_behavior": "always_invoice"})
    for invoice in shop.invoices(made):
        taken = sum(one["amount"] for one in invoice["total_discount_amounts"])
        outside = sum(tax["amount"] for tax in invoice["total_taxes"] if tax["tax_behavior"] == "exclusive")
        lines = [line["amount"] for line in invoice["lines"]["data"]]
        assert invoice["total"] == sum(lines) - taken + outside
        assert invoice["total"] + invoice["starting_balance"] == invoice["amount_due"] + invoice["ending_balance"]
        assert all(amount % grain == 0 for amount in [*lines, invoice["total"], invoice["amount_due"], taken, outside])
