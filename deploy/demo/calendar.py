"""The business lives by Stripe's clock: what it had put off until a day is due when that clock reaches the day."""

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import ceil
from pathlib import Path

from deploy.demo.ledger import Ledger, Waiting


def write(file: Path, now: int) -> None:
    """Tell all processes the business's time (seconds since 1970), as a whole: nobody reads half a number."""
    new = file.with_suffix(".new")
    new.write_text(f"{now}\n", encoding="ascii")
    new.replace(file)


@dataclass(slots=True)
class Calendar:
    """Moves the business's time (BILLING_CLOCK_FILE), and sets going what waited for a day that has come.

    Work is put off by the machine's clock, which goes on its own way. For which time of the business it was, follows
    from when it was put off and from what the file showed at that moment; so no move of the clock is counted twice, or
    not at all, however quickly the moves follow each other.
    """

    file: Path
    ledger: Ledger
    present: Callable[[], datetime]
    """The machine's clock."""
    _since: list[datetime] = field(default_factory=list[datetime])
    """When the file was written: since then its readers are sure to have seen the time below, or a later one."""
    _times: list[int] = field(default_factory=list[int])
    _due: dict[Waiting, float] = field(default_factory=dict[Waiting, float])
    """For which time of the business work waits, in seconds since 1970."""

    def move(self, before: int, to: int) -> None:
        """Time passes from `before` to `to`."""
        if not self._times:
            self._times.append(before)
            self._since.append(self.present() - timedelta(days=1))
        write(self.file, to)
        self._times.append(to)
        self._since.append(self.present())
        known = self._due
        due = {work: known.get(work) or self._due_of(work, before) for work in self.ledger.waiting()}
        self._due = {work: at for work, at in due.items() if at > to}
        self.ledger.set_going([work for work in due if work not in self._due])

    def next_due(self) -> int | None:
        """For when the first work was put off (seconds since 1970, rounded up), as was known at the last move."""
        return min((ceil(due) for work, due in self._due.items() if not work.tried), default=None)

    def _due_of(self, work: Waiting, before: int) -> float:
        if work.tried:
            return before + (work.due_at - self.present()).total_seconds()
        shown = self._times[max(bisect_right(self._since, work.staged_at) - 1, 0)]
        return shown + (work.due_at - work.staged_at).total_seconds()
