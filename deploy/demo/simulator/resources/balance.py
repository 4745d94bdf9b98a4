"""The account's balance: what each charge, refund, dispute and payout moved, and what Stripe kept of it."""

from collections.abc import Callable
from datetime import UTC, datetime

from deploy.demo.simulator.account import DAY, Account
from deploy.demo.simulator.amounts import percent
from deploy.demo.simulator.currencies import FIXED_FEE
from deploy.demo.simulator.errors import Json
from deploy.demo.simulator.forms import Form, ListForm
from deploy.demo.simulator.registry import route
from deploy.demo.simulator.store import page

STANDARD, FOREIGN = "2.9", "1.5"
"""Per cent of a card payment: https://stripe.com/pricing; cards of another country cost more."""

ACH_RATE, ACH_MOST, SEPA_FEE = "0.8", 500, 35
DISPUTE_FEE = 1500
"""https://docs.stripe.com/disputes/how-disputes-work: in minor units, kept however the dispute ends."""

SETTLES = 2
"""Business days until a payment's money is available: https://docs.stripe.com/payouts#payout-speed."""

SATURDAY = 5

ON_RELEASE: list[Callable[[Account], None]] = []
"""Called when money has become available; payouts begin so."""


class List(ListForm):
    """https://docs.stripe.com/api/balance_transactions/list."""

    payout: str | None = None
    type: str | None = None
    source: str | None = None
    currency: str | None = None


def business_days(now: int, days: int) -> int:
    """Midnight UTC, so many business days after `now`. Holidays are not known."""
    day = now // DAY
    while days > 0:
        day += 1
        if datetime.fromtimestamp(day * DAY, UTC).weekday() < SATURDAY:
            days -= 1
    return day * DAY


def fee_of(a: Account, charge: Json) -> int:
    """What Stripe keeps of a payment, in its minor units."""
    amount, details = charge["amount_captured"], charge["payment_method_details"]
    if details["type"] == "us_bank_account":
        return min(percent(amount, ACH_RATE), ACH_MOST)
    if details["type"] == "sepa_debit":
        return min(SEPA_FEE, amount)
    foreign = details["card"]["country"] != a.country
    rate = f"{float(STANDARD) + float(FOREIGN):.1f}" if foreign else STANDARD
    return min(percent(amount, rate) + FIXED_FEE.get(charge["currency"], 30), amount)


def record(
    a: Account,
    kind: str,
    source: Json,
    amount: int,
    *,
    category: str,
    description: str | None,
    fee: int = 0,
    fee_description: str = "Stripe processing fees",
    available_on: int | None = None,
    customer: str | None = None,
) -> Json:
    """Money moved: `amount` minor units for `source`, of which Stripe keeps `fee`; available at once or later."""
    now = a.now(customer)
    currency = source["currency"]
    transaction = a.add(
        {
            "id": a.store.new_id("txn"),
            "object": "balance_transaction",
            "amount": amount,
            "available_on": max(now, available_on or now),
            "balance_type": "payments",
            "created": now,
            "currency": currency,
            "description": description,
            "exchange_rate": None,
            "fee": fee,
            "fee_details": [
                {
                    "amount": fee,
                    "application": None,
                    "currency": currency,
                    "description": fee_description,
                    "type": "stripe_fee",
                }
            ]
            if fee
            else [],
            "net": amount - fee,
            "reporting_category": category,
            "source": source["id"],
            "status": "pending",
            "type": kind,
        },
        "source",
    )
    _sums(a, "pending", currency, transaction["net"])
    if transaction["available_on"] <= now:
        release(a, transaction)
    else:
        a.clock_of(customer).at(transaction["available_on"], lambda: release(a, transaction))
    return transaction


def _sums(a: Account, state: str, currency: str, change: int) -> None:
    sums = a.store.hidden("balance").setdefault(state, {})
    sums[currency] = sums.get(currency, 0) + change


def release(a: Account, transaction: Json) -> None:
    """Its money is available from now on, and goes out with the next payout."""
    transaction["status"] = "available"
    _sums(a, "pending", transaction["currency"], -transaction["net"])
    _sums(a, "available", transaction["currency"], transaction["net"])
    payout = a.store.get("payout", transaction["source"])
    if transaction["type"] != "payout" or payout is None or not payout["automatic"]:
        waiting = a.store.hidden("balance").setdefault("waiting", {})
        waiting.setdefault(transaction["currency"], []).append(transaction)
        for follow in ON_RELEASE:
            follow(a)


def available(a: Account) -> dict[str, int]:
    """What could be paid out, by currency."""
    return dict(a.store.hidden("balance").get("available", {}))


def take_waiting(a: Account, currency: str) -> list[Json]:
    """The available transactions that no payout holds yet; they are the next payout's from now on."""
    return a.store.hidden("balance").get("waiting", {}).pop(currency, [])


def shown(a: Account) -> Json:
    """The balance as it is now; it has no id."""
    sums = a.store.hidden("balance")
    currencies = sorted(sums.get("pending", {}).keys() | sums.get("available", {}).keys()) or ["usd"]

    def rows(state: str) -> list[Json]:
        amounts = {currency: sums.get(state, {}).get(currency, 0) for currency in currencies}
        return [{"amount": n, "currency": currency, "source_types": {"card": n}} for currency, n in amounts.items()]

    return {
        "object": "balance",
        "available": rows("available"),
        "livemode": False,
        "pending": rows("pending"),
        "refund_and_dispute_prefunding": {"available": [], "pending": []},
    }


@route("GET", "/v1/balance")
def retrieve_balance(a: Account, form: Form) -> Json:
    """What is available, and what will be."""
    return shown(a)


@route("GET", "/v1/balance_transactions", List)
def listed(a: Account, form: List) -> Json:
    """Balance transactions, newest first; `payout` gives those that an automatic payout brought, and its own."""
    if form.source is not None:
        rows = a.store.by("balance_transaction", "source", form.source)
    elif form.payout is not None:
        a.store.need("payout", form.payout, "payout")
        rows = [
            *a.store.hidden(form.payout).get("transactions", ()),
            *a.store.by("balance_transaction", "source", form.payout),
        ]
    else:
        rows = a.store.all("balance_transaction")
    rows = [row for row in rows if form.type in {None, row["type"]} and form.currency in {None, row["currency"]}]
    return page(rows, form, "/v1/balance_transactions")


@route("GET", "/v1/balance_transactions/{id}")
def retrieve(a: Account, form: Form, id: str) -> Json:
    """A balance transaction."""
    return a.store.need("balance_transaction", id)
