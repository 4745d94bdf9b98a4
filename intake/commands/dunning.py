"""`billing dunning`: the invoices that were not paid in time, what comes next for each, and an operator's say in it."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text
from sqlalchemy.ext.asyncio import AsyncEngine

from db.dunning import Case
from db.operators import dunning
from db.operators.actions import Actor
from db.operators.dunning import CaseFilter
from db.operators.figures import figures as reckon
from db.operators.filters import page_size, period
from db.states import CaseOutcome
from intake.commands import dunning_policies, render
from intake.commands.connect import ask, reasoned, ring
from intake.commands.dunning_pages import case_page, figures_page, listing, preview_page, shown_name
from intake.commands.options import AsJson, DryRun, Limit, Reason, Since, Until, Who
from intake.dunning import Times, case_json, coming, hand, story, to_come
from intake.overview import jsonable
from jobs.dunning import operate
from worker.clock import SystemClock, business_clock
from worker.deps import Tx
from worker.settings import load_settings

app = typer.Typer(
    no_args_is_help=True,
    help="Unpaid invoices: list, show, preview, pause, resume, skip, send-now, extend, close, figures, policies.",
    epilog="Example: billing dunning list --status open",
)
app.add_typer(dunning_policies.app, name="policies")

Ref = Annotated[str, typer.Argument(metavar="INVOICE", help="Stripe's id (in_…), its number, or our id.")]


def _times() -> Times:
    return Times(SystemClock(), business_clock(load_settings().billing_clock_file))


@app.command("list")
def list_(
    *,
    status: Annotated[
        str | None, typer.Option(help="open, paused, closed or all; by default what is not closed.")
    ] = None,
    outcome: Annotated[
        str | None, typer.Option(help="recovered, lost, canceled, void, disputed, refunded or exempt.")
    ] = None,
    customer: Annotated[str | None, typer.Option(help="cus_…, or a partner's key prefix.")] = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """The newest cases that match: whose invoice, how much, how it stands, what comes next and when.

    Example: billing dunning list --outcome lost --since 30d
    """
    times = _times()

    async def work(engine: AsyncEngine, _: datetime) -> list[dict[str, Any]]:
        wanted = CaseFilter.read(
            now=times.now(), status=status, outcome=outcome, customer=customer, since=since, until=until
        )
        async with engine.connect() as conn:
            return await dunning.list_cases(conn, wanted, limit=page_size(limit))

    shown = [case_json(row) for row in ask(work)]
    if as_json:
        render.print_json(shown)
    else:
        listing(render.console(), shown)


@app.command()
def show(invoice: Ref, *, as_json: AsJson = False) -> None:
    """One case's whole story: its steps, its letters, what operators did.

    Example: billing dunning show in_1Q2w3e4r
    """

    async def work(engine: AsyncEngine, _: datetime) -> dict[str, Any]:
        async with engine.connect() as conn:
            return await story(conn, await dunning.invoice_of(conn, invoice))

    _tell(ask(work), case_page, as_json=as_json)


@app.command()
def preview(invoice: Ref, *, as_json: AsJson = False) -> None:
    """What would happen in the next 30 days if nobody paid: each letter and action, and when. Nothing is changed.

    An invoice without a case is shown as if its payment failed now.

    Example: billing dunning preview in_1Q2w3e4r
    """
    times = _times()

    async def work(engine: AsyncEngine, _: datetime) -> dict[str, Any]:
        async with engine.connect() as conn:
            return await coming(conn, await dunning.invoice_of(conn, invoice), times.now())

    _tell(ask(work), preview_page, as_json=as_json)


def _tell(shown: dict[str, Any], page: Callable[[Console, Mapping[str, Any]], None], *, as_json: bool) -> None:
    if as_json:
        render.print_json(shown)
    else:
        page(render.console(), shown)


def _by(words: str, who: str | None, why: str | None, reason: str) -> Actor:
    """Who acts, and why: what is done to a debtor by hand is asked about later."""
    return reasoned(who, why, f"billing dunning {words} --why '{reason}'")


def _act(
    invoice: str,
    work: Callable[[Tx, str, Actor], Awaitable[Case]],
    said: str,
    *,
    by: Actor,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Act in one transaction, which a dry run undoes; then ring, and tell how the case stands."""
    times = _times()

    async def acted(engine: AsyncEngine, _: datetime) -> dict[str, Any]:
        async with hand(engine, times, dry_run=dry_run) as tx:
            name = await dunning.invoice_of(tx.conn, invoice)
            await work(tx, name, by)
            found = await story(tx.conn, name)
            rings = tx.rings if not dry_run else set[str]()
        await ring(*rings)
        return found

    found = ask(acted)
    if as_json:
        render.print_json({**found, "dry_run": dry_run})
        return
    page = render.console()
    words = f"{shown_name(found)} would be {said}; nothing was changed" if dry_run else f"{said}"
    page.print(Text(words))
    case_page(page, found)


