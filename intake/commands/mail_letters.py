"""`billing mail list|show|resend`: what letters there are, what became of each, and a copy on purpose."""

from datetime import datetime
from typing import Annotated, Any

import typer
from rich.text import Text
from sqlalchemy.ext.asyncio import AsyncEngine

from db.operators import emails
from db.operators.emails import EmailFilter
from db.operators.filters import page_size
from intake.commands import render
from intake.commands.common import checked_settings
from intake.commands.connect import actor, ask, ring
from intake.commands.options import AsJson, DryRun, Limit, Since, Until, Who, Why
from intake.letters import letter_json, text_now

app = typer.Typer()
Letter = Annotated[str, typer.Argument(metavar="ID|KEY", help="Its number, or its key (receipt/in_…).")]


@app.command("list")
def list_(
    *,
    status: Annotated[
        str | None, typer.Option(help="queued, sending, sent, bounced, suppressed, dead or cancelled.")
    ] = None,
    template: Annotated[str | None, typer.Option(help="The letter's name; * and ? stand for anything.")] = None,
    to: Annotated[str | None, typer.Option(help="The recipient's address; * and ? stand for anything.")] = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """The newest letters that match.

    Example: billing mail list --status bounced --template 'dunning*' --since 7d
    """

    async def work(engine: AsyncEngine, now: datetime) -> list[dict[str, Any]]:
        wanted = EmailFilter.read(now=now, status=status, template=template, to=to, since=since, until=until)
        async with engine.connect() as conn:
            return await emails.list_letters(conn, wanted, limit=page_size(limit))

    shown = [letter_json(row) for row in ask(work)]
    if as_json:
        render.print_json(shown)
        return
    page = render.console()
    if not shown:
        page.print(Text("no letter matches"))
        return
    made = render.table("id", "letter", "to", "state", "copies", "staged (UTC)", "key", "why", right=("id", "copies"))
    for row in shown:
        made.add_row(
            render.text(row["id"]),
            render.text(row["template"]),
            render.text(row["recipient"]),
            render.state(row["status"]),
            render.text(row["copies"] or ""),
            render.when(row["created_at"]),
            render.text(row["key"], "dim"),
            render.text((row["reason"] or "").partition("\n")[0][:80], "dim"),
        )
    page.print(made)


@app.command()
def show(letter: Letter, *, as_json: AsJson = False) -> None:
    """One letter's whole story: its state, each attempt, and its text as it is written today.

    Example: billing mail show receipt/in_1Q2w3e4r
    """
    settings = checked_settings()

    async def work(engine: AsyncEngine, _: datetime) -> dict[str, Any]:
        async with engine.connect() as conn:
            await conn.execution_options(isolation_level="REPEATABLE READ")
            return await emails.letter_story(conn, letter)

    told = ask(work)
    text = text_now(told, settings)
    story = letter_json(told)
    if as_json:
        render.print_json({**story, "text": text})
        return
    page = render.console()
    title = (f"letter {story['id']}", "bold")
    page.print(Text.assemble(title, "  ", render.safe(story["template"]), "  ", render.state(story["status"])))
    times = {name: story[f"{name}_at"] for name in ("occurred", "created", "sent", "delivered", "bounced")}
    page.print(
        render.pairs(
            {
                "to": story["recipient"],
                "subject": story["subject"],
                "key": story["key"],
                "invoice": story["stripe_invoice_id"],
                "why": render.text(story["reason"], "red") if story["reason"] else None,
                "suppressed": render.text(story["suppressed"], "bold red") if story["suppressed"] else None,
                **{name: render.when(at) for name, at in times.items() if at},
                "tries": story["attempts"] or None,
                "copies": f"at most {story['copies']}" if story["copies"] else None,
                "carrier's id": story["provider_id"],
                "message id": story["message_id"],
                "job": story["job_id"],
            }
        )
    )
    render.section(page, "Attempts", render.attempts(story["history"]))
    render.section(
        page, "Sent again", [render.text(f"  letter {one['id']}  {one['status']}") for one in story["resent"]]
    )
    render.section(page, "Operators", render.audited(story["audit"]))
    render.section(page, "Text", [render.text(text)])


@app.command()
def resend(
    letter: Letter, *, dry_run: DryRun = False, why: Why = None, who: Who = None, as_json: AsJson = False
) -> None:
    """Send a letter once more, on purpose; one that never went out goes out itself.

    The copy is a letter of its own (`KEY/again/1`), or mail programs would hide it from its reader.

    Example: billing mail resend 42 --why 'the customer asked for it'
    """

    async def work(engine: AsyncEngine, now: datetime) -> int:
        async with engine.connect() as conn:
            sent, queues = await emails.resend(conn, letter, actor(who, why), now=now)
            if dry_run:
                await conn.rollback()
                return sent
            await conn.commit()
        await ring(*queues)
        return sent

    sent = ask(work)
    if as_json:
        render.print_json({"letter": None if dry_run else sent, "dry_run": dry_run})
    elif dry_run:
        render.console().print(Text("one letter would be sent; nothing was changed"))
    else:
        render.console().print(Text(f"letter {sent} is on its way: billing mail show {sent}"))
