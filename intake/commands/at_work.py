"""A command does itself what a worker would do: it gets what a job gets, but for a lease."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from db.engine import create_engine
from intake.commands.connect import database_url, redis_url
from worker.adapters.stripe_api import stripe_api
from worker.clock import SystemClock, business_clock
from worker.deps import Deps
from worker.doorbell import Doorbell
from worker.settings import Settings


@asynccontextmanager
async def worker_deps(settings: Settings, *, name: str, connections: int) -> AsyncGenerator[Deps]:
    """The books, Stripe and the bell; `name` tells PostgreSQL who is at work. Raises NothingRunsError."""
    engine = create_engine(database_url(settings), pool_size=connections, application_name=name)
    stripe, bell = stripe_api(settings), Doorbell(redis_url(settings))

    def ring(queues: set[str]) -> None:
        for queue in queues:
            bell.ring(queue)

    try:
        yield Deps(
            engine=engine,
            clock=SystemClock(),
            business=business_clock(settings.billing_clock_file),
            stripe=stripe,
            settings=settings,
            after_commit=ring,
        )
    finally:
        await bell.close()
        await stripe.close()
        await engine.dispose()
