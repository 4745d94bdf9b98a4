"""What the usage of a period costs by the contract or the plans that hold in it."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from db.usage import Owner, billable_units
from jobs.partners.contracts import Contract, read, terms
from jobs.rules import pricing
from jobs.rules.billing_periods import Agreed, Period, local_day, periods, stretches
from jobs.rules.plan_spans import Span
from jobs.rules.pricing import Part, Rated, RatedLine
from jobs.rules.projection import projected
from jobs.usage import plans

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Cost:
    """A period, what it comes to by now and, if things go on as they have, at its end. Minor units of `currency`."""

    period: Period
    currency: str
    rated: Rated
    ahead: Rated
    used: Decimal
    used_ahead: Decimal


def line_json(line: RatedLine) -> dict[str, Any]:
    """A line for people and programs; `explanation` is its arithmetic."""
    key, numbers = pricing.described(line)
    currency = line.facts["currency"]
    shown = {
        name: pricing.amount(value, currency) if name in pricing.AMOUNTS else value for name, value in numbers.items()
    }
    return {
        "kind": line.kind,
        "description": pricing.TEXTS[key].format(**shown),
        "quantity": line.quantity,
        "unit": line.unit,
        "unit_price_cents": line.unit_price,
        "amount_cents": line.amount,
        "currency": currency,
        "start": line.start,
        "end": line.end,
        "explanation": pricing.explain(line),
    }


def _units(parts: Sequence[Part]) -> Decimal:
    return sum((units for part in parts for units in part.usage.values()), Decimal(0))


def cost_of(period: Period, parts: Sequence[Part], now: datetime) -> Cost | None:
    """What `parts` come to; None: nothing is agreed in the period. Raises ValueError for two currencies."""
    if not parts:
        return None
    ahead = projected(parts, period.start, period.end, now)
    bounds = (period.start, period.end, period.months)
    return Cost(
        period=period,
        currency=parts[0].terms.currency,
        rated=pricing.rate(*bounds, parts),
        ahead=pricing.rate(*bounds, ahead),
        used=_units(parts),
        used_ahead=_units(ahead),
    )


async def part_of(conn: AsyncConnection, owner: Owner, price: pricing.Terms, start: datetime, end: datetime) -> Part:
    """A stretch with what was used in it."""
    return Part(terms=price, start=start, end=end, usage=await billable_units(conn, owner, start, end))


async def of_spans(
    conn: AsyncConnection, user_id: int, month: Period, held: Sequence[Span], now: datetime
) -> Cost | None:
    """What a subscriber's usage of a month costs by the plans that hold in it."""
    owner = Owner(user_id=user_id)
    parts = [await part_of(conn, owner, plans.terms(span.plan), span.start, span.end) for span in held]
    return await asyncio.to_thread(cost_of, month, parts, now)


def billing_period(versions: Sequence[Contract], day_in_it: datetime) -> Period | None:
    """The period of a contract that an instant lies in; None: it lies outside of the contract."""
    first, last = versions[0], versions[-1]
    agreed = [Agreed(each.valid_from, each.billing_cycle, each.timezone) for each in versions]
    for period in periods(first.contract_start_date, last.contract_end_date, agreed):
        if period.start <= day_in_it < period.end:
            return period
        if period.start > day_in_it:
            break
    return None


async def of_contract(conn: AsyncConnection, rows: Sequence[Row], at: datetime, now: datetime) -> Cost | None:
    """What a partner's usage costs in the billing period that the instant `at` lies in; None: nothing is agreed then.

    Raises Refused when the contract cannot be read.
    """
    versions = [read(row) for row in rows]
    period = billing_period(versions, at)
    if period is None:
        return None
    owner, last = Owner(api_key_prefix=versions[0].api_key_prefix), versions[-1]
    found = stretches(
        period, versions[0].contract_start_date, last.contract_end_date, [each.valid_from for each in versions]
    )
    parts = [await part_of(conn, owner, terms(versions[each.index]), each.start, each.end) for each in found]
    return await asyncio.to_thread(cost_of, period, parts, now)


def version_on(versions: Sequence[Row], at: datetime) -> Row:
    """The version that holds at an instant, by its own days; before all of them the first."""
    held = versions[0]
    for version in versions:
        if version["valid_from"] <= local_day(at, version["timezone"]):
            held = version
    return held
