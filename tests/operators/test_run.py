"""An operator runs a scheduled job now: each period once, unless it is meant again; what cannot be is explained."""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy.ext.asyncio import AsyncEngine

from db.states import QueueName
from intake.admin.app import build_app
from tests.conftest import MovedClock
from tests.operators.books import Billing, Books
from tests.operators.door import TOKEN, Door
from tests.worker.kit import NoStripe
from worker.deps import Deps
from worker.registry import JobSpec, Registry, ScheduleSpec
from worker.schedule import Scheduler, newest, period_named
from worker.settings import Settings

NOW = datetime(2026, 3, 10, 12, 30, tzinfo=UTC)
BEARER = {"Authorization": f"Bearer {TOKEN}", "X-Operator": "ada"}
RUN = "/admin/schedules/card_expiring/run"


async def _work(d: Deps, period: datetime) -> None: ...


def spec(cron: str, timezone: str = "UTC") -> ScheduleSpec:
    job: JobSpec[...] = JobSpec("work", _work, QueueName.BATCH, 3, timedelta(seconds=5))
    return ScheduleSpec("work", cron, timezone, job, 1)


@pytest.fixture
async def door(database_url: str) -> AsyncIterator[Door]:
    """The internal door with the schedules that there are."""
    settings = Settings(database_url=database_url, redis_url="redis://127.0.0.1:1/0", admin_token=SecretStr(TOKEN))
    app = build_app(settings)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with app.router.lifespan_context(app), Door(transport=transport, base_url="http://billing.test") as client:
        yield client


async def told(billing: Billing, *words: str) -> dict[str, Any]:
    result = await billing("run", *words, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


async def jobs(books: Books) -> list[tuple[Any, ...]]:
    rows = await books.rows("SELECT name, args ->> 'period', unique_key, staged_by FROM jobs ORDER BY id")
    return [tuple(row.values()) for row in rows]


@pytest.mark.parametrize(
    ("cron", "zone", "wanted", "found"),
    [
        ("0 9 1 * *", "UTC", None, "2026-03-01T09:00Z"),
        ("0 9 1 * *", "UTC", "2025-10", "2025-10-01T09:00Z"),
        ("0 9 1 * *", "UTC", "2025-10-01", "2025-10-01T09:00Z"),
        ("0 9 1 * *", "UTC", "2025-10-01T09:00", "2025-10-01T09:00Z"),
        ("0 9 1 * *", "UTC", "2025-10-01T09:00:00+00:00", "2025-10-01T09:00Z"),
        ("0 9 1 * *", "UTC", "2025-10-01T11:00+02:00", "2025-10-01T09:00Z"),
        ("0 9 1 * *", "UTC", "2026-04", "2026-04-01T09:00Z"),
        ("17 3 * * *", "UTC", None, "2026-03-10T03:17Z"),
        ("17 3 * * *", "UTC", "2026-02", "2026-02-28T03:17Z"),
        ("17 3 * * *", "UTC", "2026-03", "2026-03-10T03:17Z"),
        ("* * * * *", "UTC", None, "2026-03-10T12:30Z"),
        ("0 0 29 2 *", "UTC", None, "2024-02-29T00:00Z"),
        ("0 0 1 * *", "America/New_York", "2025-10", "2025-10-01T04:00Z"),
        ("0 0 1 * *", "Asia/Tokyo", "2025-10-01", "2025-09-30T15:00Z"),
        ("0 0 1 * *", "UTC", "2025-12", "2025-12-01T00:00Z"),
    ],
)
def test_a_period_is_found_by_what_an_operator_writes(cron: str, zone: str, wanted: str | None, found: str) -> None:
    assert period_named(spec(cron, zone), wanted, NOW) == datetime.fromisoformat(found)


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("2025-10-02", r"no period in 2025-10-02 .*next one after is 2025-11-01T09:00Z"),
        ("2025-10-01T09:01", "no period in"),
        ("October", "'October' is no period: write 2026-10"),
        ("2025-13", "is no period"),
        ("", "is no period"),
    ],
)
def test_a_period_that_there_is_not_is_explained(wanted: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        period_named(spec("0 9 1 * *"), wanted, NOW)


def test_a_span_holds_its_beginning_and_not_its_end() -> None:
    midnight = datetime(2026, 3, 1, tzinfo=UTC)
    daily = spec("0 0 * * *")
    assert newest(daily, midnight, midnight + timedelta(days=1)) == midnight
    assert newest(daily, midnight + timedelta(seconds=1), midnight + timedelta(days=1)) is None


async def test_a_period_is_run_once_and_again_only_when_it_is_meant(billing: Billing, books: Books) -> None:
    words = ("card_expiring", "--period", "2025-10")
    first = await told(billing, *words, "--why", "the mail server was away", "--who", "ada")
    assert (first["period"], first["staged"], first["status"]) == ("2025-10-01T09:00:00Z", True, "queued")
    key = "schedule/card_expiring/2025-10-01T09:00:00+00:00"
    once = [("warn_of_expiring_cards", "2025-10-01T09:00:00Z", key, "operator")]
    assert await jobs(books) == once
    second = await told(billing, *words)
    assert (second["job"], second["staged"]) == (first["job"], False)
    busy = await billing("run", *words, "--again")
    assert busy.exit_code == 1
    assert "has not ended yet (queued)" in busy.stderr
    assert await jobs(books) == once
    await books.run("UPDATE jobs SET status = 'done'")
    said = (await billing("run", *words)).stdout
    assert f"card_expiring of 2025-10-01 09:00 UTC was run before: job {first['job']} is done; --again" in said
    for number in (1, 2):
        assert (await told(billing, *words, "--again"))["staged"] is True
        assert (await jobs(books))[-1][2] == f"{key}/again/{number}"
        await books.run("UPDATE jobs SET status = 'done'")
    audit = await books.rows("SELECT who, action, target, why FROM audit_log ORDER BY id")
    assert tuple(audit[0].values()) == (
        "ada",
        "schedules.run",
        "card_expiring",
        "the mail server was away",
    )
    assert len(audit) == 3


async def test_what_died_is_retried_and_not_run_again(billing: Billing, books: Books) -> None:
    job = (await told(billing, "housekeeping", "--period", "2025-10-05"))["job"]
    await books.run("UPDATE jobs SET status = 'dead'")
    refused = await billing("run", "housekeeping", "--period", "2025-10-05", "--again")
    assert refused.exit_code == 1
    assert f"billing jobs retry {job}" in refused.stderr


async def test_a_job_that_is_forgotten_was_run_all_the_same(billing: Billing, books: Books) -> None:
    await told(billing, "housekeeping", "--period", "2025-10-05")
    await books.run("DELETE FROM queue")
    await books.run("DELETE FROM jobs")
    assert "is forgotten by now" in (await billing("run", "housekeeping", "--period", "2025-10-05")).stdout
    assert (await told(billing, "housekeeping", "--period", "2025-10-05", "--again"))["staged"] is True


async def test_the_scheduler_and_an_operator_run_a_period_once(
    billing: Billing, books: Books, engine: AsyncEngine, clock: MovedClock
) -> None:
    """An old period that is run by hand lets nothing be caught up that was never promised."""
    await told(billing, "card_expiring", "--period", "2025-10")
    deps = Deps(engine, clock, NoStripe())
    registry = Registry(schedules={"card_expiring": spec("0 9 1 * *")})
    clock.time = datetime.now(UTC) + timedelta(minutes=1)  # noqa: DTZ011, RUF100 - commands use the machine's clock
    assert await Scheduler(deps, registry).tick() == 0
    newest_due = await told(billing, "card_expiring")
    assert newest_due["staged"] is True
    assert await Scheduler(deps, registry).tick() == 0
    assert len(await jobs(books)) == 2


async def test_a_dry_run_says_what_it_would_stage(billing: Billing, books: Books) -> None:
    shown = await billing("run", "card_expiring", "--period", "2025-10", "--dry-run")
    assert shown.exit_code == 0
    assert "would be run, by warn_of_expiring_cards; nothing was changed" in shown.stdout
    tried = await told(billing, "card_expiring", "--period", "2025-10", "--dry-run")
    assert (tried["staged"], tried["would_stage"], tried["job"], tried["dry_run"]) == (False, True, None, True)
    for table in ("jobs", "schedule_runs", "audit_log"):
        assert await books.rows(f"SELECT 1 FROM {table}") == []  # noqa: S608 - names of this test


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["card_expirin"], 2, "no schedule 'card_expirin'; did you mean 'card_expiring'?"),
        (["zzz"], 2, "there are card_expiring, housekeeping"),
        (["card_expiring", "--period", "soon"], 2, "--period: 'soon' is no period"),
        (["card_expiring", "--period", "2025-10-02"], 2, "no period in 2025-10-02"),
        (["card_expiring", "--period", "0001-01"], 2, "--period"),
        (["card_expiring", "--period", "2400-01"], 1, "is to come"),
    ],
)
async def test_what_cannot_be_run_is_explained(billing: Billing, words: list[str], code: int, said: str) -> None:
    result = await billing("run", *words)
    assert result.exit_code == code, result.output
    assert said in result.stderr


