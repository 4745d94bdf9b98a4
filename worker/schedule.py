"""Schedules: each due period becomes one job, whoever looks first; what was missed in an outage is caught up."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import structlog
from cronsim import CronSim

from db import schedules
from worker.deps import Deps, Tx
from worker.registry import Call, Registry, ScheduleSpec

log = structlog.get_logger()

TICK = timedelta(seconds=30)
"""How often the rows are looked at though nothing is due by our own reckoning: a clock may have been set."""


def periods(cron: str, timezone: str, after: datetime) -> Iterator[datetime]:
    """The instants (UTC) of `cron` in `timezone` after `after`, without end.

    In the night that clocks go forward, a time that does not exist runs right after the gap; in the night that they go
    back, a time that comes twice runs once (Debian's cron, as cronsim has it).
    """
    previous = after
    for moment in CronSim(cron, after.astimezone(ZoneInfo(timezone))):
        instant = moment.astimezone(UTC)
        if instant > previous:
            previous = instant
            yield instant


def due(spec: ScheduleSpec, last: datetime, now: datetime) -> list[datetime]:
    """The periods after `last` that are due at `now`: the newest `spec.catch_up` of them, oldest first."""
    found: list[datetime] = []
    for moment in periods(spec.cron, spec.timezone, last):
        if moment > now:
            break
        found.append(moment)
        found = found[-spec.catch_up :]
    return found


def next_run(spec: ScheduleSpec, now: datetime) -> datetime:
    """When the schedule runs next."""
    return next(periods(spec.cron, spec.timezone, now))


def call(spec: ScheduleSpec, period: datetime) -> Call:
    """The job that runs a period; it is told the period's instant."""
    return spec.job.call(period=period)


class Scheduler:
    """Stages due periods. Any number of workers may tick at once."""

    def __init__(self, deps: Deps, registry: Registry) -> None:
        """Runs the schedules of `registry`."""
        self._deps = deps
        self._schedules = tuple(registry.schedules.values())
        self._look_again = datetime.min.replace(tzinfo=UTC)

    async def tick(self) -> int:
        """Stage what is due. Returns how many periods were staged."""
        now = self._deps.clock.now()
        if not self._schedules or now < self._look_again:
            return 0
        staged = 0
        for spec in self._schedules:
            async with self._deps.tx() as tx:
                staged += await self._stage_due(tx, spec)
        self._look_again = min(now + TICK, *(next_run(spec, now) for spec in self._schedules))
        return staged

    async def _stage_due(self, tx: Tx, spec: ScheduleSpec) -> int:
        last = await schedules.last_period(tx.conn, spec.name)
        if last is None:
            # The first look ever: nothing was missed, for nothing was promised before.
            await schedules.take_period(tx.conn, spec.name, tx.wall, now=tx.wall)
            return 0
        staged = 0
        for period in due(spec, last, tx.wall):
            if await schedules.take_period(tx.conn, spec.name, period, now=tx.wall):
                job = await tx.stage(call(spec, period), unique_key=f"schedule/{spec.name}/{period.isoformat()}")
                await schedules.record_job(tx.conn, spec.name, period, job)
                log.info("a scheduled job is due", schedule=spec.name, period=period.isoformat())
                staged += 1
        return staged
