"""What an event changed in the books, in a form that an operator can read."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from db.ledger import Row

EMPTY: tuple[Any, ...] = (None, "", False, [], {})
"""What a new row's story leaves out. (0 == False: a new row's zeros are no news either.)"""


@dataclass(frozen=True, slots=True)
class Change:
    """A row that changed: by column the old and the new value. `ids` are the objects of Stripe that it is about."""

    table: str
    key: str
    fields: Mapping[str, list[Any]]
    ids: frozenset[str]

    def told(self) -> Row:
        """As it is kept with the event."""
        return {"table": self.table, "key": self.key, "fields": dict(self.fields)}


def brief(value: Any) -> Any:
    """A value short enough to be kept with every event."""
    if isinstance(value, list):
        return f"{len(value)} entries"  # pyright: ignore[reportUnknownArgumentType] - JSON
    if isinstance(value, dict):
        return f"{len(value)} keys"  # pyright: ignore[reportUnknownArgumentType] - JSON
    return value


def same(one: Any, other: Any) -> bool:
    """Whether two values mean the same; decimals are texts in facts, and whole numbers in PostgreSQL's JSON."""
    if one == other:
        return True
    return one is not None and other is not None and type(one) is not type(other) and str(one) == str(other)


def differences(old: Row | None, new: Row, columns: Iterable[str]) -> dict[str, list[Any]]:
    """By column the old and the new value, where they differ."""
    if old is None:
        return {name: [None, brief(value)] for name in columns if (value := new[name]) not in EMPTY}
    return {
        name: [brief(before), brief(after)]
        for name in columns
        if (before := old[name]) != (after := new[name]) and not same(before, after)
    }
