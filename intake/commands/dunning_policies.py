"""`billing dunning policies`: which customers are dunned how, as data that operators change without a deployment."""

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text
from sqlalchemy.ext.asyncio import AsyncEngine

from db.operators.actions import UnknownIdsError
from db.operators.filters import plain
from intake.commands import render
from intake.commands.common import wrong_usage
from intake.commands.connect import NO, actor, ask, fail
from intake.commands.options import AsJson, DryRun, Who, Why
from jobs.dunning.policies import BadPolicyError, PolicyForm, hours_json, policies, put, read_policy, remove, steps_json
from jobs.rules.dunning import DEFAULT

app = typer.Typer(
    no_args_is_help=True,
    help="Which customers are dunned how: list, show, set, remove.",
    epilog="Example: billing dunning policies set enterprise.json",
)
Name = Annotated[str, typer.Argument(help="The policy's name, as `billing dunning policies list` tells.")]

DEFAULT_SHOWN: dict[str, Any] = {
    "name": DEFAULT.name,
    "position": None,
    "applies_to": {},
    "steps": steps_json(DEFAULT),
    "hours": hours_json(DEFAULT),
}
"""What is done where no policy fits; it is part of the code."""


async def _stored(engine: AsyncEngine, _: datetime) -> list[PolicyForm]:
    async with engine.connect() as conn:
        return await policies(conn)


def _shown(found: Sequence[PolicyForm]) -> list[dict[str, Any]]:
    return [*(one.model_dump(mode="json", exclude_none=True) for one in found), DEFAULT_SHOWN]


def _whom(applies_to: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in applies_to.items()) or "everybody else"


@app.command("list")
def list_(*, as_json: AsJson = False) -> None:
    """The policies in the order in which they are tried; the first that fits a new case is its own.

    Example: billing dunning policies list --json
    """
    shown = _shown(ask(_stored))
    if as_json:
        render.print_json(shown)
        return
    made = render.table("policy", "position", "for", "days", "in the end", right=("position",))
    for one in shown:
        made.add_row(
            render.text(one["name"]),
            render.text(one["position"]),
            render.text(_whom(one["applies_to"])),
            render.text(", ".join(str(step["day"]) for step in one["steps"])),
            render.text(one["steps"][-1]["action"]),
        )
    render.console().print(made)


@app.command()
def show(name: Name) -> None:
    """One policy, in the JSON that `set` takes.

    Example: billing dunning policies show default > mine.json
    """
    found = next((one for one in _shown(ask(_stored)) if one["name"] == name), None)
    if found is None:
        fail(f"no such policy: {name}", NO)
    render.print_json({key: value for key, value in found.items() if value is not None})


def _read(file: Path) -> PolicyForm:
    try:
        return read_policy(json.loads(file.read_text(encoding="utf-8")))
    except OSError as error:
        wrong_usage(f"{file}: {error.strerror}")
    except ValueError as error:
        lines = str(error).splitlines() if isinstance(error, BadPolicyError) else [f"is not JSON: {error}"]
        wrong_usage(*(f"{file}: {line}" for line in lines))


@app.command("set")
def set_(
    file: Annotated[Path, typer.Argument(help="A policy in JSON, as `show` prints it.")],
    *,
    why: Why = None,
    who: Who = None,
    dry_run: DryRun = False,
) -> None:
    """Write a policy, in the place of one of the same name. Cases that are open keep the steps that they have.

    Example: billing dunning policies set enterprise.json --why 'agreed with sales'
    """
    policy = _read(file)

    async def work(engine: AsyncEngine, now: datetime) -> bool:
        async with engine.connect() as conn:
            known = any(one.name == policy.name for one in await policies(conn))
            await put(conn, policy, actor(who, why), now=now)
            await (conn.rollback() if dry_run else conn.commit())
            return known

    word = "changed" if ask(work) else "added"
    said = f"{policy.name} would be {word}; nothing was changed" if dry_run else f"{policy.name} {word}"
    render.console().print(Text(render.safe(said)))


@app.command("remove")
def remove_(name: Name, *, why: Why = None, who: Who = None, dry_run: DryRun = False) -> None:
    """Take a policy away; cases that are open keep their steps.

    Example: billing dunning policies remove enterprise --why 'sold on other terms now'
    """

    async def work(engine: AsyncEngine, now: datetime) -> None:
        async with engine.connect() as conn:
            if plain("name", name) is None or not await remove(conn, name, actor(who, why), now=now):
                raise UnknownIdsError("policy", [name])
            await (conn.rollback() if dry_run else conn.commit())

    ask(work)
    said = f"{name} would be removed; nothing was changed" if dry_run else f"{name} removed"
    render.console().print(Text(render.safe(said)))
