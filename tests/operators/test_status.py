"""`billing status` tells how the work stands, and what to do about it."""

from datetime import UTC, datetime, timedelta

import pytest

from db.operators import status
from db.states import QueueName
from intake.overview import age, hints, overview
from tests.operators.books import Billing, Books, as_json, leased
from worker.deps import Deps
from worker.errors import Refused
from worker.registry import JobSpec, ScheduleSpec


async def nothing(_: Deps, period: datetime) -> None:
    raise Refused(f"{period}: this job is only looked at")


SCHEDULE = ScheduleSpec(
    "reconcile",
    "0 3 * * *",
    "UTC",
    JobSpec("reconcile", nothing, QueueName.BATCH, 3, timedelta(seconds=5)),
    1,
)


async def test_an_empty_system_has_the_whole_shape(billing: Billing) -> None:
    told = await as_json(billing, "status")
    zero = {"ready": 0, "scheduled": 0, "running": 0, "retrying": 0, "dead": 0, "oldest_ready_seconds": 0.0}
    assert told["queues"] == {name: {**zero, "paused": False} for name in ("events", "mail", "pdf", "batch")}
    assert told["events"] == {
        "received": 0, "processed": 0, "ignored": 0, "retrying": 0, "dead": 0, "estimated": False
    }  # fmt: skip
    assert told["workers"] == []
    assert told["pauses"] == []
    assert isinstance(told["schedules"], list)


async def test_each_row_is_counted_once_in_its_state(books: Books, billing: Billing) -> None:
    later, ago = datetime.now(UTC) + timedelta(hours=1), datetime.now(UTC) - timedelta(seconds=90)
    await books.event("evt_ready", due_at=ago)
    await books.event("evt_scheduled", due_at=later)
    await books.event("evt_running", **leased())
    await books.event("evt_lost_lease", **leased(-5))
    await books.event("evt_retrying", "retrying", due_at=later)
    await books.event("evt_retrying_now", "retrying", **leased())
    await books.event("evt_dead", "dead")
    await books.event("evt_processed", "processed")
    await books.event("evt_ignored", "ignored")
    await books.job("dead")
    await books.job("queued", queue="batch", due_at=later)
    told = await as_json(billing, "status")
    events = told["queues"]["events"]
    assert 89 < events.pop("oldest_ready_seconds") < 600
    assert events == {"ready": 2, "scheduled": 1, "running": 2, "retrying": 1, "dead": 1, "paused": False}
    assert told["queues"]["mail"]["dead"] == 1
    assert told["queues"]["batch"]["scheduled"] == 1
    assert told["events"] == {
        "received": 4, "processed": 1, "ignored": 1, "retrying": 2, "dead": 1, "estimated": False
    }  # fmt: skip


async def test_a_due_retry_counts_as_waiting(books: Books, billing: Billing) -> None:
    await books.event("evt_1", "retrying", due_at=datetime.now(UTC) - timedelta(minutes=5))
    told = await as_json(billing, "status")
    assert told["queues"]["events"]["oldest_ready_seconds"] > 299
    assert any("has waited for" in hint for hint in told["hints"])


async def test_workers_and_schedules(books: Books) -> None:
    now = datetime(2026, 3, 1, 12, tzinfo=UTC)
    await books.run(
        "INSERT INTO workers VALUES ('w1', 'web-1', 7, '[\"events\"]', :now, :beat, 3), "
        "('old', 'web-1', 6, '[]', :now, :old, 0)",
        now=now, beat=now - timedelta(seconds=4), old=now - timedelta(days=2),
    )  # fmt: skip
    job = await books.job("done", name="reconcile", queue="batch")
    await books.run(
        "INSERT INTO schedule_runs (name, period, job_id, created_at) VALUES "
        "('reconcile', :first, NULL, :first), ('reconcile', :ran, :job, :now)",
        first=now - timedelta(days=9), ran=now - timedelta(hours=9), job=job, now=now,
    )  # fmt: skip
    told = await overview(books.engine, [SCHEDULE], now)
    assert [(one["id"], one["host"], one["heartbeat_age_seconds"], one["running"]) for one in told["workers"]] == [
        ("w1", "web-1", 4.0, 3)
    ]
    (schedule,) = told["schedules"]
    assert schedule["name"] == "reconcile"
    assert schedule["cron"] == "0 3 * * *"
    assert schedule["last_run"] == "2026-03-01T12:00:00Z"
    assert schedule["last_period"] == "2026-03-01T03:00:00Z"
    assert schedule["last_status"] == "done"
    assert schedule["next_run"] == "2026-03-02T03:00:00Z"


