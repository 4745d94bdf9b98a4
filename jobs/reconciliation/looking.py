"""Objects on which the two sides seem to differ are asked for afresh, some at once; what remains is written down."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import structlog

from db import reconciliation as rows
from db.engine import is_away
from db.reconciliation import Address, Compared, Found
from db.states import DifferenceClass
from jobs.reconciliation import on_the_way
from jobs.reconciliation.found import Difference, Looked, Stripe, Suspect
from jobs.reconciliation.lists import newest, present
from jobs.reconciliation.report import Report
from jobs.reconciliation.snapshots import KINDS, look
from worker.deps import Deps
from worker.errors import Refused, TryLater, Unconfigured
from worker.failures import describe

log = structlog.get_logger()

CHUNK = 60
"""Objects after which what was found is written down."""

PARALLEL = 6
"""Objects that are looked at at once: Stripe answers in about 0.2 s, and its limit is 25 a second."""

Progress = Callable[[str, int, int | None], None]
"""Told what is being done, how much of it is done, and of how much, where that is known."""


def silent(part: str, done: int, of: int | None) -> None:
    """Tell nobody."""
    del part, done, of


@dataclass(frozen=True, slots=True)
class Span:
    """What is compared, by Stripe's clock; `advances`: it leaves no gap to what was compared before."""

    since: datetime
    until: datetime
    events_since: datetime
    advances: bool
    unheard_since: datetime | None = None
    """From then until `events_since` nobody can tell which events did not come; None: nothing is lost."""


@dataclass(slots=True)
class Run:
    """A comparison under way."""

    d: Deps
    stripe: Stripe
    span: Span
    repairs: frozenset[DifferenceClass]
    report: Report
    told: Progress = silent
    patience: timedelta = timedelta()
    earlier: dict[Address, Compared] = field(default_factory=dict[Address, Compared])
    """Differences of earlier runs, each with what the run compared that saw it last."""
    left: dict[Suspect, datetime] = field(default_factory=dict[Suspect, datetime])
    """Objects of which the run before could say nothing, each with since when (by Stripe's clock)."""
    seen: set[Address] = field(default_factory=set[Address])
    """All that was found so far; one thing may be found by way of several objects."""
    decided: set[Suspect] = field(default_factory=set[Suspect])
    """Objects of which everything could be said."""

    def would_mend(self, differences: Iterable[Difference]) -> bool:
        """Whether a look with these repairs puts all of it right."""
        return {one.class_ for one in differences} <= self.repairs

    def wait(self, suspect: Suspect, why: str) -> None:
        """Nothing is said of this object yet."""
        now = present(self.d, self.stripe)
        self.report.wait(suspect.kind, suspect.object_id, why, since=self.left.get(suspect, now), now=now)

    def skip(self, suspect: Suspect, why: str) -> None:
        """Nothing can be said of this object."""
        since = self.left.get(suspect) or present(self.d, self.stripe)
        self.report.skip(suspect.kind, suspect.object_id, why, since=since)


@dataclass(frozen=True, slots=True)
class _Skipped:
    """An object that could not be asked for or read."""

    suspect: Suspect
    error: Exception


def asked_by(address: Address, subscriptions: Mapping[str, str]) -> Suspect | None:
    """Which object is asked for to see whether a difference is still there; None: none of Stripe's tells.

    `subscriptions` are those of items.
    """
    kind, name = address[:2]
    if kind in KINDS:
        return Suspect(kind, name)
    match kind:
        case "invoice_payment":
            return Suspect("invoice", name.partition(" ")[0])
        case "payment" if name.startswith("pi_"):
            return Suspect("payment_intent", name)
        case "payment" if name.startswith(("ch_", "py_")):
            return Suspect("charge", name)
        case "subscription_item" if name in subscriptions:
            return Suspect("subscription", subscriptions[name])
        case _:
            return None


async def look_at(run: Run, suspects: Sequence[Suspect]) -> None:
    """Ask for each afresh, unless its webhook may still be on its way; write down what is found.

    Raises TryLater when Stripe stays away, and RunLost when another run was begun meanwhile.
    """
    coming = await on_the_way.named(run.d, run.stripe) if suspects else {}
    wanted: list[Suspect] = []
    for suspect in suspects:
        if (why := coming.get(suspect.object_id)) is None:
            wanted.append(suspect)
        else:
            run.wait(suspect, why)
    gate = asyncio.Semaphore(PARALLEL)
    for begin in range(0, len(wanted), CHUNK):
        run.told("looking", begin, len(wanted))
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_one(run, suspect, gate)) for suspect in wanted[begin : begin + CHUNK]]
        looked = [task.result() for task in tasks]
        await _take(run, await _sayable(run, [one for one in looked if isinstance(one, Looked)]))
        await _leave(run, [one for one in looked if isinstance(one, _Skipped)], of=len(looked))
    run.report.looked = len(wanted)
    run.told("looking", len(wanted), len(wanted))


