"""`billing partners`: what is agreed with partners, from which day on, and how it stands."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import date, datetime
from typing import Annotated, Any, TypeVar

import typer
from rich.text import Text
from sqlalchemy.ext.asyncio import AsyncEngine

from db.operators.actions import Actor
from db.operators.filters import page_size
from intake.commands import partners_invoices, partners_pages, render
from intake.commands.common import wrong_usage
from intake.commands.connect import USAGE, actor, ask, fail, reasoned
from intake.commands.options import AsJson, DryRun, Reason, Who, Why, Yes
from intake.commands.partners_terms import Fee, File, Included, Per1000, PerDeed, Set, given_terms
from intake.dunning import Times, hand
from intake.partners import known_sellers, listing, story
from jobs.partners import contract_changes, contract_words
from jobs.partners.contract_changes import Changed
from jobs.partners.contract_fields import WrongError, day
from jobs.partners.contracts import Contract, written
from worker.clock import SystemClock, business_clock
from worker.deps import Tx
from worker.errors import Refused
from worker.settings import load_settings

T = TypeVar("T")

app = typer.Typer(
    no_args_is_help=True,
    help="Partners' contracts and invoices: list, show, add, change, correct, pause, resume, end.",
    epilog="Example: billing partners add nw_live --company Northwind --model per_request --per-1000 '2.50 EUR'",
)
Prefix = Annotated[str, typer.Argument(metavar="PREFIX", help="What the partner's keys begin with, such as nw_live.")]
Model = Annotated[str | None, typer.Option("--model", help="flat, per_deed, per_request, hybrid or tiered.")]


def _times() -> Times:
    return Times(SystemClock(), business_clock(load_settings().billing_clock_file))


def _refusals(work: Callable[[AsyncEngine, datetime], Awaitable[T]]) -> T:
    """Do `work`; all that is wrong in what was typed is told, line by line."""
    try:
        return ask(work)
    except Refused as error:
        wrong_usage(*error.reason.splitlines())


@app.command("list")
def list_(
    *,
    limit: Annotated[int, typer.Option(help="At most so many, by prefix.")] = 200,
    after: Annotated[str, typer.Option(help="Only prefixes after this one.")] = "",
    as_json: AsJson = False,
) -> None:
    """All contracts: price in words, how each stands, what was used, the next invoice, and what is wrong.

    Example: billing partners list
    """
    times = _times()

    async def work(engine: AsyncEngine, _: datetime) -> list[dict[str, Any]]:
        sellers = known_sellers(load_settings())
        async with engine.connect() as conn:
            return await listing(conn, times.now(), sellers=sellers, after=after, limit=page_size(limit))

    found = ask(work)
    if as_json:
        render.print_json(found)
    else:
        partners_pages.listing(render.console(), found)


@app.command()
def show(prefix: Prefix, *, as_json: AsJson = False) -> None:
    """One contract: its versions, the usage of this month, its periods and invoices, its keys.

    Example: billing partners show nw_live
    """
    times = _times()

    async def work(engine: AsyncEngine, _: datetime) -> dict[str, Any]:
        sellers = known_sellers(load_settings())
        async with engine.connect() as conn:
            return await story(conn, prefix, times.now(), sellers=sellers)

    found = ask(work)
    if as_json:
        render.print_json(found)
    else:
        partners_pages.story_page(render.console(), found)


def _act(work: Callable[[Tx], Awaitable[T]], *, dry_run: bool) -> T:
    times = _times()

    async def acted(engine: AsyncEngine, _: datetime) -> T:
        async with hand(engine, times, dry_run=dry_run) as tx:
            return await work(tx)

    return _refusals(acted)


def _say(words: str, *, dry_run: bool, would: str) -> None:
    said = f"{words}: {would}; nothing was changed" if dry_run else words
    render.console().print(Text(render.safe(said)))


def _told(contract: Contract, changed: Mapping[str, Sequence[Any]] | None, *, dry_run: bool) -> dict[str, Any]:
    return {
        "api_key_prefix": contract.api_key_prefix,
        "version": contract.version,
        "valid_from": contract.valid_from.isoformat(),
        "price": contract_words.price(contract),
        "fields": written(contract),
        "changed": changed,
        "dry_run": dry_run,
    }


@app.command()
def add(
    prefix: Prefix,
    *,
    company: Annotated[str | None, typer.Option(help="The company's name, as invoices show it.")] = None,
    model: Model = None,
    fee: Fee = None,
    per_deed: PerDeed = None,
    per_1000: Per1000 = None,
    included: Included = None,
    currency: Annotated[str | None, typer.Option(help="Three letters, such as eur; by default usd.")] = None,
    start: Annotated[str | None, typer.Option(help="The first day that is billed, such as 2026-11-01.")] = None,
    email: Annotated[str | None, typer.Option(help="Where invoices are mailed to.")] = None,
    assigned: Set = None,
    file: File = None,
    why: Why = None,
    who: Who = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Agree with a new partner. All that is wrong in what was typed is told at once, each with the fix.

    Example: billing partners add nw_live --company Northwind --model per_request --per-1000 250 --start 2026-12-01
    """
    given = given_terms(
        file,
        assigned,
        api_key_prefix=prefix,
        company=company,
        pricing_model=model,
        monthly_flat_fee_cents=fee,
        per_deed_price_cents=per_deed,
        per_1000_requests_cents=per_1000,
        included_units=included,
        currency=currency,
        contract_start_date=start,
        billing_email=email,
    )

    async def work(tx: Tx) -> Contract:
        return await contract_changes.add(tx, given, actor(who, why), known_sellers(load_settings()))

    made = _act(work, dry_run=dry_run)
    if as_json:
        render.print_json(_told(made, None, dry_run=dry_run))
        return
    said = f"{made.api_key_prefix} ({made.company}) from {made.contract_start_date}: {contract_words.price(made)}"
    _say(f"{said}; {contract_words.billing(made)}", dry_run=dry_run, would="it would be added")


