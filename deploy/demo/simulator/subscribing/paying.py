"""Invoices are paid or are not, and their subscription follows: it begins, falls behind, recovers or ends."""

from deploy.demo.simulator.account import Account
from deploy.demo.simulator.errors import Json
from deploy.demo.simulator.invoicing import finalizing
from deploy.demo.simulator.invoicing.settling import intent_of, payment_of
from deploy.demo.simulator.invoicing.shape import subscription_of
from deploy.demo.simulator.registry import listens
from deploy.demo.simulator.subscribing import ending, life
from deploy.demo.simulator.subscribing.shape import ENDED


def _subscription(a: Account, invoice: Json) -> Json | None:
    found = a.store.get("subscription", subscription_of(invoice) or "")
    return None if found is None or found["status"] in ENDED else found


@listens("invoice.finalized")
def finalized(a: Account, invoice: Json) -> None:
    """The latest finalized invoice decides how a subscription stands."""
    if (subscription := _subscription(a, invoice)) is not None:
        a.store.hidden(subscription["id"])["finalized"] = invoice["id"]


@listens("invoice.paid")
def paid(a: Account, invoice: Json) -> None:
    """Paid out of band, or by a credit note: no `invoice.payment_succeeded` follows."""
    payment = payment_of(a, invoice)
    if payment is not None and payment["status"] != "paid":
        succeeded(a, invoice)


@listens("invoice.payment_succeeded")
def succeeded(a: Account, invoice: Json) -> None:
    """A first payment makes a subscription active; a late one for the latest invoice does so again."""
    _settled(a, invoice)
    subscription = _subscription(a, invoice)
    if subscription is None:
        return
    _save_method(a, subscription, invoice)
    hidden = a.store.hidden(subscription["id"])
    latest = hidden.get("finalized") == invoice["id"]
    if subscription["status"] == "incomplete" or (subscription["status"] in {"past_due", "unpaid"} and latest):
        subscription["status"] = "active"
        hidden.pop("exhausted", None)
        a.updated(subscription, "customer.subscription.updated")
        life.watch(a, subscription)


@listens("payment_intent.processing")
def on_its_way(a: Account, intent: Json) -> None:
    """A first payment that takes days makes a subscription active at once.

    https://docs.stripe.com/billing/subscriptions/overview#delayed-payment-confirmation
    """
    invoice = a.store.get("invoice", a.store.hidden(intent["id"]).get("invoice") or "")
    subscription = _subscription(a, invoice) if invoice is not None else None
    if invoice is not None and subscription is not None and subscription["status"] == "incomplete":
        a.store.hidden(invoice["id"])["delayed"] = True
        subscription["status"] = "active"
        a.updated(subscription, "customer.subscription.updated")
        life.watch(a, subscription)


def _save_method(a: Account, subscription: Json, invoice: Json) -> None:
    """`save_default_payment_method`: what paid becomes the subscription's own."""
    intent = intent_of(a, invoice)
    saves = subscription["payment_settings"]["save_default_payment_method"] == "on_subscription"
    if saves and subscription["default_payment_method"] is None and intent is not None:
        subscription["default_payment_method"] = intent["payment_method"]
        a.updated(subscription, "customer.subscription.updated")


@listens("invoice.payment_failed", "invoice.payment_action_required")
def failed(a: Account, invoice: Json) -> None:
    """The subscription is behind; when no retry is left, the account's settings say what becomes of it."""
    if a.store.hidden(invoice["id"]).pop("delayed", False) and invoice["status"] == "open":
        finalizing.void(a, invoice)  # "If the payment fails later, Stripe voids the invoice", and no more
        return
    subscription = _subscription(a, invoice)
    if subscription is None or subscription["status"] in {"incomplete", "unpaid", "paused"}:
        return
    _delinquent(a, invoice, behind=True)
    if _exhausted(a, invoice):
        a.store.hidden(subscription["id"])["exhausted"] = True
        if a.settings.after_retries == "cancel":
            ending.end(a, subscription, reason="payment_failed")
            return
        subscription["status"] = a.settings.after_retries
    elif subscription["status"] == "active":
        subscription["status"] = "past_due"
    a.updated(subscription, "customer.subscription.updated")


def _exhausted(a: Account, invoice: Json) -> bool:
    """Whether every retry was made in vain; what is sent to a customer is not retried."""
    return bool(
        invoice["collection_method"] == "charge_automatically"
        and invoice["attempt_count"] > len(a.settings.retries)
        and invoice["next_payment_attempt"] is None
        and invoice["status"] == "open"
    )


@listens("invoice.overdue")
def overdue(a: Account, invoice: Json) -> None:
    """A sent invoice was not paid by its day."""
    subscription = _subscription(a, invoice)
    if subscription is not None and subscription["status"] == "active":
        subscription["status"] = "past_due"
        a.updated(subscription, "customer.subscription.updated")


@listens("invoice.voided", "invoice.marked_uncollectible")
def given_up(a: Account, invoice: Json) -> None:
    """An invoice that nobody waits for holds nothing up; a first one that is void leaves nothing to begin with."""
    _settled(a, invoice)
    subscription = _subscription(a, invoice)
    if subscription is None:
        return
    hidden = a.store.hidden(subscription["id"])
    if subscription["status"] == "incomplete":
        ending.expire(a, subscription)
    elif (
        subscription["status"] == "past_due"
        and hidden.get("finalized") == invoice["id"]
        and not hidden.get("exhausted")
    ):
        subscription["status"] = "active"
        a.updated(subscription, "customer.subscription.updated")


def _settled(a: Account, invoice: Json) -> None:
    """A customer with no other invoice behind is not delinquent any more."""
    rows = a.store.by("invoice", "customer", invoice["customer"])
    if not any(row["status"] == "open" and row["attempt_count"] for row in rows):
        _delinquent(a, invoice, behind=False)


def _delinquent(a: Account, invoice: Json, *, behind: bool) -> None:
    customer = a.store.need("customer", invoice["customer"])
    if "deleted" not in customer and customer["delinquent"] != behind:
        customer["delinquent"] = behind
        a.updated(customer)
