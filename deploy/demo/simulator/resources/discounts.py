"""Discounts: a coupon at work on a customer, a subscription or one of its items, from a day until another."""

from deploy.demo.simulator import periods
from deploy.demo.simulator.account import Account
from deploy.demo.simulator.errors import Json, StripeError, missing
from deploy.demo.simulator.forms import Form, Part
from deploy.demo.simulator.registry import route
from deploy.demo.simulator.render import before_basil
from deploy.demo.simulator.resources import coupons, promotion_codes


class Asked(Part):
    """A discount that a request asks for: by coupon, by promotion code, or one that there is already."""

    coupon: str | None = None
    discount: str | None = None
    promotion_code: str | None = None


class Grant(Form):
    """What an operator gives to a customer in the dashboard."""

    coupon: str


def refuse(a: Account, wanted: list[Asked], *, customer: str | None, currency: str, param: str) -> None:
    """Raises StripeError when one of the wanted discounts cannot be had."""
    for place, asked in enumerate(wanted):
        if asked.discount is not None:
            a.store.need("discount", asked.discount, f"{param}[{place}][discount]")
            continue
        coupon, _ = _source(a, asked, customer, f"{param}[{place}]")
        if coupon["currency"] not in {None, currency}:
            raise StripeError(
                f"The coupon `{coupon['id']}` is in {coupon['currency']} and cannot be applied to {currency}.",
                param=f"{param}[{place}][coupon]",
            )


def _source(a: Account, asked: Asked, customer: str | None, param: str) -> tuple[Json, Json | None]:
    code = None
    if asked.promotion_code is not None:
        code = promotion_codes.need(a, asked.promotion_code, customer, f"{param}[promotion_code]")
        coupon = coupons.need(a, code["promotion"]["coupon"], f"{param}[promotion_code]")
    elif asked.coupon is not None:
        coupon = coupons.need(a, asked.coupon, f"{param}[coupon]")
    else:
        raise StripeError("You must provide one of: coupon, discount, promotion_code.", param=param)
    if not coupon["valid"]:
        raise StripeError(f"Coupon expired: {coupon['id']}", code="coupon_expired", param=f"{param}[coupon]")
    return coupon, code


def make(
    a: Account,
    wanted: list[Asked],
    *,
    customer: str | None,
    subscription: str | None = None,
    subscription_item: str | None = None,
    checkout_session: str | None = None,
    invoice: str | None = None,
    invoice_item: str | None = None,
) -> list[str]:
    """The discounts' ids: new ones for coupons and codes, those that there are for their ids. Tell of them later."""
    return [
        asked.discount
        or _new(
            a,
            asked,
            {
                "checkout_session": checkout_session,
                "customer": customer,
                "invoice": invoice,
                "invoice_item": invoice_item,
                "subscription": subscription,
                "subscription_item": subscription_item,
            },
        )["id"]
        for asked in wanted
    ]


def _new(a: Account, asked: Asked, owner: Json) -> Json:
    coupon, code = _source(a, asked, owner["customer"], "discounts")
    start = a.now(owner["customer"])
    end = None
    if coupon["duration"] == "repeating":
        end = periods.boundary(start, periods.Interval("month"), coupon["duration_in_months"])
    discount = a.add(
        {
            "id": a.store.new_id("di"),
            "object": "discount",
            "customer_account": None,
            "end": end,
            "promotion_code": code["id"] if code else None,
            "source": {"coupon": coupon["id"], "type": "coupon"},
            "start": start,
            **owner,
        }
    )
    coupons.redeemed(coupon)
    if code is not None:
        promotion_codes.redeemed(a, code)
    return discount


def tell(a: Account, ids: list[str]) -> None:
    """`customer.discount.created` for discounts that nobody was told of yet."""
    for id_ in ids:
        hidden = a.store.hidden(id_)
        if not hidden.get("told"):
            hidden["told"] = True
            a.emit("customer.discount.created", a.store.need("discount", id_))


def ended(a: Account, id: str) -> None:
    """It applies no more; invoices that carry it still show it."""
    hidden = a.store.hidden(id)
    if not hidden.get("ended"):
        hidden["ended"] = True
        a.emit("customer.discount.deleted", a.store.need("discount", id))


def coupon_of(a: Account, discount: Json) -> Json:
    """The coupon behind a discount, deleted or not."""
    return a.store.need("coupon", discount["source"]["coupon"])


def live(a: Account, ids: list[str], at: int) -> list[str]:
    """Those that apply at `at`."""
    return [id_ for id_ in ids if _applies(a, id_, at)]


def _applies(a: Account, id: str, at: int) -> bool:
    end = a.store.need("discount", id)["end"]
    return not a.store.hidden(id).get("ended") and (end is None or end > at)


def used(a: Account, ids: list[str]) -> list[str]:
    """What is left of them after an invoice was made with them: a `once` has had its turn."""
    left: list[str] = []
    for id_ in ids:
        if coupon_of(a, a.store.need("discount", id_))["duration"] == "once":
            ended(a, id_)
        else:
            left.append(id_)
    return left


@route("POST", "/_sim/customers/{id}/discount", Grant)
def grant(a: Account, form: Grant, id: str) -> Json:
    """An operator gives a customer a discount in the dashboard; Stripe's API has no parameter for it any more."""
    customer = a.store.need("customer", id)
    wanted = [Asked(coupon=form.coupon)]
    refuse(a, wanted, customer=id, currency=customer["currency"] or "", param="discounts")
    if customer["discount"] is not None:
        ended(a, customer["discount"]["id"])
    ids = make(a, wanted, customer=id)
    customer["discount"] = a.store.need("discount", ids[0])
    tell(a, ids)
    a.updated(customer)
    return customer


@route("DELETE", "/v1/customers/{id}/discount")
def delete_customers(a: Account, form: Form, id: str) -> Json:
    """Take a customer's discount away."""
    customer = a.store.need("customer", id)
    discount = customer["discount"]
    if discount is None:
        raise missing("discount", id)
    customer["discount"] = None
    ended(a, discount["id"])
    a.updated(customer)
    return discount | {"deleted": True}


@before_basil("discount")
def older(a: Account, discount: Json) -> None:
    """Before clover a discount showed its coupon whole."""
    discount["coupon"] = dict(a.store.need("coupon", discount.pop("source")["coupon"]))
