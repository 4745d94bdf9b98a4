"""How the work runs: jobs, attempts, schedules, workers, pauses, and who did what."""

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, Identity, Index, SmallInteger, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from db.models.base import Base


class Job(Base):
    """Work that we staged ourselves. `unique_key` makes staging twice the same as staging once."""

    __tablename__ = "jobs"
    __table_args__ = (
        CheckConstraint("status IN ('queued','retrying','done','dead','cancelled')", name="status"),
        Index("uq_jobs_unique_key", "unique_key", unique=True, postgresql_where=text("unique_key IS NOT NULL")),
        Index("ix_jobs_created_at", "created_at"),
        Index("ix_jobs_staged_by", "staged_by", postgresql_where=text("staged_by IS NOT NULL")),
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    name: Mapped[str]
    queue: Mapped[str]
    args: Mapped[dict[str, Any]]
    unique_key: Mapped[str | None]
    staged_by: Mapped[str | None]
    status: Mapped[str] = mapped_column(server_default="queued")
    attempts: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    last_error: Mapped[str | None]
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]


class JobAttempt(Base):
    """One attempt at an event or a job that did not simply succeed at once, and the success that followed it."""

    __tablename__ = "job_attempts"
    __table_args__ = (
        CheckConstraint("(event_id IS NULL) <> (job_id IS NULL)", name="one_ref"),
        Index("ix_job_attempts_event_id", "event_id", postgresql_where=text("event_id IS NOT NULL")),
        Index("ix_job_attempts_job_id", "job_id", postgresql_where=text("job_id IS NOT NULL")),
        Index("ix_job_attempts_ended_at", "ended_at"),
    )

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    event_id: Mapped[str | None]
    job_id: Mapped[int | None]
    name: Mapped[str]
    worker: Mapped[str | None]
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime]
    outcome: Mapped[str]
    error: Mapped[str | None]
    fingerprint: Mapped[str | None]
    traceback: Mapped[str | None]
    next_at: Mapped[datetime | None]


class ScheduleRun(Base):
    """One due period of a schedule; the unique key is what makes two workers run it once."""

    __tablename__ = "schedule_runs"
    __table_args__ = (UniqueConstraint("name", "period"),)

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    name: Mapped[str]
    period: Mapped[datetime]
    next_period: Mapped[datetime | None]
    """When it is due again, as far as the worker knew that took this one; None: nobody waits for it."""

    job_id: Mapped[int | None]
    created_at: Mapped[datetime]


class WorkerRow(Base):
    """A worker process and its last heartbeat."""

    __tablename__ = "workers"

    id: Mapped[str] = mapped_column(primary_key=True)
    host: Mapped[str]
    pid: Mapped[int]
    queues: Mapped[list[Any]]
    started_at: Mapped[datetime]
    heartbeat_at: Mapped[datetime]
    running: Mapped[int]


class Pause(Base):
    """A queue (`queue`) or an event type or job name (`name`) that is not claimed until somebody resumes it."""

    __tablename__ = "pauses"
    __table_args__ = (CheckConstraint("scope IN ('queue','name')", name="scope"),)

    scope: Mapped[str] = mapped_column(primary_key=True)
    target: Mapped[str] = mapped_column(primary_key=True)
    who: Mapped[str]
    why: Mapped[str | None]
    created_at: Mapped[datetime]


class AuditEntry(Base):
    """Who did what, when and why. Rows are only ever added."""

    __tablename__ = "audit_log"
    __table_args__ = (Index("ix_audit_log_created_at", "created_at"),)

    id: Mapped[int] = mapped_column(Identity(always=True), primary_key=True)
    created_at: Mapped[datetime]
    who: Mapped[str]
    action: Mapped[str]
    target: Mapped[str]
    why: Mapped[str | None]
    details: Mapped[dict[str, Any] | None]
