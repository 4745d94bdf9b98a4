"""What operators see of the running system: logs without secrets, and the numbers of the contract."""

import asyncio
import logging
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from datetime import datetime
from typing import Any, Final, TextIO, cast

import structlog
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Histogram,
    disable_created_metrics,
    generate_latest,
    multiprocess,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from db.dunning import open_count
from db.inbox import Depth, depths
from db.reconciliation import open_counts
from db.schedules import late
from db.verify import runs as verifications
from worker.settings import Settings

log = structlog.get_logger()

CARD: Final = "[card number]"
SECRET: Final = "[secret]"  # noqa: S105 - what stands in a secret's place
CARD_DIGITS: Final = range(13, 20)
"""How many digits a card number has (ISO/IEC 7812-1 allows fewer, no network issues them)."""

_DIGIT_RUN = re.compile(r"[0-9]+(?:[ \t\u00a0\u2000-\u200b\u202f\u2010-\u2015\u2212\-]{1,3}[0-9]+)*")
# Full stops and slashes part other numbers too (times, addresses, amounts): only a card's own grouping counts there.
_PARTED_RUN = re.compile(
    r"(?<![0-9])[0-9]{4}([ \t]?[._/\\:|][ \t]?)"
    r"(?:[0-9]{4}\1[0-9]{4}(?:\1[0-9]{1,4})+|[0-9]{6}\1[0-9]{4,5})(?![0-9])"
)
_SECRETS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"whsec_[A-Za-z0-9+/=_\-]+"), f"whsec_{SECRET}"),
    (re.compile(r"\b([sr]k)_[A-Za-z0-9_]{6,}"), rf"\1_{SECRET}"),
    (re.compile(r"(_secret)_[A-Za-z0-9]{6,}"), rf"\1_{SECRET}"),
    (re.compile(r"\b(sendgrid://)[^\s\"'\[]+"), rf"\1{SECRET}"),
    (re.compile(r"([A-Za-z][A-Za-z0-9+.\-]{0,30}://[^\s:/\"']*:)(?!\[secret\]@)[^\s/\"']+@"), rf"\1{SECRET}@"),
    (re.compile(r"(?i)\b(Bearer|Basic) +(?!\[)[A-Za-z0-9._~+/=\-]{6,}"), rf"\1 {SECRET}"),
)


def _is_card(digits: str) -> bool:
    """13 to 19 digits with a right check digit (Luhn, ISO/IEC 7812-1 annex B)."""
    if len(digits) not in CARD_DIGITS:
        return False
    total = sum(int(digit) for digit in digits[-1::-2])
    total += sum(sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return total % 10 == 0


def _redact_run(match: re.Match[str]) -> str:
    """A card number is some whole groups of the digits that stand together; it may have company on either side."""
    run = match.group()
    groups = [(found.start(), found.end()) for found in re.finditer(r"[0-9]+", run)]
    made: list[str] = []
    done = 0
    first = 0
    while first < len(groups):
        start = groups[first][0]
        digits = ""
        for last in range(first, len(groups)):
            begin, end = groups[last]
            digits += run[begin:end]
            if len(digits) >= CARD_DIGITS.stop:
                break
            if _is_card(digits):
                made += [run[done:start], CARD]
                done = end
                first = last
                break
        first += 1
    return "".join([*made, run[done:]])


def redact(text: str) -> str:
    """`text` without card numbers, signing secrets, API keys, tokens, and passwords in URLs. Safe to apply twice."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return _DIGIT_RUN.sub(_redact_run, _PARTED_RUN.sub(_redact_run, text))


def _redact_value(value: Any) -> Any:
    if value is None or isinstance(value, (bool, float, datetime)):
        return value
    if isinstance(value, int):
        return CARD if _is_card(str(value)) else value
    if isinstance(value, Mapping):
        items = cast("Mapping[Any, Any]", value).items()
        return {_redact_value(key): _redact_value(item) for key, item in items}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_redact_value(item) for item in cast("list[Any]", value)]
    return redact(value if isinstance(value, str) else repr(value))


def _redact_event(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        if not key.startswith("_"):
            event[key] = _redact_value(value)
    return event


def _render_exception(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The traceback as a string, so that it is redacted with the rest; never with the values of local variables."""
    info = event.pop("exc_info", None)
    if info is True:
        info = sys.exc_info()
    elif isinstance(info, BaseException):
        info = (type(info), info, info.__traceback__)
    if isinstance(info, tuple):
        kind, error, trace = cast("tuple[type[BaseException] | None, BaseException | None, Any]", info)
        if kind is not None:
            event["exception"] = "".join(traceback.format_exception(kind, error, trace)).rstrip()
    return event


def configure_logging(settings: Settings, stream: TextIO | None = None) -> None:
    """Send structlog's and the standard library's logs to `stream` (stderr) in the form that `settings` ask for."""
    out = stream or sys.stderr
    shared: list[Callable[..., Any]] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.PositionalArgumentsFormatter(),
    ]
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if settings.log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=structlog.dev.plain_traceback)
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _render_exception,
                _redact_event,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(settings.log_level)
    # The arguments of jobs and the text of statements stay out of the logs, whatever the level.
    for noisy in ("arq", "uvicorn.access", "uvicorn.error", "sqlalchemy.engine", "asyncio", "httpx"):
        logging.getLogger(noisy).setLevel("WARNING")


disable_created_metrics()  # pyright: ignore[reportUnknownVariableType] - prometheus_client leaves it untyped

