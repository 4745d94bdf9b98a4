"""What a command prints: tables for people, JSON for machines; nothing that came from outside can steer a terminal."""

import json
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from intake.overview import jsonable

PIPE_WIDTH = 200
"""Columns when the output is no terminal, so that a table in a pipe is not cut."""

STYLES = {
    "processed": "green",
    "done": "green",
    "sent": "green",
    "dead": "bold red",
    "failed": "red",
    "bounced": "red",
    "timeout": "red",
    "refused": "red",
    "lost": "red",
    "retrying": "yellow",
    "later": "yellow",
    "running": "cyan",
    "sending": "cyan",
    "suppressed": "dim",
    "ignored": "dim",
    "cancelled": "dim",
}
"""Colours say how work stands; what is well and usual has none that cries."""


def console() -> Console:
    """The terminal, or a wide page where there is none."""
    width = None if sys.stdout.isatty() else PIPE_WIDTH
    return Console(width=width, highlight=False, emoji=False)


def safe(value: Any) -> str:
    """Text of others, without what would move the cursor, change colours or turn the direction of writing."""
    return "".join(
        char if char in "\n\t" or unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Co") else "\ufffd"
        for char in str(value)
    )


def text(value: Any, style: str = "") -> Text:
    """A cell; None is an empty one."""
    return Text("" if value is None else safe(value), style=style)


def state(value: str) -> Text:
    """A state in its colour."""
    return text(value, STYLES.get(value, ""))


def when(value: str | None) -> Text:
    """An instant as read by people: `2026-03-01 12:00:00` (UTC)."""
    return text(value and value[:19].replace("T", " "), "dim")


def table(*columns: str, right: Sequence[str] = (), title: str | None = None) -> Table:
    """A quiet table; the columns in `right` hold numbers."""
    made = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", title_style="bold", pad_edge=False)
    for column in columns:
        made.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return made


def print_json(value: Any) -> None:
    """JSON for machines, one document; ASCII only, so that every pipe can carry it."""
    typer.echo(json.dumps(jsonable(value), indent=2))


def json_text(value: Any) -> str:
    """JSON to be read: letters of all languages as they are, but nothing that could steer the terminal."""
    return safe(json.dumps(value, indent=2, ensure_ascii=False))


def pairs(rows: Mapping[str, Any]) -> Table:
    """Names and values below each other; empty values are left out."""
    made = Table.grid(padding=(0, 2))
    for name, value in rows.items():
        if value not in (None, ""):
            made.add_row(Text(name, style="dim"), value if isinstance(value, Text) else text(value))
    return made


def attempts(history: Sequence[Mapping[str, Any]], *, tracebacks: bool = True) -> list[Any]:
    """The attempts of an event or a job, each with its error and traceback."""
    told: list[Any] = []
    for number, one in enumerate(history, 1):
        line = Text(f"{number}. ").append_text(when(one["ended_at"])).append("  ").append_text(state(one["outcome"]))
        if one["worker"]:
            line.append(f"  on {safe(one['worker'])}", style="dim")
        if one["next_at"]:
            line.append(f"  next {one['next_at'][:19].replace('T', ' ')}", style="dim")
        told.append(line)
        if one["error"]:
            told.append(Text("   " + safe(one["error"]), style="red"))
        if one["fingerprint"]:
            told.append(Text(f"   fingerprint {safe(one['fingerprint'])}", style="dim"))
        if tracebacks and one["traceback"]:
            told.extend(Text("   " + line, style="dim") for line in safe(one["traceback"]).rstrip().splitlines())
    return told


def staged(jobs: Sequence[Mapping[str, Any]]) -> list[Text]:
    """The jobs that an event or a job staged."""
    return [
        Text.assemble(f"  job {one['id']}  ", safe(one["name"]), f" ({safe(one['queue'])})  ", state(one["status"]))
        for one in jobs
    ]


def audited(entries: Sequence[Mapping[str, Any]]) -> list[Text]:
    """What operators did."""
    return [
        Text.assemble(
            when(one["created_at"]), "  ", safe(one["action"]), " by ", safe(one["who"]),
            f": {safe(one['why'])}" if one["why"] else "",
        )
        for one in entries
    ]  # fmt: skip


def section(page: Console, title: str, parts: Sequence[Any]) -> None:
    """A headed part of a story; left out when there is nothing to tell."""
    if parts:
        page.print()
        page.print(Text(title, style="bold"))
        for part in parts:
            page.print(part)


def confirmed(question: str, *, yes: bool) -> bool:
    """Ask, but only a person at a terminal; a script that came so far means it."""
    return yes or not is_person() or typer.confirm(question, default=False)


def is_person() -> bool:
    """Whether somebody sits at a terminal who can answer."""
    return sys.stdin.isatty()
