"""A customer's months follow one another to the second, also when the customer moves to another time zone."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from db import overage
from db.usage_invoices import Known
from jobs.rules.billing_periods import Period, local_day
from jobs.rules.months import month_of, month_typed

AROUND = timedelta(days=70)
"""A month's neighbours lie no further away."""

DAY = timedelta(days=1)


def _named(one: Known) -> str:
    """The month that a period is: its middle lies in it, whatever the zones before and after it were."""
    return f"{local_day(one.start + (one.end - one.start) / 2, one.timezone):%Y-%m}"


def fitted(month: Period, known: Sequence[Known]) -> Period:
    """A calendar month between the customer's months (not void) that were looked at: where one ends, the next begins.

    One that was looked at itself stays as it was then.
    """
    by_name = {_named(one): one for one in known}
    same = by_name.get(month.name)
    if same is not None:
        return replace(month, start=same.start, end=same.end, timezone=same.timezone)
    before, after = by_name.get(f"{month.first - DAY:%Y-%m}"), by_name.get(f"{month.after:%Y-%m}")
    return replace(
        month,
        start=before.end if before is not None else month.start,
        end=after.start if after is not None else month.end,
    )


async def typed(conn: AsyncConnection, user_id: int, text: str, timezone: str) -> Period:
    """A customer's month that was typed as `2026-11`. Raises ValueError saying how it is written."""
    return await _fitted(conn, user_id, month_typed(text, timezone))


async def running(conn: AsyncConnection, user_id: int, now: datetime, timezone: str) -> Period:
    """The customer's month that `now` lies in."""
    month = await _fitted(conn, user_id, month_of(now, timezone))
    if now >= month.end:
        return await _fitted(conn, user_id, month_typed(f"{month.after:%Y-%m}", timezone))
    if now < month.start:
        return await _fitted(conn, user_id, month_typed(f"{month.first - DAY:%Y-%m}", timezone))
    return month


async def _fitted(conn: AsyncConnection, user_id: int, month: Period) -> Period:
    known = await overage.looked_at(conn, [user_id], month.start - AROUND)
    return fitted(month, known.get(user_id, []))


def closed_months(
    first: datetime, last: datetime, timezone: str, known: Sequence[Known], over_by: datetime
) -> list[Period]:
    """The months, not looked at yet, that the days (UTC) `first` to `last` lie in and that were over at `over_by`."""
    looked_at = {_named(one) for one in known}
    found: list[Period] = []
    month = month_of(first, timezone)
    while (fit := fitted(month, known)).start < last + DAY and fit.end <= over_by:
        if month.name not in looked_at:
            found.append(fit)
        month = month_typed(f"{month.after:%Y-%m}", timezone)
    return found
