"""The money of an invoice is asked for, comes or does not come, and is asked for again."""

from deploy.demo.simulator.account import Account
from deploy.demo.simulator.errors import Json, StripeError, card_error
from deploy.demo.simulator.invoicing import finalizing
from deploy.demo.simulator.invoicing.settling import intent_of, payment_of, settle
from deploy.demo.simulator.invoicing.shape import subscription_of
from deploy.demo.simulator.registry import listens
from deploy.demo.simulator.resources import payment_intents


def attempt(
    a: Account, invoice: Json, *, method: str | None = None, off_session: bool = True, scheduled: bool = False
) -> Json:
    """One attempt to collect an open invoice, with `method`, else what it, its subscription or its customer has.

    The first attempt and the `scheduled` ones count for the retries; others leave the schedule as it is:
    https://docs.stripe.com/api/invoices/object#invoice_object-attempt_count. Never raises card errors.
    """
    intent = intent_of(a, invoice)
    if invoice["status"] not in {"open", "uncollectible"} or intent is None or intent["status"] == "processing":
        return invoice
    method = method or _usable(a, invoice, method_of(a, invoice))
    invoice["attempted"] = True
    a.store.hidden(invoice["id"])["attempt"] = scheduled or invoice["attempt_count"] == 0
    if method is None:
        _failed(a, invoice)
        return invoice
    payment_intents.attempt(a, intent, method, off_session=off_session)
    if intent["status"] == "processing":
        _count(a, invoice)
        a.updated(invoice)
    return invoice


def method_of(a: Account, invoice: Json) -> str | None:
    """What an automatic attempt charges: the invoice's method, the subscription's, the customer's default."""
    subscription = a.store.get("subscription", subscription_of(invoice) or "")
    customer = a.store.need("customer", invoice["customer"])
    settings: Json = customer.get("invoice_settings", {})
    own: str | None = subscription["default_payment_method"] if subscription else None
    return invoice["default_payment_method"] or own or settings.get("default_payment_method")


def _usable(a: Account, invoice: Json, method: str | None) -> str | None:
    """The method, unless its customer has let go of it since it was chosen."""
    found = a.store.get("payment_method", method or "")
    gone = found is not None and (
        found["customer"] not in {None, invoice["customer"]} or a.store.hidden(found["id"]).get("spent")
    )
    return None if gone else method


def _count(a: Account, invoice: Json) -> bool:
    """Count the attempt that is being made, if it counts; whether it does."""
    counts = bool(a.store.hidden(invoice["id"]).pop("attempt", False))
    if counts:
        invoice["attempt_count"] += 1
    return counts


def _invoice_of(a: Account, intent: Json) -> Json | None:
    """The invoice that an intent collects, if that payment is still open."""
    invoice = a.store.get("invoice", a.store.hidden(intent["id"]).get("invoice") or "")
    if invoice is None or invoice["status"] not in {"open", "uncollectible"}:
        return None
    payment = payment_of(a, invoice)
    return invoice if payment and payment["payment"].get("payment_intent") == intent["id"] else None


@listens("payment_intent.succeeded")
def received(a: Account, intent: Json) -> None:
    """The money came: the payment is paid, and so is the invoice."""
    invoice = _invoice_of(a, intent)
    payment = payment_of(a, invoice) if invoice else None
    if invoice is None or payment is None or payment["status"] != "open":
        return
    _count(a, invoice)
    payment["status"] = "paid"
    payment["amount_paid"] = intent["amount_received"]
    payment["status_transitions"]["paid_at"] = a.now(invoice["customer"])
    invoice["amount_paid"] += intent["amount_received"]
    invoice["amount_remaining"] = max(invoice["amount_due"] - invoice["amount_paid"], 0)
    a.emit("invoice_payment.paid", payment, customer=invoice["customer"])
    settle(a, invoice, "payment")


