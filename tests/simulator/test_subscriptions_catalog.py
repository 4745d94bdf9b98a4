"""What is sold, for how much, and what is taken off."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.demo.simulator import pricing
from deploy.demo.simulator.account import DAY
from tests.simulator.kit import START, ask
from tests.simulator.shop import Shop, item_of, told_lines

TIERS = [
    {"up_to": 5, "unit_amount": 1000, "flat_amount": 500},
    {"up_to": 10, "unit_amount_decimal": "799.5"},
    {"up_to": "inf", "unit_amount": 500},
]


@pytest.fixture
def shop() -> Shop:
    """A shop on its first day."""
    return Shop()


def tiered(shop: Shop, mode: str) -> str:
    return shop.price(billing_scheme="tiered", tiers_mode=mode, tiers=TIERS)


@pytest.mark.parametrize(
    ("mode", "quantity", "cost"),
    [
        ("graduated", 3, 3500),
        ("graduated", 5, 5500),
        ("graduated", 8, 7899),  # 5500 and three at 799.5
        ("graduated", 12, 10498),  # 5500, five at 799.5, two at 500
        ("volume", 3, 3500),
        ("volume", 8, 6396),
        ("volume", 12, 6000),
    ],
)
def test_tiers(shop: Shop, mode: str, quantity: int, cost: int) -> None:
    made = shop.subscribe(items=[{"price": tiered(shop, mode), "quantity": quantity}])
    assert shop.invoices(made)[0]["total"] == cost


@pytest.mark.parametrize(("direction", "cost"), [("up", 300), ("down", 200)])
def test_packages(shop: Shop, direction: str, cost: int) -> None:
    price = shop.price(100, transform_quantity={"divide_by": 10, "round": direction})
    made = shop.subscribe(items=[{"price": price, "quantity": 25}])
    assert shop.invoices(made)[0]["total"] == cost


def test_a_fraction_of_a_cent(shop: Shop) -> None:
    params = {"currency": "usd", "product_data": {"name": "Calls"}, "unit_amount_decimal": "0.50"}
    price = shop.post("/v1/prices", params | {"recurring": {"interval": "month"}})
    assert (price["unit_amount"], price["unit_amount_decimal"]) == (None, "0.5")
    made = shop.subscribe(items=[{"price": price["id"], "quantity": 125}])
    assert shop.invoices(made)[0]["subtotal"] == 63
    assert told_lines(shop.invoices(made)[0])[0][0] == "125 × Calls (at $0.005 / month)"  # noqa: RUF001 - Stripe's own sign


@settings(max_examples=50)
@given(quantities=st.lists(st.integers(0, 40), min_size=2, max_size=2))
def test_more_never_costs_less_by_graduated_tiers(quantities: list[int]) -> None:
    shop = Shop()
    price = shop.get(f"/v1/prices/{tiered(shop, 'graduated')}")
    few, many = (pricing.cost(shop.account, price, quantity) for quantity in sorted(quantities))
    assert few <= many


def test_tiers_and_currencies_are_shown_when_they_are_asked_for(shop: Shop) -> None:
    id_ = tiered(shop, "volume")
    assert "tiers" not in shop.get(f"/v1/prices/{id_}")
    shown = shop.get(f"/v1/prices/{id_}", {"expand": ["tiers"]})["tiers"]
    assert (shown[0]["up_to"], shown[1]["unit_amount"], shown[1]["unit_amount_decimal"]) == (5, None, "799.5")
    euros = shop.price(currency_options={"eur": {"unit_amount": 2700}})
    options = shop.get(f"/v1/prices/{euros}", {"expand": ["currency_options"]})["currency_options"]
    assert (options["eur"]["unit_amount"], options["usd"]["unit_amount"]) == (2700, 3000)


def test_a_lookup_key_moves_when_it_is_told_to(shop: Shop) -> None:
    old = shop.price(lookup_key="pro")
    params = {"currency": "usd", "unit_amount": 1, "product_data": {"name": "Pro"}, "lookup_key": "pro"}
    assert "lookup key" in shop.refused("/v1/prices", params)["message"]
    new = shop.post("/v1/prices", params | {"transfer_lookup_key": True})["id"]
    assert [row["id"] for row in shop.get("/v1/prices", {"lookup_keys": ["pro"]})["data"]] == [new]
    assert shop.get(f"/v1/prices/{old}")["lookup_key"] is None


def test_a_recurring_price_is_a_plan_too(shop: Shop) -> None:
    shop.told()
    price = shop.price(nickname="Gold", recurring={"interval": "month", "interval_count": 3})
    assert shop.told() == ["product.created", "plan.created", "price.created"]
    plan = shop.get(f"/v1/plans/{price}")
    assert (plan["amount"], plan["nickname"]) == (3000, "Gold")
    shop.post(f"/v1/prices/{price}", {"nickname": "Silver", "active": False})
    assert shop.told() == ["plan.updated", "price.updated"]
    assert shop.get("/v1/prices", {"active": False, "recurring": {"interval": "month"}})["data"][0]["id"] == price
    params = {"customer": shop.subscriber(), "items": [{"price": price}]}
    assert "inactive" in shop.refused("/v1/subscriptions", params)["message"]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"currency": "xxx", "unit_amount": 1}, "Invalid currency"),
        ({"currency": "usd"}, "unit_amount"),
        ({"currency": "usd", "unit_amount_decimal": "many"}, "Invalid decimal"),
        ({"currency": "usd", "billing_scheme": "tiered"}, "tiers"),
        ({"currency": "usd", "billing_scheme": "tiered", "tiers_mode": "volume", "tiers": [{"up_to": 3}]}, "inf"),
        ({"currency": "usd", "unit_amount": 1, "recurring": {"interval": "month", "usage_type": "metered"}}, "meter"),
        ({"currency": "usd", "unit_amount": 1, "product": "prod_none"}, "either"),
    ],
)
def test_prices_that_cannot_be(shop: Shop, params: dict[str, object], message: str) -> None:
    assert message in shop.refused("/v1/prices", {"product_data": {"name": "Pro"}} | params)["message"]
    assert shop.account.store.all("price") == []


def test_products_are_made_changed_and_forgotten(shop: Shop) -> None:
    made = shop.post("/v1/products", {"id": "team", "name": "Team", "marketing_features": [{"name": "Seats"}]})
    assert (made["id"], made["marketing_features"]) == ("team", [{"name": "Seats"}])
    assert shop.refused("/v1/products", {"id": "team", "name": "Team"})["code"] == "resource_already_exists"
    price = shop.post("/v1/prices", {"currency": "usd", "unit_amount": 1, "product": "team"})["id"]
    changed = shop.post("/v1/products/team", {"name": "Teams", "default_price": price, "images": ["https://a.example"]})
    assert (changed["name"], changed["default_price"]) == ("Teams", price)
    assert shop.post("/v1/products/team", {"images": ""})["images"] == []
    assert shop.get("/v1/products", {"ids": ["team"], "active": True})["data"][0]["id"] == "team"
    assert ask(shop.api, "DELETE", "/v1/products/team")[0] == 400
    other = shop.price()
    assert "belongs to another" in shop.refused("/v1/products/team", {"default_price": other})["message"]
    empty = shop.post("/v1/products", {"name": "Idea"})["id"]
    assert shop.delete(f"/v1/products/{empty}")["deleted"] is True


def test_tax_rates(shop: Shop) -> None:
    rate = shop.post("/v1/tax_rates", {"display_name": "VAT", "inclusive": True, "percentage": 7.7, "country": "CH"})
    assert (rate["percentage"], rate["inclusive"]) == (7.7, True)
    shop.post(f"/v1/tax_rates/{rate['id']}", {"active": False, "metadata": {"box": "3"}})
    assert shop.get("/v1/tax_rates", {"active": True})["data"] == []
    assert shop.get(f"/v1/tax_rates/{rate['id']}")["metadata"] == {"box": "3"}
    params = {"customer": shop.subscriber(), "items": [{"price": shop.price(), "tax_rates": [rate["id"]]}]}
    assert "inactive" in shop.refused("/v1/subscriptions", params)["message"]


@pytest.mark.parametrize(
    ("params", "totals"),
    [
        ({"duration": "once", "percent_off": 50}, [1500, 3000, 3000, 3000]),
        ({"duration": "repeating", "duration_in_months": 2, "percent_off": 50}, [1500, 1500, 3000, 3000]),
        ({"duration": "forever", "amount_off": 1000, "currency": "usd"}, [2000, 2000, 2000, 2000]),
    ],
)
def test_a_coupon_lasts_as_long_as_it_says(shop: Shop, params: dict[str, object], totals: list[int]) -> None:
    coupon = shop.post("/v1/coupons", params)["id"]
    made = shop.subscribe(discounts=[{"coupon": coupon}])
    shop.days(95)
    assert [row["total"] for row in shop.invoices(made)] == totals
    seen = shop.see(made)
    told = [event.type for event in shop.account.events.values() if event.type.startswith("customer.discount.")]
    lasts = params["duration"] == "forever"
    assert (len(seen["discounts"]), len(told)) == ((1, 1) if lasts else (0, 2))
    assert shop.last("customer.subscription.updated")["object"]["discounts"] == seen["discounts"]
    assert shop.get(f"/v1/coupons/{coupon}")["times_redeemed"] == 1


def test_a_discount_of_one_item(shop: Shop) -> None:
    coupon = shop.post("/v1/coupons", {"percent_off": 10, "duration": "forever"})["id"]
    items = [{"price": shop.price(1000), "discounts": [{"coupon": coupon}]}, {"price": shop.price(1000)}]
    made = shop.subscribe(items=items)
    assert shop.invoices(made)[0]["total"] == 1900
    changed = shop.swap(made, discounts="")
    assert item_of(changed)["discounts"] == []


def test_a_coupon_for_some_products(shop: Shop) -> None:
    price = shop.price(1000)
    product = shop.get(f"/v1/prices/{price}")["product"]
    params = {"percent_off": 100, "duration": "forever", "applies_to": {"products": [product]}}
    coupon = shop.post("/v1/coupons", params)["id"]
    assert shop.get(f"/v1/coupons/{coupon}", {"expand": ["applies_to"]})["applies_to"] == {"products": [product]}
    made = shop.subscribe(items=[{"price": price}, {"price": shop.price(500)}], discounts=[{"coupon": coupon}])
    assert shop.invoices(made)[0]["total"] == 500


def test_promotion_codes(shop: Shop) -> None:
    coupon = shop.post("/v1/coupons", {"percent_off": 10, "duration": "once"})["id"]
    params = {"promotion": {"type": "coupon", "coupon": coupon}, "code": "SPRING", "max_redemptions": 1}
    code = shop.post("/v1/promotion_codes", params)
    assert "already exists" in shop.refused("/v1/promotion_codes", params)["message"]
    made = shop.subscribe(discounts=[{"promotion_code": code["id"]}])
    assert shop.invoices(made)[0]["total"] == 2700
    found = shop.get("/v1/promotion_codes", {"code": "SPRING"})["data"][0]
    assert (found["active"], found["times_redeemed"]) == (False, 1)
    old = shop.get(f"/v1/promotion_codes/{code['id']}", stripe_version="2024-06-20")
    assert old["coupon"]["id"] == coupon
    again = {"customer": made["customer"], "items": [{"price": shop.price()}]}
    error = shop.refused("/v1/subscriptions", again | {"discounts": [{"promotion_code": code["id"]}]})
    assert error["code"] == "promotion_code_expired"


def test_a_promotion_code_for_newcomers(shop: Shop) -> None:
    coupon = shop.post("/v1/coupons", {"percent_off": 10, "duration": "once"})["id"]
    params = {"promotion": {"coupon": coupon}, "restrictions": {"first_time_transaction": True}}
    code = shop.post("/v1/promotion_codes", params | {"expires_at": START + DAY})
    made = shop.subscribe()
    wanted = {"customer": made["customer"], "items": [{"price": shop.price()}]}
    wanted["discounts"] = [{"promotion_code": code["id"]}]
    assert "prior transactions" in shop.refused("/v1/subscriptions", wanted)["message"]
    shop.days(1)
    assert shop.get(f"/v1/promotion_codes/{code['id']}")["active"] is False


def test_who_has_a_deleted_coupon_keeps_it(shop: Shop) -> None:
    coupon = shop.post("/v1/coupons", {"id": "GONE", "percent_off": 10, "duration": "forever"})["id"]
    made = shop.subscribe(discounts=[{"coupon": coupon}])
    assert shop.delete(f"/v1/coupons/{coupon}")["deleted"] is True
    assert ask(shop.api, "GET", f"/v1/coupons/{coupon}")[0] == 404
    shop.days(32)
    assert [row["total"] for row in shop.invoices(made)] == [2700, 2700]
    shop.delete(f"/v1/subscriptions/{made['id']}/discount")
    assert shop.see(made)["discounts"] == []


def test_a_customers_own_discount(shop: Shop) -> None:
    coupon = shop.post("/v1/coupons", {"percent_off": 10, "duration": "forever"})["id"]
    customer = shop.subscriber()
    shop.told()
    shown = shop.post(f"/_sim/customers/{customer}/discount", {"coupon": coupon})["discount"]
    assert shown["source"] == {"coupon": coupon, "type": "coupon"}
    assert shop.told() == ["customer.discount.created", "customer.updated"]
    made = shop.subscribe(None, customer)
    assert shop.invoices(made)[0]["total"] == 2700
    shop.told()
    shop.delete(f"/v1/customers/{customer}/discount")
    assert shop.told() == ["customer.discount.deleted", "customer.updated"]
    shop.days(32)
    assert shop.invoices(made)[-1]["total"] == 3000


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, "either"),
        ({"percent_off": 5, "amount_off": 5}, "either"),
        ({"amount_off": 5}, "currency"),
        ({"percent_off": 5, "duration": "repeating"}, "duration_in_months"),
        ({"percent_off": 5, "redeem_by": 5}, "future"),
        ({"percent_off": 105}, "less than or equal"),
    ],
)
def test_coupons_that_cannot_be(shop: Shop, params: dict[str, object], message: str) -> None:
    assert message in shop.refused("/v1/coupons", params)["message"]


def test_a_coupon_can_run_out(shop: Shop) -> None:
    coupon = shop.post("/v1/coupons", {"percent_off": 5, "duration": "forever", "redeem_by": START + DAY})["id"]
    last = shop.post("/v1/coupons", {"percent_off": 5, "duration": "forever", "max_redemptions": 1})["id"]
    shop.subscribe(discounts=[{"coupon": last}])
    shop.days(1)
    for gone in (coupon, last):
        params = {"customer": shop.subscriber(), "items": [{"price": shop.price()}], "discounts": [{"coupon": gone}]}
        assert shop.refused("/v1/subscriptions", params)["code"] == "coupon_expired"


@pytest.mark.parametrize(
    ("amount", "currency", "shown"),
    [
        ("2500", "usd", "$25.00"),
        ("120000", "eur", "€1,200.00"),
        ("1200", "jpy", "¥1,200"),
        ("12345", "kwd", "KWD 12.345"),
        ("0.5", "usd", "$0.005"),
        ("950", "chf", "CHF 9.50"),
        ("150000", "usd", "$1,500.00"),
    ],
)
def test_money_is_written_as_people_read_it(amount: str, currency: str, shown: str) -> None:
    assert pricing.money(Decimal(amount), currency) == shown
