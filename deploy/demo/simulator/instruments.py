"""Cards and bank accounts, as they are typed in and as Stripe shows them."""

import hashlib
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from deploy.demo.simulator import bank
from deploy.demo.simulator.account import Account
from deploy.demo.simulator.cards import ACCOUNTS, BANKS, CARDS, Bank, Card, by_number, luhn
from deploy.demo.simulator.errors import Json, StripeError
from deploy.demo.simulator.forms import Metadata, Part, Text, merge_metadata
from deploy.demo.simulator.resources.customers import Address

NO_ADDRESS: Json = dict.fromkeys(("city", "country", "line1", "line2", "postal_code", "state"))

LIVES = 4
"""Years until a new test card expires."""


def _unset(value: Any) -> Any:
    return None if value == "" else value


class BillingDetails(Part):
    """Who pays."""

    address: Annotated[Address | None, BeforeValidator(_unset)] = None
    email: Text = None
    name: Text = None
    phone: Text = None
    tax_id: Text = None


class Shipping(Part):
    """Where what was bought goes."""

    address: Address
    carrier: Text = None
    name: Text = None
    phone: Text = None
    tracking_number: Text = None


class CardNumber(Part):
    """A card, by number or by one of Stripe's test tokens."""

    number: str | None = None
    exp_month: Annotated[int, Field(ge=1, le=12)] | None = None
    exp_year: int | None = None
    cvc: str | None = None
    token: str | None = None


class UsBankAccount(Part):
    """An American bank account."""

    account_number: str
    routing_number: str = "110000000"
    account_holder_type: Literal["company", "individual"] = "individual"
    account_type: Literal["checking", "savings"] = "checking"


class SepaDebit(Part):
    """A European bank account."""

    iban: str


class Data(Part):
    """A payment method, as it is given inside another request."""

    type: Literal["card", "us_bank_account", "sepa_debit"]
    card: CardNumber | None = None
    us_bank_account: UsBankAccount | None = None
    sepa_debit: SepaDebit | None = None
    billing_details: BillingDetails | None = None
    allow_redisplay: Literal["always", "limited", "unspecified"] = "unspecified"
    metadata: Metadata | None = None


def test_name(name: str) -> str | None:
    """Stripe's name of a test payment method, where `name` (or a token) is one."""
    if name.startswith("tok_"):
        name = f"pm_card_{name.removeprefix('tok_')}"
    return name if name in CARDS or name in BANKS else None


def make(a: Account, name: str, created: int) -> Json:
    """A new payment method of one of Stripe's test names, of no customer yet. Raises StripeError for another name."""
    test = test_name(name)
    if test is None:
        raise StripeError(
            f"No such PaymentMethod: '{name}'", status=404, code="resource_missing", param="payment_method"
        )
    method: Json = {
        "id": a.store.new_id("pm"),
        "object": "payment_method",
        "allow_redisplay": "unspecified",
        "billing_details": {"address": dict(NO_ADDRESS), "email": None, "name": None, "phone": None, "tax_id": None},
    }
    if test in CARDS:
        method["card"] = _card(a, CARDS[test], created)
        kind = "card"
    else:
        kind = BANKS[test].kind
        method[kind] = _bank(a, BANKS[test])
    method |= {
        "created": created,
        "customer": None,
        "customer_account": None,
        "livemode": False,
        "metadata": {},
        "type": kind,
    }
    a.store.hidden(method["id"])["test"] = test
    return a.add(method)


def _fingerprint(a: Account, number: str) -> str:
    return hashlib.sha256(f"{a.seed}{number}".encode()).hexdigest()[:16]


