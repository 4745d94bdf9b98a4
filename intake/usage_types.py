"""A type names a kind of thing: an owner has so many in a month, and usage of one more is refused."""

from collections import OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from db import usage_types
from db.inbox import Connection
from db.usage import NewUsage, Owner

MOST_TYPES = 1_000
"""Event types of an owner in a calendar month (UTC)."""

MOST_NAMES = 200_000
"""So many names are remembered at a time, of all owners together; the database knows the others."""

TOO_MANY = (
    f"would be one of more than {MOST_TYPES:,} event types in its month: a type names a kind of thing, such as"
    " deed.search; write which one it was into resource_id, or metadata"
)

Place = tuple[str | None, int | None, tuple[int, int]]
"""An owner, and a month."""


@dataclass(slots=True)
class _Types:
    """What is known of a place: types that it has, and whether it has all that it may."""

    names: set[str] = field(default_factory=set[str])
    full: bool = False


class TypesCap:
    """Knows the types that are in use, and asks the database about others only."""

    def __init__(self) -> None:
        self._places: OrderedDict[Place, _Types] = OrderedDict()
        self._held = 0

    async def refused(self, conn: Connection, rows: Sequence[NewUsage]) -> tuple[int, ...]:
        """The rows (from 0) whose type would be one too many; none: all are about to be stored, and count from now on.

        Of several that ask at once each may get the last room: the cap keeps lists short, and is no promise.
        """
        unseen = self._unseen(rows)
        found: list[int] = []
        fresh: dict[Place, list[str]] = {}
        for place, types in unseen.items():
            there, room = await self._asked(conn, place, types)
            self._note(place, sorted(there))
            fresh[place] = [name for name in types if name not in there]
            found += [row for name in fresh[place][room:] for row in types[name]]
        if not found:
            for place, names in fresh.items():
                self._note(place, names)
        return tuple(sorted(found))

    def _unseen(self, rows: Sequence[NewUsage]) -> dict[Place, dict[str, list[int]]]:
        """The rows of types that are not known yet, by place and type."""
        found: dict[Place, dict[str, list[int]]] = {}
        for number, row in enumerate(rows):
            place = (row.api_key_prefix, row.user_id, usage_types.month(row.occurred_at))
            types = self._places.get(place)
            if types is None or row.event_type not in types.names:
                found.setdefault(place, {}).setdefault(row.event_type, []).append(number)
        return found

    async def _asked(self, conn: Connection, place: Place, types: Collection[str]) -> tuple[set[str], int]:
        """Which of `types` were used before, and for how many others there is room."""
        owner, month = Owner(api_key_prefix=place[0], user_id=place[1]), place[2]
        known = self._places.setdefault(place, _Types())
        there = await usage_types.known(conn, owner, month, types)
        if known.full or len(there) == len(types):
            return there, 0
        count = await usage_types.count(conn, owner, month, most=MOST_TYPES)
        known.full = count >= MOST_TYPES
        return there, max(0, MOST_TYPES - max(count, len(known.names)))

    def _note(self, place: Place, names: Sequence[str]) -> None:
        known = self._places.setdefault(place, _Types())
        self._places.move_to_end(place)
        before = len(known.names)
        known.names.update(names[: max(0, MOST_TYPES - before)])
        self._held += len(known.names) - before
        while self._held > MOST_NAMES:
            _, dropped = self._places.popitem(last=False)
            self._held -= len(dropped.names)
