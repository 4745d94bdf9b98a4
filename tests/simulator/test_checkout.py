"""The checkout page: paid, declined, authenticated, left open until it expires."""

import pytest

from deploy.demo.simulator.account import DAY
from tests.simulator.kit import START
from tests.simulator.shop import Shop

SIGN_UP = [
    "customer.created",
    "payment_method.attached",
    "customer.subscription.created",
    "customer.updated",
    "invoice.created",
    "invoice.finalized",
    "payment_intent.created",
    "charge.succeeded",
    "payment_intent.succeeded",
    "invoice_payment.paid",
    "invoice.updated",
    "invoice.paid",
    "invoice.payment_succeeded",
    "customer.subscription.updated",
    "checkout.session.completed",
]
"""The first sequence; `customer.updated` tells of the currency."""


@pytest.fixture
def shop() -> Shop:
    """A shop on its first day."""
    return Shop()


def test_a_customer_signs_up(shop: Shop) -> None:
    session = shop.session(client_reference_id="order-7", metadata={"source": "web"}, customer_email="a@kiosk.example")
    assert (session["status"], session["payment_status"], session["amount_total"]) == ("open", "unpaid", 3000)
    shop.told()
    done = shop.complete(session, name="Ada", country="DE")
    assert shop.told() == SIGN_UP
    assert (done["status"], done["payment_status"], done["url"]) == ("complete", "paid", None)
    details = done["customer_details"]
    assert (details["email"], details["name"], details["address"]["country"]) == ("a@kiosk.example", "Ada", "DE")
    subscription = shop.get(f"/v1/subscriptions/{done['subscription']}")
    assert (subscription["status"], subscription["latest_invoice"]) == ("active", done["invoice"])
    assert subscription["customer"] == done["customer"]
    assert (done["client_reference_id"], done["metadata"]) == ("order-7", {"source": "web"})
    shop.days(32)
    assert len(shop.invoices(subscription)) == 2


def test_a_declined_card_leaves_the_page_open(shop: Shop) -> None:
    session = shop.session()
    path = f"/_sim/checkout/sessions/{session['id']}/complete"
    assert shop.refused(path, {"payment_method": "pm_card_chargeCustomerFail"}, status=402)["code"] == "card_declined"
    assert shop.get(f"/v1/checkout/sessions/{session['id']}")["status"] == "open"
    assert shop.complete(session)["status"] == "complete"
    assert len(shop.account.store.all("subscription")) == len(shop.account.store.all("customer")) == 1
    assert "takes no more payments" in shop.refused(path)["message"]


def test_3d_secure_completes_the_page_later(shop: Shop) -> None:
    session = shop.session()
    assert shop.complete(session, "pm_card_authenticationRequired")["status"] == "open"
    intent = shop.account.store.all("payment_intent")[-1]["id"]
    shop.post(f"/_sim/payment_intents/{intent}/authenticate", {"outcome": "succeed"})
    assert shop.told()[-1] == "checkout.session.completed"


def test_a_trial_needs_no_payment_yet(shop: Shop) -> None:
    session = shop.session(subscription_data={"trial_period_days": 14, "metadata": {"plan": "pro"}})
    assert session["amount_total"] == 0
    done = shop.complete(session)
    assert done["payment_status"] == "no_payment_required"
    subscription = shop.get(f"/v1/subscriptions/{done['subscription']}")
    assert (subscription["status"], subscription["metadata"]) == ("trialing", {"plan": "pro"})
    assert subscription["default_payment_method"] is not None


def test_somebody_pays_once(shop: Shop) -> None:
    session = shop.session("payment", shop.price(700, None), payment_intent_data={"metadata": {"order": "7"}})
    shop.told()
    done = shop.complete(session)
    assert shop.told() == [
        "payment_intent.created",
        "charge.succeeded",
        "payment_intent.succeeded",
        "checkout.session.completed",
    ]
    intent = shop.get(f"/v1/payment_intents/{done['payment_intent']}")
    assert (intent["amount_received"], intent["metadata"], done["customer"]) == (700, {"order": "7"}, None)


def test_a_buyer_can_be_kept_as_a_customer(shop: Shop) -> None:
    session = shop.session("payment", shop.price(700, None), customer_creation="always")
    done = shop.complete(session, email="b@kiosk.example")
    assert shop.get(f"/v1/customers/{done['customer']}")["email"] == "b@kiosk.example"


def test_a_card_is_left_for_later(shop: Shop) -> None:
    customer = shop.customer(None)[0]
    session = shop.session("setup", customer=customer, currency="usd")
    assert (session["payment_status"], session["setup_intent"][:5]) == ("no_payment_required", "seti_")
    assert shop.complete(session)["status"] == "complete"
    assert len(shop.get(f"/v1/customers/{customer}/payment_methods")["data"]) == 1


