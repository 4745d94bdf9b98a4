"""A subscription changes: another price, another quantity, a trial, a pause, a day to end on."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field

from deploy.demo.simulator.account import Account
from deploy.demo.simulator.errors import Json, StripeError
from deploy.demo.simulator.forms import merge_metadata
from deploy.demo.simulator.invoicing.lines import Draft
from deploy.demo.simulator.resources import discounts, prices
from deploy.demo.simulator.subscribing import asking, billing, ending, life, lines
from deploy.demo.simulator.subscribing.forms import ItemChange, Update
from deploy.demo.simulator.subscribing.shape import ENDED, items_of, new_item, period_end, put_items, set_period

UPDATED = "customer.subscription.updated"
BEHIND = {"past_due", "unpaid"}


@dataclass(slots=True)
class Change:
    """What an update does to the items, and what that costs and gives back."""

    at: int
    prorates: bool
    resets: bool = False
    changes_interval: bool = False
    credits: list[Draft] = field(default_factory=list[Draft])
    debits: list[Draft] = field(default_factory=list[Draft])


def update(a: Account, subscription: Json, form: Update) -> Json:
    """Change what is given. Raises StripeError before anything has changed."""
    now = a.now(subscription["customer"])
    _refuse(a, subscription, form, now)
    span_start = items_of(subscription)[0]["current_period_start"]
    asking.put_terms(a, subscription, form)
    _details(subscription, form)
    if "discounts" in form.model_fields_set:
        _put_discounts(a, subscription, form)
    if "pause_collection" in form.model_fields_set:
        subscription["pause_collection"] = form.pause_collection.model_dump() if form.pause_collection else None
    if form.trial_end == "now" and subscription["status"] == "trialing":
        _swap_quietly(a, subscription, form)
        ending.put_cancel_at(a, subscription, form)
        life.end_trial(a, subscription, at_once=True)
    else:
        change = _change(a, subscription, form, now)
        ending.put_cancel_at(a, subscription, form)
        if subscription["cancel_at_period_end"]:
            subscription["cancel_at"] = max(item["current_period_end"] for item in items_of(subscription))
        _settle(a, subscription, form, change, span_start)
    life.watch(a, subscription)
    return subscription


def _refuse(a: Account, subscription: Json, form: Update, now: int) -> None:
    given = form.model_fields_set - {"expand"}
    if subscription["status"] in ENDED and given - {"metadata", "cancellation_details"}:
        raise StripeError("A canceled subscription can only update its cancellation_details and metadata.", param="id")
    customer, currency = subscription["customer"], subscription["currency"]
    asking.refuse_terms(a, form, customer, currency, now=now)
    method = form.collection_method or subscription["collection_method"]
    asking.refuse_sending(method, form.days_until_due or (subscription["days_until_due"] if _sends(method) else None))
    items = {item["id"]: item for item in items_of(subscription)}
    gone = 0
    for place, asked in enumerate(form.items):
        param = f"items[{place}]"
        if asked.id is not None and asked.id not in items:
            raise StripeError(f"No such subscription item: '{asked.id}'", code="resource_missing", param=f"{param}[id]")
        found = asking.refuse_item(a, asked, customer=customer, currency=currency, param=param)
        if asked.id is None and found is None:
            raise StripeError("Missing required param: price.", code="parameter_missing", param=f"{param}[price]")
        gone += asked.deleted - (asked.id is None)
    if items and gone >= len(items):
        raise StripeError(
            "A subscription must have at least one active item. To delete the last one, cancel the subscription.",
            param="items",
        )
    _refuse_date(subscription, form.proration_date)
    if form.payment_behavior == "error_if_incomplete" and form.items and form.proration_behavior == "always_invoice":
        whose = a.store.need("customer", customer)["invoice_settings"]["default_payment_method"]
        chosen = form.default_payment_method or subscription["default_payment_method"] or whose
        asking.refuse_incomplete(a, chosen, off_session=form.off_session)


def _sends(method: str) -> bool:
    return method == "send_invoice"


def _refuse_date(subscription: Json, date: int | None) -> None:
    start = max(item["current_period_start"] for item in items_of(subscription))
    if date is not None and not start <= date < period_end(subscription):
        raise StripeError(
            "Cannot specify proration_date outside of current subscription period.", param="proration_date"
        )


def _details(subscription: Json, form: Update) -> None:
    if form.cancellation_details is not None:
        subscription["cancellation_details"] |= form.cancellation_details.given("comment", "feedback")


def _put_discounts(a: Account, subscription: Json, form: Update) -> None:
    """The subscription's discounts are these now; those that are not among them end."""
    before = subscription["discounts"]
    subscription["discounts"] = discounts.make(
        a, form.discounts or [], customer=subscription["customer"], subscription=subscription["id"]
    )
    for id_ in before:
        if id_ not in subscription["discounts"]:
            discounts.ended(a, id_)
    discounts.tell(a, subscription["discounts"])


