"""What customers, banks and partners of the company do: the acts that a story is made of."""

from dataclasses import dataclass
from typing import TypeAlias

from deploy.demo.company import Coupon, Plan
from deploy.demo.people import Person


@dataclass(frozen=True, slots=True)
class SignUp:
    """Somebody buys: on the checkout page, or through the company's own form (with a trial, perhaps)."""

    person: Person
    plan: Plan
    interval: str
    seats: int
    checkout: bool
    trial: bool
    card: str | None
    """None: a trial without a card."""

    coupon: Coupon | None = None
    challenged: bool = False
    """The bank asks them to confirm the first payment."""


@dataclass(frozen=True, slots=True)
class AddCard:
    """A card is entered during the trial, so that it converts."""

    card: str


@dataclass(frozen=True, slots=True)
class ChangePlan:
    """Another plan or interval, at once, paid at once."""

    plan: Plan
    interval: str
    seats: int


@dataclass(frozen=True, slots=True)
class ChangeSeats:
    """More or fewer people; the difference comes on the next invoice."""

    by: int


@dataclass(frozen=True, slots=True)
class CardTrouble:
    """The bank will decline the next `times` charges (None: all) with this decline code."""

    code: str
    times: int | None


@dataclass(frozen=True, slots=True)
class NewCard:
    """The card on file is replaced, and an open invoice is paid with the new one."""

    card: str


@dataclass(frozen=True, slots=True)
class Challenge:
    """The bank wants the next charge confirmed by the customer."""


@dataclass(frozen=True, slots=True)
class Confirm:
    """The customer confirms what the bank asked about, or cannot."""

    succeeds: bool


@dataclass(frozen=True, slots=True)
class Cancel:
    """The subscription is to end with its period; Stripe's `feedback` and the customer's words."""

    feedback: str
    comment: str


@dataclass(frozen=True, slots=True)
class StayAfterAll:
    """The cancellation is taken back."""


@dataclass(frozen=True, slots=True)
class Return:
    """A customer of old buys again."""

    plan: Plan
    seats: int
    card: str


@dataclass(frozen=True, slots=True)
class Pause:
    """No invoices are collected for a month."""

    days: int


@dataclass(frozen=True, slots=True)
class Refund:
    """Part of the last payment, in per cent, or all of it, goes back."""

    percent: int
    reason: str


@dataclass(frozen=True, slots=True)
class Dispute:
    """The customer disputes the last payment at the bank."""

    reason: str


@dataclass(frozen=True, slots=True)
class Ruling:
    """The bank decides a dispute."""

    won: bool


@dataclass(frozen=True, slots=True)
class PartnerInvoice:
    """A month of API use is invoiced to a partner."""

    calls: int
    """In thousands."""

    support: int
    """Minor units for support, 0 for none."""


@dataclass(frozen=True, slots=True)
class PartnerPays:
    """The partner's bank transfer comes in."""


@dataclass(frozen=True, slots=True)
class PartnerCredit:
    """Part of the open invoice, in per cent, is credited: the service was down for a day."""

    percent: int


Act: TypeAlias = (
    SignUp
    | AddCard
    | ChangePlan
    | ChangeSeats
    | CardTrouble
    | NewCard
    | Challenge
    | Confirm
    | Cancel
    | StayAfterAll
    | Return
    | Pause
    | Refund
    | Dispute
    | Ruling
    | PartnerInvoice
    | PartnerPays
    | PartnerCredit
)


@dataclass(frozen=True, slots=True)
class Beat:
    """Somebody does something at a time: `at` in seconds since 1970, `who` a customer's or a partner's number."""

    at: int
    turn: int
    who: str
    act: Act

    def __lt__(self, other: "Beat") -> bool:
        """In the order of time, and of the telling within a second."""
        return (self.at, self.turn) < (other.at, other.turn)
