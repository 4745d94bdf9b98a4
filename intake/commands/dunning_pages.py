"""How dunning cases, previews and figures are read at a terminal."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from intake.commands import render
from intake.dunning import days, letter_of, money, percent

STATES = {"open": "yellow", "paused": "cyan", "recovered": "green", "lost": "bold red", "canceled": "red"}


def state(row: Mapping[str, Any]) -> Text:
    """How a case stands, or how it ended."""
    word: str = row["outcome"] or row["status"]
    return render.text(word, STATES.get(word, "dim"))


def shown_name(row: Mapping[str, Any]) -> str:
    """What people call the invoice: Stripe's by Stripe's id, ours by its number."""
    return row["stripe_invoice_id"] or row["invoice_number"] or row["invoice"]


def listing(page: Console, rows: Sequence[Mapping[str, Any]]) -> None:
    """Cases in a table."""
    if not rows:
        page.print(Text("no case matches"))
        return
    made = render.table(
        "invoice", "number", "customer", "open", "state", "steps", "next (UTC)", "declined", "since (UTC)",
        right=("open",),
    )  # fmt: skip
    for row in rows:
        made.add_row(
            render.text(shown_name(row)),
            render.text(row["invoice_number"] if row["stripe_invoice_id"] else row["kind"], "dim"),
            render.text(row["email"] or row["name"] or row["stripe_customer_id"] or row["api_key_prefix"]),
            render.text(money(row["amount_cents"], row["currency"])),
            state(row),
            render.text(f"{row['done_step'] + 1} of {row['steps_total']}"),
            render.when(row["next_step_at"]),
            render.text(row["decline_code"], "dim"),
            render.when(row["failed_at"]),
        )
    page.print(made)


def case_page(page: Console, row: Mapping[str, Any]) -> None:
    """One case's story."""
    number = f"  {render.safe(row['invoice_number'])}" if row["stripe_invoice_id"] and row["invoice_number"] else ""
    page.print(Text.assemble((render.safe(shown_name(row)), "bold"), number, "  ", state(row)))
    page.print(
        render.pairs(
            {
                "customer": " ".join(filter(None, (row["name"], row["email"], row["stripe_customer_id"]))),
                "ours": row["kind"] and " ".join(filter(None, (row["kind"], row["api_key_prefix"], row["invoice"]))),
                "stands": row["dunning_status"],
                "open at first": money(row["amount_cents"], row["currency"]),
                "invoice now": row["invoice_status"],
                "since": render.when(row["failed_at"]),
                "because of": row["opened_by"],
                "declined": row["decline_code"],
                "attempts": row["attempt_count"],
                "Stripe tries": render.when(row["next_payment_attempt"]) if row["next_payment_attempt"] else None,
                "policy": row["policy"],
                "grace": f"{row['grace_days']} days" if row["grace_days"] else None,
                "next": _next(row),
                "paused until": render.when(row["paused_until"]) if row["paused_until"] else None,
                "why": row["reason"],
                "under way": row["acting"],
                "done": row["final_action"],
                "closed": render.when(row["closed_at"]) if row["closed_at"] else None,
                "recovered": money(row["recovered_cents"], row["currency"]),
            }
        )
    )
    render.section(page, "Steps", [_step(one) for one in row["taken"]])
    render.section(page, "Letters", [_letter(one) for one in row["letters"]])
    render.section(page, "Operators", render.audited(row["audit"]))


def _next(row: Mapping[str, Any]) -> Text | None:
    if not row["next_step_at"]:
        return None
    what = letter_of(row["policy_steps"], row["done_step"] + 1) or "a last look"
    return Text.assemble(render.when(row["next_step_at"]), "  ", render.safe(what))


