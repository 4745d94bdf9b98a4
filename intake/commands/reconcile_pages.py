"""How `billing reconcile` looks on a terminal: a report that a finance person can read."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from intake import reconciliation as words
from intake.commands import render
from jobs.reconciliation.report import Report, Told

OUTCOMES = {"repaired": "green", "agrees": "green", "dismissed": "dim", "open": "bold red", "mended": "green"}


def report_page(page: Console, report: Report, *, differences: bool = True) -> None:
    """The whole report; `differences` are left out where they follow as rows."""
    mode = "live" if report.livemode else "test"
    whose = f"{report.account}, {mode}" if report.account else mode
    head = f"Our books beside Stripe's ({whose}), {report.since:%Y-%m-%d %H:%M} to {report.until:%Y-%m-%d %H:%M} UTC"
    page.print(Text(render.safe(head), style="bold"))
    if report.totals:
        made = render.table(
            "", "money", "our books", "Stripe", "difference", right=("our books", "Stripe", "difference")
        )
        last = None
        for currency, money, here, there, difference in words.totals(report):
            off = "bold red" if difference else ""
            name = currency if currency != last else ""
            made.add_row(name, money, here, there, render.text(difference, off))
            last = currency
        page.print(made)
    page.print(Text(f"compared: {words.compared(report)}; {report.looked:,} asked for afresh", style="dim"))
    if report.older is not None:
        again = f"{report.older.since:%Y-%m-%d %H:%M} to {report.older.until:%Y-%m-%d %H:%M} UTC"
        page.print(Text(f"and a piece of the past once more: {again}", style="dim"))
    if report.fell_due:
        told = f"{words.many(report.fell_due, 'invoice')} became overdue while no event came: dunning began"
        page.print(Text(told, style="bold"))
    if report.stripe_id is None:
        page.print(Text("this key may not read GET /v1/account: whose it is was not checked", style="dim"))
    told = f"{words.took(report.milliseconds)}, {report.requests:,} requests to Stripe, run {report.run}"
    page.print(Text(told, style="dim"))
    if differences and report.differences:
        made = render.table("class", "object", "field", "our books", "Stripe", "")
        for one in report.differences:
            made.add_row(*_cells(one), _outcome("mended" if one.mended else "open", dry_run=report.dry_run))
        page.print(made)
        if report.found > len(report.differences):
            page.print(Text(f"and {report.found - len(report.differences):,} more", style="dim"))
    page.print()
    page.print(Text(words.verdict(report), style="bold green" if report.agrees else "bold red"))
    for line in words.next_steps(report):
        page.print(Text(f"  {render.safe(line)}"))


def _outcome(name: str, *, dry_run: bool = False) -> Text:
    shown = {"mended": "would be mended", "open": ""}.get(name, name) if dry_run else name
    return render.text(shown, OUTCOMES.get(name, ""))


def _cells(one: Told | Mapping[str, Any]) -> list[Text]:
    class_, name, field = words.where(one)
    return [render.text(cell) for cell in (class_, name, field, *words.sides(one))]


def difference_table(found: Sequence[Mapping[str, Any]]) -> Table:
    """Differences, with what became of each."""
    others = any(one["stripe_account"] for one in found)
    whose = ("account",) if others else ()
    made = render.table("id", *whose, "class", "object", "field", "our books", "Stripe", "first seen", "last seen", "")
    for one in found:
        made.add_row(
            str(one["id"]),
            *([render.text(one["stripe_account"] or "our own", "dim")] if others else []),
            *_cells(one),
            render.when(one["first_seen_at"]),
            render.when(one["last_seen_at"]),
            _outcome(one["settled_how"] or "open"),
        )
    return made


def run_table(found: Sequence[Mapping[str, Any]]) -> Table:
    """Comparisons, one a line."""
    numbers = ("found", "mended", "left", "waiting")
    made = render.table(
        "run", "begun (UTC)", "compared (UTC)", "by", "state", *numbers, "took", right=(*numbers, "took")
    )
    for one in found:
        whose = f" {one['stripe_account']}" if one["stripe_account"] else ""
        state = render.state(one["status"])
        if one["dry_run"]:
            state.append(" dry run", style="dim")
        left = render.text(one["left"], "bold red" if one["left"] else "")
        made.add_row(
            str(one["id"]),
            render.when(one["started_at"]),
            render.text(words.spans(one["since"], one["until"]) + whose, "dim"),
            render.text(one["asked_by"]),
            state,
            render.text(one["found"]),
            render.text(one["mended"]),
            left,
            render.text(one["waiting"]),
            words.took(one["milliseconds"]),
        )
    return made
