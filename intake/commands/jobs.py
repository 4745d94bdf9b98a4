"""`billing jobs`: the work that we staged ourselves, and what operators can do about it."""

from datetime import datetime
from typing import Annotated, Any

import typer
from rich.text import Text
from sqlalchemy.ext.asyncio import AsyncEngine

from db.operators import jobs
from db.operators.actions import Actor, Done, Scope
from db.operators.filters import BadFilterError, JobFilter, page_size, whole_numbers
from intake.commands import render
from intake.commands.bulk import Action, Answers, carry_out
from intake.commands.connect import ask
from intake.commands.options import Again, AsJson, DryRun, Limit, Since, Until, Who, Why, Yes
from intake.commands.queues import set_pause
from intake.overview import story_json

app = typer.Typer(
    no_args_is_help=True,
    help="Staged work: list, show, retry, cancel, pause.",
    epilog="Example: billing jobs list --status dead",
)

Status = Annotated[str | None, typer.Option(help="queued, retrying, done, dead or cancelled.")]
Name = Annotated[str | None, typer.Option(help="The job's name; * and ? stand for anything.")]
Queue = Annotated[str | None, typer.Option(help="events, mail, pdf or batch.")]
StagedBy = Annotated[str | None, typer.Option(help="The event (evt_…) that staged it.")]
Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID]…", help="Numbers, as `billing jobs list` tells.")]


