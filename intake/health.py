"""Whether a door is alive, whether it can do its work, and the numbers that Prometheus asks for."""

import asyncio
from enum import StrEnum
from importlib.metadata import version
from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import BaseModel, Field
from redis.exceptions import RedisError
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from worker.doorbell import connect
from worker.ports import Clock
from worker.telemetry import Exposition, QueueCollector

VERSION = version("billing-worker")

DATABASE_TIMEOUT = 2.0
"""Seconds that a check of the database may take."""

REDIS_TIMEOUT = 1.0
"""Seconds that a check of Redis may take."""

REMEMBERED = 1.0
"""Seconds that an answer is given again without asking anew, so that nobody loads the database by asking."""


class State(StrEnum):
    """How a door is: `degraded` works, but something that it uses does not."""

    OK = "ok"
    DEGRADED = "degraded"
    UNAVAILABLE = "unavailable"


class Live(BaseModel):
    """The process answers."""

    status: Annotated[str, Field(examples=["ok"])] = "ok"
    version: str = VERSION


class Check(BaseModel):
    """One thing that the door needs."""

    status: Annotated[str, Field(examples=["ok", "error"])] = "ok"
    why: Annotated[str | None, Field(description="What is wrong, in a few words.")] = None


class Ready(BaseModel):
    """Whether the door can do its work."""

    status: State
    database: Check
    redis: Annotated[Check, Field(description="Without Redis work is found by the sweep: later, but never lost.")]
    webhooks: Annotated[
        Check | None,
        Field(exclude_if=lambda check: check is None, description="Only there when no webhook can be checked."),
    ] = None


class Health:
    """Asks the database and Redis how they are."""

    def __init__(self, engine: AsyncEngine, redis_url: str, clock: Clock, *, unconfigured: str | None = None) -> None:
        """`engine` and `redis_url` are those that the door itself uses; `unconfigured` is why it refuses webhooks."""
        self._webhooks = None if unconfigured is None else Check(status="error", why=unconfigured)
        self._engine = engine
        self._redis = connect(redis_url, patient=False)
        self._clock = clock
        self._queues = QueueCollector(engine)
        self._exposition = Exposition(self._queues)
        self._lock = asyncio.Lock()
        self._last: tuple[float, Ready] | None = None

    async def close(self) -> None:
        """Hang up."""
        await self._redis.aclose()

    async def ready(self) -> Ready:
        """The state now, or that of a moment ago."""
        async with self._lock:
            now = asyncio.get_running_loop().time()
            if self._last is None or now - self._last[0] >= REMEMBERED:
                database, redis = await asyncio.gather(self._database(), self._redis_check())
                state = State.OK if redis.why is None and self._webhooks is None else State.DEGRADED
                if database.why is not None:
                    state = State.UNAVAILABLE
                self._last = (now, Ready(status=state, database=database, redis=redis, webhooks=self._webhooks))
            return self._last[1]

    async def metrics(self) -> bytes:
        """Everything for Prometheus."""
        await self._queues.refresh(self._clock.now())
        return self._exposition.text()

    async def _database(self) -> Check:
        try:
            async with asyncio.timeout(DATABASE_TIMEOUT), self._engine.connect() as conn:
                if not await conn.scalar(text("SELECT to_regclass('queue') IS NOT NULL")):
                    return Check(status="error", why="not migrated: run `billing migrate`")
        except TimeoutError:
            return Check(status="error", why=f"no answer within {DATABASE_TIMEOUT:g} s")
        except DBAPIError as error:
            return Check(status="error", why=type(error.orig).__name__)
        except (SQLAlchemyError, OSError) as error:
            return Check(status="error", why=type(error).__name__)
        return Check()

    async def _redis_check(self) -> Check:
        try:
            async with asyncio.timeout(REDIS_TIMEOUT):
                await self._redis.ping()  # pyright: ignore[reportUnknownMemberType] - redis-py leaves it untyped
        except (RedisError, OSError, TimeoutError) as error:
            return Check(status="error", why=type(error).__name__)
        return Check()


def router(health: Health) -> APIRouter:
    """`GET /health`, `/health/ready` and `/metrics`, the same at both doors."""
    made = APIRouter(tags=["health"])

    @made.get("/health")
    async def live() -> Live:  # pyright: ignore[reportUnusedFunction] - the decorator uses it
        """200 as long as the process answers."""
        return Live()

    @made.get("/health/ready", responses={503: {"model": Ready, "description": "The database is away."}})
    async def ready(response: Response) -> Ready:  # pyright: ignore[reportUnusedFunction] - as above
        """200 when requests can be served, 503 when the database is away.

        `degraded` (200 too) without Redis, or without a secret to check webhooks with.
        """
        found = await health.ready()
        if found.status is State.UNAVAILABLE:
            response.status_code = 503
        return found

    @made.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def metrics() -> Response:  # pyright: ignore[reportUnusedFunction] - as above
        """Prometheus' text format; with PROMETHEUS_MULTIPROC_DIR of all processes of this machine."""
        return Response(await health.metrics(), media_type=Exposition.content_type)

    return made
