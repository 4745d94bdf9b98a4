"""Which credits pay for an invoice: those that expire first, then those given first, each as far as it goes."""

from collections.abc import Iterable
from datetime import datetime
from typing import Protocol, TypeVar


class Spendable(Protocol):
    """A credit, as far as the order of spending needs it. Amounts are minor units, times aware."""

    @property
    def id(self) -> int:
        """Tells credits of one moment apart."""
        ...

    @property
    def remaining_cents(self) -> int:
        """What of it is not spent yet."""
        ...

    @property
    def created_at(self) -> datetime:
        """When it was given."""
        ...

    @property
    def expires_at(self) -> datetime | None:
        """From when on it pays for nothing any more; None: it never expires."""
        ...

    @property
    def voided_at(self) -> datetime | None:
        """When it was taken back."""
        ...


C = TypeVar("C", bound=Spendable)


def usable(credit: Spendable, now: datetime) -> bool:
    """Whether the credit can pay for something at `now`: at the instant of its end it cannot any more."""
    ended = credit.expires_at is not None and credit.expires_at <= now
    return credit.remaining_cents > 0 and credit.voided_at is None and not ended


def _turn(credit: Spendable) -> tuple[bool, datetime, datetime, int]:
    return credit.expires_at is None, credit.expires_at or credit.created_at, credit.created_at, credit.id


def plan(credits_: Iterable[C], due: int) -> list[tuple[C, int]]:
    """How much (minor units, above 0) each credit pays of `due`, in the order in which they are spent.

    The credits are all of one currency, the one of `due`. No credit gives more than it has, and together they give no
    more than `due`. Raises ValueError when `due` is negative.
    """
    if due < 0:
        raise ValueError(f"{due} is not an amount that can be due")
    left, found = due, list[tuple[C, int]]()
    for credit in sorted(credits_, key=_turn):
        amount = min(max(credit.remaining_cents, 0), left)
        if amount:
            found.append((credit, amount))
            left -= amount
    return found


def state(credit: Spendable, now: datetime) -> str:
    """How a credit stands, in a word: `void`, `used`, `expired` or `open`."""
    if credit.voided_at is not None:
        return "void"
    if credit.remaining_cents == 0:
        return "used"
    return "open" if usable(credit, now) else "expired"
