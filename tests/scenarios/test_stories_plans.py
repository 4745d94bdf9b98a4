"""Stories of plans: years, months that end early, trials, seats, credits, coupons, pauses."""

from typing import Any

from tests.scenarios.acts import customer, item_of, latest_invoice, plan, price, subscribe
from tests.scenarios.conftest import Opened, at
from tests.scenarios.kit import Stage


async def switch(stage: Stage, subscription: str, to: str, **more: Any) -> None:
    """The subscription's first item gets another price."""
    items = [{"id": await item_of(stage, subscription), "price": to}]
    await stage.v1.subscriptions.update_async(subscription, {"items": items, **more})


async def invoiced(stage: Stage, subscription: str) -> list[int]:
    """The totals of a subscription's invoices, in order of time."""
    found = await stage.rows("invoices", stripe_subscription_id=subscription)
    return [row["total_cents"] for row in sorted(found, key=lambda row: row["stripe_created_at"])]


async def test_a_year_with_an_upgrade_in_the_middle_of_a_month(opened: Opened) -> None:
    async with opened(at(2026, 1, 5)) as stage:
        team, business = await plan(stage, 4900), await plan(stage, 9900, "Business")
        sub = await subscribe(stage, await customer(stage, "Mina Okafor"), team)
        await stage.until(2026, 3, 20)
        await stage.books_agree()
        assert await invoiced(stage, sub) == [4900] * 3
        await switch(stage, sub, business)
        await stage.books_agree()
        row = await stage.row("subscriptions", stripe_subscription_id=sub)
        assert (row["stripe_price_id"], row["mrr_cents"]) == (business, 9900)
        await stage.until(2026, 4, 6)
        await stage.books_agree()
        invoice = await latest_invoice(stage, sub)
        # 16 of 31 days are left: 9900 + (9900 - 4900) * 16/31, each part rounded by itself
        lines = sorted(line["amount_cents"] for line in invoice["line_items"])
        assert lines == [-2529, 5110, 9900]
        assert (invoice["total_cents"], invoice["amount_paid_cents"]) == (12_481, 12_481)
        await stage.until(2026, 12, 31)
        await stage.books_agree()
        assert await invoiced(stage, sub) == [4900] * 3 + [12_481] + [9900] * 8
        payments = await stage.rows("payment_history", status="succeeded")
        assert sum(row["amount_cents"] for row in payments) == 106_381


async def test_a_trial_converts(opened: Opened) -> None:
    async with opened(at(2026, 1, 5)) as stage:
        sub = await subscribe(stage, await customer(stage, "Ada Byron"), await plan(stage, 4900), trial_period_days=14)
        await stage.books_agree()
        row = await stage.row("subscriptions", stripe_subscription_id=sub)
        assert (row["status"], row["mrr_cents"]) == ("trialing", 0)
        assert row["trial_end"].startswith("2026-01-19T12:00")
        assert await invoiced(stage, sub) == [0]
        await stage.until(2026, 1, 20)
        await stage.books_agree()
        row = await stage.row("subscriptions", stripe_subscription_id=sub)
        assert (row["status"], row["mrr_cents"]) == ("active", 4900)
        assert row["current_period_end"].startswith("2026-02-19T12:00")
        assert await invoiced(stage, sub) == [0, 4900]


async def test_a_trial_never_converts(opened: Opened) -> None:
    async with opened(at(2026, 1, 5)) as stage:
        trial: dict[str, Any] = {
            "trial_period_days": 14,
            "trial_settings": {"end_behavior": {"missing_payment_method": "cancel"}},
        }
        owner = await customer(stage, "Bo Lindqvist", card=None)
        sub = await subscribe(stage, owner, await plan(stage, 4900), **trial)
        mark = stage.mark()
        await stage.until(2026, 1, 20)
        await stage.books_agree()
        told = ("customer.subscription.trial_will_end", "customer.subscription.deleted")
        assert stage.told(mark, *told) == list(told)
        row = await stage.row("subscriptions", stripe_subscription_id=sub)
        assert (row["status"], row["mrr_cents"]) == ("canceled", 0)
        assert await invoiced(stage, sub) == [0]
        assert await stage.rows("payment_history") == []


async def test_a_yearly_plan_begins_on_29_february(opened: Opened) -> None:
    async with opened(at(2028, 2, 29)) as stage:
        sub = await subscribe(stage, await customer(stage, "Leap Ltd"), await plan(stage, 99_000, every="year"))
        for year, ends in ((2028, "2029-02-28"), (2029, "2030-02-28"), (2031, "2032-02-29"), (2032, "2033-02-28")):
            await stage.until(year, 3, 1, 14)
            await stage.books_agree()
            row = await stage.row("subscriptions", stripe_subscription_id=sub)
            assert row["current_period_end"].startswith(f"{ends}T12:00")
            assert (row["mrr_cents"], row["billing_cycle"]) == (8250, "yearly")
        assert await invoiced(stage, sub) == [99_000] * 5


async def test_a_month_ends_in_another_time_zone(opened: Opened) -> None:
    """In Tokyo it is February already: Stripe counts by UTC, where the anchor is the 31st."""
    async with opened(at(2026, 1, 31, 16)) as stage:
        owner = await customer(stage, "Sakura Inoue", metadata={"timezone": "Asia/Tokyo"})
        sub = await subscribe(stage, owner, await plan(stage, 1200, currency="jpy"))
        for month, day, ends in ((2, 1, "02-28"), (3, 1, "03-31"), (4, 1, "04-30"), (5, 1, "05-31")):
            await stage.until(2026, month, day)
            await stage.books_agree()
            row = await stage.row("subscriptions", stripe_subscription_id=sub)
            assert row["current_period_end"].startswith(f"2026-{ends}T16:00")
        assert await invoiced(stage, sub) == [1200] * 4
        assert (await stage.row("users", stripe_customer_id=owner))["timezone"] == "Asia/Tokyo"


