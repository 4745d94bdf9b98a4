"""The story is written before it is played: from one seed, who does what and when, over fifteen months and more."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from heapq import merge

from deploy.demo.acts import (
    Act,
    AddCard,
    Beat,
    Cancel,
    CardTrouble,
    Challenge,
    ChangePlan,
    ChangeSeats,
    Confirm,
    Dispute,
    NewCard,
    PartnerCredit,
    PartnerInvoice,
    PartnerPays,
    Pause,
    Refund,
    Return,
    Ruling,
    SignUp,
    StayAfterAll,
)
from deploy.demo.company import (
    API_CALL,
    BUSINESS,
    COUPONS,
    FRIEND10,
    LAUNCH20,
    MONTH,
    NONPROFIT30,
    PARTNERS,
    PLANS,
    STARTER,
    TEAM,
    YEAR,
    Coupon,
    Plan,
)
from deploy.demo.people import Street

HOUR, DAY = 3600, 86_400
MONTH_LONG = 30 * DAY + 37_800
"""A mean month, near enough to place something around a renewal."""

GROWTH = 1.09
"""Sign-ups of a month against those of the month before."""

MONTHS_OF_HISTORY = 12

CARDS = ("pm_card_visa", "pm_card_mastercard", "pm_card_amex", "pm_card_visa_debit")
DECLINES = ("insufficient_funds", "generic_decline", "expired_card", "do_not_honor", "processing_error")
REASONS = (
    ("too_expensive", "We are tightening our belts this year."),
    ("unused", "Nobody on the team opens it any more."),
    ("missing_features", "We need shifts across two sites on one page."),
    ("switched_service", "Head office has bought something else."),
    ("low_quality", "The app was slow on our tablets."),
    ("too_complex", "My staff never got used to it."),
    ("other", "We are closing the shop. Thank you for everything!"),
)

# What happens in a month of a subscription's life, in per mille; the rest of the months pass quietly.
CHURN, TROUBLE, CHALLENGED, UPGRADE, SEATS, YEARLY, REFUND, DISPUTE, PAUSE = 30, 66, 8, 30, 60, 8, 14, 5, 4
TRIALS, CONVERT, WALKS_AWAY = 520, 620, 300
"""Per mille: sign-ups that begin with a trial; trials that convert; trials that end for want of a card."""

QUIET = 2 * MONTH_LONG
"""From a payment that failed to the next one that may."""


@dataclass(slots=True)
class Life:
    """One customer's story, written beat by beat; `now` is how far it has come."""

    chance: random.Random
    who: str
    now: int
    until: int
    plan: Plan = STARTER
    interval: str = MONTH
    seats: int = 1
    beats: list[Beat] = field(default_factory=list[Beat])

    def add(self, at: int, act: Act) -> None:
        """Something happens; nobody acts after the end of the story."""
        if at < self.until:
            self.beats.append(Beat(at, len(self.beats), self.who, act))

    def falls(self, per_mille: float) -> bool:
        """Whether something of this likelihood happens."""
        return self.chance.random() * 1000 < per_mille

    def within(self, first: float, last: float) -> int:
        """A moment between two days from now, to the second."""
        return self.now + int(self.chance.uniform(first, last) * DAY)


def lives(seed: int, start: int, end: int, customers: int, *, months: int = MONTHS_OF_HISTORY) -> Iterator[Beat]:
    """All beats from `start` to `end` (seconds since 1970), in order.

    `customers` sign up within the first `months`, more from month to month, and on at that rate.
    """
    chance = random.Random(seed)
    street = Street(random.Random(seed + 1))
    written = [_customer(random.Random(f"{seed}.{n}"), street, n, at, end, customers=customers).beats
               for n, at in enumerate(arrivals(chance, start, end, customers, months=months), 1)]  # fmt: skip
    chances = (random.Random(f"{seed}.partner.{number}") for number in range(len(PARTNERS)))
    written.extend(_partner(chance, number, start, end) for number, chance in enumerate(chances))
    return merge(*(sorted(beats) for beats in written))


