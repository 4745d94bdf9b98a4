"""What was used in a month, what it is allowed to be, and what it costs so far: the same at every door."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from db import contracts, overage, usage_reading
from db.usage import Owner
from db.usage_reading import DaySum, Sums
from jobs.rules.billing_periods import Period
from jobs.rules.months import month_of, month_typed
from jobs.rules.plan_spans import SeveralCurrencies, Span, included
from jobs.rules.pricing import Rated
from jobs.rules.quotas import percent
from jobs.usage import cost, months_of_users
from jobs.usage.cost import Cost, version_on
from jobs.usage.plans import spans_of, zone_of
from worker.errors import Refused

Row = Mapping[str, Any]
SECOND = timedelta(seconds=1)
LARGEST_ID = 2**63 - 1
MOST_TYPES = 1_000
"""Event types that a report tells one by one: as many as may be reported in a month."""

TO_DATE = "what the period comes to if nothing more is used; before discounts, credits and taxes"
LINEAR = "linear: what was used per second so far goes on to the period's end"


class UnknownOwner(LookupError):  # noqa: N818 - named as the fact that it states
    """Nobody of this name has a contract, or ever used anything."""


class BadPeriod(ValueError):  # noqa: N818 - named as the fact that it states
    """The period that was asked for is none."""


def encode(told: Mapping[str, Any]) -> bytes:
    """JSON; units are numbers with all of their digits."""
    return _ENCODER.encode(told)


_ENCODER = msgspec.json.Encoder(decimal_format="number")


def number(units: Decimal | None) -> int | Decimal | None:
    """Units as a number without zeros that say nothing."""
    if units is None:
        return None
    return int(units) if units == units.to_integral_value() else units.normalize()


def _typed(period: str | None, timezone: str, now: datetime) -> Period:
    try:
        return month_of(now, timezone) if period is None else month_typed(period, timezone)
    except ValueError as error:
        raise BadPeriod(str(error)) from None


def _zoned(period: str | None, rows: Sequence[Row], now: datetime) -> Period:
    """The month in the time zone that the contract has in it."""
    if not rows:
        return _typed(period, "UTC", now)
    asked = _typed(period, "UTC", now)
    first = datetime.combine(asked.first, time(), ZoneInfo("UTC")) if period is not None else now
    try:
        return _typed(period, version_on(rows, first)["timezone"], now)
    except (KeyError, OSError) as error:
        raise Refused(f"timezone: the contract's is none of the IANA database: {error}") from error


def _period(period: Period, now: datetime) -> dict[str, Any]:
    return {
        "name": period.name,
        "start": period.start,
        "end": period.end,
        "timezone": period.timezone,
        "complete": now >= period.end,
    }


def _units(days: Iterable[DaySum], *, billable: bool | None = None) -> Decimal:
    return sum((one.units for one in days if billable is None or one.billable is billable), Decimal(0))


def _usage(found: Sums) -> dict[str, Any]:
    days, others = found.days, found.others
    dates: dict[date, list[DaySum]] = {}
    for one in days:
        dates.setdefault(one.day, []).append(one)
    return {
        "events": sum(one.events for one in days),
        "units": number(_units(days)),
        "billable_units": number(_units(days, billable=True)),
        "by_type": [
            {"event_type": one.event_type, "billable": one.billable, "events": one.events, "units": number(one.units)}
            for one in sorted(found.types, key=lambda one: (one.event_type, one.billable))
        ],
        "other_types": None
        if others is None
        else {"event_types": others.event_types, "events": others.events, "units": number(others.units)},
        "by_day": [
            {
                "day": day.isoformat(),
                "events": sum(one.events for one in of_day),
                "units": number(_units(of_day)),
                "billable_units": number(_units(of_day, billable=True)),
            }
            for day, of_day in sorted(dates.items())
        ],
    }


def _limits(limit: int | None, used: Decimal, per_minute: int | None = None) -> dict[str, Any]:
    return {
        "monthly_request_limit": limit,
        "used": number(used),
        "remaining": number(max(Decimal(0), limit - used)) if limit else None,
        "percent": percent(used, limit) if limit else None,
        "rate_limit_per_minute": per_minute,
    }


def _cost(found: Cost | None, now: datetime) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "period": _period(found.period, now),
        "currency": found.currency,
        "amount_cents": found.rated.subtotal,
        "lines": [cost.line_json(line) for line in found.rated.lines],
        "meaning": TO_DATE,
    }


async def _used(conn: AsyncConnection, owner: Owner, month: Period) -> Sums:
    return await usage_reading.sums(conn, owner, month.start, month.end, month.timezone, most=MOST_TYPES)


async def _partner(conn: AsyncConnection, prefix: str) -> list[Row]:
    rows: list[Row] = list(await contracts.versions(conn, prefix))
    if not rows and not await usage_reading.has_usage(conn, Owner(api_key_prefix=prefix)):
        raise UnknownOwner(f"no partner's keys begin with {prefix}")
    return rows


async def of_partner(conn: AsyncConnection, prefix: str, period: str | None, now: datetime) -> dict[str, Any]:
    """A partner's month (`2026-11`, of the contract's time zone; None: the present one), as JSON values.

    The cost is of the billing period that the month lies in; `note` says why there is none. Raises UnknownOwner,
    BadPeriod, and Refused when not even the contract's time zone can be read.
    """
    rows = await _partner(conn, prefix)
    month = _zoned(period, rows, now)
    used = await _used(conn, Owner(api_key_prefix=prefix), month)
    at = min(max(now, month.start), month.end)
    version = version_on(rows, at) if rows else None
    inside = now if month.start <= now < month.end else month.start
    note: str | None = None
    found: Cost | None = None
    try:
        found = await _partners_cost(conn, rows, inside, month, now)
    except (Refused, ValueError) as error:
        note = f"the contract cannot be reckoned by: {error}"
    return {
        "api_key_prefix": prefix,
        "company": version["company"] if version is not None else None,
        "as_of": now,
        "period": _period(month, now),
        "usage": _usage(used),
        "limits": _limits(
            version["monthly_request_limit"] if version is not None else None,
            _units(used.days, billable=True),
            version["rate_limit_per_minute"] if version is not None else None,
        ),
        "cost": _cost(found, now),
        "note": note,
    }


async def _partners_cost(
    conn: AsyncConnection, rows: Sequence[Row], at: datetime, month: Period, now: datetime
) -> Cost | None:
    """Of a contract that begins within the month, the period is found by the month's last second."""
    if not rows:
        return None
    return await cost.of_contract(conn, rows, at, now) or await cost.of_contract(conn, rows, month.end - SECOND, now)


