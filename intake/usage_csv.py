"""Usage comes as a CSV file: each line is read as a row of the API, by the very same rules."""

import csv
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import msgspec

from db.usage import NewUsage
from intake.usage_rows import FIELDS, MAX_ROWS, BadRowsError, Reader

LONGEST_LINE = 1024 * 1024
"""Bytes of a line; one quotation mark that is never closed must not eat the memory."""

T = TypeVar("T")
DELIMITERS = (",", ";", "\t")
YES = frozenset({"true", "yes", "1"})
NO = frozenset({"false", "no", "0"})
FOR_EVER = timedelta(days=366 * 1000)
"""How late usage may be when the limit is lifted."""


class BadFileError(Exception):
    """The file as a whole cannot be read; `told` has a line for each thing that is wrong, with its fix."""

    def __init__(self, *told: str) -> None:
        super().__init__("\n".join(told))
        self.told = told


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a line of the file (counted from 1), and what to write."""

    line: int
    field: str | None
    msg: str


@dataclass(slots=True)
class Chunk:
    """Up to 1,000 lines: the events in them, or what is wrong with some."""

    lines: list[int] = field(default_factory=list[int])
    events: list[NewUsage] = field(default_factory=list[NewUsage])
    faults: list[Fault] = field(default_factory=list[Fault])


@dataclass(frozen=True, slots=True)
class UsageFile:
    """A file that was looked at: its columns, by which it is read, and what it is recognized by."""

    path: Path
    size: int
    sha256: str
    delimiter: str
    columns: tuple[str, ...]

    @property
    def keyed(self) -> bool:
        """Whether the file has keys of its own; else they are made of its SHA-256 and the line's number."""
        return "idempotency_key" in self.columns

    def key(self, line: int) -> str:
        """The key of a line of this very file."""
        return f"csv/{self.sha256[:32]}/{line}"


def look(path: Path, *, owner: str | None) -> UsageFile:
    """Read a file's header. `owner` is the partner of lines that name none. Raises BadFileError."""
    try:
        with path.open("rb") as opened:
            sha256 = hashlib.file_digest(opened, "sha256").hexdigest()
            size = opened.tell()
            opened.seek(0)
            first = next(_text(opened, lambda _: None), "")
    except OSError as error:
        raise BadFileError(f"cannot be read: {error.strerror}") from None
    if not first.strip():
        raise BadFileError(f"line 1 is empty: write the names of the columns there, such as {','.join(FIELDS)}")
    delimiter = max(DELIMITERS, key=lambda one: len(set(_names(first, one)) & set(FIELDS)))
    columns = _names(first, delimiter)
    told = [f"line 1: the column {name!r} is not known{_near(name)}" for name in columns if name not in FIELDS]
    told += [f"line 1: the column {name!r} stands there twice" for name in FIELDS if columns.count(name) > 1]
    if "event_type" not in columns:
        told.append("line 1: there is no column event_type: it is needed")
    if owner is None and not {"user_id", "api_key_prefix"} & set(columns):
        told.append("line 1: whose usage is it? Add a column api_key_prefix or user_id, or give --partner")
    if told:
        raise BadFileError(*told)
    return UsageFile(path, size, sha256, delimiter, tuple(columns))


def _names(line: str, delimiter: str) -> list[str]:
    try:
        return [name.strip().lower() for name in next(csv.reader([line], delimiter=delimiter))]
    except csv.Error:
        return []


