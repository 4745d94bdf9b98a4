"""A draft becomes an invoice with a number; an open invoice can be voided or given up."""

from functools import partial

from deploy.demo.simulator.account import DAY, Account
from deploy.demo.simulator.errors import Json, StripeError
from deploy.demo.simulator.invoicing import balances, computing
from deploy.demo.simulator.invoicing.settling import ask, due, intent_of, payment_of, settle
from deploy.demo.simulator.invoicing.shape import customer_fields
from deploy.demo.simulator.resources import payment_intents

REMINDER = 7 * DAY
"""How long before its due date an invoice is told to be due soon."""

NOT_OPEN = "You can only pass in open invoices. This invoice isn't open."


def finalize(a: Account, invoice: Json, *, mail: bool | None = None) -> Json:
    """Number the draft, apply the customer's balance, and ask for what is due: an intent, or a mail with a date.

    `mail` tells whether a sent invoice is mailed now; else it is if it advances by itself.
    Emits `invoice.finalized` and, with nothing due, that it is paid. Raises StripeError unless it is a draft.
    """
    if invoice["status"] != "draft":
        raise StripeError("This invoice is already finalized, you can't re-finalize a non-draft invoice.")
    customer = a.store.need("customer", invoice["customer"])
    if "deleted" in customer:
        raise StripeError("This invoice belongs to a customer that was deleted, and cannot be finalized.")
    now = a.now(customer["id"])
    token = f"https://invoice.stripe.com/i/acct_simulated/test_{a.store.letters(40)}"
    invoice |= customer_fields(a, customer)
    computing.compute(a, invoice)
    invoice |= {
        "automatically_finalizes_at": None,
        "effective_at": invoice["effective_at"] or now,
        "hosted_invoice_url": f"{token}?s=ap",
        "invoice_pdf": f"{token.replace('invoice.stripe.com/i', 'pay.stripe.com/invoice')}/pdf?s=ap",
        "next_payment_attempt": None,
        "status": "open",
    }
    if invoice["number"] is None:
        invoice["number"] = f"{customer['invoice_prefix']}-{customer['next_invoice_sequence']:04d}"
        customer["next_invoice_sequence"] += 1
    invoice["status_transitions"]["finalized_at"] = now
    if (days := a.store.hidden(invoice["id"]).get("days_until_due")) is not None:
        invoice["due_date"] = now + days * DAY
    _apply_balance(a, invoice, customer)
    a.emit("invoice.finalized", invoice)
    if invoice["amount_due"] == 0:
        settle(a, invoice, "balance")
        return invoice
    ask(a, invoice, payment_intents.for_invoice(a, invoice))
    if invoice["collection_method"] == "send_invoice":
        _remind(a, invoice)
        if invoice["auto_advance"] if mail is None else mail:
            a.emit("invoice.sent", invoice)
    return invoice


def _apply_balance(a: Account, invoice: Json, customer: Json) -> None:
    """Use the balance up, or carry to it what is too little to charge, or what the invoice gives back."""
    currency = invoice["currency"]
    counts = balances.counts(customer, currency)
    start = invoice["starting_balance"] = customer["balance"] if counts else 0
    invoice["amount_due"] = invoice["amount_remaining"] = due(invoice)
    end = invoice["ending_balance"] = invoice["total"] + start - invoice["amount_due"] if counts else 0
    move = partial(balances.adjust, a, customer, currency=currency, invoice=invoice["id"])
    if end > 0:  # too little to charge
        if start:
            move(-start, type_="applied_to_invoice")
        move(end, type_="invoice_too_small")
    elif end != start:
        move(end - start, type_="applied_to_invoice")


def _remind(a: Account, invoice: Json) -> None:
    def tell(type_: str, due_date: int) -> None:
        if invoice["status"] == "open" and invoice["due_date"] == due_date:
            a.emit(type_, invoice)

    clock, due_date = a.clock_of(invoice["customer"]), invoice["due_date"]
    if due_date is None:
        return
    if due_date - REMINDER > clock.now:
        clock.at(due_date - REMINDER, partial(tell, "invoice.will_be_due", due_date))
    clock.at(due_date, partial(tell, "invoice.overdue", due_date))


def processing(a: Account, invoice: Json) -> bool:
    """Whether money for the invoice is on its way: it can be neither voided nor reduced until that has come or not."""
    intent = intent_of(a, invoice)
    return intent is not None and intent["status"] == "processing"


def void(a: Account, invoice: Json) -> Json:
    """The invoice counts no more; its balance is given back. Raises StripeError unless it is open or uncollectible."""
    if invoice["status"] == "paid":
        raise StripeError("Invoices with `paid` payments cannot be voided.")
    if invoice["status"] not in {"open", "uncollectible"}:
        raise StripeError(NOT_OPEN)
    if processing(a, invoice):
        raise StripeError("This invoice has a payment that is still processing and cannot be voided.")
    _close(a, invoice, "void", "voided_at")
    withdraw(a, invoice, "void_invoice")
    customer = a.store.need("customer", invoice["customer"])
    applied = sum(
        row["amount"]
        for row in a.store.by("customer_balance_transaction", "invoice", invoice["id"])
        if row["type"] == "applied_to_invoice"
    )
    if applied and "deleted" not in customer:
        currency, id_ = invoice["currency"], invoice["id"]
        balances.adjust(a, customer, -applied, type_="unapplied_from_invoice", currency=currency, invoice=id_)
    a.updated(invoice)
    a.emit("invoice.voided", invoice)
    return invoice


def mark_uncollectible(a: Account, invoice: Json, reason: str = "user_forgiven") -> Json:
    """The money is given up, though it may still come. Raises StripeError unless the invoice is open."""
    if invoice["status"] == "uncollectible":
        raise StripeError("This invoice has already been marked uncollectible.")
    if invoice["status"] != "open":
        raise StripeError(NOT_OPEN)
    invoice["status_details"] = {"uncollectible": {"reason": reason}}
    _close(a, invoice, "uncollectible", "marked_uncollectible_at")
    a.updated(invoice)
    a.emit("invoice.marked_uncollectible", invoice)
    return invoice


def _close(a: Account, invoice: Json, status: str, moment: str) -> None:
    invoice["status"] = status
    invoice["auto_advance"] = False
    invoice["next_payment_attempt"] = None
    invoice["status_transitions"][moment] = a.now(invoice["customer"])


def withdraw(a: Account, invoice: Json, reason: str) -> None:
    """The invoice's intent is no longer wanted: it is canceled, unless it has its money."""
    payment, intent = payment_of(a, invoice), intent_of(a, invoice)
    if payment is None or intent is None or payment["status"] != "open":
        return
    payment["status"] = "canceled"
    payment["status_transitions"]["canceled_at"] = a.now(invoice["customer"])
    if intent["status"] not in {"succeeded", "canceled"}:
        payment_intents.cancel(a, intent, reason)


def send(a: Account, invoice: Json) -> Json:
    """Mail the invoice to its customer; a draft is finalized first."""
    if invoice["status"] == "draft":
        final = finalize(a, invoice, mail=False)
        if final["status"] == "paid":
            return final
    elif invoice["status"] not in {"open", "uncollectible"}:
        raise StripeError(
            "This invoice cannot be sent right now. Please contact us via https://support.stripe.com/contact with "
            "details, so we can help."
        )
    a.emit("invoice.sent", invoice)
    return invoice
