"""`billing status`: how the work stands, and what to do where something is wrong."""

import asyncio
import json
from contextlib import nullcontext
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text
from sqlalchemy.ext.asyncio import AsyncEngine

from intake.commands.connect import ask
from intake.commands.render import console, print_json, safe, state, table, text, when
from intake.overview import SILENT_SECONDS, age, overview
from worker.clock import SystemClock
from worker.registry import discover

WATCH_SECONDS = 2.0
"""Between two looks of --watch."""


def status(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="For machines: one JSON document a look.")] = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Look again every two seconds, until Ctrl-C.")] = False,
) -> None:
    """Queues, ages, retries, dead work, workers and schedules.

    Example: billing status --watch
    """
    schedules = list(discover("jobs").schedules.values())

    async def once(engine: AsyncEngine, now: datetime) -> dict[str, Any]:
        return await overview(engine, schedules, now)

    async def again(engine: AsyncEngine, now: datetime) -> None:
        with nullcontext() if as_json else Live(console=console(), auto_refresh=False) as live:
            while True:
                told = await overview(engine, schedules, now)
                if live is None:
                    typer.echo(json.dumps(told))
                else:
                    live.update(page(told), refresh=True)
                await asyncio.sleep(WATCH_SECONDS)
                now = SystemClock().now()

    if watch:
        try:
            ask(again)
        except KeyboardInterrupt:
            return
    told = ask(once)
    if as_json:
        print_json(told)
    else:
        console().print(page(told))


def page(told: dict[str, Any]) -> Group:
    """The whole page for a terminal."""
    parts: list[RenderableType] = [
        Text.assemble(("billing", "bold"), "  ", when(told["now"]), (" UTC", "dim")),
        _queues(told),
        _events(told["events"]),
    ]
    if told["workers"]:
        parts.append(_workers(told["workers"]))
    else:
        parts.append(Text("\nno worker is known", style="yellow"))
    if told["schedules"]:
        parts.append(_schedules(told["schedules"]))
    if told["hints"]:
        parts.append(Text())
        parts.extend(Text.assemble(("! ", "bold yellow"), safe(hint)) for hint in told["hints"])
    else:
        parts.append(Text("\nall is well", style="green"))
    return Group(*parts)


def _count(value: int, style: str = "") -> Text:
    return Text(f"{value:,}", style=style) if value else Text("·", style="dim")


def _queues(told: dict[str, Any]) -> RenderableType:
    made = table(
        "queue", "ready", "scheduled", "running", "retrying", "dead", "oldest",
        right=("ready", "scheduled", "running", "retrying", "dead", "oldest"),
    )  # fmt: skip
    for name, queue in told["queues"].items():
        oldest = queue["oldest_ready_seconds"]
        made.add_row(
            Text.assemble(safe(name), ("  paused", "yellow") if queue["paused"] else ""),
            _count(queue["ready"]),
            _count(queue["scheduled"]),
            _count(queue["running"], "cyan"),
            _count(queue["retrying"], "yellow"),
            _count(queue["dead"], "bold red"),
            Text(age(oldest), style="yellow" if oldest > SILENT_SECONDS else "") if oldest else _count(0),
        )
    return made


def _events(events: dict[str, Any]) -> Text:
    about = "about " if events["estimated"] else ""
    parts: list[str | Text | tuple[str, str]] = ["events  "]
    for name in ("processed", "ignored", "received", "retrying", "dead"):
        style = "" if name in ("processed", "ignored") or not events[name] else state(name).style
        number = f"{about if name in ('processed', 'ignored') else ''}{events[name]:,} "
        parts.extend([(number, str(style)), (f"{name}   ", "dim")])
    return Text.assemble(*parts)


def _workers(workers: list[dict[str, Any]]) -> RenderableType:
    made = table("worker", "host", "queues", "running", "heartbeat", right=("running", "heartbeat"))
    for one in workers:
        silent = one["heartbeat_age_seconds"] > SILENT_SECONDS
        made.add_row(
            text(one["id"]),
            text(one["host"]),
            text(", ".join(one["queues"])),
            _count(one["running"], "cyan"),
            text(f"{age(one['heartbeat_age_seconds'])} ago", "bold red" if silent else ""),
        )
    return made


def _schedules(schedules: list[dict[str, Any]]) -> RenderableType:
    made = table("schedule", "cron", "last run (UTC)", "ended", "next run (UTC)")
    for one in schedules:
        cron = one["cron"] if one["timezone"] == "UTC" else f"{one['cron']} {one['timezone']}"
        made.add_row(
            text(one["name"]),
            text(cron, "dim"),
            when(one["last_run"]) if one["last_run"] else text("never", "dim"),
            state(one["last_status"]) if one["last_status"] else Text(),
            when(one["next_run"]),
        )
    return made
