"""Which version of a contract holds on a day, which period is invoiced next, and what its versions disagree on."""

from collections.abc import Iterator, Sequence
from datetime import date, datetime
from itertools import pairwise

from jobs.partners.contracts import Contract
from jobs.rules.billing_periods import Agreed, Period, periods


def _since(one: Contract) -> tuple[date, int]:
    return one.valid_from, one.version or 0


def newest(versions: Sequence[Contract]) -> Contract:
    """The version with the last `valid_from`: its status, first and last day are the whole contract's.

    Raises ValueError when there are none.
    """
    return max(versions, key=_since)


def holding(versions: Sequence[Contract], on: date) -> Contract:
    """The version that holds on a day of the contract's time zone: the one with the last `valid_from` until then.

    Before all of them the first one holds, so that each day has exactly one; a version that is added from a later day
    changes nothing for the days before it. Raises ValueError when there are none.
    """
    begun = [one for one in versions if one.valid_from <= on]
    return newest(begun) if begun else min(versions, key=_since)


def periods_of(versions: Sequence[Contract]) -> Iterator[Period]:
    """The periods of a contract, from its first on. Raises ValueError when there are no versions."""
    whole = newest(versions)
    agreed = [Agreed(one.valid_from, one.billing_cycle, one.timezone) for one in versions]
    return periods(whole.contract_start_date, whole.contract_end_date, agreed)


def next_period(versions: Sequence[Contract], settled: datetime | None) -> Period | None:
    """The period that is invoiced next, when all before `settled` (UTC) are closed; None: none is left."""
    return next((one for one in periods_of(versions) if settled is None or one.start >= settled), None)


def disagreements(versions: Sequence[Contract]) -> list[str]:
    """What the versions of one contract say that cannot all be so, each with the fix; none when all is well."""
    found: list[str] = []
    ordered = sorted(versions, key=_since)
    for earlier, later in pairwise(ordered):
        if earlier.currency != later.currency and not _begins_a_period(versions, later.valid_from):
            found.append(
                f"currency: changes from {earlier.currency} to {later.currency} on {later.valid_from}, within a period:"
                " one invoice has one currency, so let it change on the first day of a period"
            )
    if ordered and ordered[0].valid_from > (start := newest(ordered).contract_start_date):
        found.append(
            f"valid_from: the contract begins on {start}, but its first version holds from {ordered[0].valid_from}"
            " only: correct one of the two"
        )
    return found


def _begins_a_period(versions: Sequence[Contract], on: date) -> bool:
    return on <= newest(versions).contract_start_date or any(
        period.first == on for period in _until(periods_of(versions), on)
    )


def _until(found: Iterator[Period], on: date) -> Iterator[Period]:
    for period in found:
        if period.first > on:
            return
        yield period