def _change(a: Account, subscription: Json, form: Update, now: int) -> Change:
    """Change the items, and the cycle; what it costs is worked out around it."""
    if isinstance(form.trial_end, int):
        return _into_trial(a, subscription, form, now)
    if subscription["status"] in {"trialing", "paused"} or not (form.items or _resets(form)):
        _swap_quietly(a, subscription, form)
        return Change(at=now, prorates=False)
    change = Change(at=form.proration_date or now, prorates=form.proration_behavior != "none")
    before = {item["id"]: item for item in items_of(subscription)}
    swaps = {asked.id: asking.price_of(a, asked, recurring=True) for asked in form.items if asked.id is not None}
    shifted = {
        id_
        for id_, price in swaps.items()
        if price is not None and prices.interval(price) != prices.interval(before[id_]["price"])
    }
    change.changes_interval = bool(shifted)
    classic = subscription["billing_mode"]["type"] == "classic"
    change.resets = _resets(form) or (classic and change.changes_interval)
    if change.prorates:
        touched = [item for id_, item in before.items() if change.resets or _moves_money(id_, form, swaps)]
        change.credits = lines.given_back(a, touched, change.at)
    shifted |= _apply(a, subscription, form, swaps)
    if change.resets:
        life.restart(subscription, now)
        change.debits = [lines.period(a, item) for item in items_of(subscription)]
        return change
    for item in items_of(subscription):
        if item["id"] in shifted:
            set_period(item, life.period_at(subscription, item, now))
        if change.prorates and (item["id"] in shifted or _moves_money(item["id"], form, swaps)):
            _debit(a, subscription, item, change)
    return change


def _resets(form: Update) -> bool:
    return form.billing_cycle_anchor is not None and form.billing_cycle_anchor.type == "now"


def _moves_money(id_: str, form: Update, swaps: dict[str, Json | None]) -> bool:
    asked = next((row for row in form.items if row.id == id_), None)
    return asked is not None and (asked.deleted or swaps.get(id_) is not None or asked.quantity is not None)


def _debit(a: Account, subscription: Json, item: Json, change: Change) -> None:
    line = lines.remaining(a, subscription, item, change.at)
    lines.debited(a, item, line.amount, line.period)
    change.debits.append(line)


def _apply(a: Account, subscription: Json, form: Update, swaps: dict[str, Json | None]) -> set[str]:
    """Write the changes into the items; the ids of those that are new."""
    items = {item["id"]: item for item in items_of(subscription)}
    added: set[str] = set()
    for asked in form.items:
        if asked.id is None:
            price = asking.price_of(a, asked, recurring=True)
            assert price is not None
            now = a.now(subscription["customer"])
            item = new_item(a, subscription, price, asked, (now, period_end(subscription)))
            items[item["id"]] = item
            added.add(item["id"])
            _discount(a, item, asked)
        elif asked.deleted:
            del items[asked.id]
        else:
            _write(a, items[asked.id], asked, swaps.get(asked.id))
    put_items(subscription, list(items.values()))
    return added


