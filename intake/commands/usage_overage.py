"""`billing usage overage`: what subscribers pay beyond their plans, before and after it is invoiced."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, Any, TypeVar

import msgspec
import typer
from rich.text import Text
from sqlalchemy.ext.asyncio import AsyncEngine

from db import overage
from db.operators.actions import Actor
from db.operators.filters import page_size
from intake.commands import render
from intake.commands.connect import NO, actor, ask, fail, reasoned, ring
from intake.commands.invoices_pages import document_page
from intake.commands.options import AsJson, DryRun, Limit, Reason, Who, Why, Yes, month
from intake.commands.parked_pages import waits_page
from intake.dunning import Times, hand, money
from jobs.rules.billing_periods import Period as Month
from jobs.rules.billing_periods import local_day
from jobs.usage import overage_release as releasing
from jobs.usage.overage import Prepared, Settled
from worker.clock import SystemClock, business_clock
from worker.deps import Tx
from worker.errors import Refused, TryLater
from worker.settings import load_settings

T = TypeVar("T")
app = typer.Typer(
    no_args_is_help=True,
    help="What subscribers pay beyond their plans: list, preview, invoice, release, void.",
    epilog="Example: billing usage overage preview 17 --period 2026-10",
)
User = Annotated[int, typer.Argument(metavar="USER", help="The customer, by our id.")]
Period = Annotated[str, typer.Option("--period", callback=month, help="A month: 2026-10.")]


def _do(act: Callable[[Tx], Awaitable[T]], *, dry_run: bool) -> T:
    times = Times(SystemClock(), business_clock(load_settings().billing_clock_file))

    async def work(engine: AsyncEngine, _: datetime) -> T:
        async with hand(engine, times, dry_run=dry_run) as tx:
            done = await act(tx)
            rings = set[str]() if dry_run else set(tx.rings)
        await ring(*rings)
        return done

    try:
        return ask(work)
    except (Refused, TryLater) as error:
        fail(error.reason, NO)


@app.command("list")
def list_(
    *,
    status: Annotated[str | None, typer.Option(help="pending, parked, issued, empty or void.")] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """The months that were looked at: what each came to, and why one is parked.

    Example: billing usage overage list --status parked
    """

    async def work(engine: AsyncEngine, _: datetime) -> list[dict[str, Any]]:
        async with engine.connect() as conn:
            return [dict(row) for row in await overage.listed(conn, status=status, limit=page_size(limit))]

    found = ask(work)
    for row in found:
        row["period"] = row["period"] or local_day(row["period_start"], row["timezone"]).strftime("%Y-%m")
    if as_json:
        render.print_json(found)
        return
    made = render.table("customer", "e-mail", "period", "status", "total", "invoice", "why", right=("total",))
    for row in found:
        total = money(row["total_cents"], row["currency"]) if row["currency"] else None
        reasons: list[dict[str, Any]] = row["reasons"] or []
        why = "; ".join(one["why"] for one in reasons if one["stops"])
        cells = (row["user_id"], row["email"], row["period"], row["status"], total, row["invoice_number"], why)
        made.add_row(*(render.text(cell) for cell in cells))
    render.console().print(made)


def _told(
    user: int, name: str, status: str, prepared: Prepared, *, dry_run: bool, number: str | None
) -> dict[str, Any]:
    says = prepared.says
    return {
        "user_id": user,
        "period": name,
        "status": status,
        "number": number,
        "currency": says.currency if says is not None else None,
        "total": prepared.total,
        "concerns": [one.json() for one in prepared.concerns],
        "document": msgspec.to_builtins(says) if says is not None and dry_run else None,
        "dry_run": dry_run,
    }


def _page(prepared: Prepared, last: str, *, whole: bool) -> None:
    page = render.console()
    if whole and prepared.says is not None:
        document_page(page, prepared.says)
    for one in prepared.concerns:
        page.print(Text.assemble((f"{one.guard}: ", "red" if one.stops else "yellow"), render.safe(one.why)))
    page.print(Text(render.safe(last)))


@app.command()
def preview(
    user: User,
    *,
    period: Annotated[
        str | None, typer.Option(callback=month, help="A month: 2026-10; by default the running one.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show the very invoice that a subscriber would get for a month; nothing is written.

    Example: billing usage overage preview 17 --period 2026-10
    """
    found: tuple[Month, Prepared] = _do(lambda tx: releasing.look(tx, user, period, load_settings()), dry_run=True)
    month, prepared = found
    status = "parked" if any(one.stops for one in prepared.concerns) else "issued" if prepared.draft else "empty"
    if as_json:
        render.print_json(_told(user, month.name, status, prepared, dry_run=True, number=None))
        return
    said = "the plan pays for everything" if prepared.frozen is not None else "no plan with an allowance held"
    last = f"{month.name} of customer {user}: " + (said if status == "empty" else f"it would be {status}")
    _page(prepared, last, whole=True)


