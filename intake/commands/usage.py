"""`billing usage`: what partners and customers used, imported, shown and held against its sums; plans' allowances."""

from datetime import datetime
from typing import Annotated, Any

import typer
from rich.text import Text
from sqlalchemy.ext.asyncio import AsyncEngine

from db import usage_verify
from db.operators.filters import BadFilterError
from db.usage_verify import RollupDifference
from intake.commands import render, usage_overage, usage_plans
from intake.commands.connect import NO, USAGE, ask, fail
from intake.commands.options import AsJson
from intake.commands.usage_import import import_
from jobs.rules.months import month_typed
from jobs.rules.pricing import amount
from jobs.usage import reading
from jobs.usage.reading import BadPeriod, UnknownOwner
from worker.clock import SystemClock, business_clock
from worker.errors import Refused
from worker.settings import load_settings

app = typer.Typer(
    no_args_is_help=True,
    help="What was used: import, show, verify; plans and overage of subscribers.",
    epilog="Example: billing usage show --partner nw_live --period 2026-10",
)
app.command("import")(import_)
app.add_typer(usage_plans.app, name="plans")
app.add_typer(usage_overage.app, name="overage")

Partner = Annotated[str | None, typer.Option(help="A partner, by what its keys begin with.")]
User = Annotated[int | None, typer.Option(help="A customer, by our id.")]
Period = Annotated[str | None, typer.Option(help="A month, such as 2026-10; by default the present one.")]


def _now() -> datetime:
    """The business's time."""
    return (business_clock(load_settings().billing_clock_file) or SystemClock()).now()


@app.command()
def show(*, partner: Partner = None, user: User = None, period: Period = None, as_json: AsJson = False) -> None:
    """A month's usage by type and day, its limit, and what it costs so far.

    Example: billing usage show --partner nw_live --period 2026-10
    """
    if (partner is None) is (user is None):
        fail("name either --partner or --user", USAGE)
    zone = load_settings().billing_default_timezone

    async def work(engine: AsyncEngine, _: datetime) -> dict[str, Any]:
        async with engine.connect() as conn:
            if partner is not None:
                return await reading.of_partner(conn, partner, period, _now())
            return await reading.of_user(conn, user or 0, period, _now(), zone)

    try:
        told = ask(work)
    except UnknownOwner as error:
        fail(str(error), NO)
    except BadPeriod as error:
        fail(f"--period: {error}", USAGE)
    except Refused as error:
        fail(error.reason, NO)
    if as_json:
        typer.echo(reading.encode(told).decode())
    else:
        _page(told)


def _page(told: dict[str, Any]) -> None:
    page = render.console()
    period, limits, cost = told["period"], told["limits"], told["cost"]
    limit = limits["monthly_request_limit"]
    page.print(
        render.pairs(
            {
                "whose": told.get("company") or told.get("api_key_prefix") or f"customer {told.get('user_id')}",
                "period": f"{period['name']} ({period['timezone']}){'' if period['complete'] else ', still running'}",
                "units": f"{told['usage']['units']:,}, billable {told['usage']['billable_units']:,}",
                "limit": f"{limits['used']:,} of {limit:,}, {limits['percent']} %" if limit else None,
                "note": told.get("note"),
            }
        )
    )
    for title, key, name in (("By type", "by_type", "event_type"), ("By day", "by_day", "day")):
        if told["usage"][key]:
            made = render.table(
                name.replace("_", " "), "events", "units", "billable", right=("events", "units", "billable")
            )
            for row in told["usage"][key]:
                billable = row.get("billable_units", row["units"] if row.get("billable") else 0)
                made.add_row(
                    *(
                        render.text(one)
                        for one in (row[name], f"{row['events']:,}", f"{row['units']:,}", f"{billable:,}")
                    )
                )
            render.section(page, title, [made, *(_others(told) if key == "by_type" else ())])
    if cost is not None:
        lines = [Text(render.safe(f"{line['description']}: {line['explanation']}")) for line in cost["lines"]]
        total = Text(f"{amount(cost['amount_cents'], cost['currency'])}, {cost['meaning']}")
        render.section(page, f"Cost of {cost['period']['name']}", [*lines, total])


def _others(told: dict[str, Any]) -> list[Text]:
    others = told["usage"]["other_types"]
    if others is None:
        return []
    return [Text(f"and {others['event_types']:,} more types: {others['events']:,} events, {others['units']:,} units")]


def _months(period: str | None) -> tuple[datetime, datetime] | None:
    if period is None:
        return None
    try:
        month = month_typed(period, "UTC")
    except ValueError as error:
        raise BadFilterError("period", str(error)) from None
    return month.start, month.end


@app.command()
def verify(
    *,
    period: Annotated[str | None, typer.Option(help="A month (UTC), such as 2026-10; by default all.")] = None,
    as_json: AsJson = False,
) -> None:
    """Hold the sums of usage by hour and day against the events. Ends with 1 when one differs.

    Example: billing usage verify --period 2026-10
    """

    async def work(engine: AsyncEngine, _: datetime) -> tuple[int, list[RollupDifference]]:
        found: list[RollupDifference] = []
        one = _months(period)
        async with engine.connect() as conn:
            months = [one] if one is not None else await usage_verify.months_kept(conn)
            for since, until in months:
                found += await usage_verify.rollup_differences(conn, since, until)
        return len(months), found

    months, found = ask(work)
    if as_json:
        typer.echo(reading.encode({"months": months, "differences": found}).decode())
    else:
        _differences(months, found)
    if found:
        raise typer.Exit(NO)


def _differences(months: int, found: list[RollupDifference]) -> None:
    page = render.console()
    if not found:
        page.print(Text(f"{months:,} {'month' if months == 1 else 'months'}: all sums are those of their events"))
        return
    made = render.table("of", "begins", "owner", "type", "billable", "sum", "events' own", right=("sum", "events' own"))
    for one in found:
        owner = one.api_key_prefix if one.api_key_prefix is not None else f"customer {one.user_id}"
        made.add_row(
            *(
                render.text(each)
                for each in (one.granularity, f"{one.bucket_start:%Y-%m-%d %H:%M}", owner, one.event_type)
            ),
            render.text("yes" if one.billable else "no"),
            render.text(_sum(one.rollup_events, one.rollup_units)),
            render.text(_sum(one.events, one.units)),
        )
    page.print(made)
    page.print(Text(f"{len(found):,} sums are not those of their events"))


def _sum(events: int | None, units: object) -> str:
    return "none" if events is None else f"{events:,} events, {units} units"
