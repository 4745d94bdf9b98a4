"""`billing partners preview|invoice|parked|release|void`: the monthly invoices, before and after they are issued."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.text import Text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from db.usage_invoices import UsageRow
from intake.commands import invoices_files as files
from intake.commands import render
from intake.commands.connect import NO, actor, ask, fail, reasoned, ring
from intake.commands.invoices_pages import document_page
from intake.commands.options import AsJson, DryRun, Reason, Who, Why, Yes, month
from intake.commands.parked_pages import waits_page
from intake.dunning import Times, hand, money
from intake.partner_invoices import BUSY, LOCKED, done_json, preview_json, unnumbered, waiting
from jobs.invoices.document import Document, Stamp
from jobs.invoices.page import request
from jobs.invoices.sellers import sellers_from
from jobs.partners import release as releasing
from jobs.partners.guards import Concern
from jobs.partners.preview import Preview
from jobs.partners.preview import preview as previewed
from jobs.partners.release import Done
from jobs.rules.billing_periods import local_day
from worker.adapters.pdf import PdfPool
from worker.clock import SystemClock, business_clock
from worker.deps import Tx
from worker.errors import Refused, TryLater
from worker.settings import Settings, load_settings

T = TypeVar("T")

BUILDER = "jobs.invoices.page:build"
Prefix = Annotated[str, typer.Argument(metavar="PREFIX", help="What the partner's keys begin with, such as nw_live.")]
Month = Annotated[str, typer.Option("--period", callback=month, help="A month of the period: 2026-10.")]


def _times() -> Times:
    return Times(SystemClock(), business_clock(load_settings().billing_clock_file))


def _asked(work: Callable[[AsyncEngine, datetime], Awaitable[T]]) -> T:
    """Do `work`; what is refused, or must wait, is told in words, and the answer is no."""
    try:
        return ask(work)
    except (Refused, TryLater) as error:
        fail(error.reason, NO)
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != LOCKED:
            raise
        fail(BUSY, NO)


def _concerns(page: Console, found: list[Concern]) -> None:
    for one in found:
        style = "red" if one.stops else "yellow"
        page.print(Text.assemble((f"{one.guard}: ", style), render.safe(one.why)))


def _day(at: datetime, timezone: str) -> str:
    return local_day(at, timezone).isoformat()


async def _pdf(says: Document, settings: Settings) -> bytes:
    """The document as a PDF that is marked as a draft."""
    logo = next((one.logo for one in sellers_from(settings).profiles.values() if one.logo is not None
                 and one.logo.sha256 == says.seller.logo), None)  # fmt: skip
    pictures = {logo.sha256: logo.content} if logo is not None else {}
    pool = PdfPool(BUILDER, processes=1, seconds=settings.billing_pdf_seconds, megabytes=settings.billing_pdf_megabytes)
    try:
        return await pool.render(request(says, pictures, stamp=Stamp.DRAFT))
    finally:
        await pool.close()


def preview(
    prefix: Prefix,
    *,
    period: Annotated[
        str | None, typer.Option(callback=month, help="A month of the period: 2026-10; by default the running one.")
    ] = None,
    pdf: Annotated[
        Path | None, typer.Option("--pdf", help="Write the invoice, marked as a draft; - is standard output.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show the very invoice that a partner would get, with each amount's arithmetic; nothing is written.

    Of a month that still runs it shows what there is up to now.

    Example: billing partners preview nw_live --period 2026-10 --pdf draft.pdf
    """
    times = _times()

    async def work(engine: AsyncEngine, _: datetime) -> tuple[Preview, bytes | None]:
        settings = load_settings()
        async with engine.connect() as conn:
            tx = Tx(conn, times.now(), times.clock.now())
            found = await previewed(tx, prefix, period, sellers_from(settings))
            await conn.rollback()
        content = await _pdf(found.says, settings) if pdf is not None and found.says is not None else None
        return found, content

    found, content = _asked(work)
    where = files.write(content, pdf, "draft.pdf") if content is not None else None
    if as_json:
        render.print_json({**preview_json(found), "file": where})
    elif where != "-":
        _preview_page(render.console(), prefix, found, where)
    if found.says is None and found.concerns:
        raise typer.Exit(NO)


def _preview_page(page: Console, prefix: str, found: Preview, where: str | None) -> None:
    zone = found.period.timezone
    head = f"{prefix}, {found.period.name}: {_day(found.period.start, zone)} to {_day(found.period.end, zone)} ({zone})"
    page.print(Text(head, style="bold"))
    status = found.row.status if found.row is not None else None
    if found.says is None:
        page.print(Text("nothing is to be charged" if not found.concerns else "there can be no invoice"))
    else:
        document_page(page, found.says)
        render.section(page, "How it comes about", [render.text(line) for line in found.explained])
    for name, told in found.late.items():
        render.section(page, f"Late usage of {name}", [render.text(line) for line in told])
    if found.concerns:
        page.print()
        _concerns(page, list(found.concerns))
    state = f"it is {status} already" if status in {"issued", "parked", "empty"} else "nothing was issued"
    state = f"up to now; {state}" if found.running else state
    page.print(Text(f"this is a preview {state}" if found.running else f"this is a preview: {state}"))
    if where is not None:
        page.print(Text(f"see {where}"))


