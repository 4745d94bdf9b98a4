"""Coupons: so much per cent, or so much money, off an invoice: once, for some months, or for ever."""

from typing import Annotated, Any, Literal

from pydantic import Field

from deploy.demo.simulator.account import Account
from deploy.demo.simulator.currencies import refuse_fraction
from deploy.demo.simulator.errors import Json, StripeError, missing
from deploy.demo.simulator.forms import Form, ListForm, Metadata, Part, Text, merge_metadata
from deploy.demo.simulator.registry import route
from deploy.demo.simulator.render import includable
from deploy.demo.simulator.store import page


class AppliesTo(Part):
    """The products that a coupon is for."""

    products: list[str]


class Create(Form):
    """https://docs.stripe.com/api/coupons/create."""

    id: str | None = None
    amount_off: Annotated[int, Field(ge=1)] | None = None
    applies_to: AppliesTo | None = None
    currency: str | None = None
    duration: Literal["forever", "once", "repeating"] = "once"
    duration_in_months: Annotated[int, Field(ge=1)] | None = None
    max_redemptions: Annotated[int, Field(ge=1)] | None = None
    metadata: Metadata | None = None
    name: str | None = None
    percent_off: Annotated[float, Field(gt=0, le=100)] | None = None
    redeem_by: int | None = None


class Update(Form):
    """https://docs.stripe.com/api/coupons/update: what it takes off never changes."""

    metadata: Metadata | None = None
    name: Text = None


@route("POST", "/v1/coupons", Create)
def create(a: Account, form: Create) -> Json:
    """A new coupon; its maker may choose its id."""
    _refuse(a, form)
    coupon = a.add(
        {
            "id": form.id or a.store.letters(8),
            "object": "coupon",
            "amount_off": form.amount_off,
            "created": a.now(),
            "currency": form.currency.lower() if form.currency and form.amount_off else None,
            "duration": form.duration,
            "duration_in_months": form.duration_in_months,
            "livemode": False,
            "max_redemptions": form.max_redemptions,
            "metadata": merge_metadata({}, form.metadata),
            "name": form.name,
            "percent_off": form.percent_off,
            "redeem_by": form.redeem_by,
            "times_redeemed": 0,
            "valid": True,
        }
    )
    hidden = a.store.hidden(coupon["id"])
    hidden.pop("deleted", None)
    hidden["applies_to"] = form.applies_to.model_dump() if form.applies_to else None
    a.emit("coupon.created", coupon)
    if form.redeem_by is not None:
        a.clock.at(form.redeem_by, lambda: _expire(coupon))
    return coupon


def _expire(coupon: Json) -> None:
    coupon["valid"] = False


def _refuse(a: Account, form: Create) -> None:
    if form.id is not None and known(a, form.id) is not None:
        raise StripeError(f"Coupon already exists: {form.id}.", code="resource_already_exists", param="id")
    if (form.amount_off is None) == (form.percent_off is None):
        raise StripeError("You must pass either `percent_off` or `amount_off`, and not both.", param="percent_off")
    if form.amount_off is not None and form.currency is None:
        raise StripeError("You must pass `currency` when passing `amount_off`.", param="currency")
    if form.amount_off is not None and form.currency is not None:
        refuse_fraction(form.amount_off, form.currency.lower(), "amount_off")
    if (form.duration == "repeating") != (form.duration_in_months is not None):
        raise StripeError(
            "You must pass `duration_in_months` when, and only when, `duration` is `repeating`.",
            param="duration_in_months",
        )
    if form.redeem_by is not None and form.redeem_by <= a.now():
        raise StripeError("The `redeem_by` timestamp must be in the future.", param="redeem_by")
    for product in form.applies_to.products if form.applies_to else []:
        a.store.need("product", product, "applies_to[products]")


@route("GET", "/v1/coupons", ListForm)
def listed(a: Account, form: ListForm) -> Json:
    """Coupons, newest first."""
    return page([row for row in a.store.all("coupon") if known(a, row["id"])], form, "/v1/coupons")


@route("GET", "/v1/coupons/{id}")
def retrieve(a: Account, form: Form, id: str) -> Json:
    """One coupon."""
    return need(a, id)


@route("POST", "/v1/coupons/{id}", Update)
def update(a: Account, form: Update, id: str) -> Json:
    """Change what it is called."""
    coupon = need(a, id)
    coupon |= form.given("name")
    coupon["metadata"] = merge_metadata(coupon["metadata"], form.metadata)
    a.updated(coupon)
    return coupon


@route("DELETE", "/v1/coupons/{id}")
def delete(a: Account, form: Form, id: str) -> Json:
    """Nobody can redeem it any more; who has it keeps it."""
    coupon = need(a, id)
    coupon["valid"] = False
    a.store.hidden(id)["deleted"] = True
    a.emit("coupon.deleted", coupon)
    return {"id": id, "object": "coupon", "deleted": True}


@includable("coupon", "applies_to")
def applies_to(a: Account, coupon: Json) -> Any:
    """The products that it is for; null for all."""
    return a.store.hidden(coupon["id"])["applies_to"]


def known(a: Account, id: str) -> Json | None:
    """The coupon, unless it was deleted: discounts still point to a deleted one."""
    return None if a.store.hidden(id).get("deleted") else a.store.get("coupon", id)


def need(a: Account, id: str, param: str = "id") -> Json:
    """The coupon. Raises StripeError `resource_missing`."""
    if (coupon := known(a, id)) is None:
        raise missing("coupon", id, param)
    return coupon


def redeemed(coupon: Json) -> None:
    """Count a redemption; the last one ends it."""
    coupon["times_redeemed"] += 1
    if coupon["max_redemptions"] is not None and coupon["times_redeemed"] >= coupon["max_redemptions"]:
        coupon["valid"] = False
