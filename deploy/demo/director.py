"""The demo's pace: a year of history played quickly, then a clock that one can watch, up to the present and on."""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import chain

from deploy.demo.acts import Beat
from deploy.demo.api_partners import ApiPartners
from deploy.demo.bookkeeper import EVERY, Bookkeeper
from deploy.demo.calendar import Calendar
from deploy.demo.chaos import LIVE_SECONDS, Chaos
from deploy.demo.company import money
from deploy.demo.compare_dunning import Figures
from deploy.demo.compare_rows import Difference
from deploy.demo.feed import Feed
from deploy.demo.improvise import Improviser
from deploy.demo.ledger import Ledger
from deploy.demo.screen import Screen
from deploy.demo.story import Story
from deploy.demo.stripe_client import StoppedError, StripeClient

HOUR, DAY = 3600, 86_400

STEP = DAY
"""Seconds of Stripe's time that the history moves at most at once."""

BACKLOG = 3_000
"""Events that may wait to be applied before the history waits for the workers."""

PATIENCE = 2.0
"""Seconds that the history waits at the end of a day for the workers; they may just have been killed."""

HEARD, HEARD_IN_CHAOS = timedelta(days=2), timedelta(days=6 + EVERY)
"""How late the business hears of something at most: workers may lag a day behind, chaos holds events back for three.

What chaos loses for good is heard of when the books are reconciled, which takes a day at most.
"""

LOOK = 0.025
"""Seconds between two looks at what the workers still have to do."""

DRAIN_TIMEOUT = 180.0
"""Seconds that the workers may take for what is left, without any progress."""

BREATH = 1.05
"""Seconds between two requests where Stripe's clock is the present: a whole second of it must have passed."""

TICK = 0.25
"""Seconds between two moves of the clock while one watches."""

STATUS_SECONDS = 5.0
"""Between two status lines; on a terminal it changes in place."""

CHECK_SECONDS = 30.0
"""Between two comparisons while one watches."""

SHOWN = 5
"""Differences that are named before the end, at most; the summary names more."""


class StuckError(Exception):
    """The workers do not finish what is left."""


