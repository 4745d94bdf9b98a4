"""The business lives by Stripe's clock: what it had put off until a day comes nearer as that clock moves."""

from dataclasses import dataclass
from pathlib import Path

from deploy.demo.ledger import Ledger


def write(file: Path, now: int) -> None:
    """Tell all processes the business's time (seconds since 1970), as a whole: nobody reads half a number."""
    new = file.with_suffix(".new")
    new.write_text(f"{now}\n", encoding="ascii")
    new.replace(file)


@dataclass(frozen=True, slots=True)
class Calendar:
    """Moves the business's time (BILLING_CLOCK_FILE), and with it the work that waits for a day."""

    file: Path
    ledger: Ledger

    def move(self, before: int, to: int) -> None:
        """Time passes from `before` to `to`."""
        write(self.file, to)
        self.ledger.come_nearer(to - before)
