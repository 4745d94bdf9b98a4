"""The inbox takes batches from several writers at once, and counts what waits."""

import asyncio
import random
from datetime import UTC, datetime, timedelta

from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from db import inbox
from db.inbox import Depth, NewEvent

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def new(id_: str, payload: bytes = b"{}", received_at: datetime = NOW) -> NewEvent:
    return NewEvent(id_, "invoice.paid", None, True, None, None, None, payload, NOW, received_at)  # noqa: FBT003 - a row


async def test_remembers_and_loads_the_very_bytes(database_url: str, engine: AsyncEngine) -> None:
    conn = await inbox.connect(database_url, timeout=5, application_name="test")
    odd = bytes(range(256)) * 100
    assert await inbox.remember(conn, [new("evt_b", odd), new("evt_a")]) == {"evt_a", "evt_b"}
    assert await inbox.remember(conn, [new("evt_c"), new("evt_b", b"other")]) == {"evt_c"}
    await conn.close()
    async with engine.connect() as reading:
        found = {event.id: event for event in await inbox.load(reading, ["evt_b", "evt_c", "evt_unknown"])}
    assert found.keys() == {"evt_b", "evt_c"}
    assert found["evt_b"].payload == odd
    assert (found["evt_b"].created_at, found["evt_b"].received_at, found["evt_b"].livemode) == (NOW, NOW, True)


async def test_overlapping_batches_never_deadlock(database_url: str) -> None:
    """Each batch is sorted by id, so that writers wait for one another in one order only."""
    chance = random.Random(3)  # noqa: S311 - an order, not a secret
    writers = [await inbox.connect(database_url, timeout=10, application_name="test") for _ in range(4)]
    arrived = 0

    async def write(conn: inbox.Connection) -> int:
        count = 0
        for round_ in range(40):
            ids = chance.sample([f"evt_{round_}_{number}" for number in range(60)], 40)
            count += len(await inbox.remember(conn, [new(id_) for id_ in ids]))
        return count

    arrived = sum(await asyncio.gather(*[write(conn) for conn in writers]))
    assert await writers[0].fetchval("SELECT count(*) FROM webhook_events") == arrived
    assert await writers[0].fetchval("SELECT count(*) FROM queue") == arrived
    for conn in writers:
        await conn.close()


async def test_no_wait_outlasts_the_timeout(database_url: str) -> None:
    conn = await inbox.connect(database_url, timeout=1.5, application_name="test")
    shown = [await conn.fetchval(f"SHOW {name}") for name in ("statement_timeout", "lock_timeout", "timezone")]
    assert shown == ["1500ms", "1500ms", "UTC"]
    await conn.close()


@hypothesis_settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(
        st.tuples(
            st.sampled_from(["events", "mail", "pdf", "batch"]),
            st.integers(-100, 100),
            st.sampled_from(["free", "leased", "dead"]),
        ),
        max_size=12,
    )
)
async def test_depths_count_what_may_start_now(engine: AsyncEngine, rows: list[tuple[str, int, str]]) -> None:
    insert = text(
        "INSERT INTO queue (queue, name, job_id, due_at, lease_token, lease_until, dead_reason) "
        "VALUES (:queue, 'n', :id, :due, :token, :until, :dead)"
    )
    async with engine.connect() as conn:
        for id_, (queue, seconds, state) in enumerate(rows):
            leased = state == "leased"
            await conn.execute(
                insert,
                {
                    "queue": queue,
                    "id": id_,
                    "due": NOW + timedelta(seconds=seconds),
                    "token": 1 if leased else None,
                    "until": NOW if leased else None,
                    "dead": "refused" if state == "dead" else None,
                },
            )
        found = await inbox.depths(conn, NOW)
        await conn.rollback()
    for queue in ("events", "mail", "pdf", "batch"):
        ready = [-seconds for name, seconds, state in rows if (name, state) == (queue, "free") and seconds <= 0]
        dead = sum((name, state) == (queue, "dead") for name, _, state in rows)
        assert found[queue] == Depth(len(ready), float(max(ready, default=0)), dead)
