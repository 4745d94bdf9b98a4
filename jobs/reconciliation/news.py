"""What a comparison with Stripe leaves to be done, and whether operators have been told of it already.

A comparison by hand may be of an hour, and one of the schedule is of two days: what the one says nothing of is not gone
for that. So each thing is looked up in the newest comparison before that named it, or would have named it.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import TypeAlias

import msgspec

from db import earlier_runs
from db.reconciliation import Address
from jobs.reconciliation.looking import asked_by, by_comparison
from jobs.reconciliation.report import Report, report_from
from worker.deps import Tx

__all__ = ["left", "untold"]

LOOKED_BACK = 60
"""Comparisons that are looked up at most; what none of them said anything of is told once more."""


class Differs(msgspec.Struct, frozen=True):
    """A difference with these values remains."""

    address: Address
    here: str | None
    there: str | None


class More(msgspec.Struct, frozen=True):
    """So many differences of a class remain that not all are named."""

    class_: str
    count: int


class Aside(msgspec.Struct, frozen=True):
    """An object has waited for a day, or could not be compared."""

    kind: str
    object_id: str
    skipped: bool


class Missed(msgspec.Struct, frozen=True):
    """Events did not come since then, and were not fetched."""

    oldest: datetime


class Unread(msgspec.Struct, frozen=True):
    """So many events of Stripe's could not be read."""

    count: int
    since: datetime


Thing: TypeAlias = Differs | More | Aside | Missed | Unread


def left(report: Report) -> set[Thing]:
    """What remains to be done."""
    return set(_left(report))


def _left(report: Report) -> Iterator[Thing]:
    for one in report.differences:
        if not one.mended:
            yield Differs((one.kind, one.object_id, one.class_, one.field), one.here, one.there)
    for name in report.classes:
        if _unnamed(report, name):
            yield More(name, _count(report, name))
    for one in report.waits[: report.overdue]:
        yield Aside(one.kind, one.object_id, skipped=False)
    for one in report.skips:
        yield Aside(one.kind, one.object_id, skipped=True)
    events = report.events
    if (oldest := _missed_since(report)) is not None:
        yield Missed(oldest)
    if events.unread:
        yield Unread(events.unread, events.since or report.since)


def _count(report: Report, class_: str) -> int:
    counted = report.classes.get(class_)
    return 0 if counted is None else counted.found - counted.mended


def _unnamed(report: Report, class_: str) -> bool:
    return _count(report, class_) > sum(one.class_ == class_ and not one.mended for one in report.differences)


def _missed_since(report: Report) -> datetime | None:
    return report.events.oldest if report.events.lost and not report.events.put else None


async def untold(tx: Tx, report: Report) -> bool:
    """Whether something remains that operators have not been told of, or with other values."""
    open_, run = left(report), report.run
    for _ in range(LOOKED_BACK):
        if not open_:
            return False
        row = await earlier_runs.before(tx.conn, run, report.account, livemode=report.livemode)
        if row is None:
            return True
        run = row["id"]
        before = _Before(report_from(row["report"]), report, newest=row["newest"])
        said = {one: before.said(one) for one in open_}
        if False in said.values():
            return True
        open_ = {one for one, told in said.items() if told is None}
    return bool(open_)


class _Before:
    """A comparison that was made before the one of which is told now."""

    def __init__(self, report: Report, now: Report, *, newest: bool) -> None:
        self._report, self._now = report, now
        self._left = left(report)
        self._undecided = {(one.kind, one.object_id) for one in report.again}
        self._wide = newest and report.since <= now.since

    def said(self, thing: Thing) -> bool | None:
        """True: it named it. False: it would have. None: it could say nothing of it."""
        if thing in self._left:
            return True
        match thing:
            case Differs():
                return self._difference(thing)
            case More(class_, count):
                return _count(self._report, class_) >= count or (False if self._wide else None)
            case Aside():  # each comparison asks again for all that waited or was skipped in the one before
                return False
            case Missed(oldest):
                return self._missed(oldest)
            case Unread(count, since):
                asked = self._report.events.since
                return None if asked is None or asked > since else self._report.events.unread >= count

    def _difference(self, thing: Differs) -> bool | None:
        """Open ones are asked for again by each comparison, whatever its span, but for those that no object tells."""
        class_ = thing.address[2]
        if _unnamed(self._report, class_):
            return _count(self._report, class_) >= _count(self._now, class_)
        asked = asked_by(thing.address, {})
        if asked is not None and (asked.kind, asked.object_id) in self._undecided:
            return None
        return None if by_comparison(thing.address) and not self._wide else False

    def _missed(self, oldest: datetime) -> bool | None:
        """All that did not come since the first of them is told of by one word, until that comparison was made."""
        since, at = self._report.events.since, self._report.finished_at
        if since is None or since > oldest:
            return None
        first = _missed_since(self._report)
        return first is not None and at is not None and first <= oldest <= at
