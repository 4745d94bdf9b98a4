"""`billing invoices explain`: each cent of an invoice for usage is reckoned again from what was frozen with it."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text
from sqlalchemy.ext.asyncio import AsyncEngine

from db.operators import invoices
from db.operators.actions import NotAllowedError
from intake.commands import render
from intake.commands.connect import NO, ask, fail
from intake.commands.options import AsJson
from worker.clock import SystemClock
from worker.deps import Tx
from worker.errors import Refused

if TYPE_CHECKING:  # listings of invoices need no business
    from jobs.partners.explain import Explained


def explain(
    ref: Annotated[str, typer.Argument(metavar="NUMBER", help="Our number, our id, or a key.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Reckon an invoice for usage again, from what was frozen with it, and show every line's arithmetic.

    A partner's, or what a subscriber used beyond the plan.

    Exits 1 when it does not come to the amounts that were issued, or what was frozen was changed.

    Example: billing invoices explain API-202611-0001
    """
    from jobs.partners.explain import explained  # noqa: PLC0415 - listings need no business

    async def work(engine: AsyncEngine, now: datetime) -> "Explained":
        async with engine.connect() as conn:
            found = await invoices.find(conn, ref)
            if found.invoice is None:
                raise NotAllowedError([f"{found.target} is no invoice"])
            return await explained(Tx(conn, now, SystemClock().now()), found.invoice["id"])

    try:
        found = ask(work)
    except Refused as error:
        fail(error.reason, NO)
    if as_json:
        render.print_json(found.json())
    else:
        _page(render.console(), found)
    if found.differences:
        raise typer.Exit(NO)


def _page(page: Console, found: "Explained") -> None:
    from jobs.rules.pricing import explain as arithmetic  # noqa: PLC0415 - as above

    frozen = found.frozen
    page.print(Text(f"{found.number}: {frozen.prefix}, {frozen.name}", style="bold"))
    page.print(Text(f"{found.terms}; {frozen.rounding}", style="dim"))
    for number, part in enumerate(frozen.parts, 1):
        used = ", ".join(f"{units} {name}" for name, units in part.usage.items()) or "no usage"
        page.print(
            Text(f"part {number}, {part.start:%Y-%m-%dT%H:%MZ} to {part.end:%Y-%m-%dT%H:%MZ}: {render.safe(used)}")
        )
    render.section(page, "Lines", [render.text(arithmetic(line)) for line in found.lines])
    for name, told in found.late.items():
        render.section(page, f"Late usage of {name}", [render.text(line) for line in told])
    render.section(page, "Sums", [render.text(line) for line in found.sums])
    page.print()
    if found.differences:
        for line in found.differences:
            page.print(Text(line, style="red"))
    else:
        page.print(Text("it comes to the very amounts that were issued", style="green"))
