"""What requests about checkout sessions take."""

from typing import Annotated, Literal

from pydantic import Field

from deploy.demo.simulator.forms import Form, ListForm, Metadata, Part, Range
from deploy.demo.simulator.resources.discounts import Asked
from deploy.demo.simulator.resources.prices import PriceData
from deploy.demo.simulator.subscribing.forms import BillingMode, TrialSettings


class LineItem(Part):
    """Something in the basket."""

    price: str | None = None
    price_data: PriceData | None = None
    quantity: Annotated[int, Field(ge=1)] = 1
    tax_rates: tuple[str, ...] = ()
    metadata: Metadata | None = None


class SubscriptionData(Part):
    """What the subscription will have."""

    billing_cycle_anchor: int | None = None
    billing_mode: BillingMode | None = None
    default_tax_rates: list[str] | None = None
    description: str | None = None
    metadata: Metadata | None = None
    proration_behavior: Literal["create_prorations", "none"] | None = None
    trial_end: int | None = None
    trial_period_days: int | None = None
    trial_settings: TrialSettings | None = None


class PaymentIntentData(Part):
    """What the payment intent will have."""

    capture_method: Literal["automatic", "automatic_async", "manual"] | None = None
    description: str | None = None
    metadata: Metadata | None = None
    receipt_email: str | None = None
    setup_future_usage: Literal["off_session", "on_session"] | None = None
    statement_descriptor: str | None = None


class SetupIntentData(Part):
    """What the setup intent will have."""

    description: str | None = None
    metadata: Metadata | None = None


class Create(Form):
    """https://docs.stripe.com/api/checkout/sessions/create."""

    mode: Literal["payment", "subscription", "setup"]
    allow_promotion_codes: bool | None = None
    billing_address_collection: Literal["auto", "required"] | None = None
    cancel_url: str | None = None
    client_reference_id: str | None = None
    currency: str | None = None
    customer: str | None = None
    customer_creation: Literal["always", "if_required"] | None = None
    customer_email: str | None = None
    discounts: tuple[Asked, ...] = ()
    expires_at: int | None = None
    line_items: tuple[LineItem, ...] = ()
    locale: str | None = None
    metadata: Metadata | None = None
    payment_intent_data: PaymentIntentData = PaymentIntentData()
    payment_method_collection: Literal["always", "if_required"] | None = None
    payment_method_types: list[str] | None = None
    setup_intent_data: SetupIntentData = SetupIntentData()
    submit_type: str | None = None
    subscription_data: SubscriptionData = SubscriptionData()
    success_url: str | None = None


class Update(Form):
    """https://docs.stripe.com/api/checkout/sessions/update."""

    metadata: Metadata | None = None


class List(ListForm):
    """https://docs.stripe.com/api/checkout/sessions/list."""

    customer: str | None = None
    payment_intent: str | None = None
    status: Literal["open", "complete", "expired"] | None = None
    subscription: str | None = None
    created: int | Range | None = None


class Complete(Form):
    """What a customer enters on the page."""

    payment_method: str = "pm_card_visa"
    email: str | None = None
    name: str | None = None
    country: str = "US"
    promotion_code: str | None = None
