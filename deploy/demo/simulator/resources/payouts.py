"""Payouts: what is available goes to the company's bank account, every day by itself."""

from typing import Literal

from deploy.demo.simulator.account import DAY, Account
from deploy.demo.simulator.currencies import WHOLE_PAYOUTS
from deploy.demo.simulator.errors import Json, StripeError
from deploy.demo.simulator.forms import Form, ListForm, Metadata, Text, merge_metadata
from deploy.demo.simulator.registry import route
from deploy.demo.simulator.resources import balance
from deploy.demo.simulator.store import page

HOUR_OF_DAY = 3 * 3600
"""When in a day (UTC) the automatic payouts are made; new money has been available since midnight."""

SENT_AFTER = 3600
ARRIVES_AFTER = 1
"""Business days until the bank has it."""


class Create(Form):
    """https://docs.stripe.com/api/payouts/create."""

    amount: int
    currency: str
    description: Text = None
    statement_descriptor: Text = None
    method: Literal["standard", "instant"] = "standard"
    metadata: Metadata | None = None


class Update(Form):
    """https://docs.stripe.com/api/payouts/update."""

    metadata: Metadata | None = None


class List(ListForm):
    """https://docs.stripe.com/api/payouts/list."""

    status: Literal["pending", "paid", "failed", "canceled", "in_transit"] | None = None
    destination: str | None = None


class Fail(Form):
    """Why the bank refused it: https://docs.stripe.com/api/payouts/failures."""

    failure_code: str = "account_closed"


def begin(a: Account) -> None:
    """Money is available: the next automatic payout will take it."""
    kept = a.store.hidden("payouts")
    if kept.get("scheduled"):
        return
    kept["scheduled"] = True
    due = a.now() // DAY * DAY + HOUR_OF_DAY
    a.clock.at(due if due > a.now() else due + DAY, lambda: _daily(a))


balance.ON_RELEASE.append(begin)


def _daily(a: Account) -> None:
    a.store.hidden("payouts")["scheduled"] = False
    owed = {currency: _whole(amount, currency) for currency, amount in balance.available(a).items()}
    owed = {currency: amount for currency, amount in sorted(owed.items()) if amount > 0}
    if owed:
        a.emit("balance.available", balance.shown(a))
    for currency, amount in owed.items():
        _pay_out(a, _make(a, amount, currency, automatic=True))


def _whole(amount: int, currency: str) -> int:
    return amount // 100 * 100 if currency in WHOLE_PAYOUTS else amount


def _make(a: Account, amount: int, currency: str, *, automatic: bool, description: str | None = None) -> Json:
    bank_account = a.store.hidden("payouts").setdefault("bank_account", a.store.new_id("ba"))
    payout = a.add(
        {
            "id": a.store.new_id("po"),
            "object": "payout",
            "amount": amount,
            "application_fee": None,
            "application_fee_amount": None,
            "arrival_date": balance.business_days(a.now(), ARRIVES_AFTER),
            "automatic": automatic,
            "balance_transaction": None,
            "created": a.now(),
            "currency": currency,
            "description": description or "STRIPE PAYOUT",
            "destination": bank_account,
            "failure_balance_transaction": None,
            "failure_code": None,
            "failure_message": None,
            "livemode": False,
            "metadata": {},
            "method": "standard",
            "original_payout": None,
            "payout_method": None,
            "reconciliation_status": "in_progress" if automatic else "not_applicable",
            "reversed_by": None,
            "source_type": "card",
            "statement_descriptor": None,
            "status": "pending",
            "trace_id": {"status": "pending", "value": None},
            "type": "bank_account",
        }
    )
    if automatic:
        a.store.hidden(payout["id"])["transactions"] = balance.take_waiting(a, currency)
    return payout


def _pay_out(a: Account, payout: Json) -> None:
    """The money leaves the balance, is sent, and arrives."""
    payout["balance_transaction"] = _moved(a, payout, "payout", -payout["amount"], payout["description"])
    a.emit("payout.created", payout)
    a.clock.at(a.now() + SENT_AFTER, lambda: _send(a, payout))
    a.clock.at(payout["arrival_date"] + HOUR_OF_DAY, lambda: _arrive(a, payout))


