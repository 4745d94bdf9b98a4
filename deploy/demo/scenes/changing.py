"""Subscriptions change: plans, seats, intervals, pauses, and their ends."""

from deploy.demo.acts import Cancel, ChangePlan, ChangeSeats, Pause, StayAfterAll
from deploy.demo.company import STARTER, YEAR, money
from deploy.demo.shop import Shop

DAY = 86_400


def change_plan(shop: Shop, who: str, act: ChangePlan) -> str | None:
    """Another plan or interval, at once; what it costs for the rest of the period is paid now."""
    customer = shop.customers[who]
    subscription = shop.running(customer)
    if subscription is None or subscription["pause_collection"] is not None:
        return None
    item = subscription["items"]["data"][0]
    changed = shop.stripe.post(
        f"/v1/subscriptions/{subscription['id']}",
        items=[
            {
                "id": item["id"],
                "price": shop.catalog.price(act.plan, act.interval, customer.currency),
                "quantity": act.seats,
            }
        ],
        proration_behavior="always_invoice",
        expand=["latest_invoice"],
    )
    before, customer.plan = customer.plan, act.plan
    what = "now pays by the year" if act.interval == YEAR and before is act.plan else (
        f"upgraded {before.name} → {act.plan.name}"
    )  # fmt: skip
    if subscription["status"] == "trialing":
        return f"{customer.called} {what}, still on trial"
    due = changed["latest_invoice"]["amount_due"] if changed["latest_invoice"] else 0
    return f"{customer.called} {what}: {money(due, customer.currency)} now"


def change_seats(shop: Shop, who: str, act: ChangeSeats) -> str | None:
    """More or fewer people; the next invoice has the difference."""
    customer = shop.customers[who]
    subscription = shop.running(customer)
    if subscription is None or customer.plan is STARTER:
        return None
    item = subscription["items"]["data"][0]
    seats = max(item["quantity"] + act.by, customer.plan.seats)
    if seats == item["quantity"]:
        return None
    shop.stripe.post(f"/v1/subscription_items/{item['id']}", quantity=seats, proration_behavior="create_prorations")
    by = seats - item["quantity"]
    change = f"added {by} seat{'s' * (by != 1)}" if by > 0 else f"gave up {-by} seat{'s' * (by != -1)}"
    return f"{customer.called} {change}, {seats} now"


def pause(shop: Shop, who: str, act: Pause) -> str | None:
    """A closed season: invoices that come up meanwhile are voided."""
    customer = shop.customers[who]
    subscription = shop.running(customer)
    if subscription is None or subscription["status"] != "active" or subscription["pause_collection"] is not None:
        return None
    resumes = shop.stripe.get("/_sim/clock")["now"] + act.days * DAY
    shop.stripe.post(
        f"/v1/subscriptions/{subscription['id']}", pause_collection={"behavior": "void", "resumes_at": resumes}
    )
    return f"{customer.called} pauses for {act.days} days"


def cancel(shop: Shop, who: str, act: Cancel) -> str | None:
    """It runs until the end of what is paid."""
    customer = shop.customers[who]
    subscription = shop.running(customer)
    if subscription is None or subscription["cancel_at_period_end"]:
        return None
    shop.stripe.post(
        f"/v1/subscriptions/{subscription['id']}",
        cancel_at_period_end=True,
        cancellation_details={"feedback": act.feedback, "comment": act.comment},
    )
    return f"{customer.called} cancels {customer.plan.name} at the end of the period: “{act.comment}”"


def stay(shop: Shop, who: str, act: StayAfterAll) -> str | None:
    """A cancellation is taken back in time."""
    customer = shop.customers[who]
    subscription = shop.running(customer)
    if subscription is None or not subscription["cancel_at_period_end"]:
        return None
    shop.stripe.post(f"/v1/subscriptions/{subscription['id']}", cancel_at_period_end=False)
    return f"{customer.called} stays after all"
