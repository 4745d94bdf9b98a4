"""Which plan a subscriber had at each moment of a month: what it includes, and what further units cost."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import groupby, pairwise
from math import ceil
from typing import Literal
from zoneinfo import ZoneInfo

_TICK = timedelta(microseconds=1)

LIVE = frozenset({"active", "trialing", "past_due"})
"""States in which a subscription's plan holds: https://docs.stripe.com/api/subscriptions/object#subscription_object-status."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a subscription's price includes in a month, and what `package_size` further units cost (minor units)."""

    ids: tuple[int, ...]
    stripe_price_id: str
    valid_from: date
    currency: str
    included_units: int
    package_size: int
    package_price_cents: int
    package_rounding: Literal["exact", "up", "down"]
    tax_name: str
    tax_percent: Decimal | None


@dataclass(frozen=True, slots=True)
class State:
    """What a subscription became at an instant (aware)."""

    subscription: str
    at: datetime
    status: str
    price: str | None


@dataclass(frozen=True, slots=True)
class Span:
    """From when until when (UTC) which plan held."""

    start: datetime
    end: datetime
    plan: Plan


class SeveralCurrencies(ValueError):  # noqa: N818 - named as the fact that it states
    """Two plans held at once, in two currencies: what is used cannot be charged in both."""


def _midnight(day: date, timezone: str) -> datetime:
    return datetime.combine(day, time(), ZoneInfo(timezone)).astimezone(UTC)


def _in_force(price: str | None, plans: Iterable[Plan], on: date) -> Plan | None:
    held = [plan for plan in plans if plan.stripe_price_id == price and plan.valid_from <= on]
    return max(held, key=lambda plan: plan.valid_from, default=None)


def together(plans: Sequence[Plan]) -> Plan:
    """Several subscriptions at once: what they include adds up, and more costs as in the plan that includes most.

    Raises SeveralCurrencies when they are not of one currency, and ValueError when there are none.
    """
    if len({plan.currency for plan in plans}) > 1:
        raise SeveralCurrencies("plans in two currencies held at once: " + ", ".join(p.stripe_price_id for p in plans))
    first = max(plans, key=lambda plan: (plan.included_units, plan.stripe_price_id))
    ids = tuple(sorted(one for plan in plans for one in plan.ids))
    return replace(first, ids=ids, included_units=sum(plan.included_units for plan in plans))


def spans(
    states: Iterable[State], plans: Sequence[Plan], start: datetime, end: datetime, timezone: str
) -> tuple[Span, ...]:
    """The plans that held within `[start, end)`, in order; moments without any are left out.

    `states` are in their order. A plan's `valid_from` is a day of `timezone`. Raises SeveralCurrencies.
    """
    courses: dict[str, list[State]] = {}
    for state in states:
        courses.setdefault(state.subscription, []).append(state)
    edges = {state.at for course in courses.values() for state in course}
    edges |= {_midnight(plan.valid_from, timezone) for plan in plans}
    cuts = sorted({start, end} | {edge for edge in edges if start < edge < end})
    found: list[Span] = []
    for begin, stop in pairwise(cuts):
        on = begin.astimezone(ZoneInfo(timezone)).date()
        held: list[Plan] = []
        for course in courses.values():
            last = next((state for state in reversed(course) if state.at <= begin), None)
            plan = _in_force(last.price, plans, on) if last is not None and last.status in LIVE else None
            if plan is not None:
                held.append(plan)
        if not held:
            continue
        plan = together(held)
        if found and found[-1].plan == plan and found[-1].end == begin:
            found[-1] = replace(found[-1], end=stop)
        else:
            found.append(Span(begin, stop, plan))
    return tuple(found)


def _priced_by(span: Span) -> tuple[object, ...]:
    plan = span.plan
    return (plan.currency, plan.included_units, plan.package_size, plan.package_price_cents, plan.package_rounding)


def included(held: Sequence[Span], start: datetime, end: datetime) -> int:
    """The units that the plans of `held` include in the month `[start, end)`, each by the seconds that it held.

    A begun unit is given whole; neighbours at the same price are one, as `jobs.rules.pricing` has it.
    """
    total = 0
    for _, found in groupby(held, _priced_by):
        run = list(found)
        seconds = sum((span.end - span.start) // _TICK for span in run)
        total += ceil(Fraction(run[0].plan.included_units * seconds, (end - start) // _TICK))
    return total
