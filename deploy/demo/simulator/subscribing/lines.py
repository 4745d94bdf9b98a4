"""The lines that a subscription puts on invoices: a period, a trial, what is left of a period, what is given back."""

from collections.abc import Iterable, Sequence

from deploy.demo.simulator import periods, pricing
from deploy.demo.simulator.account import Account
from deploy.demo.simulator.amounts import percent, share
from deploy.demo.simulator.currencies import grain
from deploy.demo.simulator.errors import Json
from deploy.demo.simulator.invoicing.lines import Draft
from deploy.demo.simulator.proration import unused
from deploy.demo.simulator.resources import discounts
from deploy.demo.simulator.subscribing import asking
from deploy.demo.simulator.subscribing.forms import Extra
from deploy.demo.simulator.subscribing.shape import items_of, period_of


def period(a: Account, item: Json) -> Draft:
    """A whole period of an item: its count, its product and its rate, as Stripe words them."""
    price = item["price"]
    amount = pricing.cost(a, price, item["quantity"])
    return _line(item, f"{_count(a, item)} (at {_rate(price)})", amount, period_of(item))


def trial(a: Account, item: Json) -> Draft:
    """A trial costs nothing, and says so."""
    return _line(item, f"Free trial for {_count(a, item)}", 0, period_of(item))


def until_anchor(a: Account, item: Json, whole: tuple[int, int]) -> Draft:
    """The first, short period up to the anchor; `whole` is the period that it is the end of."""
    full = pricing.cost(a, item["price"], item["quantity"])
    amount = unused(full, whole, period_of(item)[0], _grain(item))
    return _line(item, f"{_count(a, item)} (at {_rate(item['price'])})", amount, period_of(item))


def remaining(a: Account, subscription: Json, item: Json, at: int) -> Draft:
    """What the rest of the period costs, discounts within it: `Remaining time on Pro after 15 Mar 2026`."""
    price = item["price"]
    whole = net(a, subscription, item, pricing.cost(a, price, item["quantity"]))
    described = f"Remaining time on {_many(a, item)} after {periods.day(at)}"
    amount = unused(whole, period_of(item), at, _grain(item))
    return _line(item, described, amount, (at, item["current_period_end"]), proration=True)


def given_back(a: Account, items: Iterable[Json], at: int) -> list[Draft]:
    """What of the items' last debits is unused: `Unused time on Pro after 15 Mar 2026`.

    By what was debited, not by what the item costs now, as flexible billing does:
    https://docs.stripe.com/billing/subscriptions/prorations#credit-prorations
    """
    found = (_given_back(a, item, at) for item in items)
    return [line for line in found if line is not None]


def _given_back(a: Account, item: Json, at: int) -> Draft | None:
    debit = a.store.hidden(item["id"]).get("debit")
    if debit is None or debit["period"][1] <= at:
        return None
    if not (amount := unused(debit["amount"], debit["period"], at, _grain(item))):
        return None
    described = f"Unused time on {_many(a, item)} after {periods.day(at)}"
    credited = (debit["invoice"], (debit["line"],)) if debit["invoice"] else None
    return _line(item, described, -amount, (at, debit["period"][1]), proration=True, credited=credited)


def extras(a: Account, subscription: Json, wanted: Sequence[Extra], at: int) -> list[Draft]:
    """One-time charges that come along with the subscription; prices that are given as data are made."""
    found: list[Draft] = []
    for asked in wanted:
        price = asking.price_of(a, asked, recurring=False)
        assert price is not None
        found.append(
            Draft(
                description=a.store.need("product", price["product"])["name"],
                amount=pricing.cost(a, price, asked.quantity),
                quantity=asked.quantity,
                period=(at, at),
                price=price,
                tax_rates=tuple(asked.tax_rates or ()),
                metadata=dict(asked.metadata or {}),
                discounts=tuple(discounts.make(a, asked.discounts or [], customer=subscription["customer"])),
            )
        )
    return found


