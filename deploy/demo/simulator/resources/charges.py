"""Charges: each attempt to take money, and what became of it."""

from deploy.demo.simulator.account import DAY, Account
from deploy.demo.simulator.bank import account_of, card_of
from deploy.demo.simulator.cards import Decline
from deploy.demo.simulator.errors import Json, StripeError
from deploy.demo.simulator.forms import Form, ListForm, Metadata, Text, merge_metadata
from deploy.demo.simulator.instruments import Shipping
from deploy.demo.simulator.registry import route
from deploy.demo.simulator.render import before_basil, includable
from deploy.demo.simulator.resources import balance
from deploy.demo.simulator.store import listing, page

STATEMENT = "EXAMPLE COMPANY"

APPROVED: Json = {
    "advice_code": None,
    "network_advice_code": None,
    "network_decline_code": None,
    "network_status": "approved_by_network",
    "reason": None,
    "risk_level": "normal",
    "risk_score": 20,
    "seller_message": "Payment complete.",
    "type": "authorized",
}

SOON = 2
"""Seconds until an asynchronous capture has its balance transaction: https://docs.stripe.com/payments/asynchronous-capture."""

HOLDS = 7 * DAY
"""How long an authorization waits for its capture: https://docs.stripe.com/payments/place-a-hold-on-a-payment-method."""

SCORES = {"normal": (5, 50), "elevated": (65, 74), "highest": (75, 99)}
"""Radar's scores by level: https://docs.stripe.com/radar/risk-evaluation."""


class List(ListForm):
    """https://docs.stripe.com/api/charges/list."""

    customer: str | None = None
    payment_intent: str | None = None
    transfer_group: str | None = None


class Update(Form):
    """https://docs.stripe.com/api/charges/update."""

    description: Text = None
    receipt_email: Text = None
    fraud_details: dict[str, str] | None = None
    transfer_group: Text = None
    shipping: Shipping | None = None
    customer: str | None = None
    metadata: Metadata | None = None


def make(a: Account, intent: Json, method: Json, *, captured: bool, status: str, secured: bool = False) -> Json:
    """A charge of an intent's whole amount on a payment method; nothing is emitted."""
    amount, is_card = intent["amount"], method["type"] == "card"
    charge: Json = {
        "id": a.store.new_id("ch" if is_card else "py"),
        "object": "charge",
        "amount": amount,
        "amount_captured": amount if captured and status != "failed" else 0,
        "amount_refunded": 0,
        "application": None,
        "application_fee": None,
        "application_fee_amount": None,
        "balance_transaction": None,
        "billing_details": method["billing_details"] | {"address": dict(method["billing_details"]["address"])},
        "calculated_statement_descriptor": intent["statement_descriptor"] or STATEMENT,
        "captured": captured and status != "failed",
        "created": a.now(intent["customer"]),
        "currency": intent["currency"],
        "customer": intent["customer"],
        "description": intent["description"],
        "destination": None,
        "dispute": None,
        "disputed": False,
        "failure_balance_transaction": None,
        "failure_code": None,
        "failure_message": None,
        "fraud_details": {},
        "livemode": False,
        "metadata": dict(intent["metadata"]),
        "on_behalf_of": None,
        "order": None,
        "outcome": _outcome(a, method) if status != "failed" else None,
        "paid": status == "succeeded",
        "payment_intent": intent["id"],
        "payment_method": method["id"],
        "payment_method_details": _details(a, intent, method, approved=status != "failed", secured=secured),
        "radar_options": {},
        "receipt_email": intent["receipt_email"],
        "receipt_number": None,
        "receipt_url": f"https://pay.stripe.com/receipts/payment/{a.store.letters(40)}"
        if status == "succeeded"
        else None,
        "refunded": False,
        "review": None,
        "shipping": intent["shipping"],
        "source": None,
        "source_transfer": None,
        "statement_descriptor": intent["statement_descriptor"],
        "statement_descriptor_suffix": intent["statement_descriptor_suffix"],
        "status": status,
        "transfer_data": None,
        "transfer_group": intent["transfer_group"],
    }
    return a.add(charge, "customer", "payment_intent")


def _outcome(a: Account, method: Json) -> Json:
    if method["type"] != "card":
        return APPROVED | {"risk_level": "not_assessed", "risk_score": None}
    risk = card_of(a, method).risk
    return APPROVED | {"risk_level": risk, "risk_score": a.chance.randint(*SCORES[risk])}


def _details(a: Account, intent: Json, method: Json, *, approved: bool, secured: bool) -> Json:
    kind = method["type"]
    if kind != "card":
        kept = {k: v for k, v in method[kind].items() if k in BANK_FIELDS[kind]}
        more = {"payment_reference": None} if kind == "us_bank_account" else {}
        return {kind: kept | more | {"expected_debit_date": None, "mandate": None}, "type": kind}
    card, amount = method["card"], intent["amount"]
    held: Json = {"capture_before": a.now(intent["customer"]) + HOLDS}
    return {
        "card": (held if approved and intent["capture_method"] == "manual" else {})
        | {
            "amount_authorized": amount if approved else None,
            "authorization_code": f"{a.chance.randrange(10**6):06d}" if approved else None,
            "brand": card["brand"],
            "checks": dict(card["checks"]),
            "country": card["country"],
            "exp_month": card["exp_month"],
            "exp_year": card["exp_year"],
            "extended_authorization": {"status": "disabled"},
            "fingerprint": card["fingerprint"],
            "funding": card["funding"],
            "incremental_authorization": {"status": "unavailable"},
            "installments": None,
            "last4": card["last4"],
            "mandate": None,
            "multicapture": {"status": "unavailable"},
            "network": card["brand"],
            "network_token": {"used": False},
            "network_transaction_id": f"{a.chance.randrange(10**15):015d}",
            "overcapture": {"maximum_amount_capturable": amount, "status": "unavailable"},
            "regulated_status": "unregulated",
            "three_d_secure": dict(SECURED) if secured else None,
            "wallet": None,
        },
        "type": "card",
    }


