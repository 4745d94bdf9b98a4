"""How much a partner or a subscriber may use in a month, and what beyond it costs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from db import contracts, overage, quotas
from db.usage import Owner, billable_units
from jobs.mail.contexts import UnitPrice
from jobs.mail.letters import Recipient
from jobs.rules.billing_periods import Period, local_day
from jobs.rules.months import month_of
from jobs.rules.plan_spans import SeveralCurrencies, Span, included, spans
from jobs.usage.plans import plans, spans_of, states, zone_of

log = structlog.get_logger()
Row = Mapping[str, Any]

MONTH_AND_MORE = timedelta(days=33)
"""Longer than any month in any time zone."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """`limit` units of a calendar month. `price` is what more costs; None: there is no single price for it."""

    owner: Owner
    month: Period
    limit: int
    price: UnitPrice | None
    to: Recipient
    spans: tuple[Span, ...] = ()
    """A subscriber's plans; usage outside of them is not counted. Empty: all usage of the month is."""

    @property
    def name(self) -> str:
        """The owner as letters' keys name it; no prefix of a partner's key holds a colon."""
        return self.owner.api_key_prefix or f"user:{self.owner.user_id}"

    def key(self, step: int) -> str:
        """The key of the letter about `step` percent."""
        return f"quota/{self.name}/{self.month.name}/{step}"


def in_force(versions: Sequence[Row], now: datetime) -> Row | None:
    """The version of a contract that holds at `now`, by its own days; None when the contract does not hold then."""
    held: Row | None = None
    for version in versions:
        if version["valid_from"] <= local_day(now, version["timezone"]):
            held = version
    if held is None:
        return None
    today: date = local_day(now, held["timezone"])
    over = held["contract_end_date"] is not None and held["contract_end_date"] < today
    return None if over or held["status"] != "active" else held


def unit_price(version: Row) -> UnitPrice | None:
    """What further calls cost by a contract, where that is one price for all."""
    if version["pricing_model"] not in {"per_request", "hybrid"} or version["tiers"]:
        return None
    price, per = version["per_1000_requests_cents"], version["package_size"]
    return UnitPrice(amount=Decimal(price), currency=version["currency"], per=per) if price else None


def _of_version(version: Row, now: datetime) -> Allowance | None:
    limit = version["monthly_request_limit"]
    if not limit:
        return None
    return Allowance(
        owner=Owner(api_key_prefix=version["api_key_prefix"]),
        month=month_of(now, version["timezone"]),
        limit=limit,
        price=unit_price(version),
        to=Recipient(
            version["billing_email"] or "",
            version["contact_name"] or version["company"],
            version["locale"],
            version["timezone"],
        ),
    )


def _of_spans(user: Row, month: Period, found: tuple[Span, ...]) -> Allowance | None:
    limit = included(found, month.start, month.end)
    if not limit:
        return None
    last = found[-1].plan
    price = UnitPrice(amount=Decimal(last.package_price_cents), currency=last.currency, per=last.package_size)
    return Allowance(
        owner=Owner(user_id=user["id"]),
        month=month,
        limit=limit,
        price=price,
        to=Recipient(user["email"] or "", user["name"], user["locale"], user["timezone"], user["id"]),
        spans=found,
    )


async def of_partners(conn: AsyncConnection, now: datetime) -> list[Allowance]:
    """The allowances of all partners that have one now. A contract that cannot be read is logged: others go on."""
    versions: dict[str, list[Row]] = {}
    for row in await quotas.limited(conn):
        versions.setdefault(row["api_key_prefix"], []).append(row)
    found: list[Allowance] = []
    for prefix, rows in versions.items():
        try:
            held = in_force(rows, now)
            allowance = _of_version(held, now) if held is not None else None
        except (KeyError, OSError, ValueError) as error:
            log.warning("a contract's time zone cannot be read", partner=prefix, why=str(error))
            continue
        if allowance is not None:
            found.append(allowance)
    return found


async def of_users(conn: AsyncConnection, now: datetime, default_zone: str) -> list[Allowance]:
    """The allowances of all subscribers at plans who used anything lately."""
    known = await plans(conn)
    if not known:
        return []
    prices = {plan.stripe_price_id for plan in known}
    users = await quotas.users_at_work(conn, prices, since=now - MONTH_AND_MORE, now=now)
    months = {user["id"]: month_of(now, zone_of(user["timezone"], default_zone)) for user in users}
    latest = max((month.end for month in months.values()), default=now)
    courses = await states(conn, list(months), latest)
    found: list[Allowance] = []
    for user in users:
        month = months[user["id"]]
        try:
            held = spans(courses.get(user["id"], ()), known, month.start, month.end, month.timezone)
        except SeveralCurrencies as error:
            log.warning("a customer's plans cannot be reckoned together", user_id=user["id"], why=str(error))
            continue
        allowance = _of_spans(user, month, held)
        if allowance is not None:
            found.append(allowance)
    return found


async def of_partner(conn: AsyncConnection, prefix: str, now: datetime) -> Allowance | None:
    """A partner's allowance now."""
    held = in_force(await contracts.versions(conn, prefix), now)
    return _of_version(held, now) if held is not None else None


async def of_user(conn: AsyncConnection, user_id: int, now: datetime, default_zone: str) -> Allowance | None:
    """A subscriber's allowance now. Raises SeveralCurrencies."""
    user = await overage.user(conn, user_id)
    if user is None or user["deleted_at"] is not None:
        return None
    month = month_of(now, zone_of(user["timezone"], default_zone))
    return _of_spans(user, month, await spans_of(conn, user_id, month.start, month.end, month.timezone))


async def used(conn: AsyncConnection, allowance: Allowance) -> Decimal:
    """The billable units that count against it, to the event."""
    parts = [(span.start, span.end) for span in allowance.spans] or [(allowance.month.start, allowance.month.end)]
    total = Decimal(0)
    for start, end in parts:
        total += sum((await billable_units(conn, allowance.owner, start, end)).values(), Decimal(0))
    return total


async def at_most(conn: AsyncConnection, allowances: Sequence[Allowance]) -> dict[str, Decimal]:
    """By `name`, what was used or a little more, in one statement for all partners and one for all customers."""
    bounds = {one.name: (one.month.start, one.month.end) for one in allowances}
    partners = {one.owner.api_key_prefix: bounds[one.name] for one in allowances if one.owner.api_key_prefix}
    users = {one.owner.user_id: bounds[one.name] for one in allowances if one.owner.user_id is not None}
    of_users = await quotas.at_most_of_users(conn, users)
    return {
        **await quotas.at_most_of_partners(conn, partners),
        **{f"user:{user_id}": units for user_id, units in of_users.items()},
    }
