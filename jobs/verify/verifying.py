"""The invariants are checked one after the other, each of what changed since it was last known to hold."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, time, timedelta

import structlog
from asyncpg.exceptions import PostgresError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from db.engine import is_away
from db.verify import runs
from db.verify.invariant import Invariant, Span, ask
from db.verify.registry import INVARIANTS
from db.verify.runs import Last, Result
from worker.ports import Clock
from worker.telemetry import redact

log = structlog.get_logger()

OVERLAP = timedelta(hours=1)
"""So much earlier than the last check began the next one looks: a transaction commits later than the time that it
writes, and what was not settled then (`db.verify.invariant.SETTLE`) is looked at again."""

WHOLE_AT = time(3)
"""After this time of the day (UTC), once, all rows are looked at."""

NAMES = tuple(INVARIANTS)


@dataclass(frozen=True, slots=True)
class Clocks:
    """The business's time, by which books are dated, and the machine's, by which work is."""

    business: Clock
    machine: Clock

    def span(self, since: datetime | None, mark: int | None = None) -> Span:
        """What changed at `since` (the business's time) or later, as of now; None: all.

        In a demo the business's time runs faster than the machine's, never slower: the same span of the machine's time
        holds at least as much.
        """
        now, wall = self.business.now(), self.machine.now()
        return Span(since, now, None if since is None else wall - (now - since), wall, mark)


def since_last(last: Last | None) -> datetime | None:
    """From when on an invariant is looked at: since it last held, or, while it is broken, as far back as it was broken.

    So what was found is found again until it is mended, even if its rows do not change. None: everything.
    """
    if last is None:
        return None
    return last.since if last.broken else last.at - OVERLAP


def last_whole_at(now: datetime) -> datetime:
    """The newest instant at which a whole check was due."""
    today = datetime.combine(now.date(), WHOLE_AT, now.tzinfo)
    return today if today <= now else today - timedelta(days=1)


async def check(engine: AsyncEngine, invariant: Invariant, span: Span, clock: Clock) -> Result:
    """Check one invariant. That PostgreSQL gave up, or cannot answer, is told; that it is away is raised."""
    began = clock.now()
    try:
        async with engine.connect() as conn:
            found = await ask(conn, invariant, span)
    except (DBAPIError, PostgresError, TimeoutError) as error:
        if is_away(error) and not isinstance(error, TimeoutError):
            raise
        cause = error.orig if isinstance(error, DBAPIError) and error.orig else error
        why = redact(str(cause).partition("\n")[0]) or type(cause).__name__
        log.warning("an invariant could not be checked", invariant=invariant.name, error=why)
        return Result(name=invariant.name, seconds=_since(began, clock), since=span.since, error=why)
    if found.broken:
        log.error("an invariant of the books is broken", invariant=invariant.name, rows=found.broken)
    return Result(
        name=invariant.name,
        seconds=_since(began, clock),
        since=span.since,
        broken=found.broken,
        rows=found.rows,
        mark=found.mark,
    )


def _since(began: datetime, clock: Clock) -> float:
    return (clock.now() - began) // timedelta(milliseconds=1) / 1000


async def verify(
    engine: AsyncEngine,
    clocks: Clocks,
    *,
    names: Iterable[str] = NAMES,
    whole: bool = False,
    since: datetime | None = None,
    after: Mapping[str, Last] | None = None,
) -> list[Result]:
    """Check invariants: all rows (`whole`), what changed at `since` or later, or since each was last known to hold.

    Each has a transaction of its own that only reads. `after` is how they stood before (`runs.last`); None: it is read.
    """
    if after is None:
        async with engine.connect() as conn:
            after = await runs.last(conn, failed=False)
    results: list[Result] = []
    for name in names:
        start, mark = (None, None) if whole else _from(after.get(name), since)
        results.append(await check(engine, INVARIANTS[name], clocks.span(start, mark), clocks.machine))
    return results


def _from(last: Last | None, since: datetime | None) -> tuple[datetime | None, int | None]:
    """From which time and which mark on to look. Who goes by marks, and has none of that time, looks at everything."""
    mark = None
    if last is not None and last.mark is not None:
        usable = not last.broken if since is None else last.at <= since
        if not usable:
            return None, None
        mark = last.mark
    return (since_last(last) if since is None else since), mark
