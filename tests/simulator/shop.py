"""A simulated account that sells subscriptions: what the tests of subscriptions share."""

from dataclasses import dataclass
from typing import Any

from deploy.demo.simulator.account import DAY
from tests.simulator.kit import Json, ask
from tests.simulator.till import Till

URLS = {"success_url": "https://kiosk.example/thanks"}


@dataclass
class Shop(Till):
    """One account with a catalog, and people who subscribe."""

    def price(self, amount: int = 3000, interval: str | None = "month", **more: Any) -> str:
        """A price of a new product `Pro`; its id."""
        params: Json = {"currency": "usd", "product_data": {"name": "Pro"}} | more
        if more.get("billing_scheme") != "tiered":
            params["unit_amount"] = amount
        if interval is not None:
            params["recurring"] = {"interval": interval} | more.pop("recurring", {})
        return self.post("/v1/prices", params)["id"]

    def subscriber(self, method: str | None = "pm_card_visa", **more: Any) -> str:
        """A customer whose card is charged by default; the id."""
        customer, kept = self.customer(method, **more)
        if method is not None:
            self.switch(customer, kept)
        return customer

    def switch(self, customer: str, method: str) -> None:
        """This is the card that is charged from now on; test names are attached first."""
        if not method.startswith("pm_1"):
            method = self.post(f"/v1/payment_methods/{method}/attach", {"customer": customer})["id"]
        self.post(f"/v1/customers/{customer}", {"invoice_settings": {"default_payment_method": method}})

    def subscribe(self, price: str | None = None, customer: str | None = None, **more: Any) -> Json:
        """A subscription to one price."""
        params: Json = {"items": [{"price": price or self.price()}], "customer": customer or self.subscriber()} | more
        return self.post("/v1/subscriptions", params)

    def change(self, subscription: Json, **more: Any) -> Json:
        """An update of the subscription."""
        return self.post(f"/v1/subscriptions/{subscription['id']}", more)

    def swap(self, subscription: Json, **more: Any) -> Json:
        """An update of its first item; `terms` are the subscription's."""
        terms = more.pop("terms", {})
        return self.change(subscription, items=[{"id": item_of(subscription)["id"]} | more], **terms)

    def see(self, obj: Json) -> Json:
        """The subscription, as it is now."""
        return self.get(f"/v1/subscriptions/{obj['id']}")

    def delete(self, path: str, params: Json | None = None) -> Json:
        """What a DELETE is answered."""
        status, body, _ = ask(self.api, "DELETE", path, params)
        assert status == 200, body
        return body

    def invoices(self, subscription: Json) -> list[Json]:
        """Its invoices, oldest first."""
        return self.get("/v1/invoices", {"subscription": subscription["id"], "limit": 100})["data"][::-1]

    def days(self, days: float) -> None:
        """Time passes."""
        self.later(int(days * DAY))

    def session(self, mode: str = "subscription", price: str | None = None, **more: Any) -> Json:
        """An open checkout page."""
        rows = [] if mode == "setup" else [{"price": price or self.price(), "quantity": 1}]
        params: Json = {"mode": mode} | ({"line_items": rows} if rows else {}) | URLS | more
        return self.post("/v1/checkout/sessions", params)

    def complete(self, session: Json, method: str = "pm_card_visa", **more: Any) -> Json:
        """The customer sends the page off."""
        return self.post(f"/_sim/checkout/sessions/{session['id']}/complete", {"payment_method": method} | more)


def item_of(subscription: Json) -> Json:
    """Its first item."""
    return subscription["items"]["data"][0]


def told_lines(invoice: Json) -> list[tuple[str, int]]:
    """An invoice's lines: what they say, and how much."""
    return [(line["description"], line["amount"]) for line in invoice["lines"]["data"]]
