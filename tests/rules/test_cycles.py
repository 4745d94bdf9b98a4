"""A billing cycle is told in a word."""

import pytest

from jobs.rules.cycles import billing_cycle


@pytest.mark.parametrize(
    ("interval", "count", "word"),
    [
        ("month", 1, "monthly"),
        ("month", None, "monthly"),
        ("year", 1, "yearly"),
        ("week", 1, "weekly"),
        ("day", 1, "daily"),
        ("month", 3, "every 3 months"),
        ("fortnight", 1, "fortnight"),
        (None, None, None),
    ],
)
def test_the_word(interval: str | None, count: int | None, word: str | None) -> None:
    assert billing_cycle(interval, count) == word
