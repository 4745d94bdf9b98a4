"""Where the present time comes in: the machine's clock, and in a demo the clock of the simulated Stripe."""

from datetime import UTC, datetime
from pathlib import Path

from worker.ports import Clock


class SystemClock:
    """Tells the machine's time."""

    def now(self) -> datetime:
        """The present instant, in UTC."""
        return datetime.now(UTC)


class FileClock:
    """Tells the time that a file holds, in seconds since 1970: whoever moves the file's time moves the business's."""

    def __init__(self, path: Path) -> None:
        """`path` is replaced as a whole by whoever moves the time."""
        self._path = path

    def now(self) -> datetime:
        """The file's instant. Raises OSError or ValueError when it holds none."""
        return datetime.fromtimestamp(float(self._path.read_text(encoding="ascii")), UTC)


def business_clock(path: Path | None) -> Clock | None:
    """The business's own clock, where it has one (BILLING_CLOCK_FILE)."""
    return FileClock(path) if path is not None else None
