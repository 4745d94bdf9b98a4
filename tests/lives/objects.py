"""What exists at Stripe in a customer's life: plain objects of no API version, from which both shapes are drawn."""

from dataclasses import dataclass, field
from typing import Literal

Metadata = dict[str, str]


@dataclass(slots=True)
class Product:
    """Something sold."""

    id: str
    name: str
    created: int
    active: bool = True
    metadata: Metadata = field(default_factory=Metadata)


@dataclass(slots=True)
class Price:
    """What a product costs; `unit_amount_decimal` may hold fractions of a minor unit."""

    id: str
    product: Product
    currency: str
    unit_amount_decimal: str
    created: int
    interval: str | None = "month"
    interval_count: int = 1
    usage_type: str = "licensed"
    nickname: str | None = None
    lookup_key: str | None = None
    active: bool = True
    metadata: Metadata = field(default_factory=Metadata)

    @property
    def unit_amount(self) -> int | None:
        """Stripe leaves `unit_amount` empty when the price has fractions of a minor unit."""
        return int(self.unit_amount_decimal) if "." not in self.unit_amount_decimal else None


@dataclass(slots=True)
class Coupon:
    """A reduction that a discount applies."""

    id: str
    duration: Literal["forever", "once", "repeating"]
    created: int
    percent_off: float | None = None
    amount_off: int | None = None
    currency: str | None = None
    duration_in_months: int | None = None
    name: str | None = None
    valid: bool = True


@dataclass(slots=True)
class Discount:
    """A coupon as applied to a customer or to one subscription."""

    id: str
    coupon: Coupon
    customer: str
    subscription: str | None
    start: int
    end: int | None


@dataclass(slots=True)
class PaymentMethod:
    """A card or a bank account."""

    id: str
    customer: str | None
    created: int
    kind: Literal["card", "us_bank_account"] = "card"
    brand: str = "visa"
    last4: str = "4242"
    exp_year: int = 2031


@dataclass(slots=True)
class Customer:
    """Who pays."""

    id: str
    email: str
    name: str
    created: int
    currency: str | None = None
    phone: str | None = None
    locale: str | None = None
    method: PaymentMethod | None = None
    discount: Discount | None = None
    delinquent: bool = False
    deleted: bool = False
    invoice_sequence: int = 1
    metadata: Metadata = field(default_factory=Metadata)


@dataclass(slots=True)
class Item:
    """One price of a subscription."""

    id: str
    price: Price
    quantity: int
    created: int


@dataclass(slots=True)
class Subscription:
    """What a customer has agreed to pay again and again."""

    id: str
    customer: Customer
    items: list[Item]
    status: str
    created: int
    period_start: int
    period_end: int
    trial_start: int | None = None
    trial_end: int | None = None
    cancel_at_period_end: bool = False
    cancel_at: int | None = None
    canceled_at: int | None = None
    ended_at: int | None = None
    cancel_reason: str | None = None
    pause_behavior: str | None = None
    discount: Discount | None = None
    latest_invoice: str | None = None
    method: str | None = None
    metadata: Metadata = field(default_factory=Metadata)

    @property
    def currency(self) -> str:
        """All prices of a subscription share one currency."""
        return self.items[0].price.currency


@dataclass(slots=True)
class Line:
    """One line of an invoice; `tax` and `discount` are in minor units."""

    id: str
    description: str
    amount: int
    quantity: int
    period_start: int
    period_end: int
    price: Price | None = None
    item: str | None = None
    proration: bool = False
    tax: int = 0
    discount: int = 0


@dataclass(slots=True)
class Decline:
    """Why a bank said no."""

    code: str
    reason: str
    message: str


@dataclass(slots=True)
class Refund:
    """Money sent back."""

    id: str
    charge: str
    intent: str | None
    amount: int
    currency: str
    status: str
    reason: str | None
    created: int
    failure_reason: str | None = None


