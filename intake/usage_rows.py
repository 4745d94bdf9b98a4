"""What a partner reports is read strictly, and every row that cannot be taken is told with its fields."""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from difflib import get_close_matches
from typing import Annotated, Any, NoReturn, cast

import msgspec
from msgspec import Meta

from db.usage import MICRO, NewUsage, Owner, new_usage

MAX_ROWS = 1000
"""Rows of one request."""

MAX_METADATA = 4096
"""Bytes of a row's metadata, as JSON without spaces."""

MOST_UNITS = Decimal(10**12)
"""Cost units of one row."""

AHEAD = timedelta(minutes=5)
"""So much a reporter's clock may be ahead of ours."""

MOST_PROBLEMS = 1000
"""Problems that an answer names; it counts the others."""

MOST_UNKNOWN = 20
"""Unknown fields of a row that are named; the others are counted."""

MOST_GUESSES = 20
"""Unknown names of a request that the nearest known one is looked for: each look costs the door a quarter of a ms."""

LONGEST_NAME = 64
"""Characters of an unknown name that are told; for a longer one no nearest is looked for."""

_MOST = 2**63 - 1

Text = Annotated[str, Meta(min_length=1, max_length=255)]
Key = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"\S")]
EventType = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^(?=\s*\S)[^\x00-\x1f\x7f-\x9f]+\Z")]
Prefix = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}\Z")]
UserId = Annotated[int, Meta(ge=1, le=_MOST)] | Annotated[str, Meta(pattern=r"^[0-9]{1,19}\Z")]
Cents = Annotated[int, Meta(ge=0, le=_MOST)]


class Row(msgspec.Struct, forbid_unknown_fields=True):
    """One usage event as it is reported; null stands for what is left out."""

    idempotency_key: Key
    event_type: EventType
    user_id: UserId | None = None
    api_key_prefix: Prefix | None = None
    resource_id: Text | None = None
    billable: bool | None = None
    cost_units: Decimal | None = None
    unit_price_cents: Cents | None = None
    metadata: dict[str, Any] | None = None
    occurred_at: str | int | float | None = None


FIELDS: dict[str, Any] = {field.name: field.type for field in msgspec.structs.fields(Row)}

WANTED = {
    "idempotency_key": "is needed: text of 1 to 255 characters, not only spaces",
    "event_type": "is needed: text of 1 to 255 characters, not only spaces, without control characters",
    "user_id": "is a user's id: a positive integer, or its digits",
    "api_key_prefix": "is a partner's key prefix: up to 64 letters, digits, _ and -",
    "resource_id": "is text of 1 to 255 characters",
    "billable": "is true or false",
    "cost_units": "is a number, or one as text",
    "unit_price_cents": "is a whole number of minor units, not negative",
    "metadata": "is an object",
    "occurred_at": "is an instant: ISO 8601 with a time zone, or seconds since 1970",
}
"""What each field must be, as its reporter is told."""

TOO_DEEP = "is nested too deeply"

_decode = msgspec.json.Decoder(Row | list[Row]).decode
_PLACE = re.compile(r"\$\[(\d+)\]")


def too_late(late: timedelta) -> str:
    """What is said of usage that occurred longer than `late` ago."""
    return f"is longer than {late.days} days ago, and cannot be taken any more"


class Problem(msgspec.Struct, frozen=True):
    """What is wrong with a row (from 0), or with the request as a whole."""

    index: int | None
    field: str | None
    idempotency_key: str | None
    msg: str


class BadRowsError(Exception):
    """Nothing of the request can be taken. `status` is 422, or 400 for what is no JSON."""

    def __init__(self, problems: Sequence[Problem], *, rows: int = 1, status: int = 422) -> None:
        super().__init__(f"{len(problems)} problems")
        self.problems = problems
        self.rows = rows
        self.status = status


class _Wrong(Exception):  # noqa: N818 - never leaves this module
    def __init__(self, field: str, msg: str) -> None:
        super().__init__(msg)
        self.field = field


