"""When an unpaid invoice is written about, what is done at the end, and what ends the matter before."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from enum import StrEnum
from itertools import pairwise

from db.states import CaseOutcome

SATURDAY = 5


class Action(StrEnum):
    """What a policy may do when nothing else has helped."""

    MARK_BLOCKED = "mark_blocked"
    CANCEL_AT_STRIPE = "cancel_at_stripe"
    PAUSE_COLLECTION = "pause_collection"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Step:
    """One step: so many days after the failure, this letter; and perhaps an action."""

    day: int
    letter: str
    action: Action = Action.NONE


@dataclass(frozen=True, slots=True)
class Hours:
    """When letters may go, by the customer's own clock: from `opens` to `closes`, and at weekends or not.

    The first letter of a case is no reminder: it tells at once what has happened, whatever the hour.
    """

    opens: time = time(8)
    closes: time = time(20)
    weekends: bool = False

    def __post_init__(self) -> None:
        if self.opens >= self.closes:
            raise ValueError(f"letters may go from {self.opens} to {self.closes}: that is never")

    def next_open(self, local: datetime) -> datetime:
        """The first moment from `local` on at which letters may go, in the same time zone."""
        if local.timetz().replace(tzinfo=None) >= self.closes:
            local = _at(local.date() + timedelta(days=1), self.opens, local.tzinfo)
        elif local.timetz().replace(tzinfo=None) < self.opens:
            local = _at(local.date(), self.opens, local.tzinfo)
        if not self.weekends and local.weekday() >= SATURDAY:
            monday = local.date() + timedelta(days=7 - local.weekday())
            local = _at(monday, self.opens, local.tzinfo)
        return local


@dataclass(frozen=True, slots=True)
class Policy:
    """How a kind of customer is dunned."""

    name: str
    steps: tuple[Step, ...]
    hours: Hours = Hours()

    def __post_init__(self) -> None:
        """Raises ValueError with a line for each step that is wrong, saying how."""
        if found := list(mistakes(self.steps)):
            raise ValueError("\n".join(found))


def mistakes(steps: Sequence[Step]) -> Iterator[str]:
    """What is wrong with the steps of a policy, each in a line."""
    if not steps:
        yield "has no steps: give at least one, such as {day: 0, letter: payment_failed}"
        return
    if steps[0].day < 0:
        yield f"day {steps[0].day} lies before the failure"
    if steps[0].action is not Action.NONE:
        yield f"day {steps[0].day} acts ({steps[0].action}) before anybody was written to: a letter must come first"
    for earlier, later in pairwise(steps):
        yield from out_of_order(earlier, later)


def out_of_order(earlier: Step, later: Step) -> Iterator[str]:
    """What is wrong between two steps that follow each other."""
    if later.day <= earlier.day:
        yield f"day {later.day} comes after day {earlier.day}: days must grow from step to step"
    if earlier.action is not Action.NONE:
        yield f"day {earlier.day} ends the matter ({earlier.action}): only the last step may"


DEFAULT = Policy(
    "default",
    (
        Step(0, "payment_failed"),
        Step(3, "dunning_reminder"),
        Step(7, "final_notice"),
        Step(14, "access_suspended", Action.MARK_BLOCKED),
    ),
)
"""Days 0, 3, 7 and 14, as most do it: Stripe's own retries take about as long."""

HARD_DECLINES = frozenset(
    {
        "account_closed",
        "bank_account_restricted",
        "card_not_supported",
        "currency_not_supported",
        "debit_not_authorized",
        "expired_card",
        "fraudulent",
        "incorrect_number",
        "invalid_account",
        "invalid_account_number",
        "invalid_number",
        "lost_card",
        "merchant_blacklist",
        "new_account_information_available",
        "no_account",
        "not_permitted",
        "pickup_card",
        "restricted_card",
        "revocation_of_all_authorizations",
        "revocation_of_authorization",
        "stolen_card",
        "stop_payment_order",
        "transaction_not_allowed",
    }
)
"""Declines that no retry of the same method can turn: https://docs.stripe.com/declines/codes and
https://docs.stripe.com/billing/revenue-recovery/smart-retries#non-retryable-decline-codes."""


def is_hard(*codes: str | None) -> bool:
    """Whether any of the decline or failure codes means that another card is needed."""
    return any(code in HARD_DECLINES for code in codes)


