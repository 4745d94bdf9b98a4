"""Before a letter is handed over, those who decided on it say once more whether it still holds."""

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from db.emails import StoredEmail
from worker.deps import Deps

Guard: TypeAlias = Callable[[Deps, StoredEmail], Awaitable[str | None]]

GUARDS: dict[str, Guard] = {}
"""By the first part of a letter's key."""


def guards(kind: str) -> Callable[[Guard], Guard]:
    """Ask the function about each letter whose key begins with `kind`/. It says why the letter is not sent, or None.

    It may raise TryLater: then the letter waits.
    """

    def keep(guard: Guard) -> Guard:
        GUARDS[kind] = guard
        return guard

    return keep


async def objection(d: Deps, letter: StoredEmail) -> str | None:
    """Why the letter does not hold any more; None: it does."""
    guard = GUARDS.get(letter.key.partition("/")[0])
    return None if guard is None else await guard(d, letter)
