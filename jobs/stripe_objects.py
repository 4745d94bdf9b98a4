"""What Stripe sends is read here: only what we use, in old and new shapes, with a clear word when a field is wrong."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Any, TypeAlias, cast

import msgspec

from db.ledger import Fact, Key, Row, Version, fingerprint
from jobs.rules import versions
from worker.errors import Refused
from worker.telemetry import redact

Json: TypeAlias = Mapping[str, Any]

REPLACEMENT = "\ufffd"
"""What stands in our columns for U+0000 and lone surrogates, which PostgreSQL's text cannot hold."""

INT8 = 2**63

SHORTEST_CARD = 13
"""How many digits a card number has at least."""


class Malformed(Refused):
    """Stripe signed an object that cannot be read; the reason names the field. No retry helps, only new code."""


@dataclass(frozen=True, slots=True)
class StripeEvent:
    """An event as the readers see it. `created` is Stripe's time, in seconds; `account` is empty for our own."""

    id: str
    type: str
    created: int
    livemode: bool
    account: str
    object: "Obj"

    @property
    def at(self) -> str:
        """When it happened."""
        return moment(self.created)


@lru_cache(8192)
def moment(seconds: int) -> str:
    """Seconds since 1970 as PostgreSQL's JSON writes a time."""
    return datetime.fromtimestamp(seconds, UTC).isoformat()


class Obj:
    """A JSON object of Stripe's with typed access. Missing and null are the same; a wrong type raises Malformed."""

    __slots__ = ("json", "name")

    def __init__(self, json: Json, name: str) -> None:
        """`name` is told in errors, as in `invoice.lines`."""
        self.json = json
        self.name = name

    def _wrong(self, field: str, expected: str) -> Malformed:
        found = type(self.json[field]).__name__
        return Malformed(f"{self.name}.{field}: expected {expected}, got {found}: Stripe sent what we cannot read")

    def __contains__(self, field: str) -> bool:
        return self.json.get(field) is not None

    def text(self, field: str) -> str | None:
        """An enum, a code, a number: too short for a card number, or masked, because people chose some of them."""
        value = self.json.get(field)
        if value is None:
            return None
        if isinstance(value, str):
            return value if len(value) < SHORTEST_CARD or _WORDS(value) else masked(value)
        raise self._wrong(field, "a text")

    def words(self, field: str) -> str | None:
        """What people typed: card numbers and secrets in it are masked."""
        value = self.link(field)
        return None if value is None else masked(value)

    def link(self, field: str) -> str | None:
        """The address of a page of Stripe's: copied as it is."""
        value = self.json.get(field)
        if value is None or isinstance(value, str):
            return value
        raise self._wrong(field, "a text")

    def ref(self, field: str) -> str | None:
        """The id of another object, which may be there as a whole (expanded)."""
        value = self.json.get(field)
        if isinstance(value, dict):
            value = cast("Json", value).get("id")
        if not value:
            return None
        if isinstance(value, str):
            return value
        raise self._wrong(field, "an id or an object with one")

    def integer(self, field: str) -> int | None:
        """A whole number: amounts in minor units, counts."""
        value = self.json.get(field)
        if value is None:
            return None
        if type(value) is int and -INT8 <= value < INT8:
            return value
        if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
            return int(value)
        raise self._wrong(field, "a whole number of 64 bits")

    def number(self, field: str) -> int:
        """A whole number; missing is 0."""
        return self.integer(field) or 0

    def decimal(self, field: str) -> str | None:
        """A decimal number, which Stripe writes as a text or a number, in plain notation."""
        value = self.json.get(field)
        if value is None:
            return None
        try:
            return plain(Decimal(str(value)))
        except InvalidOperation:
            raise self._wrong(field, "a decimal number") from None

    def flag(self, field: str) -> bool | None:
        """True, false or unknown."""
        value = self.json.get(field)
        if value is None or isinstance(value, bool):
            return value
        raise self._wrong(field, "true or false")

    def time(self, field: str) -> str | None:
        """A time, which Stripe gives in seconds since 1970 (UTC)."""
        value = self.integer(field)
        if value is None:
            return None
        try:
            return moment(value)
        except (ValueError, OverflowError, OSError):
            raise self._wrong(field, "seconds since 1970") from None

    def sub(self, field: str) -> "Obj":
        """A nested object; an empty one when it is missing, or there by id only."""
        value = self.json.get(field)
        return Obj(cast("Json", value) if isinstance(value, dict) else {}, f"{self.name}.{field}")

    def each(self, field: str) -> "Iterator[Obj]":
        """The objects of a list, or of a list object's `data`; entries that are ids only are left out."""
        for value in self.entries(field):
            if isinstance(value, dict):
                yield Obj(cast("Json", value), f"{self.name}.{field}")

    def entries(self, field: str) -> Sequence[Any]:
        """A list, or a list object's `data`."""
        value = self.json.get(field)
        if isinstance(value, dict):
            value = cast("Json", value).get("data")
        return cast("Sequence[Any]", value) if isinstance(value, list) else ()

    def refs(self, field: str) -> list[str]:
        """The ids in a list of ids or objects."""
        found: list[str] = []
        for value in self.entries(field):
            name = cast("Json", value).get("id") if isinstance(value, dict) else value
            if isinstance(name, str):
                found.append(name)
        return found

    def complete(self, field: str) -> bool:
        """Whether a list object holds all that there is."""
        return self.sub(field).flag("has_more") is not True

    def metadata(self) -> Row:
        """The merchant's key-value pairs, masked."""
        pairs = self.sub("metadata").json
        return {masked(name): masked(value if isinstance(value, str) else str(value)) for name, value in pairs.items()}

    def id(self) -> str:
        """The object's own id."""
        found = self.ref("id")
        if found is None:
            raise Malformed(f"{self.name}.id is missing: Stripe sent what we cannot read")
        return found

    def need(self, field: str) -> int:
        """A whole number that must be there."""
        value = self.integer(field)
        if value is None:
            raise Malformed(f"{self.name}.{field} is missing: Stripe sent what we cannot read")
        return value


