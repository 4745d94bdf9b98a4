"""Time at this Stripe moves only when it is told to; what is due on the way happens, in order."""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(order=True, slots=True)
class Timer:
    """Something that will happen. `due` is in seconds since 1970."""

    due: int
    turn: int
    action: Callable[[], None] = field(compare=False)


class Clock:
    """A clock with what is due by it: the account's own, and one for each test clock."""

    def __init__(self, now: int) -> None:
        """`now` is in seconds since 1970."""
        self.now = now
        self._turns = 0
        self._timers: list[Timer] = []

    def at(self, due: int, action: Callable[[], None]) -> None:
        """Do `action` at `due`, or at the next move when that is past. It asks itself whether it still applies."""
        self._turns += 1
        heapq.heappush(self._timers, Timer(due, self._turns, action))

    @property
    def next_due(self) -> int | None:
        """When the next thing happens."""
        return self._timers[0].due if self._timers else None

    def move(self, to: int) -> None:
        """Move to `to`, doing what is due on the way, each at its time. Raises ValueError for a move backwards."""
        if to < self.now:
            raise ValueError(f"time does not go back: from {self.now} to {to}")
        while self._timers and self._timers[0].due <= to:
            timer = heapq.heappop(self._timers)
            self.now = max(self.now, timer.due)
            timer.action()
        self.now = to
