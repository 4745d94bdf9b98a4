"""ARQ runs the work: a ring wakes this process's Runner. With Redis away the Runner's sweep does the work alone."""

import asyncio
from collections.abc import Sequence
from datetime import UTC
from typing import Any, cast

import structlog
from arq.worker import Worker, func
from redis.exceptions import RedisError

from db.states import QueueName
from worker.doorbell import arq_queue, connect, deserialize, findings, serialize
from worker.runner import Runner

log = structlog.get_logger()

RING_TIMEOUT = 50
"""Seconds that one ring may keep an ARQ slot; the Runner's work goes on without it. Kept under ARQ's own timeout."""

ARQ_TIMEOUT = 60
"""Seconds. A ring held by a killed worker is handed on after this + 10 (facts: the longest timeout rules them all)."""

MAX_RINGS = 4
"""Rings in hand at once in one process: one drains, the others only make it look again."""

POLL_SECONDS = {QueueName.EVENTS: 0.02}
"""Events are awaited eagerly; other work may wait POLL_DEFAULT."""

POLL_DEFAULT = 0.25

STOP_ATTEMPTS = 10
STOP_SECONDS = 0.3
"""How often, and how long each time, the end of the ARQ workers is asked for and awaited."""

RESTART_SECONDS = 1.0
"""The wait before an ARQ worker that ended with an error is started anew."""


async def drain(ctx: dict[str, Any]) -> None:
    """Heard a ring: do what is due. The one function that ARQ knows; arguments, results and retries are not its."""
    runner: Runner = ctx["runner"]
    task = runner.wake(ctx["queue"])
    if task is not None:
        await asyncio.wait({task}, timeout=RING_TIMEOUT)


def options(queue: str, worker: str) -> dict[str, Any]:
    """What an ARQ worker for `queue` is built with; most lines answer a trap that ARQ's defaults set."""
    return {
        "functions": [func(cast("Any", drain), name="drain", timeout=ARQ_TIMEOUT, max_tries=1, keep_result=0)],
        "queue_name": arq_queue(queue),
        "max_jobs": MAX_RINGS,
        "queue_read_limit": 1000,  # the default caps the whole fleet's concurrency
        "job_timeout": ARQ_TIMEOUT,
        "keep_result": 0,
        "max_tries": 1,
        "poll_delay": POLL_SECONDS.get(QueueName(queue), POLL_DEFAULT),
        "health_check_interval": 30,
        "health_check_key": f"{arq_queue(queue)}:health:{worker}",
        "job_serializer": serialize,
        "job_deserializer": deserialize,
        "timezone": UTC,
        "allow_abort_jobs": False,
        "log_results": False,
    }


class Ears:
    """One ARQ worker for each queue of the Runner, each started anew whenever Redis or ARQ makes it end."""

    def __init__(self, runner: Runner, redis_url: str) -> None:
        """Listens at `redis_url` for rings."""
        self._runner = runner
        self._url = redis_url
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, queues: Sequence[str] | None = None) -> None:
        """Listen to the bells of `queues` (all of the Runner's)."""
        self._tasks = [
            asyncio.create_task(self._listen(name), name=f"arq {name}") for name in queues or self._runner.queues
        ]
        self._tasks.append(asyncio.create_task(self._inspect(), name="inspect redis"))

    async def _inspect(self) -> None:
        redis = connect(self._url, patient=True)
        try:
            for finding in await findings(redis):
                log.warning("Redis is not set up for rings", finding=finding)
        finally:
            await redis.aclose()

    async def _listen(self, queue: str) -> None:
        while True:
            redis = connect(self._url, patient=True)
            worker = Worker(
                redis_pool=redis,
                handle_signals=False,
                ctx={"runner": self._runner, "queue": queue},
                **options(queue, self._runner.worker),
            )
            try:
                await worker.main()
            except (RedisError, OSError, RuntimeError) as error:
                log.warning("an ARQ worker ended; starting it anew", queue=queue, error=repr(error))
            finally:
                for task in worker.tasks.values():
                    task.cancel()
                await redis.aclose()
            await asyncio.sleep(RESTART_SECONDS)

    async def stop(self) -> None:
        """Hear no more rings. Never waits for Redis: it may be frozen.

        One cancellation is not enough: Python 3.11's `wait_for` loses one that comes as its awaited call returns.
        """
        for _ in range(STOP_ATTEMPTS):
            if not (alive := [task for task in self._tasks if not task.done()]):
                return
            for task in alive:
                task.cancel()
            await asyncio.wait(alive, timeout=STOP_SECONDS)
        log.warning("an ARQ worker does not end; it is left behind")
