"""Which events or jobs an operator means: what was typed is checked, and becomes conditions with bound values."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from enum import StrEnum
from typing import TypeVar

from sqlalchemy import ColumnElement, SQLColumnExpression, and_, select

from db.models.inbox import QueueRow, WebhookEvent
from db.models.operations import Job
from db.states import EventStatus, JobStatus

MOST_ROWS = 1_000
"""A listing never returns more rows; a narrower filter finds the others."""

_UNITS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_AGE = re.compile(r"(\d{1,9})\s*([smhdw])", re.ASCII)
_Enum = TypeVar("_Enum", bound=StrEnum)


class BadFilterError(Exception):
    """What was asked for cannot be understood. `field` is the option's name, the message says what to write instead."""

    def __init__(self, field: str, message: str) -> None:
        """`message` is shown after the field's name."""
        super().__init__(message)
        self.field = field


def plain(field: str, value: str | None) -> str | None:
    """Text that PostgreSQL can hold; empty text means that nothing was asked. Raises BadFilterError."""
    if not value:
        return None
    if "\x00" in value or any("\ud800" <= char <= "\udfff" for char in value):
        raise BadFilterError(field, "holds a character that is no text")
    return value


def one_of(field: str, value: str | None, values: type[_Enum]) -> _Enum | None:
    """The member of `values` that was typed. Raises BadFilterError with the nearest one."""
    if not value:
        return None
    allowed = [member.value for member in values]
    if value not in allowed:
        near = get_close_matches(value.lower(), allowed, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise BadFilterError(field, f"{value!r} is not known: {hint}it is one of {', '.join(allowed)}")
    return values(value)


def moment(field: str, value: str | None, now: datetime) -> datetime | None:
    """`2h`, `30m`, `7d` mean that long before `now`; else ISO 8601, in UTC unless it says otherwise.

    Raises BadFilterError.
    """
    if not value:
        return None
    try:
        if age := _AGE.fullmatch(value.strip().lower()):
            return now - timedelta(seconds=int(age[1]) * _UNITS[age[2]])
        at = datetime.fromisoformat(value.strip())
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadFilterError(
            field, f"{value!r} is no time: write an age (30m, 2h, 7d) or a date (2026-03-01, 2026-03-01T12:00:00Z)"
        ) from None


def like(glob: str) -> str:
    """A glob (`invoice.*`) as a LIKE pattern; its own wildcards mean themselves."""
    escaped = glob.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return escaped.replace("*", "%").replace("?", "_")


def named(column: SQLColumnExpression[str], glob: str) -> ColumnElement[bool]:
    """Whether a column is the name that was typed, or matches it where it holds `*` or `?`."""
    return column.like(like(glob), escape="\\") if set(glob) & set("*?") else column == glob


def period(since: str | None, until: str | None, now: datetime) -> tuple[datetime | None, datetime | None]:
    """The period that was typed. Raises BadFilterError, also when it ends before it begins."""
    begin, end = moment("since", since, now), moment("until", until, now)
    if begin and end and begin >= end:
        raise BadFilterError("until", "is not after --since")
    return begin, end


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Events by what is known of them; None leaves a field open. `since` ≤ received < `until`."""

    ids: tuple[str, ...] | None = None
    status: EventStatus | None = None
    type: str | None = None
    customer: str | None = None
    account: str | None = None
    object_id: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    @classmethod
    def read(
        cls,
        *,
        now: datetime,
        status: str | None = None,
        type_: str | None = None,
        customer: str | None = None,
        account: str | None = None,
        object_id: str | None = None,
        since: str | None = None,
        until: str | None = None,
    ) -> "EventFilter":
        """The filter that was typed. Raises BadFilterError."""
        begin, end = period(since, until, now)
        return cls(
            status=one_of("status", status, EventStatus),
            type=plain("type", type_),
            customer=plain("customer", customer),
            account=plain("account", account),
            object_id=plain("object", object_id),
            since=begin,
            until=end,
        )

    def conditions(self) -> ColumnElement[bool]:
        """The filter over `webhook_events`."""
        wanted: list[ColumnElement[bool]] = []
        if self.ids is not None:
            wanted.append(WebhookEvent.id.in_(self.ids))
        if self.status is not None:
            wanted.append(WebhookEvent.status == self.status.value)
        if self.status in (EventStatus.RECEIVED, EventStatus.RETRYING, EventStatus.DEAD):
            # Unfinished events are few and stand in the narrow table: millions of finished ones are not read for them.
            unfinished = select(QueueRow.event_id).where(QueueRow.event_id.is_not(None))
            dead = QueueRow.dead_reason.is_not(None)
            wanted.append(WebhookEvent.id.in_(unfinished.where(dead if self.status == EventStatus.DEAD else ~dead)))
        if self.type is not None:
            wanted.append(named(WebhookEvent.type, self.type))
        for column, value in (
            (WebhookEvent.customer_id, self.customer),
            (WebhookEvent.account, self.account),
            (WebhookEvent.object_id, self.object_id),
        ):
            if value is not None:
                wanted.append(column == value)
        if self.since is not None:
            wanted.append(WebhookEvent.received_at >= self.since)
        if self.until is not None:
            wanted.append(WebhookEvent.received_at < self.until)
        return and_(True, *wanted)  # noqa: FBT003 - SQLAlchemy's own way to say "no condition"


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Jobs by what is known of them; None leaves a field open. `since` ≤ staged < `until`."""

    ids: tuple[int, ...] | None = None
    status: JobStatus | None = None
    name: str | None = None
    queue: str | None = None
    staged_by: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    @classmethod
    def read(
        cls,
        *,
        now: datetime,
        status: str | None = None,
        name: str | None = None,
        queue: str | None = None,
        staged_by: str | None = None,
        since: str | None = None,
        until: str | None = None,
    ) -> "JobFilter":
        """The filter that was typed. Raises BadFilterError."""
        begin, end = period(since, until, now)
        return cls(
            status=one_of("status", status, JobStatus),
            name=plain("name", name),
            queue=plain("queue", queue),
            staged_by=plain("staged-by", staged_by),
            since=begin,
            until=end,
        )

    def conditions(self) -> ColumnElement[bool]:
        """The filter over `jobs`."""
        wanted: list[ColumnElement[bool]] = []
        if self.ids is not None:
            wanted.append(Job.id.in_(self.ids))
        if self.status is not None:
            wanted.append(Job.status == self.status.value)
        if self.status in (JobStatus.QUEUED, JobStatus.RETRYING, JobStatus.DEAD):
            unfinished = select(QueueRow.job_id).where(QueueRow.job_id.is_not(None))
            wanted.append(Job.id.in_(unfinished))
        if self.name is not None:
            wanted.append(named(Job.name, self.name))
        if self.queue is not None:
            wanted.append(Job.queue == self.queue)
        if self.staged_by is not None:
            wanted.append(Job.staged_by == self.staged_by)
        if self.since is not None:
            wanted.append(Job.created_at >= self.since)
        if self.until is not None:
            wanted.append(Job.created_at < self.until)
        return and_(True, *wanted)  # noqa: FBT003 - SQLAlchemy's own way to say "no condition"


def search(words: str | None, now: datetime) -> EventFilter:
    """What one search box means: an id of an event, a customer, an account or an object, or else a type (a glob)."""
    text = plain("search", words.strip() if words else None)
    if text is None:
        return EventFilter()
    if text.startswith("evt_"):
        return EventFilter(ids=(text,))
    if text.startswith("cus_"):
        return EventFilter(customer=text)
    if text.startswith("acct_"):
        return EventFilter(account=text)
    if "." in text or "*" in text or "_" not in text:
        return EventFilter.read(now=now, type_=text if set(text) & set(".*?") else f"{text}*")
    return EventFilter(object_id=text)


def whole_numbers(field: str, values: Sequence[str]) -> tuple[int, ...]:
    """Ids of jobs. Raises BadFilterError."""
    for value in values:
        if not re.fullmatch(r"\d{1,18}", value, re.ASCII):
            raise BadFilterError(field, f"{value!r} is no job's id: jobs have whole numbers (billing jobs list)")
    return tuple(dict.fromkeys(int(value) for value in values))


def page_size(limit: int) -> int:
    """The number of rows to list. Raises BadFilterError."""
    if not 1 <= limit <= MOST_ROWS:
        raise BadFilterError("limit", f"is not between 1 and {MOST_ROWS}")
    return limit