def _step(one: Mapping[str, Any]) -> Text:
    action = f", {one['action']}" if one["action"] else ""
    mail = f"  mail {one['email_id']} {one['email_status']}" if one["email_id"] else ""
    read = f"  read from {one['read_from']}" if one["read_from"] else ""
    detail = f"  {render.safe(one['detail'])}" if one["detail"] else ""
    line = Text(f"{one['position'] + 1}. ").append_text(render.when(one["taken_at"]))
    return line.append(f"  {one['outcome']}  {one['letter'] or ''}{action}").append(f"{mail}{read}{detail}", "dim")


def _letter(one: Mapping[str, Any]) -> Text:
    why = f"  {render.safe(one['reason'])}" if one["reason"] else ""
    line = Text(f"{one['id']}  ").append_text(render.when(one["sent_at"] or one["created_at"]))
    return line.append(f"  {one['template']}  {one['status']}  {render.safe(one['recipient'])}").append(why, "dim")


def preview_page(page: Console, row: Mapping[str, Any]) -> None:
    """The coming steps."""
    page.print(Text.assemble((render.safe(row["invoice"]), "bold"), f"  policy {render.safe(row['policy'])}"))
    if row["why"]:
        page.print(Text(render.safe(row["why"])))
    if row["steps"]:
        made = render.table("when (UTC)", "letter", "action")
        for step in row["steps"]:
            action = "" if step["action"] == "none" else step["action"]
            made.add_row(render.when(step["at"]), render.text(step["letter"]), render.text(action))
        page.print(made)
    else:
        page.print(Text("nothing would happen in the next 30 days"))
    if row["given_up_at"]:
        page.print(Text.assemble("given up, if nobody pays by: ", render.when(row["given_up_at"])))


def sums(of: Mapping[str, int]) -> str:
    """Amounts of several currencies, side by side and never added."""
    return ", ".join(money(cents, currency) for currency, cents in of.items())


def figures_page(page: Console, row: Mapping[str, Any]) -> None:
    """What dunning brings in."""
    counted = ", ".join(f"{count} {name}" for name, count in row["outcomes"].items())
    page.print(Text(f"{row['cases']:,} cases: {counted}" if row["cases"] else "no case was opened in that time"))
    if not row["cases"]:
        return
    page.print(
        Text(f"recovered {row['recovered']:,} of {row['decided']:,} decided: {percent(row['rate_bp'])}"),
        Text(f"half of them within {days(row['median_seconds'])}"),
        sep="; ",
    )
    made = render.table("currency", "cases", "rate", "recovered", "of", "by amount", "still open", "median",
                        right=("cases", "rate", "recovered", "of", "by amount", "still open", "median"))  # fmt: skip
    for one in row["currencies"]:
        code = one["currency"]
        made.add_row(
            code.upper(), f"{one['recovered']} of {one['decided']}", percent(one["rate_bp"]),
            money(one["recovered_cents"], code), money(one["decided_cents"], code), percent(one["amount_rate_bp"]),
            money(one["open_cents"], code), days(one["median_seconds"]),
        )  # fmt: skip
    page.print(made)
    made = render.table(
        "after step",
        "letter",
        "sent",
        "paid then",
        "rate",
        "median",
        "recovered",
        right=("sent", "paid then", "rate", "median"),
    )
    for one in row["steps"]:
        place = "before any" if one["position"] is None else str(one["position"] + 1)
        made.add_row(
            place, render.text(one["letter"]), str(one["taken"]), str(one["recovered"]), percent(one["rate_bp"]),
            days(one["median_seconds"]), sums(one["recovered_cents"]),
        )  # fmt: skip
    page.print(made)
    made = render.table("declined", "cases", "decided", "recovered", "rate", "median", "amount",
                        right=("cases", "decided", "recovered", "rate", "median"))  # fmt: skip
    for one in row["decline_codes"]:
        made.add_row(
            render.text(one["decline_code"] or "(not told)"), str(one["cases"]), str(one["decided"]),
            str(one["recovered"]), percent(one["rate_bp"]), days(one["median_seconds"]), sums(one["recovered_cents"]),
        )  # fmt: skip
    page.print(made)
