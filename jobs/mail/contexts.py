"""What each letter tells, as data: a letter that was staged in a row today is written by tomorrow's template."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from types import MappingProxyType
from typing import Literal

import msgspec

from db.money import Money
from jobs.mail.facts import Amount, Count, Data, Days, Instant, Line, Link, Method, Ordinal, Span, UnitPrice


class Action(StrEnum):
    """What ends a dunning case that nobody paid."""

    BLOCK = "block"
    CANCEL = "cancel"
    PAUSE = "pause"
    NONE = "none"


class Audience(StrEnum):
    """Who reads a letter."""

    CUSTOMER = "customer"
    PARTNER = "partner"
    OPERATOR = "operator"


class _ToSomeone(Data, frozen=True, kw_only=True):
    name: str | None = None


class _OfInvoice(_ToSomeone, frozen=True, kw_only=True):
    """`link` is Stripe's `hosted_invoice_url`."""

    number: str
    amount: Amount
    link: Link | None = None


class Account(Data, frozen=True, kw_only=True):
    """Where money can be sent to; `number`, for accounts without an IBAN, holds number and routing in words."""

    holder: str
    iban: str | None = None
    bic: str | None = None
    bank: str | None = None
    number: str | None = None


class _ByTransfer(_OfInvoice, frozen=True, kw_only=True):
    """An invoice that can be paid to `account`; `attached`: its PDF goes with the letter. Stripe's have a page."""

    account: Account | None = None
    attached: bool = False


class Receipt(_OfInvoice, frozen=True, kw_only=True):
    """`amount` was paid; `discount` is negative. Of an invoice of ours, `remaining` may be to come, paid at `link`."""

    paid_at: Instant
    method: Method | None = None
    period: Span | None = None
    lines: list[Line] = msgspec.field(default_factory=list[Line])
    subtotal: Amount | None = None
    discount: Amount | None = None
    tax: Amount | None = None
    total: Amount | None = None
    pdf_link: Link | None = None
    remaining: Amount | None = None
    attached: bool = False


class PaymentFailed(_OfInvoice, frozen=True, kw_only=True):
    """A charge failed; `hard`: Stripe's lists say that the same card cannot work again. Codes are Stripe's."""

    hard: bool
    decline_code: str | None
    attempt_count: Count
    next_payment_attempt: Instant | None
    method: Method | None = None


class ActionRequired(_OfInvoice, frozen=True, kw_only=True):
    """The bank wants the customer to confirm (3-D Secure), before `expires_at` where there is such a time."""

    expires_at: Instant | None = None
    method: Method | None = None


class _Arrears(_ByTransfer, frozen=True, kw_only=True):
    """`amount` is what is still open; `final_on` is when `action` follows."""

    due_since: Instant
    days_overdue: Ordinal
    action: Action
    final_on: Instant | None


class DunningReminder(_Arrears, frozen=True, kw_only=True):
    """A reminder, the first being 1."""

    reminder: Ordinal
    next_payment_attempt: Instant | None = None


class FinalNotice(_Arrears, frozen=True, kw_only=True):
    """The last reminder before `action`."""


class AccessSuspended(_ByTransfer, frozen=True, kw_only=True):
    """`action` was done; NONE is no reason to write."""

    action: Action
    suspended_at: Instant
    product: str | None = None

    def __post_init__(self) -> None:
        if self.action is Action.NONE:
            raise ValueError("nothing was suspended, so there is nothing to tell")


class Recovered(_OfInvoice, frozen=True, kw_only=True):
    """What was open is paid; `restored`: access was away, and is back."""

    paid_at: Instant
    restored: bool
    method: Method | None = None


class TrialEnding(_ToSomeone, frozen=True, kw_only=True):
    """A trial ends; without `method` nothing can be charged then."""

    product: str
    trial_end: Instant
    amount: Amount
    interval: Literal["day", "week", "month", "year"]
    interval_count: Ordinal = 1
    method: Method | None = None
    link: Link | None = None


class CardExpiring(_ToSomeone, frozen=True, kw_only=True):
    """A card expires at the end of a month; `expires` is any day of it."""

    method: Method
    expires: date
    next_charge_at: Instant | None = None
    next_amount: Amount | None = None
    link: Link | None = None


class Refund(_ToSomeone, frozen=True, kw_only=True):
    """`amount` of `payment` goes back. Business days until it is there: Stripe says 5 to 10.

    https://docs.stripe.com/refunds
    """

    amount: Amount
    full: bool
    payment: Amount
    paid_at: Instant
    refunded_at: Instant
    number: str | None = None
    method: Method | None = None
    days_least: Ordinal = 5
    days_most: Ordinal = 10
    link: Link | None = None


class DisputeNotice(Data, frozen=True, kw_only=True):
    """To operators. `reason` is Stripe's; links lead to Stripe's dashboard; `name` is the customer's."""

    amount: Amount
    reason: str
    dispute: str
    payment: str
    link: Link
    payment_link: Link | None = None
    evidence_due_by: Instant | None = None
    name: str | None = None
    email: str | None = None
    number: str | None = None


class PartnerInvoice(_OfInvoice, frozen=True, kw_only=True):
    """An invoice of ours; `amount` is what is due; `attached`: its PDF goes with the letter.

    `period` is when the API was used; None: the invoice is for something else.
    """

    period: Days | None = None
    due_on: date
    lines: list[Line] = msgspec.field(default_factory=list[Line])
    tax: Amount | None = None
    attached: bool = False


