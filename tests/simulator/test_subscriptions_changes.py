"""Changes of a subscription: what they give back, what they cost, and when that is invoiced."""

from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.demo.simulator.account import DAY
from tests.simulator.kit import START, ask
from tests.simulator.shop import Shop, item_of, told_lines

MONTH = 31 * DAY


@pytest.fixture
def shop() -> Shop:
    """A shop on its first day."""
    return Shop()


def test_an_upgrade_waits_for_the_next_invoice(shop: Shop) -> None:
    made = shop.subscribe(shop.price(3100))
    shop.days(10)
    shop.told()
    changed = shop.swap(made, price=shop.price(6200))
    assert shop.told()[-3:] == ["customer.subscription.updated", "invoiceitem.created", "invoiceitem.created"]
    assert item_of(changed)["current_period_end"] == item_of(made)["current_period_end"]
    before = shop.last("customer.subscription.updated")["previous_attributes"]
    assert before["items"]["data"][0]["price"]["unit_amount"] == 3100
    shop.days(22)
    assert told_lines(shop.invoices(made)[-1]) == [
        ("Unused time on Pro after 11 Mar 2026", -2100),
        ("Remaining time on Pro after 11 Mar 2026", 4200),
        ("1 × Pro (at $62.00 / month)", 6200),  # noqa: RUF001 - Stripe's own sign
    ]
    details = shop.invoices(made)[-1]["lines"]["data"][0]["parent"]["subscription_item_details"]
    assert details["proration"] is True
    assert details["proration_details"]["credited_items"]["invoice"] == made["latest_invoice"]


def test_more_seats_are_invoiced_at_once_where_that_is_wanted(shop: Shop) -> None:
    made = shop.subscribe(shop.price(3100))
    shop.days(10)
    changed = shop.swap(made, quantity=3, terms={"proration_behavior": "always_invoice"})
    invoice = shop.invoices(made)[-1]
    assert (changed["latest_invoice"], invoice["status"], invoice["total"]) == (invoice["id"], "paid", 4200)
    assert invoice["billing_reason"] == "subscription_update"
    assert told_lines(invoice)[1] == ("Remaining time on 3 × Pro after 11 Mar 2026", 6300)  # noqa: RUF001 - Stripe's own sign
    assert (changed["quantity"], item_of(changed)["quantity"]) == (3, 3)


def test_a_downgrade_is_kept_as_a_balance(shop: Shop) -> None:
    made = shop.subscribe(shop.price(6200))
    shop.swap(made, price=shop.price(3100), terms={"proration_behavior": "always_invoice"})
    assert shop.get(f"/v1/customers/{made['customer']}")["balance"] == -3100
    shop.days(32)
    renewal = shop.invoices(made)[-1]
    assert (renewal["total"], renewal["amount_due"], renewal["status"]) == (3100, 0, "paid")


def test_without_prorations_the_change_costs_nothing_yet(shop: Shop) -> None:
    made = shop.subscribe(shop.price(3100))
    shop.swap(made, price=shop.price(6200), terms={"proration_behavior": "none"})
    shop.days(32)
    assert [row["total"] for row in shop.invoices(made)] == [3100, 6200]


def test_a_month_becomes_a_year_by_the_same_anchor(shop: Shop) -> None:
    made = shop.subscribe(shop.price(3100))
    shop.days(10)
    changed = shop.swap(made, price=shop.price(36500, "year"))
    assert changed["billing_cycle_anchor"] == START
    assert item_of(changed)["current_period_end"] == START + 365 * DAY
    assert told_lines(shop.invoices(made)[-1]) == [
        ("Unused time on Pro after 11 Mar 2026", -2100),
        ("Remaining time on Pro after 11 Mar 2026", 35500),
    ]
    assert shop.invoices(made)[-1]["status"] == "paid"


def test_in_classic_mode_a_year_begins_with_the_change(shop: Shop) -> None:
    made = shop.subscribe(shop.price(3100), billing_mode={"type": "classic"})
    shop.days(10)
    changed = shop.swap(made, price=shop.price(36500, "year"))
    assert changed["billing_cycle_anchor"] == START + 10 * DAY
    assert told_lines(shop.invoices(made)[-1]) == [
        ("Unused time on Pro after 11 Mar 2026", -2100),
        ("1 × Pro (at $365.00 / year)", 36500),  # noqa: RUF001 - Stripe's own sign
    ]


