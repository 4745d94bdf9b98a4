"""How many requests a partner may make in a minute is counted in Redis, for all doors together."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from math import ceil
from typing import Any, NamedTuple, cast

import structlog
from redis.exceptions import RedisError

from worker.doorbell import connect
from worker.telemetry import RATE_LIMIT_UNAVAILABLE

log = structlog.get_logger()

WINDOW = 60_000
"""Milliseconds: limits are by the minute."""

TIMEOUT = 0.05
"""Seconds that a request waits for Redis at most; then it is let in."""

RESTS = (1.0, 2.0, 5.0)
"""Seconds that Redis is left alone after it did not answer once, twice, more often."""

SCRIPT = """
local answer = {}
for i = 1, #KEYS / 2 do
  local limit, wanted, left = tonumber(ARGV[3 * i - 2]), tonumber(ARGV[3 * i - 1]), tonumber(ARGV[3 * i])
  local used = tonumber(redis.call('GET', KEYS[2 * i - 1]) or '0')
  local before = tonumber(redis.call('GET', KEYS[2 * i]) or '0')
  local granted = math.max(0, math.min(wanted, limit - used - math.ceil(before * left / 60000)))
  if granted > 0 then
    used = redis.call('INCRBY', KEYS[2 * i - 1], granted)
    redis.call('PEXPIRE', KEYS[2 * i - 1], 120000)
  end
  answer[i] = {granted, used, before}
end
return answer
"""
"""Counts what is let in, by whole minutes; of the minute before as much still counts as lies within the last 60 s.

So no 60 seconds hold much more than the limit, in two small keys a partner. What is refused is not counted.
"""


class Verdict(NamedTuple):
    """Whether a request may pass. `remaining` more may follow; the limit begins anew in `reset` seconds.

    After a refusal one more is let in when `reset` seconds have passed.
    """

    allowed: bool
    limit: int
    remaining: int
    reset: int


class _Asked(NamedTuple):
    limit: int
    answer: asyncio.Future[Verdict | None]


def verdicts(limit: int, left: int, wanted: int, found: Sequence[int]) -> list[Verdict]:
    """What the script's answer says to each of `wanted` requests; `left` is what remains of the minute (ms)."""
    granted, used, before = found
    counted = used + -(-before * left // WINDOW)
    begins = ceil(left / 1000)
    made = [
        Verdict(allowed=True, limit=limit, remaining=max(0, limit - counted + granted - 1 - number), reset=begins)
        for number in range(granted)
    ]
    if granted < wanted:
        refusal = Verdict(allowed=False, limit=limit, remaining=0, reset=_wait(limit, left, used, before))
        made += [refusal] * (wanted - granted)
    return made


def _wait(limit: int, left: int, used: int, before: int) -> int:
    """Seconds until one more is let in."""
    if used < limit and before:  # the minute before counts less and less
        milliseconds = left - (limit - 1 - used) * WINDOW // before
    else:  # only in the next minute, when this one counts less and less
        milliseconds = left + WINDOW - (limit - 1) * WINDOW // max(used, 1)
    return max(1, ceil(milliseconds / 1000))


class RateLimit:
    """Requests that come together are counted in one round trip. A Redis that is away costs no more than TIMEOUT."""

    def __init__(self, url: str, *, timeout: float = TIMEOUT) -> None:
        """`url` is Redis's address; `timeout` is in seconds."""
        self._redis = connect(url, patient=False)
        self._script = cast(
            "Callable[..., Awaitable[Sequence[Sequence[int]]]]",
            self._redis.register_script(SCRIPT),  # pyright: ignore[reportUnknownMemberType] - redis-py leaves it untyped
        )
        self._timeout = timeout
        self._asked: dict[tuple[str, int], list[_Asked]] = {}
        self._latest = 0
        self._task: asyncio.Task[None] | None = None
        self._failures = 0
        self._rests_until = 0.0

    async def take(self, name: str, limit: int, now: datetime) -> Verdict | None:
        """Count one request of `name`, of which `limit` may be made in a minute. None: Redis is away, let it in."""
        loop = asyncio.get_running_loop()
        if loop.time() < self._rests_until:
            RATE_LIMIT_UNAVAILABLE.inc()
            return None
        answer: asyncio.Future[Verdict | None] = loop.create_future()
        self._latest = int(now.timestamp() * 1000)
        self._asked.setdefault((name, self._latest // WINDOW), []).append(_Asked(limit, answer))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        return await answer

    async def _run(self) -> None:
        while self._asked:
            asked, self._asked = self._asked, {}
            try:
                async with asyncio.timeout(self._timeout):
                    await self._count(asked)
            except (RedisError, OSError, TimeoutError) as error:
                self._rest(error)
                self._let_in(asked)
                self._let_in(self._asked)
                self._asked = {}
            else:
                self._failures = 0

    async def _count(self, asked: dict[tuple[str, int], list[_Asked]]) -> None:
        keys: list[str] = []
        arguments: list[int] = []
        lefts: list[int] = []
        for (name, window), several in asked.items():
            left = min(WINDOW, max(1, (window + 1) * WINDOW - self._latest))
            keys += [f"billing:rate:{name}:{window}", f"billing:rate:{name}:{window - 1}"]
            arguments += [several[-1].limit, len(several), left]
            lefts.append(left)
        found = await self._script(keys=keys, args=arguments)
        for several, left, counts in zip(asked.values(), lefts, found, strict=True):
            for one, verdict in zip(several, verdicts(several[-1].limit, left, len(several), counts), strict=True):
                if not one.answer.done():
                    one.answer.set_result(verdict)

    def _let_in(self, asked: dict[tuple[str, int], list[_Asked]]) -> None:
        for one in (one for several in asked.values() for one in several):
            if not one.answer.done():
                one.answer.set_result(None)
                RATE_LIMIT_UNAVAILABLE.inc()

    def _rest(self, error: Exception) -> None:
        rest = RESTS[min(self._failures, len(RESTS) - 1)]
        self._rests_until = asyncio.get_running_loop().time() + rest
        self._failures += 1
        if self._failures.bit_count() == 1:  # the 1st, 2nd, 4th, 8th …: a long outage does not flood the log
            log.warning("requests are let in uncounted: Redis is away", error=repr(error), failures=self._failures)

    async def close(self) -> None:
        """Let what was asked end (it is bounded), and hang up."""
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)
        await cast("Any", self._redis).aclose()
