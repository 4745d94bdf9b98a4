"""Our books are laid beside Stripe's: what does not agree is written down, told, and mended on request."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import msgspec
import structlog

from db import earlier_runs
from db import reconciliation as rows
from db.operators.actions import Actor, write_audit
from db.reconciliation import NewRun
from db.states import DifferenceClass
from jobs.reconciliation import letters, looking, report
from jobs.reconciliation.fees import fill
from jobs.reconciliation.fell_due import tell_overdue
from jobs.reconciliation.found import Difference, Stripe, Suspect
from jobs.reconciliation.lists import EVENTS_KEPT, newest, present
from jobs.reconciliation.look_back import compare_again, piece
from jobs.reconciliation.looking import Progress, Run, Span, silent
from jobs.reconciliation.money import Compared, Totals, compare_money, paid_twice
from jobs.reconciliation.open_sets import compare_states
from jobs.reconciliation.replay import replay
from jobs.reconciliation.report import Report
from jobs.reconciliation.whose import right_key
from worker.deps import Deps
from worker.errors import Held, Refused, TryLater, Unconfigured
from worker.failures import describe
from worker.ports import Dated, StripeApi

log = structlog.get_logger()

OVERLAP = timedelta(days=1)
"""A run begins so long before the end of the last one: what was on its way then has come, or never will."""

LATE = timedelta(days=3)
"""Stripe tries for so long to deliver an event; one that came neither by then nor since was missed."""

FIRST = timedelta(days=30)
"""How far the first run looks back at least; further where our books begin earlier."""

MARGIN = timedelta(hours=1)
"""Stripe forgets events of 30 days ago while we ask for them."""

ALIVE = 5.0
"""Seconds between two signs of life."""

ITEM = "subscription_item"
"""What a difference in an item is called; its subscription is asked for."""

BUSY = timedelta(seconds=15)
"""After which a job looks again whether the comparison that goes on has ended."""

PATIENCE = timedelta(seconds=30)
"""So long the events that were fetched again may stand still before the run goes on without them."""


ZERO = {"there": 0, "here": 0}
"""What is told of a currency in which nothing moved."""


class NotBegun(Refused):
    """There is nothing to compare, or Stripe does not let us: no row tells of the run."""


class Counted:
    """Stripe's API, with a count of the requests."""

    def __init__(self, stripe: StripeApi) -> None:
        """Asks `stripe`."""
        self._stripe = stripe
        self.requests = 0

    @property
    def told_at(self) -> datetime | None:
        """As the port says."""
        return self._stripe.told_at if isinstance(self._stripe, Dated) else None

    async def retrieve(self, path: str, **params: Any) -> dict[str, Any]:
        """As the port says."""
        self.requests += 1
        return await self._stripe.retrieve(path, **params)

    async def read(self, path: str, **params: Any) -> bytes:
        """As the port says."""
        self.requests += 1
        return await self._stripe.read(path, **params)

    async def act(
        self, method: Literal["post", "delete"], path: str, *, idempotency_key: str, **params: Any
    ) -> dict[str, Any]:
        """As the port says."""
        self.requests += 1
        return await self._stripe.act(method, path, idempotency_key=idempotency_key, **params)


async def span(
    d: Deps, stripe: Stripe, since: datetime | None, until: datetime | None, whose: str | None = None
) -> Span:
    """From where to where. By default since the last complete run, with an overlap. Raises Refused for an empty one."""
    async with d.tx() as tx:
        cursor = await rows.cursor(tx.conn, stripe.account, livemode=stripe.livemode, whose=whose)
        oldest = await rows.oldest(tx.conn, stripe.account, livemode=stripe.livemode)
    kept = present(d, stripe) - EVENTS_KEPT + MARGIN
    first = min(stripe.as_of - FIRST, oldest or stripe.as_of)
    begin, end = since, min(until or stripe.as_of, stripe.as_of)
    if begin is None:
        begin = first if cursor is None else min(cursor, end) - OVERLAP
    if begin >= end:
        raise Refused(f"nothing happened at Stripe after {begin:%Y-%m-%d %H:%M} UTC: begin earlier")
    heard = None if cursor is None else cursor - LATE
    events = begin if since is not None or heard is None else heard
    gapless = begin <= (first if cursor is None else cursor)
    unheard = heard if heard is not None and heard < kept else None
    return Span(begin, end, max(events, kept), gapless and (cursor is None or end >= cursor), unheard)


