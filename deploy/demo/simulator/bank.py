"""What the customer's bank answers when a card or an account is charged."""

from dataclasses import dataclass

from deploy.demo.simulator.account import Account
from deploy.demo.simulator.cards import BANKS, CARDS, Bank, Card, Decline, decline
from deploy.demo.simulator.errors import Json, StripeError, card_error


@dataclass(frozen=True, slots=True)
class Answer:
    """Yes, no, or "authenticate first"."""

    decline: Decline | None = None
    challenge: bool = False


YES, CHALLENGE = Answer(), Answer(challenge=True)


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How a card was told to behave from now on, over its number's own behaviour; times are in seconds."""

    decline_code: str | None
    requires_action: bool
    since: int
    until: int | None

    def holds(self, now: int, uses: int | None) -> bool:
        """Whether it applies now, with so many uses left (None: any number)."""
        return self.since <= now and (self.until is None or now < self.until) and uses != 0


def card_of(a: Account, method: Json) -> Card:
    """The test card behind a payment method."""
    return CARDS[a.store.hidden(method["id"])["test"]]


def account_of(a: Account, method: Json) -> Bank:
    """The test bank account behind a payment method."""
    return BANKS[a.store.hidden(method["id"])["test"]]


def behave(a: Account, method: Json, behaviour: Behaviour, uses: int | None) -> None:
    """From now on, or from `behaviour.since`, this payment method answers so (`uses` times, or always)."""
    a.store.hidden(method["id"])["behaviour"] = {"how": behaviour, "uses": uses}


def _told(a: Account, method: Json) -> Behaviour | None:
    """What the method was told to do, if that applies; it counts as one use."""
    told = a.store.hidden(method["id"]).get("behaviour")
    if told is None or not told["how"].holds(a.now(method["customer"]), told["uses"]):
        return None
    if told["uses"] is not None:
        told["uses"] -= 1
    return told["how"]


def ask(a: Account, method: Json, *, off_session: bool, authenticated: bool = False) -> Answer:
    """Charge a card once. `authenticated`: the customer has just answered 3D Secure."""
    card = card_of(a, method)
    told = _told(a, method)
    if told is None:
        if not authenticated and _must_authenticate(a, card, method, off_session=off_session):
            return CHALLENGE
        return Answer(decline(card.decline)) if card.decline else YES
    if told.requires_action and not authenticated:
        return CHALLENGE
    return Answer(decline(told.decline_code)) if told.decline_code else YES


def ask_account(a: Account, method: Json) -> str | None:
    """Debit a bank account once: the code of its failure, which is known days later."""
    told = _told(a, method)
    return told.decline_code if told is not None else account_of(a, method).failure


def ask_setup(a: Account, method: Json) -> Answer:
    """Save a card for later use, the customer being there."""
    card = card_of(a, method)
    if card.authentication in {"always", "unless_set_up"}:
        return CHALLENGE
    return Answer(decline(card.decline)) if card.decline and not card.attaches else YES


def _must_authenticate(a: Account, card: Card, method: Json, *, off_session: bool) -> bool:
    match card.authentication:
        case "never":
            return False
        case "always":
            return True
        case "on_session":
            return not off_session
        case "unless_set_up":
            return not (off_session and a.store.hidden(method["id"]).get("set_up"))


def refused(reason: Decline, *, param: str | None = None, **more: object) -> StripeError:
    """The 402 that tells of a decline; `more` is shown with it."""
    return card_error(
        reason.message,
        code=reason.code,
        decline_code=reason.decline_code,
        param=param if param is not None else reason.param or None,
        advice_code=reason.advice,
        network_decline_code=reason.network,
        **more,
    )
