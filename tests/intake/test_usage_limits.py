"""A partner may make as many requests in a minute as its contract says; without Redis nobody is kept waiting or out."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY
from sqlalchemy.ext.asyncio import AsyncEngine

from db import tokens
from db.tokens import TokenScope
from tests.conftest import MovedClock
from tests.intake.kit import Client, Response, SpyBell, door, serving
from tests.intake.usage_kit import ADMIN, event, make_key, report, sign_contract, with_token
from worker.embedded import EmbeddedValkey
from worker.rate_limit import RateLimit
from worker.settings import Settings

START = datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)
PATIENT = 5.0
"""Seconds: this machine is shared, and here a slow answer is not what is tested."""


@pytest.fixture
async def limits(valkey: EmbeddedValkey) -> AsyncIterator[RateLimit]:
    made = RateLimit(valkey.url, timeout=PATIENT)
    yield made
    await made.close()


@pytest.fixture
def name() -> str:
    """Of a partner that nobody else counts."""
    return f"p{os.urandom(6).hex()}"


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[EmbeddedValkey]:
    """A server to be frozen and killed."""
    server = EmbeddedValkey(tmp_path / "valkey" / "data")
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def limited(
    settings: Settings, bell: SpyBell, clock: MovedClock, valkey: EmbeddedValkey
) -> AsyncIterator[Client]:
    clock.time = START
    there = with_token(settings, redis_url=valkey.url)
    async with serving(door(there, bell, clock=clock, limit_timeout=PATIENT)) as made:
        yield made


def unavailable() -> float:
    return REGISTRY.get_sample_value("billing_rate_limit_unavailable_total") or 0


async def test_so_many_and_no_more(limits: RateLimit, name: str) -> None:
    found = [await limits.take(name, 3, START) for _ in range(5)]
    assert [one and (one.allowed, one.remaining) for one in found] == [
        (True, 2),
        (True, 1),
        (True, 0),
        (False, 0),
        (False, 0),
    ]
    assert await limits.take(name + "x", 3, START) == (True, 3, 2, 30)


async def test_those_that_come_together_are_counted_together(limits: RateLimit, name: str) -> None:
    found = await asyncio.gather(*[limits.take(name, 30, START) for _ in range(50)])
    assert sum(one is not None and one.allowed for one in found) == 30
    assert sorted(one.remaining for one in found if one is not None and one.allowed) == list(range(30))


@hypothesis_settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    limit=st.integers(1, 40),
    steps=st.lists(st.tuples(st.integers(0, 70_000), st.integers(1, 30)), min_size=1, max_size=8),
)
async def test_a_refused_one_is_let_in_when_it_was_told_and_no_minute_holds_more(
    limits: RateLimit, limit: int, steps: list[tuple[int, int]]
) -> None:
    name, now = os.urandom(6).hex(), START
    times: list[datetime] = []
    for wait, several in steps:
        now += timedelta(milliseconds=wait)
        for _ in range(several):
            verdict = await limits.take(name, limit, now)
            assert verdict is not None
            if verdict.allowed:
                times.append(now)
            else:
                later = now + timedelta(seconds=verdict.reset)
                retried = await limits.take(name, limit, later)
                assert retried is not None
                assert retried.allowed
                times.append(later)
                now = later
    for minute in {at.replace(second=0, microsecond=0) for at in times}:
        assert sum(minute <= at < minute + timedelta(minutes=1) for at in times) <= limit


async def test_a_burst_over_the_edge_of_a_minute_is_no_second_helping(limits: RateLimit, name: str) -> None:
    late = START.replace(second=59, microsecond=999_000)
    for at, allowed in ((late, True), (late, True), (late + timedelta(milliseconds=2), False)):
        found = await limits.take(name, 2, at)
        assert found is not None
        assert found.allowed is allowed


async def test_counts_are_of_all_doors_and_end_by_themselves(
    limits: RateLimit, valkey: EmbeddedValkey, name: str
) -> None:
    other = RateLimit(valkey.url, timeout=PATIENT)
    await limits.take(name, 5, START)
    found = await other.take(name, 5, START)
    assert found is not None
    assert found.remaining == 3
    keys = [key async for key in other._redis.scan_iter(f"billing:rate:{name}:*")]  # noqa: SLF001  # pyright: ignore[reportPrivateUsage, reportUnknownMemberType, reportUnknownVariableType] - what lies in Redis
    assert len(keys) == 1  # pyright: ignore[reportUnknownArgumentType] - as above
    assert 0 < await other._redis.pttl(keys[0]) <= 120_000  # noqa: SLF001  # pyright: ignore[reportPrivateUsage, reportUnknownMemberType, reportUnknownArgumentType] - as above
    await other.close()


async def test_a_wiped_redis_forgets_and_counts_on(limits: RateLimit, name: str) -> None:
    assert await limits.take(name, 1, START) == (True, 1, 0, 30)
    await limits._redis.flushall()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage, reportUnknownMemberType] - from outside
    await limits._redis.script_flush()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage, reportUnknownMemberType] - as above
    assert [one and one.allowed for one in [await limits.take(name, 1, START) for _ in range(2)]] == [True, False]


@pytest.mark.slow
async def test_a_frozen_redis_costs_one_wait_and_is_left_alone(own_valkey: EmbeddedValkey, name: str) -> None:
    limits = RateLimit(own_valkey.url)
    assert own_valkey.process is not None
    deadline = time.monotonic() + 10
    while await limits.take(name, 5, START) is None:  # a busy machine's first connection may be slow
        assert time.monotonic() < deadline
        await asyncio.sleep(0.2)
    before = unavailable()
    os.kill(own_valkey.process.pid, signal.SIGSTOP)
    start = time.monotonic()
    assert await asyncio.gather(*[limits.take(name, 5, START) for _ in range(20)]) == [None] * 20
    for _ in range(200):
        assert await limits.take(name, 5, START) is None
    assert time.monotonic() - start < 0.9  # 220 waits of 50 ms would be 11 s
    assert unavailable() - before == 220
    os.kill(own_valkey.process.pid, signal.SIGCONT)
    deadline = time.monotonic() + 20
    while await limits.take(name, 5, START) is None:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)
    own_valkey.kill()
    assert await limits.take(name, 5, START) is None
    await limits.close()


def fields(answer: Response) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name.startswith(("ratelimit", "retry"))}


async def test_the_contracts_limit_holds_with_the_standard_fields(
    limited: Client, engine: AsyncEngine, name: str, clock: MovedClock
) -> None:
    await sign_contract(engine, name, 2)
    _, key = await make_key(engine, name)
    _, other = await make_key(engine, name, TokenScope.READ)
    first = await report(limited, key, event("a"))
    assert (first.status, fields(first)) == (
        202,
        {"ratelimit-limit": "2", "ratelimit-policy": "2;w=60", "ratelimit-remaining": "1", "ratelimit-reset": "30"},
    )
    bad = await report(limited, key, event("b", cost_units=-1))
    assert (bad.status, bad.headers["ratelimit-remaining"]) == (422, "0")
    over = await report(limited, key, event("c"))
    assert (over.status, fields(over)["ratelimit-remaining"]) == (429, "0")
    assert over.headers["retry-after"] == over.headers["ratelimit-reset"]
    # Another key of the same partner has no helping of its own, whatever it may do.
    assert (await report(limited, other, event("d"))).status == 429
    clock.move(timedelta(seconds=int(over.headers["retry-after"])))
    assert (await report(limited, key, event("c"))).status == 202
    house = await report(limited, ADMIN, event("e", api_key_prefix=name))
    assert (house.status, fields(house)) == (202, {})


async def test_the_limit_is_that_of_the_version_in_force(engine: AsyncEngine) -> None:
    """By the partner's own days: in Auckland the 2nd of March begins at 11:00 UTC of the 1st."""
    zone = "Pacific/Auckland"
    await sign_contract(engine, "acme", 10, timezone=zone)
    await sign_contract(engine, "acme", 20, valid_from=date(2026, 3, 2), timezone=zone)
    await sign_contract(engine, "acme", 30, valid_from=date(2026, 3, 3), status="draft", timezone=zone)
    await sign_contract(engine, "soon", 5, valid_from=date(2026, 3, 2), timezone="Etc/Nowhere")
    digests = {prefix: tokens.digest((await make_key(engine, prefix))[1]) for prefix in ("acme", "soon", "nobody")}

    async def limits(now: datetime) -> list[int | None]:
        async with engine.connect() as conn:
            found = await tokens.find(conn, [*digests.values(), "unknown"], now)
        assert set(found) == set(digests.values())
        return [found[digests[prefix]].limit for prefix in ("acme", "soon", "nobody")]

    assert await limits(datetime(2026, 3, 1, 10, 59, tzinfo=UTC)) == [10, None, None]
    assert await limits(datetime(2026, 3, 1, 11, tzinfo=UTC)) == [20, None, None]
    assert await limits(datetime(2026, 3, 9, tzinfo=UTC)) == [20, 5, None]
    assert await limits(datetime(2025, 3, 9, tzinfo=UTC)) == [None, None, None]


@pytest.mark.slow
async def test_without_redis_everybody_is_let_in_at_once(
    settings: Settings, bell: SpyBell, engine: AsyncEngine, own_valkey: EmbeddedValkey, clock: MovedClock
) -> None:
    await sign_contract(engine, "acme", 1)
    _, key = await make_key(engine)
    there = settings.model_copy(update={"redis_url": own_valkey.url})
    assert own_valkey.process is not None
    async with serving(door(there, bell, clock=clock)) as client:
        assert (await report(client, key, event("warm"))).status == 202
        before = unavailable()
        os.kill(own_valkey.process.pid, signal.SIGSTOP)
        start = time.monotonic()
        for number in range(10):
            answer = await report(client, key, event(f"frozen{number}"))
            assert (answer.status, fields(answer)) == (202, {})
        assert time.monotonic() - start < 5
        own_valkey.kill()
        for number in range(5):
            assert (await report(client, key, event(f"killed{number}"))).status == 202
        assert unavailable() - before >= 14