@dataclass(slots=True)
class Director:
    """Moves Stripe's clock, and has the story played by it."""

    stripe: StripeClient
    story: Story
    ledger: Ledger
    calendar: Calendar
    screen: Screen
    stopping: threading.Event
    present: Callable[[], datetime]
    chaos: Chaos | None = None
    partners: ApiPartners | None = None
    bookkeeper: Bookkeeper | None = None
    now: int = 0
    """Stripe's time."""

    different: int | None = None
    """What the last comparison found."""

    _deeds: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])

    # history

    def play(self, beats: Iterable[Beat], start: int, end: int) -> None:
        """Play everything from `start` to `end` as quickly as it goes."""
        self.now = start
        self._deeds = self.chaos.plan(start, end) if self.chaos is not None else []
        while not self.ledger.progress().finished:  # the company's own setting up, once a worker is there
            self._pause(0.05)
        if self.partners is not None:
            self.partners.agree(start)
        story = iter(beats)
        beat = next(story, None)
        while self.now < end:
            at = min(end, self.now + STEP, next_month(self.now))
            while beat is not None and beat.at <= at:
                self._move(beat.at)
                self.story.play(beat)
                beat = next(story, None)
            before = self.now
            self._move(at)
            self._keep_pace()
            if month(at) != month(before) or at == end:
                self._month_is_over(before)
            elif self.screen.is_terminal:
                when = datetime.fromtimestamp(at, UTC)
                self.screen.status(f"{when:%Y-%m-%d} · {len(self.story.shop.customers):,} customers")

    def _move(self, to: int) -> None:
        """Move Stripe's clock; what falls due on the way, chaos or the business's own work, is done at its time.

        A letter that may go from eight to eight would never go if the clock only ever stood at midnight.
        """
        while (due := self.calendar.next_due()) is not None and self.now < due < to:
            self._pass_deeds(due)
            self._set_clock(due)
            self._keep_pace()
        self._pass_deeds(to)
        self._set_clock(to)

    def _run(self, to: int) -> None:
        """Move Stripe's clock from midnight to midnight, as in the history, and let the business keep up.

        What Stripe tells while its clock moves is dated by what the business's clock showed before: a day off at most.
        """
        while self.now < to:
            midnight = (self.now // DAY + 1) * DAY
            self._move(min(to, midnight))
            if self.now >= midnight:
                self._keep_pace()

    def _pass_deeds(self, to: int) -> None:
        while self._deeds and self._deeds[0][0] <= to:
            at, deed = self._deeds.pop(0)
            self._set_clock(at)
            self._do(deed)

    def _set_clock(self, to: int) -> None:
        if self.stopping.is_set():
            raise StoppedError
        if to > self.now:
            if self.bookkeeper is not None and self.now // DAY < to // DAY:
                self._await_bookkeeper()
            before, self.now = self.now, self.stripe.move_clock(to)
            self.calendar.move(before, self.now)
            if self.partners is not None:
                self.partners.pass_days(before, self.now)
            if self.bookkeeper is not None:
                self.bookkeeper.pass_days(before, self.now)

    def _await_bookkeeper(self) -> None:
        """Let no day end before the last night's comparison has: a year's would queue up behind one that was killed.

        Raises StuckError when it does not end.
        """
        end = time.monotonic() + DRAIN_TIMEOUT
        while self.ledger.reconciling():
            if time.monotonic() > end:
                raise StuckError("a comparison with Stripe does not end: see `billing reconcile list`")
            self._pause(LOOK)

    def breathe(self) -> None:
        """Let a second pass before the next request, as it does where people click.

        Stripe dates events by whole seconds: of two changes of a customer within one, nobody can tell the later.
        """
        present = int(self.present().timestamp())
        if self.now >= present:
            self._pause(BREATH)
            present = int(self.present().timestamp())
        self._set_clock(min(self.now + 1, present))

    def _do(self, deed: str) -> None:
        assert self.chaos is not None
        self.screen.deed(self.now, self.chaos.do(deed))

    def _keep_pace(self) -> None:
        """Let the business keep up with its days: what came in is done before the next one begins."""
        patience = time.monotonic() + PATIENCE
        while (left := self.ledger.due()) > BACKLOG or (left and time.monotonic() < patience):
            self._pause(LOOK)

    def _pause(self, seconds: float) -> None:
        if self.stopping.wait(seconds):
            raise StoppedError

    def _month_is_over(self, last: int) -> None:
        difference = ""
        found = self.compare() if self.chaos is not None else []
        if self.chaos is not None:
            difference = f" · difference {len(found)}"
        if (dead := self.ledger.backlog()[1]) > 0:
            difference += f" · dead {dead:,}"
        counts, progress = self.ledger.counts(), self.ledger.progress()
        self.screen.say(
            f"{month(last)} · {counts['customers']:,} customers · {counts['invoices']:,} invoices · "
            f"MRR {worth(self.ledger.mrr())} · applied {progress.finished:,}/{progress.received:,}{difference}"
        )
        self._name(found)

    # comparing

    def drain(self) -> None:
        """Have everything delivered and applied, and what the work itself brought about at Stripe, too.

        Raises StuckError when the workers get no further.
        """
        while True:
            self.stripe.flush()
            self._await_workers()
            if not self.stripe.get("/_sim/deliveries")["pending"]:
                return

    def _await_workers(self) -> None:
        end = time.monotonic() + DRAIN_TIMEOUT
        least: int | None = None
        while (left := self.ledger.backlog()[0]) > 0:
            if least is None or left < least:
                least, end = left, time.monotonic() + DRAIN_TIMEOUT
            if time.monotonic() > end:
                raise StuckError(f"{left} events and jobs are left and nothing happens: see `billing status`")
            self._pause(0.05)

    def compare(self) -> list[Difference]:
        """Lay the books side by side, once everything is delivered and applied, and what was lost is found."""
        self.drain()
        if self.bookkeeper is not None:
            self.bookkeeper.reconcile(self.now)
            self.drain()
        found = self.ledger.differences(self.stripe.get("/_sim/books"), self.now, self.heard)
        if self.partners is not None:
            found += self.ledger.partners(self.partners.seed, self.partners.start, self.now)
        self.different = len(found)
        return found

    @property
    def heard(self) -> timedelta:
        """How late the business hears of something at most."""
        return HEARD if self.chaos is None else HEARD_IN_CHAOS

    def dunning(self) -> tuple[Figures, Figures]:
        """What became of invoices that were not paid in time: by Stripe's books, and here."""
        return self.ledger.dunning(self.stripe.get("/_sim/books"), self.now, self.heard)

    # live

    def live(self, beats: Iterable[Beat], speed: float, improviser: Improviser) -> None:
        """Let the clock run `speed` simulated hours a second until it is the present, then in real time, for ever.

        Ends by StoppedError.
        """
        feed = Feed(self.story.shop)
        feed.skip()
        watch = Watch()
        story = iter(beats)
        beat = next(story, None)
        while True:
            self._pause(TICK)
            present = int(self.present().timestamp())
            to = min(present, self.now + max(1, int(watch.lap() * speed * HOUR)))
            while beat is not None and beat.at <= to:
                self._show(feed, beat)
                beat = next(story, None)
            if to == present and watch.every("improvised", improviser.pause()):
                self._show(feed, improviser.beat(to))
            self._run(to)
            self._tell(feed)
            if self.chaos is not None and watch.every("deed", self.chaos.chance.uniform(*LIVE_SECONDS)):
                self._do(self.chaos.any())
            if watch.every("check", CHECK_SECONDS):
                self._check()
                watch.lap()
            if watch.every("status", STATUS_SECONDS):
                self._status()

    def _show(self, feed: Feed, beat: Beat) -> None:
        self._run(beat.at)
        self._tell(feed)
        line = self.story.play(beat)
        if line is not None:
            self.screen.beat(self.now, line)

    def _tell(self, feed: Feed) -> None:
        for at, line in feed.news():
            self.screen.beat(at, line)

    def _check(self) -> None:
        self._name(self.compare())

    def _name(self, found: Sequence[Difference]) -> None:
        for difference in found[:SHOWN]:
            self.screen.say(str(difference), "red")

    def _status(self) -> None:
        progress, mrr = self.ledger.progress(), self.ledger.mrr()
        checked = "not compared yet" if self.different is None else f"difference {self.different}"
        when = datetime.fromtimestamp(self.now, UTC)
        self.screen.status(
            f"Stripe's clock {when:%Y-%m-%d %H:%M} · {progress.received:,} events · lag {progress.lag:.1f} s · "
            f"dead {progress.dead} · MRR {worth(mrr)} · {checked}"
        )


class Watch:
    """Real time while one watches: what is to happen every so many seconds."""

    def __init__(self) -> None:
        """Begins now."""
        self._last = time.monotonic()
        self._next: dict[str, float] = {}

    def lap(self) -> float:
        """Seconds since the last lap."""
        before, self._last = self._last, time.monotonic()
        return self._last - before

    def every(self, what: str, seconds: float) -> bool:
        """Whether `what` is due; it is due `seconds` from the first question, and from each time that it was due."""
        moment = time.monotonic()
        due = self._next.setdefault(what, moment + seconds)
        if moment < due:
            return False
        self._next[what] = moment + seconds
        return True


def month(at: int) -> str:
    """`2026-03`."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m}"


def next_month(at: int) -> int:
    """The first second of the month after `at`."""
    return later(first_of_month(at), 1)


def first_of_month(at: int) -> int:
    """The first second of the month that `at` is in."""
    when = datetime.fromtimestamp(at, UTC)
    return int(datetime(when.year, when.month, 1, tzinfo=UTC).timestamp())


def later(first: int, months: int) -> int:
    """The first second of the month so many months after the one that begins at `first` (before, where negative)."""
    when = datetime.fromtimestamp(first, UTC)
    years, index = divmod(when.year * 12 + when.month - 1 + months, 12)
    return int(datetime(years, index + 1, 1, tzinfo=UTC).timestamp())


def worth(mrr: dict[str, int]) -> str:
    """Revenue by currency, never added up."""
    return " ".join(money(cents, currency) for currency, cents in mrr.items()) or "none"


def split(beats: Iterable[Beat], at: int) -> tuple[list[Beat], Iterable[Beat]]:
    """The beats before `at` (seconds since 1970), and the rest."""
    rest = iter(beats)
    before: list[Beat] = []
    for beat in rest:
        if beat.at >= at:
            return before, chain([beat], rest)
        before.append(beat)
    return before, rest
