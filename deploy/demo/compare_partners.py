"""The API partners' invoices, reckoned a second time from what they reported: each is there, and to the cent."""

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from deploy.demo.api_partners import API_PARTNERS, DEED, ApiPartner, days, used
from deploy.demo.compare_rows import Difference

DUE = 2
"""On this day of the next month (UTC) a month is invoiced; the comparison lets the workers have this day, too."""

_UNITS = text(
    "SELECT api_key_prefix, event_type, sum(cost_units) FROM usage_rollups"
    " WHERE api_key_prefix IS NOT NULL AND granularity = 'day' GROUP BY 1, 2"
)
_ISSUED = text(
    """
    SELECT u.api_key_prefix, to_char(u.period_start AT TIME ZONE u.timezone, 'YYYY-MM') AS month,
           u.status, i.total_cents, i.currency, u.reasons
    FROM usage_invoices u LEFT JOIN invoices i ON i.id = u.invoice_id WHERE u.kind = 'partner'
    """
)


async def differences(engine: AsyncEngine, *, seed: int, start: int, at: int) -> list[Difference]:
    """Where usage and invoices are not what was reported from `start` until `at` (seconds since 1970)."""
    async with engine.connect() as conn:
        units = {(row[0], row[1]): Decimal(row[2]) for row in await conn.execute(_UNITS)}
        issued = {(row[0], row[1]): row for row in (await conn.execute(_ISSUED))}
    found: list[Difference] = []
    for partner in API_PARTNERS:
        reported = _reported(partner, seed, start, at)
        for event_type, there in sorted(_by_type(reported).items()):
            here = units.get((partner.prefix, event_type), Decimal(0))
            if here != there:
                found.append(Difference("usage", partner.prefix, event_type, there, here))
        for month, total in _totals(partner, reported, start, at):
            row = issued.pop((partner.prefix, month), None)
            here = None if row is None else (row[2], row[3], row[4])
            if here != ("issued", total, partner.terms["currency"]):
                found.append(Difference("partner invoice", f"{partner.prefix}/{month}", "total", total, here))
    return found


def _reported(partner: ApiPartner, seed: int, start: int, at: int) -> list[Mapping[str, Any]]:
    return [row for day in days(start, at) for row in used(partner, seed, day)]


def _by_type(rows: list[Mapping[str, Any]]) -> Counter[str]:
    units: Counter[str] = Counter()
    for row in rows:
        units[row["event_type"]] += row.get("cost_units", 1)
    return units


def _totals(partner: ApiPartner, rows: list[Mapping[str, Any]], start: int, at: int) -> Iterator[tuple[str, int]]:
    """What each month that is over comes to; a month is one of the partner's own time zone."""
    zone = ZoneInfo(partner.terms["timezone"])
    units: dict[tuple[int, int], Counter[str]] = {}
    for row in rows:
        local = datetime.fromisoformat(row["occurred_at"]).astimezone(zone)
        units.setdefault((local.year, local.month), Counter())[row["event_type"]] += row.get("cost_units", 1)
    first = datetime.fromtimestamp(start, UTC).date()
    now = datetime.fromtimestamp(at, UTC)
    year, month = first.year, first.month
    while True:
        after = date(year + month // 12, month % 12 + 1, 1)
        if datetime(after.year, after.month, DUE, tzinfo=UTC) + timedelta(days=1) > now:
            return
        yield f"{year}-{month:02}", _total(partner.terms, units.get((year, month), Counter()))
        year, month = after.year, after.month


def _total(terms: Mapping[str, Any], units: Counter[str]) -> int:
    """Written down a second time, as somebody would with the contract in hand and a pocket calculator."""
    deeds, requests = units[DEED], units.total() - units[DEED]
    beyond = max(0, requests - terms.get("included_units", 0))
    amount = terms.get("monthly_flat_fee_cents", 0) + deeds * terms.get("per_deed_price_cents", 0)
    amount += _whole(Decimal(beyond) * terms.get("per_1000_requests_cents", 0) / 1000)
    before = 0
    for tier in terms.get("tiers", ()):
        until = requests if tier["up_to"] is None else min(requests, tier["up_to"])
        amount += _whole(max(0, until - before) * Decimal(tier["unit_price_cents"]))
        before = max(before, until)
    amount = max(amount, terms.get("minimum_commitment_cents", 0))
    amount -= _whole(amount * Decimal(terms.get("discount_percent", 0)) / 100)
    return amount + _whole(amount * Decimal(terms.get("tax_percent", 0)) / 100)


def _whole(amount: Decimal) -> int:
    """Rounded as invoices are: a half goes up."""
    return int(amount.quantize(Decimal(1), ROUND_HALF_UP))
