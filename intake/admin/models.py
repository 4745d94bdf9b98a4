"""The internal API's answers and requests: the same fields that the commands print with --json."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from db.operators.filters import MOST_ROWS


class QueueState(BaseModel):
    """The counts of one queue; see docs/operators.md for what each means."""

    ready: int
    scheduled: int
    running: int
    retrying: int
    dead: int
    oldest_ready_seconds: Annotated[float, Field(description="0 when nothing waits.")]
    paused: bool


class EventCounts(BaseModel):
    """All events by state."""

    received: int
    processed: int
    ignored: int
    retrying: int
    dead: int
    estimated: Annotated[bool, Field(description="Processed and ignored are estimates, because the table is large.")]


class WorkerState(BaseModel):
    """A worker process."""

    id: str
    host: str
    pid: int
    queues: list[str]
    started_at: datetime
    heartbeat_age_seconds: float
    running: int


class ScheduleState(BaseModel):
    """A schedule, its newest run and its next one."""

    name: str
    cron: str
    timezone: str
    last_run: datetime | None
    last_period: datetime | None
    last_status: str | None
    last_job: int | None
    next_run: datetime


class PauseState(BaseModel):
    """Something that is paused."""

    scope: str
    target: str
    who: str
    why: str | None
    created_at: datetime


class StatusAnswer(BaseModel):
    """How the work stands, as `billing status --json` tells it."""

    now: datetime
    queues: dict[str, QueueState]
    events: EventCounts
    workers: list[WorkerState]
    schedules: list[ScheduleState]
    pauses: list[PauseState]
    hints: list[str]


class Attempt(BaseModel):
    """One attempt that did not simply succeed at once."""

    started_at: datetime | None
    ended_at: datetime
    worker: str | None
    outcome: str
    error: str | None
    fingerprint: str | None
    traceback: str | None
    next_at: datetime | None


class AuditRow(BaseModel):
    """What an operator did."""

    created_at: datetime
    who: str
    action: str
    why: str | None


class Event(BaseModel):
    """A webhook event in the inbox."""

    id: str
    type: str
    status: str
    attempts: int
    last_error: str | None
    customer_id: str | None
    object_id: str | None
    account: str | None
    livemode: bool
    api_version: str | None
    created_at: datetime
    received_at: datetime
    processed_at: datetime | None
    due_at: datetime | None
    lost: int | None
    leased_by: str | None
    dead_reason: str | None
    dead_at: datetime | None
    running: bool


class Job(BaseModel):
    """A job that we staged."""

    id: int
    name: str
    queue: str
    status: str
    attempts: int
    last_error: str | None
    args: dict[str, Any]
    unique_key: str | None
    staged_by: str | None
    created_at: datetime
    finished_at: datetime | None
    due_at: datetime | None
    lost: int | None
    leased_by: str | None
    dead_reason: str | None
    dead_at: datetime | None
    running: bool


class StagedJob(BaseModel):
    """A job that an event staged."""

    id: int
    name: str
    queue: str
    status: str
    args: dict[str, Any]
    created_at: datetime
    last_error: str | None


class EventStory(Event):
    """One event's whole story. Secrets and card numbers are taken out of the payload."""

    payload: Any
    history: list[Attempt]
    changed: list[Any]
    effects: dict[str, Any]
    staged: list[StagedJob]
    audit: list[AuditRow]


class JobStory(Job):
    """One job's whole story."""

    history: list[Attempt]
    staged: list[StagedJob]
    audit: list[AuditRow]


class EventPage(BaseModel):
    """Events, newest first; `next` is the `after` of the following page."""

    events: list[Event]
    next: str | None


class JobPage(BaseModel):
    """Jobs, newest first; `next` is the `after` of the following page."""

    jobs: list[Job]
    next: int | None


Limit = Annotated[int, Field(ge=1, le=MOST_ROWS)]
JobId = Annotated[int, Field(ge=0, lt=2**63)]

LONGEST_TARGET = 200
"""Characters of the name of what is paused."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class EventQuery(_Strict):
    """Which events. Ages (`2h`, `7d`) and ISO 8601 times; `type` takes `*` and `?`."""

    status: str | None = None
    type: str | None = None
    customer: str | None = None
    account: str | None = None
    object: str | None = None
    since: str | None = None
    until: str | None = None


class EventListing(EventQuery):
    """A page of events."""

    limit: Limit = 50
    after: str | None = None


class JobQuery(_Strict):
    """Which jobs; `name` takes `*` and `?`."""

    status: str | None = None
    name: str | None = None
    queue: str | None = None
    staged_by: str | None = None
    since: str | None = None
    until: str | None = None


class JobListing(JobQuery):
    """A page of jobs."""

    limit: Limit = 50
    after: JobId | None = None


class Why(_Strict):
    """How an action on one thing is meant."""

    why: Annotated[str | None, Field(max_length=500, description="The reason, for the audit log.")] = None
    dry_run: Annotated[bool, Field(description="Only count.")] = False


class Reasoned(_Strict):
    """How an action is meant that nobody takes without a reason."""

    why: Annotated[str, Field(max_length=500, pattern=r"\S", description="The reason, for the audit log.")]
    dry_run: Annotated[bool, Field(description="Only say what would be.")] = False


class RetryOne(Why):
    """A retry."""

    again: Annotated[bool, Field(description="Also when it was already done.")] = False


class RetryEvents(RetryOne, EventQuery):
    """A retry of all events that match; without a `status` the dead ones."""


class RetryJobs(RetryOne, JobQuery):
    """A retry of all jobs that match; without a `status` the dead ones."""


class RunSchedule(RetryOne):
    """Run a scheduled job now."""

    period: Annotated[
        str | None, Field(description="2026-10, 2026-10-01 or 2026-10-01T09:00Z; by default the newest that is due.")
    ] = None


class ScheduleRan(BaseModel):
    """What became of it: `job` runs the period; with `staged` false it did so before, or it was a dry run."""

    schedule: str
    period: datetime
    job: int | None
    status: Annotated[str | None, Field(description="The job's; null when it is forgotten by now.")]
    staged: bool
    would_stage: bool
    dry_run: bool


class Changed(BaseModel):
    """What an action did. `changed` may be less than `matched`: what a worker holds is left alone."""

    matched: int
    changed: int
    ids: list[str]
    dry_run: bool


class PauseRequest(Why):
    """Pause or resume a queue (`queue`), or an event type or job (`name`)."""

    scope: Annotated[str, Field(pattern="^(queue|name)$")]
    target: Annotated[str, Field(min_length=1, max_length=LONGEST_TARGET)]


class PauseAnswer(BaseModel):
    """Whether anything changed."""

    changed: bool
    paused: bool
    dry_run: bool
