"""`billing events backfill`: events that no webhook brought are fetched from Stripe, and applied by the workers."""

import asyncio
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from db.operators.actions import Actor, write_audit
from db.operators.filters import BadFilterError, period, plain
from intake.commands import render
from intake.commands.connect import NO, USAGE, actor, fail, log_to_stderr, plain_errors
from intake.commands.options import AsJson, DryRun, Since, Until, Who, Why, Yes, past
from worker.deps import Deps
from worker.errors import Refused, TryLater
from worker.settings import Settings, load_settings

EXAMPLE = "billing events backfill --since 2026-03-01"

KEY = (
    "STRIPE_SECRET_KEY is not set: give this command the key that the workers have; a restricted one (rk_…) that may "
    "read events is enough"
)

Types = Annotated[
    list[str] | None,
    typer.Option("--type", help="Only of this type, such as invoice.paid or invoice.*; may come several times."),
]
Account = Annotated[str, typer.Option(help="A connected account (acct_…); by default our own.")]


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be fetched."""

    since: str | None
    until: str | None
    types: Collection[str]
    account: str
    by: Actor


def backfill(
    *,
    since: Since = None,
    until: Until = None,
    types: Types = None,
    account: Account = "",
    dry_run: DryRun = False,
    yes: Yes = False,
    why: Why = None,
    who: Who = None,
    as_json: AsJson = False,
) -> None:
    """Fetch events that the inbox lacks from Stripe's Events API, oldest first; workers apply them like webhooks.

    Stripe keeps events for 30 days. Safe to repeat, and while webhooks come in. Without --type, types that nobody
    handles are left out. Example: billing events backfill --since 2d --why 'the door was down over night'
    """
    if since is None:
        fail(f"--since is missing: from when on? For example: {EXAMPLE}", USAGE)
    settings = load_settings()
    if settings.stripe_secret_key is None:
        fail(KEY, USAGE)
    order = Order(since, until, types or (), account, actor(who, why))
    asks = not dry_run and not yes and render.is_person()
    found = _run(order, settings, put=not dry_run and not asks, quiet=as_json)
    if asks and found.missed:
        _page(found, as_json=False, put=False)
        if not render.confirmed(f"put {_events(found.missed)} into the inbox?", yes=yes):
            fail("nothing was changed", NO)
        found = _run(order, settings, put=True, quiet=as_json)
    _page(found, as_json=as_json, put=not dry_run)


def _run(order: Order, settings: Settings, *, put: bool, quiet: bool) -> Any:
    """Do it in this process. Ends the command when it cannot be done."""
    log_to_stderr()
    try:
        with plain_errors():
            return asyncio.run(_replay(order, settings, put=put, quiet=quiet))
    except TryLater as error:
        fail(f"{error.reason}. What was fetched is kept: run it again later", NO)
    except Refused as error:
        fail(error.reason, USAGE)


async def _replay(order: Order, settings: Settings, *, put: bool, quiet: bool) -> Any:
    from intake.commands.at_work import worker_deps  # noqa: PLC0415 - other commands about events need no Stripe SDK
    from jobs.reconciliation.lists import newest  # noqa: PLC0415 - nor the business
    from jobs.reconciliation.replay import replay  # noqa: PLC0415 - as above
    from jobs.reconciliation.whose import in_books  # noqa: PLC0415 - as above

    console = Console(stderr=True)
    async with worker_deps(settings, name="billing-backfill", connections=2) as d:
        now = (d.business or d.clock).now()
        begin, end = period(order.since, order.until, now)
        if begin is None:
            raise BadFilterError("since", "is empty")
        past(begin, end, now)
        _known(order.types)
        stripe = await newest(d, await in_books(d, plain("account", order.account) or ""))
        with console.status("asking Stripe what happened") as status:

            def told(seen: int) -> None:
                if not quiet and console.is_terminal:
                    status.update(f"asking Stripe what happened: {seen:,} events")

            found = await replay(d, stripe, begin, dry_run=not put, told=told, until=end, types=order.types)
        if found.put:
            await _audit(d, order, begin, end, found)
        return found


async def _audit(d: Deps, order: Order, begin: datetime, end: datetime | None, found: Any) -> None:
    details = {
        "since": begin.isoformat(),
        "until": None if end is None else end.isoformat(),
        "types": sorted(order.types),
        "account": order.account,
        "put": found.put,
        "by_type": dict(found.by_type),
    }
    async with d.tx() as tx:
        target = _events(found.put)
        await write_audit(tx.conn, order.by, "events.backfill", target, now=tx.wall, details=details)


def _page(found: Any, *, as_json: bool, put: bool) -> None:
    """What was found, by type, and what was done."""
    by_type = dict(sorted(found.by_type.items(), key=lambda each: (-each[1], each[0])))
    if as_json:
        told = {name: getattr(found, name) for name in ("seen", "missed", "put", "dead", "unread", "other_mode")}
        render.print_json({**told, "by_type": by_type, "dry_run": not put})
        return
    page = render.console()
    if by_type:
        made = render.table("type", "missing", right=("missing",))
        for name, count in by_type.items():
            made.add_row(render.text(name), f"{count:,}")
        page.print(made)
    said = f"{found.put:,} {_be(found.put)} put into the inbox" if put else "nothing was changed"
    head = f"{_events(found.seen)} at Stripe, {found.missed:,} of them {_be(found.missed)} not here; {said}"
    page.print(Text(head))
    for count, what in (
        (found.dead, "in the inbox, given up: billing events list --status dead"),
        (found.unread, "could not be read: the log names each"),
        (found.other_mode, "of the other mode, refused (STRIPE_MODE)"),
    ):
        if count:
            page.print(Text(f"{_events(count)} {what}", style="yellow"))


def _events(count: int) -> str:
    return f"{count:,} event" if count == 1 else f"{count:,} events"


def _be(count: int) -> str:
    return "was" if count == 1 else "were"


def _known(types: Collection[str]) -> None:
    """Stripe answers an unknown type with an empty list, as if nothing had been missed. Raises BadFilterError."""
    from worker.adapters.stripe_events import event_types  # noqa: PLC0415 - other commands about events need no Stripe SDK

    known = event_types()
    for name in types:
        if not any(fnmatchcase(one, name) for one in known):
            near = get_close_matches(name.rstrip(".*"), known, n=1) or get_close_matches(name, known, n=1, cutoff=0.4)
            meant = f"did you mean {near[0]!r}?" if near else "https://docs.stripe.com/api/events/types lists them all"
            raise BadFilterError("type", f"{name!r} is no type of event that Stripe has: {meant}")
