"""An operator runs a scheduled job now, from the terminal or the API: each period once, unless it is meant again."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from difflib import get_close_matches
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from db import schedules
from db.operators.actions import Actor, NotAllowedError, write_audit
from db.operators.filters import BadFilterError, plain
from db.schedules import Run
from db.states import JobStatus
from intake.overview import jsonable
from worker.deps import Tx
from worker.registry import ScheduleSpec
from worker.schedule import begin, call, key_of, next_run, period_named

BY_OPERATOR = "operator"
"""`jobs.staged_by` of what no event and no job has staged."""


class UnknownScheduleError(Exception):
    """There is no schedule of this name."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        """Names the nearest of the `known` ones, or all."""
        names = sorted(known)
        near = get_close_matches(name, names, n=1)
        said = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names) or 'none'}"
        super().__init__(f"there is no schedule {name!r}; {said}")


@dataclass(frozen=True, slots=True)
class Ran:
    """What became of it: `job` runs the period; without `staged` it did so before. `queue` has work where it is due."""

    schedule: str
    period: datetime
    job: int | None
    status: str | None
    staged: bool
    queue: str

    def told(self, *, dry_run: bool) -> dict[str, Any]:
        """The same as JSON; a dry run has staged nothing."""
        return jsonable(
            {
                "schedule": self.schedule,
                "period": self.period,
                "job": None if dry_run and self.staged else self.job,
                "status": self.status,
                "staged": self.staged and not dry_run,
                "would_stage": self.staged,
                "dry_run": dry_run,
            }
        )


def schedule_named(name: str, known: Iterable[ScheduleSpec]) -> ScheduleSpec:
    """The schedule. Raises UnknownScheduleError."""
    specs = {spec.name: spec for spec in known}
    if name not in specs:
        raise UnknownScheduleError(name, specs)
    return specs[name]


async def run(
    conn: AsyncConnection, spec: ScheduleSpec, period: str | None, actor: Actor, *, now: datetime, again: bool = False
) -> Ran:
    """Stage the job of a period (by default of the newest that is due), if it was not staged before, or `again`.

    Raises BadFilterError for a period that the schedule does not have, and NotAllowedError for one that is to come, or
    to be run again while its job has not ended.
    """
    try:
        wanted = period_named(spec, plain("period", period), now)
    except (ValueError, OverflowError) as error:
        raise BadFilterError("period", str(error)) from None
    if wanted > now:
        raise NotAllowedError(
            [f"the period {wanted:%Y-%m-%dT%H:%MZ} of {spec.name} is to come: it runs by itself then"]
        )
    tx = Tx(conn, now, now, BY_OPERATOR)
    await begin(tx, spec)
    await schedules.take_period(conn, spec.name, wanted, now=now, next_period=next_run(spec, now))
    before = await schedules.hold_period(conn, spec.name, wanted)
    if before.job_id is not None and not again:
        return Ran(spec.name, wanted, before.job_id, before.status, staged=False, queue=spec.job.queue)
    key = key_of(spec, wanted)
    if before.job_id is not None:
        _refuse_what_goes_on(before)
        key = f"{key}/again/{before.again + 1}"
    job = await tx.stage(call(spec, wanted), unique_key=key)
    if job is None:
        raise NotAllowedError([f"{key} was staged before, by a job that the schedule does not know"])
    await schedules.record_job(conn, spec.name, wanted, job)
    details = {"period": wanted.isoformat(), "job": job, "again": before.job_id is not None}
    await write_audit(conn, actor, "schedules.run", spec.name, now=now, details=details)
    return Ran(spec.name, wanted, job, JobStatus.QUEUED, staged=True, queue=spec.job.queue)


def _refuse_what_goes_on(before: Run) -> None:
    if before.status == JobStatus.DEAD:
        raise NotAllowedError([f"job {before.job_id} of this period is dead: billing jobs retry {before.job_id}"])
    if before.status in {JobStatus.QUEUED, JobStatus.RETRYING}:
        raise NotAllowedError([f"job {before.job_id} of this period has not ended yet ({before.status})"])
