"""One who sends very much, or very much nonsense, holds up nobody else."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import msgspec
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from db.engine import asyncpg_dsn, create_engine
from db.inbox import Connection
from db.tokens import TokenScope
from db.usage import Added, Clash, Owner, new_usage
from intake import batcher, usage_access
from intake.batcher import BATCH_ROWS, Batcher, UnavailableError
from intake.usage import RememberUsage, Report, name_of, owner_of, rows_of
from intake.usage_access import Entry, RefusalError
from intake.usage_rows import MOST_PROBLEMS, MOST_UNKNOWN, BadRowsError, Reader
from tests.conftest import MovedClock
from tests.intake.usage_kit import NOW, event, make_key
from worker.embedded import EmbeddedValkey
from worker.rate_limit import RateLimit

READER = Reader(timedelta(days=35))


def refused(body: Any, prefix: str | None = "acme") -> BadRowsError:
    with pytest.raises(BadRowsError) as found:
        READER.read(body if isinstance(body, bytes) else json.dumps(body).encode(), prefix, NOW)
    return found.value


def test_unknown_fields_do_not_stop_the_event_loop() -> None:
    """As many near names as fit into a body: they took 15 s once, and 24 MB to tell."""
    body = json.dumps({f"resource_i{number:05x}": 1 for number in range(47_000)}).encode()
    assert 900_000 < len(body) < 1024 * 1024
    start = time.process_time()
    problems = refused(body).problems
    assert time.process_time() - start < 1
    assert len(problems) == MOST_UNKNOWN + 3
    assert problems[0].msg == "is not known; did you mean resource_id?"
    assert problems[MOST_UNKNOWN].msg == f"and {47_000 - MOST_UNKNOWN:,} more fields are not known"
    assert [problem.field for problem in problems[MOST_UNKNOWN + 1 :]] == ["idempotency_key", "event_type"]


def test_unknown_fields_in_many_rows_are_bounded_together() -> None:
    rows = [event(f"k{row}", **{f"cost_unit{row}_{n}": 1 for n in range(30)}) for row in range(1000)]
    start = time.process_time()
    bad = refused(rows)
    assert time.process_time() - start < 1
    assert bad.rows == 1000
    assert len(bad.problems) == MOST_PROBLEMS + 1
    assert bad.problems[-1].msg == f"and {1000 * (MOST_UNKNOWN + 1) - MOST_PROBLEMS:,} more problems"
    assert len(msgspec.json.encode(bad.problems)) < 1024 * 1024


def test_one_typo_is_guessed_in_each_row_and_a_huge_name_is_not_sent_back() -> None:
    bad = refused([event(f"k{row}", cost_unit=1) for row in range(1000)])
    assert {problem.msg for problem in bad.problems} == {"is not known; did you mean cost_units?"}
    assert len(bad.problems) == 1000
    (problem,) = refused(event("k1", **{"x" * 500_000: 1})).problems
    assert (problem.field, problem.msg) == ("x" * 64, "is not known")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("event_type", "deed\n"),
        ("event_type", "deed\x85"),
        ("event_type", "\x9f"),
        ("api_key_prefix", "acme\n"),
        ("user_id", "5\n"),
    ],
)
def test_a_line_feed_at_the_end_is_refused(field: str, value: str) -> None:
    owner = {} if field == "user_id" else {"api_key_prefix": "acme"}
    (problem,) = refused(event(**{**owner, field: value}), None).problems
    assert problem.field == field


def report_of(owner: str, key: str, rows: int = 1) -> Report:
    at = datetime.now(UTC)
    events = [new_usage(Owner(api_key_prefix=owner), f"{key}/{n}", "deed", received_at=at) for n in range(rows)]
    return Report(events, 100 * rows)


class Notebook:
    """Stands for the database: notes which owners' rows came together, and holds each statement until it is let go."""

    def __init__(self) -> None:
        self.batches: list[dict[str, int]] = []
        self.let_go = asyncio.Semaphore(0)
        self.frozen = False
        self.came = asyncio.Event()

    async def __call__(self, conn: Connection, items: Sequence[Report], /) -> list[Added | Clash]:
        del conn
        rows: dict[str, int] = {}
        for item in items:
            owner = item.events[0].api_key_prefix or ""
            rows[owner] = rows.get(owner, 0) + len(item.events)
        self.batches.append(rows)
        self.came.set()
        if self.frozen:
            raise TimeoutError
        await self.let_go.acquire()
        return [Added(len(item.events), 0) for item in items]

    async def until(self, batches: int) -> None:
        async with asyncio.timeout(20):
            while len(self.batches) < batches:
                self.came.clear()
                await self.came.wait()


@pytest.fixture
def notebook() -> Notebook:
    return Notebook()


def batcher_of(url: str, write: Any, *, writers: int = 4, deadline: float = 20) -> Batcher[Report, Added | Clash]:
    return Batcher(
        url,
        write,
        size=lambda report: report.size,
        name=name_of,
        rows=rows_of,
        owner=owner_of,
        writers=writers,
        deadline=deadline,
    )


@pytest.fixture
async def noting(database_url: str, notebook: Notebook) -> AsyncIterator[Batcher[Report, Added | Clash]]:
    made = batcher_of(database_url, notebook)
    await made.open()
    yield made
    for _ in range(1000):
        notebook.let_go.release()
    await made.close()


