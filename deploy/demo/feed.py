"""What Stripe does by itself while the clock runs, in words: renewals, failures, farewells."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from deploy.demo.company import money
from deploy.demo.shop import Shop
from deploy.demo.stripe_client import Json, RefusedError

TYPES = (
    "invoice.paid",
    "invoice.payment_failed",
    "invoice.overdue",
    "customer.subscription.deleted",
    "customer.subscription.trial_will_end",
)
PAGE = 100
RENEWAL = "subscription_cycle"


@dataclass(slots=True)
class Feed:
    """Reads Stripe's list of events from where it was read last."""

    shop: Shop
    last: str | None = None

    def skip(self) -> None:
        """Begin with what happens from now on."""
        newest = self.shop.stripe.get("/v1/events", limit=1)["data"]
        self.last = newest[0]["id"] if newest else None

    def news(self) -> Iterator[tuple[int, str]]:
        """When and what, oldest first."""
        try:
            found = self.shop.stripe.get("/v1/events", limit=PAGE, ending_before=self.last)["data"]
        except RefusedError:  # what was read last is more than 30 days old, and forgotten
            self.skip()
            return
        if found:
            self.last = found[0]["id"]
        names = {customer.id: customer.called for customer in self.shop.customers.values()}
        for event in reversed(found):
            obj = event["data"]["object"]
            if event["type"] in TYPES and obj["customer"] in names:
                line = sentence(event["type"], obj, names[obj["customer"]])
                if line is not None:
                    yield event["created"], line


def sentence(type_: str, obj: Json, called: str) -> str | None:
    """The event in words; None for what the story has told already."""
    match type_:
        case "invoice.paid" if obj["billing_reason"] == RENEWAL and obj["amount_paid"]:
            tries = f" at attempt {obj['attempt_count']}" if obj["attempt_count"] > 1 else ""
            return f"{called} renewed: {money(obj['amount_paid'], obj['currency'])}{tries}"
        case "invoice.payment_failed":
            owed = money(obj["amount_remaining"], obj["currency"])
            again = obj["next_payment_attempt"]
            when = f"Stripe tries again on {_day(again)}" if again else "that was the last attempt"
            return f"{called}: {owed} could not be collected, {when}"
        case "invoice.overdue":
            return f"{called}: {money(obj['amount_remaining'], obj['currency'])} of {obj['number']} is overdue"
        case "customer.subscription.deleted":
            reason = str(obj["cancellation_details"]["reason"] or "no reason given")
            return f"{called} has left ({reason.replace('_', ' ')})"
        case "customer.subscription.trial_will_end":
            return f"{called}: the trial ends on {_day(obj['trial_end'])}"
        case _:
            return None


def _day(at: int) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%-d %B}"
