"""What a comparison with Stripe hands on: objects to look at afresh, and the differences that remain."""

from dataclasses import dataclass
from datetime import datetime

from db.states import DifferenceClass


@dataclass(frozen=True, slots=True)
class Stripe:
    """The account at Stripe that is compared, at one moment of Stripe's own clock."""

    account: str
    """A connected account; empty for our own."""
    livemode: bool
    as_of: datetime
    """When the newest event happened, of those that Stripe listed before anything else was asked."""


@dataclass(frozen=True, slots=True, order=True)
class Suspect:
    """An object on which a comparison of many found the two sides at odds: whether they are, is asked afresh."""

    kind: str
    """Stripe's name of the object: `charge`, `refund`, `dispute`, `payout`, `invoice`, `subscription` …"""
    object_id: str


@dataclass(frozen=True, slots=True, order=True)
class Difference:
    """One thing on which the two sides do not agree, after Stripe was asked afresh.

    Amounts are in minor units of `currency`; a side that has nothing is None.
    """

    kind: str
    object_id: str
    class_: DifferenceClass
    field: str
    here: str | None
    there: str | None
    currency: str | None = None


@dataclass(frozen=True, slots=True)
class Looked:
    """What a fresh look at one object found. `waits`: an event about it is on its way, so nothing is said of it yet."""

    suspect: Suspect
    differences: tuple[Difference, ...] = ()
    waits: str | None = None
    mended: bool = False
