"""Prices, one-time and recurring, and the plans that old integrations still see in their place."""

from decimal import Decimal, InvalidOperation
from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import Field

from deploy.demo.simulator import pricing
from deploy.demo.simulator.account import Account
from deploy.demo.simulator.currencies import KNOWN
from deploy.demo.simulator.errors import Json, StripeError, missing
from deploy.demo.simulator.forms import Form, ListForm, Metadata, Part, Text, merge_metadata
from deploy.demo.simulator.periods import Interval
from deploy.demo.simulator.registry import route
from deploy.demo.simulator.render import before_basil, includable
from deploy.demo.simulator.resources import products
from deploy.demo.simulator.store import page

TaxBehavior = Literal["inclusive", "exclusive", "unspecified"]
AtLeastOne = Annotated[int, Field(ge=1)]


class Recurring(Part):
    """How often a price recurs."""

    interval: Literal["day", "week", "month", "year"]
    interval_count: AtLeastOne = 1
    usage_type: Literal["licensed", "metered"] = "licensed"
    trial_period_days: int | None = None
    meter: str | None = None


class Tier(Part):
    """A step of a tiered price."""

    up_to: AtLeastOne | Literal["inf"]
    unit_amount: int | None = None
    unit_amount_decimal: str | None = None
    flat_amount: int | None = None
    flat_amount_decimal: str | None = None


class Transform(Part):
    """How a quantity is turned into packages."""

    divide_by: AtLeastOne
    round: Literal["up", "down"]


class InCurrency(Part):
    """The same price in another currency."""

    unit_amount: int | None = None
    unit_amount_decimal: str | None = None
    tax_behavior: TaxBehavior | None = None


class ProductData(Part):
    """A product that is made with its price."""

    name: str
    id: str | None = None
    active: bool = True
    description: str | None = None
    images: list[str] | None = None
    metadata: Metadata | None = None
    statement_descriptor: str | None = None
    tax_code: str | None = None
    unit_label: str | None = None


class Create(Form):
    """https://docs.stripe.com/api/prices/create."""

    currency: str
    active: bool = True
    billing_scheme: Literal["per_unit", "tiered"] = "per_unit"
    currency_options: dict[str, InCurrency] | None = None
    lookup_key: str | None = None
    metadata: Metadata | None = None
    nickname: str | None = None
    product: str | None = None
    product_data: ProductData | None = None
    recurring: Recurring | None = None
    tax_behavior: TaxBehavior = "unspecified"
    tiers: list[Tier] | None = None
    tiers_mode: Literal["graduated", "volume"] | None = None
    transfer_lookup_key: bool = False
    transform_quantity: Transform | None = None
    unit_amount: Annotated[int, Field(ge=0)] | None = None
    unit_amount_decimal: str | None = None


class Update(Form):
    """https://docs.stripe.com/api/prices/update: what it costs never changes."""

    active: bool | None = None
    lookup_key: Text = None
    metadata: Metadata | None = None
    nickname: Text = None
    tax_behavior: TaxBehavior | None = None
    transfer_lookup_key: bool = False


class RecurringFilter(Part):
    """Which recurring prices to list."""

    interval: str | None = None
    usage_type: str | None = None
    meter: str | None = None


class List(ListForm):
    """https://docs.stripe.com/api/prices/list."""

    active: bool | None = None
    currency: str | None = None
    lookup_keys: list[str] | None = None
    product: str | None = None
    recurring: RecurringFilter | None = None
    type: Literal["one_time", "recurring"] | None = None


class PriceData(Part):
    """A price that is made where it is used."""

    currency: str
    product: str | None = None
    product_data: ProductData | None = None
    recurring: Recurring | None = None
    tax_behavior: TaxBehavior = "unspecified"
    unit_amount: int | None = None
    unit_amount_decimal: str | None = None


@route("POST", "/v1/prices", Create)
def create(a: Account, form: Create) -> Json:
    """A new price; a recurring one is a plan, too."""
    _refuse(a, form)
    product = form.product or _product(a, form)
    amount, decimal = pricing.both(form.unit_amount, form.unit_amount_decimal)
    recurring = form.recurring
    price = a.add(
        {
            "id": a.store.new_id("price"),
            "object": "price",
            "active": form.active,
            "billing_scheme": form.billing_scheme,
            "created": a.now(),
            "currency": form.currency.lower(),
            "custom_unit_amount": None,
            "livemode": False,
            "lookup_key": form.lookup_key,
            "metadata": merge_metadata({}, form.metadata),
            "nickname": form.nickname,
            "product": product,
            "recurring": None
            if recurring is None
            else {
                "interval": recurring.interval,
                "interval_count": recurring.interval_count,
                "meter": None,
                "trial_period_days": recurring.trial_period_days,
                "usage_type": recurring.usage_type,
            },
            "tax_behavior": form.tax_behavior,
            "tiers_mode": form.tiers_mode,
            "transform_quantity": form.transform_quantity.model_dump() if form.transform_quantity else None,
            "type": "recurring" if recurring else "one_time",
            "unit_amount": amount,
            "unit_amount_decimal": decimal,
        },
        "product",
    )
    hidden = a.store.hidden(price["id"])
    hidden["tiers"] = [_tier(tier) for tier in form.tiers or []]
    hidden["currency_options"] = _options(price, form.currency_options or {})
    if form.lookup_key is not None:
        _take_lookup_key(a, price, form.lookup_key)
    if recurring is not None:
        a.emit("plan.created", a.add(_plan(price)))
    a.emit("price.created", price)
    return price


