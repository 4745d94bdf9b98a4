"""Work is claimed under a lease, done once, retried, parked with a reason, and given back unburnt."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from db import queue
from db.queue import LOST_LIMIT
from tests.conftest import MovedClock
from tests.worker.kit import World, effect, idle, job, new_event, processed, remember, run_until_idle, stage, until
from worker.deps import Deps
from worker.errors import Refused, TryLater
from worker.registry import Registry


async def test_events_are_applied_once_and_leave_the_queue(world: World) -> None:
    await remember(world.url, [new_event(n) for n in range(450)])
    await run_until_idle(world)
    assert await world.effects() == [f"evt_{n:06}" for n in range(450)]
    assert await world.statuses() == {"processed": 450}
    assert await world.rows("SELECT 1 FROM queue") == []


async def test_a_poison_event_fails_alone(world: World) -> None:
    """The batch is halved until the bad one stands alone: the others are done, the bad one waits for its retry."""
    await remember(world.url, [new_event(n, "test.poison" if n == 77 else "test.noted") for n in range(200)])
    world.clock = MovedClock(datetime.now(UTC))  # it stands: the retry does not come in this test
    await run_until_idle(world)
    assert len(await world.effects()) == 199
    assert await world.statuses() == {"processed": 199, "retrying": 1}
    [(attempts, error, fingerprint, traceback)] = await world.rows(
        "SELECT q.attempts, a.error, a.fingerprint, a.traceback FROM queue q JOIN job_attempts a USING (event_id)"
    )
    assert (attempts, error) == (1, "ValueError: poison: evt_000077")
    assert fingerprint
    assert "apply_noted" in traceback


async def test_two_workers_share_a_queue_and_nothing_is_done_twice(world: World) -> None:
    await remember(world.url, [new_event(n) for n in range(1000)])
    async with world.runner(worker="a") as first, world.runner(worker="b") as second:
        await asyncio.gather(first.sweep(), second.sweep())
        await until(lambda: idle(world, first.queues))
    assert await world.effects() == [f"evt_{n:06}" for n in range(1000)]


async def test_a_job_succeeds_and_is_kept_as_done(world: World) -> None:
    async def note(d: Deps, what: str) -> None:
        async with d.tx() as tx:
            await effect(tx, what)

    await stage(world, job(world.registry, note), "once")
    await run_until_idle(world)
    assert await world.effects() == ["once"]
    assert await world.rows("SELECT status, attempts FROM jobs") == [("done", 1)]


async def test_staging_under_one_key_twice_is_staging_once(world: World) -> None:
    async def note(d: Deps, what: str) -> None:
        async with d.tx() as tx:
            await effect(tx, what)

    spec = job(world.registry, note)
    first = await stage(world, spec, "once", unique_key="k")
    assert first is not None
    assert await stage(world, spec, "twice", unique_key="k") is None
    await run_until_idle(world)
    assert await stage(world, spec, "thrice", unique_key="k") is None  # the key outlives the work
    await run_until_idle(world)
    assert await world.effects() == ["once"]


async def test_a_job_staged_in_a_transaction_that_fails_does_not_exist(world: World) -> None:
    async def note(d: Deps) -> None: ...

    spec = job(world.registry, note)

    async def staged_in_vain() -> None:
        async with world.deps.tx() as tx:
            await tx.stage(spec.call())
            raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        await staged_in_vain()
    assert await world.rows("SELECT 1 FROM jobs") == []


@pytest.mark.parametrize(
    ("raised", "outcome", "reason"),
    [
        (ValueError("wrong"), "failed", "exhausted"),
        (TryLater("not yet"), "later", "exhausted"),
        (TimeoutError(), "timeout", "timeout"),
        (Refused("never"), "refused", "refused"),
    ],
)
async def test_what_fails_ends_parked_with_its_reason_and_its_whole_story(
    world: World, clock: MovedClock, raised: Exception, outcome: str, reason: str
) -> None:
    async def fails(d: Deps) -> None:
        raise raised

    world.clock = clock
    tries = 1 if isinstance(raised, Refused) else 3
    await stage(world, job(world.registry, fails))
    for attempt in range(1, tries + 1):
        await run_until_idle(world)
        rows = await world.rows("SELECT outcome FROM job_attempts ORDER BY id")
        assert rows == [(outcome,)] * attempt
        clock.move(timedelta(hours=2))
    await run_until_idle(world)
    assert await world.rows("SELECT dead_reason, attempts FROM queue") == [(reason, tries)]
    [(status, error)] = await world.rows("SELECT status, last_error FROM jobs")
    assert status == "dead"
    assert str(raised) in error


async def test_retry_after_is_honoured(world: World, clock: MovedClock) -> None:
    async def limited(d: Deps) -> None:
        raise TryLater("429 Too Many Requests", after=timedelta(minutes=7))

    world.clock = clock
    await stage(world, job(world.registry, limited))
    await run_until_idle(world)
    assert await world.rows("SELECT due_at FROM queue") == [(clock.now() + timedelta(minutes=7),)]


async def test_a_job_that_hangs_is_ended_and_counted(world: World) -> None:
    async def hangs(d: Deps) -> None:
        await asyncio.Event().wait()

    world.clock = MovedClock(datetime.now(UTC))  # it stands: the retry does not come in this test
    await stage(world, job(world.registry, hangs, timeout=0.1))
    await run_until_idle(world)
    assert await world.rows("SELECT outcome, error FROM job_attempts") == [("timeout", "TimeoutError")]


async def test_an_unknown_job_waits_for_a_newer_worker_and_is_parked_at_last(world: World, clock: MovedClock) -> None:
    async def renamed(d: Deps) -> None: ...

    world.clock = clock
    await stage(world, job(Registry(), renamed))
    for _ in range(6):
        await run_until_idle(world)
        clock.move(timedelta(hours=2))
    assert await world.rows("SELECT dead_reason, attempts FROM queue") == [("unknown_job", 6)]


async def test_arguments_of_an_older_deploy_are_refused_in_words(world: World) -> None:
    async def takes_one(d: Deps, what: str) -> None: ...

    spec = job(world.registry, takes_one)
    await stage(world, spec, "x")
    await world.execute("""UPDATE jobs SET args = '{"other": 1}'""")
    await run_until_idle(world)
    [(error,)] = await world.rows("SELECT last_error FROM jobs")
    assert "arguments that takes_one does not take now" in error


async def test_a_deploy_burns_no_try_however_often(world: World) -> None:
    """Six SIGTERMs in mid-job (ARQ alone gives up after five), then success."""
    started = asyncio.Event()
    patience = asyncio.Event()

    async def long(d: Deps) -> None:
        started.set()
        await patience.wait()
        async with d.tx() as tx:
            await effect(tx, "done at last")

    await stage(world, job(world.registry, long, timeout=60))
    for _ in range(6):
        started.clear()
        async with world.runner(grace=0) as runner:
            await runner.sweep()
            await until(started.is_set)
        assert await world.rows("SELECT attempts, lost, lease_token FROM queue") == [(0, 0, None)]
    patience.set()
    await run_until_idle(world)
    assert await world.effects() == ["done at last"]
    assert [row[0] for row in await world.rows("SELECT outcome FROM job_attempts")] == ["released"] * 6


async def test_a_job_that_ignores_cancellation_does_not_act_twice(world: World) -> None:
    """It lost its lease to another worker; when it comes back to commit, it may not."""
    started, go_on, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def stubborn(d: Deps) -> None:
        first = not started.is_set()
        started.set()
        if first:
            while not go_on.is_set():
                try:
                    await go_on.wait()
                except asyncio.CancelledError:
                    continue
        try:
            async with d.tx() as tx:
                await effect(tx, "paid out")
        finally:
            if first:
                ended.set()

    await stage(world, job(world.registry, stubborn))
    async with world.runner(worker="a", grace=0) as first:
        await first.sweep()
        await until(started.is_set)
        await world.execute("UPDATE queue SET lease_until = now() - interval '1 second'")
        async with world.runner(worker="b") as second:
            await second.sweep()
            await until(lambda: idle(world, second.queues))
        assert await world.effects() == ["paid out"]
        go_on.set()
        await until(ended.is_set)
    assert await world.effects() == ["paid out"]


async def test_the_last_transaction_records_and_finishes_at_once(world: World) -> None:
    async def note(d: Deps) -> None:
        async with d.last_tx() as tx:
            await effect(tx, "recorded")
        raise AssertionError("a crash right after the commit")

    await stage(world, job(world.registry, note))
    await run_until_idle(world)
    assert await world.effects() == ["recorded"]
    assert await world.rows("SELECT status FROM jobs") == [("done",)]
    assert await world.rows("SELECT 1 FROM queue") == []


async def test_work_that_kills_its_workers_is_parked_and_takes_nobody_along(world: World) -> None:
    """`lost` is counted apart from failures; innocents of the same batch are done by the next worker."""
    await remember(world.url, [new_event(n) for n in range(10)])
    for _ in range(LOST_LIMIT):
        async with world.engine.begin() as conn:
            now = datetime.now(UTC)
            suspects = bool(await world.rows("SELECT 1 FROM queue WHERE lost > 0"))
            rows = await queue.claim(
                conn, queue="events", limit=200, worker="w", lease=timedelta(seconds=-1), now=now, suspects=suspects
            )
            assert rows
        async with world.engine.begin() as conn:  # the process is gone; nobody renews
            swept = await queue.sweep(conn, now=now)
            assert len(swept) == len(rows)
    assert await world.rows("SELECT DISTINCT dead_reason, lost, attempts FROM queue") == [
        ("worker_lost", LOST_LIMIT, 0)
    ]
    assert await world.statuses() == {"dead": 10}
    story = await world.rows("SELECT count(*), min(outcome) FROM job_attempts")
    assert story == [(10 * LOST_LIMIT, "lost")]


async def test_suspects_are_claimed_alone(world: World) -> None:
    await remember(world.url, [new_event(n) for n in range(5)])
    await world.execute("UPDATE queue SET lost = 1 WHERE event_id IN ('evt_000001', 'evt_000003')")
    async with world.runner() as runner:
        assert len(await runner.claim("events", 200)) == 3
        assert len(await runner.claim("events", 1, suspects=True)) == 1


async def test_what_dead_workers_held_is_done_by_the_living(world: World) -> None:
    await remember(world.url, [new_event(n) for n in range(20)])
    async with world.runner(worker="dies", lease=15) as runner:
        assert len(await runner.claim("events", 200)) == 20
        async with world.engine.begin() as conn:
            await queue.expire_worker(conn, "dies")
        await run_until_idle(world, worker="lives")
    assert len(await world.effects()) == 20


async def test_paused_work_waits_and_goes_on_when_resumed(world: World) -> None:
    await remember(world.url, [new_event(1), new_event(2, "test.paused")])
    await world.execute("INSERT INTO pauses VALUES ('name', 'test.paused', 'ops', 'why', now())")
    await run_until_idle(world)
    assert await world.effects() == ["evt_000001"]
    await world.execute("INSERT INTO pauses VALUES ('queue', 'events', 'ops', 'why', now())")
    await world.execute("DELETE FROM pauses WHERE scope = 'name'")
    await run_until_idle(world)
    assert await world.effects() == ["evt_000001"]
    await world.execute("DELETE FROM pauses")
    await run_until_idle(world)
    assert await world.effects() == ["evt_000001", "evt_000002"]


async def test_live_work_goes_before_bulk_retries(world: World) -> None:
    await remember(world.url, [new_event(n) for n in range(300)])
    await world.execute("UPDATE queue SET priority = :bulk, due_at = now() - interval '1 day'", bulk=queue.BULK)
    await remember(world.url, [new_event(1000 + n) for n in range(50)])
    async with world.runner() as runner:
        rows = await runner.claim("events", 100)
    assert {row.event_id for row in rows} >= {f"evt_{1000 + n:06}" for n in range(50)}


async def test_slow_work_does_not_delay_events(world: World) -> None:
    never = asyncio.Event()

    async def slow(d: Deps) -> None:
        await never.wait()

    spec = job(world.registry, slow, timeout=60)
    for _ in range(20):
        await stage(world, spec)
    await remember(world.url, [new_event(n) for n in range(10)])
    async with world.runner(grace=0) as runner:
        await runner.sweep()
        await until(lambda: processed(world, 10))
        assert len(await world.rows("SELECT 1 FROM queue WHERE queue = 'batch' AND lease_token IS NOT NULL")) == 4


async def test_each_worker_shows_its_own_sign_of_life(world: World) -> None:
    async with world.runner(worker="a") as first, world.runner(worker="b") as second:
        await first.heartbeat()
        await second.heartbeat()
        await world.execute("UPDATE workers SET heartbeat_at = now() - interval '1 minute' WHERE id = 'a'")
        await second.heartbeat()
        old = await world.rows("SELECT id FROM workers WHERE heartbeat_at < now() - interval '30 seconds'")
        assert old == [("a",)]
    assert await world.rows("SELECT 1 FROM workers") == []


async def test_leases_are_renewed_while_the_work_lasts(world: World) -> None:
    async with world.runner(lease=15) as runner:
        await remember(world.url, [new_event(1)])
        await runner.claim("events", 1)
        await world.execute("UPDATE queue SET lease_until = now() + interval '1 second'")
        await runner.heartbeat()
        [(left,)] = await world.rows("SELECT lease_until - now() FROM queue")
        assert left > timedelta(seconds=10)
