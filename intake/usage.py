"""Partners and our own services report what was used: it is checked, stored once, and then acknowledged."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from http import HTTPStatus
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

import msgspec
import structlog

from db import usage
from db.inbox import Connection
from db.tokens import TokenScope
from db.usage import Added, Clash, NewUsage
from intake.batcher import UnavailableError
from intake.usage_access import Caller, Headers, RefusalError
from intake.usage_rows import BadRowsError, Problem, Reader
from intake.usage_types import TOO_MANY, TypesCap
from intake.webhook import BODY_TIMEOUT, MAX_BODY, RETRY_AFTER, Message, Receive, RejectionError, Scope, Send, read_body
from worker.ports import Clock
from worker.telemetry import USAGE_EVENTS, USAGE_REQUESTS

log = structlog.get_logger()

PATH: Final = "/usage/events"

USED_BEFORE = "was used before, with other content"


class Report(NamedTuple):
    """The events of one request, which are stored together or not at all; `size` is that of its body, in bytes."""

    events: Sequence[NewUsage]
    size: int


class TooManyTypes(NamedTuple):
    """Nothing of the request was stored: the types of these of its rows (from 0) would be too many in their month."""

    rows: tuple[int, ...]


Came: TypeAlias = Added | Clash | TooManyTypes
"""What a report came to."""


class Store(Protocol):
    """Remembers what was reported."""

    async def remember(self, item: Report, /) -> Came:
        """Return what a report came to, after the commit. Raises UnavailableError."""
        ...


class RememberUsage:
    """Usage goes into the books, each report as a whole, as long as its types are few."""

    def __init__(self) -> None:
        self._types = TypesCap()

    async def __call__(self, conn: Connection, items: Sequence[Report], /) -> list[Came]:
        """Commit reports together, and return what each came to."""
        refused = {
            number: TooManyTypes(rows)
            for number, item in enumerate(items)
            if (rows := await self._types.refused(conn, item.events))
        }
        stored = iter(await usage.add(conn, [one.events for number, one in enumerate(items) if number not in refused]))
        return [refused.get(number) or next(stored) for number in range(len(items))]


def name_of(report: Report) -> str:
    """A report's name in the log: its first key."""
    return report.events[0].idempotency_key if report.events else "nothing"


def owner_of(report: Report) -> tuple[str | None, int | None]:
    """Whose turn a report takes: its first event's owner."""
    return report.events[0].api_key_prefix, report.events[0].user_id


def rows_of(report: Report) -> int:
    """How many rows a report adds to a statement."""
    return len(report.events)


class Admission(Protocol):
    """Checks keys and limits."""

    async def admit(self, headers: Sequence[tuple[bytes, bytes]], scope: TokenScope, wall: Any, /) -> Caller:
        """Who sent a request with these headers. Raises RefusalError."""
        ...


class UsageDoor:
    """`POST /usage/events` as a bare ASGI app, beside the webhook and as fast."""

    def __init__(
        self,
        store: Store,
        entry: Admission,
        clock: Clock,
        *,
        business: Clock | None = None,
        late: timedelta,
        body_timeout: float = BODY_TIMEOUT,
    ) -> None:
        """`business` is the clock that usage is dated by, if it is not `clock`; `body_timeout` is in seconds."""
        self._store = store
        self._entry = entry
        self._clock = clock
        self._business = business or clock
        self._reader = Reader(late)
        self._body_timeout = body_timeout
        self._complaints: dict[str, float] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        headers: Headers = ()
        try:
            caller = await self._caller(scope)
            headers = caller.headers
            added = await self._take(caller, await read_body(scope, receive, self._body_timeout))
        except RefusalError as refusal:
            headers = (*headers, *refusal.headers)
            self._refused(refusal.outcome, refusal.status)
            status, answer = refusal.status, {"detail": refusal.told}
        except RejectionError as rejection:
            headers = (*headers, ("connection", "close")) if rejection.close else headers
            self._refused(rejection.outcome, rejection.status)
            status, answer = rejection.status, {"detail": rejection.told}
        except BadRowsError as bad:
            USAGE_EVENTS.labels("refused").inc(bad.rows)
            self._refused("malformed" if bad.status == HTTPStatus.BAD_REQUEST else "bad_rows", bad.status)
            status, answer = bad.status, {"detail": bad.problems}
        else:
            USAGE_REQUESTS.labels("accepted").inc()
            USAGE_EVENTS.labels("accepted").inc(added.accepted)
            USAGE_EVENTS.labels("duplicate").inc(added.duplicates)
            status, answer = HTTPStatus.ACCEPTED, {"accepted": added.accepted, "duplicates": added.duplicates}
        start, body = _answer(status, msgspec.json.encode(answer), headers)
        await send(start)
        await send(body)

    async def _caller(self, scope: Scope) -> Caller:
        """Who may report, before anything is read. Raises RefusalError."""
        if scope["method"] != "POST":
            raise RefusalError(HTTPStatus.METHOD_NOT_ALLOWED, "method", "use POST", (("allow", "POST"),))
        caller = await self._entry.admit(scope["headers"], TokenScope.WRITE, self._clock.now())
        for name, value in scope["headers"]:
            if name == b"content-length" and int(value) > MAX_BODY:
                told = "the body is larger than 1 MiB"
                raise RefusalError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", told, caller.headers)
            if name == b"content-encoding" and value.strip().lower() not in (b"", b"identity"):
                unpacked = (*caller.headers, ("accept-encoding", "identity"))
                told = "send the body as it is, not compressed"
                raise RefusalError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "encoded", told, unpacked)
        return caller

    async def _take(self, caller: Caller, body: bytes) -> Added:
        """Store what the body reports. Raises BadRowsError, RefusalError."""
        try:
            now = self._business.now()
        except (OSError, ValueError) as error:  # a demo's time is just being moved
            raise _unavailable(f"no time: {error}") from None
        events = self._reader.read(body, caller.prefix, now)
        if not events:
            return Added(0, 0)
        try:
            found = await self._store.remember(Report(events, len(body)))
        except UnavailableError as error:
            USAGE_EVENTS.labels("unavailable").inc(len(events))
            raise _unavailable(str(error)) from None
        if isinstance(found, Added):
            return found
        field, told = ("idempotency_key", USED_BEFORE) if isinstance(found, Clash) else ("event_type", TOO_MANY)
        raise BadRowsError(
            [Problem(row, field, events[row].idempotency_key, told) for row in found.rows], rows=len(events)
        )

    def _refused(self, outcome: str, status: int) -> None:
        """Count a refusal, and log it, each kind at most once in a second: no stranger may fill our disk."""
        USAGE_REQUESTS.labels(outcome).inc()
        now = asyncio.get_running_loop().time()
        if now - self._complaints.get(outcome, now - 1) >= 1:
            self._complaints[outcome] = now
            log.warning("usage refused", outcome=outcome, status=status)


