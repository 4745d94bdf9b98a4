"""Subscriptions begin, renew, fall behind, recover and end, and tell of it in Stripe's order."""

from itertools import pairwise

import pytest

from deploy.demo.simulator.account import DAY
from tests.simulator.kit import START, ask
from tests.simulator.shop import Shop, item_of, told_lines

FIRST = [
    "invoice.created",
    "invoice.finalized",
    "payment_intent.created",
    "charge.succeeded",
    "payment_intent.succeeded",
    "invoice_payment.paid",
    "invoice.updated",
    "invoice.paid",
    "invoice.payment_succeeded",
]
FAILED = ["charge.failed", "payment_intent.payment_failed", "invoice.updated", "invoice.payment_failed"]


@pytest.fixture
def shop() -> Shop:
    """A shop on its first day."""
    return Shop()


def money(shop: Shop) -> list[str]:
    """What was told since the last look, without payouts."""
    return [type_ for type_ in shop.told() if not type_.startswith(("payout.", "balance."))]


def test_a_subscription_begins_incomplete_and_is_active_when_it_is_paid(shop: Shop) -> None:
    price, customer = shop.price(), shop.subscriber()
    shop.told()
    made = shop.subscribe(price, customer)
    assert money(shop) == [
        "customer.subscription.created",
        "customer.updated",
        *FIRST,
        "customer.subscription.updated",
    ]
    assert made["status"] == "active"
    created = shop.last("customer.subscription.created")["object"]
    assert (created["status"], created["latest_invoice"]) == ("incomplete", made["latest_invoice"])
    updated = shop.last("customer.subscription.updated")
    assert updated["previous_attributes"] == {"status": "incomplete"}
    (invoice,) = shop.invoices(made)
    assert told_lines(invoice) == [("1 × Pro (at $30.00 / month)", 3000)]  # noqa: RUF001 - Stripe's own sign
    assert (invoice["billing_reason"], invoice["status"]) == ("subscription_create", "paid")
    assert shop.get(f"/v1/customers/{customer}")["currency"] == "usd"


def test_a_renewal_moves_the_period_before_any_payment(shop: Shop) -> None:
    made = shop.subscribe()
    shop.days(23)
    shop.told()
    shop.days(1)
    assert shop.told() == ["invoice.upcoming"]
    shop.days(7)
    assert money(shop) == ["customer.subscription.updated", "invoice.created"]
    shop.later(3600)
    assert money(shop) == FIRST[1:]
    seen = shop.see(made)
    assert item_of(seen)["current_period_start"] == item_of(made)["current_period_end"]
    renewal = shop.invoices(made)[-1]
    assert (renewal["billing_reason"], renewal["status"], renewal["id"]) == (
        "subscription_cycle",
        "paid",
        seen["latest_invoice"],
    )
    assert renewal["status_transitions"]["finalized_at"] - renewal["created"] == 3600


def test_an_invoice_that_is_to_come_has_no_id(shop: Shop) -> None:
    shop.subscribe()
    shop.days(25)
    data = shop.last("invoice.upcoming")["object"]
    assert "id" not in data
    assert (data["amount_due"], data["billing_reason"]) == (3000, "upcoming")


def test_a_year_of_month_ends(shop: Shop) -> None:
    shop.days(30)  # 31 March
    made = shop.subscribe()
    shop.days(366)
    ends = [item["period"]["end"] for invoice in shop.invoices(made) for item in invoice["lines"]["data"]]
    assert len(ends) == 13
    assert {later - sooner for sooner, later in pairwise(ends)} <= {days * DAY for days in (28, 29, 30, 31)}
    assert item_of(shop.see(made))["current_period_end"] == START + (30 + 365 + 30) * DAY