@dataclass(slots=True)
class Dispute:
    """A bank takes money back, or asks."""

    id: str
    charge: str
    intent: str | None
    amount: int
    currency: str
    status: str
    reason: str
    created: int


@dataclass(slots=True)
class Charge:
    """One attempt to take money."""

    id: str
    amount: int
    currency: str
    status: str
    created: int
    captured: bool
    intent: str | None = None
    customer: str | None = None
    invoice: str | None = None
    method: PaymentMethod | None = None
    decline: Decline | None = None
    amount_refunded: int = 0
    refunds: list[Refund] = field(default_factory=list[Refund])
    dispute: Dispute | None = None
    expired: bool = False


@dataclass(slots=True)
class Intent:
    """The will to take money, over one or several charges."""

    id: str
    amount: int
    currency: str
    status: str
    created: int
    customer: str | None = None
    invoice: str | None = None
    method: PaymentMethod | None = None
    capture_method: str = "automatic"
    charges: list[Charge] = field(default_factory=list[Charge])
    last_error: Decline | None = None
    canceled_at: int | None = None
    cancellation_reason: str | None = None


@dataclass(slots=True)
class Invoice:
    """A demand for money; amounts are in minor units, as Stripe computes them."""

    id: str
    customer: Customer
    currency: str
    created: int
    period_start: int
    period_end: int
    billing_reason: str
    lines: list[Line]
    status: str = "draft"
    subscription: str | None = None
    collection_method: str = "charge_automatically"
    number: str | None = None
    discount: Discount | None = None
    due_date: int | None = None
    finalized_at: int | None = None
    paid_at: int | None = None
    voided_at: int | None = None
    uncollectible_at: int | None = None
    attempt_count: int = 0
    attempted: bool = False
    next_payment_attempt: int | None = None
    amount_paid: int = 0
    post_payment_credit: int = 0
    paid_out_of_band: bool = False
    intent: Intent | None = None
    description: str | None = None
    metadata: Metadata = field(default_factory=Metadata)

    @property
    def subtotal(self) -> int:
        """Before discounts and exclusive taxes."""
        return sum(line.amount for line in self.lines)

    @property
    def discount_amount(self) -> int:
        """What the discounts take off."""
        return sum(line.discount for line in self.lines)

    @property
    def tax(self) -> int:
        """Exclusive taxes."""
        return sum(line.tax for line in self.lines)

    @property
    def total(self) -> int:
        """After discounts and taxes."""
        return self.subtotal - self.discount_amount + self.tax

    @property
    def amount_due(self) -> int:
        """A credit is carried to the customer's balance: nothing is due then."""
        return max(self.total, 0)


@dataclass(slots=True)
class InvoicePayment:
    """What links an invoice to the money that paid it (API versions since basil)."""

    id: str
    invoice: str
    intent: str
    amount: int
    currency: str
    created: int
    status: str
    paid_at: int | None


@dataclass(slots=True)
class CreditNote:
    """A correction of an invoice."""

    id: str
    number: str
    invoice: str
    customer: str
    amount: int
    currency: str
    created: int
    refund: Refund | None = None
    status: str = "issued"
    reason: str = "order_change"
    voided_at: int | None = None


@dataclass(slots=True)
class Session:
    """A visit to Stripe's checkout page."""

    id: str
    mode: Literal["payment", "subscription"]
    customer: str | None
    currency: str
    amount: int
    created: int
    status: str = "open"
    payment_status: str = "unpaid"
    subscription: str | None = None
    invoice: str | None = None
    intent: str | None = None


@dataclass(slots=True)
class FraudWarning:
    """A card network's early warning of fraud."""

    id: str
    charge: str
    intent: str | None
    created: int
    actionable: bool = True


@dataclass(slots=True)
class TaxId:
    """A customer's tax number."""

    id: str
    customer: str
    kind: str
    value: str
    created: int
    verification: str = "pending"
