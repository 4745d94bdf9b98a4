"""A subscription lives by the clock: trials end, periods renew, notices go out, what was not paid expires."""

from collections.abc import Iterator
from functools import partial

from deploy.demo.simulator import periods
from deploy.demo.simulator.account import DAY, Account
from deploy.demo.simulator.errors import Json
from deploy.demo.simulator.resources import prices
from deploy.demo.simulator.subscribing import billing, ending, lines
from deploy.demo.simulator.subscribing.shape import ENDED, items_of, period_end, set_period

NOTICE = 3 * DAY
"""`trial_will_end` comes so long before: https://docs.stripe.com/billing/subscriptions/trials."""


def watch(a: Account, subscription: Json) -> None:
    """Wake up when the next thing is due. A later call replaces what an earlier one waits for."""
    hidden = a.store.hidden(subscription["id"])
    turn = hidden["turn"] = hidden.get("turn", 0) + 1
    due = min(_moments(a, subscription), default=None)
    if due is not None:
        a.clock_of(subscription["customer"]).at(due, partial(_wake, a, subscription, turn))


def _wake(a: Account, subscription: Json, turn: int) -> None:
    if a.store.hidden(subscription["id"])["turn"] != turn:
        return
    act(a, subscription)
    watch(a, subscription)


def _moments(a: Account, subscription: Json) -> Iterator[int]:
    """When something will be due, as the subscription stands."""
    if subscription["status"] in ENDED:
        return
    hidden = a.store.hidden(subscription["id"])
    if subscription["status"] == "incomplete":
        yield subscription["created"] + a.settings.incomplete_expires
        return
    if subscription["cancel_at"] is not None:
        yield subscription["cancel_at"]
    pause = subscription["pause_collection"]
    if pause is not None and pause["resumes_at"] is not None:
        yield pause["resumes_at"]
    if subscription["status"] == "paused":
        return
    end = period_end(subscription)
    yield end
    if subscription["status"] == "trialing" and hidden.get("warned") != subscription["trial_end"]:
        yield subscription["trial_end"] - NOTICE
    if _tells_upcoming(a, subscription):
        yield end - a.settings.upcoming


def _tells_upcoming(a: Account, subscription: Json) -> bool:
    end = period_end(subscription)
    start = min(item["current_period_start"] for item in items_of(subscription) if item["current_period_end"] == end)
    leaves = subscription["cancel_at"] is not None and subscription["cancel_at"] <= end
    told = a.store.hidden(subscription["id"]).get("upcoming") == end
    return not leaves and not told and end - a.settings.upcoming > start and subscription["status"] != "unpaid"


def act(a: Account, subscription: Json) -> None:
    """Do what is due now."""
    now = a.now(subscription["customer"])
    if subscription["status"] in ENDED:
        return
    if subscription["status"] == "incomplete":
        if subscription["created"] + a.settings.incomplete_expires <= now:
            ending.expire(a, subscription)
            billing.void_open(a, subscription)
        return
    pause = subscription["pause_collection"]
    if pause is not None and pause["resumes_at"] is not None and pause["resumes_at"] <= now:
        subscription["pause_collection"] = None
        a.updated(subscription, "customer.subscription.updated")
    if subscription["cancel_at"] is not None and subscription["cancel_at"] <= now:
        ending.at_its_end(a, subscription)
        return
    if subscription["status"] == "paused":
        return
    _notices(a, subscription, now)
    if subscription["status"] == "trialing" and subscription["trial_end"] <= now:
        end_trial(a, subscription)
    elif period_end(subscription) <= now:
        renew(a, subscription)


def _notices(a: Account, subscription: Json, now: int) -> None:
    hidden = a.store.hidden(subscription["id"])
    trial_end, end = subscription["trial_end"], period_end(subscription)
    if subscription["status"] == "trialing" and trial_end - NOTICE <= now and hidden.get("warned") != trial_end:
        hidden["warned"] = trial_end
        a.emit("customer.subscription.trial_will_end", subscription)
    if end - a.settings.upcoming <= now < end and _tells_upcoming(a, subscription):
        hidden["upcoming"] = end
        a.emit("invoice.upcoming", upcoming(a, subscription))


