"""A ring tells the workers that there is work; it may get lost, because the sweep finds the work anyway."""

import asyncio
import json
from typing import Any, cast
from urllib.parse import unquote, urlsplit

import structlog
from arq.connections import ArqRedis
from redis.asyncio import ConnectionPool
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

log = structlog.get_logger()

RING_TIMEOUT = 0.3
"""Seconds: a frozen Redis may hold a ring so long, and no answer waits for it."""

DEBOUNCE = 0.025
"""Seconds: rings of one moment become one; more would only wake the same worker again."""

ENOUGH_RINGS = 64
"""With so many unheard rings more say nothing new: the workers are down or frozen, and the next one drains all."""

RING_EXPIRES = 300
"""Seconds that a ring's body is kept; what it announced stays in PostgreSQL."""

FORMAT = b"billing1:"
"""Marks our own JSON. ARQ's default is pickle: whoever can write one Redis key would run code in the worker."""

_BROKEN: list[Any] = [RedisConnectionError, RedisTimeoutError, OSError]
"""What a broken connection looks like; redis-py leaves OSError out, and a restarted Redis then kills the worker."""


def serialize(value: dict[str, Any]) -> bytes:
    """A ring as tagged JSON. What JSON cannot say (an exception in a result) is said in words."""
    return FORMAT + json.dumps(value, default=repr).encode()


def deserialize(data: bytes) -> dict[str, Any]:
    """Read a ring. Raises ValueError for anything that we did not write."""
    if not data.startswith(FORMAT):
        raise ValueError("not a ring of ours: refused, unread")
    return json.loads(data[len(FORMAT) :])


def arq_queue(queue: str) -> str:
    """The name of a queue's bell in Redis."""
    return f"billing:{queue}"


def connect(url: str, *, patient: bool) -> ArqRedis:
    """A client for `url`, that connects when it is first used.

    A `patient` one (the worker's poll) tries for ever; the other (a ring) gives up after RING_TIMEOUT.
    `redis+sentinel://:password@host1:26379,host2:26379/SERVICE/DB` finds the master by Sentinel.
    """
    options: dict[str, Any] = {
        "socket_timeout": 2.0 if patient else RING_TIMEOUT,
        "socket_connect_timeout": 2.0 if patient else RING_TIMEOUT,
        "health_check_interval": 30,
        "retry": Retry(ExponentialBackoff(cap=2.0, base=0.05), -1 if patient else 0, supported_errors=tuple(_BROKEN)),
        "retry_on_error": _BROKEN if patient else [],
    }
    if not url.startswith("unix"):
        options["socket_keepalive"] = True
    ours: dict[str, Any] = {"job_serializer": serialize, "job_deserializer": deserialize}
    if "+sentinel" in url:
        return _by_sentinel(url, options, ours)
    pool: ConnectionPool = ConnectionPool.from_url(url, **options)  # pyright: ignore[reportUnknownMemberType] - untyped kwargs
    client = ArqRedis(pool, **ours)
    client.auto_close_connection_pool = True  # the pool is this client's own
    return client


def _by_sentinel(url: str, options: dict[str, Any], ours: dict[str, Any]) -> ArqRedis:
    parts = urlsplit(url)
    credentials, _, hosts = parts.netloc.rpartition("@")
    password = unquote(credentials.partition(":")[2]) or None
    service, _, database = parts.path.strip("/").partition("/")
    addresses = [(host, int(port or 26379)) for host, _, port in (one.partition(":") for one in hosts.split(","))]
    sentinel = Sentinel(
        addresses, password=password, ssl=parts.scheme.startswith("rediss"), db=int(database or 0), **options
    )
    client = cast("ArqRedis", sentinel.master_for(service, redis_class=ArqRedis))  # pyright: ignore[reportUnknownMemberType] - its kwargs are untyped
    for name, value in ours.items():
        setattr(client, name, value)
    return client


async def findings(redis: ArqRedis) -> list[str]:
    """What is wrong with this Redis for our purpose, in words with a fix; empty when all is well."""
    info = cast("dict[str, Any]", await redis.info())  # pyright: ignore[reportUnknownMemberType] - its kwargs are untyped
    found: list[str] = []
    if info.get("cluster_enabled") or info.get("redis_mode") == "cluster":
        found.append("this is Redis Cluster, which ARQ does not support: use a single server or Sentinel")
    if (policy := info.get("maxmemory_policy", "noeviction")) != "noeviction":
        found.append(f"maxmemory-policy is {policy}: set noeviction, or rings vanish silently")
    if not info.get("aof_enabled") and not info.get("rdb_last_save_time"):
        found.append("neither AOF nor snapshots are on: set appendonly yes")
    return found


class Doorbell:
    """Rings without waiting: `ring` returns at once and never raises; failures are counted and logged once."""

    def __init__(self, url: str | None) -> None:
        """`url` is Redis's address; None makes a bell that is heard nowhere (the sweep does the work)."""
        self._redis = None if url is None else connect(url, patient=False)
        self._pending: dict[str, asyncio.Task[None]] = {}
        self.failures = 0

    def ring(self, queue: str) -> None:
        """Say that `queue` has work. Must be called from the event loop."""
        if self._redis is not None and queue not in self._pending:
            self._pending[queue] = asyncio.create_task(self._ring(self._redis, queue))

    async def _ring(self, redis: ArqRedis, queue: str) -> None:
        await asyncio.sleep(DEBOUNCE)
        # From here on a new call starts a new ring: its work may have been committed after this one is heard.
        del self._pending[queue]
        try:
            async with asyncio.timeout(2 * RING_TIMEOUT):
                if await redis.zcard(arq_queue(queue)) < ENOUGH_RINGS:
                    await redis.enqueue_job("drain", _queue_name=arq_queue(queue), _expires=RING_EXPIRES)
        except (RedisError, OSError, TimeoutError) as error:
            self.failures += 1
            if self.failures.bit_count() == 1:  # the 1st, 2nd, 4th, 8th …: a long outage does not flood the log
                log.warning(
                    "the doorbell was not heard; the sweep finds the work", error=repr(error), failures=self.failures
                )
        else:
            self.failures = 0

    async def close(self) -> None:
        """Let pending rings end (they are bounded), and hang up."""
        await asyncio.gather(*self._pending.values(), return_exceptions=True)
        if self._redis is not None:
            await self._redis.aclose()
