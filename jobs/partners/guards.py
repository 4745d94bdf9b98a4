"""An invoice that looks wrong is not sent: it waits, with a sentence why, for somebody who knows better."""

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from fractions import Fraction
from typing import Any

from jobs.partners.words import plain_money

_LEAST = {
    50: "usd ars aud brl cad chf cop eur idr ils inr jpy krw nzd php rub sgd zar",
    30: "gbp",
    200: "aed myr pln ron",
    250: "dkk",
    300: "nok sek",
    400: "hkd",
    1_000: "mxn thb",
    1_500: "czk",
    17_500: "huf",
}
MINIMUM_CHARGE: Mapping[str, int] = {code: least for least, codes in _LEAST.items() for code in codes.split()}
"""The least that Stripe charges, in minor units; what is not listed is held to that of the account's own currency.

https://docs.stripe.com/currencies#minimum-and-maximum-charge-amounts
"""

AVERAGE_OF = 3
"""So many of the last invoices make the average that one is held against."""

AVERAGE_LEAST = 2
"""Fewer than that are no average."""

REGULAR = Fraction(4, 5)
"""A partner who uses the API on more than this share of days uses it daily: a day without any is odd."""

ENTERED_LATE = timedelta(days=100)
"""A period that had ended so long before its contract was entered here was most likely billed elsewhere."""

HISTORY = 30
LEAST_HISTORY = 14
"""Days right before a period that tell how regular usage is; fewer than the latter tell nothing."""

MOST_DAYS = 5
"""So many missing days are named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What an invoice is looked at for. Amounts in minor units of `currency`; days are those of the contract's zone."""

    prefix: str
    name: str
    currency: str
    total: int
    due: int
    used: bool
    months: int
    ended_at: datetime
    entered_at: datetime | None = None
    """When the contract was entered here; None: nobody knows."""
    by_hand: bool = False
    """Somebody asked for this very period."""
    at_stripe: bool = False
    alarm_factor: int = 0
    earlier: Sequence[tuple[int, int]] = ()
    """Totals and months of the last invoices."""
    overlapping: Sequence[str] = ()
    days: Sequence[date] = ()
    before: Sequence[date] = ()
    """The days of the contract right before the period."""
    used_days: AbstractSet[date] = field(default_factory=frozenset[date])
    flags: Sequence[str] = ()
    """What the rules of pricing have to say."""
    email: str | None = None
    has_address: bool = True
    address_needed: bool = False
    outside: bool = False
    late: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Concern:
    """Something that is odd about an invoice: why, and what to do. A note does not stop it.

    One that is `final` cannot be released: something must be mended first.
    """

    guard: str
    why: str
    stops: bool = True
    final: bool = False

    def json(self) -> dict[str, Any]:
        """As it is stored and printed."""
        return {"guard": self.guard, "why": self.why, "stops": self.stops, "final": self.final}


def concerns(facts: Facts) -> list[Concern]:
    """All that is odd about an invoice; what stops it comes first."""
    found = [*_amounts(facts), *_average(facts), *_duplicate(facts), *_days(facts), *_entered(facts), *_notes(facts)]
    return sorted(found, key=lambda one: not one.stops)


def _amounts(f: Facts) -> Iterator[Concern]:
    if f.total < 0:
        yield Concern("negative", f"the total is {plain_money(f.total, f.currency)}: look at its lines", final=True)
    if f.total == 0:
        what = "although there is usage" if f.used else "although it has lines"
        yield Concern(
            "zero",
            f"the total is 0 {what}: is the price list right? Release it if nothing is to be charged, or change the"
            " contract",
        )
    least = MINIMUM_CHARGE.get(f.currency, 0)
    if f.at_stripe and 0 < f.due < least:
        yield Concern(
            "below_minimum",
            f"{plain_money(f.due, f.currency)} is due, and Stripe charges no less than"
            f" {plain_money(least, f.currency)}: release it to be paid by transfer, or void it",
        )


def _average(f: Facts) -> Iterator[Concern]:
    """Months are compared with months, so that a quarter is not held against a month."""
    last = f.earlier[:AVERAGE_OF]
    if len(last) < AVERAGE_LEAST or not f.alarm_factor:
        return
    average = sum((Fraction(total, months) for total, months in last), Fraction(0)) / len(last)
    if average > 0 and Fraction(f.total, f.months) > f.alarm_factor * average:
        usual = plain_money(int(average * f.months), f.currency)
        yield Concern(
            "over_average",
            f"{plain_money(f.total, f.currency)} is over {f.alarm_factor} times what the last {len(last)} invoices came"
            f" to on average ({usual}): look at the usage; release it if it is real, or void it",
        )


def _duplicate(f: Facts) -> Iterator[Concern]:
    if f.overlapping:
        yield Concern(
            "duplicate",
            f"{', '.join(f.overlapping)} is about days of this period already: void that one first, or void this",
            final=True,
        )


def _days(f: Facts) -> Iterator[Concern]:
    """More days without usage than there were before, in proportion, for one who uses the API daily."""
    if not f.days or len(f.before) < LEAST_HISTORY:
        return
    missing = [day for day in f.days if day not in f.used_days]
    share = Fraction(sum(day in f.used_days for day in f.before), len(f.before))
    if share > REGULAR and Fraction(len(missing), len(f.days)) > 1 - share:
        named = ", ".join(day.isoformat() for day in missing[:MOST_DAYS])
        more = f" and {len(missing) - MOST_DAYS} more" if len(missing) > MOST_DAYS else ""
        yield Concern(
            "missing_days",
            f"there is no usage on {named}{more}, and there was on {int(share * 100)} % of the days before: was it not"
            " reported? Report or import it, then release the invoice",
        )


def _entered(f: Facts) -> Iterator[Concern]:
    if f.entered_at is not None and not f.by_hand and f.ended_at + ENTERED_LATE < f.entered_at:
        yield Concern(
            "before_entry",
            f"{f.name} had ended long before the contract was entered on {f.entered_at:%Y-%m-%d}: was it billed"
            " elsewhere? Void it then, or release it",
        )


def _notes(f: Facts) -> Iterator[Concern]:
    if not f.has_address:
        yield Concern(
            "no_address",
            "the contract has no address: invoices that carry tax need the buyer's (`billing partners correct`)",
            stops=f.address_needed,
            final=True,
        )
    if f.email is None:
        yield Concern(
            "no_email",
            "the contract has no billing_email: the invoice is not mailed; fetch its PDF by `billing invoices pdf`",
            stops=False,
        )
    for flag in f.flags:
        yield Concern(flag.partition(":")[0], flag.partition(":")[2].strip() or flag, stops=False)
    if f.outside:
        yield Concern(
            "outside_contract", "usage from before the contract began, or after it ended, is not charged", stops=False
        )
    for note in f.late:
        yield Concern("late_usage", note, stops=False)


def unusable(guard: str, why: str) -> Concern:
    """What cannot be an invoice at all until it is mended."""
    return Concern(guard, why, final=True)
