"""`billing events`: the webhook inbox as operators see it, and what they can do about an event."""

from datetime import datetime
from typing import Annotated, Any

import typer
from rich.syntax import Syntax
from rich.text import Text
from sqlalchemy.ext.asyncio import AsyncEngine

from db.operators import events
from db.operators.actions import Actor, Done, Scope
from db.operators.filters import BadFilterError, EventFilter, page_size, plain
from db.states import EventStatus, QueueName
from intake.commands import events_backfill, render
from intake.commands.bulk import Action, Answers, carry_out
from intake.commands.connect import ask
from intake.commands.options import Again, AsJson, DryRun, Limit, Since, Until, Who, Why, Yes, nearest
from intake.commands.queues import set_pause
from intake.overview import story_json

app = typer.Typer(
    no_args_is_help=True,
    help="The webhook inbox: list, show, retry, discard, pause.",
    epilog="Example: billing events list --status dead",
)

STALE = "  nothing: a newer state of its object was known already"

Status = Annotated[str | None, typer.Option(help="received, processed, ignored, retrying or dead.", show_default=False)]
Type = Annotated[str | None, typer.Option("--type", help="An event type; * and ? stand for anything.")]
Customer = Annotated[str | None, typer.Option(help="Stripe's customer id (cus_…).")]
Account = Annotated[str | None, typer.Option(help="A Connect account (acct_…).")]
Object = Annotated[str | None, typer.Option("--object", help="The id of the event's object (in_…, ch_…).")]


@app.command("list")
def list_(
    *,
    status: Status = None,
    type_: Type = None,
    customer: Customer = None,
    account: Account = None,
    object_id: Object = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """The newest events that match.

    Example: billing events list --status dead --type 'invoice.*' --since 2h
    """

    async def work(engine: AsyncEngine, now: datetime) -> tuple[list[dict[str, Any]], list[str]]:
        wanted = EventFilter.read(
            now=now, status=status, type_=type_, customer=customer, account=account,
            object_id=object_id, since=since, until=until,
        )  # fmt: skip
        async with engine.connect() as conn:
            rows = await events.list_events(conn, wanted, limit=page_size(limit))
            known = [] if rows or not wanted.type else await events.recent_types(conn)
            return rows, known

    rows, known = ask(work)
    shown: list[dict[str, Any]] = [story_json(row) for row in rows]
    if as_json:
        render.print_json(shown)
        return
    page = render.console()
    if not shown:
        page.print(Text(f"no event matches{nearest(type_, known)}"))
        return
    made = render.table("id", "type", "status", "tries", "customer", "received (UTC)", "error", right=("tries",))
    for row in shown:
        made.add_row(
            render.text(row["id"]),
            render.text(row["type"]),
            render.state("running" if row["running"] else row["status"]),
            render.text(row["attempts"] or ""),
            render.text(row["customer_id"], "dim"),
            render.when(row["received_at"]),
            render.text((row["last_error"] or "").partition("\n")[0][:80], "dim"),
        )
    page.print(made)
    if len(shown) == limit:
        page.print(Text(f"the newest {limit}; --limit, --since or a filter shows others", style="dim"))


@app.command()
def show(
    event_id: Annotated[str, typer.Argument(metavar="ID", help="Stripe's id (evt_…).")],
    *,
    as_json: AsJson = False,
    payload: Annotated[bool, typer.Option("--payload", help="Only the payload: the very bytes Stripe signed.")] = False,
) -> None:
    """One event's whole story: what came, each attempt, what it changed and staged, what operators did.

    Secrets and card numbers are hidden, but for --payload. Example: billing events show evt_1Q2w3e4r
    """

    async def raw(engine: AsyncEngine, _: datetime) -> bytes:
        async with engine.connect() as conn:
            return await events.payload_of(conn, _id(event_id))

    async def work(engine: AsyncEngine, _: datetime) -> dict[str, Any]:
        async with engine.connect() as conn:
            await conn.execution_options(isolation_level="REPEATABLE READ")
            return await events.event_story(conn, _id(event_id))

    if payload:
        typer.echo(ask(raw), nl=False)
        return
    story = story_json(ask(work))
    if as_json:
        render.print_json(story)
    else:
        _tell(story)


def _id(value: str) -> str:
    found = plain("id", value)
    if found is None:
        raise BadFilterError("filter", "an event's id is needed (evt_…)")
    return found


def _tell(story: dict[str, Any]) -> None:
    page = render.console()
    title = Text(render.safe(story["id"]), style="bold")
    page.print(title.append("  ").append(render.safe(story["type"]), style="not bold").append("  ").append_text(
        render.state("running" if story["running"] else story["status"])))  # fmt: skip
    mode = "live" if story["livemode"] else "test"
    page.print(
        render.pairs(
            {
                "object": story["object_id"],
                "customer": story["customer_id"],
                "account": story["account"],
                "mode": f"{mode}, API {story['api_version'] or 'unknown'}",
                "created at Stripe": render.when(story["created_at"]),
                "received": render.when(story["received_at"]),
                "processed": render.when(story["processed_at"]) if story["processed_at"] else None,
                "tries": story["attempts"] or None,
                "due": render.when(story["due_at"]) if story["due_at"] and not story["dead_reason"] else None,
                "held by": story["leased_by"] if story["running"] else None,
                "dead": render.text(story["dead_reason"], "bold red") if story["dead_reason"] else None,
                "why": story["last_error"],
            }
        )
    )
    render.section(page, "Attempts", render.attempts(story["history"]))
    changed = [line for one in story["changed"] for line in _changed(one)]
    render.section(page, "Changed", changed or ([STALE] if story["effects"].get("stale") else []))
    render.section(page, "Staged", render.staged(story["staged"]))
    render.section(page, "Operators", render.audited(story["audit"]))
    body = story["payload"]
    render.section(page, "Payload", [_pretty(body)])
    if story["status"] == EventStatus.DEAD:
        page.print(Text(f"\nbilling events retry {render.safe(story['id'])}   or   … discard --why '…'", style="dim"))


def _changed(one: dict[str, Any]) -> list[Text]:
    lines = [Text.assemble("  ", render.safe(one.get("table")), " ", (render.safe(one.get("key")), "cyan"))]
    fields: dict[str, Any] = one.get("fields") or {}
    for field, values in fields.items():
        match values:
            case [old, new]:
                before, after = _short(old), _short(new)
            case _:
                before, after = _short(None), _short(values)
        lines.append(Text.assemble(f"    {render.safe(field)}: ", (before, "dim"), " → ", after))
    return lines


def _short(value: Any) -> str:
    shown = "—" if value is None else render.safe(value)
    return shown if len(shown) <= 120 else shown[:119] + "…"  # noqa: PLR2004 - the width of a line


def _pretty(payload: Any) -> Any:
    if isinstance(payload, str):
        return render.text(payload)
    return Syntax(render.json_text(payload), "json", background_color="default", word_wrap=True)


Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID]…", help="Stripe's ids (evt_…), in any state.")]