async def test_a_statement_is_bounded_by_rows_and_owners_take_turns(
    noting: Batcher[Report, Added | Clash], notebook: Notebook
) -> None:
    """One with many rows has half of the writers; whoever comes then has another at once, and none of its rows."""
    flood = [asyncio.create_task(noting.remember(report_of("flood", f"f{n}", 1000))) for n in range(20)]
    await notebook.until(2)
    first = asyncio.create_task(noting.remember(report_of("small", "first")))
    await notebook.until(3)
    assert notebook.batches[2] == {"small": 1}
    second = [asyncio.create_task(noting.remember(report_of(f"small{n}", "second"))) for n in range(3)]
    await notebook.until(4)
    assert all("flood" not in batch for batch in notebook.batches[2:])
    for _ in range(100):
        notebook.let_go.release()
    answers = await asyncio.gather(*flood, first, *second)
    assert sum(answer.accepted for answer in answers if isinstance(answer, Added)) == 20_004
    assert max(sum(batch.values()) for batch in notebook.batches) <= BATCH_ROWS
    assert sum(batch.get("flood", 0) for batch in notebook.batches) == 20_000


async def test_after_a_statement_that_took_too_long_the_next_are_smaller(
    noting: Batcher[Report, Added | Clash], notebook: Notebook
) -> None:
    notebook.frozen = True
    with pytest.raises(UnavailableError):
        await noting.remember(report_of("flood", "late", 100))
    notebook.frozen = False
    for _ in range(100):
        notebook.let_go.release()
    before = len(notebook.batches)
    await asyncio.gather(*[noting.remember(report_of("flood", f"f{n}", 500)) for n in range(20)])
    sizes = [batch["flood"] for batch in notebook.batches[before:]]
    assert sizes[0] == BATCH_ROWS // 2
    assert max(sizes) == BATCH_ROWS  # it dares more again


async def test_one_owner_leaves_room_for_others_to_wait(
    noting: Batcher[Report, Added | Clash], notebook: Notebook
) -> None:
    many = batcher.MAX_WAITING
    flood = [asyncio.create_task(noting.remember(report_of("flood", f"f{n}"))) for n in range(many)]
    await notebook.until(4)
    others = [asyncio.create_task(noting.remember(report_of(f"small{n}", "s"))) for n in range(50)]
    for _ in range(1000):
        notebook.let_go.release()
    answers = await asyncio.gather(*flood, return_exceptions=True)
    assert {str(answer) for answer in answers if isinstance(answer, BaseException)} == {"full"}
    assert many // 2 <= sum(isinstance(answer, Added) for answer in answers) < many
    assert await asyncio.gather(*others) == [Added(1, 0)] * 50


@pytest.mark.slow
async def test_a_lasting_flood_of_one_partner_fails_no_other(database_url: str) -> None:
    """150 requests of 1,000 rows at once: all are stored in the end, and each of the neighbours at its first try."""
    doors = batcher_of(database_url, RememberUsage(), deadline=batcher.DEADLINE)
    await doors.open()
    flood = [report_of("flood", f"f{n}", 1000) for n in range(150)]
    left = len(flood)

    async def send_again_and_again(report: Report) -> None:
        nonlocal left
        until = time.monotonic() + 120
        while True:
            try:
                await doors.remember(report)
            except UnavailableError:
                assert time.monotonic() < until
                await asyncio.sleep(0.2)  # as its sender would, only sooner
            else:
                left -= 1
                return

    flooding = [asyncio.create_task(send_again_and_again(report)) for report in flood]
    neighbours: list[asyncio.Task[Added | Clash]] = []
    while left:
        number = len(neighbours)
        neighbours.append(asyncio.create_task(doors.remember(report_of(f"small{number % 7}", f"s{number}"))))
        await asyncio.sleep(0.05)  # twenty a second
    await asyncio.gather(*flooding)
    assert set(await asyncio.gather(*neighbours)) == {Added(1, 0)}
    await doors.close()
    rows = await asyncpg.connect(asyncpg_dsn(database_url))
    assert await rows.fetchval("SELECT count(*) FROM usage_events") == 150_000 + len(neighbours)
    await rows.close()


async def test_keys_that_nobody_made_displace_none_that_are_in_use(
    engine: AsyncEngine, database_url: str, clock: MovedClock, valkey: EmbeddedValkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage_access, "MOST_KEYS", 5)
    _, key = await make_key(engine)
    own, limits = create_engine(database_url, pool_size=1), RateLimit(valkey.url)
    entry = Entry(own, clock, limits, admin_sha256=None)

    async def show(shown: str) -> str | None:
        headers = [(b"authorization", f"Bearer {shown}".encode())]
        return (await entry.admit(headers, TokenScope.WRITE, clock.now())).prefix

    assert await show(key) == "acme"
    for number in range(12):
        with pytest.raises(RefusalError):
            await show(f"acme_{number:043}")
    await entry.close()
    await own.dispose()  # and a database that hangs up is asked by nobody
    async with engine.begin() as conn:
        await conn.exec_driver_sql("ALTER TABLE api_tokens RENAME TO away")
    assert await show(key) == "acme"
    with pytest.raises(RefusalError) as refusal:
        await show(f"acme_{0:043}")  # the oldest of the strangers is forgotten
    assert refusal.value.status == 503
    with pytest.raises(RefusalError) as refusal:
        await show(f"acme_{11:043}")
    assert refusal.value.status == 401
    await entry.close()
    await limits.close()
    await own.dispose()