async def _users_month(
    conn: AsyncConnection, user_id: int, period: str | None, now: datetime, default_zone: str
) -> tuple[Row, Period, tuple[Span, ...]]:
    user = await overage.user(conn, user_id) if 0 < user_id <= LARGEST_ID else None
    if user is None:
        raise UnknownOwner(f"there is no customer {user_id}")
    zone = zone_of(user["timezone"], default_zone)
    try:
        month = await (
            months_of_users.running(conn, user_id, now, zone)
            if period is None
            else months_of_users.typed(conn, user_id, period, zone)
        )
    except ValueError as error:
        raise BadPeriod(str(error)) from None
    try:
        return user, month, await spans_of(conn, user_id, month.start, month.end, month.timezone)
    except SeveralCurrencies as error:
        raise Refused(str(error)) from error


async def of_user(
    conn: AsyncConnection, user_id: int, period: str | None, now: datetime, default_zone: str
) -> dict[str, Any]:
    """A customer's month, of the customer's time zone, as JSON values. Raises as `of_partner` does."""
    _, month, held = await _users_month(conn, user_id, period, now, default_zone)
    used = await _used(conn, Owner(user_id=user_id), month)
    found = await _spans_cost(conn, user_id, month, held, now)
    limit = included(held, month.start, month.end) if held else None
    return {
        "user_id": user_id,
        "as_of": now,
        "period": _period(month, now),
        "usage": _usage(used),
        "limits": _limits(limit, found.used if found is not None else _units(used.days, billable=True)),
        "cost": _cost(found, now),
    }