def _card(a: Account, card: Card, created: int) -> Json:
    return {
        "brand": card.brand,
        "checks": {
            "address_line1_check": card.line1_check,
            "address_postal_code_check": card.postal_code_check,
            "cvc_check": card.cvc_check,
        },
        "country": card.country,
        "display_brand": "american_express" if card.brand == "amex" else card.brand,
        "exp_month": 12,
        "exp_year": datetime.fromtimestamp(created, UTC).year + LIVES,
        "fingerprint": _fingerprint(a, card.number),
        "funding": card.funding,
        "generated_from": None,
        "last4": card.number[-4:],
        "networks": {"available": [card.brand], "preferred": None},
        "regulated_status": "unregulated",
        "three_d_secure_usage": {"supported": card.brand != "amex"},
        "wallet": None,
    }


def _bank(a: Account, account: Bank) -> Json:
    shown: Json = {"fingerprint": _fingerprint(a, account.number), "last4": account.number[-4:]}
    if account.kind == "sepa_debit":
        return shown | {
            "bank_code": account.number[4:9],
            "branch_code": "",
            "country": account.country,
            "generated_from": {"charge": None, "setup_attempt": None},
        }
    return shown | {
        "account_holder_type": "individual",
        "account_type": "checking",
        "bank_name": "STRIPE TEST BANK",
        "financial_connections_account": None,
        "networks": {"preferred": "ach", "supported": ["ach"]},
        "routing_number": "110000000",
        "status_details": {},
    }


def given(a: Account, data: Data, created: int) -> Json:
    """A new payment method of what was typed in. Raises StripeError for numbers that are no test numbers."""
    method = make(a, _typed(data), created)
    if data.card is not None:
        method["card"] |= {k: v for k, v in data.card.given("exp_month", "exp_year").items() if v is not None}
        if data.card.number is not None and data.card.cvc is None:
            method["card"]["checks"]["cvc_check"] = None
    if data.us_bank_account is not None:
        method["us_bank_account"] |= data.us_bank_account.given("account_holder_type", "account_type", "routing_number")
    describe(method, data.billing_details)
    method["allow_redisplay"] = data.allow_redisplay
    method["metadata"] = merge_metadata(method["metadata"], data.metadata)
    return method


def _typed(data: Data) -> str:
    """The test name of what was typed in."""
    if data.type == "card":
        if data.card is None or (data.card.number is None and data.card.token is None):
            raise StripeError("Missing required param: card.", code="parameter_missing", param="card")
        return data.card.token if data.card.token is not None else _by_number(data.card.number or "")
    typed = data.us_bank_account.account_number if data.us_bank_account else ""
    typed = data.sepa_debit.iban.replace(" ", "").upper() if data.sepa_debit else typed
    for name, account in BANKS.items():
        if account.kind == data.type and ACCOUNTS.get(typed) is account:
            return name
    field = "iban" if data.type == "sepa_debit" else "account_number"
    raise StripeError(
        f"You must use a test bank account number when making test mode transactions: {typed!r} is none.",
        code="account_number_invalid" if data.type == "us_bank_account" else "invalid_bank_account_iban",
        param=f"{data.type}[{field}]",
    )


def _by_number(number: str) -> str:
    digits = number.replace(" ", "")
    if not digits.isdecimal() or not luhn(digits):
        raise bank.refused(
            bank.Decline("incorrect_number", "Your card number is incorrect.", advice=None), param="number"
        )
    card = by_number(digits)
    if card is None:
        raise bank.refused(
            bank.Decline(
                "card_declined",
                "Your card was declined. Your request was in test mode, but used a non test card. For a list of valid "
                "test cards, visit: https://stripe.com/docs/testing.",
                "test_mode_live_card",
                advice=None,
            )
        )
    return next(name for name, known in CARDS.items() if known == card)


def describe(method: Json, details: BillingDetails | None) -> None:
    """Who pays: what is given changes."""
    if details is None:
        return
    shown = method["billing_details"]
    shown |= details.given("email", "name", "phone", "tax_id")
    if "address" in details.model_fields_set:
        shown["address"] = details.address.model_dump() if details.address else dict(NO_ADDRESS)