async def test_a_downgrade_leaves_a_credit_that_the_next_invoices_use_up(opened: Opened) -> None:
    async with opened(at(2026, 1, 5)) as stage:
        business, starter = await plan(stage, 9900, "Business"), await plan(stage, 1900, "Starter")
        owner = await customer(stage, "Greta Olsen")
        sub = await subscribe(stage, owner, business)
        await stage.until(2026, 1, 20)
        await switch(stage, sub, starter, proration_behavior="always_invoice")
        await stage.books_agree()
        # 16 of 31 days are left: 1900 * 16/31 - 9900 * 16/31
        invoice = await latest_invoice(stage, sub)
        assert (invoice["status"], invoice["total_cents"], invoice["amount_due_cents"]) == ("paid", -4129, 0)
        assert (await stage.row("users", stripe_customer_id=owner))["balance_cents"] == -4129
        for month, balance, due in ((2, -2229, 0), (3, -329, 0), (4, 0, 1571), (5, 0, 1900)):
            await stage.until(2026, month, 6)
            await stage.books_agree()
            invoice = await latest_invoice(stage, sub)
            assert (invoice["status"], invoice["total_cents"], invoice["amount_due_cents"]) == ("paid", 1900, due)
            assert (await stage.row("users", stripe_customer_id=owner))["balance_cents"] == balance
        charged = [row["amount_cents"] for row in await stage.rows("payment_history", status="succeeded")]
        assert sorted(charged) == [1571, 1900, 9900]


async def test_seats_are_added_to_a_year_that_is_paid(opened: Opened) -> None:
    async with opened(at(2026, 1, 1)) as stage:
        seat = await plan(stage, 12_000, "Seat", every="year")
        sub = await subscribe(stage, await customer(stage, "Hugo Brandt"), seat, quantity=3)
        await stage.until(2026, 7, 2)
        items = [{"id": await item_of(stage, sub), "quantity": 5}]
        change = {"items": items, "proration_behavior": "always_invoice"}
        await stage.v1.subscriptions.update_async(sub, change)
        await stage.books_agree()
        row = await stage.row("subscriptions", stripe_subscription_id=sub)
        assert (row["quantity"], row["mrr_cents"]) == (5, 5000)
        # 183 of 365 days are left: 60000 * 183/365 - 36000 * 183/365
        assert await invoiced(stage, sub) == [36_000, 12_033]
        await stage.until(2027, 1, 2)
        await stage.books_agree()
        assert await invoiced(stage, sub) == [36_000, 12_033, 60_000]


async def test_a_coupon_lasts_for_three_months(opened: Opened) -> None:
    async with opened(at(2026, 1, 5)) as stage:
        coupon = await stage.v1.coupons.create_async(
            {"percent_off": 25, "duration": "repeating", "duration_in_months": 3, "name": "Launch"}
        )
        owner = await customer(stage, "Iris Vogel")
        sub = await subscribe(stage, owner, await plan(stage, 4000), discounts=[{"coupon": coupon.id}])
        for month, total, worth in ((1, 3000, 3000), (2, 3000, 3000), (3, 3000, 3000), (4, 4000, 4000)):
            await stage.until(2026, month, 6)
            await stage.books_agree()
            invoice = await latest_invoice(stage, sub)
            assert (invoice["total_cents"], invoice["discount_cents"]) == (total, 4000 - total)
            assert (await stage.row("subscriptions", stripe_subscription_id=sub))["mrr_cents"] == worth
        assert await invoiced(stage, sub) == [3000, 3000, 3000, 4000]


async def test_collection_is_paused_and_resumed(opened: Opened) -> None:
    async with opened(at(2026, 1, 5)) as stage:
        sub = await subscribe(stage, await customer(stage, "Yara Nasser"), await plan(stage, 4900))
        await stage.v1.subscriptions.update_async(sub, {"pause_collection": {"behavior": "void"}})
        await stage.until(2026, 2, 6)
        await stage.books_agree()
        row = await stage.row("subscriptions", stripe_subscription_id=sub)
        assert (row["status"], row["pause_behavior"], row["mrr_cents"]) == ("active", "void", 4900)
        assert (await latest_invoice(stage, sub))["status"] == "void"
        await stage.v1.subscriptions.update_async(sub, {"pause_collection": ""})
        await stage.until(2026, 3, 6)
        await stage.books_agree()
        row = await stage.row("subscriptions", stripe_subscription_id=sub)
        assert row["pause_behavior"] is None
        assert (await latest_invoice(stage, sub))["amount_paid_cents"] == 4900


async def test_a_monthly_customer_goes_yearly(opened: Opened) -> None:
    """The year begins at once; what is left of the month is given back."""
    async with opened(at(2026, 1, 5)) as stage:
        monthly = await plan(stage, 4900)
        product = (await stage.v1.prices.retrieve_async(monthly)).product
        yearly = await price(stage, product, 49_000, every="year")
        sub = await subscribe(stage, await customer(stage, "Otto Klein"), monthly)
        await stage.until(2026, 2, 20)
        await switch(stage, sub, yearly, billing_cycle_anchor="now")
        await stage.books_agree()
        row = await stage.row("subscriptions", stripe_subscription_id=sub)
        assert row["current_period_start"].startswith("2026-02-20T12:00")
        assert row["current_period_end"].startswith("2027-02-20T12:00")
        assert (row["billing_cycle"], row["mrr_cents"]) == ("yearly", 4083)
        # 13 of 28 days are given back
        assert await invoiced(stage, sub) == [4900, 4900, 49_000 - 2275]
