"""Somebody buys: on the checkout page, by the company's own form, with a trial, or again after a while."""

from typing import Any

from deploy.demo.acts import AddCard, Return, SignUp
from deploy.demo.company import MONTH, STARTER, Plan, amount, money
from deploy.demo.shop import Customer, Shop, details

TRIAL_DAYS = 14


def sign_up(shop: Shop, who: str, act: SignUp) -> str:
    """The first day of a customer."""
    customer = _by_checkout(shop, who, act) if act.checkout else _by_form(shop, who, act)
    customer.plan = act.plan
    what = offer(act.plan, act.interval, act.seats, customer.currency)
    if act.trial:
        return f"{customer.called} began a {TRIAL_DAYS}-day trial of {what}"
    if act.challenged:
        return f"{customer.called} signs up for {what}: the bank asks for a confirmation"
    coupon = f", with {act.coupon.id}" if act.coupon else ""
    return f"{customer.called} signed up for {what}{coupon}"


def offer(plan: Plan, interval: str, seats: int, currency: str) -> str:
    """`Team, 4 seats: €44.00 a month`."""
    each = "" if plan is STARTER else f", {seats} seats"
    return f"{plan.name}{each}: {money(amount(plan, interval, currency) * seats, currency)} a {interval}"


def _item(shop: Shop, act: SignUp, currency: str) -> dict[str, Any]:
    return {"price": shop.catalog.price(act.plan, act.interval, currency), "quantity": act.seats}


def _by_checkout(shop: Shop, who: str, act: SignUp) -> Customer:
    country = act.person.country
    session = shop.stripe.post(
        "/v1/checkout/sessions",
        mode="subscription",
        customer_email=act.person.email,
        client_reference_id=who.replace(" ", "-"),
        line_items=[_item(shop, act, country.currency)],
        discounts=[{"coupon": act.coupon.id}] if act.coupon else None,
        subscription_data={"default_tax_rates": shop.catalog.tax(country.code)},
        success_url="https://harbourlight.test/welcome",
    )
    shop.stripe.post(f"/_sim/checkout/sessions/{session['id']}/complete", payment_method=act.card)
    done = shop.stripe.get(f"/v1/checkout/sessions/{session['id']}")
    customer = shop.remember(who, done["customer"], act.person)
    customer.subscription = done["subscription"]
    shop.stripe.post(f"/v1/customers/{customer.id}", **details(act.person))
    return customer


def _by_form(shop: Shop, who: str, act: SignUp) -> Customer:
    customer = shop.register(who, act.person)
    if act.card is not None:
        shop.attach(customer, act.card)
    trial: dict[str, Any] = {}
    if act.trial:
        trial = {
            "trial_period_days": TRIAL_DAYS,
            "trial_settings": {"end_behavior": {"missing_payment_method": "cancel"}},
        }
    customer.subscription = shop.stripe.post(
        "/v1/subscriptions",
        customer=customer.id,
        items=[_item(shop, act, customer.currency)],
        discounts=[{"coupon": act.coupon.id}] if act.coupon else None,
        default_tax_rates=shop.catalog.tax(customer.country),
        **trial,
    )["id"]
    return customer


def add_card(shop: Shop, who: str, act: AddCard) -> str | None:
    """The trial will convert."""
    customer = shop.customers[who]
    subscription = shop.running(customer)
    if subscription is None or subscription["status"] != "trialing":
        return None
    shop.attach(customer, act.card)
    return f"{customer.called} added a card during the trial"


def come_back(shop: Shop, who: str, act: Return) -> str | None:
    """A customer of old buys again."""
    customer = shop.customers[who]
    if shop.running(customer) is not None:
        return None
    shop.attach(customer, act.card)
    price = shop.catalog.price(act.plan, MONTH, customer.currency)
    customer.plan = act.plan
    customer.subscription = shop.stripe.post(
        "/v1/subscriptions",
        customer=customer.id,
        items=[{"price": price, "quantity": act.seats}],
        default_tax_rates=shop.catalog.tax(customer.country),
    )["id"]
    return f"{customer.called} is back, with {offer(act.plan, MONTH, act.seats, customer.currency)}"
