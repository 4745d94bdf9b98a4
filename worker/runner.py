"""One process at work: it claims what is due, runs it, records how it ended, and gives back what it cannot finish."""

import asyncio
import os
import random
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from db import queue, workers
from db.engine import is_away
from db.queue import Claimed, LeaseLost
from db.states import QueueName
from worker import telemetry
from worker.deps import Deps
from worker.errors import Held
from worker.events import EventWork
from worker.failures import UnknownJob, classify
from worker.registry import JobSpec, Registry
from worker.schedule import Scheduler

log = structlog.get_logger()

SWEEP_SECONDS = 1.0
"""How often lost leases and unheard rings are looked for: the longest that work waits while Redis is away."""

DEFAULT_SLOTS: Mapping[str, int] = {QueueName.MAIL: 8, QueueName.PDF: 2, QueueName.BATCH: 4}
"""How many jobs of each class one process runs at once."""

WAVE_GOODBYE = timedelta(seconds=3)
"""How long a cancelled job may still take before it is left behind; its lease no longer lets it commit."""


@dataclass(slots=True)
class Running:
    """What this process holds leases for: renewed together, given back together."""

    tokens: dict[int, int] = field(default_factory=dict[int, int])

    def add(self, rows: Sequence[Claimed]) -> None:
        """`rows` are being worked on."""
        for row in rows:
            self.tokens[row.id] = row.token

    def drop(self, rows: Sequence[Claimed]) -> None:
        """`rows` are not being worked on any more."""
        for row in rows:
            self.tokens.pop(row.id, None)