async def test_status_tells_of_it(billing: Billing) -> None:
    job = (await told(billing, "card_expiring"))["job"]
    status = json.loads((await billing("status", "--json")).stdout)
    (one,) = [one for one in status["schedules"] if one["name"] == "card_expiring"]
    assert (one["last_job"], one["last_status"]) == (job, "queued")


async def test_the_api_does_the_same(door: Door, books: Books) -> None:
    body = {"period": "2025-10", "why": "the mail server was away"}
    tried = (await door.post(RUN, headers=BEARER, json=body | {"dry_run": True})).json()
    assert (tried["staged"], tried["would_stage"]) == (False, True)
    first = (await door.post(RUN, headers=BEARER, json=body)).json()
    assert (first["schedule"], first["staged"]) == ("card_expiring", True)
    assert (await door.post(RUN, headers=BEARER, json=body)).json()["job"] == first["job"]
    assert len(await jobs(books)) == 1
    assert (await door.post(RUN, headers=BEARER)).json()["staged"] is True
    audit = await books.rows("SELECT who, why FROM audit_log ORDER BY id")
    assert [tuple(row.values()) for row in audit] == [("ada", "the mail server was away"), ("ada", None)]


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/admin/schedules/housekeepin/run", "{}", "404: did you mean 'housekeeping'?"),
        (RUN, '{"period": "soon"}', "422: 'soon' is no period"),
        (RUN, '{"period": "2400-01"}', "409: is to come"),
        (RUN, '{"colour": "red"}', "422: colour"),
    ],
)
async def test_the_api_explains_what_cannot_be(door: Door, books: Books, path: str, body: str, said: str) -> None:
    code, _, words = said.partition(": ")
    answer = await door.post(path, headers=BEARER, json=json.loads(body))
    assert (str(answer.status_code), words in answer.text) == (code, True), answer.text
    assert (await door.post(path, json={})).status_code == 401
    assert await jobs(books) == []
