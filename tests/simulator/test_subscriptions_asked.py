"""What subscriptions are asked for: how they are listed and shown, and what is refused."""

import pytest

from deploy.demo.simulator.account import DAY
from tests.simulator.kit import START
from tests.simulator.shop import Shop, item_of


@pytest.fixture
def shop() -> Shop:
    """A shop on its first day."""
    return Shop()


def test_subscriptions_are_listed_by_what_they_are(shop: Shop) -> None:
    price = shop.price()
    one, two = shop.subscribe(price), shop.subscribe(trial_period_days=3)
    shop.delete(f"/v1/subscriptions/{one['id']}")

    def found(**params: object) -> set[str]:
        return {row["id"] for row in shop.get("/v1/subscriptions", params)["data"]}

    assert found() == {two["id"]}
    assert found(status="all") == {one["id"], two["id"]}
    assert found(status="ended") == found(status="canceled") == found(status="all", price=price) == {one["id"]}
    assert found(status="trialing", customer=two["customer"]) == {two["id"]}
    assert found(current_period_end={"lt": START}) == set()


def test_before_basil_the_period_is_the_subscriptions(shop: Shop) -> None:
    coupon = shop.post("/v1/coupons", {"percent_off": 10, "duration": "forever"})
    made = shop.subscribe(discounts=[{"coupon": coupon["id"]}])
    old = shop.get(f"/v1/subscriptions/{made['id']}", stripe_version="2024-06-20")
    assert old["current_period_end"] == item_of(made)["current_period_end"]
    assert old["discount"]["coupon"]["percent_off"] == 10
    assert "current_period_end" not in old["items"]["data"][0]


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"items": []}, "Missing required param"),
        ({"items": [{"price": "price_none"}]}, "No such price"),
        ({"trial_end": 5}, "future"),
        ({"cancel_at": 5}, "future"),
        ({"collection_method": "send_invoice"}, "days_until_due"),
        ({"days_until_due": 5}, "send_invoice"),
        ({"billing_cycle_anchor": 5}, "future"),
        ({"default_payment_method": "pm_none"}, "No such"),
        ({"payment_behavior": "pending_if_incomplete"}, "not simulated"),
        ({"discounts": [{"coupon": "NONE"}]}, "No such coupon"),
        ({"currency": "eur"}, "only supports `usd`"),
        ({"trial_end": START + DAY, "trial_period_days": 3}, "both"),
        ({"items": [{"quantity": 2}]}, "Missing required param: price"),
        ({"items": [{"price_data": {"currency": "usd", "unit_amount": 5, "product": "prod_none"}}]}, "recurring"),
        ({"add_invoice_items": [{"quantity": 2}]}, "Missing required param: price"),
        ({"default_tax_rates": ["txr_none"]}, "No such tax rate"),
        ({"wrong": 1}, "unknown parameter"),
    ],
)
def test_what_cannot_be_is_refused_and_leaves_nothing(shop: Shop, params: dict[str, object], message: str) -> None:
    price, customer = shop.price(), shop.subscriber()
    shop.told()
    error = shop.refused("/v1/subscriptions", {"customer": customer, "items": [{"price": price}]} | params)
    assert message in error["message"]
    assert (shop.told(), shop.account.store.all("subscription")) == ([], [])


def test_a_customer_has_one_currency(shop: Shop) -> None:
    made = shop.subscribe()
    params = {"customer": made["customer"], "items": [{"price": shop.price(currency="eur")}]}
    assert "cannot combine currencies" in shop.refused("/v1/subscriptions", params)["message"]


def test_in_classic_mode_items_share_an_interval(shop: Shop) -> None:
    items = [{"price": shop.price()}, {"price": shop.price(9000, "year")}]
    params = {"customer": shop.subscriber(), "items": items, "billing_mode": {"type": "classic"}}
    assert "same billing interval" in shop.refused("/v1/subscriptions", params)["message"]


def test_a_trial_can_come_with_the_price(shop: Shop) -> None:
    price = shop.price(recurring={"interval": "month", "trial_period_days": 5})
    assert shop.subscribe(price, trial_from_plan=True)["trial_end"] == START + 5 * DAY
    assert shop.subscribe(price)["status"] == "active"


def test_a_customer_can_come_with_a_card(shop: Shop) -> None:
    settings = {"default_payment_method": "pm_card_visa"}
    shop.told()
    params = {"name": "Ada", "payment_method": "pm_card_visa", "invoice_settings": settings}
    customer = shop.post("/v1/customers", params)
    assert shop.told() == ["customer.created", "payment_method.attached", "customer.updated"]
    (kept,) = shop.get(f"/v1/customers/{customer['id']}/payment_methods")["data"]
    assert customer["invoice_settings"]["default_payment_method"] == kept["id"]
    assert shop.subscribe(customer=customer["id"])["status"] == "active"
    declined = {"payment_method": "pm_card_chargeDeclined"}
    shop.told()
    assert shop.refused("/v1/customers", declined, status=402)["code"] == "card_declined"
    assert shop.told() == []
