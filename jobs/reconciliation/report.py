"""What a comparison with Stripe came to: kept with the run, and read by all who tell of it."""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec

from db.reconciliation import Found
from db.states import DifferenceClass

SHOWN = 200
"""Differences that a report names; all of them are rows."""

NAMED = 50
"""So many that wait, or could not be asked for, are named."""


CARRIED = 1000
"""So many that wait are kept for the next run, oldest first; when more do, it begins where this one began."""

TOO_LONG = timedelta(hours=23)
"""Who waits for so long waits for something that does not come; the daily run tells of it on the second day."""


class Total(msgspec.Struct, frozen=True, kw_only=True):
    """The sum of one sort of money in one currency, in minor units: in our books and at Stripe."""

    currency: str
    money: str
    """`charges`, `refunds`, `disputes`, `fees` (of payments), `other_fees`, `payouts`."""
    here: int
    there: int

    @property
    def difference(self) -> int:
        """What we have more than Stripe."""
        return self.here - self.there


class Count(msgspec.Struct, kw_only=True):
    """Differences of one class."""

    found: int = 0
    mended: int = 0
    dismissed: int = 0
    """An operator knows them and their values: they are not counted among the found."""


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """A difference, with both sides' values."""

    kind: str
    object_id: str
    class_: str = msgspec.field(name="class")
    field: str
    here: str | None
    there: str | None
    currency: str | None
    mended: bool


class Aside(msgspec.Struct, frozen=True, kw_only=True):
    """An object of which nothing is said, and why."""

    kind: str
    object_id: str
    why: str


class Again(msgspec.Struct, frozen=True, kw_only=True):
    """An object of which nothing could be said: the next run asks for it, whatever it compares."""

    kind: str
    object_id: str
    since: datetime
    """Stripe's time of the run that wanted to look at it first."""


class Piece(msgspec.Struct, frozen=True):
    """A time of long ago that was compared once more, by Stripe's clock."""

    since: datetime
    until: datetime


class Events(msgspec.Struct, kw_only=True):
    """What Stripe's list of events had that the inbox had not."""

    seen: int = 0
    missed: int = 0
    put: int = 0
    """Of the missed ones, those that were put into the inbox."""
    by_type: dict[str, int] = msgspec.field(default_factory=dict[str, int])
    unread: int = 0
    """Of the missed ones, those that could not be read as events: the next run does not begin behind them."""
    dead: int = 0
    """Those that lie in the inbox, given up."""
    late: int = 0
    """Of the missed ones that were not put in, those that happened more than a day ago: they should have come."""
    lost: int = 0
    """Of the missed ones, put in or not, those that happened more than an hour ago: they are no stragglers."""
    oldest: datetime | None = None
    """When the oldest of the missed ones happened."""
    since: datetime | None = None
    """From when on they were asked for; None: not at all."""


