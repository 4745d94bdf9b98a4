"""Periods that somebody looked at stay the contract's: which ones follow from it, and which a change would move."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Any
from zoneinfo import ZoneInfo

from db.usage_invoices import Known
from jobs.rules.billing_periods import Agreed, Period, periods

Row = Mapping[str, Any]


def _zone(name: str) -> str:
    """The time zone; UTC for one that there is not, so that the invoice is parked and not forgotten."""
    try:
        ZoneInfo(name)
    except (KeyError, OSError, ValueError):
        return "UTC"
    return name


def periods_of_rows(rows: Sequence[Row]) -> Iterator[Period]:
    """The periods of a contract by its versions as they are stored, oldest first.

    Nothing else is read of it here: one that makes no sense has periods too, and they are parked.
    """
    newest = max(rows, key=lambda row: (row["valid_from"], row["version"]))
    agreed = [Agreed(row["valid_from"], row["billing_cycle"], _zone(row["timezone"])) for row in rows]
    return periods(newest["contract_start_date"], newest["contract_end_date"], agreed)


def moved(known: Sequence[Known], before: Sequence[Row], after: Sequence[Row]) -> list[Known]:
    """Which of the `known` periods, in order, the versions `after` would begin or end at another instant.

    Such a period would be invoiced twice, or in part never: what was looked at is known by its bounds. A period that
    the contract did not have `before`, or of which it would keep nothing, is not among them.
    """
    if not known:
        return []
    last = max(one.end for one in known)
    had, has = (
        {(one.start, one.end) for one in takewhile(lambda one: one.start < last, periods_of_rows(rows))}
        for rows in (before, after)
    )
    return [
        one
        for one in known
        if (one.start, one.end) in had - has and any(start < one.end and one.start < end for start, end in has)
    ]