def _unavailable(why: str) -> RefusalError:
    log.debug("usage was not stored", why=why)
    retry = (("retry-after", str(RETRY_AFTER)),)
    return RefusalError(HTTPStatus.SERVICE_UNAVAILABLE, "unavailable", "try again later", retry)


def _answer(status: int, body: bytes, headers: Headers) -> tuple[Message, Message]:
    start: Message = {
        "type": "http.response.start",
        "status": status,
        "headers": [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            *((name.encode(), value.encode()) for name, value in headers),
        ],
    }
    return start, {"type": "http.response.body", "body": body}


_ROW: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["idempotency_key", "event_type"],
    "additionalProperties": False,
    "properties": {
        "idempotency_key": {"type": "string", "minLength": 1, "maxLength": 255, "description": "The owner's own."},
        "event_type": {"type": "string", "minLength": 1, "maxLength": 255, "examples": ["deed.search"]},
        "user_id": {"type": ["integer", "string", "null"], "description": "A customer; with the admin token only."},
        "api_key_prefix": {
            "type": ["string", "null"],
            "description": "A partner. Left out by a partner's own key, which can report for nobody else.",
        },
        "resource_id": {"type": ["string", "null"], "maxLength": 255},
        "billable": {"type": "boolean", "default": True},
        "cost_units": {
            "type": ["number", "string"],
            "default": 1,
            "description": "0 to 10^12, at most six decimals; as text it is exact in every language.",
        },
        "unit_price_cents": {"type": ["integer", "null"], "minimum": 0, "description": "A note of the caller's own."},
        "metadata": {"type": ["object", "null"], "description": "At most 4 KiB."},
        "occurred_at": {
            "type": ["string", "number", "null"],
            "description": "ISO 8601 with a time zone, or seconds since 1970. Default: now.",
        },
    },
}

_PROBLEM: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "index": {"type": ["integer", "null"], "description": "The row, from 0; null: the request as a whole."},
        "field": {"type": ["string", "null"]},
        "idempotency_key": {"type": ["string", "null"]},
        "msg": {"type": "string"},
    },
}

OPENAPI: Final[dict[str, Any]] = {
    "post": {
        "summary": "Report what was used",
        "description": "One event or up to 1,000, at most 1 MiB. All of a request is stored, or nothing.",
        "operationId": "report_usage",
        "tags": ["usage"],
        "parameters": [
            {
                "name": "Authorization",
                "in": "header",
                "required": True,
                "schema": {"type": "string"},
                "example": "Bearer acme_…",
            }
        ],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": {"oneOf": [_ROW, {"type": "array", "maxItems": 1000, "items": _ROW}]}}
            },
        },
        "responses": {
            "202": {
                "description": "Committed.",
                "content": {
                    "application/json": {
                        "schema": {
                            "type": "object",
                            "required": ["accepted", "duplicates"],
                            "properties": {
                                "accepted": {"type": "integer", "description": "Events that are new."},
                                "duplicates": {"type": "integer", "description": "Events that were stored before."},
                            },
                        }
                    }
                },
            },
            "400": {"description": "Not JSON."},
            "401": {"description": "No key, or one that is unknown, expired or revoked."},
            "403": {"description": "The key has not the scope `usage:write`."},
            "408": {"description": "The body did not come within 10 s."},
            "413": {"description": "The body is larger than 1 MiB."},
            "415": {"description": "The body is compressed."},
            "422": {
                "description": "Every bad row, with its field: the first 1,000 problems. Nothing was stored.",
                "content": {
                    "application/json": {
                        "schema": {"type": "object", "properties": {"detail": {"type": "array", "items": _PROBLEM}}}
                    }
                },
            },
            "429": {
                "description": "More requests in a minute than the contract allows (`Retry-After`, `RateLimit-…`)."
            },
            "503": {"description": "The database is away (`Retry-After`)."},
        },
    }
}
