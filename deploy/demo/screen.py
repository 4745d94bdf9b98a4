"""What a person sees: a line that changes on a terminal, plain lines elsewhere."""

import os
from datetime import UTC, datetime

from rich.console import Console, RenderableType
from rich.status import Status
from rich.table import Table
from rich.text import Text


class Screen:
    """Standard output of the demo."""

    def __init__(self, console: Console | None = None) -> None:
        """Writes to `console`, standard output by default."""
        width = None if os.isatty(1) else 200
        self._console = console or Console(highlight=False, soft_wrap=True, width=width)
        self._status: Status | None = None

    def say(self, line: str, style: str = "") -> None:
        """One line, whole and plain, for people and scripts."""
        self._console.print(Text(line, style=style))

    def show(self, thing: RenderableType) -> None:
        """A table."""
        self._console.print(thing)

    def beat(self, at: int, line: str) -> None:
        """Something happened in the story; `at` is Stripe's time, in seconds since 1970."""
        when = datetime.fromtimestamp(at, UTC)
        self._console.print(Text.assemble((f"{when:%d %b %H:%M}  ", "dim"), line))

    def deed(self, at: int, line: str) -> None:
        """Chaos has done something."""
        when = datetime.fromtimestamp(at, UTC)
        self._console.print(Text.assemble((f"{when:%d %b %H:%M}  ", "dim"), ("chaos: ", "bold red"), line))

    def status(self, line: str) -> None:
        """How it goes: one line that changes in place on a terminal, a line of its own elsewhere."""
        if not self._console.is_terminal:
            self._console.print(Text(line))
        elif self._status is None:
            self._status = Status(Text(line, "bold"), console=self._console, spinner="dots")
            self._status.start()
        else:
            self._status.update(Text(line, "bold"))

    @property
    def is_terminal(self) -> bool:
        """Whether lines can change in place."""
        return self._console.is_terminal

    def rest(self) -> None:
        """Take the changing line away."""
        if self._status is not None:
            self._status.stop()
            self._status = None


def two_columns(title: str) -> Table:
    """An empty table of names and values."""
    table = Table(title=title, title_justify="left", title_style="bold", show_header=False, box=None, pad_edge=False)
    table.add_column(style="dim")
    table.add_column(justify="right")
    return table
