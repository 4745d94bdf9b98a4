"""`billing tokens`: the keys by which partners report and read usage."""

from datetime import datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text
from sqlalchemy.ext.asyncio import AsyncEngine

from db import tokens
from db.operators.actions import UnknownIdsError
from db.operators.filters import plain
from intake.commands import render
from intake.commands.connect import actor, ask
from intake.commands.options import AsJson, DryRun, Who, Why
from intake.overview import jsonable
from intake.tokens import make

app = typer.Typer(
    no_args_is_help=True,
    help="The keys by which partners report and read usage: create, list, revoke.",
    epilog="Example: billing tokens create --partner acme",
)


@app.command()
def create(
    partner: Annotated[str, typer.Option(help="The partner's key prefix, as in the contract.")],
    *,
    name: Annotated[str | None, typer.Option(help="What it is for, to tell it from others.")] = None,
    scope: Annotated[
        list[str] | None, typer.Option(help="usage:write or usage:read; may be repeated. Default: both.")
    ] = None,
    expires: Annotated[str | None, typer.Option(help="When it ends: 90d, or a date, UTC. Default: never.")] = None,
    dry_run: DryRun = False,
    why: Why = None,
    who: Who = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and print it: this once, for only its SHA-256 is kept.

    Example: billing tokens create --partner acme --scope usage:write --expires 365d
    """

    async def work(engine: AsyncEngine, now: datetime) -> dict[str, Any]:
        async with engine.connect() as conn:
            return await make(
                conn,
                partner,
                actor(who, why),
                now=now,
                name=name,
                scopes=scope or None,
                expires=expires,
                dry_run=dry_run,
                field="scope",
            )

    made = ask(work)
    if not made.pop("has_contract"):
        warning = f"there is no contract with {made['partner']} yet: its usage is stored, and not invoiced before"
        Console(stderr=True, soft_wrap=True).print(Text(warning, style="yellow"))
    if as_json:
        render.print_json(jsonable(made))
    elif dry_run:
        typer.echo(f"a key of {made['partner']} would be made ({', '.join(made['scopes'])}); nothing was changed")
    else:
        typer.echo(made["key"])
        told = f"key {made['id']} of {made['partner']}, shown this once; `billing tokens revoke {made['id']}` ends it"
        Console(stderr=True, soft_wrap=True).print(Text(told, style="dim"))


@app.command("list")
def list_(
    *,
    partner: Annotated[str | None, typer.Option(help="Only the keys of this partner.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Revoked and expired ones too.")] = False,
    as_json: AsJson = False,
) -> None:
    """The keys, each with what it may do and when it was used last.

    Example: billing tokens list --partner acme --all
    """

    async def work(engine: AsyncEngine, now: datetime) -> list[dict[str, Any]]:
        async with engine.connect() as conn:
            return await tokens.list_tokens(conn, now, prefix=plain("partner", partner), ended=every)

    found = ask(work)
    if as_json:
        render.print_json(found)
        return
    made = render.table(
        "id", "partner", "key", "name", "may", "created", "expires", "revoked", "last used", right=("id",)
    )
    for one in found:
        times = (jsonable(one[column]) for column in ("created_at", "expires_at", "revoked_at", "last_used_at"))
        cells = (one["api_key_prefix"], one["shown"], one["name"], ", ".join(one["scopes"]))
        made.add_row(str(one["id"]), *map(render.text, cells), *map(render.when, times))
    render.console().print(made)


@app.command()
def revoke(
    id_: Annotated[str, typer.Argument(metavar="ID", help="The key's number, as `billing tokens list` tells.")],
    *,
    dry_run: DryRun = False,
    why: Why = None,
    who: Who = None,
) -> None:
    """End a key for good: the doors stop letting it in within 5 seconds.

    Example: billing tokens revoke 7 --why 'it was in a public repository'
    """

    async def work(engine: AsyncEngine, now: datetime) -> str:
        if not (id_.isascii() and id_.isdigit() and len(id_) < 19):  # noqa: PLR2004 - what bigint holds
            raise UnknownIdsError("key", [id_])
        async with engine.connect() as conn:
            shown = await tokens.revoke(conn, int(id_), actor(who, why), now=now)
            await (conn.rollback() if dry_run else conn.commit())
            return shown

    shown = ask(work)
    said = (
        f"key {id_} ({shown}) would be revoked; nothing was changed" if dry_run else f"key {id_} ({shown}) is revoked"
    )
    render.console().print(Text(render.safe(said)))
