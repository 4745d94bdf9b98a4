"""What a request about a subscription names is looked up, and refused where it cannot be, before anything changes."""

from collections.abc import Sequence

from deploy.demo.simulator import bank, pricing
from deploy.demo.simulator.account import Account
from deploy.demo.simulator.errors import Json, StripeError
from deploy.demo.simulator.forms import merge_metadata
from deploy.demo.simulator.resources import discounts, prices, tax_rates
from deploy.demo.simulator.subscribing.forms import Extra, ItemFields, Terms

NO_METHOD = (
    "This customer has no attached payment source or default payment method. Please consider adding a default payment "
    "method. For more information, visit https://stripe.com/docs/billing/subscriptions/payment-methods-setting"
    "#payment-method-priority."
)


def refuse_item(a: Account, fields: ItemFields, *, customer: str, currency: str | None, param: str) -> str | None:
    """The currency of an item; None when it names no price. Raises StripeError when it cannot be had."""
    if fields.tax_rates:
        tax_rates.usable(a, fields.tax_rates, f"{param}[tax_rates]")
    found = None
    if (id_ := fields.price or fields.plan) is not None:
        price = prices.usable(a, id_, f"{param}[price]", recurring=True)
        found = _currency(price, currency, f"{param}[price]")
    elif fields.price_data is not None:
        _refuse_data(a, fields.price_data, f"{param}[price_data]", recurring=True)
        found = fields.price_data.currency.lower()
    if fields.discounts:
        where = f"{param}[discounts]"
        discounts.refuse(a, fields.discounts, customer=customer, currency=currency or found or "", param=where)
    if currency is not None and found not in {None, currency}:
        raise StripeError(
            f"The price specified supports currencies of `{found}`. This doesn't match the expected currency: "
            f"`{currency}`.",
            param=param,
        )
    return found


def _currency(price: Json, wanted: str | None, param: str) -> str:
    if wanted is not None and price["currency"] != wanted:
        raise StripeError(
            f"The price specified only supports `{price['currency']}`. This doesn't match the expected currency: "
            f"`{wanted}`.",
            param=param,
        )
    return price["currency"]


def _refuse_data(a: Account, data: prices.PriceData, param: str, *, recurring: bool) -> None:
    if recurring and data.recurring is None:
        raise StripeError("Missing required param: recurring.", code="parameter_missing", param=f"{param}[recurring]")
    if data.product is not None:
        a.store.need("product", data.product, f"{param}[product]")
    elif data.product_data is None:
        raise StripeError("Missing required param: product.", code="parameter_missing", param=f"{param}[product]")
    if data.unit_amount is None and data.unit_amount_decimal is None:
        raise StripeError(
            "Missing required param: unit_amount.", code="parameter_missing", param=f"{param}[unit_amount]"
        )


def refuse_extras(a: Account, extras: Sequence[Extra], currency: str | None) -> None:
    """Raises StripeError for a one-time charge that cannot be had."""
    for place, extra in enumerate(extras):
        param = f"add_invoice_items[{place}]"
        if extra.price is not None:
            _currency(prices.usable(a, extra.price, f"{param}[price]", recurring=False), currency, f"{param}[price]")
        elif extra.price_data is not None:
            _refuse_data(a, extra.price_data, f"{param}[price_data]", recurring=False)
        else:
            raise StripeError("Missing required param: price.", code="parameter_missing", param=f"{param}[price]")


def recurs(a: Account, fields: ItemFields) -> tuple[str, int]:
    """The interval of an item's price, which was found before."""
    if (id_ := fields.price or fields.plan) is not None:
        recurring = a.store.need("price", id_)["recurring"]
        return recurring["interval"], recurring["interval_count"]
    assert fields.price_data is not None
    assert fields.price_data.recurring is not None
    return fields.price_data.recurring.interval, fields.price_data.recurring.interval_count


def trial_days(a: Account, fields: ItemFields) -> int:
    """The trial that comes with a price; 0 for none."""
    id_ = fields.price or fields.plan
    return a.store.need("price", id_)["recurring"]["trial_period_days"] or 0 if id_ is not None else 0


def is_free(a: Account, fields: ItemFields) -> bool:
    """Whether an item costs nothing."""
    if fields.price_data is not None:
        return not fields.price_data.unit_amount and not fields.price_data.unit_amount_decimal
    price = a.store.need("price", str(fields.price or fields.plan))
    return not pricing.cost(a, price, 1 if fields.quantity is None else fields.quantity)


