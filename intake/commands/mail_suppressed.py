"""`billing mail suppressed`: the addresses that no letter goes to; adding one, and letting letters go there again."""

from datetime import datetime
from typing import Annotated, Any

import typer
from rich.text import Text
from sqlalchemy.ext.asyncio import AsyncEngine

from db.operators import emails
from db.operators.actions import NotAllowedError
from db.operators.filters import page_size
from intake.commands import render
from intake.commands.connect import actor, ask
from intake.commands.options import AsJson, DryRun, Limit, Who
from intake.letters import suppressed_json

app = typer.Typer(
    no_args_is_help=True,
    help="The addresses that no letter goes to: list, add, lift.",
    epilog="Example: billing mail suppressed lift ada@example.com --why 'she has a new mailbox'",
)
Address = Annotated[str, typer.Argument(help="The address: ada@example.com.")]
Reason = Annotated[str, typer.Option("--why", help="The reason; it is kept and shown.")]


@app.command("list")
def list_(*, limit: Limit = 50, as_json: AsJson = False) -> None:
    """The suppressed addresses, newest first, each with who said so and why.

    Example: billing mail suppressed list --json
    """

    async def work(engine: AsyncEngine, _: datetime) -> list[dict[str, Any]]:
        async with engine.connect() as conn:
            return await emails.list_suppressed(conn, limit=page_size(limit))

    shown = [suppressed_json(row) for row in ask(work)]
    if as_json:
        render.print_json(shown)
        return
    page = render.console()
    if not shown:
        page.print(Text("letters go to every address"))
        return
    made = render.table("address", "since (UTC)", "by", "letter", "why", right=("letter",))
    for row in shown:
        made.add_row(
            render.text(row["address"]),
            render.when(row["created_at"]),
            render.text(row["source"]),
            render.text(row["email_id"]),
            render.text(row["reason"][:120], "dim"),
        )
    page.print(made)


@app.command()
def add(address: Address, *, why: Reason, who: Who = None, dry_run: DryRun = False, as_json: AsJson = False) -> None:
    """Let no letter go to this address any more; letters to it are kept as `suppressed`.

    Example: billing mail suppressed add ada@example.com --why 'she asked us by telephone'
    """

    async def work(engine: AsyncEngine, now: datetime) -> bool:
        async with engine.connect() as conn:
            changed = await emails.suppress(conn, address, actor(who, why), now=now)
            await (conn.rollback() if dry_run else conn.commit())
            return changed

    if not ask(work):
        _tell(f"{address} was suppressed already; nothing was changed", changed=False, dry_run=dry_run, as_json=as_json)
        return
    _tell(f"no letter {'would go' if dry_run else 'goes'} to {address}", changed=True, dry_run=dry_run, as_json=as_json)


@app.command()
def lift(address: Address, *, why: Reason, who: Who = None, dry_run: DryRun = False, as_json: AsJson = False) -> None:
    """Let letters go to this address again. Those that were suppressed stay so: `billing mail resend` sends one.

    Example: billing mail suppressed lift ada@example.com --why 'the mailbox is there again'
    """

    async def work(engine: AsyncEngine, now: datetime) -> None:
        async with engine.connect() as conn:
            if not await emails.lift(conn, [address], actor(who, why), now=now):
                raise NotAllowedError([f"{address} is not suppressed"])
            await (conn.rollback() if dry_run else conn.commit())

    ask(work)
    _tell(
        f"letters {'would go' if dry_run else 'go'} to {address} again", changed=True, dry_run=dry_run, as_json=as_json
    )


def _tell(words: str, *, changed: bool, dry_run: bool, as_json: bool) -> None:
    if as_json:
        render.print_json({"changed": changed and not dry_run, "dry_run": dry_run})
    else:
        render.console().print(render.text(words))
