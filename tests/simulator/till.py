"""A simulated account at which people pay: what the tests of money share."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from deploy.demo.simulator.account import Account
from deploy.demo.simulator.api import Api
from deploy.demo.simulator.render import CURRENT
from tests.simulator.kit import Json, ask, new_api


@dataclass
class Till:
    """One account; requests by hand, and what was told since the last look."""

    api: Api = field(default_factory=new_api)
    seen: int = 0

    @property
    def account(self) -> Account:
        return self.api.account

    def post(self, path: str, params: Mapping[str, Any] | None = None, **headers: str) -> Json:
        """What is answered, which is 200."""
        status, body, _ = ask(self.api, "POST", path, params, **headers)
        assert status == 200, body
        return body

    def get(self, path: str, params: Mapping[str, Any] | None = None, **headers: str) -> Json:
        """What is answered, which is 200."""
        status, body, _ = ask(self.api, "GET", path, params, **headers)
        assert status == 200, body
        return body

    def refused(self, path: str, params: Mapping[str, Any] | None = None, *, status: int = 400) -> Json:
        """The error of a POST that is answered with `status`."""
        got, body, _ = ask(self.api, "POST", path, params)
        assert got == status, body
        return body["error"]

    def customer(self, method: str | None = "pm_card_visa", **more: Any) -> tuple[str, str]:
        """A new customer who keeps a payment method: both ids."""
        customer: str = self.post("/v1/customers", {"name": "Ada"} | more)["id"]
        kept = self.post(f"/v1/payment_methods/{method}/attach", {"customer": customer})["id"] if method else ""
        return customer, kept

    def pay(self, amount: int = 2900, currency: str = "usd", method: str = "pm_card_visa", **more: Any) -> Json:
        """An intent, confirmed at once."""
        params = {"amount": amount, "currency": currency, "payment_method": method, "confirm": True} | more
        return self.post("/v1/payment_intents", params)

    def charge(self, intent: Json) -> Json:
        """The intent's latest charge."""
        return self.get(f"/v1/charges/{intent['latest_charge']}")

    def later(self, seconds: int) -> None:
        """Time passes."""
        self.account.clock.move(self.account.now() + seconds)

    def told(self) -> list[str]:
        """The types of the events since the last look, in order."""
        types = [event.type for event in self.account.events.values()]
        new, self.seen = types[self.seen :], len(types)
        return new

    def last(self, type_: str) -> Json:
        """The `data` of the newest event of a type."""
        event = next(event for event in reversed(self.account.events.values()) if event.type == type_)
        return event.body(CURRENT, 0)["data"]
