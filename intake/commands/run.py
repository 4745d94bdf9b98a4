"""`billing run`: a scheduled job, now, by its own period; running a period twice does nothing twice."""

from datetime import datetime
from typing import Annotated

import typer
from rich.text import Text
from sqlalchemy.ext.asyncio import AsyncEngine

from intake import schedules
from intake.commands import render
from intake.commands.connect import USAGE, actor, ask, fail, ring
from intake.commands.options import AsJson, DryRun, Who, Why
from intake.schedules import Ran, UnknownScheduleError, schedule_named
from worker.registry import discover

Period = Annotated[
    str | None,
    typer.Option(help="2026-10, 2026-10-01 or 2026-10-01T09:00Z; by default the newest that is due."),
]
Again = Annotated[bool, typer.Option("--again", help="Also when this period's job has ended.")]


def run(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The schedule's name, as `billing status` tells it.")],
    *,
    period: Period = None,
    again: Again = False,
    why: Why = None,
    who: Who = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Run a scheduled job now. A period that was run before is left alone, unless it is meant --again.

    Of a month or a day that has several periods, the newest that is due is meant.

    Example: billing run card_expiring --period 2026-10 --dry-run
    """
    try:
        spec = schedule_named(name, discover("jobs").schedules.values())
    except UnknownScheduleError as error:
        fail(str(error), USAGE)

    async def work(engine: AsyncEngine, now: datetime) -> Ran:
        async with engine.connect() as conn:
            ran = await schedules.run(conn, spec, period, actor(who, why), now=now, again=again)
            await (conn.rollback() if dry_run else conn.commit())
        if ran.staged and not dry_run:
            await ring(ran.queue)
        return ran

    ran = ask(work)
    if as_json:
        render.print_json(ran.told(dry_run=dry_run))
        return
    what = f"{ran.schedule} of {ran.period:%Y-%m-%d %H:%M} UTC"
    if not ran.staged:
        known = f"is {ran.status}" if ran.status else "is forgotten by now"
        render.console().print(Text(f"{what} was run before: job {ran.job} {known}; --again runs it once more"))
    elif dry_run:
        render.console().print(Text(f"{what} would be run, by {spec.job.name}; nothing was changed"))
    else:
        render.console().print(Text(f"{what} is on its way: billing jobs show {ran.job}"))