def _changed(
    prefix: str, work: Callable[[Tx], Awaitable[Changed]], *, dry_run: bool, yes: bool, as_json: bool, verb: str
) -> None:
    """Show what becomes other, ask a person, and do it."""
    if not dry_run and not yes and not as_json and render.is_person():
        found = _act(work, dry_run=True)
        partners_pages.changes(render.console(), found.changed, found.contract.currency)
        if not render.confirmed(f"{verb} {prefix} so?", yes=False):
            fail("nothing was changed", 1)
    found = _act(work, dry_run=dry_run)
    if as_json:
        render.print_json(_told(found.contract, found.changed, dry_run=dry_run))
        return
    if dry_run or yes or not render.is_person():
        partners_pages.changes(render.console(), found.changed, found.contract.currency)
    said = f"{prefix} version {found.contract.version} from {found.contract.valid_from}"
    _say(f"{said}: {contract_words.price(found.contract)}", dry_run=dry_run, would="so it would be")


@app.command()
def change(
    prefix: Prefix,
    *,
    on: Annotated[str, typer.Option("--from", help="The day from which it holds, such as 2026-12-01.")],
    model: Model = None,
    fee: Fee = None,
    per_deed: PerDeed = None,
    per_1000: Per1000 = None,
    included: Included = None,
    assigned: Set = None,
    file: File = None,
    why: Why = None,
    who: Who = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Agree on other terms from a day on, as a new version; what was invoiced stays as it was agreed then.

    Example: billing partners change nw_live --from 2026-12-01 --per-1000 '2.20 EUR' --why 'renewed for a year'
    """
    given = given_terms(
        file,
        assigned,
        pricing_model=model,
        monthly_flat_fee_cents=fee,
        per_deed_price_cents=per_deed,
        per_1000_requests_cents=per_1000,
        included_units=included,
    )
    given.pop("valid_from", None)

    async def work(tx: Tx) -> Changed:
        by = actor(who, why)
        return await contract_changes.change(tx, prefix, on, given, by, sellers=known_sellers(load_settings()))

    _changed(prefix, work, dry_run=dry_run, yes=yes, as_json=as_json, verb="Change")


@app.command()
def correct(
    prefix: Prefix,
    *,
    version: Annotated[int | None, typer.Option(help="Which version; by default the one that holds today.")] = None,
    model: Model = None,
    fee: Fee = None,
    per_deed: PerDeed = None,
    per_1000: Per1000 = None,
    included: Included = None,
    assigned: Set = None,
    file: File = None,
    why: Why = None,
    who: Who = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Put a version right. Its prices stay once an invoice was issued by them; address, limits and notes can change.

    Example: billing partners correct nw_live --set billing_email=ap@northwind.example
    """
    given = given_terms(
        file,
        assigned,
        pricing_model=model,
        monthly_flat_fee_cents=fee,
        per_deed_price_cents=per_deed,
        per_1000_requests_cents=per_1000,
        included_units=included,
    )

    async def work(tx: Tx) -> Changed:
        by, sellers = actor(who, why), known_sellers(load_settings())
        return await contract_changes.correct(tx, prefix, given, by, version=version, sellers=sellers)

    _changed(prefix, work, dry_run=dry_run, yes=yes, as_json=as_json, verb="Correct")


def _stand(prefix: str, work: Callable[[Tx], Awaitable[None]], said: str, *, dry_run: bool, as_json: bool) -> None:
    times = _times()

    async def acted(tx: Tx) -> dict[str, Any]:
        await work(tx)
        return await story(tx.conn, prefix, times.now())

    told = _act(acted, dry_run=dry_run)
    if as_json:
        render.print_json(told | {"dry_run": dry_run})
    else:
        _say(said, dry_run=dry_run, would="so it would be")


@app.command()
def pause(
    prefix: Prefix, *, why: Reason = None, who: Who = None, dry_run: DryRun = False, as_json: AsJson = False
) -> None:
    """Invoice nothing of a contract for now; usage is counted all the same, and caught up when it is resumed.

    Example: billing partners pause nw_live --why 'terms are being negotiated'
    """
    by = reasoned(who, why, "billing partners pause nw_live --why 'terms are being negotiated'")

    async def work(tx: Tx) -> None:
        await contract_changes.pause(tx, prefix, by)

    _stand(prefix, work, f"{prefix} is paused: nothing of it is invoiced", dry_run=dry_run, as_json=as_json)


@app.command()
def resume(
    prefix: Prefix, *, why: Reason = None, who: Who = None, dry_run: DryRun = False, as_json: AsJson = False
) -> None:
    """Invoice a contract again, or a draft for the first time; periods that were left out are caught up in order.

    Example: billing partners resume nw_live --why 'terms are agreed'
    """
    by = reasoned(who, why, "billing partners resume nw_live --why 'terms are agreed'")

    async def work(tx: Tx) -> None:
        await contract_changes.resume(tx, prefix, by)

    _stand(prefix, work, f"{prefix} is active: it is invoiced again", dry_run=dry_run, as_json=as_json)


@app.command()
def end(
    prefix: Prefix,
    *,
    on: Annotated[str, typer.Option("--on", help="The last day that is billed, such as 2026-12-31.")],
    why: Reason = None,
    who: Who = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Let a contract end with a day; it is invoiced until then.

    Example: billing partners end nw_live --on 2026-12-31 --why 'notice given on 2026-09-30'
    """
    by: Actor = reasoned(who, why, "billing partners end nw_live --on 2026-12-31 --why 'notice was given'")
    try:
        last: date = day(on, "")
    except WrongError as error:
        fail(f"--on: {error}", USAGE)
    if not dry_run and not render.confirmed(f"Let {prefix} end with {last}?", yes=yes):
        fail("nothing was changed", 1)

    async def work(tx: Tx) -> None:
        await contract_changes.end(tx, prefix, last, by)

    _stand(prefix, work, f"{prefix} ends with {last}: it is invoiced until then", dry_run=dry_run, as_json=as_json)


partners_invoices.register(app)