async def _one(run: Run, suspect: Suspect, gate: asyncio.Semaphore) -> Looked | _Skipped:
    async with gate:
        try:
            return await look(
                run.d,
                run.stripe,
                suspect,
                repairs=run.repairs,
                dry_run=run.report.dry_run,
                run_id=run.report.run,
            )
        except Exception as error:  # noqa: BLE001 - one object that nobody can read must not hide the others
            return _Skipped(suspect, error)


def reason(error: BaseException) -> str:
    """An error as operators are told it."""
    return error.reason if isinstance(error, TryLater | Refused) else describe(error)


async def _leave(run: Run, skipped: Sequence[_Skipped], *, of: int) -> None:
    """One object that Stripe never answers for must not hide all others, each day anew.

    Raises what will pass, when Stripe or the database is away: then all is made again.
    """
    for one in skipped:
        if isinstance(one.error, Unconfigured) or is_away(one.error):
            raise one.error
    away = [one.error for one in skipped if isinstance(one.error, TryLater)]
    if away and len(away) == of > PARALLEL:  # each costs minutes of trying
        raise away[0]
    if away:
        await newest(run.d, run.stripe.account)  # raises when it is not about these objects
    for one in skipped:
        log.warning("an object of Stripe's could not be compared", object=one.suspect.object_id, why=reason(one.error))
        run.skip(one.suspect, reason(one.error))


async def _sayable(run: Run, found: list[Looked]) -> list[Looked]:
    """Those that were looked at, and of which something can be said already."""
    if not any(one.differences and not one.mended for one in found):
        return found
    # It may have changed at Stripe since the run began: then the same look would find nothing a minute later.
    coming = await on_the_way.named(run.d, run.stripe)
    return [
        replace(one, differences=(), waits=why)
        if one.differences and not one.mended and (why := coming.get(one.suspect.object_id)) is not None
        else one
        for one in found
    ]


async def _take(run: Run, looked: Sequence[Looked]) -> None:
    found: list[Found] = []
    for one in looked:
        if one.waits is not None:
            run.wait(one.suspect, one.waits)
            continue
        run.decided.add(one.suspect)
        mended = one.mended or (run.report.dry_run and run.would_mend(one.differences))
        found += [_found(each, mended=mended) for each in one.differences]
    await keep(run, found)


def _found(one: Difference, *, mended: bool) -> Found:
    return Found(one.kind, one.object_id, one.class_, one.field, one.here, one.there, one.currency, mended)


async def keep(run: Run, found: Iterable[Found]) -> None:
    """Write down what was not found before by this run, and count it."""
    new = {one.address: one for one in found if one.address not in run.seen}
    run.seen |= new.keys()
    told = run.report
    if told.dry_run or not new:
        told.add(new.values())
        return
    async with run.d.tx() as tx:
        await rows.hold(tx.conn, told.run)
        dismissed = await rows.record(
            tx.conn, told.run, told.account, list(new.values()), livemode=told.livemode, now=tx.now
        )
    told.add(new.values(), dismissed)


async def keep_duplicates(run: Run, duplicates: Iterable[Difference]) -> None:
    """What comes twice was found by comparing many; a person decides which one is right."""
    await keep(run, [_found(one, mended=False) for one in duplicates])


def by_comparison(address: Address) -> bool:
    """Whether a difference is found by comparing many, and by no look at one object."""
    kind, _, class_, field_ = address
    return kind == "balance_transaction" or (class_ == DifferenceClass.DUPLICATE and bool(field_))


async def settle(run: Run, subscriptions: Mapping[str, str]) -> None:
    """Differences of earlier runs that are there no more: their object was asked for, and agrees.

    What was found by comparing many is only gone when no less was compared than by the run that saw it last.
    """
    gone: list[Address] = []
    for address, (since, until) in run.earlier.items():
        if address in run.seen:
            continue
        compared = run.span.since <= since and run.span.until >= until
        if compared if by_comparison(address) else asked_by(address, subscriptions) in run.decided:
            gone.append(address)
    run.report.settled = len(gone)
    if run.report.dry_run or not gone:
        return
    async with run.d.tx() as tx:
        await rows.hold(tx.conn, run.report.run)
        await rows.agree(tx.conn, run.report.run, run.report.account, gone, tx.now)
