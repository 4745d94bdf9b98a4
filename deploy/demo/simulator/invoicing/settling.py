"""An invoice is settled: by money, by a balance, by a credit note, or because nothing was due."""

from typing import Literal

from deploy.demo.simulator.account import Account
from deploy.demo.simulator.currencies import MINIMUM
from deploy.demo.simulator.errors import Json

How = Literal["payment", "balance", "credit_note", "out_of_band"]


def due(invoice: Json) -> int:
    """What is to be paid after the balance; less than can be charged is carried to the next invoice instead.

    https://docs.stripe.com/api/invoices/object#invoice_object-amount_due
    """
    needed = invoice["total"] + invoice["starting_balance"]
    return needed if needed >= MINIMUM.get(invoice["currency"], 1) else 0


def settle(a: Account, invoice: Json, how: How) -> None:
    """Nothing remains: the invoice is paid. Emits what Stripe tells then, in its order."""
    now = a.now(invoice["customer"])
    invoice["status"] = "paid"
    invoice["status_transitions"]["paid_at"] = now
    invoice["status_details"] = None
    invoice["auto_advance"] = False
    invoice["next_payment_attempt"] = None
    if how in {"payment", "balance"}:
        invoice["attempted"] = True
    a.updated(invoice)
    a.emit("invoice.paid", invoice)
    if how in {"payment", "balance"}:
        a.emit("invoice.payment_succeeded", invoice)


def payment_of(a: Account, invoice: Json) -> Json | None:
    """The invoice's payment by its intent: the one that is open or paid, else the last."""
    rows = a.store.by("invoice_payment", "invoice", invoice["id"])
    return next((row for row in rows if row["status"] != "canceled"), rows[-1] if rows else None)


def intent_of(a: Account, invoice: Json) -> Json | None:
    """The payment intent that collects this invoice."""
    payment = payment_of(a, invoice)
    return a.store.get("payment_intent", payment["payment"]["payment_intent"]) if payment else None


def ask(a: Account, invoice: Json, intent: Json) -> Json:
    """The invoice now asks for its money through this intent."""
    return a.add(
        {
            "id": a.store.new_id("inpay"),
            "object": "invoice_payment",
            "amount_paid": None,
            "amount_requested": invoice["amount_due"],
            "created": a.now(invoice["customer"]),
            "currency": invoice["currency"],
            "invoice": invoice["id"],
            "is_default": True,
            "livemode": False,
            "payment": {"payment_intent": intent["id"], "type": "payment_intent"},
            "status": "open",
            "status_transitions": {"canceled_at": None, "paid_at": None},
        },
        "invoice",
    )
