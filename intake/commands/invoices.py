"""`billing invoices`: what was invoiced, the PDFs as they are stored, and invoices that are written by hand."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.text import Text
from sqlalchemy.ext.asyncio import AsyncEngine

from db import documents
from db.documents import StoredDocument
from db.operators import invoices
from db.operators.actions import NotAllowedError, write_audit
from db.operators.filters import page_size
from db.operators.invoices import DocumentFilter, InvoiceFilter
from intake.commands import invoices_files as files
from intake.commands import render
from intake.commands.connect import NO, USAGE, actor, ask, fail, ring
from intake.commands.invoices_explain import explain
from intake.commands.invoices_pages import document_page, documents_listing, listing, story_page
from intake.commands.invoices_pay import register as register_pay
from intake.commands.options import AsJson, DryRun, Limit, Since, Until, Who, Why
from intake.documents import file_name_of
from intake.dunning import Times, hand
from intake.invoices import (
    document_json,
    link_of,
    not_ready,
    shown,
    story,
    story_of,
    without_ids,
)
from worker.clock import SystemClock, business_clock
from worker.errors import Refused, TryLater
from worker.settings import load_settings

T = TypeVar("T")

app = typer.Typer(
    no_args_is_help=True,
    help="Invoices and their PDFs: list, show, pdf, link, documents, issue, void, rerender.",
    epilog="Example: billing invoices pdf INV-2026-0001 -o invoice.pdf",
)

Ref = Annotated[str, typer.Argument(metavar="ID", help="Our number, our id, Stripe's id (in_…, cn_…, ch_…), or a key.")]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="Where to write the PDF; - is standard output.")]
Customer = Annotated[str | None, typer.Option(help="cus_…, a partner's key prefix, or an address.")]


def _times() -> Times:
    return Times(SystemClock(), business_clock(load_settings().billing_clock_file))


@app.command("list")
def list_(
    *,
    status: Annotated[str | None, typer.Option(help="draft, open, paid, void or uncollectible.")] = None,
    customer: Customer = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """The newest invoices that match, ours and Stripe's: whose, how much, how each stands, and its PDF.

    Example: billing invoices list --status open --since 30d
    """
    times = _times()

    async def work(engine: AsyncEngine, _: datetime) -> list[dict[str, Any]]:
        wanted = InvoiceFilter.read(now=times.now(), status=status, customer=customer, since=since, until=until)
        async with engine.connect() as conn:
            return await invoices.list_invoices(conn, wanted, limit=page_size(limit))

    found = [shown(row) for row in ask(work)]
    if as_json:
        render.print_json(found)
    else:
        listing(render.console(), found)


@app.command("documents")
def documents_(
    *,
    status: Annotated[str | None, typer.Option(help="waiting, stored or dead.")] = None,
    kind: Annotated[str | None, typer.Option(help="invoice, credit_note or receipt.")] = None,
    customer: Annotated[str | None, typer.Option(help="cus_…, or an address.")] = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """The newest documents that match: invoices, credit notes, receipts and copies, and why one was parked.

    Example: billing invoices documents --status dead
    """
    times = _times()

    async def work(engine: AsyncEngine, _: datetime) -> list[dict[str, Any]]:
        wanted = DocumentFilter.read(
            now=times.now(), status=status, kind=kind, customer=customer, since=since, until=until
        )
        async with engine.connect() as conn:
            return await invoices.list_documents(conn, wanted, limit=page_size(limit))

    found = [shown(row) for row in ask(work)]
    if as_json:
        render.print_json(found)
    else:
        documents_listing(render.console(), found)


@app.command()
def show(ref: Ref, *, as_json: AsJson = False) -> None:
    """One invoice with its sums, lines, documents, and what operators did.

    Example: billing invoices show in_1Q2w3e4r
    """

    async def work(engine: AsyncEngine, _: datetime) -> dict[str, Any]:
        async with engine.connect() as conn:
            return await story(conn, ref)

    found = ask(work)
    if as_json:
        render.print_json(found)
    else:
        story_page(render.console(), found)


def _refusals(work: Callable[[AsyncEngine, datetime], Awaitable[T]], *, code: int = NO) -> T:
    """Do `work`; what is refused, or must wait, is told in words."""
    try:
        return ask(work)
    except (Refused, TryLater) as error:
        fail(error.reason, code)


@app.command()
def pdf(
    ref: Ref,
    *,
    out: Out = None,
    link: Annotated[bool, typer.Option("--link", help="Print a link for the customer instead.")] = False,
) -> None:
    """Fetch the PDF as it was issued, and print the file's name. Its SHA-256 is checked.

    Example: billing invoices pdf INV-2026-0001 -o - > invoice.pdf
    """
    if link:
        _link(ref)
        return

    async def work(engine: AsyncEngine, _: datetime) -> tuple[bytes, str]:
        document = await files.document(engine, ref)
        return await files.stored_bytes(document), file_name_of(document)

    content, name = _refusals(work)
    where = files.write(content, out, name)
    if where != "-":
        typer.echo(where)


@app.command("link")
def link_(ref: Ref) -> None:
    """Print a signed link to the PDF, for the customer; it works for BILLING_LINK_DAYS.

    Example: billing invoices link in_1Q2w3e4r
    """
    _link(ref)


def _link(ref: str) -> None:
    async def work(engine: AsyncEngine, now: datetime) -> tuple[str, bool, StoredDocument]:
        document = await files.document(engine, ref)
        return *link_of(document, load_settings(), now), document

    made, whole, document = ask(work)
    typer.echo(made)
    if not whole:
        typer.echo("this is the path at the public door: set BILLING_PUBLIC_URL to have the whole link", err=True)
    if (why := not_ready(document)) is not None:
        typer.echo(f"{why}; until it is rendered, the link answers 503", err=True)


@app.command()
def rerender(
    ref: Ref, *, out: Out = None, why: Why = None, who: Who = None, dry_run: DryRun = False, as_json: AsJson = False
) -> None:
    """Have a copy rendered from what was frozen, by today's template, marked as a copy. What was issued stays.

    Tells whether the original's stored bytes are still those that were issued. With -o it waits for the copy.

    Example: billing invoices rerender INV-2026-0001 -o copy.pdf --why 'the logo was missing'
    """
    from jobs.invoices.rerender import rerender as stage_copy  # noqa: PLC0415 - listings need no business

    times = _times()

    async def work(engine: AsyncEngine, _: datetime) -> tuple[StoredDocument, str, bool, StoredDocument]:
        original = await files.document(engine, ref)
        intact = False
        try:
            await files.stored_bytes(original)
            sound, intact = "the original is as it was issued", True
        except (Refused, TryLater) as error:
            sound = f"the original cannot be had: {error.reason}"
        except NotAllowedError as error:  # it is not rendered yet: there is nothing that could have changed
            sound, intact = str(error).partition("\n")[0], True
        async with hand(engine, times, dry_run=dry_run) as tx:
            made = await stage_copy(tx, original)
            details = {"copy": made}
            await write_audit(tx.conn, actor(who, why), "invoices.rerender", original.key, now=tx.now, details=details)
            copy = await documents.get(tx.conn, made)
            rings = set[str]() if dry_run else tx.rings
        await ring(*rings)
        assert copy is not None
        return original, sound, intact, copy

    original, sound, intact, copy = _refusals(work)
    if not dry_run and out is not None:
        content = _refusals(lambda engine, _: files.awaited(engine, copy.id))
        files.write(content, out, file_name_of(copy))
    if as_json:
        shown_copy = document_json(copy)
        if dry_run:
            (shown_copy,) = without_ids([shown_copy], but={original.id})
        told = {"original": document_json(original), "sound": sound, "copy": shown_copy, "dry_run": dry_run}
        render.print_json(told)
    else:
        words = "a copy would be staged; nothing was changed" if dry_run else f"the copy is {copy.key}"
        render.console().print(Text(f"{sound}; {words}"))
    if not intact:
        raise typer.Exit(NO)


@app.command()
def void(
    ref: Ref,
    *,
    why: Annotated[
        str, typer.Option("--why", "--reason", help="Why; it is kept with the invoice, and in the audit log.")
    ],
    who: Who = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Void an invoice of ours that nobody has paid: its number stays, and a copy marked void is written.

    Example: billing invoices void INV-2026-0001 --why 'the wrong company was invoiced'
    """
    from jobs.invoices.void import void as make_void  # noqa: PLC0415 - listings need no business

    times = _times()

    async def work(engine: AsyncEngine, _: datetime) -> tuple[dict[str, Any], bool]:
        async with hand(engine, times, dry_run=dry_run) as tx:
            found = await invoices.find(tx.conn, ref)
            if found.invoice is None:
                raise NotAllowedError([f"{found.target} is no invoice"])
            before = {one.id for one in found.documents}
            changed = await make_void(tx, found.invoice["id"], reason=why)
            if changed:
                by = actor(who, why)
                await write_audit(tx.conn, by, "invoices.void", found.target, now=tx.now)
            told = await story_of(tx.conn, await invoices.of_id(tx.conn, found.invoice["id"]))
            rings = set[str]() if dry_run else tx.rings
        await ring(*rings)
        if dry_run:
            told["documents"] = without_ids(told["documents"], but=before)
        return told, changed

    told, changed = _refusals(work)
    if as_json:
        render.print_json({**told, "changed": changed, "dry_run": dry_run})
        return
    page = render.console()
    words = "would be voided; nothing was changed" if dry_run else "is void now"
    page.print(Text(f"{told['ref']} {words if changed else 'was void already'}"))
    story_page(page, told)