def _discount(a: Account, item: Json, asked: ItemChange) -> None:
    customer = a.store.need("subscription", item["subscription"])["customer"]
    before = item["discounts"]
    item["discounts"] = discounts.make(a, asked.discounts or [], customer=customer, subscription_item=item["id"])
    for id_ in before:
        if id_ not in item["discounts"]:
            discounts.ended(a, id_)
    discounts.tell(a, item["discounts"])


def _write(a: Account, item: Json, asked: ItemChange, price: Json | None) -> None:
    if price is not None:
        item["price"], item["plan"] = price, a.store.need("plan", price["id"])
    if asked.quantity is not None:
        item["quantity"] = asked.quantity
    item["metadata"] = merge_metadata(item["metadata"], asked.metadata)
    if asked.tax_rates is not None:
        item["tax_rates"] = [a.store.need("tax_rate", rate) for rate in asked.tax_rates]
    if asked.discounts is not None:
        _discount(a, item, asked)


def _swap_quietly(a: Account, subscription: Json, form: Update) -> None:
    """During a trial, or while paused, changes cost nothing and give nothing back."""
    swaps = {asked.id: asking.price_of(a, asked, recurring=True) for asked in form.items if asked.id is not None}
    _apply(a, subscription, form, swaps)


def _into_trial(a: Account, subscription: Json, form: Update, now: int) -> Change:
    """A trial begins, or is prolonged: paid time is given back, and the cycle is anchored at the trial's end."""
    change = Change(at=now, prorates=form.proration_behavior != "none")
    if change.prorates and subscription["status"] != "trialing":
        change.credits = lines.given_back(a, items_of(subscription), now)
    _swap_quietly(a, subscription, form)
    if subscription["status"] != "trialing":
        subscription["trial_start"] = now
        for item in items_of(subscription):
            item["current_period_start"] = now
    subscription |= {"status": "trialing", "trial_end": form.trial_end, "billing_cycle_anchor": form.trial_end}
    for item in items_of(subscription):
        item["current_period_end"] = form.trial_end
        a.store.hidden(item["id"]).pop("debit", None)
    return change


def _settle(a: Account, subscription: Json, form: Update, change: Change, span_start: int) -> None:
    """Tell of the change; then invoice it at once, or keep its prorations for the next invoice."""
    extras = lines.extras(a, subscription, form.add_invoice_items, change.at)
    at_once = (
        change.resets or (change.changes_interval and change.prorates) or form.proration_behavior == "always_invoice"
    )
    moved = [*change.credits, *change.debits]
    if not moved or not at_once or subscription["pause_collection"] is not None:
        a.updated(subscription, UPDATED)
        billing.pend(a, subscription, [*moved, *extras])
        return
    billing.announce(a, subscription)
    whole = change.debits if change.resets else []
    now = a.now(subscription["customer"])
    span = (now, now) if change.resets else (span_start, now)
    behind = subscription["status"] in BEHIND
    if not behind:
        a.updated(subscription, UPDATED)
    # Behind and active within one second cannot be put in order by those who listen: such a change is told as one.
    with a.as_one(subscription, UPDATED) if behind else nullcontext():
        billing.pend(a, subscription, change.credits if change.resets else moved)
        _invoice(a, subscription, form, [*whole, *extras], span)


def _invoice(a: Account, subscription: Json, form: Update, drafts: Sequence[Draft], span: tuple[int, int]) -> None:
    invoice = billing.bill(
        a, subscription, drafts, reason="subscription_update", period=span, id=subscription["latest_invoice"]
    )
    attempt = form.payment_behavior != "default_incomplete"
    billing.collect(a, subscription, invoice, off_session=form.off_session, attempt=attempt)
    if not attempt and invoice["status"] == "open" and subscription["status"] == "active":
        subscription["status"] = "past_due"
    a.updated(subscription, UPDATED)