@dataclass(frozen=True, slots=True)
class Standing:
    """An invoice and its subscription as they were read just now."""

    invoice: str
    remaining: int
    """What is still to be paid, in minor units."""
    subscription: str | None = None
    canceled_for: str | None = None
    """Why the subscription was canceled (Stripe's `cancellation_details.reason`)."""
    collection_paused: bool = False
    disputed: bool = False
    refunded: bool = False
    opted_out: bool = False
    customer_deleted: bool = False
    credited: bool = False
    """Nothing was paid, and nothing has to be: a credit note or the customer's balance covers it."""
    covered: bool = False
    """Payments that cover it are booked, though the invoice itself does not tell of them yet."""
    collected_by: str | None = None
    """The invoice at Stripe by which an invoice of our own is collected: that one is dunned, and not both."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The matter is over."""

    outcome: CaseOutcome
    reason: str


@dataclass(frozen=True, slots=True)
class Suspended:
    """Nobody is written to while this lasts."""

    reason: str


OVER = frozenset({"canceled", "incomplete_expired"})
"""Subscriptions that are no more."""

UNPAID_FOR_GOOD = "payment_failed"
"""Stripe's reason for a subscription that it canceled because all retries had failed."""

INVOICES = {
    "paid": Ended(CaseOutcome.RECOVERED, "the invoice is paid"),
    "void": Ended(CaseOutcome.VOID, "the invoice is void"),
    "deleted": Ended(CaseOutcome.VOID, "the invoice was deleted"),
    "uncollectible": Ended(CaseOutcome.LOST, "the invoice was marked uncollectible"),
}


def ended(now: Standing) -> Ended | Suspended | None:
    """What an invoice's standing means for its case: it is over, or suspended; None: it goes on.

    The first that is true decides: what the bank took or we gave back, then the invoice, then whom it is for.
    """
    if now.disputed and now.invoice == "open":
        return _gone(now) or Suspended("a payment of it is disputed: the bank decides")
    over = _given_back(now) or INVOICES.get(now.invoice)
    if over is None and now.remaining <= 0:
        over = Ended(CaseOutcome.RECOVERED, "nothing remains to be paid")
    return over or _gone(now) or _suspended(now)


def _given_back(now: Standing) -> Ended | None:
    if now.disputed:
        return Ended(CaseOutcome.DISPUTED, "the payment is disputed: the bank decides")
    if now.refunded:
        return Ended(CaseOutcome.REFUNDED, "the payment was refunded")
    return Ended(CaseOutcome.VOID, "the invoice was credited") if now.credited else None


def _suspended(now: Standing) -> Suspended | None:
    if now.covered:
        return Suspended("payments that cover it are booked: the invoice has yet to tell of them")
    if now.collected_by is not None:
        return Suspended(f"Stripe's invoice {now.collected_by} collects it, and is dunned in its place")
    return Suspended("collection is paused at Stripe") if now.collection_paused else None


def _gone(now: Standing) -> Ended | None:
    if now.customer_deleted:
        return Ended(CaseOutcome.CANCELED, "the customer was deleted")
    if now.subscription in OVER and now.canceled_for == UNPAID_FOR_GOOD:
        return Ended(CaseOutcome.LOST, "the subscription was canceled because it was not paid")
    if now.subscription in OVER:
        return Ended(CaseOutcome.CANCELED, f"the subscription is {now.subscription}")
    return Ended(CaseOutcome.EXEMPT, "the customer is exempt from dunning") if now.opted_out else None


class OpenedBy(StrEnum):
    """What put an invoice into arrears."""

    PAYMENT_FAILED = "payment_failed"
    PAYMENT_ACTION_REQUIRED = "payment_action_required"
    OVERDUE = "overdue"


@dataclass(frozen=True, slots=True)
class Marks:
    """When Stripe told for the first time that an invoice was not paid, and what kind of invoice it is."""

    failed_at: datetime | None = None
    action_required_at: datetime | None = None
    overdue_at: datetime | None = None
    sent: bool = False
    """`send_invoice`: the customer pays by hand, and is late only when it is overdue."""
    first: bool = False
    """The first invoice of a subscription (`subscription_create`), paid while the customer is at the checkout page."""


REPLACED = frozenset({CaseOutcome.LOST, CaseOutcome.CANCELED, CaseOutcome.EXEMPT})
"""Outcomes in which the invoice may still be owed."""

SETTLED = frozenset({CaseOutcome.RECOVERED, CaseOutcome.VOID, CaseOutcome.REFUNDED, CaseOutcome.DISPUTED})
"""Outcomes in which nothing is owed any more: it was paid, or nobody claims it."""


