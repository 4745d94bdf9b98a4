"""What follows when an event has been entered into the books: letters, dunning; decided in the same transaction."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

from jobs.stripe_objects import StripeEvent
from worker.deps import Tx

Follower: TypeAlias = Callable[[Tx, Sequence[StripeEvent]], Awaitable[None]]

FOLLOWERS: dict[str, list[Follower]] = {}
"""By type of event."""


def follows(*types: str) -> Callable[[Follower], Follower]:
    """Call the function once for each batch with its events of these types, after all of them were entered.

    Events come in any order, late and twice: the function looks into the books, and what it stages has a unique key.
    """

    def keep(follower: Follower) -> Follower:
        for type_ in types:
            FOLLOWERS.setdefault(type_, []).append(follower)
        return follower

    return keep


async def follow(tx: Tx, events: Sequence[StripeEvent]) -> None:
    """Let everybody follow who wants to."""
    wanted: dict[Follower, list[StripeEvent]] = {}
    for event in events:
        for follower in FOLLOWERS.get(event.type, ()):
            wanted.setdefault(follower, []).append(event)
    for follower, its in wanted.items():
        await follower(tx, its)