def _moved(a: Account, payout: Json, kind: str, amount: int, description: str) -> str:
    return balance.record(a, kind, payout, amount, category=kind, description=description)["id"]


def _send(a: Account, payout: Json) -> None:
    if payout["status"] == "pending":
        payout["status"] = "in_transit"
        a.updated(payout)


def _arrive(a: Account, payout: Json) -> None:
    if payout["status"] not in {"pending", "in_transit"}:
        return
    payout["status"] = "paid"
    payout["trace_id"] = {"status": "supported", "value": f"{a.chance.randrange(10**15):015d}"}
    a.emit("payout.paid", payout)
    if payout["automatic"]:
        payout["reconciliation_status"] = "completed"
        a.emit("payout.reconciliation_completed", payout)


def _give_back(a: Account, payout: Json, status: str, kind: str) -> None:
    """The money is in the balance again."""
    payout["status"] = status
    moved = _moved(a, payout, kind, payout["amount"], f"{payout['description']} ({status})")
    if status == "failed":
        payout["failure_balance_transaction"] = moved
    a.emit(f"payout.{status}", payout)
    begin(a)


@route("POST", "/v1/payouts", Create)
def create(a: Account, form: Create) -> Json:
    """A payout by hand, besides the automatic ones."""
    currency = form.currency.lower()
    if form.amount < 1:
        raise StripeError("Invalid positive integer", code="parameter_invalid_integer", param="amount")
    if form.amount != _whole(form.amount, currency):
        raise StripeError(f"Payouts in {currency} must be whole units: {form.amount}", param="amount")
    if form.amount > balance.available(a).get(currency, 0):
        raise StripeError(
            "You have insufficient funds in your Stripe account for this transfer. Your card balance is too low.",
            code="balance_insufficient",
        )
    payout = _make(a, form.amount, currency, automatic=False, description=form.description)
    payout |= {"method": form.method, "statement_descriptor": form.statement_descriptor}
    payout["metadata"] = merge_metadata({}, form.metadata)
    _pay_out(a, payout)
    return payout


@route("GET", "/v1/payouts", List)
def listed(a: Account, form: List) -> Json:
    """Payouts, newest first."""
    rows = [row for row in a.store.all("payout") if form.status in {None, row["status"]}]
    return page([row for row in rows if form.destination in {None, row["destination"]}], form, "/v1/payouts")


@route("GET", "/v1/payouts/{id}")
def retrieve(a: Account, form: Form, id: str) -> Json:
    """A payout."""
    return a.store.need("payout", id)


@route("POST", "/v1/payouts/{id}", Update)
def update(a: Account, form: Update, id: str) -> Json:
    """Change its metadata."""
    payout = a.store.need("payout", id)
    payout["metadata"] = merge_metadata(payout["metadata"], form.metadata)
    a.updated(payout)
    return payout


@route("POST", "/v1/payouts/{id}/cancel")
def cancel(a: Account, form: Form, id: str) -> Json:
    """Keep the money, while it has not been sent."""
    payout = a.store.need("payout", id)
    if payout["status"] != "pending":
        raise StripeError(f"Payouts can only be canceled while they are pending: {id} is {payout['status']}.")
    if payout["automatic"]:
        raise StripeError("Automatic payouts cannot be canceled.")
    _give_back(a, payout, "canceled", "payout_cancel")
    return payout


@route("POST", "/_sim/payouts/{id}/fail", Fail)
def fail(a: Account, form: Fail, id: str) -> Json:
    """The company's bank refuses it, even days after it was paid."""
    payout = a.store.need("payout", id)
    if payout["status"] in {"failed", "canceled"}:
        raise StripeError(f"This payout is {payout['status']} already.")
    payout |= {
        "failure_code": form.failure_code,
        "failure_message": f"Your bank refused the payout: {form.failure_code.replace('_', ' ')}.",
    }
    _give_back(a, payout, "failed", "payout_failure")
    return payout
