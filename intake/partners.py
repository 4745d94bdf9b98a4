"""Partners' contracts as the terminal, the API and the dashboard show them: prices in words, and what is wrong."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, cast

from sqlalchemy.ext.asyncio import AsyncConnection

from db import contracts, usage
from db.contracts import Settled
from db.operators import contracts as looks
from db.operators.actions import UnknownIdsError, audit_of
from intake.overview import jsonable, without_secrets
from jobs.invoices.sellers import Sellers, sellers_from
from jobs.partners import contract_words as words
from jobs.partners.contract_versions import disagreements, holding, newest, next_period
from jobs.partners.contracts import Contract, read, unused, written
from jobs.partners.seen import mark_of
from jobs.rules.billing_periods import local_day
from jobs.rules.months import month_of
from worker.errors import Refused
from worker.settings import Settings

PLAIN_ZONE = "UTC"
"""By which usage is told where a contract's own zone cannot be read."""


def known_sellers(settings: Settings) -> Sellers | None:
    """The sellers that contracts may name; None without a file of sellers. Raises ConfigurationError."""
    return sellers_from(settings) if settings.billing_sellers_file is not None else None


def units(value: Decimal | int) -> str:
    """A count as a decimal, without zeros that say nothing: `1200`, `0.5`."""
    plain = f"{Decimal(value):f}"
    return plain.rstrip("0").rstrip(".") if "." in plain else plain


class Seen:
    """One contract, looked at on a day: the versions that can be read, and what is wrong with the others."""

    def __init__(self, rows: Sequence[Mapping[str, Any]], now: datetime, sellers: Sellers | None) -> None:
        """`rows` are all versions, in the order of their days, at least one; `now` is aware."""
        self.rows = rows
        self.by_id: dict[int, Contract] = {}
        self.wrong_by_id: dict[int, list[str]] = {}
        for row in rows:
            try:
                self.by_id[row["id"]] = read(row, sellers)
            except Refused as refused:
                self.wrong_by_id[row["id"]] = refused.reason.splitlines()
        known = list(self.by_id.values())
        self.whole = newest(known) if known else None
        self.zone = self.whole.timezone if self.whole else PLAIN_ZONE
        self.today = local_day(now, self.zone)
        self.held = holding(known, self.today) if known else None
        self.known = known

    def wrong(self) -> list[str]:
        """All that does not make sense, each with its version where there are several."""
        several = len(self.rows) > 1
        found = [
            f"version {row['version']}: {line}" if several else line
            for row in self.rows
            for line in self.wrong_by_id.get(row["id"], [])
        ]
        return found or disagreements(self.known)

    def unused(self) -> list[str]:
        """Prices that are never charged, each with its version where there are several."""
        several = len(self.rows) > 1
        return [f"version {one.version}: {line}" if several else line for one in self.known for line in unused(one)]

    def next_invoice(self, settled: Settled | None) -> tuple[str | None, date | None]:
        """The period that is invoiced next, and the day on which it can be; None: none is, as it stands."""
        if self.whole is None or self.wrong_by_id or self.whole.status in {"draft", "paused"}:
            return None, None
        if self.whole.status == "ended" and self.whole.contract_end_date is None:
            return None, None
        period = next_period(self.known, settled.period_end if settled else None)
        return (period.name, period.after) if period else (None, None)


def _row(seen: Seen, settled: Settled | None) -> dict[str, Any]:
    last, held, whole = seen.rows[-1], seen.held, seen.whole
    period, on = seen.next_invoice(settled)
    return {
        "api_key_prefix": last["api_key_prefix"],
        "company": (held.company if held else None) or last["company"],
        "pricing_model": held.pricing_model if held else last["pricing_model"],
        "currency": held.currency if held else last["currency"],
        "price": words.price(held) if held else "",
        "billing": words.billing(held) if held else "",
        "status": whole.status if whole else last["status"],
        "standing": words.standing(whole, seen.today) if whole else last["status"],
        "version": next((row["version"] for row in seen.rows if held and row["id"] == held.id), None),
        "versions": len(seen.rows),
        "timezone": seen.zone,
        "contract_start_date": last["contract_start_date"],
        "contract_end_date": last["contract_end_date"],
        "next_period": period,
        "next_invoice_on": on,
        "invoiced_until": settled.period_end if settled else None,
        "wrong": seen.wrong(),
        "unused": seen.unused(),
    }


