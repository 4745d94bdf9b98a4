"""What the business put off until a day is due on that day, however the clock gets there."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

from deploy.demo.calendar import Calendar
from deploy.demo.ledger import Waiting

DAY = 86_400
START = 1_767_600_000


@dataclass
class Board:
    """Stands in for the ledger: what waits, and what was set going."""

    wall: datetime = datetime(2026, 11, 21, tzinfo=UTC)
    jobs: list[Waiting] = field(default_factory=list[Waiting])
    going: list[int] = field(default_factory=list[int])

    def now(self) -> datetime:
        """The machine's clock; each look at it takes a moment."""
        self.wall += timedelta(milliseconds=1)
        return self.wall

    def put_off(self, name: int, seconds: float, *, tried: bool = False) -> None:
        """A worker puts something off, as `Tx.stage` does."""
        at = self.now()
        self.jobs.append(Waiting(name, "batch", at, at + timedelta(seconds=seconds), tried))

    def waiting(self) -> list[Waiting]:
        """All that was not set going."""
        return [job for job in self.jobs if job.id not in self.going]

    def set_going(self, work: list[Waiting]) -> None:
        """Remember it."""
        self.going += [job.id for job in work]


def opened(tmp_path: Path) -> tuple[Calendar, Board]:
    board = Board()
    return Calendar(tmp_path / "clock", cast("Any", board), board.now), board


def test_work_is_due_on_its_day_and_no_move_counts_twice(tmp_path: Path) -> None:
    calendar, board = opened(tmp_path)
    calendar.move(START, START + 10)
    board.put_off(1, 3 * DAY)
    calendar.move(START + 10, START + DAY)
    assert (calendar.next_due(), board.going) == (START + 10 + 3 * DAY, [])
    board.put_off(2, DAY / 2)
    for day in range(1, 4):
        calendar.move(START + day * DAY, START + (day + 1) * DAY)
        assert board.going == {1: [2], 2: [2], 3: [2, 1]}[day]
    assert calendar.next_due() is None
    assert (tmp_path / "clock").read_text() == f"{START + 4 * DAY}\n"


def test_what_was_put_off_before_the_first_move_counts_from_the_start(tmp_path: Path) -> None:
    calendar, board = opened(tmp_path)
    board.put_off(1, 100)
    calendar.move(START, START + 99)
    assert board.going == []
    calendar.move(START + 99, START + 100)
    assert board.going == [1]


def test_a_retry_waits_for_its_seconds_but_nobody_stops_for_it(tmp_path: Path) -> None:
    calendar, board = opened(tmp_path)
    board.put_off(1, 60, tried=True)
    calendar.move(START, START + 30)
    assert (calendar.next_due(), board.going) == (None, [])
    calendar.move(START + 30, START + 61)
    assert board.going == [1]