def _refuse(a: Account, form: Create) -> None:
    if form.currency.lower() not in KNOWN:
        raise StripeError(f"Invalid currency: {form.currency.lower()}.", param="currency")
    if (form.product is None) == (form.product_data is None):
        raise StripeError("You must specify either `product` or `product_data` when creating a price.", param="product")
    if form.product is not None:
        a.store.need("product", form.product, "product")
    if form.recurring is not None and form.recurring.usage_type == "metered":
        # Since basil a metered price needs a meter; meters are another product of Stripe's than invoices.
        raise StripeError(
            "Prices with `usage_type=metered` must be backed by meters starting from version 2025-03-31.basil.",
            param="recurring[meter]",
        )
    tiered = form.billing_scheme == "tiered"
    if tiered != bool(form.tiers) or tiered != bool(form.tiers_mode):
        raise StripeError(
            "`tiers` and `tiers_mode` must be specified when, and only when, `billing_scheme` is `tiered`.",
            param="tiers",
        )
    if form.tiers and (form.tiers[-1].up_to != "inf" or not _rising(form.tiers)):
        raise StripeError("The tiers must rise, and the last one must have `up_to` `inf`.", param="tiers")
    if not tiered and form.unit_amount is None and form.unit_amount_decimal is None:
        raise StripeError(
            "Prices require an `unit_amount` or `unit_amount_decimal` parameter to be set.",
            code="parameter_missing",
            param="unit_amount",
        )
    _refuse_decimal(form.unit_amount_decimal)
    if form.lookup_key is not None and not form.transfer_lookup_key:
        _refuse_taken(a, form.lookup_key)


def _rising(tiers: list[Tier]) -> bool:
    steps = [tier.up_to for tier in tiers[:-1] if tier.up_to != "inf"]
    return len(steps) == len(tiers) - 1 and all(low < high for low, high in pairwise(steps))


def _refuse_decimal(value: str | None) -> None:
    try:
        Decimal(value or 0)
    except InvalidOperation:
        raise StripeError(f"Invalid decimal: {value}", param="unit_amount_decimal") from None


def _product(a: Account, form: Create) -> str:
    assert form.product_data is not None
    return products.create(a, products.Create(**form.product_data.model_dump(exclude_unset=True)))["id"]


def _tier(tier: Tier) -> Json:
    unit, unit_decimal = pricing.both(tier.unit_amount, tier.unit_amount_decimal)
    flat, flat_decimal = pricing.both(tier.flat_amount, tier.flat_amount_decimal)
    return {
        "flat_amount": flat,
        "flat_amount_decimal": flat_decimal,
        "unit_amount": unit,
        "unit_amount_decimal": unit_decimal,
        "up_to": None if tier.up_to == "inf" else tier.up_to,
    }


def _options(price: Json, given: dict[str, InCurrency]) -> Json:
    own = {name: price[name] for name in ("custom_unit_amount", "tax_behavior", "unit_amount", "unit_amount_decimal")}
    options: Json = {price["currency"]: own}
    for currency, option in given.items():
        amount, decimal = pricing.both(option.unit_amount, option.unit_amount_decimal)
        options[currency] = {
            "custom_unit_amount": None,
            "tax_behavior": option.tax_behavior or price["tax_behavior"],
            "unit_amount": amount,
            "unit_amount_decimal": decimal,
        }
    return options


def _refuse_taken(a: Account, key: str) -> None:
    if any(price["lookup_key"] == key for price in a.store.all("price")):
        raise StripeError(
            f"A price already uses the lookup key `{key}`. Set `transfer_lookup_key` to move it.", param="lookup_key"
        )


def _take_lookup_key(a: Account, price: Json, key: str) -> None:
    for other in a.store.all("price"):
        if other["lookup_key"] == key and other is not price:
            other["lookup_key"] = None
            a.updated(other)