def price_of(a: Account, fields: ItemFields | Extra, *, recurring: bool) -> Json | None:
    """The price that is named, or made for this use; None when none is."""
    id_ = fields.price or (fields.plan if isinstance(fields, ItemFields) else None)
    if id_ is not None:
        return a.store.need("price", id_)
    return prices.inline(a, fields.price_data, recurring=recurring) if fields.price_data is not None else None


def refuse_terms(a: Account, form: Terms, customer: str, currency: str, *, now: int) -> None:
    """Raises StripeError for terms that cannot be had."""
    if form.payment_behavior == "pending_if_incomplete":
        raise StripeError(
            "Pending updates are not simulated: use another `payment_behavior`.", param="payment_behavior"
        )
    if form.default_payment_method is not None:
        method = a.store.need("payment_method", form.default_payment_method, "default_payment_method")
        if method["customer"] != customer:
            raise StripeError(
                f"The customer does not have a payment method with the ID {method['id']}. The payment method must be "
                "attached to the customer.",
                code="resource_missing",
                param="default_payment_method",
            )
    if form.default_tax_rates:
        tax_rates.usable(a, form.default_tax_rates, "default_tax_rates")
    if form.discounts:
        discounts.refuse(a, form.discounts, customer=customer, currency=currency, param="discounts")
    if isinstance(form.trial_end, int) and form.trial_end <= now:
        raise StripeError("Invalid timestamp: must be an integer Unix timestamp in the future.", param="trial_end")
    if isinstance(form.cancel_at, int) and form.cancel_at <= now:
        raise StripeError("`cancel_at` must be a timestamp in the future.", param="cancel_at")
    if form.cancel_at is not None and form.cancel_at_period_end:
        raise StripeError("You cannot set both `cancel_at` and `cancel_at_period_end`.", param="cancel_at")
    refuse_extras(a, form.add_invoice_items, currency)


def refuse_incomplete(a: Account, method: str | None, *, off_session: bool) -> None:
    """`error_if_incomplete`: raises the 402 that the first attempt would end in, before anything is made."""
    if method is None:
        raise StripeError(NO_METHOD, code="resource_missing")
    found = a.store.need("payment_method", method, "default_payment_method")
    if found["type"] != "card":
        return
    told = a.store.hidden(method).get("behaviour")
    kept = dict(told) if told else None
    answer = bank.ask(a, found, off_session=off_session)
    if told is not None:
        told |= kept or {}  # looking ahead uses nothing up
    if answer.decline is not None:
        raise bank.refused(answer.decline)
    if answer.challenge:
        raise StripeError(
            "Payment for this subscription requires additional user action before it can be completed successfully. "
            "Payment can be completed using the PaymentIntent associated with subscription.latest_invoice.",
            status=402,
            kind="card_error",
            code="subscription_payment_intent_requires_action",
        )


def refuse_sending(method: str, days: int | None) -> None:
    """Raises StripeError where an invoice is sent without a day by which it is due, or charged with one."""
    if method == "send_invoice" and days is None:
        raise StripeError(
            "When collection_method is set to `send_invoice` you must provide `days_until_due`.",
            code="parameter_missing",
            param="days_until_due",
        )
    if method == "charge_automatically" and days is not None:
        raise StripeError("`days_until_due` can be set for `send_invoice` only.", param="days_until_due")


def put_terms(a: Account, subscription: Json, form: Terms) -> None:
    """Write what is only written: terms that move neither time nor money by themselves."""
    subscription |= form.given("default_payment_method", "description")
    if form.collection_method is not None:
        subscription["collection_method"] = form.collection_method
    if form.days_until_due is not None or subscription["collection_method"] == "charge_automatically":
        subscription["days_until_due"] = form.days_until_due
    if form.default_tax_rates is not None:
        subscription["default_tax_rates"] = [a.store.need("tax_rate", rate) for rate in form.default_tax_rates]
    subscription["metadata"] = merge_metadata(subscription["metadata"], form.metadata)
    if form.payment_settings is not None:
        subscription["payment_settings"] |= form.payment_settings.given(
            "payment_method_types", "save_default_payment_method"
        )
    if form.trial_settings is not None:
        subscription["trial_settings"] = form.trial_settings.model_dump()
