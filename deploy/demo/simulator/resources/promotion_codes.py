"""Promotion codes: the words by which customers redeem coupons."""

from typing import Annotated, Literal

from pydantic import Field

from deploy.demo.simulator.account import Account
from deploy.demo.simulator.errors import Json, StripeError
from deploy.demo.simulator.forms import Form, ListForm, Metadata, Part, merge_metadata
from deploy.demo.simulator.registry import route
from deploy.demo.simulator.render import before_basil
from deploy.demo.simulator.resources import coupons
from deploy.demo.simulator.store import page


class Promotion(Part):
    """What the code gives."""

    type: Literal["coupon"] = "coupon"
    coupon: str


class Restrictions(Part):
    """Who may use it, and on what."""

    first_time_transaction: bool = False
    minimum_amount: int | None = None
    minimum_amount_currency: str | None = None


class Create(Form):
    """https://docs.stripe.com/api/promotion_codes/create."""

    promotion: Promotion
    active: bool = True
    code: str | None = None
    customer: str | None = None
    expires_at: int | None = None
    max_redemptions: Annotated[int, Field(ge=1)] | None = None
    metadata: Metadata | None = None
    restrictions: Restrictions = Restrictions()


class Update(Form):
    """https://docs.stripe.com/api/promotion_codes/update."""

    active: bool | None = None
    metadata: Metadata | None = None


class List(ListForm):
    """https://docs.stripe.com/api/promotion_codes/list."""

    active: bool | None = None
    code: str | None = None
    coupon: str | None = None
    customer: str | None = None


@route("POST", "/v1/promotion_codes", Create)
def create(a: Account, form: Create) -> Json:
    """A new code for a coupon."""
    coupons.need(a, form.promotion.coupon, "promotion[coupon]")
    if form.customer is not None:
        a.store.need("customer", form.customer, "customer")
    code = form.code or a.store.letters(8).upper()
    if any(row["active"] and row["code"].upper() == code.upper() for row in a.store.all("promotion_code")):
        raise StripeError("An active promotion code with this code already exists.", param="code")
    promotion_code = a.add(
        {
            "id": a.store.new_id("promo"),
            "object": "promotion_code",
            "active": form.active,
            "code": code,
            "created": a.now(),
            "customer": form.customer,
            "customer_account": None,
            "expires_at": form.expires_at,
            "livemode": False,
            "max_redemptions": form.max_redemptions,
            "metadata": merge_metadata({}, form.metadata),
            "promotion": {"coupon": form.promotion.coupon, "type": "coupon"},
            "restrictions": form.restrictions.model_dump(),
            "times_redeemed": 0,
        }
    )
    a.emit("promotion_code.created", promotion_code)
    if form.expires_at is not None:
        a.clock.at(form.expires_at, lambda: _retire(a, promotion_code))
    return promotion_code


def _retire(a: Account, promotion_code: Json) -> None:
    promotion_code["active"] = False
    a.updated(promotion_code)


@route("GET", "/v1/promotion_codes", List)
def listed(a: Account, form: List) -> Json:
    """Codes, newest first."""
    wanted = form.given("active", "code", "customer")
    rows = [row for row in a.store.all("promotion_code") if all(row[name] == value for name, value in wanted.items())]
    if form.coupon is not None:
        rows = [row for row in rows if row["promotion"]["coupon"] == form.coupon]
    return page(rows, form, "/v1/promotion_codes")


@route("GET", "/v1/promotion_codes/{id}")
def retrieve(a: Account, form: Form, id: str) -> Json:
    """One code."""
    return a.store.need("promotion_code", id)


@route("POST", "/v1/promotion_codes/{id}", Update)
def update(a: Account, form: Update, id: str) -> Json:
    """Retire it, or bring it back."""
    promotion_code = a.store.need("promotion_code", id)
    if form.active and not coupons.need(a, promotion_code["promotion"]["coupon"])["valid"]:
        raise StripeError("The promotion code's coupon is no longer valid.", param="active")
    promotion_code |= form.given("active")
    promotion_code["metadata"] = merge_metadata(promotion_code["metadata"], form.metadata)
    a.updated(promotion_code)
    return promotion_code


@before_basil("promotion_code")
def older(a: Account, promotion_code: Json) -> None:
    """An older code shows its coupon whole."""
    promotion_code["coupon"] = dict(a.store.need("coupon", promotion_code.pop("promotion")["coupon"]))


def need(a: Account, id: str, customer: str | None, param: str) -> Json:
    """A code that this customer can use now. Raises StripeError when there is none."""
    code = a.store.need("promotion_code", id, param)
    if not code["active"]:
        raise StripeError("This promotion code is inactive.", code="promotion_code_expired", param=param)
    if code["customer"] not in {None, customer}:
        raise StripeError("This promotion code is for another customer.", param=param)
    if code["restrictions"]["first_time_transaction"] and _has_paid(a, customer):
        raise StripeError(
            "This promotion code cannot be redeemed because the associated customer has prior transactions.",
            param=param,
        )
    return code


def _has_paid(a: Account, customer: str | None) -> bool:
    return any(row["status"] == "paid" and row["amount_paid"] for row in a.store.by("invoice", "customer", customer))


def redeemed(a: Account, promotion_code: Json) -> None:
    """Count a redemption; the last one ends it."""
    promotion_code["times_redeemed"] += 1
    limit = promotion_code["max_redemptions"]
    if limit is not None and promotion_code["times_redeemed"] >= limit:
        promotion_code["active"] = False
    a.updated(promotion_code)