@pytest.mark.parametrize("anchor", ["now", {"type": "now"}])
def test_a_cycle_can_begin_anew(shop: Shop, anchor: object) -> None:
    made = shop.subscribe(shop.price(3100))
    shop.days(10)
    changed = shop.change(made, billing_cycle_anchor=anchor)
    assert item_of(changed)["current_period_start"] == START + 10 * DAY
    assert [row["total"] for row in shop.invoices(made)] == [3100, 1000]


def test_a_trial_can_be_ended_and_begun(shop: Shop) -> None:
    made = shop.subscribe(trial_period_days=14)
    shop.days(2)
    active = shop.change(made, trial_end="now")
    assert (active["status"], active["trial_end"]) == ("active", START + 2 * DAY)
    assert [row["status"] for row in shop.invoices(made)] == ["paid", "paid"]
    again = shop.change(made, trial_end=START + 20 * DAY)
    assert (again["status"], item_of(again)["current_period_end"]) == ("trialing", START + 20 * DAY)
    shop.days(19)
    assert shop.see(made)["status"] == "active"
    assert told_lines(shop.invoices(made)[-1])[0] == ("Unused time on Pro after 03 Mar 2026", -3000)


def test_a_change_during_a_trial_costs_nothing(shop: Shop) -> None:
    made = shop.subscribe(trial_period_days=14)
    shop.swap(made, price=shop.price(5000), quantity=2)
    shop.days(15)
    assert [row["total"] for row in shop.invoices(made)] == [0, 10000]


def test_items_come_and_go(shop: Shop) -> None:
    made = shop.subscribe(shop.price(3100))
    shop.days(10)
    item = shop.post("/v1/subscription_items", {"subscription": made["id"], "price": shop.price(310), "quantity": 2})
    assert (item["quantity"], shop.see(made)["plan"]) == (2, None)
    assert {row["id"] for row in shop.get("/v1/subscription_items", {"subscription": made["id"]})["data"]} == {
        item["id"],
        item_of(made)["id"],
    }
    assert shop.post(f"/v1/subscription_items/{item['id']}", {"quantity": 1})["quantity"] == 1
    assert shop.delete(f"/v1/subscription_items/{item['id']}")["deleted"] is True
    assert ask(shop.api, "GET", f"/v1/subscription_items/{item['id']}")[0] == 404
    status, body, _ = ask(shop.api, "DELETE", f"/v1/subscription_items/{item_of(made)['id']}")
    assert (status, "at least one" in body["error"]["message"]) == (400, True)
    shop.days(22)
    assert shop.invoices(made)[-1]["total"] == 3100  # what came was given back within the same second


def test_a_percentage_is_within_prorations(shop: Shop) -> None:
    coupon = shop.post("/v1/coupons", {"percent_off": 50, "duration": "forever"})["id"]
    made = shop.subscribe(shop.price(3100), discounts=[{"coupon": coupon}])
    shop.days(10)
    shop.swap(made, price=shop.price(6200), terms={"proration_behavior": "always_invoice"})
    invoice = shop.invoices(made)[-1]
    assert [amount for _, amount in told_lines(invoice)] == [-1050, 2100]
    assert invoice["total"] == 1050


def test_an_update_that_nobody_pays_is_past_due(shop: Shop) -> None:
    customer = shop.subscriber()
    made = shop.subscribe(shop.price(3100), customer)
    shop.switch(customer, "pm_card_chargeCustomerFail")
    changed = shop.swap(made, quantity=2, terms={"proration_behavior": "always_invoice"})
    assert changed["status"] == "past_due"
    error = {"proration_behavior": "always_invoice", "payment_behavior": "error_if_incomplete"}
    wanted = {"items": [{"id": item_of(made)["id"], "quantity": 9}]} | error
    assert shop.refused(f"/v1/subscriptions/{made['id']}", wanted, status=402)["code"] == "card_declined"
    assert shop.see(made)["quantity"] == 2


def test_behind_and_active_within_a_second_are_told_as_one_change(shop: Shop) -> None:
    customer = shop.subscriber()
    made = shop.subscribe(shop.price(3100), customer)
    shop.switch(customer, "pm_card_chargeCustomerFail")
    assert shop.swap(made, quantity=2, terms={"proration_behavior": "always_invoice"})["status"] == "past_due"
    shop.switch(customer, "pm_card_visa")
    sorry = shop.post("/v1/coupons", {"amount_off": 300, "currency": "usd", "duration": "once"})["id"]
    shop.change(made, discounts=[{"coupon": sorry}])
    shop.days(1)
    shop.told()
    terms = {"proration_behavior": "always_invoice", "discounts": [{"coupon": sorry}]}  # is used up by the new invoice
    assert shop.swap(made, quantity=3, terms=terms)["status"] == "active"
    assert shop.told().count("customer.subscription.updated") == 1
    before = shop.last("customer.subscription.updated")["previous_attributes"]
    assert before["status"] == "past_due"
    assert {"items", "latest_invoice", "discounts"} <= before.keys()


