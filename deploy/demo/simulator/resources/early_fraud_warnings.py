"""Early fraud warnings: an issuer says that a payment was probably fraud, before anybody disputes it."""

from typing import Literal

from deploy.demo.simulator.account import Account
from deploy.demo.simulator.errors import Json
from deploy.demo.simulator.forms import Form, ListForm
from deploy.demo.simulator.registry import route
from deploy.demo.simulator.store import page

KIND = "radar.early_fraud_warning"

FraudType = Literal[
    "card_never_received", "fraudulent_card_application", "made_with_counterfeit_card", "made_with_lost_card",
    "made_with_stolen_card", "misc", "unauthorized_use_of_card",
]  # fmt: skip


class List(ListForm):
    """https://docs.stripe.com/api/radar/early_fraud_warnings/list."""

    charge: str | None = None
    payment_intent: str | None = None


class Warn(Form):
    """What the issuer says."""

    fraud_type: FraudType = "unauthorized_use_of_card"


def warn(a: Account, charge: Json, fraud_type: FraudType = "unauthorized_use_of_card") -> Json:
    """The issuer warns of a charge; a refund now would prevent the dispute."""
    warning = a.add(
        {
            "id": a.store.new_id("issfr"),
            "object": KIND,
            "actionable": not charge["refunded"] and not charge["disputed"],
            "charge": charge["id"],
            "created": a.now(charge["customer"]),
            "fraud_type": fraud_type,
            "livemode": False,
            "payment_intent": charge["payment_intent"],
        },
        "charge",
        "payment_intent",
    )
    a.emit("radar.early_fraud_warning.created", warning, customer=charge["customer"])
    return warning


@route("GET", "/v1/radar/early_fraud_warnings", List)
def listed(a: Account, form: List) -> Json:
    """Warnings, newest first."""
    rows = [
        row
        for row in a.store.all(KIND)
        if form.charge in {None, row["charge"]} and form.payment_intent in {None, row["payment_intent"]}
    ]
    return page(rows, form, "/v1/radar/early_fraud_warnings")


@route("GET", "/v1/radar/early_fraud_warnings/{id}")
def retrieve(a: Account, form: Form, id: str) -> Json:
    """A warning."""
    return a.store.need(KIND, id)


@route("POST", "/_sim/charges/{id}/fraud_warning", Warn)
def warn_route(a: Account, form: Warn, id: str) -> Json:
    """An issuer warns of a charge."""
    return warn(a, a.store.need("charge", id), form.fraud_type)