def _done_page(page: Console, prefix: str, done: Done, *, dry_run: bool) -> None:
    settled = done.settled
    says = settled.prepared.says
    if dry_run and says is not None:
        document_page(page, unnumbered(says))
    if done.differs and done.before is not None and says is not None:
        was = money(done.before.total_cents, done.before.currency or says.currency)
        page.print(Text(f"it was {was} when it was parked, and comes to {money(says.total_minor, says.currency)} now"))
    _concerns(page, list(settled.prepared.concerns))
    match settled.status:
        case "issued" if settled.issued is not None and says is not None:
            number = "would be issued" if dry_run else f"is issued as {settled.issued.number}"
            page.print(Text(f"{done.name} of {prefix} {number}, over {money(says.total_minor, says.currency)}", "bold"))
        case "empty":
            page.print(Text(f"{done.name} of {prefix}: nothing is to be charged"))
        case _:
            page.print(Text(f"{done.name} of {prefix} {'would be' if dry_run else 'is'} parked"))
    if dry_run:
        page.print(Text("nothing was changed"))


def _act(
    prefix: str,
    act: Callable[[Tx, Settings], Awaitable[Done]],
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    times = _times()

    async def work(engine: AsyncEngine, _: datetime) -> Done:
        async with hand(engine, times, dry_run=dry_run) as tx:
            done = await act(tx, load_settings())
            rings = set[str]() if dry_run else tx.rings
        await ring(*rings)
        return done

    done = _asked(work)
    if as_json:
        render.print_json(done_json(done, dry_run=dry_run))
    else:
        _done_page(render.console(), prefix, done, dry_run=dry_run)
    if done.settled.status == "parked":
        raise typer.Exit(NO)


def invoice(
    prefix: Prefix, *, period: Month, why: Why = None, who: Who = None, dry_run: DryRun = False, as_json: AsJson = False
) -> None:
    """Invoice a partner's period that has ended, now; one that looks wrong is parked.

    Example: billing partners invoice nw_live --period 2026-10 --dry-run
    """
    by = actor(who, why)
    _act(
        prefix,
        lambda tx, settings: releasing.invoice_now(tx, prefix, period, settings, by),
        dry_run=dry_run,
        as_json=as_json,
    )


def release(
    prefix: Prefix,
    *,
    period: Month,
    why: Reason = None,
    who: Who = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Issue a parked invoice after all. It is made anew, with the usage, credits and contract of now.

    Example: billing partners release nw_live --period 2026-10 --why 'the usage is real'
    """
    by = reasoned(who, why, f"billing partners release {prefix} --period {period} --why 'the usage is real'")
    shown = _look(prefix, period) if not dry_run and not yes and render.is_person() else None
    if not dry_run and not render.confirmed(f"issue {period} of {prefix}?", yes=yes):
        fail("nothing was changed", NO)
    _act(
        prefix,
        lambda tx, settings: releasing.release(tx, prefix, period, settings, by, shown=shown),
        dry_run=dry_run,
        as_json=as_json,
    )


def _look(prefix: str, period: str) -> str:
    """Tell who is asked why the period is parked, and over how much. Returns the mark of what was shown."""
    times = _times()

    async def work(engine: AsyncEngine, _: datetime) -> UsageRow:
        async with hand(engine, times, dry_run=True) as tx:
            row, _name = await releasing.parked(tx, prefix, period)
        return row

    return waits_page(_asked(work))


def void(
    prefix: Prefix,
    *,
    period: Month,
    why: Reason = None,
    who: Who = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Drop a period: one that is parked, or an issued invoice that nobody has paid. `invoice` does it anew.

    Example: billing partners void nw_live --period 2026-10 --why 'the wrong price'
    """
    by = reasoned(who, why, f"billing partners void {prefix} --period {period} --why 'the wrong price'")
    if not dry_run and not render.confirmed(f"void {period} of {prefix}?", yes=yes):
        fail("nothing was changed", NO)
    times = _times()

    async def work(engine: AsyncEngine, _: datetime) -> tuple[str, str]:
        async with hand(engine, times, dry_run=dry_run) as tx:
            done = await releasing.void(tx, prefix, period, by)
            rings = set[str]() if dry_run else tx.rings
        await ring(*rings)
        return done

    name, was = _asked(work)
    if as_json:
        render.print_json({"partner": prefix, "period": name, "was": was, "dry_run": dry_run})
        return
    said = "would be void; nothing was changed" if dry_run else "is void"
    anew = f"billing partners invoice {prefix} --period {name}"
    render.console().print(Text(f"{name} of {prefix}, which was {was}, {said}; to invoice it anew: {anew}"))


def parked(
    prefix: Annotated[str | None, typer.Argument(metavar="[PREFIX]", help="Only of this partner.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Which invoices wait for somebody, and why; and usage that came after the last invoice of an ended contract.

    Example: billing partners parked
    """

    async def work(engine: AsyncEngine, _: datetime) -> list[dict[str, Any]]:
        async with engine.connect() as conn:
            times = _times()
            return await waiting(Tx(conn, times.now(), times.clock.now()), prefix)

    found = _asked(work)
    if as_json:
        render.print_json(found)
    else:
        _parked_page(render.console(), found)


def _parked_page(page: Console, found: list[dict[str, Any]]) -> None:
    if not found:
        page.print(Text("no invoice waits for anybody"))
        return
    table = render.table("partner", "period", "total", "why", right=("total",))
    for row in found:
        concerns: list[dict[str, Any]] = row["reasons"] or []
        reasons = [f"{one['guard']}: {one['why']}" for one in concerns if one["stops"]]
        if row["what_to_do"]:
            reasons.append(row["what_to_do"])
        total = money(row["total_cents"], row["currency"]) if row["currency"] else ""
        table.add_row(
            render.text(row["api_key_prefix"]), render.text(row["name"]), render.text(total),
            render.text("\n".join(reasons)),
        )  # fmt: skip
    page.print(table)
    page.print(Text("billing partners release|void PREFIX --period PERIOD --why …", style="dim"))


def register(app: typer.Typer) -> None:
    """Add these to the commands about partners."""
    for command in (preview, invoice, parked, release, void):
        app.command()(command)
