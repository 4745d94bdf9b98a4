"""Allowances and reports are by calendar months of whoever uses: their own time zone says when one begins."""

from datetime import date, datetime

from jobs.rules.billing_periods import LATEST, Period, local_day, midnight, month_named, months_later

EARLIEST = 2000
"""Nothing is reported of the years before."""


def month(first: date, timezone: str) -> Period:
    """The calendar month that begins with the day `first`, in the IANA zone `timezone`."""
    return Period(first, 1, midnight(first, timezone), midnight(months_later(first, 1), timezone), timezone)


def month_of(at: datetime, timezone: str) -> Period:
    """The month that the instant `at` (aware) lies in."""
    return month(local_day(at, timezone).replace(day=1), timezone)


def month_typed(text: str, timezone: str) -> Period:
    """The month that was typed as `2026-11`. Raises ValueError saying how it is written."""
    first = month_named(text)
    if not EARLIEST <= first.year <= LATEST:
        raise ValueError(f"{text!r} lies outside of the years {EARLIEST} to {LATEST}")
    return month(first, timezone)