def _plan(price: Json) -> Json:
    recurring: Any = price["recurring"]
    return {
        "id": price["id"],
        "object": "plan",
        "active": price["active"],
        "amount": price["unit_amount"],
        "amount_decimal": price["unit_amount_decimal"],
        "billing_scheme": price["billing_scheme"],
        "created": price["created"],
        "currency": price["currency"],
        "interval": recurring["interval"],
        "interval_count": recurring["interval_count"],
        "livemode": False,
        "metadata": price["metadata"],
        "meter": None,
        "nickname": price["nickname"],
        "product": price["product"],
        "tiers_mode": price["tiers_mode"],
        "transform_usage": price["transform_quantity"],
        "trial_period_days": recurring["trial_period_days"],
        "usage_type": recurring["usage_type"],
    }


@route("GET", "/v1/prices", List)
def listed(a: Account, form: List) -> Json:
    """Prices, newest first."""
    rows = a.store.all("price")
    wanted = form.given("active", "currency", "product", "type")
    rows = [row for row in rows if all(row[name] == value for name, value in wanted.items())]
    if form.lookup_keys is not None:
        rows = [row for row in rows if row["lookup_key"] in form.lookup_keys]
    if form.recurring is not None:
        inner = form.recurring.given("interval", "usage_type", "meter")
        rows = [row for row in rows if row["recurring"] and inner.items() <= row["recurring"].items()]
    return page(rows, form, "/v1/prices")


@route("GET", "/v1/prices/{id}")
def retrieve(a: Account, form: Form, id: str) -> Json:
    """One price."""
    return a.store.need("price", id)


@route("POST", "/v1/prices/{id}", Update)
def update(a: Account, form: Update, id: str) -> Json:
    """Change what it is called, or retire it; subscriptions that carry it keep it."""
    price = a.store.need("price", id)
    if form.lookup_key is not None and form.lookup_key != price["lookup_key"]:
        if not form.transfer_lookup_key:
            _refuse_taken(a, form.lookup_key)
        _take_lookup_key(a, price, form.lookup_key)
    price |= form.given("active", "lookup_key", "nickname", "tax_behavior")
    price["metadata"] = merge_metadata(price["metadata"], form.metadata)
    if (plan := a.store.get("plan", id)) is not None:
        plan |= {name: price[name] for name in ("active", "nickname", "metadata")}
        a.updated(plan)
    a.updated(price)
    return price


@route("GET", "/v1/plans/{id}")
def retrieve_plan(a: Account, form: Form, id: str) -> Json:
    """A recurring price, as a plan."""
    return a.store.need("plan", id)


@includable("price", "tiers")
def tiers(a: Account, price: Json) -> Any:
    """A price's tiers are shown when they are asked for."""
    return a.store.hidden(price["id"])["tiers"] if price["billing_scheme"] == "tiered" else None


@includable("price", "currency_options")
def currency_options(a: Account, price: Json) -> Any:
    """The price in each of its currencies."""
    return a.store.hidden(price["id"])["currency_options"]


@before_basil("price")
def older_price(a: Account, price: Json) -> None:
    """Before basil usage was summed by the price itself."""
    if price["recurring"] is not None:
        price["recurring"]["aggregate_usage"] = None


@before_basil("plan")
def older_plan(a: Account, plan: Json) -> None:
    """Before basil usage was summed by the plan itself."""
    plan["aggregate_usage"] = None


def inline(a: Account, data: PriceData, *, recurring: bool) -> Json:
    """A price for one use, which is inactive from the start. Raises StripeError when it cannot be what it must be."""
    if recurring and data.recurring is None:
        raise StripeError("You must provide `recurring` in `price_data`.", code="parameter_missing", param="price_data")
    values = data.model_dump(exclude_unset=True)
    return create(a, Create.model_validate(values | {"active": False}))


def usable(a: Account, id: str, param: str, *, recurring: bool | None = None) -> Json:
    """A price that can be sold. Raises StripeError for an unknown, an inactive, or one of the wrong type."""
    price = a.store.get("price", id)
    if price is None:
        raise missing("price", id, param)
    if not price["active"] and not a.store.hidden(id).get("in_basket"):
        raise StripeError(
            f"The price specified is inactive. This field only accepts active prices. ({id})", param=param
        )
    if recurring is not None and (price["type"] == "recurring") != recurring:
        wanted = "recurring" if recurring else "one_time"
        raise StripeError(
            f"The price specified is set to `type={price['type']}` but this field only accepts prices with "
            f"`type={wanted}`.",
            param=param,
        )
    return price


def interval(price: Json) -> Interval:
    """How often a recurring price recurs."""
    return Interval(price["recurring"]["interval"], price["recurring"]["interval_count"])
