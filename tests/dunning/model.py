"""What must come of an invoice in arrears, told a second time and in other words than the code: docs/dunning.md."""

import copy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, time, timedelta
from itertools import takewhile
from zoneinfo import ZoneInfo

from tests.events.kit import Json

DAY = timedelta(days=1)
SETTLED = ("recovered", "void", "refunded", "disputed")
LOOK, LAST = 3 * DAY, 30 * DAY
AT_STRIPE = {"cancel_at_stripe": "delete", "pause_collection": "post"}


@dataclass(frozen=True)
class Kind:
    """A policy: days, letters, the action of the last one, and when letters may go."""

    name: str
    days: tuple[int, ...]
    action: str
    opens: time = time(8)
    closes: time = time(20)
    weekends: bool = False

    @property
    def steps(self) -> list[Json]:
        letters = ["payment_failed", *["dunning_reminder"] * (len(self.days) - 2), "final_notice"]
        if self.action != "none":
            letters = [*letters[:-2], *letters[-1:]] if len(letters) > 2 else letters[:1]
            letters.append("access_suspended")
        last = len(self.days) - 1
        return [
            {"day": day, "letter": letter, "action": self.action if n == last else "none"}
            for n, (day, letter) in enumerate(zip(self.days, letters, strict=True))
        ]

    def window(self, local: datetime) -> datetime:
        """From a naive local time on, the first at which letters may go."""
        while True:
            if local.time() >= self.closes:
                local = datetime.combine(local.date() + DAY, time())
            elif local.time() < self.opens:
                local = datetime.combine(local.date(), self.opens)
            elif not self.weekends and local.isoweekday() > 5:
                local = datetime.combine(local.date() + DAY, time())
            else:
                return local


def verdict(things: Json, *, blind: str = "") -> str | None:
    """How an invoice stands by these objects: an outcome, `paused`, or nothing. `blind` to what we did ourselves."""
    invoice, subscription, customer = things["in_1"], things["sub_1"], things["cus_1"]
    charge: Json = things.get("ch_1", {}) if invoice["status"] == "paid" else {}
    canceled = subscription["status"] == "canceled" and blind != "cancel_at_stripe"
    why = subscription["cancellation_details"]["reason"] if canceled else None
    found = [
        ("disputed", charge.get("disputed") and things["dp_1"]["status"] != "won"),
        ("refunded", charge.get("refunded")),
        ("void", invoice["status"] == "paid" and invoice["amount_due"] == 0),
        ("recovered", invoice["status"] == "paid"),
        ("void", invoice["status"] == "void"),
        ("lost", invoice["status"] == "uncollectible"),
        ("canceled", customer.get("deleted")),
        ("lost", why == "payment_failed"),
        ("canceled", canceled),
        ("exempt", "off" in {each.get("metadata", {}).get("dunning") for each in (customer, subscription)}),
        ("paused", subscription.get("pause_collection") and blind != "pause_collection"),
    ]
    return next((name for name, holds in found if holds), None)


@dataclass
class Job:
    """Something that a worker will do."""

    what: str
    due: datetime
    forced: bool = False
    tried: bool = False


class AwayError(Exception):
    """Stripe did not answer: the job is tried again."""


