"""A customer subscribes: a trial, a first invoice, or both in their time."""

from deploy.demo.simulator import periods
from deploy.demo.simulator.account import Account
from deploy.demo.simulator.errors import Json, StripeError
from deploy.demo.simulator.invoicing.lines import Draft
from deploy.demo.simulator.resources import customers, discounts, prices
from deploy.demo.simulator.subscribing import asking, billing, ending, life, lines
from deploy.demo.simulator.subscribing.forms import Create, ItemFields
from deploy.demo.simulator.subscribing.shape import blank, items_of, new_item, put_items


def create(a: Account, form: Create) -> Json:
    """A new subscription. Raises StripeError before anything is made; a declined first payment leaves it incomplete."""
    customer = customers.living(a, form.customer, "customer")
    now = a.now(customer["id"])
    currency = _refuse(a, form, now)
    trial_end = _trial_end(a, form, now)
    if trial_end is None and _charges(a, form):
        method = form.default_payment_method or customer["invoice_settings"]["default_payment_method"]
        if method is None:
            raise StripeError(asking.NO_METHOD, code="resource_missing")
        if form.payment_behavior == "error_if_incomplete":
            asking.refuse_incomplete(a, method, off_session=form.off_session)
    subscription = blank(a, customer, currency)
    asking.put_terms(a, subscription, form)
    if form.billing_mode.type == "classic":
        subscription["billing_mode"] = {"flexible": None, "type": "classic", "updated_at": now}
    _begin(subscription, form, now, trial_end)
    a.add(subscription, "customer")
    put_items(subscription, [_item(a, subscription, fields, now) for fields in form.items])
    _discounts(a, form, subscription)
    ending.put_cancel_at(a, subscription, form)
    _open(a, customer, subscription, form)
    life.act(a, subscription)  # a short trial's notice comes at once
    life.watch(a, subscription)
    return subscription


def _refuse(a: Account, form: Create, now: int) -> str:
    """The currency that all agree on. Raises StripeError for what cannot be had."""
    if not form.items:
        raise StripeError("Missing required param: items.", code="parameter_missing", param="items")
    currency = form.currency.lower() if form.currency else None
    for place, fields in enumerate(form.items):
        found = asking.refuse_item(a, fields, customer=form.customer, currency=currency, param=f"items[{place}]")
        if found is None:
            param = f"items[{place}][price]"
            raise StripeError("Missing required param: price.", code="parameter_missing", param=param)
        currency = currency or found
    assert currency is not None
    asking.refuse_terms(a, form, form.customer, currency, now=now)
    asking.refuse_sending(form.collection_method or "charge_automatically", form.days_until_due)
    if form.billing_cycle_anchor is not None and form.billing_cycle_anchor <= now:
        raise StripeError("`billing_cycle_anchor` must be in the future.", param="billing_cycle_anchor")
    if form.trial_end is not None and form.trial_period_days is not None:
        raise StripeError("You cannot set both `trial_end` and `trial_period_days`.", param="trial_end")
    if form.billing_mode.type == "classic" and len({asking.recurs(a, fields) for fields in form.items}) > 1:
        raise StripeError(
            "If a subscription has several items, all of their prices must have the same billing interval.",
            param="items",
        )
    _refuse_mixture(a, form.customer, currency)
    return currency


def _refuse_mixture(a: Account, customer: str, currency: str) -> None:
    for other in a.store.by("subscription", "customer", customer):
        if other["ended_at"] is None and other["currency"] != currency:
            raise StripeError(
                "You cannot combine currencies on a single customer. This customer has an active subscription, "
                f"subscription schedule, discount, quote, or invoice item with currency {other['currency']}",
                param="currency",
            )


def _trial_end(a: Account, form: Create, now: int) -> int | None:
    if form.trial_end == "now":
        return None
    if form.trial_end is not None:
        return form.trial_end
    days = form.trial_period_days
    if days is None and form.trial_from_plan:
        days = max(asking.trial_days(a, fields) for fields in form.items)
    return periods.in_days(now, days) if days else None


def _charges(a: Account, form: Create) -> bool:
    """Whether something is to be charged at once."""
    if form.collection_method == "send_invoice" or form.payment_behavior == "default_incomplete":
        return False
    return not all(asking.is_free(a, fields) for fields in form.items)


def _begin(subscription: Json, form: Create, now: int, trial_end: int | None) -> None:
    """Whether it begins with a trial, and when its cycle is anchored."""
    if trial_end is not None:
        subscription |= {"status": "trialing", "trial_start": now, "trial_end": trial_end}
    elif form.collection_method == "send_invoice":
        subscription["status"] = "active"
    subscription["billing_cycle_anchor"] = form.billing_cycle_anchor or trial_end or now


def _item(a: Account, subscription: Json, fields: ItemFields, now: int) -> Json:
    price = asking.price_of(a, fields, recurring=True)
    assert price is not None
    anchor = subscription["billing_cycle_anchor"]
    end = subscription["trial_end"] or periods.around(anchor, prices.interval(price), now)[1]
    return new_item(a, subscription, price, fields, (now, end))


def _discounts(a: Account, form: Create, subscription: Json) -> None:
    customer, id_ = subscription["customer"], subscription["id"]
    subscription["discounts"] = discounts.make(a, form.discounts or [], customer=customer, subscription=id_)
    for item, fields in zip(items_of(subscription), form.items, strict=True):
        item["discounts"] = discounts.make(
            a, fields.discounts or [], customer=customer, subscription=id_, subscription_item=item["id"]
        )


def _open(a: Account, customer: Json, subscription: Json, form: Create) -> None:
    """Tell of it, draft the first invoice, and collect it."""
    now = a.now(customer["id"])
    drafts = [*_lines(a, subscription, form, now), *lines.extras(a, subscription, form.add_invoice_items, now)]
    if drafts:
        billing.announce(a, subscription)
    elif subscription["status"] == "incomplete":
        subscription["status"] = "active"  # free until the anchor: nothing to wait for
    a.emit("customer.subscription.created", subscription)
    discounts.tell(
        a, [*subscription["discounts"], *(id_ for item in items_of(subscription) for id_ in item["discounts"])]
    )
    if not drafts:
        if customer["currency"] is None:
            customer["currency"] = subscription["currency"]
            a.updated(customer)
        return
    invoice = billing.bill(
        a,
        subscription,
        drafts,
        reason="subscription_create",
        period=(now, now),
        id=subscription["latest_invoice"],
    )
    attempt = form.payment_behavior != "default_incomplete"
    billing.collect(a, subscription, invoice, off_session=form.off_session, attempt=attempt)


def _lines(a: Account, subscription: Json, form: Create, now: int) -> list[Draft]:
    items, anchor = items_of(subscription), subscription["billing_cycle_anchor"]
    if subscription["status"] == "trialing":
        return [lines.trial(a, item) for item in items]
    if anchor <= now:
        return [lines.period(a, item) for item in items]
    if form.proration_behavior == "none":
        return []
    found: list[Draft] = []
    for item in items:
        whole = periods.around(anchor, prices.interval(item["price"]), now)
        found.append(lines.period(a, item) if whole[0] == now else lines.until_anchor(a, item, whole))
    return found