def _settle(
    user: int, period: str, by: Actor, *, release: bool, dry_run: bool, as_json: bool, shown: str | None = None
) -> None:
    done: Settled = _do(
        lambda tx: releasing.invoice(tx, user, period, load_settings(), by, release=release, shown=shown),
        dry_run=dry_run,
    )
    number = done.issued.number if done.issued is not None and not dry_run else None
    if as_json:
        render.print_json(_told(user, period, done.status, done.prepared, dry_run=dry_run, number=number))
    else:
        said = f"{period} of customer {user} {'would be' if dry_run else 'is'} {done.status}"
        _page(done.prepared, f"{said}{f' as {number}' if number else ''}", whole=dry_run)
    if done.status == "parked":
        raise typer.Exit(NO)


@app.command()
def invoice(
    user: User, *, period: Period, why: Why = None, who: Who = None, dry_run: DryRun = False, as_json: AsJson = False
) -> None:
    """Invoice a month that is over, now; one that looks wrong is parked.

    Example: billing usage overage invoice 17 --period 2026-10 --dry-run
    """
    _settle(user, period, actor(who, why), release=False, dry_run=dry_run, as_json=as_json)


@app.command()
def release(
    user: User,
    *,
    period: Period,
    why: Reason = None,
    who: Who = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Issue a parked invoice after all, by what is known now.

    Example: billing usage overage release 17 --period 2026-10 --why 'the usage is real'
    """
    by = reasoned(who, why, f"billing usage overage release {user} --period {period} --why 'the usage is real'")
    shown = None
    if not dry_run and not yes and render.is_person():
        shown = waits_page(_do(lambda tx: releasing.parked(tx, user, period, load_settings()), dry_run=True))
    if not dry_run and not render.confirmed(f"issue {period} of customer {user}?", yes=yes):
        fail("nothing was changed", NO)
    _settle(user, period, by, release=True, dry_run=dry_run, as_json=as_json, shown=shown)


@app.command()
def void(
    user: User,
    *,
    period: Period,
    why: Reason = None,
    who: Who = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Drop a month: one that is parked, or an issued invoice that nobody has paid. `invoice` does it anew.

    Example: billing usage overage void 17 --period 2026-10 --why 'it was our fault'
    """
    by = reasoned(who, why, f"billing usage overage void {user} --period {period} --why 'it was our fault'")
    if not dry_run and not render.confirmed(f"void {period} of customer {user}?", yes=yes):
        fail("nothing was changed", NO)
    was = _do(lambda tx: releasing.void(tx, user, period, load_settings(), by), dry_run=dry_run)
    if as_json:
        render.print_json({"user_id": user, "period": period, "was": was, "dry_run": dry_run})
        return
    said = "would be void; nothing was changed" if dry_run else "is void"
    render.console().print(Text(f"{period} of customer {user}, which was {was}, {said}"))