def upcoming(a: Account, subscription: Json) -> Json:
    """What will be invoiced at the end of the period, as of now."""
    end = period_end(subscription)
    due = [item for item in items_of(subscription) if item["current_period_end"] == end]
    drafts = [lines.period(a, item | following(subscription, item)) for item in due]
    start = min(item["current_period_start"] for item in due)
    shown = billing.preview(a, subscription, drafts, (start, end))
    shown["next_payment_attempt"] = end + a.settings.finalize_after
    return shown


def following(subscription: Json, item: Json) -> Json:
    """The bounds of the item's next period, by the names of its fields."""
    start, end = _following(subscription, item)
    return {"current_period_start": start, "current_period_end": end}


def _following(subscription: Json, item: Json) -> tuple[int, int]:
    """The period after this one, by the anchor."""
    end = item["current_period_end"]
    return end, periods.around(subscription["billing_cycle_anchor"], prices.interval(item["price"]), end)[1]


def renew(a: Account, subscription: Json) -> None:
    """The period moves, before any payment; the invoice for the new one is drafted."""
    end = period_end(subscription)
    due = [item for item in items_of(subscription) if item["current_period_end"] == end]
    span = (min(item["current_period_start"] for item in due), end)
    for item in due:
        set_period(item, _following(subscription, item))
    cycle(a, subscription, due, span)


def cycle(a: Account, subscription: Json, due: list[Json], span: tuple[int, int]) -> None:
    """Tell of the new period and draft its invoice, which finalizes by itself unless nothing is collected now."""
    id_ = billing.announce(a, subscription)
    a.updated(subscription, "customer.subscription.updated")
    pause = subscription["pause_collection"]
    invoice = billing.bill(
        a,
        subscription,
        [lines.period(a, item) for item in due],
        reason="subscription_cycle",
        period=span,
        id=id_,
        auto_advance=pause is None and subscription["status"] != "unpaid",
    )
    if pause is not None:
        billing.paused(a, subscription, invoice)


def end_trial(a: Account, subscription: Json, *, at_once: bool = False) -> None:
    """The trial is over: the first paid period begins, or the subscription pauses or ends for want of a card."""
    behavior = subscription["trial_settings"]["end_behavior"]["missing_payment_method"]
    if behavior != "create_invoice" and not ending.can_pay(a, subscription):
        if behavior == "cancel":
            ending.end(a, subscription, reason=None)
        else:
            ending.pause(a, subscription)
        return
    now = a.now(subscription["customer"])
    span = (min(item["current_period_start"] for item in items_of(subscription)), now)
    subscription |= {"status": "active", "trial_end": now}
    restart(subscription, now)
    if at_once:
        bill_now(a, subscription, billing.announce(a, subscription), now)
    else:
        cycle(a, subscription, items_of(subscription), span)


def bill_now(a: Account, subscription: Json, id: str, now: int) -> None:
    """Tell of the new period, and invoice and collect it at once."""
    a.updated(subscription, "customer.subscription.updated")
    drafts = [lines.period(a, item) for item in items_of(subscription)]
    invoice = billing.bill(a, subscription, drafts, reason="subscription_update", period=(now, now), id=id)
    billing.collect(a, subscription, invoice, off_session=False)
    watch(a, subscription)


def restart(subscription: Json, now: int) -> None:
    """The billing cycle starts anew: every item's period begins now."""
    subscription["billing_cycle_anchor"] = now
    for item in items_of(subscription):
        set_period(item, (now, periods.boundary(now, prices.interval(item["price"]), 1)))


def period_at(subscription: Json, item: Json, at: int) -> tuple[int, int]:
    """The full period around `at`, by the anchor: what an item whose interval changed is in."""
    return periods.around(subscription["billing_cycle_anchor"], prices.interval(item["price"]), at)
