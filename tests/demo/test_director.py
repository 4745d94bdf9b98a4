"""However fast one watches, Stripe's clock runs ahead of the business by a day at most."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from deploy.demo.acts import Beat, NewCard
from deploy.demo.calendar import Calendar
from deploy.demo.director import DAY, Director
from deploy.demo.improvise import Improviser
from deploy.demo.screen import Screen
from deploy.demo.stripe_client import StoppedError
from worker.clock import SystemClock

START = 1_767_600_000
PRESENT = START + 12 * DAY


@dataclass
class World:
    """Stands in for Stripe, for the ledger, and for all who act; it notes by how much the clock was ahead of the books.

    What Stripe delivers while its clock moves, workers date by the business's clock, which still shows the time before.
    """

    file: Path
    stopping: threading.Event
    now: int = START
    left: int = 0
    ahead: list[int] = field(default_factory=list[int])
    unheard: list[int] = field(default_factory=list[int])
    """Work that was left when a new day began."""
    customers: Mapping[str, Any] = field(default_factory=dict[str, Any])
    beats: list[int] = field(default_factory=list[int])

    def get(self, _: str, **__: Any) -> Any:
        return {"data": []}

    def move_clock(self, to: int) -> int:
        shown = int(self.file.read_text(encoding="ascii")) if self.file.exists() else START
        self.ahead.append(to - shown)
        if self.now % DAY == 0:
            self.unheard.append(self.left)
        self.now, self.left = to, 3
        if to >= PRESENT:
            self.stopping.set()
        return to

    def due(self) -> int:
        self.left = max(self.left - 1, 0)
        return self.left

    def waiting(self) -> list[Any]:
        return []

    def set_going(self, _: object) -> None:
        pass

    def play(self, beat: Beat) -> None:
        assert self.now == beat.at
        self.beats.append(beat.at)


@pytest.mark.parametrize("speed", [400, 1000])
def test_watching_at_any_speed_the_business_keeps_up_with_its_days(tmp_path: Path, speed: float) -> None:
    stopping = threading.Event()
    world = World(tmp_path / "clock", stopping)
    anyone = cast("Any", world)
    story = cast("Any", SimpleNamespace(shop=SimpleNamespace(stripe=world, customers={}), play=world.play))
    calendar = Calendar(world.file, anyone, SystemClock().now)
    present = datetime.fromtimestamp(PRESENT, UTC)
    director = Director(anyone, story, anyone, calendar, Screen(), stopping, lambda: present, now=START)
    at = [START + day * DAY + day * day * 999 for day in (1, 2, 3, 7, 9, 10)]
    beats = [Beat(moment, 0, "nobody", NewCard("pm_card_visa")) for moment in at]
    with pytest.raises(StoppedError):
        director.live(beats, speed, Improviser(1, story.shop))
    assert max(world.ahead) <= DAY
    assert (world.beats, sum(world.ahead)) == (at, PRESENT - START)
    assert world.unheard
    assert set(world.unheard) == {0}
