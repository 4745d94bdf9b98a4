"""`billing reconcile`: our books beside Stripe's, now and here; and what earlier comparisons found."""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.status import Status
from rich.text import Text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from db import earlier_runs
from db.operators import reconciliation as rows
from db.operators.actions import Actor
from db.operators.filters import BadFilterError, one_of, page_size, period, plain
from db.states import DifferenceClass
from intake import reconciliation as words
from intake.commands import render
from intake.commands.at_work import worker_deps
from intake.commands.connect import NO, USAGE, actor, ask, fail, log_to_stderr, plain_errors, reasoned
from intake.commands.options import AsJson, DryRun, Limit, Reason, Since, Until, Who, Why, Yes, past
from intake.commands.reconcile_pages import difference_table, report_page, run_table
from worker.clock import SystemClock, business_clock
from worker.errors import Held, Refused, TryLater, Unconfigured
from worker.settings import Settings, load_settings

KEY = (
    "STRIPE_SECRET_KEY is not set: give this command the key that the workers have; a restricted one (rk_…) that may "
    "read is enough. Without it nothing can be compared; `billing verify` checks the books alone"
)

PARTS = {
    "events": "reading Stripe's events",
    "applying": "waiting for workers to apply missed events",
    "money": "comparing money with Stripe's balance transactions",
    "older": "comparing a piece of the past once more",
    "states": "comparing invoices, subscriptions and payments",
    "looking": "asking Stripe afresh",
}

app = typer.Typer(
    invoke_without_command=True,
    epilog="Example: billing reconcile --repair --dry-run",
)

Object = Annotated[str | None, typer.Option("--object", help="Only of this object (in_…, ch_…).")]
Class = Annotated[str | None, typer.Option("--class", help="Only of this class, such as missing_here.")]
All = Annotated[bool, typer.Option("--all", help="Also those that were mended, agree by now, or were dismissed.")]
Repair = Annotated[bool, typer.Option("--repair", help="Mend what differs from Stripe's data.")]
Only = Annotated[str | None, typer.Option(metavar="CLASS,…", help="Mend only these classes: missing_here,status.")]
Account = Annotated[str, typer.Option(help="A connected account (acct_…); by default our own.")]
Whose = Annotated[str | None, typer.Option("--account", help="Only of this account (acct_…); `own` is our own.")]
Ids = Annotated[
    list[int] | None, typer.Argument(metavar="[ID]…", help="As `billing reconcile differences` tells them.")
]
Changed = Annotated[
    bool, typer.Option("--account-changed", help="These books are another Stripe account's from now on; say --why.")
]


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be compared and mended."""

    since: str | None
    until: str | None
    account: str
    repairs: frozenset[DifferenceClass]
    dry_run: bool
    account_changed: bool
    by: Actor


@app.callback()
def reconcile(
    context: typer.Context,
    *,
    since: Since = None,
    until: Until = None,
    repair: Repair = False,
    only: Only = None,
    account: Account = "",
    account_changed: Changed = False,
    why: Why = None,
    who: Who = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Compare the books with Stripe now, and tell what does not agree. Ends with 1 when something remains.

    By default since the last complete comparison, with an overlap of a day. --dry-run tells what a repair would mend.

    Example: billing reconcile --repair --why 'the door was down over night'
    """
    if context.invoked_subcommand is not None:
        return
    if account and not account.startswith("acct_"):
        fail("--account: is no account of Stripe's; acct_…, as Connect shows it, or none for our own", USAGE)
    if only is not None and not (repair or dry_run):
        fail("--only names what is mended: add --repair, or --dry-run to see what that would do", USAGE)
    if account_changed and not why:
        fail(
            "--why is missing: billing reconcile --account-changed --why 'the company moved to another account'", USAGE
        )
    with plain_errors():
        mended = words.classes("only", only) if repair or dry_run else frozenset[DifferenceClass]()
    order = Order(since, until, account, mended, dry_run, account_changed, actor(who, why))
    settings = load_settings()
    if settings.stripe_secret_key is None:
        fail(KEY, USAGE)
    found = _compare(order, settings, quiet=as_json)
    if as_json:
        render.print_json(found.json())
    else:
        report_page(render.console(), found)
    if not found.agrees:
        raise typer.Exit(NO)


def _compare(order: Order, settings: Settings, *, quiet: bool) -> Any:
    """Run it in this process. Ends the command when it cannot be done."""
    from jobs.reconciliation.run import NotBegun  # noqa: PLC0415 - listings need no business

    log_to_stderr()
    try:
        with plain_errors():
            return asyncio.run(_run(order, settings, quiet=quiet))
    except (Unconfigured, NotBegun) as error:
        fail(error.reason, USAGE)
    except Held as error:
        fail(f"{error.reason}: billing reconcile list", NO)
    except TryLater as error:
        fail(f"{error.reason}. Nothing is lost: run it again later", NO)
    except Refused as error:
        fail(error.reason, USAGE)


async def _run(order: Order, settings: Settings, *, quiet: bool) -> Any:
    from jobs.reconciliation.run import reconcile as compare  # noqa: PLC0415 - listings need no business
    from jobs.reconciliation.whose import in_books  # noqa: PLC0415 - as above

    console = Console(stderr=True)
    async with worker_deps(settings, name="billing-reconcile", connections=10) as d:
        now = (d.business or d.clock).now()
        begin, end = period(order.since, order.until, now)
        past(begin, end, now)
        account = await in_books(d, plain("account", order.account) or "")
        with console.status("asking Stripe what is new") as status:
            return await compare(
                d,
                asked_by=order.by.who,
                why=order.by.why,
                since=begin,
                until=end,
                repairs=order.repairs,
                dry_run=order.dry_run,
                account=account,
                account_changed=order.account_changed,
                told=_progress(None if quiet or not console.is_terminal else status),
            )


