"""What a check found is told: by the command, the admin API, a gauge, `billing status`, and the schedule's job."""

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine
from structlog.testing import capture_logs

from db.verify.registry import INVARIANTS
from db.verify.runs import Result
from jobs.verify import check_invariants
from jobs.verify.check_invariants import verify_books
from tests.conftest import MovedClock
from tests.operators.books import Billing
from tests.operators.conftest import admin, billing
from tests.operators.door import TOKEN, Door
from tests.verify.kit import WELL, write
from tests.worker.kit import World
from worker.registry import Registry
from worker.telemetry import QueueCollector

__all__ = ["admin", "billing"]

HOLDS = "credits-add-up"
FREE = "SELECT setval(pg_get_serial_sequence('emails', 'id'), 1000)"
"""The rows of these tests chose ids of their own."""

BREAKS = "UPDATE credits SET remaining_cents = 2001"
PAGE = Path(__file__).parents[2] / "docs" / "verify.md"


async def test_the_command_says_that_all_is_well(engine: AsyncEngine, billing: Billing) -> None:
    await write(engine, *WELL)
    told = await billing("verify")
    assert told.exit_code == 0, told.stdout
    assert "all invariants hold" in told.stdout
    assert told.stdout.count("✓") == len(INVARIANTS)
    assert "all rows" in told.stdout
    assert "all rows" not in (await billing("verify")).stdout
    assert "all rows" in (await billing("verify", "--all")).stdout


async def test_the_command_shows_what_breaks_one_and_what_to_do(engine: AsyncEngine, billing: Billing) -> None:
    await write(engine, *WELL, BREAKS)
    told = await billing("verify", "--all")
    assert told.exit_code == 1
    assert "1 of 20 invariants do not hold" in told.stdout
    assert "What to do: somebody wrote past the triggers" in told.stdout
    assert "2001" in told.stdout
    assert f"1 invariant of the books broken ({HOLDS}): billing verify" in (await billing("status")).stdout
    found = json.loads((await billing("verify", "--only", HOLDS, "--json")).stdout)
    assert found["ok"] is False
    (one,) = found["invariants"]
    assert (one["name"], one["broken"], one["rows"][0]["remaining_cents"]) == (HOLDS, 1, 2001)
    await write(engine, "UPDATE credits SET remaining_cents = 2000")
    assert (await billing("verify", "--only", HOLDS)).exit_code == 0
    assert "invariant" not in (await billing("status")).stdout


async def test_more_rows_than_are_shown_are_counted(engine: AsyncEngine, billing: Billing) -> None:
    await write(
        engine,
        "INSERT INTO jobs (name, queue, args, created_at)"
        " SELECT repeat('x', 99), 'mail', '{}', :before FROM generate_series(1, 50)",
    )
    told = await billing("verify", "--all")
    assert "and 30 more" in told.stdout
    assert f"{'x' * 59}…" in told.stdout


async def test_the_command_called_wrongly(billing: Billing) -> None:
    told = await billing("verify", "--only", "credits-ad-up")
    assert told.exit_code == 2
    assert "did you mean 'credits-add-up'?" in " ".join(told.stderr.split())
    assert (await billing("verify", "--all", "--since", "2h")).exit_code == 2
    assert (await billing("verify", "--since", "yesterday")).exit_code == 2


async def test_what_cannot_be_checked_is_no_yes(engine: AsyncEngine, billing: Billing) -> None:
    await write(engine, "ALTER TABLE credits RENAME TO elsewhere")
    told = await billing("verify", "--only", HOLDS)
    assert told.exit_code == 1
    assert 'It could not be checked: relation "credits" does not exist' in told.stdout


async def test_a_look_at_some_time_is_not_written_down(engine: AsyncEngine, billing: Billing) -> None:
    await write(engine, *WELL)
    told = json.loads((await billing("verify", "--since", "2026-03-01", "--json")).stdout)
    assert told["ok"] is True
    assert {one["since"] for one in told["invariants"] if one["name"] != "usage-sums-are-events"} == {
        "2026-03-01T00:00:00Z"
    }
    async with engine.connect() as conn:
        assert (await conn.exec_driver_sql("SELECT count(*) FROM verification_runs")).scalar_one() == 0


async def test_the_api_tells_how_each_stands(engine: AsyncEngine, billing: Billing, admin: Door) -> None:
    key = {"Authorization": f"Bearer {TOKEN}"}
    assert (await admin.get("/admin/verify")).status_code == 401
    nobody = (await admin.get("/admin/verify", headers=key)).json()
    assert nobody["ok"] is None
    refused = await admin.get("/admin/verify?ony=credits-add-up", headers=key)
    assert (refused.status_code, refused.json()["detail"][0]["loc"]) == (422, ["query", "ony"])
    assert {one["holds"] for one in nobody["invariants"]} == {None}
    await write(engine, *WELL, BREAKS)
    await billing("verify")
    told = (await admin.get("/admin/verify", headers=key)).json()
    assert told["ok"] is False
    (broken,) = [one for one in told["invariants"] if not one["holds"]]
    assert (broken["name"], broken["rows"][0]["remaining_cents"], broken["since"]) == (HOLDS, 2001, None)
    assert broken["checked_at"] is not None
    assert broken["what_to_do"].startswith("somebody wrote past")


