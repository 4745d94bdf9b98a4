"""Webhook events are applied in batches, each with its record in one transaction; a bad one fails alone."""

import asyncio
import itertools
import random
import zlib
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec
import structlog

from db import inbox, queue
from db.engine import is_away
from db.inbox import StoredEvent
from db.queue import Claimed, FinishedEvent, LeaseLost
from db.states import EventStatus, QueueName
from worker import telemetry
from worker.deps import Tx
from worker.failures import classify
from worker.registry import Applied, Busy, EventApplier, Outcome

if TYPE_CHECKING:
    from worker.runner import Runner

log = structlog.get_logger()

BATCH = 200
"""Events in one transaction at the most: more bring no speed, and hold their locks longer."""

EVENT_TRIES = 15
"""Failures of one event until it is parked: with the backoff's cap about five hours."""

SUSPECT_TURNS = 10
"""Of so many claims one is for suspects, so that they do not wait for the end of a backlog."""

LANES = 2
"""Transactions of events at once in one process."""

BATCH_TIMEOUT = timedelta(seconds=30)
"""For one transaction of events; a batch that takes longer is halved."""

AFTERWARDS = timedelta(minutes=1)
"""An event that was due so much later than it was received, without a failure, was set going by hand."""

BUSY_WAIT = timedelta(milliseconds=30)
"""How long an event waits, about, when another transaction works on the same customer."""


