"""What requests about subscriptions take."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from deploy.demo.simulator.forms import Form, Integer, ListForm, Metadata, Part, Range, Text
from deploy.demo.simulator.resources.discounts import Asked
from deploy.demo.simulator.resources.prices import PriceData


def _unset(value: Any) -> Any:
    return None if value == "" else value


def _list(value: Any) -> Any:
    return [] if value == "" else value


def anchor_of(value: Any) -> Any:
    """Until endive the anchor was given as a bare word."""
    return {"type": value} if isinstance(value, str) else value


Discounts = Annotated[list[Asked] | None, BeforeValidator(_list)]
TaxRates = Annotated[list[str] | None, BeforeValidator(_list)]
Quantity = Annotated[int, Field(ge=0)]
Proration = Literal["create_prorations", "always_invoice", "none"]
Behavior = Literal["allow_incomplete", "default_incomplete", "error_if_incomplete", "pending_if_incomplete"]
Feedback = Literal[
    "customer_service", "low_quality", "missing_features", "other", "switched_service", "too_complex",
    "too_expensive", "unused",
]  # fmt: skip
CancelAt = Annotated[
    int | Literal["min_period_end", "max_period_end", "max_billed_until"] | None, BeforeValidator(_unset)
]


class ItemFields(Part):
    """What an item can be made of."""

    price: str | None = None
    plan: str | None = None
    price_data: PriceData | None = None
    quantity: Quantity | None = None
    metadata: Metadata | None = None
    tax_rates: TaxRates = None
    discounts: Discounts = None


class ItemChange(ItemFields):
    """A change of the items: of one by `id`, or one more."""

    id: str | None = None
    deleted: bool = False
    clear_usage: bool = False


class Extra(Part):
    """A one-time charge on the first, or the next, invoice."""

    price: str | None = None
    price_data: PriceData | None = None
    quantity: Quantity = 1
    tax_rates: TaxRates = None
    discounts: Discounts = None
    metadata: Metadata | None = None


class PaymentSettings(Part):
    """How the subscription's invoices are paid."""

    payment_method_types: list[str] | None = None
    save_default_payment_method: Literal["on_subscription", "off"] | None = None


class EndBehavior(Part):
    """What happens when a trial ends."""

    missing_payment_method: Literal["cancel", "create_invoice", "pause"] = "create_invoice"


class TrialSettings(Part):
    """How a trial ends."""

    end_behavior: EndBehavior


class CancellationDetails(Part):
    """Why somebody leaves."""

    comment: Text = None
    feedback: Annotated[Feedback | None, BeforeValidator(_unset)] = None


class PauseCollection(Part):
    """What happens to invoices while nothing is collected."""

    behavior: Literal["keep_as_draft", "mark_uncollectible", "void"]
    resumes_at: int | None = None


class BillingMode(Part):
    """How prorations and periods are worked out: https://docs.stripe.com/billing/subscriptions/billing-mode."""

    type: Literal["classic", "flexible"]


class Anchor(Part):
    """Whether the billing cycle starts anew."""

    type: Literal["now", "unchanged"]


class Terms(Form):
    """What a subscription can be made of, and changed in."""

    add_invoice_items: tuple[Extra, ...] = ()
    cancel_at: CancelAt = None
    cancel_at_period_end: bool | None = None
    collection_method: Literal["charge_automatically", "send_invoice"] | None = None
    days_until_due: int | None = None
    default_payment_method: Text = None
    default_tax_rates: TaxRates = None
    description: Text = None
    discounts: Discounts = None
    metadata: Metadata | None = None
    off_session: bool = False
    payment_behavior: Behavior = "allow_incomplete"
    payment_settings: PaymentSettings | None = None
    proration_behavior: Proration = "create_prorations"
    trial_end: int | Literal["now"] | None = None
    trial_from_plan: bool = False
    trial_settings: TrialSettings | None = None


class Create(Terms):
    """https://docs.stripe.com/api/subscriptions/create."""

    customer: str
    items: list[ItemFields]
    billing_cycle_anchor: int | None = None
    billing_mode: BillingMode = BillingMode(type="flexible")
    currency: str | None = None
    trial_period_days: Annotated[int, Field(ge=1)] | None = None


class Update(Terms):
    """https://docs.stripe.com/api/subscriptions/update."""

    items: tuple[ItemChange, ...] = ()
    billing_cycle_anchor: Annotated[Anchor | None, BeforeValidator(anchor_of)] = None
    cancellation_details: CancellationDetails | None = None
    pause_collection: Annotated[PauseCollection | None, BeforeValidator(_unset)] = None
    proration_date: Integer = None


class Cancel(Form):
    """https://docs.stripe.com/api/subscriptions/cancel."""

    cancellation_details: CancellationDetails | None = None
    invoice_now: bool = False
    prorate: bool = False


class Resume(Form):
    """https://docs.stripe.com/api/subscriptions/resume."""

    billing_cycle_anchor: Annotated[Anchor, BeforeValidator(anchor_of)] = Anchor(type="now")
    proration_behavior: Proration = "create_prorations"
    proration_date: int | None = None
    payment_behavior: Behavior = "allow_incomplete"


class List(ListForm):
    """https://docs.stripe.com/api/subscriptions/list."""

    collection_method: Literal["charge_automatically", "send_invoice"] | None = None
    current_period_end: int | Range | None = None
    current_period_start: int | Range | None = None
    customer: str | None = None
    plan: str | None = None
    price: str | None = None
    status: (
        Literal[
            "active", "all", "canceled", "ended", "incomplete", "incomplete_expired", "past_due", "paused", "trialing",
            "unpaid",
        ]
        | None
    ) = None  # fmt: skip
    test_clock: str | None = None


class ItemCreate(Form):
    """https://docs.stripe.com/api/subscription_items/create."""

    subscription: str
    price: str | None = None
    plan: str | None = None
    price_data: PriceData | None = None
    quantity: Quantity | None = None
    metadata: Metadata | None = None
    tax_rates: TaxRates = None
    discounts: Discounts = None
    payment_behavior: Behavior = "allow_incomplete"
    proration_behavior: Proration = "create_prorations"
    proration_date: int | None = None


class ItemUpdate(Form):
    """https://docs.stripe.com/api/subscription_items/update."""

    price: str | None = None
    plan: str | None = None
    price_data: PriceData | None = None
    quantity: Quantity | None = None
    metadata: Metadata | None = None
    tax_rates: TaxRates = None
    discounts: Discounts = None
    off_session: bool = False
    payment_behavior: Behavior = "allow_incomplete"
    proration_behavior: Proration = "create_prorations"
    proration_date: int | None = None


class ItemDelete(Form):
    """https://docs.stripe.com/api/subscription_items/delete."""

    clear_usage: bool = False
    payment_behavior: Behavior = "allow_incomplete"
    proration_behavior: Proration = "create_prorations"
    proration_date: int | None = None


class ItemList(ListForm):
    """https://docs.stripe.com/api/subscription_items/list."""

    subscription: str