def arrivals(
    chance: random.Random, start: int, end: int, customers: int, *, months: int = MONTHS_OF_HISTORY
) -> list[int]:
    """When each customer signs up, in order."""
    rates = [GROWTH**month for month in range(months)]
    scale = customers / sum(rates)
    found: list[int] = []
    owed = 0.0
    month = 0
    while (begin := start + month * MONTH_LONG) < end:
        owed += scale * (rates[month] if month < len(rates) else rates[-1])
        while owed >= 0.5 and (month > 0 or len(found) < customers):  # noqa: PLR2004 - halves are rounded up
            owed -= 1
            found.append(begin + int(chance.random() * MONTH_LONG))
        month += 1
    return sorted(at for at in found if at < end)


def troubles(number: int, customers: int) -> tuple[bool, ...]:
    """Which customers' payments fail in every story, however small it is; whether each comes in after all.

    Of the first two one is dunned and recovered, and one is lost; where there is only one, this is both.
    """
    if customers == 1:
        return (True, False) if number == 1 else ()
    return {1: (True,), 2: (False,)}.get(number, ())


def _customer(chance: random.Random, street: Street, number: int, at: int, until: int, *, customers: int) -> Life:
    life = Life(chance, f"customer {number}", at, until)
    life.plan = chance.choices(PLANS, weights=(34, 44, 22))[0]
    if fails := troubles(number, customers):
        return _troubled(life, street, fails)
    life.interval = chance.choices((MONTH, YEAR), weights=(86, 14))[0]
    life.seats = life.plan.seats if life.plan is STARTER else life.plan.seats + int(chance.expovariate(0.25))
    trial = life.falls(TRIALS)
    converts = not trial or life.falls(CONVERT)
    with_card = not trial or (converts and life.falls(450)) or (not converts and not life.falls(WALKS_AWAY + 400))
    challenged = not trial and life.falls(25)
    card = "pm_card_authenticationRequired" if challenged else _card(chance)
    life.add(at, SignUp(
        street.meet(), life.plan, life.interval, life.seats,
        checkout=not trial and not challenged and life.falls(700),
        trial=trial, card=card if with_card else None, coupon=_coupon(chance, number), challenged=challenged,
    ))  # fmt: skip
    if challenged:
        life.add(at + chance.randint(40, 400), Confirm(succeeds=not life.falls(200)))
    if trial:
        if not converts:
            if with_card:
                life.add(life.within(1, 12), _cancel(chance))
            return life
        if not with_card:
            life.add(life.within(2, 13), AddCard(_card(chance)))
        life.now += 14 * DAY
    _live(life)
    return life


def _troubled(life: Life, street: Street, fails: tuple[bool, ...]) -> Life:
    """Somebody whose renewals fail at all attempts: another card comes a week later, or never."""
    life.seats = life.plan.seats
    life.add(life.now, SignUp(
        street.meet(), life.plan, life.interval, life.seats,
        checkout=False, trial=False, card=_card(life.chance), coupon=None, challenged=False,
    ))  # fmt: skip
    for recovers in fails:
        life.add(life.now + MONTH_LONG - 3 * DAY, CardTrouble(life.chance.choice(DECLINES), None))
        if not recovers:
            return life
        life.add(life.now + MONTH_LONG + 6 * DAY, NewCard(_card(life.chance)))
        life.now += QUIET
    _live(life)
    return life


def _live(life: Life) -> None:
    """Month after month, until the customer leaves or the story ends."""
    month = 0
    while life.now < life.until:
        month += 1
        renews = life.interval == MONTH or month % 12 == 0
        if life.falls(CHURN if life.interval == MONTH else CHURN / 3):
            return _leave(life)
        if renews and life.falls(TROUBLE) and not _survives_trouble(life):
            return None
        if renews and life.falls(CHALLENGED):
            life.add(life.now + MONTH_LONG - 2 * DAY, Challenge())
            life.add(life.now + MONTH_LONG + DAY, Confirm(succeeds=True))
        _changes(life)
        _afterthoughts(life)
        life.now += MONTH_LONG
    return None


