"""The options that several commands share, so that they read and mean the same everywhere."""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="For machines.")]
Since = Annotated[str | None, typer.Option(help="From then on: an age (30m, 2h, 7d) or a date, UTC.")]
Until = Annotated[str | None, typer.Option(help="Before then: an age or a date, UTC.")]
Limit = Annotated[int, typer.Option(help="At most so many, newest first.")]
Again = Annotated[bool, typer.Option("--again", help="Also what was already done.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be changed.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Why = Annotated[str | None, typer.Option(help="The reason, for the audit log.")]
Reason = Annotated[str | None, typer.Option("--why", help="The reason, for the audit log; required.")]
Who = Annotated[str | None, typer.Option(help="Who acts, for the audit log; by default this user and machine.")]


def nearest(typed: str | None, known: Sequence[str]) -> str:
    """`; did you mean …?`, or nothing."""
    near = get_close_matches(typed, known, n=1) if typed else []
    return f"; did you mean {near[0]!r}?" if near else ""
