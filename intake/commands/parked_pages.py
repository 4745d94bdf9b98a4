"""Who is asked at a terminal whether a parked invoice goes out sees first why it waits, and over how much."""

from rich.text import Text

from db.usage_invoices import UsageRow
from intake.commands import render
from intake.dunning import money
from jobs.partners.seen import mark_of


def waits_page(row: UsageRow) -> str:
    """Print it. Returns the mark of what was shown."""
    page = render.console()
    if row.total_cents is not None and row.currency:
        page.print(Text(f"it waits over {money(row.total_cents, row.currency)}:"))
    for one in row.reasons or ():
        style = "red" if one.get("stops", True) else "yellow"
        page.print(Text.assemble((f"{one['guard']}: ", style), render.safe(one["why"])))
    return mark_of(row)
