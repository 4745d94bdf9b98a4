"""`billing jobs` and `billing queues`: our own work is found, set going again, cancelled and paused."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.operators.books import Billing, Books, as_json, leased


async def status_of(books: Books, job_id: int) -> str:
    (row,) = await books.rows("SELECT status FROM jobs WHERE id = :id", id=job_id)
    return row["status"]


async def test_listing_and_filters(books: Books, billing: Billing) -> None:
    first = await books.job("done", staged_by="evt_1")
    second = await books.job("dead", name="render_invoice", queue="pdf", last_error="boom")
    third = await books.job("queued", created_at=datetime.now(UTC) - timedelta(days=3))

    async def found(*words: str) -> list[int]:
        return [row["id"] for row in await as_json(billing, "jobs", "list", *words)]

    assert await found() == [third, second, first]
    assert await found("--limit", "1") == [third]
    assert await found("--status", "dead") == [second]
    assert await found("--status", "queued") == [third]
    assert await found("--name", "render_*") == [second]
    assert await found("--queue", "mail") == [third, first]
    assert await found("--staged-by", "evt_1") == [first]
    assert await found("--since", "1d") == [second, first]
    assert "boom" in (await billing("jobs", "list")).stdout
    assert (await billing("jobs", "list", "--status", "finished")).exit_code == 2


async def test_one_jobs_story(books: Books, billing: Billing) -> None:
    job = await books.job("dead", args={"case_id": 7, "password": "hunter2"}, last_error="no route")
    await books.attempt(job_id=job, name="send_letter", outcome="timeout", error="no route", traceback="Trace")
    await books.job("queued", name="follow_up", staged_by=f"job:{job}")
    told = await as_json(billing, "jobs", "show", str(job))
    assert [one["name"] for one in told["staged"]] == ["follow_up"]
    assert told["args"] == {"case_id": 7, "password": "[secret]"}
    assert [(one["outcome"], one["error"]) for one in told["history"]] == [("timeout", "no route")]
    assert told["dead_reason"] == "exhausted"
    shown = (await billing("jobs", "show", str(job))).stdout
    assert "no route" in shown
    assert "follow_up" in shown
    assert "hunter2" not in shown


@pytest.mark.parametrize("command", ["show", "retry", "cancel"])
async def test_unknown_and_impossible_ids(books: Books, billing: Billing, command: str) -> None:
    await books.job("dead")
    unknown = await billing("jobs", command, "999")
    assert unknown.exit_code == 1
    assert "no such job: 999; nothing was changed" in unknown.stderr
    wrong = await billing("jobs", command, "evt_1")
    assert wrong.exit_code == 2
    assert "'evt_1' is no job's id" in wrong.stderr


@pytest.mark.parametrize(
    ("status", "again", "code"),
    [("queued", False, 0), ("retrying", False, 0), ("dead", False, 0), ("cancelled", False, 0), ("done", False, 1),
     ("done", True, 0)],
)  # fmt: skip
async def test_retry_by_state(books: Books, billing: Billing, status: str, code: int, *, again: bool) -> None:
    job = await books.job(status)
    result = await billing("jobs", "retry", str(job), *(["--again"] if again else []))
    assert result.exit_code == code
    rows = await books.rows("SELECT queue, name, job_id, attempts, lost, dead_reason, priority FROM queue")
    if code:
        assert "is already done: --again does it once more" in result.stderr
        assert rows == []
    else:
        assert rows == [
            {"queue": "mail", "name": "send_letter", "job_id": job, "attempts": 0, "lost": 0, "dead_reason": None,
             "priority": 0}
        ]  # fmt: skip
        assert await status_of(books, job) == "queued"


@pytest.mark.parametrize(
    ("status", "code"), [("queued", 0), ("retrying", 0), ("dead", 0), ("done", 1), ("cancelled", 1)]
)
async def test_cancel_by_state(books: Books, billing: Billing, status: str, code: int) -> None:
    job = await books.job(status)
    result = await billing("jobs", "cancel", str(job), "--why", "by hand")
    assert result.exit_code == code
    assert await books.rows("SELECT 1 FROM queue") == []
    if code:
        assert f"is already {status}" in result.stderr
    else:
        assert await status_of(books, job) == "cancelled"
        (audit,) = await books.rows("SELECT action, target, why FROM audit_log")
        assert audit == {"action": "jobs.cancel", "target": str(job), "why": "by hand"}


@pytest.mark.parametrize("command", ["retry", "cancel"])
async def test_a_running_job_is_left_alone(books: Books, billing: Billing, command: str) -> None:
    job = await books.job("queued", **leased())
    result = await billing("jobs", command, str(job))
    assert result.exit_code == 1
    assert f"job {job} is running now" in result.stderr
    assert await status_of(books, job) == "queued"


async def test_bulk_retry_and_cancel(books: Books, billing: Billing) -> None:
    for _ in range(3):
        await books.job("dead")
    other = await books.job("dead", queue="pdf")
    dry = await as_json(billing, "jobs", "retry", "--queue", "mail", "--dry-run")
    assert dry == {"matched": 3, "retried": 0, "ids": [], "dry_run": True}
    assert (await as_json(billing, "jobs", "retry", "--queue", "mail"))["retried"] == 3
    assert {row["priority"] for row in await books.rows("SELECT priority FROM queue WHERE queue = 'mail'")} == {1}
    assert (await as_json(billing, "jobs", "cancel", "--status", "queued", "--queue", "mail"))["cancelled"] == 3
    assert await status_of(books, other) == "dead"
    assert (await billing("jobs", "retry")).exit_code == 2
    assert (await billing("jobs", "cancel", "--status", "done")).exit_code == 2
    assert (await billing("jobs", "retry", "--status", "done")).exit_code == 2


async def test_a_queue_is_paused_and_resumed(books: Books, billing: Billing) -> None:
    assert (await billing("queues", "pause", "mail", "--why", "provider down", "--who", "ada")).exit_code == 0
    told = await as_json(billing, "queues", "list")
    assert told["queues"]["mail"]["paused"] is True
    assert [(one["target"], one["who"], one["why"]) for one in told["pauses"]] == [("mail", "ada", "provider down")]
    assert "was paused already" in (await billing("queues", "pause", "mail")).stdout
    assert "mail" in (await billing("queues", "list")).stdout
    assert (await billing("queues", "resume", "mail", "--dry-run")).stdout.strip() == "mail would be resumed"
    assert (await billing("queues", "resume", "mail")).stdout.strip() == "mail is resumed"
    assert "was not paused" in (await billing("queues", "resume", "mail")).stdout
    assert len(await books.rows("SELECT 1 FROM audit_log")) == 2
    wrong = await billing("queues", "pause", "mial")
    assert wrong.exit_code == 2
    assert "did you mean 'mail'?" in wrong.stderr


async def test_a_job_is_paused_by_its_name(books: Books, billing: Billing) -> None:
    assert (await billing("jobs", "pause", "--name", "send_letter")).exit_code == 0
    assert await books.rows("SELECT scope, target FROM pauses") == [{"scope": "name", "target": "send_letter"}]
    assert (await billing("jobs", "resume", "--name", "send_letter")).exit_code == 0
    assert await books.rows("SELECT 1 FROM pauses") == []


COMMANDS = {
    "events": ("list", "show", "retry", "discard", "pause", "resume", "backfill"),
    "jobs": ("list", "show", "retry", "cancel", "pause", "resume"),
    "queues": ("list", "pause", "resume"),
}


async def test_every_command_shows_an_example(billing: Billing) -> None:
    for words in (("status",), *((group, command) for group, found in COMMANDS.items() for command in found)):
        result = await billing(*words, "--help")
        assert result.exit_code == 0
        assert f"Example: billing {' '.join(words)}" in " ".join(result.stdout.split())


async def test_a_person_at_a_terminal_is_asked(books: Books, billing: Billing, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(2):
        await books.job("dead")
    monkeypatch.setattr("intake.commands.render.is_person", lambda: True)
    refused = await billing("jobs", "retry", "--status", "dead", answer="n\n")
    assert refused.exit_code == 1
    assert "nothing was changed" in refused.stderr
    assert await books.rows("SELECT 1 FROM queue WHERE dead_reason IS NULL") == []
    agreed = await billing("jobs", "retry", "--status", "dead", answer="y\n")
    assert agreed.exit_code == 0
    assert (await billing("jobs", "cancel", "--status", "queued", "--yes")).exit_code == 0
