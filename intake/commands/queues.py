"""`billing queues`: how full each queue is; pausing one, and letting it run again."""

from datetime import datetime
from typing import Annotated, Any

import typer
from rich.text import Text
from sqlalchemy.ext.asyncio import AsyncEngine

from db.operators import status
from db.operators.actions import Scope, pause, resume
from db.operators.filters import one_of
from db.states import QueueName
from intake.commands import render
from intake.commands.connect import actor, ask, ring
from intake.commands.options import AsJson, DryRun, Who, Why
from intake.overview import age, overview

app = typer.Typer(
    no_args_is_help=True,
    help="The classes of work: list, pause, resume.",
    epilog="Example: billing queues pause mail --why 'the mail server is being moved'",
)
Name = Annotated[str, typer.Argument(help="events, mail, pdf or batch.")]


@app.command("list")
def list_(*, as_json: AsJson = False) -> None:
    """Each queue's counts, and what is paused.

    Example: billing queues list --json
    """

    async def work(engine: AsyncEngine, now: datetime) -> dict[str, Any]:
        return await overview(engine, (), now)

    told = ask(work)
    if as_json:
        render.print_json({"queues": told["queues"], "pauses": told["pauses"]})
        return
    page = render.console()
    columns = ("ready", "scheduled", "running", "retrying", "dead")
    made = render.table("queue", *columns, "oldest", "", right=(*columns, "oldest"))
    for name, queue in told["queues"].items():
        counts = [render.text(queue[column] or "·") for column in columns]
        made.add_row(
            render.text(name),
            *counts,
            render.text(age(queue["oldest_ready_seconds"]) if queue["oldest_ready_seconds"] else "·"),
            render.text("paused", "yellow") if queue["paused"] else Text(),
        )
    page.print(made)
    for one in told["pauses"]:
        why = f": {one['why']}" if one["why"] else ""
        page.print(render.text(f"{one['scope']} {one['target']} paused by {one['who']} {one['created_at']}{why}"))


@app.command("pause")
def pause_queue(name: Name, *, why: Why = None, who: Who = None, dry_run: DryRun = False) -> None:
    """Start nothing more of this queue; what runs, ends. Nothing is lost meanwhile.

    Example: billing queues pause mail --why 'the mail provider is down'
    """
    set_pause(Scope.QUEUE, name, paused=True, why=why, who=who, dry_run=dry_run)


@app.command("resume")
def resume_queue(name: Name, *, why: Why = None, who: Who = None, dry_run: DryRun = False) -> None:
    """Let this queue run again.

    Example: billing queues resume mail
    """
    set_pause(Scope.QUEUE, name, paused=False, why=why, who=who, dry_run=dry_run)


def set_pause(scope: Scope, target: str, *, paused: bool, why: str | None, who: str | None, dry_run: bool) -> None:
    """Pause or resume a queue, an event type or a job, say so, and wake the workers when there is work again."""

    async def work(engine: AsyncEngine, now: datetime) -> bool:
        if scope is Scope.QUEUE:
            one_of("name", target, QueueName)
        async with engine.connect() as conn:
            if dry_run:
                known = await status.pauses(conn)
                return any(one["scope"] == scope and one["target"] == target for one in known) is not paused
            changed = await (pause if paused else resume)(conn, scope, target, actor(who, why), now=now)
            await conn.commit()
        if changed and not paused:
            await ring(*((target,) if scope is Scope.QUEUE else QueueName))
        return changed

    changed = ask(work)
    would = "would be " if dry_run else "is "
    now_so = f"{would}{'paused' if paused else 'resumed'}"
    before = f"was {'paused already' if paused else 'not paused'}; nothing was changed"
    render.console().print(render.text(f"{target} {now_so if changed else before}"))
