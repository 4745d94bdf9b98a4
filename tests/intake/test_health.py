"""Whoever watches over the doors is told the truth, cheaply."""

import asyncio
import re
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

import asyncpg
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy.ext.asyncio import AsyncEngine

from intake.health import Health, router
from tests.intake.kit import Client, SpyBell, body, door, serving
from worker.clock import SystemClock
from worker.embedded import EmbeddedValkey
from worker.settings import Settings

Rows: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


async def test_live(client: Client) -> None:
    answer = await client.get("/health")
    assert (answer.status, answer.json["status"]) == (200, "ok")
    assert answer.json["version"]


async def test_ready(settings: Settings, bell: SpyBell, valkey: EmbeddedValkey) -> None:
    async with serving(door(settings.model_copy(update={"redis_url": valkey.url}), bell)) as client:
        answer = await client.get("/health/ready")
    well = {"status": "ok", "why": None}
    assert (answer.status, answer.json) == (200, {"status": "ok", "database": well, "redis": well})


async def test_degraded_without_redis(client: Client) -> None:
    answer = await client.get("/health/ready")
    assert (answer.status, answer.json["status"], answer.json["redis"]["status"]) == (200, "degraded", "error")


async def test_not_ready_before_the_first_migration(client: Client, rows: Rows) -> None:
    await rows.execute("ALTER TABLE queue RENAME TO elsewhere")
    answer = await client.get("/health/ready")
    assert (answer.status, answer.json["database"]["why"]) == (503, "not migrated: run `billing migrate`")


async def test_the_queues_are_counted_at_scrape_time(client: Client, rows: Rows) -> None:
    now = datetime.now(UTC)
    for number in range(3):
        assert (await client.deliver(body(id_=f"evt_{number}"))).status == 200
    await rows.execute("UPDATE queue SET due_at = $1 WHERE event_id = 'evt_0'", now - timedelta(seconds=90))
    await rows.execute("UPDATE queue SET dead_reason = 'refused', dead_at = now() WHERE event_id = 'evt_1'")
    await rows.execute(
        "INSERT INTO queue (queue, name, job_id, due_at) VALUES ('mail', 'm', 1, $1)", now + timedelta(1)
    )
    text = (await client.get("/metrics")).body.decode()
    found = {
        (sample.name, sample.labels.get("queue")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert found["billing_queue_ready", "events"] == 2
    assert 85 < found["billing_queue_oldest_ready_seconds", "events"] < 200
    assert found["billing_dead", "events"] == 1
    assert [found["billing_queue_ready", queue] for queue in ("mail", "pdf", "batch")] == [0, 0, 0]
    assert found["billing_database_up", None] == 1


async def test_schedules_tell_for_how_long_they_are_due(client: Client, rows: Rows) -> None:
    now = datetime.now(UTC)
    for name, due, following in (
        ("reconcile", -4, -3),
        ("reconcile", -3, -1.5),
        ("verify", -1, 1),
        ("lost in an upgrade", -9, None),
    ):
        await rows.execute(
            "INSERT INTO schedule_runs (name, period, next_period, created_at) VALUES ($1, $2, $3, $2)",
            name,
            now + timedelta(hours=due),
            None if following is None else now + timedelta(hours=following),
        )
    text = (await client.get("/metrics")).body.decode()
    found = dict(re.findall(r'billing_schedule_late_seconds\{name="(.*)"\} (.*)', text))
    assert 5_400 <= float(found.pop("reconcile")) < 5_460
    assert found == {"verify": "0.0"}


async def test_a_storm_of_scrapes_is_one_query(client: Client, rows: Rows) -> None:
    await client.get("/metrics")
    await rows.execute("DROP TABLE queue")  # a second query would find it gone
    answers = await asyncio.gather(*[client.get("/metrics") for _ in range(20)])
    assert all(b"billing_database_up 1.0" in answer.body for answer in answers)


async def test_the_webhook_is_documented(client: Client) -> None:
    schema = (await client.get("/openapi.json")).json
    assert set(schema["paths"]) >= {"/payments/webhook", "/health", "/health/ready", "/metrics"}
    assert set(schema["paths"]["/payments/webhook"]["post"]["responses"]) == {"200", "400", "405", "408", "413", "503"}
    assert (await client.get("/docs")).status == 200


async def test_degraded_without_a_signing_secret(valkey: EmbeddedValkey, engine: AsyncEngine) -> None:
    health = Health(engine, valkey.url, SystemClock(), unconfigured="STRIPE_WEBHOOK_SECRET is not set")
    app = FastAPI()
    app.include_router(router(health))
    async with serving(app) as client:
        answer = await client.get("/health/ready")
    await health.close()
    well = {"status": "ok", "why": None}
    refused = {"status": "error", "why": "STRIPE_WEBHOOK_SECRET is not set"}
    expected = {"status": "degraded", "database": well, "redis": well, "webhooks": refused}
    assert (answer.status, answer.json) == (200, expected)
