"""How fast Stripe may be asked is counted in Redis, for all workers and commands together."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any, NamedTuple, cast

import structlog
from redis.exceptions import RedisError

from worker.doorbell import connect
from worker.errors import TryLater
from worker.telemetry import STRIPE_BUDGET_UNAVAILABLE

log = structlog.get_logger()

KEY = "billing:stripe:budget"

SECOND = 1_000_000
"""In microseconds. What a second brings is also the most that is saved up."""

BULK_ROOM = SECOND * 3 // 4
"""Whoever reads much leaves a quarter of the bucket to others."""

PATIENCE = 10.0
"""Seconds that one call waits for its turn at most."""

BULK_PATIENCE = 60.0
"""Seconds that a page of a list waits at most."""

LONGEST_PAUSE = timedelta(minutes=5)
"""No answer of Stripe, and no jump of Redis's clock, stops us for longer."""

_LONGEST = int((LONGEST_PAUSE.total_seconds() + PATIENCE + 1) * SECOND)

TIMEOUT = 0.3
"""Seconds that a call waits for Redis at most; then this process counts for itself."""

RESTS = (1.0, 2.0, 5.0)
"""Seconds that Redis is left alone after it did not answer once, twice, more often."""

_NOW = f"""
local time = redis.call('TIME')
local now = time[1] * {SECOND} + time[2]
local full = tonumber(redis.call('GET', KEYS[1]) or 0) or 0
full = math.max(now, math.min(full, now + {_LONGEST}))
local function keep(at)
  redis.call('SET', KEYS[1], string.format('%.0f', at), 'PX', math.ceil((at - now) / 1000) + 1000)
end
"""
"""By Redis's clock, so that those of our machines do not matter."""

TAKE = f"""{_NOW}
local each, room, patience = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local wait = math.max(0, full + each - now - room)
if wait > patience then
  return {{0, wait}}
end
keep(full + each)
return {{1, wait}}
"""
"""A token bucket in one number: when it will be full again. https://en.wikipedia.org/wiki/Generic_cell_rate_algorithm"""

PAUSE = f"""{_NOW}
keep(math.max(full, now + tonumber(ARGV[1]) + {SECOND}))
"""
"""At the end of the pause the bucket is empty: those who waited go one after the other."""


class Turn(NamedTuple):
    """Granted: ask Stripe in `wait` microseconds. Else nothing is reserved, and it may be granted after `wait`."""

    granted: bool
    wait: int


class Bucket:
    """The same within one process; times are microseconds of any clock that only grows."""

    def __init__(self) -> None:
        self._full = 0

    def take(self, now: int, *, each: int, room: int, patience: int) -> Turn:
        """As the script: one request costs `each`, and `room` may be used up ahead of time."""
        full = max(now, self._full) + each
        wait = max(0, full - now - room)
        if wait > patience:
            return Turn(granted=False, wait=wait)
        self._full = full
        return Turn(granted=True, wait=wait)

    def pause(self, now: int, pause: int) -> None:
        """Nobody asks for so long."""
        self._full = max(self._full, now + pause + SECOND)


class StripeBudget:
    """A token bucket: so many requests a second, and a second's worth saved up: https://docs.stripe.com/rate-limits."""

    def __init__(
        self, url: str | None, rate: int, *, sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    ) -> None:
        """`rate` is in requests a second; `url` is Redis's address, None: this process counts for itself."""
        self._each = -(-SECOND // rate)
        self._sleep = sleep
        self._here = Bucket()
        self._redis = None if url is None else connect(url, patient=False)
        self._scripts = (
            {} if self._redis is None else {text: self._redis.register_script(text) for text in (TAKE, PAUSE)}
        )  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] - redis-py leaves it untyped
        self._failures = 0
        self._rests_until = 0.0

    async def take(self, *, bulk: bool = False) -> None:
        """Wait for one request's turn. Raises TryLater when it would not come within PATIENCE, or BULK_PATIENCE.

        A single call reserves its turn, so that it waits no longer than it was told. `bulk`, whoever reads much, takes
        what is there, and only as long as a quarter of the bucket is left.
        """
        room = max(self._each, BULK_ROOM) if bulk else SECOND
        patience, waited = (BULK_PATIENCE, 0.0) if bulk else (PATIENCE, 0.0)
        while True:
            turn = await self._turn(room, 0 if bulk else int(PATIENCE * SECOND))
            seconds = turn.wait / SECOND
            if not turn.granted and waited + seconds > patience:
                raise TryLater(
                    "Stripe is asked as fast as it may be, or wants a pause", after=timedelta(seconds=seconds)
                )
            if turn.wait:
                await self._sleep(seconds)
            if turn.granted:
                return
            waited += seconds

    async def pause(self, wanted: timedelta) -> None:
        """Stripe wants to be left alone for so long (at most LONGEST_PAUSE counts): nobody asks until then."""
        pause = min(wanted, LONGEST_PAUSE) // timedelta(microseconds=1)
        log.warning("Stripe wants a pause", seconds=pause / SECOND)
        self._here.pause(_microseconds(), pause)
        await self._run(PAUSE, pause)

    async def _turn(self, room: int, patience: int) -> Turn:
        if self._redis is None:
            return self._here.take(_microseconds(), each=self._each, room=room, patience=patience)
        found = await self._run(TAKE, self._each, room, patience)
        if found is None:
            STRIPE_BUDGET_UNAVAILABLE.inc()
            return self._here.take(_microseconds(), each=self._each, room=room, patience=patience)
        granted, wait = found
        return Turn(granted=bool(granted), wait=wait)

    async def _run(self, script: str, *arguments: int) -> Sequence[int] | None:
        """What the script answers. None: there is no Redis, or it is away."""
        if self._redis is None or asyncio.get_running_loop().time() < self._rests_until:
            return None
        run = cast("Callable[..., Awaitable[Sequence[int] | None]]", self._scripts[script])
        try:
            async with asyncio.timeout(TIMEOUT):
                found = await run(keys=[KEY], args=arguments)
        except (RedisError, OSError, TimeoutError) as error:
            self._rest(error)
            return None
        self._failures = 0
        return found

    def _rest(self, error: Exception) -> None:
        self._rests_until = asyncio.get_running_loop().time() + RESTS[min(self._failures, len(RESTS) - 1)]
        self._failures += 1
        if self._failures.bit_count() == 1:  # the 1st, 2nd, 4th, 8th …: a long outage does not flood the log
            log.warning(
                "requests to Stripe are counted here only: Redis is away", error=repr(error), failures=self._failures
            )

    async def close(self) -> None:
        """Hang up."""
        if self._redis is not None:
            await cast("Any", self._redis).aclose()


def _microseconds() -> int:
    return int(asyncio.get_running_loop().time() * SECOND)