def test_an_update_can_wait_for_the_customer(shop: Shop) -> None:
    made = shop.subscribe(shop.price(3100))
    terms = {"proration_behavior": "always_invoice", "payment_behavior": "default_incomplete"}
    assert shop.swap(made, quantity=2, terms=terms)["status"] == "past_due"
    shop.post(f"/v1/invoices/{shop.invoices(made)[-1]['id']}/pay")
    assert shop.see(made)["status"] == "active"


def test_terms_are_written_as_they_are_given(shop: Shop) -> None:
    customer = shop.subscriber()
    other = shop.post("/v1/payment_methods/pm_card_mastercard/attach", {"customer": customer})["id"]
    rate = shop.post("/v1/tax_rates", {"display_name": "VAT", "inclusive": False, "percentage": 20})["id"]
    made = shop.subscribe(None, customer, payment_settings={"save_default_payment_method": "on_subscription"})
    assert shop.see(made)["default_payment_method"] is not None
    changed = shop.change(
        made, description="Seats", metadata={"tier": "pro"}, default_payment_method=other, default_tax_rates=[rate]
    )
    assert (changed["description"], changed["metadata"]) == ("Seats", {"tier": "pro"})
    assert (changed["default_payment_method"], changed["default_tax_rates"][0]["id"]) == (other, rate)
    assert shop.change(made, metadata={"tier": ""}, default_tax_rates="")["default_tax_rates"] == []
    shop.change(made, default_tax_rates=[rate])
    shop.days(32)
    assert shop.invoices(made)[-1]["total"] == 3600


def test_a_preview_keeps_nothing(shop: Shop) -> None:
    made = shop.subscribe(shop.price(3100))
    shop.days(10)
    larger = shop.price(6200)
    item = item_of(made)["id"]
    shop.told()

    def preview(**details: object) -> list[int]:
        params = {"subscription": made["id"], "subscription_details": details}
        return [amount for _, amount in told_lines(shop.post("/v1/invoices/create_preview", params))]

    assert preview() == [3100]
    assert preview(items=[{"id": item, "price": larger}]) == [-2100, 4200, 6200]
    assert preview(items=[{"id": item, "price": larger}], proration_behavior="always_invoice") == [-2100, 4200]
    assert preview(items=[{"id": item, "price": larger}], proration_behavior="none") == [6200]
    assert preview(items=[{"price": larger}]) == [4200, 3100, 6200]
    assert preview(billing_cycle_anchor="now") == [-2100, 3100]
    assert (shop.told(), item_of(shop.see(made))["price"]["unit_amount"]) == ([], 3100)
    first = {"customer": made["customer"], "subscription_details": {"items": [{"price": larger}]}}
    assert shop.post("/v1/invoices/create_preview", first)["total"] == 6200


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"items": [{"id": "si_none"}]}, "No such subscription item"),
        ({"items": [{"quantity": 1}]}, "Missing required param: price"),
        ({"proration_date": 5}, "proration_date"),
        ({"default_payment_method": "pm_none"}, "No such"),
        ({"cancel_at": START + MONTH, "cancel_at_period_end": True}, "both"),
        ({"collection_method": "send_invoice"}, "days_until_due"),
    ],
)
def test_what_cannot_be_is_refused(shop: Shop, params: dict[str, object], message: str) -> None:
    made = shop.subscribe()
    shop.told()
    assert message in shop.refused(f"/v1/subscriptions/{made['id']}", params)["message"]
    assert shop.told() == []


def test_what_has_ended_is_left_alone(shop: Shop) -> None:
    made = shop.subscribe()
    shop.delete(f"/v1/subscriptions/{made['id']}")
    assert "canceled" in shop.refused(f"/v1/subscriptions/{made['id']}", {"description": "x"})["message"]
    assert shop.change(made, metadata={"why": "moved"})["metadata"] == {"why": "moved"}


