"""`billing usage import`: usage from a CSV file, all of it or what is new of it, however often it is run."""

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.text import Text
from sqlalchemy.ext.asyncio import AsyncEngine

from db import usage_reading
from db.operators.actions import Actor, write_audit
from db.usage import Clash, add
from intake.commands import render
from intake.commands.common import wrong_usage
from intake.commands.connect import NO, actor, ask, fail, reasoned
from intake.commands.options import AsJson, DryRun, Who, Why
from intake.usage_csv import FOR_EVER, BadFileError, Chunk, Fault, Rows, UsageFile, look
from intake.usage_rows import too_late
from intake.usage_types import TOO_MANY, TypesCap
from jobs.rules.pricing_words import counted
from worker.clock import SystemClock, business_clock
from worker.settings import load_settings

MOST_FAULTS = 100
"""So many are told; the rest is counted."""

CLASHES = "was used before for other content: correct the line, or give it a key of its own"


@dataclass(slots=True)
class Outcome:
    """What came of a file."""

    lines: int = 0
    accepted: int = 0
    duplicates: int = 0
    faulty: int = 0
    late: int = 0
    """Of these, lines that are too old."""
    faults: list[Fault] = field(default_factory=list[Fault])

    def blame(self, faults: list[Fault], late: str = "") -> None:
        """Count what is wrong, and keep the first; of what is too `late` one line is kept, since one option mends all.

        `late` is how that is said.
        """
        self.faulty += len(faults)
        others = [one for one in faults if one.msg != late]
        old = [one for one in faults if one.msg == late]
        kept = old[: 0 if self.late else 1]
        self.late += len(old)
        self.faults += sorted([*others, *kept], key=lambda one: one.line)[: MOST_FAULTS - len(self.faults)]

    @property
    def untold(self) -> int:
        """How many mistakes are only counted."""
        return self.faulty - max(0, self.late - 1) - len(self.faults)