def test_a_debit_is_paid_days_later(shop: Shop) -> None:
    customer = shop.customer(None)[0]
    session = shop.session("payment", shop.price(700, None), customer=customer)
    assert shop.complete(session, "pm_usBankAccount_success")["payment_status"] == "unpaid"
    shop.days(10)
    assert "checkout.session.async_payment_succeeded" in shop.told()
    assert shop.get(f"/v1/checkout/sessions/{session['id']}")["payment_status"] == "paid"


def test_the_basket_has_discounts_and_taxes(shop: Shop) -> None:
    coupon = shop.post("/v1/coupons", {"percent_off": 10, "duration": "forever"})["id"]
    rate = shop.post("/v1/tax_rates", {"display_name": "VAT", "inclusive": False, "percentage": 20})["id"]
    rows = [
        {"price": shop.price(1000), "quantity": 2, "tax_rates": [rate]},
        {"price_data": {"currency": "usd", "unit_amount": 500, "product_data": {"name": "Set-up"}}, "quantity": 1},
    ]
    session = shop.session(line_items=rows, discounts=[{"coupon": coupon}])
    assert (session["amount_subtotal"], session["amount_total"]) == (2500, 2610)
    assert session["total_details"] == {"amount_discount": 250, "amount_shipping": 0, "amount_tax": 360}
    path = f"/v1/checkout/sessions/{session['id']}"
    listed = shop.get(f"{path}/line_items")["data"]
    assert [row["amount_total"] for row in listed] == [2160, 450]
    assert [row["id"] for row in shop.get(path, {"expand": ["line_items"]})["line_items"]["data"]] == [
        row["id"] for row in listed
    ]
    done = shop.complete(session)
    assert shop.get(f"/v1/invoices/{done['invoice']}")["total"] == 2610


def test_a_code_is_typed_into_the_page(shop: Shop) -> None:
    coupon = shop.post("/v1/coupons", {"percent_off": 50, "duration": "once"})["id"]
    shop.post("/v1/promotion_codes", {"promotion": {"coupon": coupon}, "code": "HALF"})
    session = shop.session(allow_promotion_codes=True)
    path = f"/_sim/checkout/sessions/{session['id']}/complete"
    assert shop.refused(path, {"promotion_code": "NONE"})["code"] == "promotion_code_invalid"
    done = shop.complete(session, promotion_code="half")
    assert (done["amount_total"], shop.get(f"/v1/invoices/{done['invoice']}")["total"]) == (1500, 1500)
    closed = shop.session()["id"]
    assert (
        "no promotion codes"
        in shop.refused(f"/_sim/checkout/sessions/{closed}/complete", {"promotion_code": "HALF"})["message"]
    )


def test_a_page_that_nobody_uses_expires(shop: Shop) -> None:
    session, soon = shop.session(), shop.session(expires_at=START + 3600)
    shop.told()
    shop.later(3600)
    assert shop.told() == ["checkout.session.expired"]
    assert shop.post(f"/v1/checkout/sessions/{session['id']}/expire")["status"] == "expired"
    assert "can be expired" in shop.refused(f"/v1/checkout/sessions/{soon['id']}/expire")["message"]
    shop.told()
    shop.days(1)
    assert shop.told() == []
    assert len(shop.get("/v1/checkout/sessions", {"status": "expired"})["data"]) == 2


@pytest.mark.parametrize(
    ("mode", "params", "message"),
    [
        ("payment", {}, "recurring price"),
        ("setup", {"line_items": [{"price": "price_none"}]}, "line_items"),
        ("subscription", {"customer": "cus_none"}, "No such customer"),
        ("subscription", {"expires_at": START + DAY * 2}, "expires_at"),
        ("subscription", {"currency": "eur"}, "same currency"),
        ("subscription", {"line_items": [{"quantity": 1}]}, "price"),
        ("subscription", {"discounts": [{"coupon": "NONE"}]}, "No such coupon"),
    ],
)
def test_pages_that_cannot_be(shop: Shop, mode: str, params: dict[str, object], message: str) -> None:
    rows = [] if mode == "setup" else [{"price": shop.price(), "quantity": 1}]
    wanted = {"mode": mode, "line_items": rows, "success_url": "https://kiosk.example/"} | params
    assert message in shop.refused("/v1/checkout/sessions", wanted)["message"]


def test_a_one_time_price_alone_is_no_subscription(shop: Shop) -> None:
    wanted = {"mode": "subscription", "line_items": [{"price": shop.price(700, None)}]}
    assert "at least one recurring price" in shop.refused("/v1/checkout/sessions", wanted)["message"]
