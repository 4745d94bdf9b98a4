"""A worker process for crash tests: the real engine, with an applier and jobs that leave notes."""

import asyncio
import os
import sys
from datetime import timedelta

from db.states import QueueName
from tests.worker.kit import apply_noted, effect
from worker.deps import Deps
from worker.main import run_worker
from worker.registry import JobSpec, discover, job, registry
from worker.settings import load_settings


@job(queue=QueueName.BATCH, tries=3, timeout=timedelta(seconds=50))
async def takes_its_time(d: Deps, seconds: float) -> None:
    """Announces itself, waits, and leaves its note."""
    async with d.tx() as tx:
        await effect(tx, f"started {d.worker}")
    await asyncio.sleep(seconds)
    async with d.last_tx() as tx:
        await effect(tx, "finished")


@job(queue=QueueName.BATCH, tries=3)
async def kills_its_worker(d: Deps) -> None:
    """The job that takes its whole process down."""
    os._exit(9)


JOBS: tuple[JobSpec[...], ...] = (takes_its_time, kills_its_worker)  # type: ignore[assignment] - ParamSpec is invariant

if __name__ == "__main__":
    discover("jobs")
    registry.apply_events = apply_noted
    sys.exit(run_worker(load_settings()))