def _near(name: str) -> str:
    near = get_close_matches(name, FIELDS, n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else f": there are {', '.join(FIELDS)}"


def _text(opened: BinaryIO, seen: Callable[[int], None]) -> Iterator[str]:
    """The lines as text; a byte order mark is passed over. `seen` is told how many bytes each has."""
    number = 0
    while raw := opened.readline(LONGEST_LINE + 1):
        number += 1
        if len(raw) > LONGEST_LINE:
            raise BadFileError(f"line {number} is longer than {LONGEST_LINE} bytes: is a quotation mark never closed?")
        seen(len(raw))
        try:
            yield str(raw, "utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise BadFileError(f"line {number} is not UTF-8 (byte {error.start + 1}): save the file as UTF-8") from None


def _cell(name: str, text: str) -> Any:
    """What stands in a cell as JSON has it; what it is not is left as text, so that the rules tell it."""
    match name:
        case "billable":
            small = text.lower()
            return True if small in YES else False if small in NO else text
        case "unit_price_cents" | "occurred_at" if text.isascii() and text.isdigit() and len(text) < 20:  # noqa: PLR2004 - more than any number here has
            return int(text)
        case "metadata":
            try:
                return json.loads(text)
            except (ValueError, RecursionError):
                return text
        case _:
            return text


def _records(file: UsageFile, seen: Callable[[int], None]) -> Iterator[tuple[int, dict[str, Any] | Fault]]:
    """Each line that is not empty: its number, and its cells by column. Raises BadFileError."""
    with file.path.open("rb") as opened:
        reader = csv.reader(_text(opened, seen), delimiter=file.delimiter, strict=True)
        line = 1
        try:
            for number, cells in enumerate(reader):
                line, begins = reader.line_num + 1, line
                if number == 0 or not any(cell.strip() for cell in cells):
                    continue
                if len(cells) != len(file.columns):
                    yield begins, Fault(begins, None, f"has {len(cells)} cells, and the header {len(file.columns)}")
                    continue
                yield (
                    begins,
                    {
                        name: _cell(name, text)
                        for name, text in zip(file.columns, (cell.strip() for cell in cells), strict=True)
                        if text
                    },
                )
        except csv.Error as error:
            raise BadFileError(f"line {line}: {error}") from None


class Rows:
    """Reads a file's lines in chunks, as often as is wanted: memory holds one chunk."""

    def __init__(self, file: UsageFile, *, owner: str | None, late: timedelta, now: datetime) -> None:
        """Lines that name nobody are `owner`'s; what occurred longer than `late` before `now` is not taken."""
        self._file = file
        self._owner = owner
        self._reader = Reader(late)
        self._now = now

    def chunks(self, seen: Callable[[int], None]) -> Iterator[Chunk]:
        """The chunks in order; `seen` is told how many bytes were read. Raises BadFileError."""
        for found in _batched(_records(self._file, seen), MAX_ROWS):
            chunk = Chunk(faults=[one for _, one in found if isinstance(one, Fault)])
            rows = [(line, one) for line, one in found if not isinstance(one, Fault)]
            chunk.lines = [line for line, _ in rows]
            self._read(chunk, [self._row(line, row) for line, row in rows])
            chunk.faults.sort(key=lambda fault: fault.line)
            yield chunk

    def _row(self, line: int, row: Mapping[str, Any]) -> dict[str, Any]:
        made = dict(row)
        if not self._file.keyed:
            made["idempotency_key"] = self._file.key(line)
        if self._owner is not None and not {"user_id", "api_key_prefix"} & made.keys():
            made["api_key_prefix"] = self._owner
        return made

    def _read(self, chunk: Chunk, rows: Sequence[Mapping[str, Any]]) -> None:
        try:
            events = self._reader.read(msgspec.json.encode(rows), None, self._now)
        except BadRowsError as error:
            lines = chunk.lines
            chunk.faults += [
                Fault(lines[one.index] if one.index is not None else lines[0], one.field, _said(one.msg, lines))
                for one in error.problems
            ]
        else:
            name = self._file.path.name[:200]
            chunk.events = [event._replace(source=f"csv:{name}") for event in events]


def _said(msg: str, lines: Sequence[int]) -> str:
    """The rules count rows of a request; a file has lines."""
    before, marked, rest = msg.partition("in row ")
    index, _, after = rest.partition(" of this request")
    return f"{before}in line {lines[int(index)]}{after}" if marked and index.isdigit() else msg


def _batched(items: Iterator[T], size: int) -> Iterator[list[T]]:
    """Lists of up to `size` items (Python 3.12's `itertools.batched`)."""
    batch: list[T] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
