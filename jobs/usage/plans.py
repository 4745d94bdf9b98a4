"""What subscribers' plans allowed them when, as the books tell it."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncConnection

from db import overage as rows
from db.overage import Row
from jobs.rules import pricing
from jobs.rules.plan_spans import Plan, Span, State, spans


def zone_of(timezone: str | None, default: str) -> str:
    """A customer's own time zone, if it is one; else the business's (BILLING_DEFAULT_TIMEZONE)."""
    if timezone:
        try:
            return ZoneInfo(timezone).key
        except (KeyError, OSError, ValueError):
            pass
    return default


def plan_of(row: Row) -> Plan:
    """A plan as the rules take it."""
    names = set(Plan.__dataclass_fields__) - {"ids"}
    return Plan(ids=(row["id"],), **{name: row[name] for name in names})


async def plans(conn: AsyncConnection) -> list[Plan]:
    """All plans with an allowance."""
    return [plan_of(row) for row in await rows.plans(conn)]


async def states(conn: AsyncConnection, users: Sequence[int], until: datetime) -> Mapping[int, Sequence[State]]:
    """What the subscriptions of each of these customers became before `until`, in order, in whole seconds."""
    found: defaultdict[int, list[State]] = defaultdict(list)
    for row in await rows.states(conn, users, until):
        at: datetime = row["at"]
        found[row["user_id"]].append(State(row["subscription"], at.replace(microsecond=0), row["status"], row["price"]))
    return found


async def spans_of(
    conn: AsyncConnection, user_id: int, start: datetime, end: datetime, timezone: str
) -> tuple[Span, ...]:
    """The plans that a customer had within `[start, end)`; what holds now is taken to hold until its end.

    Raises SeveralCurrencies.
    """
    mine = (await states(conn, [user_id], end)).get(user_id, ())
    return spans(mine, await plans(conn), start, end, timezone)


def terms(plan: Plan) -> pricing.Terms:
    """A plan as a price list: units beyond what it includes cost by the package, and nothing else costs anything."""
    return pricing.Terms(
        model="per_request",
        currency=plan.currency,
        per_1000_requests=Decimal(plan.package_price_cents),
        package_size=plan.package_size,
        package_rounding=plan.package_rounding,
        included_units=plan.included_units,
        deed_events=(),
    )
