"""What the company knows of its customers while the story is played, and what it asks Stripe about them."""

from dataclasses import dataclass, field
from typing import Any

from deploy.demo.company import STARTER, Catalog, Plan
from deploy.demo.people import Person
from deploy.demo.stripe_client import Json, StripeClient

RUNNING = frozenset({"active", "trialing", "past_due"})
"""States of a subscription that somebody uses."""


@dataclass(slots=True)
class Customer:
    """What the company remembers of a customer."""

    id: str
    called: str
    currency: str
    country: str
    plan: Plan = STARTER
    subscription: str = ""
    dispute: str = ""


@dataclass(slots=True)
class Shop:
    """The company at work: its Stripe, its catalog, its customers by their numbers in the story."""

    stripe: StripeClient
    catalog: Catalog
    customers: dict[str, Customer] = field(default_factory=dict[str, Customer])

    def register(self, who: str, person: Person) -> Customer:
        """Make a customer at Stripe."""
        made = self.stripe.post("/v1/customers", **details(person), email=person.email)
        return self.remember(who, made["id"], person)

    def remember(self, who: str, id_: str, person: Person) -> Customer:
        """Keep in mind who the customer `id_` is."""
        country = person.country
        self.customers[who] = customer = Customer(id_, person.called, country.currency, country.code)
        return customer

    def attach(self, customer: Customer, card: str) -> str:
        """Put a card on file and make it the one that invoices use. Returns its id."""
        method = self.stripe.post(f"/v1/payment_methods/{card}/attach", customer=customer.id)["id"]
        self.stripe.post(f"/v1/customers/{customer.id}", invoice_settings={"default_payment_method": method})
        return method

    def subscription(self, customer: Customer, *expand: str) -> Json | None:
        """The customer's subscription as it stands; None when there never was one."""
        if not customer.subscription:
            return None
        return self.stripe.get(f"/v1/subscriptions/{customer.subscription}", expand=list(expand))

    def running(self, customer: Customer, *expand: str) -> Json | None:
        """The subscription, if somebody uses it."""
        found = self.subscription(customer, *expand)
        return found if found is not None and found["status"] in RUNNING else None

    def card(self, customer: Customer) -> str | None:
        """The card that the next invoice would use."""
        subscription = self.subscription(customer)
        if subscription is not None and subscription["default_payment_method"]:
            return str(subscription["default_payment_method"])
        found = self.stripe.get(f"/v1/customers/{customer.id}")
        return found["invoice_settings"]["default_payment_method"]

    def intent(self, invoice: str) -> str | None:
        """The payment intent of an invoice."""
        rows = self.stripe.get("/v1/invoice_payments", invoice=invoice)["data"]
        return next((row["payment"].get("payment_intent") for row in rows), None)

    def last_charge(self, customer: Customer) -> Json | None:
        """The last payment that succeeded and of which nothing went back or was disputed."""
        rows = self.stripe.get("/v1/charges", customer=customer.id, limit=5)["data"]
        return next(
            (
                row
                for row in rows
                if row["status"] == "succeeded" and not row["amount_refunded"] and not row["disputed"]
            ),
            None,
        )


def details(person: Person) -> dict[str, Any]:
    """What Stripe is told of a person, besides the address for mail."""
    return {
        "name": person.name,
        "address": {"city": person.city, "country": person.country.code},
        "preferred_locales": [person.country.locale],
        "metadata": {"company": person.company, "timezone": person.country.timezone},
    }