async def reconcile(
    d: Deps,
    *,
    asked_by: str,
    since: datetime | None = None,
    until: datetime | None = None,
    repairs: frozenset[DifferenceClass] = frozenset(),
    dry_run: bool = False,
    told: Progress = silent,
    account: str = "",
    why: str | None = None,
    account_changed: bool = False,
    look_back: bool = False,
    patience: timedelta = PATIENCE,
) -> Report:
    """Compare, write down what differs, mend what is of the classes `repairs`, and tell operators.

    Any number of workers and operators may call it; one run of an account goes on at a time. A run that is killed
    anywhere is simply made again. `account_changed`: the key of another account than before is right; `look_back`: a
    piece of the past is compared once more. Raises Held while another one goes on, Unconfigured without a key, NotBegun
    for an empty span or a wrong key, Refused when Stripe does not let us read something, and TryLater when it is away.
    """
    clock = asyncio.get_running_loop().time
    counted, began = Counted(d.stripe), clock()
    # Looks go on at once, and each transaction of a job would wait for the others at its lease. The run's own row
    # keeps a second one away instead, and what a look commits may be committed twice.
    d = replace(d, stripe=counted, lease=None)
    async with d.tx() as tx:  # whoever waits for another run does not ask Stripe each time
        if await rows.under_way(tx.conn, account):
            raise _held(account)
    stripe, compared, whose = await _begin(d, account, since, until, account_changed=account_changed)
    new = NewRun(account, stripe.livemode, asked_by, compared.since, compared.until, repairs, dry_run, whose)
    async with d.tx() as tx:
        number = await rows.begin(tx.conn, new, tx.now)
        if number is None:
            raise _held(account)
        if (repairs or account_changed) and not dry_run:
            details = {"run": number, "repairs": sorted(repairs), "account": account, "stripe_id": whose}
            await write_audit(
                tx.conn, Actor(asked_by, why), "reconciliation.run", str(number), now=tx.now, details=details
            )
    run = Run(d, stripe, compared, repairs, _report(number, new), told, patience)
    try:
        async with _alive(d, number):
            run.report.older = await piece(d, stripe, compared.since) if look_back and not dry_run else None
            await _compare(run)
            run.report.requests = counted.requests
            run.report.milliseconds = int((clock() - began) * 1000)
            await _finish(run)
    except rows.RunLost as lost:  # a machine slept, or hung for long: the other run does all of it
        raise TryLater(str(lost)) from lost
    except BaseException as error:
        await _failed(d, number, error)
        raise
    return run.report


def _held(account: str) -> Held:
    return Held(f"another comparison with Stripe goes on{f' of {account}' if account else ''}", after=BUSY)


async def _begin(
    d: Deps, account: str, since: datetime | None, until: datetime | None, *, account_changed: bool
) -> tuple[Stripe, Span, str | None]:
    try:
        stripe = await newest(d, account)
        whose = await right_key(d, stripe, changed=account_changed)
        return stripe, await span(d, stripe, since, until, whose), whose
    except Unconfigured:
        raise
    except Refused as error:
        raise NotBegun(error.reason) from error


def _report(number: int, new: NewRun) -> Report:
    return Report(
        run=number,
        account=new.account,
        livemode=bool(new.livemode),
        stripe_id=new.stripe_id,
        asked_by=new.asked_by,
        since=new.since,
        until=new.until,
        dry_run=new.dry_run,
        repairs=sorted(new.repairs),
    )


@asynccontextmanager
async def _alive(d: Deps, number: int) -> AsyncGenerator[None]:
    """Show signs of life meanwhile."""

    async def beat() -> None:
        while True:
            await asyncio.sleep(ALIVE)
            try:
                async with d.engine.begin() as conn:
                    await rows.beat(conn, number)
            except rows.RunLost:
                return  # the next thing that is written down finds it out
            except Exception as error:  # noqa: BLE001 - one sign of life more or less
                log.warning("a comparison with Stripe could not show that it lives", error=describe(error))

    task = asyncio.create_task(beat(), name=f"reconciliation {number}")
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _failed(d: Deps, number: int, error: BaseException) -> None:
    """Make room for the next run at once; when that cannot be written down, it follows from the silence."""
    why = "it was stopped" if isinstance(error, asyncio.CancelledError) else looking.reason(error)

    async def write() -> None:
        async with d.engine.begin() as conn:
            await rows.fail(conn, number, why, (d.business or d.clock).now())

    try:
        await asyncio.shield(asyncio.wait_for(write(), 5))
    except Exception as trouble:  # noqa: BLE001 - the run's own error is the one to tell
        log.warning("the end of a comparison could not be written down", error=describe(trouble))


@asynccontextmanager
async def _timed(run: Run, part: str) -> AsyncGenerator[None]:
    clock = asyncio.get_running_loop().time
    began = clock()
    run.told(part, 0, None)
    yield
    run.report.parts[part] = int((clock() - began) * 1000)


