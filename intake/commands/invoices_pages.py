"""How invoices and documents are read at a terminal."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from rich.console import Console
from rich.text import Text

from db.money import decimals
from intake.commands import render
from intake.dunning import money
from jobs.invoices.document import Document

STATES = {"open": "yellow", "paid": "green", "void": "dim", "uncollectible": "red", "stored": "green",
          "waiting": "yellow", "dead": "bold red"}  # fmt: skip


def state(word: str | None) -> Text:
    """How an invoice or its PDF stands."""
    return render.text(word or "-", STATES.get(word or "", "dim"))


def _named(row: Mapping[str, Any]) -> str | None:
    return row["name"] or row["email"] or row["stripe_customer_id"] or row.get("api_key_prefix")


def listing(page: Console, rows: Sequence[Mapping[str, Any]]) -> None:
    """Invoices in a table."""
    if not rows:
        page.print(Text("no invoice matches"))
        return
    made = render.table(
        "number", "id", "customer", "state", "total", "remaining", "dated (UTC)", "due (UTC)", "PDF",
        right=("total", "remaining"),
    )  # fmt: skip
    for row in rows:
        currency = row["currency"] or ""
        made.add_row(
            render.text(row["invoice_number"]),
            render.text(row["stripe_invoice_id"] or f"{row['id']} ({row['kind'] or 'ours'})", "dim"),
            render.text(_named(row)),
            state(row["status"]),
            render.text(money(row["total_cents"], currency)),
            render.text(money(row["amount_remaining_cents"], currency)),
            render.when(row["dated_at"]),
            render.when(row["due_date"]),
            state(row["document_status"]),
        )
    page.print(made)


def documents_listing(page: Console, rows: Sequence[Mapping[str, Any]]) -> None:
    """Documents in a table."""
    if not rows:
        page.print(Text("no document matches"))
        return
    made = render.table("number", "kind", "key", "customer", "state", "total", "issued (UTC)", "why", right=("total",))
    for row in rows:
        made.add_row(
            render.text(row["number"]),
            render.text(f"{row['kind']}{' (copy)' if row['copy_of'] else ''}"),
            render.text(row["key"], "dim"),
            render.text(_named(row)),
            state(row["status"]),
            render.text(money(row["total_cents"], row["currency"])),
            render.when(row["issued_at"]),
            render.text(row["reason"], "dim"),
        )
    page.print(made)


def story_page(page: Console, told: Mapping[str, Any]) -> None:
    """One invoice with all that was written about it."""
    invoice: Mapping[str, Any] | None = told["invoice"]
    if invoice is None:
        page.print(Text(render.safe(told["ref"]), style="bold"))
    else:
        _invoice(page, told["ref"], invoice)
        _settled(page, told, invoice["currency"] or "")
    render.section(page, "Documents", [_document(one) for one in told["documents"]])
    render.section(page, "Operators", render.audited(told["audit"]))


def _invoice(page: Console, ref: str, row: Mapping[str, Any]) -> None:
    currency = row["currency"] or ""
    title = render.safe(row["invoice_number"] or ref)
    page.print(Text.assemble((title, "bold"), "  ", state(row["status"])))

    def amount(name: str, *, always: bool = False) -> str | None:
        return money(row[name], currency) if row[name] or always else None

    page.print(
        render.pairs(
            {
                "our id": row["id"],
                "at Stripe": row["stripe_invoice_id"],
                "kind": row["kind"],
                "customer": _named(row),
                "subtotal": amount("subtotal_cents", always=True),
                "discount": amount("discount_cents"),
                "tax": amount("tax_cents"),
                "total": amount("total_cents", always=True),
                "due": amount("amount_due_cents", always=True),
                "paid": amount("amount_paid_cents"),
                "remaining": amount("amount_remaining_cents", always=True),
                "dated": render.when(row["dated_at"]),
                "due on": render.when(row["due_date"]) if row["due_date"] else None,
                "paid at": render.when(row["paid_at"]) if row["paid_at"] else None,
                "void since": render.when(row["voided_at"]) if row["voided_at"] else None,
                "why void": row["void_reason"],
                "PDF": row["invoice_pdf_url"],
                "notes": row["notes"],
            }
        )
    )
    lines: Sequence[Mapping[str, Any]] = row["line_items"] or ()
    shown = [
        Text.assemble(render.safe(line.get("description") or "(no words)"), "  ",
                      (money(line.get("amount_cents"), currency), "bold"))
        for line in lines
    ]  # fmt: skip
    render.section(page, "Lines" if row["line_items_complete"] is not False else "The first lines", shown)


def _settled(page: Console, told: Mapping[str, Any], currency: str) -> None:
    """What became of the amount: credits that paid, money that came, and what credit notes took back."""

    def line(amount: int, what: str, at: str | None = None) -> Text:
        when = render.when(at) if at is not None else ""
        return Text.assemble((money(amount, currency), "bold"), "  ", render.safe(what), "  ", when)

    render.section(
        page,
        "Credits that paid",
        [line(one["amount_cents"], f"credit {one['credit_id']} ({one['kind']}): {one['reason']}")
         for one in told["credits"]],
    )  # fmt: skip
    render.section(
        page,
        "Payments past Stripe",
        [line(one["amount_cents"], f"{one['method']} {one['reference']}, by {one['recorded_by']}{_voided(one)}",
              one["paid_at"])
         for one in told["payments"]],
    )  # fmt: skip
    notes: Sequence[Mapping[str, Any]] = told["credit_notes"]
    sent = [f"; {money(one['paid_out_cents'], currency)} of it sent back" if one["paid_out_cents"] else ""
            for one in notes]  # fmt: skip
    render.section(
        page,
        "Credit notes",
        [line(one["total_cents"], f"{one['number']}: {one['reason'] or ''}{back}", one["issued_at"])
         for one, back in zip(notes, sent, strict=True)],
    )  # fmt: skip


def _voided(payment: Mapping[str, Any]) -> str:
    return f"; void, by {payment['voided_by']}: {payment['void_reason']}" if payment["voided_at"] else ""


def _document(one: Mapping[str, Any]) -> Text:
    name = "new" if one["id"] is None else one["id"]
    line = Text.assemble(f"{name}  ", render.safe(one["number"]), f"  {one['kind'].replace('_', ' ')}")
    line.append(", a copy  " if one["copy_of"] else "  ").append_text(state(one["status"]))
    line.append(f"  {render.safe(one['key'])}", "dim")
    if one["sha256"]:
        line.append(f"  {one['size_bytes']:,} bytes, SHA-256 {one['sha256']}", "dim")
    if one["reason"]:
        line.append(f"  {render.safe(one['reason'])}")
    if one["job_id"] and not one["sha256"]:
        line.append(f"  (billing jobs show {one['job_id']})", "dim")
    if one["without_factur_x"]:
        line.append(f"  without Factur-X: {render.safe('; '.join(one['without_factur_x']))}")
    return line


def price(minor: str | None, currency: str) -> str:
    """A unit price, a decimal of minor units, with all its digits: `500.00 EUR`, `0.0025 GBP`, `12 JPY`."""
    if minor is None:
        return ""
    value = Decimal(minor).scaleb(-decimals(currency))
    digits = max(decimals(currency), -int(value.normalize().as_tuple().exponent))
    return f"{value:,.{digits}f} {currency.upper()}"


def document_page(page: Console, document: Document) -> None:
    """What a document would say: its lines and sums, for `--dry-run`."""
    currency = document.currency
    page.print(
        Text.assemble((render.safe(document.number), "bold"), f"  {document.kind.replace('_', ' ')} for ",
                      render.safe(document.buyer.name), f", {document.issued_on}")
    )  # fmt: skip
    made = render.table("description", "quantity", "unit price", "amount", right=("quantity", "unit price", "amount"))
    for line in document.lines:
        made.add_row(
            render.text(line.description),
            render.text(line.quantity),
            render.text(price(line.unit_price_minor, currency)),
            render.text(money(line.amount_minor, currency)),
        )
    page.print(made)
    sums: dict[str, Any] = {"subtotal": money(document.subtotal_minor, currency)}
    sums |= {one.name: money(-one.minor, currency) for one in document.discounts}
    for tax in document.taxes:
        rate = f" {tax.percent} %" if tax.percent is not None else ""
        sums[f"{'of which ' if tax.inclusive else ''}{tax.name}{rate}"] = money(tax.amount_minor, currency)
    sums["total"] = money(document.total_minor, currency)
    sums |= {one.name: money(-one.minor, currency) for one in document.credits}
    sums["due"] = money(document.due_minor, currency)
    if document.due_on is not None:
        sums["due on"] = document.due_on.isoformat()
    page.print(render.pairs(sums))