WEBHOOKS = Counter("billing_webhooks_total", "Requests at the webhook door.", ["type", "outcome"])
JOBS = Counter("billing_jobs_total", "Attempts at jobs and events.", ["name", "outcome"])
JOB_SECONDS = Histogram(
    "billing_job_seconds",
    "Duration of one attempt, in seconds.",
    ["name"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
EMAILS = Counter(
    "billing_emails_total",
    "What became of letters; `possible_copy`: sent again after a silence.",
    ["template", "outcome"],
)
EVENT_LAG = Histogram(
    "billing_event_lag_seconds",
    "From received to processed, in seconds.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 300, 3600),
)
USAGE_EVENTS = Counter(
    "billing_usage_events_total",
    "Usage events that were reported; those of a request that was refused as a whole are `refused`.",
    ["outcome"],
)
USAGE_REQUESTS = Counter("billing_usage_requests_total", "Requests at the door for usage.", ["outcome"])
RATE_LIMIT_UNAVAILABLE = Counter(
    "billing_rate_limit_unavailable_total", "Requests that were let in uncounted, because Redis was away."
)
STRIPE_BUDGET_UNAVAILABLE = Counter(
    "billing_stripe_budget_unavailable_total", "Requests to Stripe that one process counted alone: Redis was away."
)

MAX_TYPES = 500
"""Event types that get a label of their own (Stripe has about 250); more than these are `other`."""

_TYPE = re.compile(r"[a-z0-9_.]{1,100}")
_webhooks: dict[tuple[str, str], Counter] = {}
_types: set[str] = set()


def count_webhook(type_: str | None, outcome: str) -> None:
    """Count a request at the door. `type_` is the event's, None as long as nobody has vouched for it."""
    counter = _webhooks.get((type_ or "unknown", outcome))
    if counter is None:
        label = "unknown" if type_ is None else bounded_type(type_)
        counter = WEBHOOKS.labels(label, outcome)
        if label in {type_, "unknown"}:
            _webhooks[label, outcome] = counter
    counter.inc()


def bounded_type(type_: str) -> str:
    """The label of an event's type in a metric: itself, or `other` when it is odd or one too many."""
    if type_ not in _types and (len(_types) >= MAX_TYPES or not _TYPE.fullmatch(type_)):
        return "other"
    _types.add(type_)
    return type_


class QueueCollector(Collector):
    """The queues' depths for Prometheus, from one query that is asked at most once in `max_age` seconds."""

    def __init__(self, engine: AsyncEngine, *, max_age: float = 5.0, timeout: float = 2.0) -> None:
        """`engine` is the database; both times are in seconds."""
        self._engine = engine
        self._max_age = max_age
        self._timeout = timeout
        self._lock = asyncio.Lock()
        self._depths: Mapping[str, Depth] | None = None
        self._dunning = 0
        self._broken: Mapping[str, int] = {}
        self._differences: Mapping[str, int] = {}
        self._late: Mapping[str, float] = {}
        self._asked_at: float | None = None

    async def refresh(self, now: datetime) -> None:
        """Ask the database if the last answer is too old; while it is away there are no gauges, not stale ones."""
        async with self._lock:
            moment = asyncio.get_running_loop().time()
            if self._asked_at is not None and moment - self._asked_at < self._max_age:
                return
            self._asked_at = moment
            try:
                async with asyncio.timeout(self._timeout), self._engine.connect() as conn:
                    self._depths = await depths(conn, now)
                    self._dunning = await open_count(conn)
                    self._broken = await verifications.broken(conn)
                    self._differences = await open_counts(conn)
                    self._late = await late(conn, now)
            except (SQLAlchemyError, OSError, TimeoutError) as error:
                self._depths = None
                log.warning("the queues cannot be counted", error=redact(repr(error)))

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The gauges, as of the last refresh."""
        up = GaugeMetricFamily("billing_database_up", "1 if the queues could be counted.")
        up.add_metric([], float(self._depths is not None))
        ready = GaugeMetricFamily("billing_queue_ready", "Work that may start now.", labels=["queue"])
        oldest = GaugeMetricFamily(
            "billing_queue_oldest_ready_seconds", "Age of the oldest work that may start now.", labels=["queue"]
        )
        dead = GaugeMetricFamily("billing_dead", "Work that is parked.", labels=["queue"])
        for queue, depth in (self._depths or {}).items():
            ready.add_metric([queue], depth.ready)
            oldest.add_metric([queue], depth.oldest_ready_seconds)
            dead.add_metric([queue], depth.dead)
        yield from (up, ready, oldest, dead)
        if self._depths is not None:
            yield GaugeMetricFamily("billing_dunning_open", "Dunning cases that are not closed.", value=self._dunning)
            broken = GaugeMetricFamily(
                "billing_verify_violations",
                "Rows that broke an invariant when it was last checked.",
                labels=["invariant"],
            )
            for name, rows in self._broken.items():
                broken.add_metric([name], rows)
            yield broken
            differences = GaugeMetricFamily(
                "billing_reconciliation_differences",
                "Things on which our books and Stripe do not agree.",
                labels=["class"],
            )
            for name, count in self._differences.items():
                differences.add_metric([name], count)
            yield differences
            behind = GaugeMetricFamily(
                "billing_schedule_late_seconds",
                "For how long a period of a schedule is due that no worker has taken.",
                labels=["name"],
            )
            for name, seconds in self._late.items():
                behind.add_metric([name], seconds)
            yield behind


class Exposition:
    """The text of `/metrics`: with PROMETHEUS_MULTIPROC_DIR of all processes of this machine, else of this one."""

    content_type: Final = CONTENT_TYPE_LATEST

    def __init__(self, queues: Collector) -> None:
        """`queues` are the gauges that come from the database."""
        self._queues = CollectorRegistry()
        self._queues.register(queues)
        self._processes = REGISTRY
        if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
            self._processes = CollectorRegistry()
            multiprocess.MultiProcessCollector(self._processes)  # pyright: ignore[reportUnknownMemberType] - untyped there

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self._processes) + generate_latest(self._queues)