async def listing(
    conn: AsyncConnection, now: datetime, *, sellers: Sellers | None = None, after: str = "", limit: int | None = None
) -> list[dict[str, Any]]:
    """Contracts by their prefix, as JSON: price in words, how each stands, what was used, what is wrong."""
    names = await contracts.prefixes(conn, after=after, limit=limit)
    rows = await contracts.versions_of(conn, names)
    seen = {name: Seen(rows[name], now, sellers) for name in names}
    settled = await contracts.settled(conn, names)
    used = await looks.used_since(conn, {name: month_of(now, one.zone).start for name, one in seen.items()})
    parked = await looks.parked(conn, names)
    return [
        _json(
            _row(one, settled.get(name))
            | {"used_units": units(used.get(name, 0)), "parked_periods": parked.get(name, 0)}
        )
        for name, one in seen.items()
    ]


async def story(conn: AsyncConnection, prefix: str, now: datetime, *, sellers: Sellers | None = None) -> dict[str, Any]:
    """One contract with its versions, usage of this month, periods and keys, as JSON. Raises UnknownIdsError."""
    rows = await contracts.versions(conn, prefix)
    if not rows:
        raise UnknownIdsError("partner", [prefix])
    seen = Seen(rows, now, sellers)
    settled = (await contracts.settled(conn, [prefix])).get(prefix)
    month = month_of(now, seen.zone)
    sums = await usage.totals(conn, usage.Owner(api_key_prefix=prefix), month.start, month.end)
    periods = [
        one
        | {"period": _period(one), "period_from": days_of(one)[0], "period_to": days_of(one)[1], "seen": mark_of(one)}
        for one in await looks.usage_invoices(conn, prefix)
    ]
    used = [
        {"event_type": one.event_type, "billable": one.billable, "events": one.events, "units": units(one.cost_units)}
        for one in sums
    ]
    told = _row(seen, settled) | {
        "used_month": month.name,
        "used": used,
        "used_units": units(sum((one.cost_units for one in sums if one.billable), Decimal(0))),
        "parked_periods": sum(one["status"] == "parked" for one in periods),
        "terms": [_version(seen, row) for row in reversed(rows)],
        "periods": periods,
        "keys": await looks.keys(conn, prefix),
        "audit": await audit_of(conn, "partner", prefix),
    }
    return _json(told)


def _version(seen: Seen, row: Mapping[str, Any]) -> dict[str, Any]:
    contract = seen.by_id.get(row["id"])
    return {
        "version": row["version"],
        "valid_from": row["valid_from"],
        "current": contract is not None and contract is seen.held,
        "price": words.price(contract) if contract else "",
        "billing": words.billing(contract) if contract else "",
        "wrong": seen.wrong_by_id.get(row["id"], []),
        "unused": unused(contract) if contract else [],
        "fields": written(contract) if contract else {},
        "created_at": row["created_at"],
        "created_by": row["created_by"],
    }


def days_of(period: Mapping[str, Any]) -> tuple[date, date]:
    """The first and the last day of a period, by its own calendar."""
    moment = timedelta(microseconds=1)
    zone = period["timezone"]
    return local_day(period["period_start"], zone), local_day(period["period_end"] - moment, zone)


def _period(period: Mapping[str, Any]) -> str:
    first, last = days_of(period)
    return (
        f"{first:%Y-%m}" if (first.year, first.month) == (last.year, last.month) else f"{first:%Y-%m} to {last:%Y-%m}"
    )


def _plain(value: Any) -> Any:
    match value:
        case datetime():
            return value
        case date():
            return value.isoformat()
        case Decimal():
            return units(value)
        case Mapping():
            return {name: _plain(one) for name, one in cast("Mapping[str, Any]", value).items()}
        case list() | tuple():
            return [_plain(one) for one in cast("Sequence[Any]", value)]
        case _:
            return value


def _json(told: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON that may be shown."""
    shown: dict[str, Any] = jsonable(_plain(dict(told)))
    return shown | {"audit": without_secrets(shown["audit"])} if "audit" in shown else shown
