"""The names by which work is known, found by string, so that the engine imports no business."""

import importlib
import inspect
import pkgutil
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, cast, get_type_hints

import msgspec

from db.inbox import StoredEvent
from db.states import QueueName
from worker.deps import Deps, Tx
from worker.errors import Refused

P = ParamSpec("P")
Args = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Call:
    """A job with its arguments, ready to be staged: `tx.stage(job.call(…))`."""

    name: str
    queue: QueueName
    args: Args


@dataclass(frozen=True, slots=True)
class JobSpec(Generic[P]):
    """A job: its name is pinned, its arguments are JSON values given by name."""

    name: str
    fn: Callable[..., Awaitable[None]]
    queue: QueueName
    tries: int
    timeout: timedelta

    def call(self, *args: P.args, **kwargs: P.kwargs) -> Call:
        """The job with these arguments; the type checker refuses wrong ones, and so does Python."""
        bound = inspect.signature(self.fn).bind(None, *args, **kwargs)
        given = dict(list(bound.arguments.items())[1:])
        return Call(self.name, self.queue, msgspec.to_builtins(given))

    async def run(self, deps: Deps, args: Mapping[str, Any]) -> None:
        """Do the work. Raises Refused when `args` are not of this signature (an old row, a new deploy)."""
        hints = get_type_hints(self.fn)
        try:
            inspect.signature(self.fn).bind(deps, **args)
            values = {name: msgspec.convert(value, hints.get(name, Any)) for name, value in args.items()}
        except (TypeError, msgspec.ValidationError) as error:
            raise Refused(f"staged with arguments that {self.name} does not take now: {error}") from error
        await self.fn(deps, **values)


@dataclass(frozen=True, slots=True)
class ScheduleSpec:
    """A schedule: each due period is staged once, as a job that is told its `period`."""

    name: str
    cron: str
    timezone: str
    job: JobSpec[...]
    catch_up: int


@dataclass(frozen=True, slots=True)
class Applied:
    """An event was applied or, with `ignored`, left alone for that reason. `effects` is kept with the event."""

    ignored: str | None = None
    effects: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Busy:
    """Another worker holds what the event needs: it goes back at once, and no try is burnt."""


Outcome = Applied | Busy | Exception


class EventApplier(Protocol):
    """Applies a batch of events in one transaction and tells how each went, by event id.

    An exception as an outcome fails that event alone; a raised one fails the batch, which is then halved.
    """

    def __call__(self, tx: Tx, events: Sequence[StoredEvent]) -> Awaitable[Mapping[str, Outcome]]:
        """Apply `events`."""
        ...


@dataclass(slots=True)
class Registry:
    """All names of one process."""

    jobs: dict[str, JobSpec[...]] = field(default_factory=dict[str, JobSpec[...]])
    schedules: dict[str, ScheduleSpec] = field(default_factory=dict[str, ScheduleSpec])
    apply_events: EventApplier | None = None


registry = Registry()


def job(
    *, queue: QueueName, tries: int = 10, timeout: timedelta = timedelta(seconds=30)
) -> Callable[[Callable[Concatenate[Deps, P], Awaitable[None]]], JobSpec[P]]:
    """Make a function a job. Its name is the function's; it is stored in rows, so renaming it orphans staged work.

    `tries` counts failures until it is parked; `timeout` is for one attempt.
    """

    def register(fn: Callable[Concatenate[Deps, P], Awaitable[None]]) -> JobSpec[P]:
        spec: JobSpec[P] = JobSpec(fn.__name__, fn, queue, tries, timeout)
        if spec.name in registry.jobs:
            raise RuntimeError(f"two jobs are named {spec.name!r}")
        registry.jobs[spec.name] = cast("JobSpec[...]", spec)
        return spec

    return register


def schedule(name: str, cron: str, *, timezone: str = "UTC", catch_up: int = 1) -> Callable[[JobSpec[P]], JobSpec[P]]:
    """Run a job, which must take `period: datetime`, at the times of `cron` in `timezone`.

    After an outage the newest `catch_up` missed periods are run, oldest first.
    """

    def register(spec: JobSpec[P]) -> JobSpec[P]:
        registry.schedules[name] = ScheduleSpec(name, cron, timezone, cast("JobSpec[...]", spec), catch_up)
        return spec

    return register


def applies_events(fn: EventApplier) -> EventApplier:
    """Mark the one function that applies webhook events."""
    registry.apply_events = fn
    return fn


@cache
def discover(package: str) -> Registry:
    """Import every module of `package`, so that its decorators have run."""
    found = importlib.import_module(package)
    for module in pkgutil.walk_packages(found.__path__, prefix=f"{package}."):
        importlib.import_module(module.name)
    return registry