def debited(a: Account, item: Json, amount: int, span: tuple[int, int], *, at: tuple[str, str] | None = None) -> None:
    """Remember what an item cost for `span`, net of discounts; `at` names the invoice and its line."""
    invoice, line = at or (None, None)
    a.store.hidden(item["id"])["debit"] = {"amount": amount, "period": span, "invoice": invoice, "line": line}


def remember(a: Account, invoice: Json) -> None:
    """Remember the debits that stand on an invoice, so that they can be given back."""
    for line in invoice["lines"]["data"]:
        details = line["parent"]["subscription_item_details"]
        item = a.store.get("subscription_item", details["subscription_item"]) if details else None
        if item is None or line["amount"] < 0:
            continue
        span = (line["period"]["start"], line["period"]["end"])
        off = sum(row["amount"] for row in line["discount_amounts"])
        debit = a.store.hidden(item["id"]).get("debit")
        if not details["proration"] or (debit is not None and debit["period"] == span):
            debited(a, item, line["amount"] - off, span, at=(invoice["id"], line["id"]))


def net(a: Account, subscription: Json, item: Json, amount: int) -> int:
    """An amount of this item less the discounts that apply now; a sum off is shared by what the items cost."""
    now = a.now(subscription["customer"])
    found = [*item["discounts"], *discounts.live(a, subscription["discounts"], now)]
    for id_ in discounts.live(a, found, now):
        coupon = discounts.coupon_of(a, a.store.need("discount", id_))
        limits = a.store.hidden(coupon["id"]).get("applies_to")
        if limits and item["price"]["product"] not in limits["products"]:
            continue
        if coupon["percent_off"] is not None:
            amount -= percent(amount, coupon["percent_off"], _grain(item))
        elif coupon["currency"] == subscription["currency"]:
            off = coupon["amount_off"] if id_ in item["discounts"] else _share(a, subscription, item, coupon)
            amount -= min(off, amount)
    return amount


def _share(a: Account, subscription: Json, item: Json, coupon: Json) -> int:
    whole = sum(pricing.cost(a, row["price"], row["quantity"]) for row in items_of(subscription))
    part = pricing.cost(a, item["price"], item["quantity"])
    return share(coupon["amount_off"], part, whole, _grain(item)) if whole else 0


def _line(
    item: Json,
    description: str,
    amount: int,
    span: tuple[int, int],
    *,
    proration: bool = False,
    credited: tuple[str, tuple[str, ...]] | None = None,
) -> Draft:
    return Draft(
        description=description,
        amount=amount,
        quantity=item["quantity"],
        period=span,
        price=item["price"],
        subscription=item["subscription"],
        subscription_item=item["id"],
        proration=proration,
        discountable=not proration,
        tax_rates=tuple(rate["id"] for rate in item["tax_rates"]),
        metadata=dict(item["metadata"]),
        discounts=() if proration else tuple(item["discounts"]),
        credited=credited,
    )


def _grain(item: Json) -> int:
    return grain(item["price"]["currency"])


def _name(a: Account, item: Json) -> str:
    return a.store.need("product", item["price"]["product"])["name"]


def _count(a: Account, item: Json) -> str:
    label = a.store.need("product", item["price"]["product"])["unit_label"]
    quantity = item["quantity"]
    units = f"{quantity} {label}" if label else f"{quantity}"
    return f"{units} × {_name(a, item)}"  # noqa: RUF001 - Stripe's own sign


def _many(a: Account, item: Json) -> str:
    return _name(a, item) if item["quantity"] == 1 else f"{item['quantity']} × {_name(a, item)}"  # noqa: RUF001 - Stripe's own sign


def _rate(price: Json) -> str:
    rhythm = pricing.rhythm(price["recurring"])
    if price["billing_scheme"] == "tiered":
        return f"tiered pricing / {rhythm}"
    return f"{pricing.money(price['unit_amount_decimal'], price['currency'])} / {rhythm}"
