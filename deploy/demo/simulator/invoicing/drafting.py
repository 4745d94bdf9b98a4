"""An invoice begins as a draft: its lines are gathered, discounted and taxed, and can still change for an hour."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from deploy.demo.simulator.account import DAY, Account
from deploy.demo.simulator.errors import Json, StripeError
from deploy.demo.simulator.invoicing import collecting, finalizing, items
from deploy.demo.simulator.invoicing.computing import Lines, compute, place
from deploy.demo.simulator.invoicing.lines import Draft
from deploy.demo.simulator.invoicing.shape import blank


@dataclass(slots=True)
class Proposal:
    """What a preview is made of, by the names of `preview`."""

    currency: str
    reason: str
    lines: list[Draft]
    period: tuple[int, int]
    subscription: Json | None = None
    discounts: Sequence[str] = ()
    tax_rates: Sequence[str] = ()
    with_pending_items: bool = True


def draft(
    a: Account,
    customer: Json,
    *,
    currency: str,
    reason: str,
    lines: Sequence[Draft],
    period: tuple[int, int],
    subscription: Json | None = None,
    collection_method: str = "charge_automatically",
    days_until_due: int | None = None,
    due_date: int | None = None,
    discounts: Sequence[str] = (),
    tax_rates: Sequence[str] = (),
    auto_advance: bool = True,
    default_payment_method: str | None = None,
    description: str | None = None,
    metadata: dict[str, str] | None = None,
    with_pending_items: bool = True,
    id: str | None = None,
    more: Json | None = None,
) -> Json:
    """A new draft, with the customer's pending items; it finalizes by itself if `auto_advance`.

    `discounts` and `tax_rates` are ids; `period` is in seconds. Emits `invoice.created`. `id` is what a subscription
    has told of its latest invoice already; `more` is written down as it is.
    """
    id_ = id or a.store.new_id("in")
    pending = items.pending(a, customer, currency, subscription) if with_pending_items else []
    invoice = blank(a, customer, id_, currency=currency, reason=reason, period=period, subscription=subscription)
    invoice |= {
        "auto_advance": auto_advance,
        "collection_method": collection_method,
        "default_payment_method": default_payment_method,
        "default_tax_rates": [a.store.need("tax_rate", rate, "default_tax_rates") for rate in tax_rates],
        "description": description,
        "discounts": list(discounts),
        "due_date": due_date,
        "metadata": dict(metadata or {}),
    }
    invoice |= more or {}
    if days_until_due is not None:
        a.store.hidden(id_)["days_until_due"] = days_until_due
        invoice["due_date"] = invoice["created"] + days_until_due * DAY
    drafts = [*(items.line_of(a, item) for item in pending), *lines]
    a.store.hidden(id_)["lines"] = [(a.store.new_id("il"), line) for line in drafts]
    compute(a, invoice)
    a.add(invoice, "customer")
    for item in pending:
        item["invoice"] = id_
    if customer["currency"] is None:
        customer["currency"] = currency
        a.updated(customer)
    _use_up(a, invoice)
    schedule(a, invoice)
    a.emit("invoice.created", invoice)
    return invoice


def preview(
    a: Account,
    customer: Json,
    *,
    currency: str,
    reason: str,
    lines: Sequence[Draft],
    period: tuple[int, int],
    subscription: Json | None = None,
    discounts: Sequence[str] = (),
    tax_rates: Sequence[str] = (),
    with_pending_items: bool = True,
    **more: Any,
) -> Json:
    """What `draft` would make, without an id; nothing is kept. `more` are those of its words that change no sum."""
    pending = items.pending(a, customer, currency, subscription) if with_pending_items else []
    invoice = blank(a, customer, "", currency=currency, reason=reason, period=period, subscription=subscription)
    del invoice["id"]
    invoice |= {
        "collection_method": more.get("collection_method", "charge_automatically"),
        "default_payment_method": more.get("default_payment_method"),
        "default_tax_rates": [a.store.need("tax_rate", rate, "default_tax_rates") for rate in tax_rates],
        "description": more.get("description"),
        "discounts": list(discounts),
        "metadata": dict(more.get("metadata") or {}),
    }
    drafts = [*(items.line_of(a, item) for item in pending), *lines]
    place(a, invoice, [(f"il_tmp_{a.store.letters(24)}", line) for line in drafts])
    return invoice


def _use_up(a: Account, invoice: Json) -> None:
    """A discount that holds for one invoice is used by the first that it was on."""
    for id_ in invoice["discounts"]:
        a.store.hidden(id_).setdefault("used_by", invoice["id"])


def schedule(a: Account, invoice: Json) -> None:
    """When this draft will be finalized and first attempted, if it advances by itself."""
    due_at = invoice["created"] + a.settings.finalize_after if invoice["auto_advance"] else None
    invoice["automatically_finalizes_at"] = due_at
    invoice["next_payment_attempt"] = due_at if invoice["collection_method"] == "charge_automatically" else None
    if due_at is None:
        return

    def advance() -> None:
        gone = "deleted" in a.store.need("customer", invoice["customer"])
        if invoice["status"] == "draft" and invoice["automatically_finalizes_at"] == due_at and not gone:
            final = finalizing.finalize(a, invoice)
            if final["status"] == "open" and final["collection_method"] == "charge_automatically":
                collecting.attempt(a, final, scheduled=True)

    a.clock_of(invoice["customer"]).at(due_at, advance)


def insert(a: Account, invoice: Json, found: Sequence[Json]) -> None:
    """Put items on a draft; the newest line stands first."""
    lines: Lines = a.store.hidden(invoice["id"])["lines"]
    for item in found:
        lines.insert(0, (a.store.new_id("il"), items.line_of(a, item)))
    compute(a, invoice)
    a.updated(invoice)


def refresh(a: Account, invoice: Json, item: Json) -> None:
    """An item of a draft changed, and so does its line."""
    lines: Lines = a.store.hidden(invoice["id"])["lines"]
    lines[:] = [
        (id_, items.line_of(a, item) if line.invoice_item == item["id"] else line) for id_, line in lines
    ]  # fmt: skip
    compute(a, invoice)
    a.updated(invoice)


def drop(a: Account, invoice: Json, item: Json) -> None:
    """An item of a draft is taken off."""
    lines: Lines = a.store.hidden(invoice["id"])["lines"]
    lines[:] = [(id_, line) for id_, line in lines if line.invoice_item != item["id"]]
    compute(a, invoice)
    a.updated(invoice)


def editable(a: Account, id_: str) -> Json:
    """The draft. Raises StripeError `invoice_not_editable` for an invoice that is finalized."""
    invoice = a.store.need("invoice", id_, "invoice")
    if invoice["status"] != "draft":
        raise StripeError("Invalid invoice: This invoice is no longer editable", code="invoice_not_editable")
    return invoice