def _no_filter_beside_ids(wanted: EventFilter) -> None:
    if wanted != EventFilter():
        raise BadFilterError("filter", "name ids or a filter, not both")


@app.command()
def retry(
    ids: Ids = None,
    *,
    status: Status = None,
    type_: Type = None,
    customer: Customer = None,
    account: Account = None,
    object_id: Object = None,
    since: Since = None,
    until: Until = None,
    again: Again = False,
    dry_run: DryRun = False,
    yes: Yes = False,
    why: Why = None,
    who: Who = None,
    as_json: AsJson = False,
) -> None:
    """Set events going again: these ids, or those that match a filter (without --status: the dead ones).

    Many go behind live events. Example: billing events retry --status dead --type 'invoice.*' --since 2h
    """

    async def choose(engine: AsyncEngine, now: datetime) -> tuple[EventFilter, int]:
        wanted = EventFilter.read(
            now=now, status=status, type_=type_, customer=customer, account=account,
            object_id=object_id, since=since, until=until,
        )  # fmt: skip
        async with engine.connect() as conn:
            if ids:
                _no_filter_beside_ids(wanted)
                wanted = await events.retry_of_ids(conn, [_id(one) for one in ids], again=again)
            else:
                wanted = events.retry_of_filter(wanted, again=again)
            return wanted, await events.count(conn, wanted)

    async def act(engine: AsyncEngine, wanted: EventFilter, by: Actor, now: datetime) -> tuple[Done, set[str]]:
        async with engine.begin() as conn:
            return await events.retry(conn, wanted, by, now=now, again=again), {QueueName.EVENTS.value}

    answers = Answers(dry_run=dry_run, yes=yes, as_json=as_json, who=who, why=why)
    carry_out(choose, act, Action("event", "retry", "retried"), answers)


@app.command()
def discard(
    ids: Ids = None,
    *,
    status: Status = None,
    type_: Type = None,
    customer: Customer = None,
    account: Account = None,
    object_id: Object = None,
    since: Since = None,
    until: Until = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    why: Why = None,
    who: Who = None,
    as_json: AsJson = False,
) -> None:
    """Put dead events away as ignored, with the reason. They are kept, and can still be retried.

    Example: billing events discard evt_1Q2w3e4r --why 'the customer was deleted by hand'
    """

    async def choose(engine: AsyncEngine, now: datetime) -> tuple[EventFilter, int]:
        wanted = EventFilter.read(
            now=now, status=status, type_=type_, customer=customer, account=account,
            object_id=object_id, since=since, until=until,
        )  # fmt: skip
        async with engine.connect() as conn:
            if ids:
                _no_filter_beside_ids(wanted)
                wanted = await events.discardable(conn, [_id(one) for one in ids])
            else:
                wanted = events.discard_of_filter(wanted)
            return wanted, await events.count(conn, wanted)

    async def act(engine: AsyncEngine, wanted: EventFilter, by: Actor, now: datetime) -> tuple[Done, set[str]]:
        async with engine.begin() as conn:
            return await events.discard(conn, wanted, by, now=now), set()

    answers = Answers(dry_run=dry_run, yes=yes, as_json=as_json, who=who, why=why)
    carry_out(choose, act, Action("event", "discard", "discarded"), answers)


ExactType = Annotated[str, typer.Option("--type", help="One exact event type, without wildcards.")]


@app.command()
def pause(*, type_: ExactType, why: Why = None, who: Who = None, dry_run: DryRun = False) -> None:
    """Apply no more events of this type until it is resumed; they are still taken in, and wait.

    Example: billing events pause --type invoice.paid --why 'a bad deploy'
    """
    set_pause(Scope.NAME, type_, paused=True, why=why, who=who, dry_run=dry_run)


@app.command()
def resume(*, type_: ExactType, why: Why = None, who: Who = None, dry_run: DryRun = False) -> None:
    """Apply events of this type again.

    Example: billing events resume --type invoice.paid
    """
    set_pause(Scope.NAME, type_, paused=False, why=why, who=who, dry_run=dry_run)


app.command()(events_backfill.backfill)