class Reader:
    """Reads requests. `prefix` of a caller is the partner whose key it is; None is the house, which reports for all."""

    def __init__(self, late: timedelta) -> None:
        """What occurred longer than `late` ago is not taken any more."""
        self._late = late

    def read(self, body: bytes, prefix: str | None, now: datetime) -> list[NewUsage]:
        """The events in a request. Raises BadRowsError."""
        try:
            found = _decode(body)
        except (msgspec.MsgspecError, RecursionError, ValueError) as error:
            self._explain(body, prefix, now, str(error))
        rows = [found] if isinstance(found, Row) else found
        _count(rows)
        checked = b"\\u0000" in body
        taken: list[NewUsage] = []
        problems: list[Problem] = []
        for index, row in enumerate(rows):
            try:
                if checked:
                    _storable(msgspec.structs.asdict(row))
                taken.append(self._take(row, prefix, now))
            except RecursionError:
                problems.append(Problem(index, "metadata", _printable(row.idempotency_key), TOO_DEEP))
            except _Wrong as wrong:
                problems.append(Problem(index, wrong.field, _printable(row.idempotency_key), str(wrong)))
        first: dict[bytes, int] = {}
        for index, row in enumerate(taken if not problems else ()):
            before = first.setdefault(row.digest, index)
            if taken[before].content != row.content:
                msg = f"has other content in row {before} of this request"
                problems.append(Problem(index, "idempotency_key", row.idempotency_key, msg))
        if problems:
            raise BadRowsError(problems, rows=len(rows))
        return taken

    def _take(self, row: Row, prefix: str | None, now: datetime) -> NewUsage:
        """Judge what no type can tell. Raises _Wrong."""
        return new_usage(
            _owner(row, prefix),
            row.idempotency_key,
            row.event_type,
            received_at=now,
            occurred_at=self._instant(row.occurred_at, now),
            resource_id=row.resource_id,
            billable=row.billable is not False,
            cost_units=Decimal(1) if row.cost_units is None else _units(row.cost_units),
            unit_price_cents=row.unit_price_cents,
            metadata=_small(row.metadata),
        )

    def _instant(self, given: str | float | None, now: datetime) -> datetime | None:
        if given is None:
            return None
        try:
            at = datetime.fromisoformat(given) if isinstance(given, str) else datetime.fromtimestamp(given, UTC)
            if at.tzinfo is None:
                raise _Wrong("occurred_at", "has no time zone: write 2026-10-05T12:00:00Z, or +02:00 at its end")
            at = at.astimezone(UTC)
        except (ValueError, OverflowError, OSError):
            raise _Wrong("occurred_at", WANTED["occurred_at"]) from None
        if at > now + AHEAD:
            raise _Wrong("occurred_at", "lies in the future, by more than 5 minutes")
        if at < now - self._late:
            raise _Wrong("occurred_at", too_late(self._late))
        return at

    def _explain(self, body: bytes, prefix: str | None, now: datetime, said: str) -> NoReturn:
        """What could not be read at one go is read slowly, field by field, so that every bad row is told."""
        try:
            found: Any = json.loads(str(body, "utf-8"), parse_constant=_no_constant)
        except (ValueError, RecursionError):
            raise BadRowsError([Problem(None, None, None, f"this is no JSON: {said}")], status=400) from None
        if not isinstance(found, (dict, list)):
            raise BadRowsError([Problem(None, None, None, "send an object, or a list of objects")])
        rows = cast("list[Any]", found if isinstance(found, list) else [found])
        _count(rows)
        nearest = _Nearest()
        problems: list[Problem] = []
        more = 0
        for index, row in enumerate(rows):
            found_here = self._problems(index, row, prefix, now, nearest)
            room = MOST_PROBLEMS - len(problems)
            problems += found_here[:room]
            more += len(found_here[room:])
        if more:
            problems.append(Problem(None, None, None, f"and {more:,} more problem{'' if more == 1 else 's'}"))
        if not problems:
            place = _PLACE.search(said)
            problems = [Problem(int(place[1]) if place else None, None, None, said)]
        raise BadRowsError(problems, rows=len(rows))

    def _problems(
        self, index: int, found: Any, prefix: str | None, now: datetime, nearest: "_Nearest"
    ) -> list[Problem]:
        if not isinstance(found, dict):
            return [Problem(index, None, None, "is no object")]
        row = cast("dict[str, Any]", found)
        named = row.get("idempotency_key")
        key = _printable(named) if isinstance(named, str) else None
        unknown = [name for name in row if name not in FIELDS]
        problems = [
            Problem(index, _printable(name)[:LONGEST_NAME], key, f"is not known{nearest.to(name)}")
            for name in unknown[:MOST_UNKNOWN]
        ]
        if more := len(unknown[MOST_UNKNOWN:]):
            problems.append(
                Problem(
                    index,
                    None,
                    key,
                    f"and {more:,} more fields are not known" if more > 1 else "and one more field is not known",
                )
            )
        good: dict[str, Any] = {}
        for name, kind in FIELDS.items():
            if name not in row and type(None) in getattr(kind, "__args__", ()):
                continue
            try:
                value = row.get(name)
                _storable({name: value})
                good[name] = msgspec.convert(value, kind)
            except _Wrong as wrong:
                problems.append(Problem(index, name, key, str(wrong)))
            except (msgspec.MsgspecError, RecursionError, ValueError):
                problems.append(Problem(index, name, key, WANTED[name]))
        if not problems:
            try:
                self._take(Row(**good), prefix, now)
            except RecursionError:
                problems.append(Problem(index, "metadata", key, TOO_DEEP))
            except _Wrong as wrong:
                problems.append(Problem(index, wrong.field, key, str(wrong)))
        return problems