async def test_a_schedule_that_was_only_looked_at_has_no_run(books: Books) -> None:
    now = datetime(2026, 3, 1, 12, tzinfo=UTC)
    await books.run("INSERT INTO schedule_runs (name, period, created_at) VALUES ('reconcile', :now, :now)", now=now)
    told = await overview(books.engine, [SCHEDULE], now)
    assert told["schedules"][0]["last_run"] is None


async def test_large_tables_are_estimated(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(40):
        await books.event(f"evt_{number}", "processed" if number % 4 else "ignored")
    await books.run("ANALYZE webhook_events")
    monkeypatch.setattr(status, "EXACT_UP_TO", 10)
    monkeypatch.setattr(status, "SAMPLE_ROWS", 40)
    async with books.engine.connect() as conn:
        assert await status.finished_events(conn) == ({"processed": 30, "ignored": 10}, True)


async def test_people_read_what_is_wrong(books: Books, billing: Billing) -> None:
    await books.event("evt_1", "dead")
    await books.event("evt_2", "dead")
    await books.event("evt_3")
    result = await billing("status")
    assert result.exit_code == 0
    assert "2 dead events: billing events list --status dead" in result.stdout
    assert "no worker is alive" in result.stdout
    assert "all is well" not in result.stdout


async def test_all_is_well(billing: Billing) -> None:
    assert "all is well" in (await billing("status")).stdout


def test_hints_name_pauses_and_silent_workers() -> None:
    idle = {"ready": 0, "retrying": 0, "dead": 0, "oldest_ready_seconds": 0.0, "paused": False}
    told = {
        "queues": {"events": idle, "mail": {**idle, "dead": 2, "paused": True, "oldest_ready_seconds": 900.0}},
        "events": {"dead": 0},
        "workers": [{"id": "w1", "heartbeat_age_seconds": 200.0}],
        "pauses": [
            {"scope": "queue", "target": "mail", "who": "ada", "why": "away"},
            {"scope": "name", "target": "invoice.paid", "who": "ada", "why": None},
            {"scope": "name", "target": "send_letter", "who": "ada", "why": None},
        ],
    }
    assert hints(told) == [
        "2 dead jobs in mail: billing jobs list --status dead --queue mail",
        "no worker is alive: start one with `billing worker` (or `billing up`)",
        "worker w1 has been silent for 3 min: it died, or its machine is gone",
        "mail is paused by ada (away): billing queues resume mail",
        "invoice.paid is paused by ada: billing events resume --type invoice.paid",
        "send_letter is paused by ada: billing jobs resume --name send_letter",
    ]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.25, "0.2 s"), (1, "1 s"), (119, "119 s"), (120, "2 min"), (7_200, "2 h"), (172_800, "2 d")],
)
def test_ages(seconds: float, said: str) -> None:
    assert age(seconds) == said


async def test_without_a_database_it_says_what_to_do(billing: Billing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none")
    away = await billing("status")
    assert away.exit_code == 2
    assert "the database cannot be reached" in away.stderr
    monkeypatch.delenv("DATABASE_URL")
    none = await billing("status")
    assert none.exit_code == 2
    assert "no database: start `billing up`, or set DATABASE_URL" in none.stderr
    monkeypatch.setenv("DATABASE_URL", "mysql://x")
    wrong = await billing("status")
    assert wrong.exit_code == 2
    assert "DATABASE_URL" in wrong.stderr


async def test_a_database_that_was_never_migrated(books: Books, billing: Billing) -> None:
    await books.run("DROP TABLE queue")
    result = await billing("status")
    assert result.exit_code == 2
    assert "run `billing migrate`" in result.stderr