async def _compare(run: Run) -> None:
    d, stripe, compared = run.d, run.stripe, run.span
    async with d.tx() as tx:
        run.earlier = await rows.open_differences(tx.conn, stripe.account, livemode=stripe.livemode)
        left = await earlier_runs.left(tx.conn, stripe.account, livemode=stripe.livemode)
        items = await rows.subscriptions_of(tx.conn, [name for kind, name, _, _ in run.earlier if kind == ITEM])
    run.left = {Suspect(one.kind, one.object_id): one.since for one in msgspec.convert(left, list[report.Again])}
    async with _timed(run, "events"):
        await _events(run)
    async with _timed(run, "money"):
        money = await _money(run)
    if (older := run.report.older) is not None:
        async with _timed(run, "older"):
            run.report.compared["balance_transaction"] += await compare_again(d, stripe, older, money)
    async with _timed(run, "states"):
        states = await compare_states(d, stripe, compared.since, compared.until, older)
    run.report.compared |= states.counted
    again = {one for address in run.earlier if (one := looking.asked_by(address, items)) is not None}
    async with _timed(run, "looking"):
        await looking.look_at(run, sorted(money.suspects | states.suspects | again | run.left.keys()))
    if DifferenceClass.MISSING_HERE in run.repairs and not run.report.dry_run:
        run.report.fell_due = await tell_overdue(run)
    await looking.keep_duplicates(run, [*money.duplicates, *await _paid_twice(run, money)])
    await looking.settle(run, items)
    if not run.report.dry_run:  # a payment that is told its fee is derived anew, which hides what was wrong
        run.report.fees = await fill(d, stripe)


async def _money(run: Run) -> Compared:
    """What moved at Stripe. A fee that payments were not told yet is no difference: they are told at the end."""
    money = await compare_money(run.d, _present(run), run.span.since, _end(run), dry_run=run.report.dry_run)
    async with run.d.tx() as tx:
        known = await earlier_runs.currencies(tx.conn, run.stripe.account, livemode=run.stripe.livemode)
    quiet = {currency: {"charges": ZERO, "fees": ZERO} for currency in known - money.totals.keys()}
    run.report.totals = _totals(money.totals | quiet)
    run.report.money = dict(money.counted)
    run.report.compared["balance_transaction"] = money.counted["listed"]
    return money


async def _paid_twice(run: Run, money: Compared) -> list[Difference]:
    """Invoices that are paid too often even after each of their payments was looked at."""
    open_ = [one for one in run.seen if run.report.dry_run or one[2] not in run.repairs]
    before = {name for kind, name, class_, _ in run.earlier if (kind, class_) == ("invoice", DifferenceClass.DUPLICATE)}
    unsettled = {part for _, name, _, _ in open_ for part in name.split(" ")}
    return await paid_twice(run.d, money, decided=run.decided, unsettled=unsettled, before=before)


def _end(run: Run) -> datetime:
    """Until when money is compared: to the present, where nobody asked for less.

    By Stripe's clock: on a quiet account the newest event may be days old.
    """
    return present(run.d, run.stripe) if run.span.until >= run.stripe.as_of else run.span.until


def _present(run: Run) -> Stripe:
    return replace(run.stripe, as_of=max(run.stripe.as_of, _end(run)))


def _totals(found: Totals) -> list[report.Total]:
    return [
        report.Total(currency=currency, money=money, here=sums["here"], there=sums["there"])
        for currency, moneys in sorted(found.items())
        for money, sums in sorted(moneys.items())
    ]


async def _events(run: Run) -> None:
    """Events that Stripe has and our inbox has not: when missing things are mended, they are applied first."""
    if run.span.events_since >= present(run.d, run.stripe):
        return
    put = DifferenceClass.MISSING_HERE in run.repairs and not run.report.dry_run

    def told(done: int) -> None:
        run.told("events", done, None)

    found = await replay(run.d, run.stripe, run.span.events_since, dry_run=not put, told=told)
    run.report.events = report.Events(
        seen=found.seen,
        missed=found.missed,
        put=found.put,
        by_type=dict(found.by_type),
        unread=found.unread,
        dead=found.dead,
        late=0 if put else found.late,
        lost=found.lost,
        oldest=None if found.oldest is None else datetime.fromtimestamp(found.oldest, UTC),
        since=run.span.events_since,
    )
    if found.put:
        await _applied(run)


async def _applied(run: Run) -> None:
    """Wait as long as workers apply what was put into the inbox; without one, it waits for them."""
    clock = asyncio.get_running_loop().time
    last, since = -1, clock()
    while True:
        async with run.d.engine.connect() as conn:
            count = await rows.on_their_way(conn)
        run.told("applying", run.report.events.put - count, run.report.events.put)
        if not count:
            return
        if count != last:
            last, since = count, clock()
        elif clock() - since > run.patience.total_seconds():
            return
        await asyncio.sleep(0.25)


async def _finish(run: Run) -> None:
    """The next run begins where this one ends, if nothing was left out; operators are told."""
    done = run.report
    whole = done.carry() and not (done.skipped or done.events.unread or done.events.late)
    done.advances = run.span.advances and not run.report.dry_run and whole
    async with run.d.tx() as tx:
        done.finished_at = tx.now
        await rows.finish(tx.conn, done.run, done.json(), advances=done.advances, now=tx.now)
        if not run.report.dry_run:
            await letters.mail(tx, done, run.d.settings)
    log.info(
        "the books were laid beside Stripe's",
        run=done.run,
        account=done.account,
        found=done.found,
        mended=done.mended,
        waiting=done.waiting,
        skipped=done.skipped,
    )