def _no_constant(_: str) -> NoReturn:
    raise ValueError("not JSON")


def _count(rows: Sequence[Any]) -> None:
    if len(rows) > MAX_ROWS:
        told = f"{len(rows):,} rows: send at most {MAX_ROWS:,} in one request"
        raise BadRowsError([Problem(None, None, None, told)], rows=len(rows))


def _owner(row: Row, prefix: str | None) -> Owner:
    """Whose usage a row is. Raises _Wrong."""
    if prefix is not None:
        if row.user_id is not None:
            raise _Wrong("user_id", f"is not for a partner to report: this key reports for {prefix} only")
        if row.api_key_prefix not in (None, prefix):
            raise _Wrong("api_key_prefix", f"is another's: this key reports for {prefix} only")
        return Owner(api_key_prefix=prefix)
    if (row.user_id is None) is (row.api_key_prefix is None):
        field = "api_key_prefix" if row.user_id is None else "user_id"
        raise _Wrong(field, "exactly one of user_id and api_key_prefix tells whose usage it is")
    if row.user_id is None:
        return Owner(api_key_prefix=row.api_key_prefix)
    if not 1 <= (user := int(row.user_id)) <= _MOST:
        raise _Wrong("user_id", WANTED["user_id"])
    return Owner(user_id=user)


def _units(given: Decimal) -> Decimal:
    if not given.is_finite() or not 0 <= given <= MOST_UNITS:
        raise _Wrong("cost_units", f"is from 0 to {MOST_UNITS}")
    units = given.quantize(MICRO)
    if units != given:
        raise _Wrong("cost_units", "has more than six decimals")
    return abs(units)  # -0


def _small(metadata: dict[str, Any] | None) -> dict[str, Any] | None:
    if metadata is not None and len(msgspec.json.encode(metadata)) > MAX_METADATA:
        raise _Wrong("metadata", f"is larger than {MAX_METADATA} bytes")
    return metadata


def _storable(fields: Mapping[str, Any]) -> None:
    """PostgreSQL's text holds neither U+0000 nor lone surrogates. Raises _Wrong."""
    for name, value in fields.items():
        if not _clean(value):
            raise _Wrong(name, "holds U+0000 or half of a surrogate pair, which are no text")


def _clean(value: Any) -> bool:
    if isinstance(value, str):
        return "\0" not in value and (value.isascii() or not any("\ud800" <= char <= "\udfff" for char in value))
    if isinstance(value, dict):
        items = cast("dict[Any, Any]", value)
        return all(_clean(key) and _clean(item) for key, item in items.items())
    return not isinstance(value, list) or all(_clean(item) for item in cast("list[Any]", value))


def _printable(text: str) -> str:
    """What can be sent back: JSON in UTF-8 holds no lone surrogates."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\0", "\ufffd")[:255]


class _Nearest:
    """Guesses what the unknown names of one request were meant to be; a typo is mostly the same in all its rows."""

    def __init__(self) -> None:
        self._told: dict[str, str] = {}

    def to(self, name: str) -> str:
        told = self._told.get(name)
        if told is None:
            if len(self._told) >= MOST_GUESSES or len(name) > LONGEST_NAME:
                return ""
            near = get_close_matches(name, FIELDS, n=1)
            told = f"; did you mean {near[0]}?" if near else f": there are {', '.join(FIELDS)}"
            self._told[name] = told
        return told