async def test_the_gauge_counts_the_rows(engine: AsyncEngine, billing: Billing) -> None:
    await write(engine, *WELL, BREAKS)
    await billing("verify")
    collector = QueueCollector(engine)
    await collector.refresh(datetime.now(UTC))
    found = {
        sample.labels["invariant"]: sample.value
        for family in collector.collect()
        for sample in family.samples
        if sample.name == "billing_verify_violations"
    }
    assert found == dict.fromkeys(INVARIANTS, 0) | {HOLDS: 1}


@pytest.fixture
def world(engine: AsyncEngine, database_url: str, clock: MovedClock) -> World:
    registry = Registry()
    registry.jobs[verify_books.name] = verify_books  # type: ignore[assignment] - ParamSpec is invariant
    return World(engine, database_url, clock=clock, registry=registry)


async def run(world: World) -> list[str]:
    """The schedule's job, by the real runner. Returns the invariants that broke newly."""
    async with world.deps.tx() as tx:
        await tx.stage(verify_books.call(period=world.clock.now()))
    with capture_logs() as logs:
        async with world.runner(queues=["batch"]) as runner:
            (row,) = await runner.claim("batch", 1)
            await runner.run_job(row)
    assert await world.rows("SELECT status FROM jobs WHERE name = 'verify_books' AND status <> 'done'") == []
    return [name for log in logs for name in log.get("invariants", ())]


async def letters(world: World) -> list[list[str]]:
    """Of each letter that operators got: the reasons."""
    rows = await world.rows("SELECT context -> 'reasons' FROM emails WHERE template = 'books_alarm' ORDER BY id")
    return [row[0] for row in rows]


async def test_the_schedule_looks_at_all_once_a_night_and_tells_what_is_new(world: World, clock: MovedClock) -> None:
    await write(world.engine, *WELL, FREE)
    assert await run(world) == []
    assert await letters(world) == []
    await write(world.engine, BREAKS)
    seen: list[tuple[bool, list[str]]] = []
    for _ in range(3):
        clock.move(timedelta(hours=1))
        news = await run(world)
        ((since,),) = await world.rows("SELECT checked->'jobs-finished-or-queued'->>'since' FROM verification_runs"
                                       " ORDER BY id DESC LIMIT 1")  # fmt: skip
        seen.append((since is None, news))
    assert seen == [(False, [HOLDS]), (False, []), (False, [])]
    ((reason,),) = await letters(world)
    assert reason.startswith(f"{HOLDS}, 1 row. ")
    assert "What to do: somebody wrote past the triggers" in reason
    clock.time = datetime(2026, 3, 2, 3, 20, tzinfo=UTC)
    assert await run(world) == []
    rows = await world.rows("SELECT asked_by, since, status FROM verification_runs ORDER BY id DESC LIMIT 1")
    assert rows == [("schedule", None, "done")]
    assert len(await letters(world)) == 1, "it is told once"
    clock.move(timedelta(days=91))
    await run(world)
    assert await world.rows("SELECT count(*) FROM verification_runs") == [(1,)]


def test_the_page_has_each_invariant_as_the_code_has_it() -> None:
    told = dict(re.findall(r"^\| `([a-z-]+)` \| ([^|]+) \|", PAGE.read_text(), re.MULTILINE))
    assert told == {one.name: one.holds for one in INVARIANTS.values()}


def test_names_are_kept() -> None:
    """They stand in metrics, in alerts, and in rows of `verification_runs`."""
    assert list(INVARIANTS) == [
        "events-finished-or-queued",
        "jobs-finished-or-queued",
        "queue-leads-somewhere",
        "payments-have-charges",
        "charges-have-payments",
        "payments-linked",
        "net-is-amount-less-fee",
        "refunds-within-payments",
        "invoices-paid-by-payments",
        "own-invoices-settled",
        "own-invoices-add-up",
        "credit-notes-within-invoices",
        "numbers-without-gaps",
        "credits-add-up",
        "credits-within-invoices",
        "documents-made",
        "usage-sums-are-events",
        "one-open-case-per-debt",
        "open-cases-are-owed",
        "no-letter-after-payment",
    ]


async def test_a_check_that_now_and_then_does_not_end_tells_nothing_twice(
    world: World, clock: MovedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two checks that find the same row, one gave up: the row is no news."""
    await write(world.engine, *WELL, FREE)
    await run(world)
    await write(world.engine, BREAKS)
    whole, sick = check_invariants.verify, False

    async def verify(*args: Any, **more: Any) -> list[Result]:
        found = await whole(*args, **more)
        return [
            replace(one, broken=0, rows=(), error="statement timeout") if sick and one.name == HOLDS else one
            for one in found
        ]

    monkeypatch.setattr(check_invariants, "verify", verify)
    for sick in (False, True, False):  # noqa: B007 - `verify` reads it
        clock.move(timedelta(hours=1))
        await run(world)
    found = await letters(world)
    assert [reasons[0].partition(",")[0].partition(" could")[0] for reasons in found] == [HOLDS, HOLDS]
    assert "could not be checked: statement timeout" in found[1][0]