async def _spans_cost(
    conn: AsyncConnection, user_id: int, month: Period, held: Sequence[Span], now: datetime
) -> Cost | None:
    try:
        return await cost.of_spans(conn, user_id, month, held, now)
    except ValueError as error:
        raise Refused(str(error)) from error


def _taken(rated: Rated) -> Decimal:
    """The units that the fee or the plan pays for."""
    return sum((line.quantity or Decimal(0) for line in rated.lines if line.kind == "included"), Decimal(0))


def _beyond(found: Cost, *, flat: bool) -> dict[str, Any]:
    over, ahead = found.used - _taken(found.rated), found.used_ahead - _taken(found.ahead)
    return {
        "used_units": number(found.used),
        "over_units": 0 if flat else number(over),
        "currency": found.currency,
        "cost_cents": found.rated.subtotal,
        "lines": [cost.line_json(line) for line in found.rated.lines],
        "projection": {
            "method": LINEAR,
            "used_units": number(found.used_ahead),
            "over_units": 0 if flat else number(ahead),
            "cost_cents": found.ahead.subtotal,
            "currency": found.currency,
        },
        "meaning": TO_DATE,
    }


_NOTHING: Mapping[str, Any] = {
    "used_units": None, "over_units": None, "currency": None, "cost_cents": None, "lines": [], "projection": None,
    "meaning": "nothing is agreed about usage, and so nothing is charged for it",
}  # fmt: skip


async def quote_of_user(conn: AsyncConnection, user_id: int, now: datetime, default_zone: str) -> dict[str, Any]:
    """What a subscriber's usage beyond the plan costs by now, and at the month's end. Raises as `of_user` does."""
    _, month, held = await _users_month(conn, user_id, None, now, default_zone)
    found = await _spans_cost(conn, user_id, month, held, now)
    plan = next((span.plan for span in held if span.start <= now < span.end), held[-1].plan if held else None)
    return {
        "user_id": user_id,
        "as_of": now,
        "period": _period(month, now),
        "included_units": included(held, month.start, month.end) if held else None,
        "price": None
        if plan is None
        else _price(plan.package_price_cents, plan.currency, plan.package_size, plan.package_rounding),
        **(_NOTHING if found is None else _beyond(found, flat=False)),
    }


def _price(cents: int, currency: str, per: int, rounding: str) -> dict[str, Any]:
    return {"amount_cents": cents, "currency": currency, "per_units": per, "rounding": rounding}


async def quote_of_partner(conn: AsyncConnection, prefix: str, now: datetime) -> dict[str, Any]:
    """What a partner's billing period costs by now, and at its end. Raises as `of_partner` does.

    `price` is what further requests cost, where that is one price for all.
    """
    rows = await _partner(conn, prefix)
    month = _zoned(None, rows, now)
    try:
        found = await cost.of_contract(conn, rows, now, now) if rows else None
    except ValueError as error:
        raise Refused(str(error)) from error
    version = version_on(rows, now) if rows else None
    priced = version is not None and version["pricing_model"] in {"per_request", "hybrid"} and not version["tiers"]
    return {
        "api_key_prefix": prefix,
        "as_of": now,
        "period": _period(found.period if found is not None else month, now),
        "included_units": version["included_units"] if version is not None else None,
        "monthly_request_limit": version["monthly_request_limit"] if version is not None else None,
        "price": _price(
            version["per_1000_requests_cents"],
            version["currency"],
            version["package_size"],
            version["package_rounding"],
        )
        if version is not None and priced
        else None,
        **(
            _NOTHING
            if found is None
            else _beyond(found, flat=version is not None and version["pricing_model"] == "flat")
        ),
    }
