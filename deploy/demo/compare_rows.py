"""What a comparison of two sets of books is made of: a table of the ledger, and what it must say of each object."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, TypeAlias, cast

Json: TypeAlias = dict[str, Any]
Rows: TypeAlias = Sequence[Mapping[str, Any]]
Books: TypeAlias = Mapping[str, Rows]
"""Stripe's objects by their kind (`invoice`, `payment_intent`, …), in the current shape."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One field of one object on which Stripe and the ledger do not agree; amounts are in minor units."""

    kind: str
    id: str
    field: str
    there: Any
    """What Stripe says."""
    here: Any
    """What the ledger says."""

    def __str__(self) -> str:
        return f"{self.kind} {self.id} {self.field}: Stripe {_words(self.there)}, here {_words(self.here)}"


def _words(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value.isoformat() if isinstance(value, datetime) else str(value)


@dataclass(frozen=True, slots=True)
class Either:
    """One of several values: what some API versions tell and others do not."""

    values: tuple[Any, ...]

    def __str__(self) -> str:
        return " or ".join(_words(value) for value in self.values)


@dataclass(frozen=True, slots=True)
class Kept:
    """What the ledger must hold of one object. `told` is False for what no webhook needs to have told of yet."""

    id: str
    values: Mapping[str, Any]
    told: bool = True


ORIGIN: Mapping[str, Any] = {"livemode": False, "stripe_account": ""}
"""Where everything is from: our own account, in test mode."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the ledger; `key` and `computed` are SQL over the row `t`, and `source` is where rows come from.

    `mirror`: its rows are copies of Stripe's objects, with their origin and, where `deleted_by` names the event that
    tells of it, the time at which an object was deleted. Without that event Stripe never deletes such objects.
    """

    kind: str
    source: str
    key: str
    expect: Callable[["View"], Iterator[Kept]]
    computed: Mapping[str, str] = field(default_factory=dict[str, str])
    mirror: bool = True
    deleted_by: str | None = None

    def query(self, columns: Iterable[str]) -> str:
        """Reads the key and `columns`."""
        named = "".join(f', {self.computed.get(name, f"t.{name}")} AS "{name}"' for name in columns)
        return f"SELECT {self.key} AS key{named} FROM {self.source}"  # noqa: S608 - our own names


@dataclass(slots=True)
class View:
    """Stripe's books with what is asked of them often at hand; `at` is the present there, in seconds."""

    books: Books
    at: int
    _by: dict[tuple[str, str], dict[Any, list[Mapping[str, Any]]]] = field(
        default_factory=dict[tuple[str, str], dict[Any, list[Mapping[str, Any]]]]
    )
    _moments: dict[str, dict[str, tuple[int, int]]] = field(init=False)

    def __post_init__(self) -> None:
        """Find what events told by their type, and by the object that they told of."""
        self._moments = {}
        for row in self.all("moment"):
            self._moments.setdefault(row["type"], {})[row["of"]] = (row["first"], row["last"])

    def all(self, kind: str) -> Rows:
        """All objects of a kind."""
        return self.books.get(kind, ())

    def by(self, kind: str, name: str, value: Any) -> Rows:
        """The objects of a kind whose field `name` has this value."""
        index = self._by.get((kind, name))
        if index is None:
            index = self._by[kind, name] = {}
            for obj in self.all(kind):
                index.setdefault(obj.get(name), []).append(obj)
        return index.get(value, ())

    def first(self, id_: str, *types: str) -> datetime | None:
        """When Stripe first told of an object by an event of these types; None: never."""
        return when(min((found[0] for found in self._told(id_, types)), default=None))

    def last(self, id_: str, *types: str) -> datetime | None:
        """The same for the last time."""
        return when(max((found[1] for found in self._told(id_, types)), default=None))

    def _told(self, id_: str, types: Iterable[str]) -> list[tuple[int, int]]:
        return [found[id_] for type_ in types if id_ in (found := self._moments.get(type_, {}))]

    def told(self, type_: str) -> Iterable[str]:
        """The objects of which events of a type told."""
        return self._moments.get(type_, {}).keys()

    def whole(self, kind: str, value: Any) -> Mapping[str, Any]:
        """The object that is there by its id or as a whole; an empty one where there is none, or it is gone."""
        if isinstance(value, dict):
            return cast("Json", value)
        found = self.by(kind, "id", value) if value is not None else ()
        return found[0] if found else {}


def when(seconds: int | None) -> datetime | None:
    """Stripe's seconds as the ledger keeps a time."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def ref(value: Any) -> str | None:
    """The id of an object that is there as a whole or by its id."""
    return cast("Json", value)["id"] if isinstance(value, dict) else value


def rows(value: Any) -> Rows:
    """A list, or what a list object holds."""
    return (cast("Json", value)["data"] if isinstance(value, dict) else value) or ()


def part(obj: Mapping[str, Any], *path: str) -> Json:
    """The object that lies at `path`; an empty one where there is none."""
    found: Any = obj
    for name in path:
        found = found.get(name) or {}
    return found


def sub(obj: Mapping[str, Any], *path: str) -> Any:
    """What lies at `path`, or None."""
    return part(obj, *path[:-1]).get(path[-1])


def decimal(value: Any) -> Decimal | None:
    """A decimal that Stripe writes as a text or a number."""
    return None if value is None else Decimal(str(value))


def total(found: Any, name: str = "amount") -> int:
    """The sum of a field over a list, in minor units."""
    return sum(row[name] for row in rows(found))