def _progress(status: Status | None) -> Any:
    def told(part: str, done: int, of: int | None) -> None:
        if status is not None:
            count = f": {done:,} of {of:,}" if of is not None else f": {done:,}" if done else ""
            status.update(f"{PARTS.get(part, part)}{count}")

    return told


@app.command("list")
def list_(*, limit: Limit = 20, as_json: AsJson = False) -> None:
    """The comparisons, newest first.

    Example: billing reconcile list
    """

    async def work(engine: AsyncEngine, _: datetime) -> list[dict[str, Any]]:
        async with engine.connect() as conn:
            return [words.run_json(row) for row in await rows.runs(conn, limit=page_size(limit))]

    found = ask(work)
    if as_json:
        render.print_json(found)
    elif not found:
        typer.echo("the books were never compared with Stripe: billing reconcile")
    else:
        render.console().print(run_table(found))


@app.command()
def show(
    run: Annotated[int, typer.Argument(metavar="ID", max=2**63 - 1)], *, limit: Limit = 200, as_json: AsJson = False
) -> None:
    """One comparison: its report, and what became of each difference.

    Example: billing reconcile show 12
    """

    async def work(engine: AsyncEngine, _: datetime) -> dict[str, Any]:
        async with engine.connect() as conn:
            return await rows.run_story(conn, run, limit=page_size(limit))

    row = ask(work)
    told = words.story_json(row)
    if as_json:
        render.print_json(told)
        return
    page, report = render.console(), words.kept(row)
    if report is not None:
        report_page(page, report, differences=False)
    else:
        page.print(run_table([told]))
    if told["error"]:
        page.print(render.text(told["error"], "red"))
    if told["differences"]:
        page.print(difference_table(told["differences"]))


@app.command()
def differences(
    *,
    class_: Class = None,
    object_id: Object = None,
    account: Whose = None,
    all_: All = False,
    limit: Limit = 50,
    as_json: AsJson = False,
) -> None:
    """What does not agree with Stripe, newest first.

    Example: billing reconcile differences --class missing_here
    """

    async def work(engine: AsyncEngine, _: datetime) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        wanted = one_of("class", class_, DifferenceClass)
        name = plain("object", object_id)
        async with engine.connect() as conn:
            of = await _named(conn, account)
            found = await rows.differences(
                conn, limit=page_size(limit), all_=all_, class_=wanted, object_id=name, account=of
            )
            stuck = [row for row in await rows.failed(conn) if row["stripe_account"]]
        return [words.difference_json(row) for row in found], stuck

    found, stuck = ask(work)
    if as_json:
        render.print_json(found)
    elif not found:
        typer.echo("no difference matches" if class_ or object_id or account or all_ else "no difference is open")
    else:
        page = render.console()
        page.print(difference_table(found))
        for line in words.stuck(found, stuck):
            page.print(Text(render.safe(line), style="yellow"))


async def _named(conn: AsyncConnection, account: str | None) -> str | None:
    """The account as the books name it: our own is empty there. None: of all accounts."""
    name = plain("account", account)
    return "" if name is not None and (name == "own" or name in await earlier_runs.own_ids(conn)) else name


@app.command()
def dismiss(
    ids: Ids = None,
    *,
    class_: Class = None,
    account: Whose = None,
    yes: Yes = False,
    why: Reason = None,
    who: Who = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Put differences away that are known and right: they are not told again as long as both sides stay as they are.

    These ids, or all open ones of a class, of an account, or of both.

    Example: billing reconcile dismiss 17 --why 'a test charge of 2019, deleted at Stripe'
    """
    by = reasoned(who, why, "billing reconcile dismiss 17 --why 'a test charge of 2019, deleted at Stripe'")
    if bool(ids) == bool(class_ or account):
        fail("name ids, or a filter: --class, --account, or both", USAGE)
    if any(one < 1 or one >= 2**63 for one in ids or ()):
        with plain_errors():
            raise BadFilterError("filter", "an id is a whole number above 0")

    async def choose(engine: AsyncEngine, _: datetime) -> list[int]:
        wanted = one_of("class", class_, DifferenceClass)
        async with engine.connect() as conn:
            of = await _named(conn, account)
            return await rows.open_ids(conn, class_=wanted, account=of)

    async def work(engine: AsyncEngine, _: datetime) -> list[dict[str, Any]]:
        at = (business_clock(load_settings().billing_clock_file) or SystemClock()).now()
        async with engine.connect() as conn:
            done = await rows.dismiss(conn, chosen, by, now=at)
            await (conn.rollback() if dry_run else conn.commit())
        return [words.difference_json(row) for row in done]

    chosen = sorted(set(ids)) if ids else ask(choose)
    if not (ids or chosen):
        fail("no difference that is open matches", NO)
    asks = not ids and not dry_run and not as_json
    if asks and not render.confirmed(f"dismiss {words.many(len(chosen), 'difference')}?", yes=yes):
        fail("nothing was changed", NO)
    found = ask(work)
    if as_json:
        render.print_json({"dismissed": [one["id"] for one in found], "dry_run": dry_run})
        return
    for one in found:
        name = f"{one['class']} of {one['kind']} {one['object_id']} {one['field']}".strip()
        said = "would be dismissed; nothing was changed" if dry_run else "is dismissed"
        render.console().print(Text(f"{render.safe(name)} {said}"))