def test_a_failed_renewal_recovers(shop: Shop) -> None:
    customer = shop.subscriber()
    made = shop.subscribe(customer=customer)
    shop.switch(customer, "pm_card_chargeCustomerFail")
    shop.days(30.5)
    shop.told()
    shop.days(1)
    assert money(shop) == [
        "customer.subscription.updated",
        "invoice.created",
        "invoice.finalized",
        "payment_intent.created",
        *FAILED,
        "customer.updated",
        "customer.subscription.updated",
    ]
    assert shop.see(made)["status"] == "past_due"
    assert shop.get(f"/v1/customers/{customer}")["delinquent"] is True
    shop.switch(customer, "pm_card_visa")
    shop.told()
    shop.days(3)
    assert money(shop)[-4:] == [
        "invoice.paid",
        "invoice.payment_succeeded",
        "customer.updated",
        "customer.subscription.updated",
    ]
    assert shop.see(made)["status"] == "active"
    assert shop.get(f"/v1/customers/{customer}")["delinquent"] is False


@pytest.mark.parametrize(("ends", "status"), [("cancel", "canceled"), ("unpaid", "unpaid"), ("past_due", "past_due")])
def test_when_all_retries_have_failed_the_settings_decide(shop: Shop, ends: str, status: str) -> None:
    shop.account.settings.after_retries = ends  # pyright: ignore[reportAttributeAccessIssue] - one of its three words
    customer = shop.subscriber()
    made = shop.subscribe(customer=customer)
    shop.switch(customer, "pm_card_chargeCustomerFail")
    shop.days(50)
    seen = shop.see(made)
    assert seen["status"] == status
    if status == "canceled":
        assert seen["cancellation_details"]["reason"] == "payment_failed"
        assert shop.invoices(made)[-1]["status"] == "open"
        return
    shop.switch(customer, "pm_card_visa")
    shop.post(f"/v1/invoices/{shop.invoices(made)[-1]['id']}/pay")
    assert shop.see(made)["status"] == "active"


def test_an_unpaid_subscription_drafts_what_nobody_collects(shop: Shop) -> None:
    shop.account.settings.after_retries = "unpaid"
    customer = shop.subscriber()
    made = shop.subscribe(customer=customer)
    shop.switch(customer, "pm_card_chargeCustomerFail")
    shop.days(70)
    assert [invoice["status"] for invoice in shop.invoices(made)] == ["paid", "open", "draft"]


def test_a_first_payment_that_never_comes_expires(shop: Shop) -> None:
    made = shop.subscribe(customer=shop.subscriber("pm_card_chargeCustomerFail"))
    assert made["status"] == "incomplete"
    shop.told()
    shop.later(23 * 3600)
    assert money(shop) == [
        "customer.subscription.updated",
        "payment_intent.canceled",
        "invoice.updated",
        "invoice.voided",
    ]
    assert shop.see(made)["status"] == "incomplete_expired"


def test_a_first_payment_by_3d_secure(shop: Shop) -> None:
    made = shop.subscribe(customer=shop.subscriber("pm_card_authenticationRequired"))
    assert made["status"] == "incomplete"
    intent = shop.account.store.all("payment_intent")[-1]
    shop.post(f"/_sim/payment_intents/{intent['id']}/authenticate", {"outcome": "succeed"})
    assert shop.see(made)["status"] == "active"


def test_incomplete_by_default_waits_for_the_customer(shop: Shop) -> None:
    made = shop.subscribe(payment_behavior="default_incomplete", expand=["latest_invoice.payments"])
    assert made["status"] == "incomplete"
    intent = made["latest_invoice"]["payments"]["data"][0]["payment"]["payment_intent"]
    shop.post(f"/v1/payment_intents/{intent}/confirm", {"payment_method": "pm_card_visa"})
    assert shop.see(made)["status"] == "active"


