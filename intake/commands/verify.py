"""`billing verify`: the books are held against their own invariants, and each row that breaks one is shown."""

from datetime import datetime
from typing import Annotated, Any

import typer
from rich.text import Text
from sqlalchemy.ext.asyncio import AsyncEngine

from db.operators.filters import moment
from db.verify import runs
from intake.commands import render
from intake.commands.connect import NO, USAGE, actor, ask, fail
from intake.commands.options import AsJson, nearest
from intake.overview import jsonable
from intake.verification import told
from jobs.verify import verifying
from jobs.verify.verifying import NAMES, Clocks
from worker.clock import SystemClock, business_clock
from worker.settings import load_settings

CELL = 60
"""Characters of a value in the table of offending rows."""

Whole = Annotated[bool, typer.Option("--all", help="Look at all rows; otherwise at what changed since the last check.")]
Since = Annotated[str | None, typer.Option(help="Look at what changed since then: an age (2h, 7d) or a date, UTC.")]
Only = Annotated[list[str] | None, typer.Option(metavar="NAME", help="Only this invariant; may be given again.")]


def _names(only: list[str] | None) -> tuple[str, ...]:
    for name in only or ():
        if name not in NAMES:
            fail(f"--only: there is no invariant {name!r}{nearest(name, NAMES)}. There are: {', '.join(NAMES)}", USAGE)
    return tuple(name for name in NAMES if not only or name in only)


def verify(*, whole: Whole = False, since: Since = None, only: Only = None, as_json: AsJson = False) -> None:
    """Check the books' own invariants, without Stripe. Ends with 1 when one is broken, or could not be checked.

    Only reads the books. Without options each invariant is looked at from when it was last known to hold.

    Example: billing verify --all
    """
    names = _names(only)
    if whole and since is not None:
        fail("--all and --since: name one of them", USAGE)

    async def work(engine: AsyncEngine, _: datetime) -> dict[str, Any]:
        machine = SystemClock()
        clocks = Clocks(business_clock(load_settings().billing_clock_file) or machine, machine)
        began = clocks.business.now()
        start = moment("since", since, began)
        results = await verifying.verify(engine, clocks, names=names, whole=whole, since=start)
        if start is None:  # what was looked at from another time on says nothing of what lies before
            async with engine.begin() as conn:
                ended = clocks.business.now()
                await runs.save(conn, results, asked_by=actor(None, None).who, started_at=began, finished_at=ended)
        return told(results)

    found = ask(work)
    if as_json:
        render.print_json(found)
    else:
        _page(found)
    if not found["ok"]:
        raise typer.Exit(NO)


def _page(found: dict[str, Any]) -> None:
    page = render.console()
    made = render.table("", "invariant", "broken", "seconds", "looked at", right=("broken", "seconds"))
    for one in found["invariants"]:
        mark = Text("✓", style="green") if one["holds"] else Text("✗", style="bold red")
        since = "all rows" if one["since"] is None else f"since {one['since'][:19].replace('T', ' ')}"
        broken = "?" if one["error"] else f"{one['broken']:,}" if one["broken"] else ""
        made.add_row(mark, render.text(one["name"]), render.text(broken), f"{one['seconds']:.2f}", render.text(since))
    page.print(made)
    for one in found["invariants"]:
        if not one["holds"]:
            render.section(page, one["name"], _broken(one))
    wrong = sum(not one["holds"] for one in found["invariants"])
    page.print()
    words = "all invariants hold" if not wrong else f"{wrong} of {len(found['invariants'])} invariants do not hold"
    page.print(Text(words, style="green" if not wrong else "bold red"))


def _broken(one: dict[str, Any]) -> list[Any]:
    parts: list[Any] = [Text(one["must_hold"])]
    if one["error"]:
        return [*parts, Text(f"It could not be checked: {render.safe(one['error'])}", style="yellow")]
    rows = one["rows"]
    if rows:
        made = render.table(*rows[0])
        for row in rows:
            made.add_row(*(render.text(_cell(value)) for value in row.values()))
        parts.append(made)
    if one["broken"] > len(rows):
        parts.append(Text(f"and {one['broken'] - len(rows):,} more", style="dim"))
    return [*parts, Text(f"What to do: {one['what_to_do']}")]


def _cell(value: Any) -> str | None:
    if value is None:
        return None
    shown = jsonable(value)
    text = shown if isinstance(shown, str) else str(shown)
    return text if len(text) <= CELL else f"{text[: CELL - 1]}…"
