"""A payment intent as it begins: an amount, a currency, and how it may be paid."""

from deploy.demo.simulator.account import Account
from deploy.demo.simulator.errors import Json

CARD_OPTIONS: Json = {
    "installments": None,
    "mandate_options": None,
    "network": None,
    "request_three_d_secure": "automatic",
}
OPTIONS: dict[str, Json] = {
    "card": CARD_OPTIONS,
    "link": {"persistent_token": None},
    "us_bank_account": {"mandate_options": {}, "verification_method": "automatic"},
    "sepa_debit": {"mandate_options": {}},
}
DEBITS = {"usd": ["us_bank_account"], "eur": ["sepa_debit"]}
"""Bank debits that a currency has."""


def blank(a: Account, amount: int, currency: str, customer: str | None, types: list[str]) -> Json:
    """An intent of nothing but its amount; nothing is emitted."""
    id_ = a.store.new_id("pi")
    intent: Json = {
        "id": id_,
        "object": "payment_intent",
        "amount": amount,
        "amount_capturable": 0,
        "amount_details": {"tip": {}},
        "amount_received": 0,
        "application": None,
        "application_fee_amount": None,
        "automatic_payment_methods": None,
        "canceled_at": None,
        "cancellation_reason": None,
        "capture_method": "automatic_async",
        "client_secret": f"{id_}_secret_{a.store.letters(25)}",
        "confirmation_method": "automatic",
        "created": a.now(customer),
        "currency": currency,
        "customer": customer,
        "customer_account": None,
        "description": None,
        "excluded_payment_method_types": None,
        "last_payment_error": None,
        "latest_charge": None,
        "livemode": False,
        "metadata": {},
        "next_action": None,
        "on_behalf_of": None,
        "payment_method": None,
        "payment_method_configuration_details": None,
        "payment_method_options": {},
        "payment_method_types": types,
        "processing": None,
        "receipt_email": None,
        "review": None,
        "setup_future_usage": None,
        "shipping": None,
        "source": None,
        "statement_descriptor": None,
        "statement_descriptor_suffix": None,
        "status": "requires_payment_method",
        "transfer_data": None,
        "transfer_group": None,
    }
    intent["payment_method_options"] = {kind: dict(OPTIONS[kind]) for kind in types if kind in OPTIONS}
    return intent


def automatic(currency: str) -> list[str]:
    """The payment methods that the account offers in a currency."""
    return ["card", "link", *DEBITS.get(currency, [])]