def replaces(outcome: str | None, verdict: Ended) -> bool:
    """Whether what is known now takes the place of the outcome that a closed case has."""
    return outcome in REPLACED and verdict.outcome in SETTLED


def arrears(now: Standing, marks: Marks) -> tuple[OpenedBy, datetime] | None:
    """Whether an invoice is to be dunned: what put it into arrears, and since when. None: it is not."""
    if isinstance(ended(now), Ended) or now.invoice != "open":
        return None
    if marks.first and not marks.sent and now.subscription in {None, "incomplete"}:
        return None  # until the first payment there is no customer yet: nobody dunns whoever left the checkout page
    told = {OpenedBy.OVERDUE: marks.overdue_at}
    if not marks.sent:
        told[OpenedBy.PAYMENT_FAILED] = marks.failed_at
        told[OpenedBy.PAYMENT_ACTION_REQUIRED] = marks.action_required_at
    known = [(at, by) for by, at in told.items() if at is not None]
    if not known:
        return None
    at, by = min(known)
    return by, at


def letter_for(letter: str, *, sent: bool, confirm: bool) -> str:
    """The letter that a step means: an invoice paid by hand is overdue, and a bank may only want a confirmation."""
    if sent and letter in {"payment_failed", "dunning_reminder"}:
        return "invoice_overdue"
    return "action_required" if confirm and letter == "payment_failed" else letter


NOTICE = timedelta(days=1)
"""Between the last warning and an action at least; it matters only when a warning itself went out late."""

LAST_LOOK = timedelta(days=30)
"""So long after the last step money is still waited for; then the case is lost, until money comes after all."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A case's steps in time."""

    steps: Sequence[Step]
    hours: Hours
    failed_at: datetime
    zone: tzinfo
    grace_days: int = 0
    """Days that an operator gave: all steps not taken yet are that much later."""

    warned_at: datetime | None = None
    """When the newest step was taken; None: none was."""

    only_warning: bool = False
    """That step was the first: who heard of it so late gets as many days as the policy has before the action."""

    at_once: bool = True
    """Whether the first letter goes at whatever hour. A day that ended tells nobody news in the night."""

    def due(self, position: int) -> datetime:
        """When a step is due, in the customer's time zone: days count by the customer's calendar."""
        step = self.steps[position]
        day = step.day + self.grace_days
        local = self.failed_at.astimezone(self.zone)
        if day > 0:
            local = self.hours.next_open(_at(local.date() + timedelta(days=day), local.time(), self.zone))
        if step.action is not Action.NONE and self.warned_at is not None:
            notice = timedelta(days=step.day - self.steps[position - 1].day) if self.only_warning else NOTICE
            local = max(local, self.hours.next_open((self.warned_at + notice).astimezone(self.zone)))
        return local

    def next(self, done: int) -> datetime | None:
        """When the first step after `done` is due; None when there is none."""
        return self.due(done + 1) if done + 1 < len(self.steps) else None

    def take(self, done: int, now: datetime) -> int | None:
        """Which step to take now: the newest due one after `done`, so that a late worker writes once; None: none.

        An action never comes together with the steps before it: who was to be warned is warned first.
        """
        position = None
        for later in range(done + 1, len(self.steps)):
            if self.due(later) > now or (position is not None and self.steps[later].action is not Action.NONE):
                break
            position = later
        return position

    def opening(self, position: int, now: datetime) -> datetime:
        """When a step that is due may be taken: a late one does not go out at night either, but the first does."""
        if self.at_once and self.steps[position].day + self.grace_days == 0:
            return now
        return self.hours.next_open(now.astimezone(self.zone))

    def forecast(self, done: int, now: datetime, *, warnings: int) -> Iterator[tuple[int, datetime]]:
        """Each step that would still be taken, and when, if nobody paid. `warnings` are those taken so far."""
        plan = self
        while (due := plan.next(done)) is not None:
            at = max(due, now)
            at = plan.opening(plan.take(done, at) or done + 1, at)
            position = plan.take(done, at) or done + 1
            yield position, at
            done, warnings = position, warnings + 1
            plan = replace(plan, warned_at=at, only_warning=warnings == 1)


def _at(day: date, at: time, zone: tzinfo | None) -> datetime:
    """A moment of the local calendar. A time that the clocks skip is as much later; one that comes twice is the first.

    https://peps.python.org/pep-0495/: through UTC and back, a skipped time becomes a real one.
    """
    moment = datetime.combine(day, at.replace(tzinfo=None, fold=0), tzinfo=zone)
    return moment.astimezone(UTC).astimezone(zone)