def test_a_sum_off_is_shared_by_what_the_items_cost(shop: Shop) -> None:
    coupon = shop.post("/v1/coupons", {"amount_off": 1000, "currency": "usd", "duration": "forever"})["id"]
    items = [{"price": shop.price(3100)}, {"price": shop.price(900)}]
    made = shop.subscribe(items=items, discounts=[{"coupon": coupon}])
    assert shop.invoices(made)[0]["total"] == 3000
    changed = shop.swap(made, price=shop.price(6200), terms={"proration_behavior": "always_invoice"})
    # What was debited was 3100 less 775 of the 1000; now it is 6200 less 6200 / 7100 of them.
    assert [amount for _, amount in told_lines(shop.invoices(made)[-1])] == [-2325, 6200 - 873]
    assert changed["plan"] is None


def test_a_price_can_be_made_for_an_item(shop: Shop) -> None:
    product = shop.post("/v1/products", {"name": "Custom"})["id"]
    data = {"currency": "usd", "product": product, "unit_amount": 4200, "recurring": {"interval": "week"}}
    made = shop.subscribe(items=[{"price_data": data}])
    price = item_of(made)["price"]
    assert (price["active"], price["unit_amount"], shop.invoices(made)[0]["total"]) == (False, 4200, 4200)
    extra = {"currency": "usd", "product": product, "unit_amount": 100}
    shop.change(made, add_invoice_items=[{"price_data": extra, "quantity": 3}])
    shop.days(8)
    assert shop.invoices(made)[-1]["total"] == 4500


@pytest.mark.parametrize("day", ["min_period_end", "max_period_end"])
def test_leaving_at_the_end_of_one_of_two_periods(shop: Shop, day: str) -> None:
    made = shop.subscribe(items=[{"price": shop.price(100)}, {"price": shop.price(900, "year")}])
    ends = [item["current_period_end"] for item in made["items"]["data"]]
    assert shop.change(made, cancel_at=day)["cancel_at"] == (min(ends) if day == "min_period_end" else max(ends))
    assert shop.change(made, cancel_at="")["cancel_at"] is None


def test_leaving_on_a_day_of_ones_own(shop: Shop) -> None:
    made = shop.subscribe()
    shop.change(made, cancel_at=START + 40 * DAY)
    shop.days(41)
    assert (shop.see(made)["status"], shop.see(made)["ended_at"]) == ("canceled", START + 40 * DAY)


def test_who_leaves_pays_what_is_pending(shop: Shop) -> None:
    made = shop.subscribe(shop.price(3100))
    shop.days(10)
    shop.swap(made, quantity=2)
    shop.change(made, cancel_at_period_end=True)
    shop.days(22)
    last = shop.invoices(made)[-1]
    assert (shop.see(made)["status"], last["total"], last["status"]) == ("canceled", 2100, "paid")
    assert shop.see(made)["latest_invoice"] == last["id"]


def test_leaving_moves_with_the_period(shop: Shop) -> None:
    made = shop.subscribe(shop.price(3100))
    shop.change(made, cancel_at_period_end=True)
    changed = shop.swap(made, price=shop.price(36500, "year"))
    assert changed["cancel_at"] == item_of(changed)["current_period_end"] == START + 365 * DAY


def test_an_incomplete_one_is_canceled_with_its_invoice(shop: Shop) -> None:
    made = shop.subscribe(customer=shop.subscriber("pm_card_chargeCustomerFail"))
    shop.delete(f"/v1/subscriptions/{made['id']}")
    assert (shop.see(made)["status"], shop.invoices(made)[0]["status"]) == ("canceled", "void")


def test_only_what_is_paused_is_resumed(shop: Shop) -> None:
    made = shop.subscribe()
    assert "paused" in shop.refused(f"/v1/subscriptions/{made['id']}/resume")["message"]


@settings(max_examples=40, deadline=timedelta(seconds=10))
@given(
    unit=st.integers(100, 100_000),
    changes=st.lists(st.tuples(st.integers(1, MONTH - 1), st.integers(1, 20)), min_size=1, max_size=5),
)
def test_what_is_billed_for_a_month_is_what_was_used(unit: int, changes: list[tuple[int, int]]) -> None:
    shop = Shop()
    made = shop.subscribe(shop.price(unit))
    steps = sorted(dict(changes).items())
    for moment, quantity in steps:
        shop.account.clock.move(START + moment)
        shop.swap(made, quantity=quantity)
    items = shop.account.store.all("invoiceitem")
    billed = unit + sum(item["amount"] for item in items)
    spans = [(0, 1), *steps, (MONTH, 0)]
    exact = sum(unit * quantity * (end - start) / MONTH for (start, quantity), (end, _) in pairwise(spans))
    assert abs(billed - exact) <= len(steps) * 1.0 + 1e-6