class CreditNote(_ToSomeone, frozen=True, kw_only=True):
    """`amount` of `invoice` was credited: less is to be paid, or it was kept for the next invoices, or sent back.

    `link` is where what is still due can be paid.
    """

    number: str
    invoice: str
    amount: Amount
    reason: str | None = None
    set_off: Amount | None = None
    kept: Amount | None = None
    paid_out: Amount | None = None
    link: Link | None = None
    attached: bool = False


class InvoiceOverdue(_ByTransfer, frozen=True, kw_only=True):
    """An invoice that is paid by hand (`send_invoice`, or ours) is late; `amount` is what is still open."""

    due_on: Instant
    days_overdue: Ordinal


class _Usage(_ToSomeone, frozen=True, kw_only=True):
    """API calls since `period.first`; `overage` is what each beyond the limit costs.

    Without it they are refused; or, with `refused` false, nothing is said of them.
    """

    used: Count
    limit: Ordinal
    period: Span
    overage: UnitPrice | None
    refused: bool = True
    link: Link | None = None

    @property
    def percent(self) -> int:
        """Whole percents used, rounded down, so that 100 is said only when it is true."""
        return self.used * 100 // self.limit


class Usage80(_Usage, frozen=True, kw_only=True):
    """Four fifths of the allowance are used."""


class Usage100(_Usage, frozen=True, kw_only=True):
    """All of the allowance is used."""


class InvoiceParked(Data, frozen=True, kw_only=True):
    """To operators: an invoice for usage waits for one of them, for `reasons`; `month` is the first of its period.

    `partner` is a prefix of API keys, or `user:17` for what a subscriber used beyond the plan. `charge` are commands
    for what can neither be released nor dropped: usage that came after the last invoice.
    """

    partner: str
    company: str | None = None
    month: str
    amount: Amount | None = None
    reasons: list[str]
    late: bool = False
    charge: str | None = None
    link: Link | None = None

    @property
    def customer(self) -> str | None:
        """The subscriber's id; None for a partner: no prefix of API keys holds a colon."""
        kind, _, user = self.partner.rpartition(":")
        return user if kind == "user" else None

    @property
    def orders(self) -> str:
        """The group of commands that releases or drops it."""
        return "billing partners" if self.customer is None else "billing usage overage"


class Totals(Data, frozen=True, kw_only=True):
    """A currency's sum, in our books and at Stripe."""

    here: Amount
    there: Amount

    @property
    def difference(self) -> Amount:
        """What we have more than Stripe."""
        here, there = (Money(one.amount, one.currency) for one in (self.here, self.there))
        return Amount.of(here - there)


class Difference(Data, frozen=True, kw_only=True):
    """How many differences of one class were found, and how many of them were mended."""

    name: str
    count: Count
    repaired: Count = 0


class ReconciliationReport(Data, frozen=True, kw_only=True):
    """To operators: our books against Stripe's, from `since` until `until`.

    `notes` are what is wrong beside the differences; `settled`: nothing of these remains to be done.
    """

    since: Instant
    until: Instant
    finished_at: Instant
    run_seconds: Count
    compared: Count
    totals: list[Totals]
    differences: list[Difference]
    run: Ordinal | None = None
    mode: Literal["live", "test"] | None = None
    account: str | None = None
    notes: list[str] = msgspec.field(default_factory=list[str])
    settled: bool = True
    link: Link | None = None

    @property
    def found(self) -> int:
        """How many differences there are in all."""
        return sum(one.count for one in self.differences)

    @property
    def left(self) -> int:
        """How many of them are not mended."""
        return self.found - sum(one.repaired for one in self.differences)


class OverageCredited(Data, frozen=True, kw_only=True):
    """To operators: a subscriber (our id) got a credit, because a closed `month` comes to less than was charged.

    `credit` is its id; `reason` tells both sums.
    """

    customer: Ordinal
    company: str | None = None
    month: str
    amount: Amount
    credit: Ordinal
    reason: str
    link: Link | None = None


class BooksAlarm(Data, frozen=True, kw_only=True):
    """To operators: the books could not be compared with Stripe, or break invariants of their own, for `reasons`.

    `command` shows more; `account` is a connected one.
    """

    about: Literal["comparison", "invariants"]
    reasons: list[str]
    command: str
    account: str | None = None
    link: Link | None = None


Context = Data


@dataclass(frozen=True, slots=True)
class Letter:
    """A kind of letter: what its template needs, and who reads it."""

    context: type[Context]
    audience: Audience = Audience.CUSTOMER


LETTERS: Mapping[str, Letter] = MappingProxyType(
    {
        "receipt": Letter(Receipt),
        "payment_failed": Letter(PaymentFailed),
        "action_required": Letter(ActionRequired),
        "dunning_reminder": Letter(DunningReminder),
        "final_notice": Letter(FinalNotice),
        "access_suspended": Letter(AccessSuspended),
        "recovered": Letter(Recovered),
        "trial_ending": Letter(TrialEnding),
        "card_expiring": Letter(CardExpiring),
        "refund": Letter(Refund),
        "dispute_notice": Letter(DisputeNotice, Audience.OPERATOR),
        "partner_invoice": Letter(PartnerInvoice, Audience.PARTNER),
        "credit_note": Letter(CreditNote, Audience.PARTNER),
        "invoice_overdue": Letter(InvoiceOverdue),
        "usage_80": Letter(Usage80, Audience.PARTNER),
        "usage_100": Letter(Usage100, Audience.PARTNER),
        "invoice_parked": Letter(InvoiceParked, Audience.OPERATOR),
        "overage_credited": Letter(OverageCredited, Audience.OPERATOR),
        "reconciliation_report": Letter(ReconciliationReport, Audience.OPERATOR),
        "books_alarm": Letter(BooksAlarm, Audience.OPERATOR),
    }
)
"""Every letter, by the name under which it lies in rows; renaming one orphans what is staged."""