@app.command()
def issue(
    file: Annotated[Path, typer.Argument(help="The invoice as JSON (docs/documents.md); - is standard input.")],
    *,
    out: Out = None,
    why: Why = None,
    who: Who = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Issue an invoice that was written by hand: it is checked, numbered, and mailed with its PDF.

    With --dry-run only its lines and sums are printed, and -o has a PDF that is marked as a draft.

    Example: billing invoices issue order.json --dry-run -o draft.pdf
    """
    from intake.commands import invoices_issue  # noqa: PLC0415 - listings need no business

    raw = files.read(file)
    if dry_run:
        made = _refusals(lambda engine, now: invoices_issue.draft(engine, raw, now, pdf=out is not None), code=USAGE)
        where = files.write(made.pdf, out, "draft.pdf") if made.pdf is not None else None
        if as_json:
            told = {"document": invoices_issue.as_json(made.document), "issued_before_as": made.before}
            render.print_json({**told, "dry_run": True, "file": where})
        elif where != "-":
            page = render.console()
            document_page(page, made.document)
            if made.before is not None:
                page.print(Text(f"its key was invoiced before, as {made.before}: issuing it does nothing"))
            page.print(Text(f"this is a draft: nothing was issued{f'; see {where}' if where else ''}"))
        return
    times = _times()

    async def work(engine: AsyncEngine, _: datetime) -> tuple[invoices_issue.Issued, dict[str, Any]]:
        async with hand(engine, times) as tx:
            made = await invoices_issue.issue_by_hand(tx, raw, load_settings(), actor(who, why))
            rings = tx.rings
        await ring(*rings)  # nobody waits for the number's series while the story is told
        async with engine.connect() as conn:
            told = await story_of(conn, await invoices.of_id(conn, made.invoice_id))
        return made, told

    made, told = _refusals(work, code=USAGE)
    if out is not None and made.document_id is not None:
        document_id = made.document_id
        files.write(_refusals(lambda engine, _: files.awaited(engine, document_id)), out, f"{made.number}.pdf")
    if as_json:
        render.print_json({**told, "new": made.new, "dry_run": False})
        return
    page = render.console()
    said = f"issued as {made.number}" if made.new else f"was issued before, as {made.number}: nothing was done"
    page.print(Text(said, style="bold"))
    story_page(page, told)


app.command()(explain)
register_pay(app)
