"""What a subscription's next invoice would be, as it stands or with a change that nobody has made yet."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import BeforeValidator

from deploy.demo.simulator import periods
from deploy.demo.simulator.account import Account
from deploy.demo.simulator.errors import Json, StripeError
from deploy.demo.simulator.forms import Form, read
from deploy.demo.simulator.invoicing.drafting import Proposal
from deploy.demo.simulator.invoicing.lines import Draft
from deploy.demo.simulator.resources import discounts, invoices, prices
from deploy.demo.simulator.subscribing import asking, life, lines
from deploy.demo.simulator.subscribing.forms import Anchor, ItemChange, Proration, anchor_of
from deploy.demo.simulator.subscribing.shape import blank, items_of, period_end


class Details(Form):
    """https://docs.stripe.com/api/invoices/create_preview#create_create_preview-subscription_details."""

    items: tuple[ItemChange, ...] = ()
    billing_cycle_anchor: Annotated[Anchor | None, BeforeValidator(anchor_of)] = None
    proration_behavior: Proration = "create_prorations"
    proration_date: int | None = None
    trial_end: int | None = None


@invoices.proposes
def propose(a: Account, customer: Json, form: invoices.Preview) -> Proposal:
    """The lines that would stand on it; nothing is kept. Raises StripeError for what cannot be."""
    details = read(Details, form.subscription_details or {})
    if any(asked.price_data is not None for asked in details.items):
        raise StripeError("Previews take prices that there are: `price`.", param="subscription_details[items]")
    if form.subscription is None:
        return _new(a, customer, details)
    subscription = a.store.need("subscription", form.subscription, "subscription")
    if subscription["ended_at"] is not None:
        raise StripeError("The subscription is canceled.", status=404, code="invoice_upcoming_none")
    for place, asked in enumerate(details.items):
        param = f"subscription_details[items][{place}]"
        asking.refuse_item(a, asked, customer=customer["id"], currency=subscription["currency"], param=param)
    return _running(a, customer, subscription, details)


def _new(a: Account, customer: Json, details: Details) -> Proposal:
    """The first invoice of a subscription that nobody has yet."""
    now = a.now(customer["id"])
    currency: str | None = customer["currency"]
    for place, asked in enumerate(details.items):
        param = f"subscription_details[items][{place}]"
        currency = asking.refuse_item(a, asked, customer=customer["id"], currency=currency, param=param) or currency
    thought = blank(a, customer, currency or "usd") | {"id": None}
    found = [_thought(a, thought, asked, now) for asked in details.items]
    drafts = [lines.trial(a, item) if details.trial_end else lines.period(a, item) for item in found]
    return Proposal(currency=currency or "usd", reason="upcoming", lines=drafts, period=(now, now))


def _thought(a: Account, subscription: Json, asked: ItemChange, now: int) -> Json:
    """An item that is only thought of."""
    price = a.store.need("price", str(asked.price or asked.plan))
    start, end = periods.around(subscription["billing_cycle_anchor"], prices.interval(price), now)
    return {
        "id": None,
        "current_period_end": end,
        "current_period_start": start,
        "discounts": [],
        "metadata": {},
        "price": price,
        "quantity": 1 if asked.quantity is None else asked.quantity,
        "subscription": subscription["id"],
        "tax_rates": [],
    }


def _running(a: Account, customer: Json, subscription: Json, details: Details) -> Proposal:
    now = a.now(customer["id"])
    owned = discounts.live(a, subscription["discounts"], now)
    own = customer["discount"]
    proposal = Proposal(
        currency=subscription["currency"],
        reason="upcoming",
        lines=[],
        period=(now, now),
        subscription=subscription,
        discounts=owned or (discounts.live(a, [own["id"]], now) if own else []),
        tax_rates=[rate["id"] for rate in subscription["default_tax_rates"]],
    )
    resets = details.billing_cycle_anchor is not None and details.billing_cycle_anchor.type == "now"
    at = details.proration_date or now
    before = {item["id"]: item for item in items_of(subscription)}
    after, touched, shifts = _after(a, subscription, details, now)
    if details.proration_behavior != "none" and subscription["status"] != "trialing":
        gone = before if resets else {id_: before[id_] for id_ in touched if id_ in before}
        proposal.lines += lines.given_back(a, gone.values(), at)
        if not resets:
            proposal.lines += _rest(a, subscription | {"items": {"data": after}}, after, touched, at)
    if resets:
        proposal.lines += [lines.period(a, item | _span(now, item)) for item in after]
    elif not (proposal.lines and (shifts or details.proration_behavior == "always_invoice")):
        end = period_end(subscription)
        due = [item for item in after if item["current_period_end"] == end]
        proposal.lines += [lines.period(a, item | life.following(subscription, item)) for item in due]
        proposal.period = (min((item["current_period_start"] for item in due), default=now), end)
    return proposal


def _rest(a: Account, thought: Json, after: Sequence[Json], touched: set[str | None], at: int) -> list[Draft]:
    return [lines.remaining(a, thought, item, at) for item in after if item["id"] in touched]


def _span(now: int, item: Json) -> Json:
    end = periods.boundary(now, prices.interval(item["price"]), 1)
    return {"current_period_start": now, "current_period_end": end}


def _after(a: Account, subscription: Json, details: Details, now: int) -> tuple[list[Json], set[str | None], bool]:
    """The items as they would be, the ids of those that change (None: new ones), and whether an interval does."""
    found = {item["id"]: item for item in items_of(subscription)}
    added: list[Json] = []
    touched: set[str | None] = set()
    shifts = False
    for asked in details.items:
        if asked.id is None:
            added.append(_thought(a, subscription, asked, now))
            touched.add(None)
            continue
        item = found.get(asked.id)
        if item is None:
            raise StripeError(f"No such subscription item: '{asked.id}'", code="resource_missing")
        touched.add(asked.id)
        if asked.deleted:
            del found[asked.id]
            continue
        id_ = asked.price or asked.plan
        price = a.store.need("price", id_) if id_ else item["price"]
        changed = item | {"price": price, "quantity": item["quantity"] if asked.quantity is None else asked.quantity}
        if prices.interval(price) != prices.interval(item["price"]):
            shifts = True
            start, end = life.period_at(subscription, changed, now)
            changed |= {"current_period_start": start, "current_period_end": end}
        found[asked.id] = changed
    return [*found.values(), *added], touched, shifts