BANK_FIELDS = {
    "us_bank_account": {
        "account_holder_type",
        "account_type",
        "bank_name",
        "fingerprint",
        "last4",
        "routing_number",
    },
    "sepa_debit": {"bank_code", "branch_code", "country", "fingerprint", "last4"},
}

SECURED: Json = {
    "authentication_flow": "challenge",
    "electronic_commerce_indicator": "05",
    "exemption_indicator": None,
    "result": "authenticated",
    "result_reason": None,
    "transaction_id": None,
    "version": "2.2.0",
}


def declined(a: Account, charge: Json, reason: Decline) -> None:
    """The bank said no to this charge: it is told as failed."""
    charge |= {
        "status": "failed",
        "paid": False,
        "captured": False,
        "amount_captured": 0,
        "failure_code": reason.code,
        "failure_message": reason.message,
    }
    code = reason.decline_code or reason.code
    charge["outcome"] = APPROVED | {
        "advice_code": reason.advice,
        "network_decline_code": reason.network,
        "network_status": "declined_by_network",
        "reason": code,
        "risk_score": a.chance.randint(*SCORES["normal"]),
        "seller_message": "The bank did not return any further details with this decline."
        if code == "generic_decline"
        else f"The bank returned the decline code `{code}`.",
        "type": "issuer_declined",
    }
    if code == "fraudulent" and reason.network == "59":
        charge["outcome"] |= {
            "network_status": "not_sent_to_network",
            "network_decline_code": None,
            "reason": "highest_risk_level",
            "risk_level": "highest",
            "risk_score": 90,
            "seller_message": "Stripe blocked this payment as too risky.",
            "type": "blocked",
        }
    a.emit("charge.failed", charge)


def settle(a: Account, charge: Json) -> None:
    """Captured money enters the balance, less Stripe's fee; what was refunded before is taken out again."""
    if charge["balance_transaction"] is not None or not charge["captured"]:
        return
    now, method = a.now(charge["customer"]), a.store.need("payment_method", charge["payment_method"])
    at_once = method["type"] == "card" and card_of(a, method).available_at_once
    is_card = method["type"] == "card"
    transaction = balance.record(
        a,
        "charge" if is_card else "payment",
        charge,
        charge["amount_captured"],
        category="charge",
        description=charge["description"],
        fee=balance.fee_of(a, charge),
        available_on=now if at_once else balance.business_days(now, balance.SETTLES),
        customer=charge["customer"],
    )
    charge["balance_transaction"] = transaction["id"]


def settle_soon(a: Account, charge: Json) -> None:
    """An asynchronous capture tells of its balance transaction a moment later, as `charge.updated`."""

    def do() -> None:
        settle(a, charge)
        a.updated(charge)

    a.clock_of(charge["customer"]).at(a.now(charge["customer"]) + SOON, do)


def disputes_by_itself(a: Account, method: Json) -> str | None:
    """What the bank of this test card, or this account, will do after a payment."""
    if method["type"] != "card":
        return "insufficient_funds" if account_of(a, method).disputes else None
    return card_of(a, method).dispute


@route("GET", "/v1/charges", List)
def listed(a: Account, form: List) -> Json:
    """Charges, newest first."""
    if form.payment_intent is not None:
        rows = a.store.by("charge", "payment_intent", form.payment_intent)
    elif form.customer is not None:
        rows = a.store.by("charge", "customer", form.customer)
    else:
        rows = a.store.all("charge")
    rows = [row for row in rows if form.customer in {None, row["customer"]}]
    return page([row for row in rows if form.transfer_group in {None, row["transfer_group"]}], form, "/v1/charges")


@route("GET", "/v1/charges/{id}")
def retrieve(a: Account, form: Form, id: str) -> Json:
    """A charge."""
    return a.store.need("charge", id)


@route("POST", "/v1/charges/{id}", Update)
def update(a: Account, form: Update, id: str) -> Json:
    """Change what is given."""
    charge = a.store.need("charge", id)
    if form.customer is not None and charge["customer"] not in {None, form.customer}:
        raise StripeError("You cannot change the customer of a charge that has one.", param="customer")
    charge |= form.given("description", "receipt_email", "transfer_group")
    if form.shipping is not None:
        charge["shipping"] = form.shipping.model_dump()
    if form.fraud_details is not None:
        charge["fraud_details"] = {k: v for k, v in form.fraud_details.items() if v}
    charge["metadata"] = merge_metadata(charge["metadata"], form.metadata)
    a.updated(charge)
    return charge


@includable("charge", "refunds")
def refunds_of(a: Account, charge: Json) -> Json:
    """A charge's refunds, newest first; shown only when expanded, since 2022-11-15."""
    rows = a.store.by("refund", "charge", charge["id"])
    return listing(list(reversed(rows)), f"/v1/charges/{charge['id']}/refunds")


@before_basil("charge")
def older(a: Account, charge: Json) -> None:
    """Before basil a charge named its invoice."""
    charge["invoice"] = a.store.hidden(charge["payment_intent"]).get("invoice")
