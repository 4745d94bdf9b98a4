"""The company of the demo: Harbourlight sells shift planning by subscription, and an API to a few partners."""

from dataclasses import dataclass, field

from deploy.demo.people import each_currency
from deploy.demo.stripe_client import StripeClient

NAME = "Harbourlight"
TRADE = "shift planning for cafés, clinics and shops"

MONTH, YEAR = "month", "year"
MONTHS_IN_A_YEARLY_PRICE = 10
"""Who pays for a year pays ten months."""

SIGNS = {"usd": "$", "eur": "€", "gbp": "£", "jpy": "¥"}
WHOLE = {"jpy"}
"""Currencies without a smaller unit: https://docs.stripe.com/currencies#zero-decimal."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan; `monthly` is in minor units, for each seat where it has seats."""

    key: str
    name: str
    monthly: dict[str, int]
    seats: int
    """The fewest; 1 means that the plan has no seats."""


STARTER = Plan("starter", "Starter", {"usd": 1900, "eur": 1800, "gbp": 1500, "jpy": 2800}, 1)
TEAM = Plan("team", "Team", {"usd": 1200, "eur": 1100, "gbp": 1000, "jpy": 1800}, 3)
BUSINESS = Plan("business", "Business", {"usd": 2400, "eur": 2200, "gbp": 2000, "jpy": 3600}, 5)
PLANS = (STARTER, TEAM, BUSINESS)


@dataclass(frozen=True, slots=True)
class Tax:
    """A tax on sales. Where it is inclusive, prices hold it already."""

    country: str
    name: str
    percentage: float
    inclusive: bool = False


TAXES = (
    Tax("GB", "VAT", 20),
    Tax("DE", "MwSt.", 19),
    Tax("FR", "TVA", 20),
    Tax("ES", "IVA", 21),
    Tax("GR", "ΦΠΑ", 24),
    Tax("JP", "消費税", 10, inclusive=True),
)


@dataclass(frozen=True, slots=True)
class Coupon:
    """A discount on offer, in per cent."""

    id: str
    name: str
    percent_off: float
    duration: str
    months: int | None = None


LAUNCH20 = Coupon("LAUNCH20", "Launch offer", 20, "repeating", 3)
FRIEND10 = Coupon("FRIEND10", "A friend sent me", 10, "once")
NONPROFIT30 = Coupon("NONPROFIT30", "For charities", 30, "forever")
COUPONS = (LAUNCH20, FRIEND10, NONPROFIT30)


@dataclass(frozen=True, slots=True)
class Partner:
    """A company that uses the API and pays by bank against an invoice, net 30; `monthly` is in minor units."""

    name: str
    email: str
    country: str
    currency: str
    monthly: int
    pays_after: tuple[int, int]
    """Days from the invoice to the transfer, at least and at most; more than 30 is late."""


PARTNERS = (
    Partner("Nordvind Travel AS", "accounts@nordvind.test", "NO", "eur", 412_500, (11, 24)),
    Partner("Kumo Delivery K.K.", "keiri@kumo.test", "JP", "jpy", 688_000, (20, 29)),
    Partner("Bluebonnet Staffing Inc.", "ap@bluebonnet.test", "US", "usd", 734_000, (14, 28)),
    Partner("Marlow & Finch Ltd", "ledger@marlowfinch.test", "GB", "gbp", 268_000, (38, 52)),
)
NET_DAYS = 30
API_CALL = {"usd": 40, "eur": 38, "gbp": 32, "jpy": 58}
"""Minor units for a thousand calls."""


@dataclass(slots=True)
class Catalog:
    """What the company has set up at Stripe: ids by their keys."""

    prices: dict[tuple[str, str, str], str] = field(default_factory=dict[tuple[str, str, str], str])
    """By plan, interval and currency."""

    taxes: dict[str, str] = field(default_factory=dict[str, str])
    """Tax rates by country."""

    def price(self, plan: Plan, interval: str, currency: str) -> str:
        """The price's id."""
        return self.prices[plan.key, interval, currency]

    def tax(self, country: str) -> list[str]:
        """The tax rates of sales to a country."""
        return [self.taxes[country]] if country in self.taxes else []


def found(stripe: StripeClient) -> Catalog:
    """Set the company up at Stripe: products, prices, taxes, coupons."""
    catalog = Catalog()
    for plan in PLANS:
        product = stripe.post("/v1/products", name=f"{NAME} {plan.name}", metadata={"tier": plan.key})["id"]
        for interval in (MONTH, YEAR):
            for currency in each_currency():
                catalog.prices[plan.key, interval, currency] = stripe.post(
                    "/v1/prices",
                    product=product,
                    currency=currency,
                    unit_amount=amount(plan, interval, currency),
                    recurring={"interval": interval},
                    lookup_key=f"{plan.key}_{interval}_{currency}",
                )["id"]
    for tax in TAXES:
        catalog.taxes[tax.country] = stripe.post(
            "/v1/tax_rates",
            display_name=tax.name,
            percentage=tax.percentage,
            inclusive=tax.inclusive,
            country=tax.country,
        )["id"]
    for coupon in COUPONS:
        stripe.post(
            "/v1/coupons",
            id=coupon.id,
            name=coupon.name,
            percent_off=coupon.percent_off,
            duration=coupon.duration,
            duration_in_months=coupon.months,
        )
    return catalog


def amount(plan: Plan, interval: str, currency: str) -> int:
    """The price in minor units, for each seat where the plan has seats."""
    return plan.monthly[currency] * (MONTHS_IN_A_YEARLY_PRICE if interval == YEAR else 1)


def money(minor: int, currency: str) -> str:
    """An amount for people: `$1,118.40`, `¥2,800`, `-€3.00`."""
    sign = "-" if minor < 0 else ""
    major, rest = (abs(minor), None) if currency in WHOLE else divmod(abs(minor), 100)
    return f"{sign}{SIGNS.get(currency, currency.upper() + ' ')}{major:,}" + ("" if rest is None else f".{rest:02}")
