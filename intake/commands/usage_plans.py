"""`billing usage plans`: what subscribers' plans include in a month, and what more costs."""

from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any

import msgspec
import typer
from rich.text import Text
from sqlalchemy.ext.asyncio import AsyncEngine

from db import overage
from db.operators.actions import NotAllowedError
from db.operators.filters import BadFilterError
from db.overage import NewPlan
from intake.commands import render
from intake.commands.connect import actor, ask
from intake.commands.options import AsJson, DryRun, Who, Why
from jobs.rules.pricing import amount
from jobs.usage.plan_changes import add_plan, mistakes
from worker.clock import SystemClock, business_clock
from worker.settings import load_settings

app = typer.Typer(
    no_args_is_help=True,
    help="What subscribers' plans include in a month: list, add.",
    epilog="Example: billing usage plans list",
)


@app.command("list")
def list_(*, as_json: AsJson = False) -> None:
    """The plans, by price and the day from which they hold.

    Example: billing usage plans list --json
    """

    async def work(engine: AsyncEngine, _: datetime) -> list[dict[str, Any]]:
        async with engine.connect() as conn:
            return [dict(row) for row in await overage.plans(conn)]

    found = ask(work)
    if as_json:
        typer.echo(msgspec.json.encode(found).decode())
        return
    made = render.table("price", "from", "includes", "more costs", "rounded", "tax", right=("includes",))
    for row in found:
        price = f"{amount(row['package_price_cents'], row['currency'])} for {row['package_size']:,}"
        tax = f"{row['tax_name']} {row['tax_percent'].normalize():f} %" if row["tax_percent"] is not None else None
        cells = (
            row["stripe_price_id"],
            row["valid_from"],
            f"{row['included_units']:,}",
            price,
            row["package_rounding"],
            tax,
        )
        made.add_row(*(render.text(cell) for cell in cells))
    render.console().print(made)


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise BadFilterError("valid-from", f"{text!r} is no day: write it as 2026-12-01") from None


def _percent(text: str | None) -> Decimal | None:
    try:
        return None if text is None else Decimal(text)
    except InvalidOperation:
        raise BadFilterError("tax-percent", f"{text!r} is no number: write 19 or 7.7") from None


@app.command("add")
def add_(
    price: Annotated[str, typer.Argument(metavar="PRICE", help="The price of the subscription at Stripe: price_…")],
    *,
    included: Annotated[int, typer.Option(help="Units of a month that the plan includes.")],
    package_price: Annotated[int, typer.Option(help="What a package of further units costs, in minor units.")],
    package_size: Annotated[int, typer.Option(help="Units of a package.")] = 1000,
    rounding: Annotated[
        str, typer.Option(help="exact: by the unit; up: begun packages are whole; down: they are free.")
    ] = "exact",
    currency: Annotated[str, typer.Option(help="eur, usd …")] = "usd",
    valid_from: Annotated[
        str | None, typer.Option(help="The first day, 2026-12-01, of the customer's time zone; by default today.")
    ] = None,
    tax_name: Annotated[str, typer.Option(help="As invoices call it.")] = "VAT",
    tax_percent: Annotated[str | None, typer.Option(help="19, 7.7; by default no tax is charged.")] = None,
    why: Why = None,
    who: Who = None,
    dry_run: DryRun = False,
) -> None:
    """Say what a price includes from a day on, and what more costs. A new price is a new row; none is changed.

    Example: billing usage plans add price_1Pro --included 10000 --package-price 200 --currency eur
    """

    async def work(engine: AsyncEngine, _: datetime) -> bool:
        now = (business_clock(load_settings().billing_clock_file) or SystemClock()).now()
        plan = NewPlan(
            stripe_price_id=price,
            valid_from=_date(valid_from) if valid_from is not None else now.astimezone(UTC).date(),
            currency=currency.lower(),
            included_units=included,
            package_size=package_size,
            package_price_cents=package_price,
            package_rounding=rounding,
            tax_name=tax_name,
            tax_percent=_percent(tax_percent),
        )
        wrong = mistakes(plan)
        if wrong:
            raise BadFilterError(*wrong)
        async with engine.connect() as conn:
            known = await add_plan(conn, plan, actor(who, why), now=now)
            if known is None:
                raise NotAllowedError([f"{price} has a plan from {plan.valid_from} on already"])
            await (conn.rollback() if dry_run else conn.commit())
        return known

    known = ask(work)
    said = f"{price} would be added; nothing was changed" if dry_run else f"{price} added"
    render.console().print(Text(render.safe(said)))
    if not known:
        render.console().print(Text(render.safe(f"no subscription was ever seen at {price}: is it the right one?")))
