"""A file of usage is taken in as a whole, however often it is run, killed, or wrong in places."""

import asyncio
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from typer.testing import Result

from intake.usage_csv import BadFileError, Rows, look
from tests.operators.books import Billing
from tests.operators.conftest import billing

__all__ = ["billing"]
HEADER = "idempotency_key,event_type,occurred_at,cost_units"
NOW = datetime.now(UTC).replace(microsecond=0)


def lines(count: int, *, begin: int = 0) -> Iterator[str]:
    for number in range(begin, begin + count):
        yield f"k-{number},api.call,{(NOW - timedelta(minutes=number % 5000)).isoformat()},1"


def file_of(folder: Path, rows: Sequence[str] | Iterator[str], header: str = HEADER, name: str = "usage.csv") -> Path:
    made = folder / name
    made.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return made


async def count(engine: AsyncEngine, table: str = "usage_events") -> int:
    async with engine.connect() as conn:
        found: int = (await conn.execute(text(f"SELECT count(*) FROM {table}"))).scalar_one()  # noqa: S608 - a constant
    return found


async def run(
    billing: Billing, file: Path, *more: str, partner: str | None = "nw_live"
) -> tuple[Result, dict[str, Any]]:
    whose = ("--partner", partner) if partner else ()
    ran = await billing("usage", "import", str(file), *whose, "--json", *more)
    return ran, json.loads(ran.stdout) if ran.stdout.startswith("{") else {}


async def test_a_file_is_imported_once_however_often_it_is_run(
    billing: Billing, engine: AsyncEngine, tmp_path: Path
) -> None:
    file = file_of(tmp_path, lines(2500))
    _, told = await run(billing, file, "--dry-run")
    assert (told["lines"], told["accepted"], told["duplicates"], told["stored"]) == (2500, 2500, 0, False)
    assert await count(engine) == 0
    ran, told = await run(billing, file)
    assert ran.exit_code == 0, ran.output
    assert (told["accepted"], told["duplicates"]) == (2500, 0)
    _, told = await run(billing, file, "--dry-run")
    assert (told["accepted"], told["duplicates"]) == (0, 2500)
    _, told = await run(billing, file)
    assert (told["accepted"], told["duplicates"]) == (0, 2500)
    assert await count(engine) == 2500
    async with engine.connect() as conn:
        (sources, audits) = (
            (await conn.execute(text("SELECT DISTINCT source FROM usage_events"))).scalars().all(),
            (await conn.execute(text("SELECT details FROM audit_log WHERE action = 'usage.import'"))).scalars().all(),
        )
    assert sources == ["csv:usage.csv"]
    assert [(one["lines"], one["partner"], one["allow_late"]) for one in audits] == [(2500, "nw_live", False)] * 2


async def test_while_a_line_is_wrong_nothing_is_stored(billing: Billing, engine: AsyncEngine, tmp_path: Path) -> None:
    old = (NOW - timedelta(days=90)).isoformat()
    bad = [
        f"k-a,api.call,{old},1",
        f"k-b,,{NOW.isoformat()},1",
        "k-c,api.call,yesterday,1",
        f'k-d,api.call,{NOW.isoformat()},"1,5"',
        f"k-e,api.call,{NOW.isoformat()}",
        f"k-0,api.other,{NOW.isoformat()},1",
    ]
    file = file_of(tmp_path, [*lines(2), *bad])
    ran, told = await run(billing, file)
    assert ran.exit_code == 1
    assert [(one["line"], one["field"]) for one in told["faults"]] == [
        (4, "occurred_at"),
        (5, "event_type"),
        (6, "occurred_at"),
        (7, "cost_units"),
        (8, None),
    ]
    assert told["faults"][4]["msg"] == "has 3 cells, and the header 4"
    assert (told["stored"], await count(engine)) == (False, 0)


async def test_the_late_limit_is_lifted_on_purpose_only(billing: Billing, engine: AsyncEngine, tmp_path: Path) -> None:
    file = file_of(tmp_path, [f"k-a,api.call,{(NOW - timedelta(days=900)).isoformat()},1"])
    ran = await billing("usage", "import", str(file), "--partner", "nw_live", "--allow-late")
    assert ran.exit_code == 2
    assert "--why is missing" in ran.output
    ran, told = await run(billing, file, "--allow-late", "--why", "their export was broken")
    assert (ran.exit_code, told["accepted"]) == (0, 1)
    async with engine.connect() as conn:
        (audit,) = (await conn.execute(text("SELECT why, details FROM audit_log"))).all()
    assert (audit.why, audit.details["allow_late"]) == ("their export was broken", True)


async def test_a_key_with_other_content_is_named_and_others_are_stored(
    billing: Billing, engine: AsyncEngine, tmp_path: Path
) -> None:
    await run(billing, file_of(tmp_path, lines(1, begin=1500)))
    rows = list(lines(2500))
    rows[1500] = rows[1500].replace("api.call", "api.other")
    file = file_of(tmp_path, rows, name="second.csv")
    for more in (("--dry-run",), ()):
        ran, told = await run(billing, file, *more)
        assert ran.exit_code == 1
        assert [(one["line"], one["field"]) for one in told["faults"]] == [(1502, "idempotency_key")]
        assert told["accepted"] == 1500
    assert await count(engine) == 1501