@contextmanager
def _bar(title: str, size: int) -> Generator[Callable[[int], None]]:
    """A progress bar for a person at a terminal; what is read is told in bytes."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task(title, total=size)
        yield lambda read: progress.advance(task, read)


def _checked(file: UsageFile, rows: Rows, late: timedelta) -> Outcome:
    """Each line by the rules alone. Nothing is stored while one of them is wrong.

    So a file without keys can be corrected and imported: none of its lines is known under the keys of the old file.
    """
    found = Outcome()
    with _bar("checking", file.size) as seen:
        for chunk in rows.chunks(seen):
            found.lines += len(chunk.lines)
            found.blame(chunk.faults, too_late(late))
    return found


async def _too_many(raw: Any, types: TypesCap, chunk: Chunk) -> list[Fault]:
    """The lines whose event type would be one too many in its month."""
    refused = await types.refused(raw, chunk.events)
    return [Fault(chunk.lines[row], "event_type", TOO_MANY) for row in refused]


async def _compared(engine: AsyncEngine, file: UsageFile, rows: Rows) -> Outcome:
    """What storing would come to, by the keys that are known."""
    found, types = Outcome(), TypesCap()
    async with engine.connect() as conn:
        raw: Any = (await conn.get_raw_connection()).driver_connection
        with _bar("comparing", file.size) as seen:
            for chunk in rows.chunks(seen):
                known = await usage_reading.known_keys(conn, [event.digest for event in chunk.events])
                clashes = [
                    Fault(line, "idempotency_key", CLASHES)
                    for line, event in zip(chunk.lines, chunk.events, strict=True)
                    if known.get(event.digest, event.content) != event.content
                ]
                clashes += await _too_many(raw, types, chunk)
                found.lines += len(chunk.lines)
                found.blame(clashes)
                new = {event.digest for event in chunk.events} - known.keys()
                found.accepted += 0 if clashes else len(new)
                found.duplicates += 0 if clashes else len(chunk.events) - len(new)
    return found


async def _stored(engine: AsyncEngine, file: UsageFile, rows: Rows) -> Outcome:
    """Store chunk by chunk, each whole or not at all; what was stored by a run before counts as a duplicate."""
    found, types = Outcome(), TypesCap()
    async with engine.connect() as conn:
        raw: Any = (await conn.get_raw_connection()).driver_connection
        with _bar("importing", file.size) as seen:
            for chunk in rows.chunks(seen):
                found.lines += len(chunk.lines)
                await _store(raw, types, chunk, found)
    return found


async def _store(raw: Any, types: TypesCap, chunk: Chunk, found: Outcome) -> None:
    if not chunk.events:
        return
    if faults := await _too_many(raw, types, chunk):
        found.blame(faults)
        return
    (came,) = await add(raw, [chunk.events])
    if isinstance(came, Clash):
        found.blame([Fault(chunk.lines[row], "idempotency_key", CLASHES) for row in came.rows])
        return
    found.accepted += came.accepted
    found.duplicates += came.duplicates


def _told(file: UsageFile, found: Outcome, *, dry_run: bool, stored: bool) -> dict[str, Any]:
    return {
        "file": str(file.path),
        "sha256": file.sha256,
        "keys": "of the file" if file.keyed else "made of the file's SHA-256 and the line's number",
        "lines": found.lines,
        "accepted": found.accepted,
        "duplicates": found.duplicates,
        "faulty": found.faulty,
        "late": found.late,
        "faults": [{"line": one.line, "field": one.field, "msg": one.msg} for one in found.faults],
        "stored": stored,
        "dry_run": dry_run,
    }


def _print(file: UsageFile, found: Outcome, *, dry_run: bool, stored: bool) -> None:
    page = render.console()
    for one in found.faults:
        where = f"line {one.line}, {one.field}" if one.field else f"line {one.line}"
        page.print(Text(render.safe(f"{where}: {one.msg}")))
    if found.untold > 0:
        page.print(Text(f"and {found.untold:,} more"))
    if found.late:
        are = f"{counted(found.late, 'line')} {'is' if found.late == 1 else 'are'}"
        page.print(Text(f"{are} too old: --allow-late --why '…' takes usage of any age"))
    if not file.keyed:
        page.print(Text("no column idempotency_key: keys are made of the file's SHA-256 and the line's number"))
    if "occurred_at" not in file.columns:
        page.print(Text("no column occurred_at: all of it counts as used now"))
    if not stored and not dry_run:
        page.print(Text(f"{counted(found.lines, 'line')}, {counted(found.faulty, 'mistake')}: nothing was stored"))
        return
    verb = "would be new" if dry_run else "is new" if found.accepted == 1 else "are new"
    known = "was known" if found.duplicates == 1 else "were known"
    page.print(Text(f"{counted(found.lines, 'line')}: {found.accepted:,} {verb}, {found.duplicates:,} {known}"))
    if found.faulty:
        page.print(Text("of each 1,000 lines with a mistake nothing is stored; run the corrected file again"))


def _audited(file: UsageFile, by: Actor, partner: str | None, lines: int, *, late: bool) -> Callable[..., Any]:
    async def write(engine: AsyncEngine, now: datetime) -> None:
        details = {"sha256": file.sha256, "lines": lines, "partner": partner, "allow_late": late}
        async with engine.begin() as conn:
            await write_audit(conn, by, "usage.import", file.path.name, now=now, details=details)

    return write


def import_(
    path: Annotated[
        Path, typer.Argument(metavar="FILE", help="A CSV file in UTF-8; its first line names the columns.")
    ],
    *,
    partner: Annotated[str | None, typer.Option(help="The partner of lines that name nobody, by key prefix.")] = None,
    allow_late: Annotated[
        bool, typer.Option("--allow-late", help="Take usage of any age (else BILLING_USAGE_LATE_DAYS); needs --why.")
    ] = False,
    dry_run: DryRun = False,
    why: Why = None,
    who: Who = None,
    as_json: AsJson = False,
) -> None:
    """Take usage in from a CSV file, whose columns are the fields of POST /usage/events.

    Every line is checked first; while one is wrong, nothing is stored. Then 1,000 lines at a time are stored or not.
    Running a file again stores what is not there yet: a run that was killed is simply repeated.

    Example: billing usage import october.csv --partner nw_live --dry-run
    """
    settings = load_settings()
    example = f"billing usage import {path} --allow-late --why 'their export was broken in spring'"
    by = reasoned(who, why, example) if allow_late else actor(who, why)
    now = (business_clock(settings.billing_clock_file) or SystemClock()).now()
    late = FOR_EVER if allow_late else timedelta(days=settings.billing_usage_late_days)
    try:
        file = look(path, owner=partner)
        rows = Rows(file, owner=partner, late=late, now=now)
        found = _checked(file, rows, late)
        stored = not found.faulty and not dry_run
        if not found.faulty:
            if stored:
                ask(_audited(file, by, partner, found.lines, late=allow_late))
            work = _compared if dry_run else _stored
            found = ask(lambda engine, _: work(engine, file, rows))
    except BadFileError as error:
        wrong_usage(*(f"{path}: {line}" for line in error.told))
    if as_json:
        render.print_json(_told(file, found, dry_run=dry_run, stored=stored))
    else:
        _print(file, found, dry_run=dry_run, stored=stored)
    if found.faulty:
        fail(f"{counted(found.faulty, 'line')} {'was' if found.faulty == 1 else 'were'} not taken", NO)