class Runner:
    """Runs the due work of some queues until it is stopped. Nothing here knows Redis or ARQ."""

    def __init__(
        self,
        deps: Deps,
        registry: Registry,
        *,
        queues: Sequence[str],
        worker: str,
        lease: timedelta,
        slots: Mapping[str, int] = DEFAULT_SLOTS,
    ) -> None:
        """`worker` names this process in leases and heartbeats, and must be unique among all that ever lived."""
        self.deps = replace(deps, worker=worker, after_commit=self._staged)
        self._ring = deps.after_commit
        self.registry = registry
        self.queues = tuple(queues)
        self.worker = worker
        self.lease = lease
        self.slots = slots
        self.running = Running()
        self.stopping = False
        self._drains: dict[str, asyncio.Task[None]] = {}
        self._again: set[str] = set()
        self._jobs: dict[str, set[asyncio.Task[None]]] = {name: set() for name in queues}
        self._suspected: set[str] = set()
        """Queues of which a suspect runs: never two at once, so that they cannot take each other down."""
        self._loops: list[asyncio.Task[None]] = []
        self._orphans: list[list[Claimed]] = []
        self._troubles = 0
        self.events = EventWork(self)
        self._schedules = Scheduler(self.deps, registry) if QueueName.BATCH in queues else None

    # --- life ---------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to sweep, to renew leases and to show signs of life."""
        self._loops = [
            asyncio.create_task(self._every(SWEEP_SECONDS, self.sweep), name="sweep"),
            asyncio.create_task(self._every(self.lease.total_seconds() / 3, self.heartbeat), name="heartbeat"),
        ]

    async def stop(self, grace: timedelta) -> None:
        """Claim nothing more, wait up to `grace` for what runs, cancel the rest, and give all leases back."""
        self.stopping = True
        sweep, heartbeat = self._loops or (None, None)
        if sweep is not None:
            sweep.cancel()
        if self._drains:  # they end soon, and may start no more jobs
            await asyncio.wait(set(self._drains.values()), timeout=grace.total_seconds())
        tasks = {*self._drains.values(), *(task for running in self._jobs.values() for task in running)}
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=grace.total_seconds())
            for task in late:
                task.cancel()
            if late:
                _, stubborn = await asyncio.wait(late, timeout=WAVE_GOODBYE.total_seconds())
                if stubborn:
                    log.warning("left behind: work that ignores its cancellation", count=len(stubborn))
        if heartbeat is not None:
            heartbeat.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        try:
            async with asyncio.timeout(WAVE_GOODBYE.total_seconds()), self.deps.engine.begin() as conn:
                released = await queue.release_worker(conn, self.worker)
                await workers.remove(conn, self.worker)
            log.info("worker stopped", worker=self.worker, released=released)
        except Exception as error:  # noqa: BLE001 - whatever it is, the leases run out by themselves
            log.warning("the leases could not be given back; they run out by themselves", error=repr(error))

    async def _every(self, seconds: float, act: Any) -> None:
        while True:
            try:
                await act()
            except Exception as error:  # noqa: BLE001 - a loop that ends would silently stop the work
                self._trouble(error)
            else:
                self._troubles = 0
            await asyncio.sleep(seconds * random.uniform(0.8, 1.2))  # noqa: S311 - spreads load, guards nothing

    def _trouble(self, error: Exception) -> None:
        self._troubles += 1
        if self._troubles.bit_count() == 1:  # the 1st, 2nd, 4th …: an outage does not flood the log
            if is_away(error):
                log.warning("PostgreSQL cannot be reached; trying on", error=repr(error), times=self._troubles)
            else:
                log.error("a worker loop failed; trying on", exc_info=error, times=self._troubles)

    # --- looking after the work ---------------------------------------------------------------------------------------

    def autocommit(self) -> Any:
        """A connection for single bookkeeping statements, without the round trips of BEGIN and COMMIT."""
        return self.deps.engine.execution_options(isolation_level="AUTOCOMMIT").connect()

    async def sweep(self) -> None:
        """Find what no ring told us: lost leases, unheard rings, due retries, due schedules."""
        now = self.deps.clock.now()
        async with self.autocommit() as conn:
            await self._release_orphans(conn)
            for name, job, reason in await queue.sweep(conn, now=now):
                log.warning("a lease ran out", queue=name, name=job, parked=reason)
                if reason is not None:
                    telemetry.JOBS.labels(telemetry.bounded_type(job), reason).inc()
            due = await queue.due_queues(conn, self.queues, now=now)
        for name in due:
            self.wake(name)
        if self._schedules is not None:
            await self._schedules.tick()

    async def _release_orphans(self, conn: AsyncConnection) -> None:
        while self._orphans:
            rows = self._orphans[0]
            await queue.release(conn, rows, due_at=self.deps.clock.now())
            self._orphans.remove(rows)  # not the last one: others may have been added meanwhile
            self.running.drop(rows)

    async def heartbeat(self) -> None:
        """Keep our leases, and tell operators that we live."""
        async with self.autocommit() as conn:
            if tokens := set(self.running.tokens.values()):
                await queue.renew(conn, tokens=sorted(tokens), worker=self.worker, lease=self.lease)
            await workers.beat(
                conn,
                worker=self.worker,
                host=os.uname().nodename,
                pid=os.getpid(),
                queues=self.queues,
                running=len(self.running.tokens),
                now=self.deps.clock.now(),
            )

    # --- draining -----------------------------------------------------------------------------------------------------

    def wake(self, name: str) -> asyncio.Task[None] | None:
        """Drain queue `name` now; if that is going on already, look once more when it ends. Returns the drain."""
        if self.stopping or name not in self._jobs:
            return None
        if (going := self._drains.get(name)) is not None:
            self._again.add(name)
            return going
        task = asyncio.create_task(self._drain(name), name=f"drain {name}")
        self._drains[name] = task
        return task

    def _staged(self, names: set[str]) -> None:
        """Work was staged here: this process looks at once, and the others are rung for."""
        for name in names:
            self.wake(name)
        self._ring(names)

    async def _drain(self, name: str) -> None:
        try:
            while not self.stopping:
                self._again.discard(name)
                if name == QueueName.EVENTS:
                    await self.events.drain()
                else:
                    await self._start_jobs(name)
                if name not in self._again:
                    break
        except Exception as error:  # noqa: BLE001 - the sweep wakes us again
            self._trouble(error)
        finally:
            self._drains.pop(name, None)

    async def claim(self, name: str, limit: int, *, suspects: bool = False) -> list[Claimed]:
        """Take up to `limit` due rows of queue `name`."""
        async with self.autocommit() as conn:
            rows = await queue.claim(
                conn,
                queue=name,
                limit=limit,
                worker=self.worker,
                lease=self.lease,
                now=self.deps.clock.now(),
                suspects=suspects,
            )
        self.running.add(rows)
        return rows

    async def _start_jobs(self, name: str) -> None:
        while not self.stopping and (free := self.slots[name] - len(self._jobs[name])) > 0:
            rows: list[Claimed] = []
            if name not in self._suspected:
                rows = await self.claim(name, 1, suspects=True)
            rows = rows or await self.claim(name, free)
            if not rows:
                return
            if self.stopping:  # it was told so while the claim was under way: nobody would wait for these
                self.orphan(rows)
                return
            for row in rows:
                self._spawn(name, self.run_job(row), suspect=row.lost > 0)

    def _spawn(self, name: str, work: Coroutine[Any, Any, None], *, suspect: bool) -> None:
        task = asyncio.create_task(work)
        self._jobs[name].add(task)
        if suspect:
            self._suspected.add(name)

        def ended(task: asyncio.Task[None]) -> None:
            self._jobs[name].discard(task)
            if suspect:
                self._suspected.discard(name)
            if not task.cancelled() and (error := task.exception()) is not None:
                self._trouble(error if isinstance(error, Exception) else RuntimeError(repr(error)))
            self.wake(name)

        task.add_done_callback(ended)

    # --- one job ------------------------------------------------------------------------------------------------------

    async def run_job(self, row: Claimed) -> None:
        """Run one claimed job and record how it ended."""
        started = asyncio.get_running_loop().time()
        spec = self.registry.jobs.get(row.name) or _unknown(row.name)
        try:
            async with self.deps.engine.connect() as conn:
                args = (
                    await conn.execute(text("SELECT args FROM jobs WHERE id = :id"), {"id": row.job_id})
                ).scalar_one()
            deps = replace(self.deps, staged_by=f"job:{row.job_id}", lease=row, finished=[])
            async with asyncio.timeout(spec.timeout.total_seconds()):
                await spec.run(deps, args)
            if not deps.finished:
                async with self.deps.tx() as tx:
                    await queue.finish_job(tx.conn, row, now=tx.wall, worker=self.worker)
            telemetry.JOBS.labels(telemetry.bounded_type(row.name), "done").inc()
        except LeaseLost as error:
            log.warning("given to another worker meanwhile", name=row.name, why=str(error))
        except Held as error:
            await self._put_back(row, error)
        except Exception as error:  # noqa: BLE001 - the one place where a job's failure is classified and recorded
            await self.record_failure(row, error, tries=spec.tries)
        finally:
            self.settle([row])
            telemetry.JOB_SECONDS.labels(telemetry.bounded_type(row.name)).observe(
                asyncio.get_running_loop().time() - started
            )

    async def _put_back(self, row: Claimed, error: Held) -> None:
        """Another worker is at the same thing: later, as if nothing had been."""
        due_at = self.deps.clock.now() + (error.after or timedelta())
        try:
            async with self.autocommit() as conn:
                await queue.release(conn, [row], due_at=due_at)
        except Exception as trouble:
            if not is_away(trouble):
                raise
            self.orphan([row])

    def settle(self, rows: Sequence[Claimed]) -> None:
        """`rows` are not run any more (but orphans stay ours until they can be given back)."""
        orphaned = {row.id for rows in self._orphans for row in rows}
        self.running.drop([row for row in rows if row.id not in orphaned])

    def orphan(self, rows: Sequence[Claimed]) -> None:
        """PostgreSQL went away under `rows`: they are given back, without burning a try, when it is there again."""
        self._orphans.append(list(rows))

    async def record_failure(self, row: Claimed, error: Exception, *, tries: int) -> None:
        """Write down that an attempt failed, and what follows."""
        if is_away(error) and not isinstance(error, OSError):  # a job's own OSError may be a mail server's, or a disk's
            self.orphan([row])
            return
        now = self.deps.clock.now()
        failure = classify(error, attempt=row.attempts + 1, tries=tries, now=now, chance=random.random())  # noqa: S311 - spreads load
        telemetry.JOBS.labels(telemetry.bounded_type(row.name), failure.dead or failure.outcome).inc()
        log.warning(
            "an attempt failed", name=row.name, ref=row.event_id or row.job_id, error=failure.error, parked=failure.dead
        )
        try:
            async with self.deps.tx() as tx:
                await queue.fail(tx.conn, row, failure, now=now, worker=self.worker)
        except LeaseLost:
            log.warning("given to another worker before its failure was recorded", name=row.name)
        except Exception as trouble:
            if not is_away(trouble):
                raise
            self.orphan([row])


def _unknown(name: str) -> JobSpec[...]:
    """Stands in for a job that this worker's code does not have."""

    async def missing(_: Deps, **_args: object) -> None:
        raise UnknownJob(f"no job is named {name!r} here: was it renamed, or is this worker older?")

    return JobSpec(name, missing, QueueName.BATCH, 1, timedelta(seconds=1))
