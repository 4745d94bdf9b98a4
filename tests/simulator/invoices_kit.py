"""A seller at a simulated account: what it asks of the API, and what it hears of it."""

from typing import Any

from deploy.demo.simulator.account import Account
from tests.simulator.kit import Json, ask, new_api

HOUR, DAY = 3600, 86_400
OLD = "2024-06-20"


class Seller:
    """Asks an account that also tells its events in a version from before basil."""

    def __init__(self, seed: int = 7) -> None:
        self.api = new_api(seed)
        self.a: Account = self.api.account
        self.a.versions.add(OLD)
        self._heard = 0

    def post(self, path: str, **params: Any) -> Json:
        status, body, _ = ask(self.api, "POST", path, params)
        assert status == 200, body
        return body

    def get(self, path: str, version: str | None = None, **params: Any) -> Json:
        headers = {"stripe_version": version} if version else {}
        status, body, _ = ask(self.api, "GET", path, params, **headers)
        assert status == 200, body
        return body

    def delete(self, path: str) -> Json:
        status, body, _ = ask(self.api, "DELETE", path)
        assert status == 200, body
        return body

    def refused(self, path: str, method: str = "POST", **params: Any) -> Json:
        """What Stripe says when it says no."""
        status, body, _ = ask(self.api, method, path, params)
        assert status >= 400, body
        return body["error"] | {"status": status}

    def customer(self, card: str | None = "pm_card_visa", **params: Any) -> Json:
        customer = self.post("/v1/customers", email="ada@example.org", name="Ada Byron", **params)
        if card is not None:
            self.card(customer, card)
        self.heard()
        return customer

    def card(self, customer: Json, name: str) -> Json:
        """Give the customer a card, as the default."""
        method = self.post(f"/v1/payment_methods/{name}/attach", customer=customer["id"])
        path = f"/v1/customers/{customer['id']}"
        return self.post(path, invoice_settings={"default_payment_method": method["id"]})

    def invoice(self, customer: Json, *amounts: int, **params: Any) -> Json:
        """A draft over these amounts in dollars' cents."""
        for amount in amounts:
            self.post("/v1/invoiceitems", customer=customer["id"], amount=amount, currency="usd")
        return self.post("/v1/invoices", customer=customer["id"], pending_invoice_items_behavior="include", **params)

    def see(self, obj: Json, **params: Any) -> Json:
        """The object as it is now."""
        return self.get(f"/v1/{obj['object']}s/{obj['id']}", **params)

    def later(self, seconds: int) -> None:
        self.a.clock.move(self.a.now() + seconds)

    def heard(self) -> list[str]:
        """The types of the events since last asked, in their order; what the money does beside is left out."""
        events = list(self.a.events.values())[self._heard :]
        self._heard += len(events)
        return [event.type for event in events if event.type != "charge.updated"]

    def told(self, type_: str, version: str = "2026-10-28.endive") -> Json:
        """The last event of a type, in a version."""
        events = [event for event in self.a.events.values() if event.type == type_]
        return events[-1].body(version, 0)["data"]