@app.command()
def pause(
    invoice: Ref,
    *,
    until: Annotated[
        str | None, typer.Option(help="For so long (2d), or until a date (UTC), instead of until it is resumed.")
    ] = None,
    why: Reason = None,
    who: Who = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Write to nobody about this invoice for now. Payment still closes the case.

    Example: billing dunning pause in_1Q2w3e4r --until 2026-04-01 --why 'a cheque is on its way'
    """

    async def work(tx: Tx, name: str, by: Actor) -> Case:
        return await operate.pause(tx, name, by, until=to_come("until", until, tx.now))

    _act(
        invoice,
        work,
        "paused",
        by=_by(f"pause {invoice}", who, why, "a cheque is on its way"),
        dry_run=dry_run,
        as_json=as_json,
    )


@app.command()
def resume(
    invoice: Ref, *, why: Reason = None, who: Who = None, dry_run: DryRun = False, as_json: AsJson = False
) -> None:
    """Let a paused case go on; what became due meanwhile collapses to one letter.

    Example: billing dunning resume in_1Q2w3e4r --why 'the cheque bounced'
    """
    _act(
        invoice,
        operate.resume,
        "resumed",
        by=_by(f"resume {invoice}", who, why, "the cheque bounced"),
        dry_run=dry_run,
        as_json=as_json,
    )


StepNumber = Annotated[
    int | None, typer.Option("--step", min=1, help="Only if it is this one, as `show` counts; else the next one.")
]


def _on_step(
    invoice: str,
    work: Callable[..., Awaitable[Case]],
    said: str,
    step: int | None,
    *,
    by: Actor,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Act on the step that is meant: the one that was named, or that was the next one when the case was read."""

    async def seen(engine: AsyncEngine, _: datetime) -> int:
        async with engine.connect() as conn:
            found = await story(conn, await dunning.invoice_of(conn, invoice))
        return int(found["done_step"]) + 1

    position = ask(seen) if step is None else step - 1
    _act(invoice, partial(work, position=position), said, by=by, dry_run=dry_run, as_json=as_json)


@app.command()
def skip(
    invoice: Ref,
    *,
    step: StepNumber = None,
    why: Reason = None,
    who: Who = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Leave the next step out; the one after it keeps its day.

    Example: billing dunning skip in_1Q2w3e4r --why 'we spoke on the telephone'
    """
    _on_step(
        invoice,
        operate.skip,
        "skipped by a step",
        step,
        by=_by(f"skip {invoice}", who, why, "we spoke on the telephone"),
        dry_run=dry_run,
        as_json=as_json,
    )


@app.command("send-now")
def send_now(
    invoice: Ref,
    *,
    step: StepNumber = None,
    why: Reason = None,
    who: Who = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Take the next step now, at whatever hour; the invoice is read afresh before, as always.

    Example: billing dunning send-now in_1Q2w3e4r --why 'the customer asked for it'
    """
    _on_step(
        invoice,
        operate.send_now,
        "taken a step further now",
        step,
        by=_by(f"send-now {invoice}", who, why, "the customer asked for it"),
        dry_run=dry_run,
        as_json=as_json,
    )


@app.command()
def extend(
    invoice: Ref,
    *,
    days: Annotated[int, typer.Option(min=1, help="So many days more.")],
    why: Reason = None,
    who: Who = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Give more time: all steps that are not taken yet come so many days later.

    Example: billing dunning extend in_1Q2w3e4r --days 7 --why 'they change banks'
    """

    async def work(tx: Tx, name: str, by: Actor) -> Case:
        return await operate.extend(tx, name, by, days=days)

    _act(
        invoice,
        work,
        f"put off by {days} days",
        by=_by(f"extend {invoice} --days {days}", who, why, "they change banks"),
        dry_run=dry_run,
        as_json=as_json,
    )


@app.command()
def close(
    invoice: Ref,
    *,
    lost: Annotated[bool, typer.Option("--lost", help="As lost, instead of as exempt.")] = False,
    why: Reason = None,
    who: Who = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Let the matter be: the case is closed, and nobody is written to any more. Paid later, it is recovered after all.

    Example: billing dunning close in_1Q2w3e4r --why 'a friend of the house'
    """

    async def work(tx: Tx, name: str, by: Actor) -> Case:
        return await operate.let_be(tx, name, by, outcome=CaseOutcome.LOST if lost else CaseOutcome.EXEMPT)

    _act(
        invoice,
        work,
        "closed",
        by=_by(f"close {invoice}", who, why, "a friend of the house"),
        dry_run=dry_run,
        as_json=as_json,
    )


@app.command()
def figures(*, since: Since = None, until: Until = None, as_json: AsJson = False) -> None:
    """What dunning brings in: recovery rate, recovered amounts, days to recover, by step and by decline code.

    Of the cases opened in that time; amounts by currency, in minor units with --json.

    Example: billing dunning figures --since 90d
    """
    times = _times()

    async def work(engine: AsyncEngine, _: datetime) -> dict[str, Any]:
        begin, end = period(since, until, times.now())
        async with engine.connect() as conn:
            await conn.execution_options(isolation_level="REPEATABLE READ")
            return jsonable(await reckon(conn, since=begin, until=end))

    _tell(ask(work), figures_page, as_json=as_json)