def _leave(life: Life) -> None:
    at = life.within(2, 26)
    life.add(at, _cancel(life.chance))
    if life.falls(120):
        life.add(at + life.chance.randint(1, 40) * HOUR, StayAfterAll())
        life.now += 2 * MONTH_LONG
        _live(life)
    elif life.falls(60) and life.interval == MONTH:
        life.now += MONTH_LONG
        life.add(life.within(40, 110), Return(life.plan, life.seats, _card(life.chance)))


def _survives_trouble(life: Life) -> bool:
    """A renewal fails: most recover by themselves or with another card; some never do."""
    before = life.now + MONTH_LONG - 3 * DAY
    code = life.chance.choice(DECLINES)
    how = life.chance.choices(("retry", "card", "never"), weights=(52, 30, 18))[0]
    if how == "retry":
        life.add(before, CardTrouble(code, life.chance.choice((1, 1, 2, 3))))
        return True
    life.add(before, CardTrouble(code, None))
    if how == "card":
        life.add(life.now + MONTH_LONG + life.chance.randint(2, 9) * DAY, NewCard(_card(life.chance)))
    return how == "card"


def _changes(life: Life) -> None:
    at = life.within(3, 24)
    if life.falls(UPGRADE) and life.plan is not BUSINESS:
        life.plan = TEAM if life.plan is STARTER else BUSINESS
        life.seats = max(life.seats, life.plan.seats)
        life.add(at, ChangePlan(life.plan, life.interval, life.seats))
    elif life.falls(YEARLY) and life.interval == MONTH:
        life.interval = YEAR
        life.add(at, ChangePlan(life.plan, life.interval, life.seats))
    elif life.falls(SEATS) and life.plan is not STARTER:
        by = -1 if life.falls(220) and life.seats > life.plan.seats else life.chance.randint(1, 4)
        life.seats += by
        life.add(at, ChangeSeats(by))
    elif life.falls(PAUSE):
        life.add(at, Pause(life.chance.randint(20, 40)))


def _afterthoughts(life: Life) -> None:
    """Money that goes back."""
    at = life.within(4, 20)
    if life.falls(REFUND):
        percent = life.chance.choice((25, 50, 100, 100))
        life.add(at, Refund(percent, life.chance.choice(("requested_by_customer", "duplicate"))))
    elif life.falls(DISPUTE):
        life.add(at, Dispute(life.chance.choice(("fraudulent", "product_not_received", "subscription_canceled"))))
        life.add(at + life.chance.randint(12, 40) * DAY, Ruling(won=life.falls(400)))


def _partner(chance: random.Random, number: int, start: int, until: int) -> list[Beat]:
    """An invoice at the beginning of each month, and a transfer some weeks later."""
    partner = PARTNERS[number]
    beats: list[Beat] = []
    begin = start + (number + 1) * MONTH_LONG
    month = 0
    while (at := begin + month * MONTH_LONG + 9 * HOUR) < until:
        size = partner.monthly * chance.uniform(0.85, 1.25) * 1.02**month
        who, turn = f"partner {number}", len(beats)
        support = partner.monthly // 10 if chance.random() < 0.3 else 0  # noqa: PLR2004 - three in ten
        beats.append(Beat(at, turn, who, PartnerInvoice(int(size / API_CALL[partner.currency]), support)))
        if chance.random() < 0.08:  # noqa: PLR2004 - one in twelve
            beats.append(Beat(at + 5 * DAY, turn + 1, who, PartnerCredit(chance.choice((5, 10, 15)))))
        pays = at + chance.randint(*partner.pays_after) * DAY + chance.randint(0, 8) * HOUR
        beats.append(Beat(pays, turn + 2, who, PartnerPays()))
        month += 1
    return [beat for beat in beats if beat.at < until]


def _card(chance: random.Random) -> str:
    return chance.choice(CARDS)


def _coupon(chance: random.Random, number: int) -> Coupon | None:
    early = LAUNCH20 if number <= 60 or chance.random() < 0.3 else None  # noqa: PLR2004 - the launch is over at some time
    drawn = chance.choices((None, early, FRIEND10, NONPROFIT30), weights=(76, 14, 6, 4))[0]
    assert drawn is None or drawn in COUPONS
    return drawn


def _cancel(chance: random.Random) -> Cancel:
    return Cancel(*chance.choice(REASONS))