async def test_a_file_without_keys_counts_once(billing: Billing, engine: AsyncEngine, tmp_path: Path) -> None:
    rows = [f"api.call;{NOW.isoformat()};2", "", f'"api.call";{NOW.isoformat()};2']
    file = tmp_path / "german.csv"
    file.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(["Event_Type;occurred_at;cost_units", *rows]).encode())
    for expected in (2, 0):
        ran, told = await run(billing, file)
        assert (ran.exit_code, told["accepted"]) == (0, expected)
    assert "SHA-256" in told["keys"]
    said = await billing("usage", "import", str(file), "--partner", "nw_live")
    assert "keys are made of the file's SHA-256" in said.stdout
    async with engine.connect() as conn:
        keys = (await conn.execute(text("SELECT idempotency_key FROM usage_events ORDER BY 1"))).scalars().all()
    assert [key.rpartition("/")[2] for key in keys] == ["2", "4"]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "line 1 is empty"),
        (b"event_typ,user_id\n", "the column 'event_typ' is not known; did you mean event_type?"),
        (b"event_type,event_type,user_id\n", "stands there twice"),
        (b"event_type,cost_units\n", "whose usage is it?"),
        (b"user_id,cost_units\n", "there is no column event_type"),
        (b"event_type,user_id\napi\xff,1\n", "line 2 is not UTF-8"),
        (b'event_type,user_id\n"api,1\n', "line 2"),
        (b"event_type,user_id\nb," + b"1" * (1024 * 1024 + 2), "line 2 is longer"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(tmp_path: Path, content: bytes, why: str) -> None:
    file = tmp_path / "bad.csv"
    file.write_bytes(content)
    with pytest.raises(BadFileError) as told:
        list(Rows(look(file, owner=None), owner=None, late=timedelta(35), now=NOW).chunks(lambda _: None))
    assert why in str(told.value)


async def test_owners_come_by_line_or_by_option(billing: Billing, engine: AsyncEngine, tmp_path: Path) -> None:
    rows = ["k1,api.call,,7,true,", "k2,api.call,nw_test,,no,", 'k3,api.call,,,,"{""a"": [1, ""ü""]}"']
    header = "idempotency_key,event_type,api_key_prefix,user_id,billable,metadata"
    ran, told = await run(billing, file_of(tmp_path, rows, header))
    assert (ran.exit_code, told["accepted"]) == (0, 3)
    async with engine.connect() as conn:
        found = (
            await conn.execute(
                text("SELECT api_key_prefix, user_id, billable, metadata FROM usage_events ORDER BY idempotency_key")
            )
        ).all()
    assert [tuple(row) for row in found] == [
        (None, 7, True, None),
        ("nw_test", None, False, None),
        ("nw_live", None, True, {"a": [1, "ü"]}),
    ]


def start(file: Path, url: str, home: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "DATABASE_URL": url, "REDIS_URL": "redis://127.0.0.1:1/0", "BILLING_HOME": str(home)}
    words = ["usage", "import", str(file), "--partner", "nw_live", "--json"]
    return subprocess.Popen(
        [sys.executable, "-m", "intake.cli", *words],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=Path(__file__).parents[2],
    )


@pytest.mark.slow
async def test_what_was_killed_in_the_middle_is_run_again(
    billing: Billing, engine: AsyncEngine, database_url: str, tmp_path: Path
) -> None:
    file = file_of(tmp_path, lines(20_000))
    process = start(file, database_url, tmp_path)
    deadline = asyncio.get_running_loop().time() + 60
    while not 2000 <= await count(engine) < 18_000:
        assert process.poll() is None, "it was too quick to be killed"
        assert asyncio.get_running_loop().time() < deadline
    process.send_signal(signal.SIGKILL)
    process.communicate()
    there = await count(engine)
    assert there % 1000 == 0
    ran, told = await run(billing, file)
    assert ran.exit_code == 0
    assert told["accepted"] + told["duplicates"] == 20_000
    assert told["duplicates"] >= there
    assert await count(engine) == 20_000
    verified = await billing("usage", "verify")
    assert verified.exit_code == 0, verified.output


@pytest.mark.slow
async def test_a_hundred_thousand_lines_hold_no_memory(tmp_path: Path) -> None:
    """Measured where memory would grow: while lines are read and judged, chunk by chunk."""
    file = look(file_of(tmp_path, lines(100_000)), owner="nw_live")
    rows = Rows(file, owner="nw_live", late=timedelta(days=35), now=datetime.now(UTC))
    chunks = rows.chunks(lambda _: None)
    read = sum(len(next(chunks).events) for _ in range(10))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    read += sum(len(chunk.events) for chunk in chunks)
    assert read == 100_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # KiB


async def test_lines_that_are_too_old_are_told_once(billing: Billing, engine: AsyncEngine, tmp_path: Path) -> None:
    old = (NOW - timedelta(days=90)).isoformat()
    file = file_of(
        tmp_path, [*(f"o-{number},api.call,{old},1" for number in range(1_500)), f"k-b,,{NOW.isoformat()},1"]
    )
    ran, told = await run(billing, file)
    assert (ran.exit_code, told["faulty"], told["late"]) == (1, 1_501, 1_500)
    assert [(one["line"], one["field"]) for one in told["faults"]] == [(2, "occurred_at"), (1502, "event_type")]
    said = (await billing("usage", "import", str(file), "--partner", "nw_live")).output
    assert said.count("cannot be taken any more") == 1
    assert "1,500 lines are too old: --allow-late --why '…' takes usage of any age" in said
    assert await count(engine) == 0


async def test_one_line_is_one_line(billing: Billing, tmp_path: Path) -> None:
    file = file_of(tmp_path, lines(1))
    said = (await billing("usage", "import", str(file), "--partner", "nw_live")).stdout
    assert "1 line: 1 is new, 0 were known" in said
    wrong = file_of(tmp_path, [f"k-b,,{NOW.isoformat()},1"])
    ran = await billing("usage", "import", str(wrong), "--partner", "nw_live")
    assert "1 line, 1 mistake: nothing was stored" in ran.output
    assert "1 line was not taken" in ran.output