def test_error_if_incomplete_leaves_nothing_behind(shop: Shop) -> None:
    price, customer = shop.price(), shop.subscriber("pm_card_chargeCustomerFail")
    shop.told()
    params = {"customer": customer, "items": [{"price": price}], "payment_behavior": "error_if_incomplete"}
    assert shop.refused("/v1/subscriptions", params, status=402)["code"] == "card_declined"
    assert (shop.told(), shop.account.store.all("subscription")) == ([], [])


def test_nothing_to_charge_is_refused(shop: Shop) -> None:
    params = {"customer": shop.customer(None)[0], "items": [{"price": shop.price()}]}
    error = shop.refused("/v1/subscriptions", params)
    assert error["code"] == "resource_missing"
    assert "no attached payment source" in error["message"]


def test_a_free_plan_needs_no_card(shop: Shop) -> None:
    made = shop.subscribe(shop.price(0), shop.customer(None)[0])
    assert (made["status"], shop.invoices(made)[0]["status"]) == ("active", "paid")


def test_a_sent_invoice_makes_a_subscription_active_at_once(shop: Shop) -> None:
    customer = shop.customer(None)[0]
    made = shop.subscribe(None, customer, collection_method="send_invoice", days_until_due=14)
    assert (made["status"], shop.invoices(made)[0]["status"]) == ("active", "draft")
    shop.days(1)
    assert shop.invoices(made)[0]["status"] == "open"
    shop.days(15)
    assert shop.see(made)["status"] == "past_due"
    shop.post(f"/v1/invoices/{shop.invoices(made)[0]['id']}/pay", {"paid_out_of_band": True})
    assert shop.see(made)["status"] == "active"


def test_a_subscription_of_intervals_of_its_own(shop: Shop) -> None:
    items = [{"price": shop.price(100)}, {"price": shop.price(9000, "year")}]
    made = shop.subscribe(items=items)
    assert [row["total"] for row in shop.invoices(made)] == [9100]
    shop.days(31)
    assert [row["total"] for row in shop.invoices(made)] == [9100, 100]
    shop.days(334)
    assert [row["total"] for row in shop.invoices(made)[-2:]] == [100, 9100]


def test_a_cycle_that_begins_on_the_first(shop: Shop) -> None:
    anchor = START + 10 * DAY
    made = shop.subscribe(billing_cycle_anchor=anchor)
    assert item_of(made)["current_period_end"] == anchor
    (invoice,) = shop.invoices(made)
    assert invoice["total"] == round(3000 * 10 / 28)  # the month before 11 March has 28 days
    shop.days(10)
    assert [row["total"] for row in shop.invoices(made)] == [invoice["total"], 3000]
    free = shop.subscribe(billing_cycle_anchor=shop.account.now() + 10 * DAY, proration_behavior="none")
    assert (free["status"], shop.invoices(free)) == ("active", [])


def test_a_one_time_charge_comes_along(shop: Shop) -> None:
    made = shop.subscribe(add_invoice_items=[{"price": shop.price(500, None)}])
    assert shop.invoices(made)[0]["total"] == 3500


def test_canceling_now_gives_the_rest_back(shop: Shop) -> None:
    made = shop.subscribe()
    shop.days(15.5)
    params = {"invoice_now": True, "prorate": True, "cancellation_details": {"feedback": "unused"}}
    gone = shop.delete(f"/v1/subscriptions/{made['id']}", params)
    assert (gone["status"], gone["ended_at"]) == ("canceled", shop.account.now())
    assert gone["cancellation_details"] == {"comment": None, "feedback": "unused", "reason": "cancellation_requested"}
    assert [row["total"] for row in shop.invoices(made)] == [3000, -1500]
    assert shop.invoices(made)[-1]["id"] == gone["latest_invoice"]
    assert shop.get(f"/v1/customers/{made['customer']}")["balance"] == -1500
    assert ask(shop.api, "DELETE", f"/v1/subscriptions/{made['id']}")[0] == 404