@dataclass
class Model:
    """One case, and the worker's queue."""

    now: datetime
    keyless: bool = False
    things: Json = field(default_factory=dict)
    """Stripe, as it is."""
    books: Json = field(default_factory=dict)
    """The newest of each object that was told."""
    failures: list[datetime] = field(default_factory=list)
    """Those that were told."""
    policies: dict[str, Kind] = field(default_factory=dict)
    case_id: int = 0
    kind: Kind | None = None
    failed_at: datetime = datetime(1970, 1, 1, tzinfo=UTC)
    zone: str = "UTC"
    status: str = "open"
    outcome: str | None = None
    paused_by: str | None = None
    until: datetime | None = None
    grace: int = 0
    steps: list[tuple[int, str, datetime, datetime]] = field(default_factory=list)
    """Position, outcome, when due, when done."""
    acting: str | None = None
    final: str | None = None
    next: datetime | None = None
    turn: Job | None = None
    jobs: list[Job] = field(default_factory=list)
    letters: dict[str, str] = field(default_factory=dict)
    acts: list[tuple[str, str]] = field(default_factory=list)
    resumed: bool = False
    silent: str | None = None
    away: bool = False
    stale: bool = False
    """Paused, as nobody was told of it in time."""
    parked: int = 0
    """How often a person was called."""

    # --- what can be asked --------------------------------------------------------------------------------------------

    @property
    def policy(self) -> Kind:
        assert self.kind is not None
        return self.kind

    @property
    def done(self) -> int:
        return len(self.steps) - 1

    @property
    def last(self) -> int:
        return len(self.policy.days) - 1

    @property
    def taken(self) -> list[datetime]:
        return [at for _, outcome, _, at in self.steps if outcome == "taken"]

    @property
    def user(self) -> str:
        """`users.dunning_status`."""
        if self.final is not None and self.outcome in {None, "lost", "canceled"}:
            return "blocked"
        return "warning" if self.taken and self.status != "closed" else "active"

    def local(self, at: datetime) -> datetime:
        return at.astimezone(ZoneInfo(self.zone)).replace(tzinfo=None)

    def moment(self, local: datetime) -> datetime:
        return local.replace(tzinfo=ZoneInfo(self.zone)).astimezone(UTC)

    def opened(self, at: datetime) -> datetime:
        """The first moment from `at` on when letters may go."""
        local = self.local(at)
        return at if self.policy.window(local) == local else self.moment(self.policy.window(local))

    def due(self, position: int) -> datetime:
        days = self.policy.days[position] + self.grace
        at = self.failed_at
        if days:
            at = self.moment(self.policy.window(self.local(at) + days * DAY))
        if position == self.last and self.policy.action != "none" and self.taken:
            gap = self.policy.days[position] - self.policy.days[position - 1]
            notice = gap * DAY if len(self.taken) == 1 else DAY
            at = max(at, self.opened(self.taken[-1] + notice))
        return at

    # --- a case goes on or ends ---------------------------------------------------------------------------------------

    def look_at(self, at: datetime, *, forced: bool = False) -> None:
        self.next, self.turn = at, Job("turn", at, forced)
        self.jobs.append(self.turn)

    def goes_on(self) -> None:
        self.status, self.paused_by, self.until, self.stale = "open", None, None, False
        if self.acting is not None:
            self.jobs.append(Job(self.acting, self.now))
        if self.done < self.last:
            self.look_at(self.due(self.done + 1))
        else:
            self.look_at((self.taken[-1] if self.taken else self.now) + LAST)

    def ends(self, outcome: str) -> None:
        self.status, self.outcome, self.paused_by, self.until = "closed", outcome, None, None
        self.next = self.turn = None
        if outcome == "recovered" and self.taken:
            self.letters["recovered/in_1"] = "recovered"
        if "pause_collection" in {self.final, self.acting} and outcome != "lost" and not self.resumed:
            self.resumed = True
            self.jobs.append(Job("resume", self.now))

    def key(self, action: str) -> str:
        return f"dunning/in_1/{self.last}/{action}"

    def marked(self, action: str) -> bool:
        """Whether Stripe shows that it was us."""
        subscription = self.things["sub_1"]
        if action == "cancel_at_stripe":
            details: Json = subscription.get("cancellation_details") or {}
            return bool(details.get("comment") == self.key(action))
        return bool(subscription["metadata"].get("billing_dunning") == self.key(action))

    def judged(self, things: Json, *, fresh: bool) -> None:
        """The case follows what was seen."""
        blind = self.acting or ""
        if blind == "cancel_at_stripe" and fresh and not self.marked(blind):
            blind = ""
        if "pause_collection" in {self.acting, self.final}:
            blind = "pause_collection"
        found = verdict(things, blind=blind)
        if self.status == "closed":
            if found in SETTLED and self.outcome in {"lost", "canceled", "exempt"}:
                self.ends(found)
        elif found == "paused":
            if self.status == "open":
                self.status, self.paused_by = "paused", "stripe"
                self.look_at(self.now + LOOK)
        elif found is not None:
            self.ends(found)
        elif self.paused_by == "stripe":
            self.goes_on()

    # --- Stripe tells -------------------------------------------------------------------------------------------------

    def told(self, kind: str, thing: Json, created: datetime) -> None:
        """An event is delivered, now."""
        known = self.books.get(thing["id"])
        if known is None or known["told"] < created:
            self.books[thing["id"]] = thing | {"told": created}
        failure = kind == "invoice.payment_failed"
        if failure:
            self.failures.append(created)
        if "in_1" not in self.books:
            return
        since = created if failure else max(self.failures, default=None)
        owed = self.books["in_1"]["status"] == "open" and verdict(self.books) in {None, "paused"}
        if self.kind is None:
            if owed and since is not None and thing["id"] != "cus_1":
                self.opens(since)
            return
        if self.status == "closed" and not kind.startswith("invoice."):
            return
        earlier = owed and since is not None and since < self.failed_at
        if earlier and since is not None:
            self.failed_at = since
        self.judged(self.books, fresh=False)
        if earlier and self.status == "open":
            self.goes_on()

    def opens(self, since: datetime) -> None:
        tier = self.books["sub_1"]["metadata"].get("tier")
        self.kind, self.failed_at = self.policies["pro" if tier == "pro" else "all"], since
        self.judged(self.books, fresh=False)
        if self.status == "open":
            self.look_at(self.now)

    # --- the worker ---------------------------------------------------------------------------------------------------

    def works(self, things: Json, *, away: bool, silent: str | None) -> None:
        """All that is due is done; what failed before is tried again first."""
        self.things, self.away, self.silent = copy.deepcopy(things), away, silent
        self.jobs = [replace(job, due=self.now) if job.tried and job is not self.turn else job for job in self.jobs]
        if self.turn is not None and self.turn.tried:
            self.turn.due = self.now
        while due := [job for job in self.jobs if job.due <= self.now]:
            for job in due:
                try:
                    self.does(job)
                    self.jobs.remove(job)
                except AwayError:
                    job.tried, job.due = True, datetime.max.replace(tzinfo=UTC)

    def reads(self) -> Json:
        if self.keyless:
            return self.books
        if self.away:
            raise AwayError
        return self.things

    def does(self, job: Job) -> None:
        if job.what == "turn":
            if job is self.turn:
                self.turns(forced=job.forced)
        elif job.what == "resume":
            self.reads()
            if self.marked("pause_collection") and self.things["sub_1"]["status"] != "canceled":
                self.acts.append(("post", self.key("resume_collection")))
                self.things["sub_1"] |= {"pause_collection": None}
                self.things["sub_1"]["metadata"].pop("billing_dunning")
                self.answered()
        else:
            self.acted(job.what)

    def answered(self) -> None:
        silent, self.silent = self.silent, None
        if silent == "after":
            raise AwayError

    def turns(self, *, forced: bool = False) -> None:
        mine, seen = self.turn, self.reads()
        self.zone = seen["cus_1"].get("metadata", {}).get("timezone") or "UTC"
        self.judged(seen, fresh=not self.keyless)
        if self.status == "closed" or self.turn is not mine:
            return
        late = self.done < self.last and self.now - self.due(self.done + 1) > 7 * DAY
        if self.keyless and not self.taken and self.status == "open" and late:
            self.status, self.paused_by, self.next, self.turn, self.stale = "paused", "operator", None, None, True
            return
        if self.paused_by == "stripe":
            self.look_at(self.now + LOOK)
        elif self.paused_by == "operator":
            if self.until is not None and self.until <= self.now:
                self.goes_on()
        elif self.done == self.last:
            if self.acting or (self.next is not None and self.next > self.now):
                self.look_at(max(self.next or self.now, self.now + LOOK))
            else:
                self.ends("lost")
        else:
            self.takes(forced=forced)

    def takes(self, *, forced: bool) -> None:
        ahead = range(self.done + 1, self.last + 1)
        due = [self.done + 1] if forced else list(takewhile(lambda n: self.due(n) <= self.now, ahead))
        if not due:
            self.look_at(self.due(self.done + 1))
            return
        acts = self.policy.action != "none"
        if acts and len(due) > 1 and due[-1] == self.last:
            due.pop()
        position = due[-1]
        first = self.policy.days[position] + self.grace == 0
        if not (forced or first) and (at := self.opened(self.now)) > self.now:
            self.look_at(at)
            return
        self.steps += [
            (n, "taken" if n == position else "collapsed", at, self.now) for n, at in [(n, self.due(n)) for n in due]
        ]
        if acts and position == self.last:
            if self.policy.action in AT_STRIPE:
                self.acting = self.policy.action
            else:
                self.final = self.policy.action
        if self.acting is None:
            self.letters[f"dunning/in_1/{position}"] = self.policy.steps[position]["letter"]
        self.look_at(self.due(position + 1) if position < self.last else self.now + LAST)
        if self.acting is not None:
            self.jobs.append(Job(self.acting, self.now))

    def acted(self, action: str) -> None:
        """The last step's action is done at Stripe, once, and then told."""
        seen = self.reads()
        subscription = self.things["sub_1"]
        over, paused = subscription["status"] == "canceled", subscription["pause_collection"]
        if not (self.marked(action) and (over if action == "cancel_at_stripe" else paused)):
            if self.acting != action or not self.still_wanted(seen):
                return
            self.acts.append((AT_STRIPE[action], self.key(action)))
            if action == "cancel_at_stripe":
                details = {"reason": "cancellation_requested", "comment": self.key(action)}
                subscription |= {"status": "canceled", "cancellation_details": details}
            else:
                subscription["pause_collection"] = {"behavior": "void"}
                subscription["metadata"]["billing_dunning"] = self.key(action)
            self.answered()
        if self.acting != action:
            return
        canceled = action == "cancel_at_stripe"
        if canceled and verdict(self.things, blind=action) in SETTLED:
            self.judged(self.things, fresh=True)
        self.acting, self.final = None, action
        self.parked += canceled and self.outcome in SETTLED
        if self.status != "closed":
            if self.paused_by == "stripe":
                self.status, self.paused_by = "open", None
            self.letters[f"dunning/in_1/{self.last}"] = "access_suspended"
            if action == "cancel_at_stripe":
                self.ends("lost")
        elif action == "pause_collection" and self.outcome != "lost":
            self.jobs.append(Job("resume", self.now))

    def still_wanted(self, seen: Json) -> bool:
        self.judged(seen, fresh=True)
        if self.status == "open" and self.silent == "before":
            self.silent = None
            raise AwayError
        return self.status == "open"

    # --- operators ----------------------------------------------------------------------------------------------------

    def operated(self, what: str) -> bool:
        """Whether an operator may do it; if so, it is done."""
        left, is_open = self.kind is not None and self.done < self.last, self.status == "open"
        may = {
            "pause": self.paused_by != "operator",
            "pause_until": self.paused_by != "operator",
            "resume": self.paused_by == "operator",
            "skip": is_open and left,
            "send_now": is_open and left,
            "extend": left and self.grace + 3 <= 365,
        }.get(what, True)
        given_up = what == "exempt" and self.outcome in {"lost", "canceled"}
        if self.kind is None or (self.status == "closed" and not given_up) or not may:
            return False
        if what.startswith("pause"):
            self.status, self.paused_by, self.until, self.next, self.turn = "paused", "operator", None, None, None
            if what == "pause_until":
                self.until = self.now + 5 * DAY
                self.look_at(self.until)
        elif what == "resume":
            if self.stale:
                self.grace += (self.now - self.due(self.done + 1)).days
            self.goes_on()
        elif what == "skip":
            self.steps.append((self.done + 1, "skipped", self.due(self.done + 1), self.now))
            self.look_at(self.due(self.done + 1) if self.done < self.last else self.now + LAST)
        elif what == "send_now":
            self.look_at(self.now, forced=True)
        elif what == "extend":
            self.grace += 3
            if is_open:
                self.goes_on()
        else:
            self.ends(what)
        return True
