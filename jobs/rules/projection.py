"""What a running period would come to if things went on as they have so far."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction

from db.money import rounded
from jobs.rules.pricing_terms import Part

_MICRO = 10**6
_TICK = timedelta(microseconds=1)


def _units(value: Fraction) -> Decimal:
    """With six decimal places, as units are kept."""
    return Decimal(rounded(value * _MICRO)) / _MICRO


def projected(parts: Sequence[Part], start: datetime, end: datetime, now: datetime) -> tuple[Part, ...]:
    """`parts` of the period `[start, end)` with the usage that they would have at its end.

    Linear: what was used per second up to `now`, by event type, goes on in each part for the seconds that are still to
    come. A period that is over, or has not begun, is as it is.
    """
    if not start < now < end:
        return tuple(parts)
    used: defaultdict[str, Fraction] = defaultdict(Fraction)
    for part in parts:
        for event_type, units in part.usage.items():
            used[event_type] += Fraction(units)
    elapsed = (now - start) // _TICK
    return tuple(replace(part, usage=_extended(part, used, now, elapsed)) for part in parts)


def _extended(part: Part, used: Mapping[str, Fraction], now: datetime, elapsed: int) -> dict[str, Decimal]:
    ahead = max(0, (part.end - max(part.start, now)) // _TICK)
    more = {event_type: units * ahead / elapsed for event_type, units in used.items()} if ahead else {}
    types = {**part.usage, **more}
    return {each: _units(Fraction(part.usage.get(each, Decimal(0))) + more.get(each, Fraction(0))) for each in types}
