"""A subscription is billed: its invoice is drafted, and finalized and collected when it is due."""

from collections.abc import Sequence
from functools import partial

from deploy.demo.simulator.account import Account
from deploy.demo.simulator.errors import Json
from deploy.demo.simulator.invoicing import collecting, drafting, finalizing, items
from deploy.demo.simulator.invoicing.lines import Draft
from deploy.demo.simulator.invoicing.shape import subscription_of
from deploy.demo.simulator.registry import listens
from deploy.demo.simulator.resources import discounts
from deploy.demo.simulator.subscribing import lines
from deploy.demo.simulator.subscribing.shape import ENDED


def announce(a: Account, subscription: Json) -> str:
    """The id that its next invoice will have: the subscription tells of it before the invoice is made."""
    subscription["latest_invoice"] = a.store.new_id("in")
    return subscription["latest_invoice"]


def bill(
    a: Account,
    subscription: Json,
    drafts: Sequence[Draft],
    *,
    reason: str,
    period: tuple[int, int],
    id: str | None = None,
    auto_advance: bool = True,
) -> Json:
    """A draft invoice of the subscription, with its discounts and what is pending. `period` is in seconds."""
    customer = a.store.need("customer", subscription["customer"])
    owned = discounts.live(a, subscription["discounts"], a.now(customer["id"]))
    invoice = drafting.draft(
        a,
        customer,
        currency=subscription["currency"],
        reason=reason,
        lines=list(drafts),
        period=period,
        subscription=subscription,
        collection_method=subscription["collection_method"],
        days_until_due=subscription["days_until_due"],
        discounts=owned or _customers(a, customer),
        tax_rates=[rate["id"] for rate in subscription["default_tax_rates"]],
        auto_advance=auto_advance,
        default_payment_method=None,
        id=id or announce(a, subscription),
    )
    _use_discounts(a, subscription, customer, owned)
    return invoice


def _use_discounts(a: Account, subscription: Json, customer: Json, owned: list[str]) -> None:
    """What was for one invoice, or has run out, is gone from the subscription, or from its customer."""
    for id_ in subscription["discounts"]:
        if id_ not in owned:
            discounts.ended(a, id_)
    subscription["discounts"] = discounts.used(a, owned)
    a.updated(subscription, "customer.subscription.updated")
    if owned or customer["discount"] is None:
        return
    own = customer["discount"]["id"]
    if not discounts.live(a, [own], a.now(customer["id"])):
        discounts.ended(a, own)
    if a.store.hidden(own).get("ended") or not discounts.used(a, [own]):
        customer["discount"] = None
        a.updated(customer)


def _customers(a: Account, customer: Json) -> list[str]:
    """A customer's own discount is used where the subscription has none."""
    own = customer["discount"]
    return discounts.live(a, [own["id"]], a.now(customer["id"])) if own is not None else []


def collect(a: Account, subscription: Json, invoice: Json, *, off_session: bool, attempt: bool = True) -> Json:
    """Finalize at once and, where it is charged automatically, attempt; what is sent goes its slower way."""
    if invoice["status"] != "draft" or subscription["collection_method"] == "send_invoice":
        return invoice
    if finalizing.finalize(a, invoice)["status"] == "open" and attempt:
        collecting.attempt(a, invoice, off_session=off_session)
    return invoice


def preview(a: Account, subscription: Json, drafts: Sequence[Draft], period: tuple[int, int]) -> Json:
    """What the next invoice would be, as of now."""
    customer = a.store.need("customer", subscription["customer"])
    owned = discounts.live(a, subscription["discounts"], a.now(customer["id"]))
    return drafting.preview(
        a,
        customer,
        currency=subscription["currency"],
        reason="upcoming",
        lines=list(drafts),
        period=period,
        subscription=subscription,
        discounts=owned or _customers(a, customer),
        tax_rates=[rate["id"] for rate in subscription["default_tax_rates"]],
        collection_method=subscription["collection_method"],
    )


def pend(a: Account, subscription: Json, drafts: Sequence[Draft]) -> None:
    """Prorations wait as invoice items for the next invoice."""
    customer = a.store.need("customer", subscription["customer"])
    for draft in drafts:
        items.make(a, customer, draft, currency=subscription["currency"])


def has_pending(a: Account, subscription: Json) -> bool:
    """Whether something of this subscription waits for its next invoice."""
    customer = a.store.need("customer", subscription["customer"])
    waiting = items.pending(a, customer, subscription["currency"], subscription)
    return any(items.subscription_of(item) == subscription["id"] for item in waiting)


def invoices_of(a: Account, subscription: Json) -> list[Json]:
    """The subscription's invoices, oldest first."""
    return [a.store.need("invoice", id_) for id_ in a.store.hidden(subscription["id"]).get("invoices", [])]


def stop_collecting(a: Account, subscription: Json) -> None:
    """What a canceled subscription still owes is no longer collected by itself."""
    for invoice in invoices_of(a, subscription):
        if invoice["status"] in {"draft", "open"}:
            leave(a, invoice)


def leave(a: Account, invoice: Json) -> None:
    """The invoice stays as it is until somebody acts on it."""
    invoice["auto_advance"] = False
    invoice["automatically_finalizes_at"] = None
    invoice["next_payment_attempt"] = None
    a.updated(invoice)


def void_open(a: Account, subscription: Json) -> None:
    """Its open invoices count no more."""
    for invoice in invoices_of(a, subscription):
        if invoice["status"] == "open" and not finalizing.processing(a, invoice):
            finalizing.void(a, invoice)


def paused(a: Account, subscription: Json, invoice: Json) -> None:
    """Nothing is collected for now: the draft stays one, or is finalized in its time and given up at once.

    https://docs.stripe.com/billing/subscriptions/pause-payment
    """
    behavior = subscription["pause_collection"]["behavior"]
    if behavior == "keep_as_draft":
        return
    due = invoice["created"] + a.settings.finalize_after
    a.clock_of(invoice["customer"]).at(due, partial(_give_up, a, invoice, behavior))


def _give_up(a: Account, invoice: Json, behavior: str) -> None:
    if invoice["status"] != "draft" or "deleted" in a.store.need("customer", invoice["customer"]):
        return
    finalizing.finalize(a, invoice)

    def let_go() -> None:
        if invoice["status"] == "open" and not finalizing.processing(a, invoice):
            (finalizing.void if behavior == "void" else finalizing.mark_uncollectible)(a, invoice)

    # A second later: a balance that is used and given back in one second cannot be put in order by those who listen.
    a.clock_of(invoice["customer"]).at(a.now(invoice["customer"]) + 1, let_go)


@listens("invoice.created")
def keep(a: Account, invoice: Json) -> None:
    """A subscription's invoices are found by it, and what they debit can be given back."""
    subscription = a.store.get("subscription", subscription_of(invoice) or "")
    if subscription is None or subscription["status"] in ENDED:
        return
    a.store.hidden(subscription["id"]).setdefault("invoices", []).append(invoice["id"])
    lines.remember(a, invoice)