class EventWork:
    """Applies the events of one process."""

    def __init__(self, runner: "Runner") -> None:
        """`runner` lends leases and deps."""
        self._runner = runner

    async def drain(self) -> None:
        """Apply what is due until nothing is left; suspects one at a time, now and then and at the end."""
        waiting = False
        for turn in itertools.count(1):
            if self._runner.stopping:
                return
            suspects_first = turn % SUSPECT_TURNS == 0
            rows = await self._claim(suspects=suspects_first) or await self._claim(suspects=not suspects_first)
            if not rows:
                if not waiting:
                    return
                # Some wait for customers that another worker was at: it will be done soon.
                await asyncio.sleep(2 * BUSY_WAIT.total_seconds())
            waiting = bool(rows) and await self._apply_claimed(rows) > 0

    async def _claim(self, *, suspects: bool) -> list[Claimed]:
        return await self._runner.claim(QueueName.EVENTS, 1 if suspects else LANES * BATCH, suspects=suspects)

    async def _apply_claimed(self, rows: Sequence[Claimed]) -> int:
        """Apply a claim, and let go of it whatever happens. Returns how many were busy."""
        try:
            return await self._apply_in_lanes(rows)
        except Exception as error:
            if not is_away(error):
                raise
            self._runner.orphan(rows)  # what was done meanwhile is not ours any more: the token tells
            return 0
        finally:
            self._runner.settle(rows)

    async def _apply_in_lanes(self, rows: Sequence[Claimed]) -> int:
        """A backlog is applied in two transactions at once: while one waits for PostgreSQL, the other computes.

        A customer's events stay in one lane, so that the lanes do not wait for each other's locks; events that name no
        customer (refunds, disputes) follow when both are done.
        """
        if len(rows) <= BATCH:
            return await self.apply(rows)
        async with self._runner.autocommit() as conn:
            customers = await inbox.customers(conn, [row.event_id for row in rows if row.event_id is not None])
        lanes: list[list[Claimed]] = [[] for _ in range(LANES)]
        rest: list[Claimed] = []
        for row in rows:
            customer = customers.get(row.event_id or "")
            (rest if customer is None else lanes[zlib.crc32(customer.encode()) % LANES]).append(row)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self.apply(lane)) for lane in lanes if lane]
        return sum(task.result() for task in tasks) + (await self.apply(rest) if rest else 0)

    async def apply(self, rows: Sequence[Claimed]) -> int:
        """Apply a batch. On an error it is halved, so that a bad event fails alone. Returns how many were busy."""
        applier = self._runner.registry.apply_events
        if applier is None:
            raise RuntimeError("no function is marked @applies_events: was discover('jobs') called?")
        limit = asyncio.timeout(BATCH_TIMEOUT.total_seconds())
        try:
            async with limit:
                return await self._in_one_transaction(rows, applier)
        except LeaseLost as error:
            log.warning("events were given to another worker meanwhile", why=str(error))
            self._runner.orphan(rows)  # those that are ours still go back; the token spares the others
            return 0
        except Exception as error:  # noqa: BLE001 - the one place where a batch's failure is halved or recorded
            if is_away(error) and not limit.expired():
                self._runner.orphan(rows)
                return 0
            return await self._halve(rows, error)
        finally:
            self._runner.settle(rows)

    async def _halve(self, rows: Sequence[Claimed], error: Exception) -> int:
        if len(rows) == 1:
            await self._runner.record_failure(rows[0], error, tries=EVENT_TRIES)
            return 0
        middle = len(rows) // 2
        return await self.apply(rows[:middle]) + await self.apply(rows[middle:])

    async def _in_one_transaction(self, rows: Sequence[Claimed], applier: EventApplier) -> int:
        by_id = {row.event_id: row for row in rows if row.event_id is not None}
        async with self._runner.deps.tx() as tx:
            events = await inbox.load(tx.conn, list(by_id))
            outcomes = await applier(tx, events)
            await self._finish(tx, by_id, outcomes)
            await self._fail(tx, by_id, outcomes)
            busy = [by_id[ref] for ref, outcome in outcomes.items() if isinstance(outcome, Busy)]
            wait = BUSY_WAIT * random.uniform(0.7, 1.7)  # noqa: S311 - spreads load, guards nothing
            await queue.release(tx.conn, busy, due_at=tx.wall + wait)
        now = self._runner.deps.clock.now()
        for event in events:
            if isinstance(outcomes[event.id], Applied) and not _run_again(by_id[event.id], event):
                telemetry.EVENT_LAG.observe(max(0.0, (now - event.received_at).total_seconds()))
        return len(busy)

    async def _finish(self, tx: Tx, by_id: Mapping[str, Claimed], outcomes: Mapping[str, Outcome]) -> None:
        done = [(by_id[ref], ref, outcome) for ref, outcome in outcomes.items() if isinstance(outcome, Applied)]
        if not done:
            return
        finished = [
            FinishedEvent(
                ref,
                EventStatus.PROCESSED if outcome.ignored is None else EventStatus.IGNORED,
                outcome.ignored,
                # An event that is run again and changes nothing keeps the story of the time when it did.
                msgspec.json.encode(outcome.effects).decode() if any(outcome.effects.values()) else None,
            )
            for _, ref, outcome in done
        ]
        await queue.finish_events(
            tx.conn, [row for row, _, _ in done], finished, now=tx.wall, worker=self._runner.worker
        )
        for row, _, outcome in done:
            telemetry.JOBS.labels(
                telemetry.bounded_type(row.name), "done" if outcome.ignored is None else "ignored"
            ).inc()

    async def _fail(self, tx: Tx, by_id: Mapping[str, Claimed], outcomes: Mapping[str, Outcome]) -> None:
        for ref, outcome in outcomes.items():
            if isinstance(outcome, Exception):
                row = by_id[ref]
                failure = classify(
                    outcome,
                    attempt=row.attempts + 1,
                    tries=EVENT_TRIES,
                    now=tx.wall,
                    chance=random.random(),  # noqa: S311 - spreads load, guards nothing
                )
                await queue.fail(tx.conn, row, failure, now=tx.wall, worker=self._runner.worker)
                telemetry.JOBS.labels(telemetry.bounded_type(row.name), failure.dead or failure.outcome).inc()
                log.warning("an event failed", id=ref, type=row.name, error=failure.error, parked=failure.dead)


def _run_again(row: Claimed, event: StoredEvent) -> bool:
    """Whether an operator set the event going again: its age then says nothing about our promptness."""
    return row.attempts == 0 and row.due_at - event.received_at > AFTERWARDS
