"""Before anybody is written to, Stripe is asked how the invoice, its subscription and its customer stand now."""

from collections.abc import Sequence
from typing import Any

from db import dunning as rows
from db.dunning import Case
from jobs.dunning.books import from_books
from jobs.dunning.reading import STRIPE, Person, Reading, is_credited, moment, opted_out
from jobs.events.invoice import subscription_of
from jobs.mail.contexts import Method
from jobs.rules.dunning import Standing
from jobs.rules.payments import SETTLED_DISPUTE
from jobs.stripe_objects import Obj
from worker.deps import Deps
from worker.errors import Refused, TryLater, Unconfigured

WHOLE = ["customer", "parent.subscription_details.subscription", "payments.data.payment.payment_intent"]
"""What is shown in whole with an invoice: one request shows all at one moment."""

MARK = "billing_dunning"
"""Our metadata at a subscription that we paused or are about to cancel: it tells our doing from others'."""


async def read_afresh(d: Deps, case: Case) -> Reading:
    """The invoice from Stripe or, without an API key, from the ledger: the reading says which. Our own is in our books.

    Raises TryLater when Stripe cannot be asked, or when the inbox holds what the ledger does not know yet: nobody is
    written to on stale knowledge.
    """
    try:
        if not case.own:
            return await _from_stripe(d, case)
    except Unconfigured:
        pass
    async with d.tx() as tx:
        waiting = None if case.own else await rows.not_applied(tx.conn, case.stripe_customer_id)
        found = await from_books(tx.conn, [case.invoice])
    if waiting is not None:
        raise TryLater(f"the event {waiting} of this customer is not applied yet: the ledger does not know it")
    if case.invoice not in found:
        raise Refused(f"{case.invoice} is not in the books: was the ledger emptied?")
    return found[case.invoice].reading


def for_account(case: Case) -> dict[str, Any]:
    """The connected account that the case belongs to, as Stripe's API is told."""
    return {"stripe_account": case.stripe_account} if case.stripe_account else {}


async def _from_stripe(d: Deps, case: Case) -> Reading:
    account = for_account(case)
    invoice = Obj(await d.stripe.retrieve(f"invoices/{case.stripe_invoice_id}", expand=WHOLE, **account), "invoice")
    customer = invoice.sub("customer")
    if not customer.json and (owner := invoice.ref("customer")) is not None:
        customer = Obj(await d.stripe.retrieve(f"customers/{owner}", **account), "customer")
    name = subscription_of(invoice)
    subscription = invoice.sub("parent").sub("subscription_details").sub("subscription")
    if not subscription.json and name is not None:
        subscription = Obj(await d.stripe.retrieve(f"subscriptions/{name}", **account), "subscription")
    payments = sorted(invoice.each("payments"), key=lambda one: (bool(one.flag("is_default")), one.number("created")))
    charges = [Obj(await d.stripe.retrieve(f"charges/{charge}", **account), "charge") for charge in _paid_by(payments)]
    disputed = False
    for charge in charges:
        if charge.flag("disputed"):
            found = Obj(await d.stripe.retrieve("disputes", charge=charge.id(), limit=100, **account), "disputes")
            disputed |= any(one.text("status") not in SETTLED_DISPUTE for one in found.each("data"))
    return _reading(invoice, subscription, customer, payments, charges, disputed=disputed)


def _paid_by(payments: Sequence[Obj]) -> list[str]:
    """The charges that paid something."""
    found: list[str | None] = []
    for payment in payments:
        if payment.text("status") == "paid":
            how = payment.sub("payment")
            found.append(how.ref("charge") or how.sub("payment_intent").ref("latest_charge"))
    return [name for name in found if name is not None]


def _reading(
    invoice: Obj, subscription: Obj, customer: Obj, payments: Sequence[Obj], charges: Sequence[Obj], *, disputed: bool
) -> Reading:
    due, paid = invoice.number("amount_due"), invoice.number("amount_paid")
    status = invoice.text("status") or "unknown"
    intents = [payment.sub("payment").sub("payment_intent") for payment in payments]
    intent = next((one for one in reversed(intents) if one.json), Obj({}, "payment_intent"))
    error = intent.sub("last_payment_error")
    says = [one.metadata().get("dunning") for one in (customer, subscription)]
    locales = [one for one in customer.entries("preferred_locales") if isinstance(one, str)]
    return Reading(
        source=STRIPE,
        standing=Standing(
            invoice=status,
            remaining=invoice.number("amount_remaining"),
            credited=is_credited(status=status, paid=paid, due=due, out_of_band=bool(invoice.flag("paid_out_of_band"))),
            subscription=subscription.text("status"),
            canceled_for=subscription.sub("cancellation_details").text("reason"),
            collection_paused=bool(subscription.sub("pause_collection").json),
            disputed=disputed,
            refunded=bool(charges) and all(charge.flag("refunded") for charge in charges),
            opted_out=opted_out(*says),
            customer_deleted=bool(customer.flag("deleted")),
        ),
        number=invoice.text("number") or invoice.id(),
        currency=invoice.text("currency") or "usd",
        due=due,
        paid=paid,
        out_of_band=bool(invoice.flag("paid_out_of_band")),
        person=Person(
            customer.words("email") or invoice.words("customer_email"),
            customer.words("name") or invoice.words("customer_name"),
            locales[0] if locales else None,
            customer.metadata().get("timezone"),
        ),
        sent=invoice.text("collection_method") == "send_invoice",
        attempt_count=invoice.integer("attempt_count"),
        next_payment_attempt=moment(invoice.time("next_payment_attempt")),
        failure_code=error.text("code") or error.text("type"),
        decline_code=error.text("decline_code"),
        confirm=intent.text("status") == "requires_action",
        method=_method(error.sub("payment_method")) or _method(_details_of(charges)),
        link=invoice.link("hosted_invoice_url"),
        due_date=moment(invoice.time("due_date")),
        paid_at=moment(invoice.sub("status_transitions").time("paid_at")),
        product=_product(subscription),
        mark=subscription.metadata().get(MARK) or subscription.sub("cancellation_details").words("comment"),
    )


def _details_of(charges: Sequence[Obj]) -> Obj:
    return charges[-1].sub("payment_method_details") if charges else Obj({}, "charge")


def _method(details: Obj) -> Method | None:
    """What was declined; else what paid."""
    kind = details.text("type")
    if kind is None:
        return None
    inner = details.sub(kind)
    return Method(brand=(inner.text("brand") or kind).lower(), last4=inner.text("last4"))


def _product(subscription: Obj) -> str | None:
    """The plan's name, as far as the subscription shows it."""
    if (described := subscription.words("description")) is not None:
        return described
    prices = [item.sub("price") for item in subscription.each("items")]
    return next((name for price in prices if (name := price.words("nickname")) is not None), None)