def test_canceling_at_the_end_of_the_period(shop: Shop) -> None:
    made = shop.subscribe()
    leaving = shop.change(made, cancel_at_period_end=True)
    end = item_of(made)["current_period_end"]
    assert (leaving["cancel_at"], leaving["cancel_at_period_end"], leaving["canceled_at"]) == (end, True, START)
    assert leaving["cancellation_details"]["reason"] == "cancellation_requested"
    staying = shop.change(made, cancel_at_period_end=False)
    assert (staying["cancel_at"], staying["canceled_at"], staying["cancellation_details"]["reason"]) == (None,) * 3
    shop.change(made, cancel_at_period_end=True)
    shop.told()
    shop.days(32)
    assert "invoice.upcoming" not in shop.told()
    assert (shop.see(made)["status"], shop.see(made)["ended_at"]) == ("canceled", end)
    assert len(shop.invoices(made)) == 1


def test_a_trial_is_announced_and_ends_in_an_invoice(shop: Shop) -> None:
    made = shop.subscribe(trial_period_days=14)
    assert (made["status"], made["trial_end"], made["billing_cycle_anchor"]) == ("trialing", *[START + 14 * DAY] * 2)
    assert told_lines(shop.invoices(made)[0]) == [("Free trial for 1 × Pro", 0)]  # noqa: RUF001 - Stripe's own sign
    shop.days(10)
    shop.told()
    shop.days(1)
    assert shop.told() == ["customer.subscription.trial_will_end"]
    shop.days(4)
    assert shop.see(made)["status"] == "active"
    assert [row["total"] for row in shop.invoices(made)] == [0, 3000]


def test_a_short_trial_is_announced_at_once(shop: Shop) -> None:
    shop.subscribe(trial_period_days=2)
    assert "customer.subscription.trial_will_end" in shop.told()


@pytest.mark.parametrize(("behavior", "status"), [("cancel", "canceled"), ("pause", "paused")])
def test_a_trial_without_a_card(shop: Shop, behavior: str, status: str) -> None:
    customer = shop.customer(None)[0]
    settings = {"end_behavior": {"missing_payment_method": behavior}}
    made = shop.subscribe(None, customer, trial_period_days=7, trial_settings=settings)
    shop.days(8)
    assert shop.see(made)["status"] == status
    shop.days(60)
    assert len(shop.invoices(made)) == 1
    if behavior == "pause":
        shop.switch(customer, "pm_card_visa")
        shop.told()
        back = shop.post(f"/v1/subscriptions/{made['id']}/resume")
        assert (back["status"], item_of(back)["current_period_start"]) == ("active", shop.account.now())
        assert shop.told()[0] == "customer.subscription.resumed"
        assert shop.invoices(made)[-1]["status"] == "paid"


@pytest.mark.parametrize(
    ("behavior", "status"), [("keep_as_draft", "draft"), ("void", "void"), ("mark_uncollectible", "uncollectible")]
)
def test_while_collection_is_paused_nothing_is_paid(shop: Shop, behavior: str, status: str) -> None:
    made = shop.subscribe()
    paused = shop.change(made, pause_collection={"behavior": behavior, "resumes_at": START + 40 * DAY})
    assert (paused["status"], paused["pause_collection"]["behavior"]) == ("active", behavior)
    shop.days(35)
    assert [row["status"] for row in shop.invoices(made)] == ["paid", status]
    shop.days(10)
    assert shop.see(made)["pause_collection"] is None
    shop.days(20)
    assert [row["status"] for row in shop.invoices(made)] == ["paid", status, "paid"]


def test_who_is_deleted_subscribes_to_nothing(shop: Shop) -> None:
    made = shop.subscribe()
    shop.told()
    assert shop.delete(f"/v1/customers/{made['customer']}")["deleted"] is True
    assert shop.told() == ["customer.subscription.deleted", "customer.deleted"]
    shop.days(40)
    assert shop.see(made)["status"] == "canceled"
    assert len(shop.account.store.all("invoice")) == 1
