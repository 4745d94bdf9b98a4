"""When somebody hears that most of a month's allowance is used, and when that all of it is: once in a month each."""

from collections.abc import Collection
from decimal import Decimal

STEPS = (80, 100)
"""Percent of the allowance, each with a letter of its own."""


def whole(units: Decimal) -> int:
    """Units that are told as used: begun ones do not count, so that 100 % is said only when it is true."""
    return int(units)


def percent(used: Decimal, limit: int) -> int:
    """Whole percents of `limit` (1 or more) that are used, rounded down."""
    return whole(used) * 100 // limit


def reached(used: Decimal, limit: int) -> int | None:
    """The highest step that is reached; None: not even the first."""
    return max((step for step in STEPS if percent(used, limit) >= step), default=None)


def letter_due(used: Decimal, limit: int, told: Collection[int]) -> int | None:
    """The step that is to be told now, when the steps in `told` were told in this month; None: nothing is.

    Who is at 100 % already is not told of 80 % any more. When the limit was raised meanwhile, what was told before
    stays told: each step has one letter in a month.
    """
    step = reached(used, limit)
    return None if step in told else step