_SUSPECT = re.compile(r"(?:[0-9][^0-9]{0,3}){13}|whsec_|[sr]k_|_secret|://|bearer |basic ", re.IGNORECASE)
"""What any card number or secret contains; most texts do not, and need no closer look."""


_WORDS = re.compile(r"(?!.*(?:k_|_secret|whsec))[a-z_]+\Z").match
"""Most of what Stripe's enums hold: it is told at once that there is no card number and no secret in it."""


def masked(value: str) -> str:
    """`value` without card numbers and secrets."""
    return redact(value) if _SUSPECT.search(value) else value


def plain(value: Decimal) -> str:
    """A decimal without exponent and trailing zeros, so that equal numbers are equal texts."""
    if not value.is_finite():
        raise InvalidOperation
    return format(value.normalize(), "f")


_ODD = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")
_decode = msgspec.json.Decoder().decode
_SURROGATE = re.compile("[\ud800-\udfff\0]")


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return _SURROGATE.sub(REPLACEMENT, value)
    if isinstance(value, list):
        return [_clean(item) for item in cast("list[Any]", value)]
    if isinstance(value, dict):
        return {_clean(name): _clean(item) for name, item in cast("Json", value).items()}
    return value


def parse(payload: bytes) -> Json:
    """The JSON object that Stripe signed, with U+FFFD in place of what PostgreSQL cannot hold. Raises Malformed."""
    try:
        try:
            found = None if _ODD.search(payload) else _decode(payload)
        except msgspec.DecodeError:  # stricter than JSON is, about numbers that no float can hold
            found = None
        if found is None:
            found = _clean(json.loads(payload))
    except (ValueError, RecursionError) as error:
        raise Malformed(f"the payload is not JSON: {type(error).__name__}") from error
    if not isinstance(found, dict):
        raise Malformed("the payload is not a JSON object")
    return cast("Json", found)


def event_from(body: Json, *, event_id: str, event_type: str, livemode: bool, account: str | None) -> StripeEvent:
    """The event in `body`. What the inbox knows of it (verified at the door) is handed in. Raises Malformed."""
    data = body.get("data")
    found = cast("Json", data).get("object") if isinstance(data, dict) else None
    if not isinstance(found, dict):
        raise Malformed("event.data.object is missing: Stripe sent what we cannot read")
    created = Obj(body, "event").need("created")
    Obj(body, "event").time("created")
    obj = cast("Json", found)
    name = str(obj.get("object") or event_type.rpartition(".")[0])
    return StripeEvent(event_id, event_type, created, livemode, account or "", Obj(obj, name))


def snapshot(
    event: StripeEvent,
    table: str,
    key: Key,
    values: Row,
    *,
    final: bool = False,
    state: int = 0,
    sums: tuple[int, ...] = (),
    sticky: Row | None = None,
    inlined: bool = False,
) -> Fact:
    """A snapshot of a whole object, as it was at `event`; `inlined`: it was shown inside another object."""
    version = versions.version(
        created=event.created,
        event_type="inlined" if inlined else event.type,
        content=fingerprint(values),
        final=final,
        state=state,
        sums=sums,
    )
    return Fact(table, key, version, values, origin(event) | (sticky or {}))


def snapshot_of(event: StripeEvent, table: str, key: str, told: tuple[Row, Version, Row]) -> Fact:
    """A snapshot (values, version, sticky) of an object whose id is unique only within its account and mode."""
    values, version, sticky = told
    return Fact(table, (key, event.account, event.livemode), version, values, sticky)


def stub(event: StripeEvent, table: str, key: Key, **sticky: Any) -> Fact:
    """All that is known is that the object exists, and what never changes about it."""
    return Fact(table, key, (), {}, origin(event) | sticky)


def origin(event: StripeEvent) -> Row:
    """Where an object is from."""
    return {"livemode": event.livemode, "stripe_account": event.account}


Reader: TypeAlias = Callable[[StripeEvent], Iterator[Fact]]

READERS: dict[str, Reader] = {}
"""Which function reads which type of event."""


def handles(*types: str) -> Callable[[Reader], Reader]:
    """Make a function the reader of these event types: it tells what an event says about rows of the ledger."""

    def register(reader: Reader) -> Reader:
        for name in types:
            if name in READERS:
                raise RuntimeError(f"two readers handle {name}")
            READERS[name] = reader
        return reader

    return register
