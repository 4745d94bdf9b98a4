"""Schedules: each due period becomes one job, whoever looks first; what was missed in an outage is caught up."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import takewhile
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


LOOK_BACK = (timedelta(hours=1), timedelta(days=1), timedelta(days=32), timedelta(days=367), timedelta(days=9 * 366))
"""How far the newest due period is looked for: the rarest of all crons, 29 February, skips the year 2100."""

DAY = timedelta(days=1)
NEVER = datetime.min.replace(tzinfo=UTC)


def due(spec: ScheduleSpec, last: datetime, now: datetime) -> list[datetime]:
    """The periods after `last` that are due at `now`: the newest `spec.catch_up` of them, oldest first.

    After an outage of a month, 43,200 minutes are not gone through for the last one.
    """
    for back in LOOK_BACK:
        begin = max(last, now - back)
        found = _between(spec, begin, now, last)
        if len(found) >= spec.catch_up or begin == last:
            return found[-spec.catch_up :]
    return _between(spec, last, now, last)[-spec.catch_up :]


def _between(spec: ScheduleSpec, begin: datetime, now: datetime, last: datetime) -> list[datetime]:
    """The periods after `begin` until `now`, as one finds them who goes on from `last`.

    It sets out a day earlier: in the night that clocks go back, the second hour is not the first one's repetition to
    whoever begins there.
    """
    after = max(last, begin - DAY)
    return [
        moment
        for moment in takewhile(lambda moment: moment <= now, periods(spec.cron, spec.timezone, after))
        if moment > begin
    ]


def next_run(spec: ScheduleSpec, now: datetime) -> datetime:
    """When the schedule runs next."""
    return next(periods(spec.cron, spec.timezone, now))


def call(spec: ScheduleSpec, period: datetime) -> Call:
    """The job that runs a period; it is told the period's instant."""
    return spec.job.call(period=period)


def key_of(spec: ScheduleSpec, period: datetime) -> str:
    """What makes staging a period twice the same as staging it once."""
    return f"schedule/{spec.name}/{period.isoformat()}"


def newest(spec: ScheduleSpec, begin: datetime, end: datetime) -> datetime | None:
    """The last period in `[begin, end)`; None when there is none."""
    found: datetime | None = None
    for moment in periods(spec.cron, spec.timezone, begin - timedelta(seconds=1)):
        if moment >= end:
            return found
        if moment >= begin:
            found = moment
    return found


_FORMS = (("%Y-%m-%dT%H:%M", timedelta(minutes=1)), ("%Y-%m-%d", timedelta(days=1)), ("%Y-%m", timedelta(days=31)))


def _span(wanted: str, timezone: str) -> tuple[datetime, datetime]:
    """From when until when `2026-10`, `2026-10-01`, `2026-10-01T09:00` or a whole ISO 8601 time lasts."""
    zone = ZoneInfo(timezone)
    for form, length in _FORMS:
        try:
            first = datetime.strptime(wanted, form)  # noqa: DTZ007 - the schedule's zone is put in below
        except ValueError:
            continue
        after = (first + length).replace(day=1) if length == _FORMS[-1][1] else first + length
        return first.replace(tzinfo=zone).astimezone(UTC), after.replace(tzinfo=zone).astimezone(UTC)
    try:
        moment = datetime.fromisoformat(wanted)
    except ValueError:
        raise ValueError(f"{wanted!r} is no period: write 2026-10, 2026-10-01 or 2026-10-01T09:00Z") from None
    moment = (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)
    return moment, moment + timedelta(minutes=1)


def period_named(spec: ScheduleSpec, wanted: str | None, now: datetime) -> datetime:
    """The period that an operator names; where several lie in it, the newest that is due, or else the first.

    A month, a day or a time without its zone is the schedule's own; without any, the newest that is due at `now`.
    Raises ValueError, saying what would do, when there is none, and OverflowError outside of the calendar.
    """
    if wanted is None:
        for back in LOOK_BACK:
            if (found := newest(spec, now - back, now + timedelta(microseconds=1))) is not None:
                return found
        raise ValueError(f"{spec.name} was never due yet ({spec.cron})")
    begin, end = _span(wanted, spec.timezone)
    if (found := newest(spec, begin, min(end, max(begin, now + timedelta(microseconds=1))))) is not None:
        return found
    coming = next(periods(spec.cron, spec.timezone, begin - timedelta(seconds=1)))
    if coming < end:
        return coming
    raise ValueError(
        f"{spec.name} has no period in {wanted} (its cron is {spec.cron!r}, {spec.timezone}); "
        f"the next one after is {coming:%Y-%m-%dT%H:%MZ}"
    )


async def begin(tx: Tx, spec: ScheduleSpec) -> bool:
    """The first look ever: nothing was missed, for nothing was promised before. False: it was begun before."""
    if await schedules.last_period(tx.conn, spec.name) is not None:
        return False
    await schedules.take_period(tx.conn, spec.name, tx.wall, now=tx.wall, next_period=next_run(spec, tx.wall))
    return True


class Scheduler:
    """Stages due periods. Any number of workers may tick at once."""

    def __init__(self, deps: Deps, registry: Registry) -> None:
        """Runs the schedules of `registry`."""
        self._deps = deps
        self._schedules = tuple(registry.schedules.values())
        self._look_again = NEVER

    async def tick(self) -> int:
        """Stage what is due. Returns how many periods were staged."""
        now = self._deps.clock.now()
        if not self._schedules or now < self._look_again:
            return 0
        staged = 0
        if self._look_again == NEVER:
            async with self._deps.tx() as tx:
                await schedules.expect_only(tx.conn, [spec.name for spec in self._schedules])
        for spec in self._schedules:
            async with self._deps.tx() as tx:
                staged += await self._stage_due(tx, spec)
        self._look_again = min(now + TICK, *(next_run(spec, now) for spec in self._schedules))
        return staged

    async def _stage_due(self, tx: Tx, spec: ScheduleSpec) -> int:
        last = await schedules.last_period(tx.conn, spec.name)
        if last is None:
            await begin(tx, spec)
            return 0
        staged = 0
        for period in due(spec, last, tx.wall):
            following = next_run(spec, tx.wall)
            if await schedules.take_period(tx.conn, spec.name, period, now=tx.wall, next_period=following):
                job = await tx.stage(call(spec, period), unique_key=key_of(spec, period))
                await schedules.record_job(tx.conn, spec.name, period, job)
                log.info("a scheduled job is due", schedule=spec.name, period=period.isoformat())
                staged += 1
        return staged
