"""A customer's balance: what we owe them (negative) or they owe us, which the next invoice settles."""

from deploy.demo.simulator.account import Account
from deploy.demo.simulator.errors import Json, StripeError


def counts(customer: Json, currency: str) -> bool:
    """Whether the balance is in this currency; a customer has one currency from the first invoice on."""
    return customer.get("currency") in {None, currency}


def refuse(customer: Json, currency: str, param: str) -> None:
    """Raises StripeError where the customer's balance is in another currency."""
    if not counts(customer, currency):
        raise StripeError(
            f"The currency `{currency}` does not match the customer's currency, `{customer['currency']}`.", param=param
        )


def adjust(
    a: Account,
    customer: Json,
    amount: int,
    *,
    type_: str,
    currency: str,
    invoice: str | None = None,
    credit_note: str | None = None,
    description: str | None = None,
    metadata: dict[str, str] | None = None,
) -> Json:
    """Move the balance by `amount` (minor units; negative is a credit for the customer) and keep the transaction.

    https://docs.stripe.com/billing/customer/balance. Callers have asked whether it `counts`; a first movement gives a
    customer without a currency this one.
    """
    assert counts(customer, currency), f"a balance in {customer['currency']} was to be moved by {currency}"
    customer["currency"] = currency
    customer["balance"] += amount
    transaction = a.add(
        {
            "id": a.store.new_id("cbtxn"),
            "object": "customer_balance_transaction",
            "amount": amount,
            "checkout_session": None,
            "created": a.now(customer["id"]),
            "credit_note": credit_note,
            "currency": currency,
            "customer": customer["id"],
            "customer_account": None,
            "description": description,
            "ending_balance": customer["balance"],
            "invoice": invoice,
            "livemode": False,
            "metadata": metadata or {},
            "type": type_,
        },
        "customer",
        "invoice",
    )
    a.updated(customer)
    return transaction