@listens("payment_intent.payment_failed")
def refused(a: Account, intent: Json) -> None:
    """The bank said no."""
    if (invoice := _invoice_of(a, intent)) is None:
        return
    error: Json = intent["last_payment_error"] or {}
    if "authentication_required" in {error.get("code"), error.get("decline_code")}:
        a.emit("invoice.payment_action_required", invoice)
    _failed(a, invoice)


@listens("payment_intent.requires_action")
def awaits_customer(a: Account, intent: Json) -> None:
    """The bank wants to hear it from the customer; a renewal, where nobody is there to answer, has failed by that."""
    if (invoice := _invoice_of(a, intent)) is None:
        return
    invoice["attempted"] = True
    a.updated(invoice)
    a.emit("invoice.payment_action_required", invoice)
    if not a.store.hidden(invoice["id"]).get("attempt"):
        return
    if _by_itself(invoice):
        _failed(a, invoice)
    else:
        del a.store.hidden(invoice["id"])["attempt"]


def _failed(a: Account, invoice: Json) -> None:
    """Tell of the failure, and when it is tried again; after the last retry the account's settings have the word."""
    counted = _count(a, invoice) or invoice["attempt_count"] == 0
    invoice["attempt_count"] = max(invoice["attempt_count"], 1)
    invoice["attempted"] = True
    retries = invoice["auto_advance"] and invoice["status"] == "open" and _by_itself(invoice)
    if counted and retries:
        _retry(a, invoice)
    a.updated(invoice)
    a.emit("invoice.payment_failed", invoice)
    if counted and retries and invoice["next_payment_attempt"] is None and invoice["status"] == "open":
        _give_up(a, invoice)


def _by_itself(invoice: Json) -> bool:
    """Whether failures are retried: not of a first invoice, whose customer is there, nor of one that is sent."""
    return invoice["collection_method"] == "charge_automatically" and invoice["billing_reason"] != "subscription_create"


def _retry(a: Account, invoice: Json) -> None:
    """The next attempt by the account's schedule, if one is left."""
    tries: int = invoice["attempt_count"]
    if tries > len(a.settings.retries):
        invoice["next_payment_attempt"] = None
        return
    due = a.now(invoice["customer"]) + a.settings.retries[tries - 1]
    invoice["next_payment_attempt"] = due

    def again() -> None:
        if invoice["status"] == "open" and invoice["auto_advance"] and invoice["next_payment_attempt"] == due:
            attempt(a, invoice, scheduled=True)

    a.clock_of(invoice["customer"]).at(due, again)


def _give_up(a: Account, invoice: Json) -> None:
    """The subscription has been dealt with by now; this is the invoice's end."""
    match a.settings.invoice_after_retries:
        case "uncollectible":
            finalizing.mark_uncollectible(a, invoice, "max_payment_attempts")
        case "void":
            finalizing.void(a, invoice)
        case _:
            invoice["auto_advance"] = False
            a.updated(invoice)


def unpaid(intent: Json) -> StripeError:
    """What a person who wanted to pay now is told when it was not paid."""
    if intent["status"] == "requires_action":
        return card_error(
            "Payment for this invoice requires additional user action before it can be completed successfully. Payment "
            "can be completed using the PaymentIntent associated with the invoice. For more details see: "
            "https://stripe.com/docs/billing/subscriptions/overview#requires-action",
            code="invoice_payment_intent_requires_action",
        )
    told: Json = dict(intent["last_payment_error"] or {"message": "Your card was declined.", "code": "card_declined"})
    told.pop("type", None)
    told.pop("doc_url", None)
    return card_error(told.pop("message"), code=told.pop("code"), payment_intent=dict(intent), **told)


def pay_out_of_band(a: Account, invoice: Json) -> Json:
    """The money came another way: the invoice is paid, its intent is canceled."""
    amount = invoice["amount_remaining"]
    finalizing.withdraw(a, invoice, "void_invoice")
    invoice["amount_paid"] += amount
    invoice["amount_paid_off_stripe"] += amount
    invoice["amount_remaining"] = 0
    a.store.hidden(invoice["id"])["paid_out_of_band"] = True
    settle(a, invoice, "out_of_band")
    return invoice
