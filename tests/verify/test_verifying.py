"""When what is looked at: since it last held; as far back as it was broken; and once a night everything."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from db.verify import runs
from db.verify.runs import Last, Result
from jobs.verify import verifying
from jobs.verify.verifying import NAMES, Clocks, last_whole_at, since_last
from tests.conftest import MovedClock
from tests.verify.kit import NOW, WELL, write

HOUR = timedelta(hours=1)
JOBS = "jobs-finished-or-queued"
LOST = "INSERT INTO jobs (name, queue, args, created_at) VALUES ('lost', 'mail', '{}', :before - interval '9 days')"


async def verify(
    engine: AsyncEngine, clock: MovedClock, *names: str, whole: bool = False, since: datetime | None = None
) -> dict[str, Result]:
    """Check, and write it down as the command does."""
    began = clock.now()
    found = await verifying.verify(engine, Clocks(clock, clock), names=names or NAMES, whole=whole, since=since)
    if since is None:
        async with engine.begin() as conn:
            await runs.save(conn, found, asked_by="ada", started_at=began, finished_at=clock.now())
    return {one.name: one for one in found}


async def test_the_first_look_is_at_everything_and_the_next_at_what_changed(
    engine: AsyncEngine, clock: MovedClock
) -> None:
    await write(engine, *WELL)
    first = await verify(engine, clock)
    assert all(one.holds and one.since is None for one in first.values())
    clock.move(HOUR)
    second = await verify(engine, clock)
    assert {one.since for one in second.values()} == {NOW - HOUR}
    clock.move(HOUR)
    assert (await verify(engine, clock, JOBS))[JOBS].since == NOW
    assert (await verify(engine, clock, "credits-add-up"))["credits-add-up"].since == NOW


async def test_what_is_broken_is_found_again_until_it_is_mended(engine: AsyncEngine, clock: MovedClock) -> None:
    await verify(engine, clock)
    await write(engine, LOST)
    clock.move(HOUR)
    assert (await verify(engine, clock))[JOBS].broken == 0  # nothing tells that it changed
    assert (await verify(engine, clock, whole=True))[JOBS].broken == 1
    clock.move(HOUR)
    again = await verify(engine, clock)
    assert (again[JOBS].broken, again[JOBS].since) == (1, None)
    assert again["numbers-without-gaps"].since is not None
    await write(engine, "DELETE FROM jobs")
    assert (await verify(engine, clock))[JOBS].holds
    clock.move(HOUR)
    assert (await verify(engine, clock))[JOBS].since == NOW + HOUR


async def test_a_look_from_another_time_on_changes_nothing(engine: AsyncEngine, clock: MovedClock) -> None:
    await verify(engine, clock)
    clock.move(HOUR)
    shown = await verify(engine, clock, since=NOW - 10 * 24 * HOUR)
    assert shown[JOBS].since == NOW - 10 * 24 * HOUR
    assert shown["usage-sums-are-events"].since is None  # its mark is later than that
    assert (await verify(engine, clock))[JOBS].since == NOW - HOUR


async def test_a_check_that_does_not_end_is_told_and_forgets_nothing(engine: AsyncEngine, clock: MovedClock) -> None:
    await verify(engine, clock)
    clock.move(HOUR)
    await write(engine, "ALTER TABLE credits RENAME TO elsewhere")
    found = await verify(engine, clock)
    assert found["credits-add-up"].error == 'relation "credits" does not exist'
    assert not found["credits-add-up"].holds
    assert found[JOBS].holds
    async with engine.connect() as conn:
        status, error = (
            await conn.execute(text("SELECT status, error FROM verification_runs ORDER BY id DESC LIMIT 1"))
        ).one()
        assert (await runs.last(conn, failed=True))["credits-add-up"].error is not None
        assert (await runs.last(conn, failed=False))["credits-add-up"].at == NOW
    assert status == "failed"
    assert error.startswith("credits-add-up: ")
    await write(engine, "ALTER TABLE elsewhere RENAME TO credits")
    assert (await verify(engine, clock))["credits-add-up"].since == NOW - HOUR


async def test_the_business_may_run_faster_than_the_machine(engine: AsyncEngine, clock: MovedClock) -> None:
    machine = MovedClock(NOW + timedelta(days=400))
    span = Clocks(clock, machine).span(NOW - HOUR)
    assert span.wall_since == machine.now() - HOUR
    assert (span.now, span.wall) == (clock.now(), machine.now())


def test_since_when_is_pure() -> None:
    last = Last(NOW, NOW - 3 * HOUR, 0, 0.1, None, None, ())
    assert since_last(None) is None
    assert since_last(last) == NOW - HOUR
    assert since_last(Last(NOW, NOW - 3 * HOUR, 2, 0.1, None, None, ())) == NOW - 3 * HOUR
    assert last_whole_at(datetime(2026, 3, 1, 2, 59, tzinfo=UTC)) == datetime(2026, 2, 28, 3, tzinfo=UTC)
    assert last_whole_at(datetime(2026, 3, 1, 3, tzinfo=UTC)) == datetime(2026, 3, 1, 3, tzinfo=UTC)