class Report(msgspec.Struct, kw_only=True):
    """One comparison of our books with Stripe's, over [since, until] by Stripe's clock."""

    run: int
    account: str
    livemode: bool
    stripe_id: str | None = None
    """Whose key it was; None when the key may not read that, and nobody can tell one account from another."""
    asked_by: str
    since: datetime
    until: datetime
    dry_run: bool
    repairs: list[str]
    older: Piece | None = None
    """What was compared beside [since, until], as each day another piece of the past is."""
    advances: bool = False
    """Whether the next run begins at `until`."""
    finished_at: datetime | None = None
    milliseconds: int = 0
    parts: dict[str, int] = msgspec.field(default_factory=dict[str, int])
    """Milliseconds of each part."""
    requests: int = 0
    events: Events = msgspec.field(default_factory=Events)
    compared: dict[str, int] = msgspec.field(default_factory=dict[str, int])
    """How many objects of each kind Stripe showed."""
    money: dict[str, int] = msgspec.field(default_factory=dict[str, int])
    """Balance transactions: of each sort of money, kept for the first time, too young to be compared, converted."""
    fees: int = 0
    """Payments that learned their fee by the way."""
    looked: int = 0
    """How many objects were asked for afresh."""
    fell_due: int = 0
    """Invoices that became overdue in an outage that was longer than Stripe keeps events: their dunning began."""
    totals: list[Total] = msgspec.field(default_factory=list[Total])
    classes: dict[str, Count] = msgspec.field(default_factory=lambda: {one.value: Count() for one in DifferenceClass})
    differences: list[Told] = msgspec.field(default_factory=list[Told])
    waiting: int = 0
    waits: list[Aside] = msgspec.field(default_factory=list[Aside])
    overdue: int = 0
    """Of those that wait, the ones that do so since the day before, or longer."""
    again: list[Again] = msgspec.field(default_factory=list[Again])
    """All that wait or were skipped."""
    skipped: int = 0
    """Objects that could not be asked for or read: the next run does not begin behind them."""
    skips: list[Aside] = msgspec.field(default_factory=list[Aside])
    settled: int = 0
    """Differences of earlier runs that something else has mended."""

    @property
    def found(self) -> int:
        """All differences, but those that were dismissed."""
        return sum(one.found for one in self.classes.values())

    @property
    def mended(self) -> int:
        """Those that this run has mended, or would mend (in a dry run)."""
        return sum(one.mended for one in self.classes.values())

    @property
    def left(self) -> int:
        """Those that remain."""
        return self.found - self.mended

    @property
    def agrees(self) -> bool:
        """Whether nothing remains to be done; what waits for its webhook is no difference yet, for a day.

        A dry run mends nothing, so all that it found remains.
        """
        remains = self.found if self.dry_run else self.left
        return not (remains or self.skipped or self.overdue or self.events.unread or self.events.late)

    def add(self, found: Iterable[Found], dismissed: Iterable[tuple[str, str, str, str]] = ()) -> None:
        """Count differences; those that somebody has dismissed with these values apart."""
        known = set(dismissed)
        for one in found:
            count = self.classes[one.class_.value]
            if one.address in known:
                count.dismissed += 1
                continue
            count.found += 1
            count.mended += one.mended
            if len(self.differences) < SHOWN:
                self.differences.append(_told(one))

    def wait(self, kind: str, object_id: str, why: str, *, since: datetime, now: datetime) -> None:
        """An event about this object is on its way, since then by Stripe's clock."""
        late = now - since >= TOO_LONG
        self.waiting += 1
        self.overdue += late
        self.again.append(Again(kind=kind, object_id=object_id, since=since))
        self.waits.insert(0 if late else len(self.waits), Aside(kind=kind, object_id=object_id, why=why))
        del self.waits[NAMED:]

    def skip(self, kind: str, object_id: str, why: str, *, since: datetime) -> None:
        """This object could not be compared, since then by Stripe's clock."""
        self.skipped += 1
        self.again.append(Again(kind=kind, object_id=object_id, since=since))
        if len(self.skips) < NAMED:
            self.skips.append(Aside(kind=kind, object_id=object_id, why=why))

    def carry(self) -> bool:
        """Leave to the next run as many as it can take. False when they are not all: it must find them by itself."""
        self.again.sort(key=lambda one: one.since)
        whole = len(self.again) <= CARRIED
        del self.again[CARRIED:]
        return whole

    def json(self) -> dict[str, Any]:
        """As it is kept in the run's row and printed for machines."""
        told: dict[str, Any] = msgspec.to_builtins(self)
        return told | {"found": self.found, "mended": self.mended, "left": self.left, "agrees": self.agrees}


def report_from(kept: Mapping[str, Any]) -> Report:
    """A report as it lies in a run's row."""
    return msgspec.convert(dict(kept), Report)


def _told(one: Found) -> Told:
    return Told(
        kind=one.kind,
        object_id=one.object_id,
        class_=one.class_.value,
        field=one.field,
        here=one.here,
        there=one.there,
        currency=one.currency,
        mended=one.mended,
    )


SIGNS = {"fees": -1, "other_fees": -1, "payouts": 0}
"""Fees are told as what they cost; a payout only moves to the bank what is counted already."""


def by_currency(totals: Iterable[Total]) -> list[tuple[str, int, int]]:
    """Of each currency what came in less what went back and what Stripe kept, here and at Stripe; no payouts."""
    sums: dict[str, tuple[int, int]] = {}
    for one in totals:
        sign = SIGNS.get(one.money, 1)
        here, there = sums.get(one.currency, (0, 0))
        sums[one.currency] = (here + sign * one.here, there + sign * one.there)
    return [(currency, here, there) for currency, (here, there) in sorted(sums.items())]