@app.command("list")
def list_(
    *,
    status: Status = None,
    name: Name = None,
    queue: Queue = None,
    staged_by: StagedBy = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """The newest jobs that match.

    Example: billing jobs list --status dead --queue mail --since 1d
    """

    async def work(engine: AsyncEngine, now: datetime) -> list[dict[str, Any]]:
        wanted = JobFilter.read(
            now=now, status=status, name=name, queue=queue, staged_by=staged_by, since=since, until=until
        )
        async with engine.connect() as conn:
            return await jobs.list_jobs(conn, wanted, limit=page_size(limit))

    shown = [story_json(row) for row in ask(work)]
    if as_json:
        render.print_json(shown)
        return
    page = render.console()
    if not shown:
        page.print(Text("no job matches"))
        return
    made = render.table("id", "name", "queue", "status", "tries", "staged (UTC)", "by", "error", right=("id", "tries"))
    for row in shown:
        made.add_row(
            render.text(row["id"]),
            render.text(row["name"]),
            render.text(row["queue"], "dim"),
            render.state("running" if row["running"] else row["status"]),
            render.text(row["attempts"] or ""),
            render.when(row["created_at"]),
            render.text(row["staged_by"], "dim"),
            render.text((row["last_error"] or "").partition("\n")[0][:80], "dim"),
        )
    page.print(made)


@app.command()
def show(job_id: Annotated[str, typer.Argument(metavar="ID")], *, as_json: AsJson = False) -> None:
    """One job's whole story: its arguments, each attempt, what operators did.

    Example: billing jobs show 42
    """

    async def work(engine: AsyncEngine, _: datetime) -> dict[str, Any]:
        async with engine.connect() as conn:
            await conn.execution_options(isolation_level="REPEATABLE READ")
            return await jobs.job_story(conn, whole_numbers("id", [job_id])[0])

    story = story_json(ask(work))
    if as_json:
        render.print_json(story)
        return
    page = render.console()
    status = render.state("running" if story["running"] else story["status"])
    page.print(Text.assemble((f"job {story['id']}", "bold"), "  ", render.safe(story["name"]), "  ", status))
    page.print(
        render.pairs(
            {
                "queue": story["queue"],
                "arguments": render.json_text(story["args"]),
                "unique key": story["unique_key"],
                "staged by": story["staged_by"],
                "staged": render.when(story["created_at"]),
                "ended": render.when(story["finished_at"]) if story["finished_at"] else None,
                "tries": story["attempts"] or None,
                "due": render.when(story["due_at"]) if story["due_at"] and not story["dead_reason"] else None,
                "held by": story["leased_by"] if story["running"] else None,
                "dead": render.text(story["dead_reason"], "bold red") if story["dead_reason"] else None,
                "why": story["last_error"],
            }
        )
    )
    render.section(page, "Attempts", render.attempts(story["history"]))
    render.section(page, "Staged", render.staged(story["staged"]))
    render.section(page, "Operators", render.audited(story["audit"]))


def _chosen(ids: list[str] | None, wanted: JobFilter) -> tuple[int, ...]:
    if ids and wanted != JobFilter():
        raise BadFilterError("filter", "name ids or a filter, not both")
    return whole_numbers("id", ids or [])


@app.command()
def retry(
    ids: Ids = None,
    *,
    status: Status = None,
    name: Name = None,
    queue: Queue = None,
    since: Since = None,
    until: Until = None,
    again: Again = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    why: Why = None,
    who: Who = None,
    as_json: AsJson = False,
) -> None:
    """Set jobs going again: these ids, or those that match a filter (without --status: the dead ones).

    Example: billing jobs retry --status dead --queue mail --since 2h
    """

    async def choose(engine: AsyncEngine, now: datetime) -> tuple[JobFilter, int]:
        wanted = JobFilter.read(now=now, status=status, name=name, queue=queue, since=since, until=until)
        numbers = _chosen(ids, wanted)
        async with engine.connect() as conn:
            if numbers:
                wanted = await jobs.retry_of_ids(conn, numbers, again=again)
            else:
                wanted = jobs.bulk(wanted, again=again)
            return wanted, await jobs.count(conn, wanted)

    async def act(engine: AsyncEngine, wanted: JobFilter, by: Actor, now: datetime) -> tuple[Done, set[str]]:
        async with engine.begin() as conn:
            return await jobs.retry(conn, wanted, by, now=now, again=again)

    answers = Answers(dry_run=dry_run, yes=yes, as_json=as_json, who=who, why=why)
    carry_out(choose, act, Action("job", "retry", "retried"), answers)


@app.command()
def cancel(
    ids: Ids = None,
    *,
    status: Status = None,
    name: Name = None,
    queue: Queue = None,
    since: Since = None,
    until: Until = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    why: Why = None,
    who: Who = None,
    as_json: AsJson = False,
) -> None:
    """Cancel jobs that wait or are dead (without --status: the dead ones). One that runs now cannot be cancelled.

    Example: billing jobs cancel 42 --why 'sent by hand'
    """

    async def choose(engine: AsyncEngine, now: datetime) -> tuple[JobFilter, int]:
        wanted = JobFilter.read(now=now, status=status, name=name, queue=queue, since=since, until=until)
        numbers = _chosen(ids, wanted)
        if wanted.status not in (None, *jobs.CANCELLABLE):
            raise BadFilterError("status", f"only {', '.join(jobs.CANCELLABLE)} jobs can be cancelled")
        async with engine.connect() as conn:
            wanted = await jobs.cancel_of_ids(conn, numbers) if numbers else jobs.bulk(wanted)
            return wanted, await jobs.count(conn, wanted)

    async def act(engine: AsyncEngine, wanted: JobFilter, by: Actor, now: datetime) -> tuple[Done, set[str]]:
        async with engine.begin() as conn:
            return await jobs.cancel(conn, wanted, by, now=now), set()

    answers = Answers(dry_run=dry_run, yes=yes, as_json=as_json, who=who, why=why)
    carry_out(choose, act, Action("job", "cancel", "cancelled"), answers)


ExactName = Annotated[str, typer.Option("--name", help="One exact job name, without wildcards.")]


@app.command()
def pause(*, name: ExactName, why: Why = None, who: Who = None, dry_run: DryRun = False) -> None:
    """Start no more jobs of this name until it is resumed; they are still staged, and wait.

    Example: billing jobs pause --name send_dunning_step --why 'a wrong template'
    """
    set_pause(Scope.NAME, name, paused=True, why=why, who=who, dry_run=dry_run)


@app.command()
def resume(*, name: ExactName, why: Why = None, who: Who = None, dry_run: DryRun = False) -> None:
    """Start jobs of this name again.

    Example: billing jobs resume --name send_dunning_step
    """
    set_pause(Scope.NAME, name, paused=False, why=why, who=who, dry_run=dry_run)
