"""The options that several commands share, so that they read and mean the same everywhere."""

from collections.abc import Sequence
from datetime import datetime
from difflib import get_close_matches
from typing import Annotated

import typer

from db.operators.filters import BadFilterError
from intake.commands.connect import plain_errors

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


def month(typed: str | None) -> str | None:
    """The `--period` of a command that takes a month. What is none ends the command as wrong usage."""
    from intake import months  # noqa: PLC0415 - other commands need no billing periods

    with plain_errors():
        return months.month(typed)


def past(begin: datetime | None, end: datetime | None, now: datetime) -> None:
    """Nothing can be asked of Stripe that is yet to happen. Raises BadFilterError."""
    if begin is not None and begin > now:
        raise BadFilterError("since", f"is in the future: it is {now:%Y-%m-%d %H:%M} UTC now")
    if end is not None and end > now:
        raise BadFilterError(
            "until", f"is in the future ({now:%Y-%m-%d %H:%M} UTC now): leave it away to go on until now"
        )
