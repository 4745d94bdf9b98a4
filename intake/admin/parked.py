"""All invoices for usage that wait for somebody, partners' and subscribers', on one page: let go or dropped there."""

from datetime import datetime
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Response
from fastapi.responses import HTMLResponse

from db import overage, usage_invoices
from intake.admin import dashboard
from intake.admin.dashboard import PAGE, OwnForm, SignedIn
from intake.admin.desk import AtDesk, Desk
from intake.admin.dunning import times
from intake.admin.models import JobId
from intake.admin.partners_invoices import WithSettings, acted, asked_for, shown
from intake.dunning import money
from intake.partner_invoices import waiting
from intake.partners import days_of
from jobs.partners.seen import mark_of
from jobs.rules.billing_periods import local_day
from jobs.usage import overage_release as releasing
from jobs.usage.overage import Settled
from worker.deps import Tx

pages = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)


def _card(row: dict[str, Any], who: str, month: str) -> dict[str, Any]:
    first, last = days_of(row)
    days = {"period_from": first.isoformat(), "period_to": last.isoformat()}
    return {**row, **days, "seen": mark_of(row), "title": f"{who}, {month}", "month": month}


def _subscriber(row: dict[str, Any]) -> dict[str, Any]:
    user, month = row["user_id"], row["period"] or f"{local_day(row['period_start'], row['timezone']):%Y-%m}"
    look = f"billing usage overage preview {user} --period {month}"
    who = row["customer"] or row["email"] or "Customer"
    return {**_card(row, f"{who} ({user})", month), "base": f"/parked/{user}", "link": "", "look": look}


def _partner(row: dict[str, Any]) -> dict[str, Any]:
    prefix = row["api_key_prefix"]
    row = row | {name: datetime.fromisoformat(row[name]) for name in ("period_start", "period_end")}
    link = f"/partners/{quote(prefix, safe='')}"
    look = f"billing partners preview {prefix} --period {row['name']}"
    return {**_card(row, prefix, row["name"]), "base": link, "link": link, "look": look}


@pages.get("/parked")
async def parked_page(at: AtDesk, who: SignedIn, said: str = "") -> Response:
    """What waits, partners' first: why, over how much; and what a partner's job does not look at any more."""
    async with at.engine.connect() as conn:
        await conn.execution_options(isolation_level="REPEATABLE READ")
        theirs = await waiting(Tx(conn, times(at).now(), at.clock.now()))
        rows = [dict(row) for row in await overage.listed(conn, status="parked", limit=PAGE)]
        subscribers = (await usage_invoices.parked(conn)).get("overage", 0)
    partners = [row for row in theirs if row["status"] == "parked"]
    cards = [*map(_partner, partners[:PAGE]), *map(_subscriber, rows)]
    others = [row for row in theirs if row["status"] != "parked"][:PAGE]
    more = len(partners) + subscribers - len(cards)
    return dashboard.page("parked.html", session=who, rows=cards, others=others, more=more, said=said)


@pages.post("/parked/{user_id}/release")
async def release_subscriber(
    at: AtDesk, settings: WithSettings, who: SignedIn, user_id: JobId, fields: OwnForm
) -> Response:
    """Issue a subscriber's parked invoice after all; what cannot be one yet stays parked, and the page says why."""
    asked, by, seen = asked_for(fields), dashboard.actor(who, fields), shown(fields)

    async def work(tx: Tx) -> Settled:
        return await releasing.invoice(tx, user_id, asked.period, settings, by, release=True, shown=seen)

    done = await acted(at, work, dry_run=False)
    return dashboard.see("/parked", f"{asked.period} of customer {user_id} {_became(done)}")


@pages.post("/parked/{user_id}/void")
async def void_subscriber(
    at: AtDesk, settings: WithSettings, who: SignedIn, user_id: JobId, fields: OwnForm
) -> Response:
    """Drop a subscriber's month that is parked."""
    asked, by, seen = asked_for(fields), dashboard.actor(who, fields), shown(fields)

    async def work(tx: Tx) -> str:
        return await releasing.void(tx, user_id, asked.period, settings, by, only="parked", shown=seen)

    await acted(at, work, dry_run=False)
    anew = f"billing usage overage invoice {user_id} --period {asked.period}"
    return dashboard.see("/parked", f"{asked.period} of customer {user_id} is void: `{anew}` does it anew")


def _became(done: Settled) -> str:
    prepared = done.prepared
    if done.status == "parked":
        return f"is still parked: {'; '.join(one.why for one in prepared.concerns if one.stops)}"
    if done.issued is None or prepared.says is None:
        return "is looked at: nothing is to be charged"
    return f"is issued as {done.issued.number}, over {money(prepared.total, prepared.says.currency)}"


async def waiting_now(at: Desk) -> tuple[int, int]:
    """How many invoices for usage are parked, and how many of them are subscribers'."""
    async with at.engine.connect() as conn:
        found = await usage_invoices.parked(conn)
    return sum(found.values()), found.get("overage", 0)
