"""Which of two snapshots of an object is the newer one, when Stripe's clock counts only whole seconds.

A version is compared from left to right: final states first, then Stripe's `created`, then created before updated
before deleted, then the rank of the state, then sums that only grow, and last a number that stands for the content.
"""

from collections.abc import Mapping

FIRST, MIDDLE, LAST = 0, 1, 2
"""Where an event stands among those of one second."""

_FIRST = ("created", "attached")
_LAST = ("deleted", "detached")


def event_rank(event_type: str) -> int:
    """First what is created, then what is updated, last what is deleted."""
    verb = event_type.rpartition(".")[2]
    if verb in _FIRST:
        return FIRST
    return LAST if verb in _LAST else MIDDLE


UNKNOWN = 50
"""The rank of a state that we do not know: Stripe's enums are open. Known states are counted by tens around it."""

INVOICE: Mapping[str, int] = {"draft": 10, "open": 20, "uncollectible": 60, "void": 70, "paid": 80}
SUBSCRIPTION: Mapping[str, int] = {
    "incomplete": 10,
    "trialing": 20,
    "paused": 30,
    "active": 40,
    "past_due": 60,
    "unpaid": 70,
    "incomplete_expired": 80,
    "canceled": 90,
}
PAYMENT_INTENT: Mapping[str, int] = {
    "requires_payment_method": 10,
    "requires_confirmation": 20,
    "requires_action": 30,
    "processing": 40,
    "failed": 60,  # ours: requires_payment_method, with the error of the attempt that has just failed
    "requires_capture": 70,
    "canceled": 80,
    "succeeded": 90,
}
CHARGE: Mapping[str, int] = {"pending": 10, "failed": 60, "succeeded": 70}
REFUND: Mapping[str, int] = {"pending": 10, "requires_action": 20, "succeeded": 60, "canceled": 70, "failed": 80}
DISPUTE: Mapping[str, int] = {
    "warning_needs_response": 10,
    "warning_under_review": 20,
    "warning_closed": 25,
    "needs_response": 30,
    "under_review": 40,
    "prevented": 60,
    "charge_refunded": 65,
    "won": 70,
    "lost": 80,
}
CREDIT_NOTE: Mapping[str, int] = {"issued": 10, "void": 90}
CHECKOUT: Mapping[str, int] = {"open": 10, "complete": 60, "expired": 70}
PAYOUT: Mapping[str, int] = {"pending": 10, "in_transit": 20, "paid": 60, "canceled": 70, "failed": 80}

FINAL: Mapping[str, frozenset[str]] = {
    "invoice": frozenset({"paid", "void"}),
    "subscription": frozenset({"canceled", "incomplete_expired"}),
    "payment_intent": frozenset({"succeeded", "canceled"}),
    "credit_note": frozenset({"void"}),
    "refund": frozenset({"failed", "canceled"}),
}
"""States that are never left, whatever a late event says.

Not among them: a dispute that is won or lost (an appeal may follow), a payout that is paid, and a refund that succeeded
(both can still fail). A checkout session is final when it expired or was paid.
"""


def version(
    *,
    created: int,
    event_type: str,
    content: int,
    final: bool = False,
    state: int = 0,
    sums: tuple[int, ...] = (),
) -> tuple[int, ...]:
    """The version of a snapshot. `created` is the event's, in seconds; an object always has the same `sums`."""
    return (int(final), created, event_rank(event_type), state, *sums, content)


SEEN_AT = 1
"""Where in a version the event's `created` stands."""

INLINED_PLAN, INLINED_PRICE, OWN_PLAN, OWN_PRICE = 0, 1, 2, 3
"""How much a rendering tells of a price; `plan` is the old shape, which lacks some of it."""


def price_version(*, rendering: int, created: int, event_type: str, content: int) -> tuple[int, ...]:
    """Prices and coupons are also shown inside other objects, of many customers at once.

    Such an inlined copy only fills a gap: it never outranks the object's own events, and it has no time, so that a
    thousand renewals do not write the same shared row a thousand times.
    """
    own = rendering >= OWN_PLAN
    return (rendering, created if own else 0, event_rank(event_type) if own else 0, content)
