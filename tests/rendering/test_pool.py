"""Documents are rendered in processes that bear each other no consequences, and that nobody has to clean up after."""

import asyncio
import io
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import psutil
import pypdf
import pytest

from tests.rendering.builders import asking
from worker.adapters.pdf import PdfPool
from worker.errors import Refused, TryLater

BUILDER = "tests.rendering.builders:build"
ROOT = Path(__file__).parents[2]
GOOD = asking(rows=3)

Pools = Callable[..., PdfPool]


@pytest.fixture
async def pools() -> AsyncIterator[Pools]:
    made: list[PdfPool] = []

    def make(builder: str = BUILDER, **settings: Any) -> PdfPool:
        made.append(PdfPool(builder, **{"processes": 1, "seconds": 60} | settings))
        return made[-1]

    yield make
    for pool in made:
        await pool.close()


def title(pdf: bytes) -> str:
    found = pypdf.PdfReader(io.BytesIO(pdf)).metadata
    assert found is not None
    return str(found.title)


async def ended(pids: list[int], within: float = 20) -> None:
    deadline = time.monotonic() + within
    while any(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in pids):
        assert time.monotonic() < deadline, "a process that renders outlived what it was for"
        await asyncio.sleep(0.05)


async def noticed(pool: PdfPool, within: float = 20) -> None:
    """Wait until the pool knows that its processes are gone; the event loop hears of it a moment later than we do."""
    deadline = time.monotonic() + within
    while pool.pids:
        assert time.monotonic() < deadline, "the pool never heard that its process ended"
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("document", [GOOD, asking(rows=90), asking(archived="Ünïcode ä 中")], ids=["1p", "many", "a3"])
async def test_the_same_document_gives_the_same_bytes_in_every_process_and_after_recycling(
    pools: Pools, document: bytes
) -> None:
    pool = pools(recycle=2)
    first = await pool.render(document)
    pids = set(pool.pids)
    for number in range(40):
        assert await pool.render(asking(rows=number % 4, text=f"other {number}"))
        assert await pool.render(document) == first
        pids.update(pool.pids)
        if len(pids) > 2 and number > 3:
            break
        await asyncio.sleep(0.2)
    assert len(pids) > 1
    assert first.startswith(b"%PDF-1.7")


async def test_a_document_that_fails_is_refused_with_why(pools: Pools) -> None:
    pool = pools()
    with pytest.raises(Refused, match=r"it cannot be built: ValueError: no such currency \(builders.py:\d+\)"):
        await pool.render(asking(do="fail"))
    with pytest.raises(Refused, match=r"^the sums do not add up$"):
        await pool.render(asking(do="refuse"))
    with pytest.raises(Refused, match="not well-formed XML: mismatched tag: line 1, column"):
        await pool.render(asking(body="<p>Tom & Jerry".replace("&", "and")))
    with pytest.raises(Refused, match="doctype"):
        await pool.render(asking(body="<!DOCTYPE html>"))
    with pytest.raises(Refused, match="nested too deeply"):
        await pool.render(asking(body="<div>" * 3000 + "</div>" * 3000))
    assert await pool.render(asking(do="print", rows=1))
    assert len(pool.pids) == 1


async def test_one_that_takes_too_long_is_ended_and_the_others_go_on(pools: Pools) -> None:
    pool = pools(processes=2, seconds=4)
    await asyncio.gather(pool.render(GOOD), pool.render(GOOD))
    stuck = asyncio.create_task(pool.render(asking(do="loop")))
    asleep = asyncio.create_task(pool.render(asking(do="sleep", seconds=60, rows=1)))
    others = asyncio.gather(*[pool.render(GOOD) for _ in range(3)])
    for task in (stuck, asleep):
        with pytest.raises(Refused, match=r"took longer than 4 s \(BILLING_PDF_SECONDS\)"):
            await task
    assert len(set(await others)) == 1


async def test_each_document_has_all_of_its_time_however_long_its_process_has_served(pools: Pools) -> None:
    pool = pools(seconds=4)
    for _ in range(2):
        left, of_the_process = json.loads(title(await pool.render(asking(do="limits"))))
        assert 4 < left < 4 + 4
        assert of_the_process == resource.RLIM_INFINITY


async def test_one_that_takes_too_much_memory_is_ended_and_the_others_go_on(pools: Pools) -> None:
    pool = pools(megabytes=256)
    expected = await pool.render(GOOD)
    before = pool.pids
    with pytest.raises(Refused, match=r"took more than 256 MB \(BILLING_PDF_MEGABYTES\)"):
        await pool.render(asking(do="eat"))
    assert await pool.render(GOOD) == expected
    assert pool.pids != before


@pytest.mark.parametrize("name", ["SIGABRT", "SIGSEGV"])
async def test_one_that_brings_its_process_down_is_refused(pools: Pools, name: str) -> None:
    pool = pools()
    with pytest.raises(Refused, match=f"its process ended by {name}: probably it took more than"):
        await pool.render(asking(do="signal", name=name))
    assert await pool.render(GOOD)


async def test_a_process_killed_from_outside_is_no_fault_of_the_document(pools: Pools) -> None:
    pool = pools()
    with pytest.raises(TryLater, match="killed from outside"):
        await pool.render(asking(do="signal", name="SIGKILL"))
    await pool.render(GOOD)
    os.kill(pool.pids[0], signal.SIGKILL)  # while it is idle, so that nobody has to hear of it
    await noticed(pool)
    assert await pool.render(GOOD)


async def test_what_was_cancelled_gives_its_answer_to_nobody_else(pools: Pools) -> None:
    pool = pools()
    await pool.render(GOOD)
    pid = pool.pids
    rendering = asyncio.create_task(pool.render(asking(do="sleep", seconds=30, rows=50)))
    await asyncio.sleep(0)
    waiting = asyncio.create_task(pool.render(asking(rows=2)))
    await asyncio.sleep(0.1)
    rendering.cancel()
    assert await waiting == await pool.render(asking(rows=2))
    await ended(pid)


async def test_one_that_cannot_start_says_why_and_can_be_tried_later(pools: Pools) -> None:
    with pytest.raises(TryLater, match=r"could not start .*ModuleNotFoundError: No module named 'tests.nowhere'"):
        await pools("tests.nowhere:build").render(GOOD)


async def test_closing_leaves_nobody_behind_and_sends_the_waiting_away(pools: Pools) -> None:
    pool = pools(processes=2)
    await asyncio.gather(pool.render(GOOD), pool.render(GOOD))
    under_way = [asyncio.create_task(pool.render(asking(do="loop"))) for _ in range(3)]
    await asyncio.sleep(0.2)
    pids = pool.pids
    assert len(pids) == 2
    await pool.close()
    for task in under_way:
        with pytest.raises(TryLater, match="shutting down"):
            await task
    with pytest.raises(TryLater, match="shutting down"):
        await pool.render(GOOD)
    assert not any(psutil.pid_exists(pid) for pid in pids)


async def test_a_process_is_told_no_secret(pools: Pools, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRIPE_API_KEY", "sk_live_secret")
    monkeypatch.setenv("PGPASSWORD", "hunter2")
    seen = json.loads(title(await pools().render(asking(do="environment"))))
    assert not {"STRIPE_API_KEY", "PGPASSWORD", "PATH"} & set(seen)
    assert "secret" not in str(seen)
    assert "hunter2" not in str(seen)


async def test_a_document_cannot_write_files(pools: Pools, tmp_path: Path) -> None:
    with pytest.raises(Refused, match="not written: File too large"):
        await pools().render(asking(do="write", path=str(tmp_path / "file")))
    assert (tmp_path / "file").read_bytes() == b""


async def test_the_event_loop_does_not_wait_for_rendering(pools: Pools) -> None:
    pool = pools(processes=2)
    await asyncio.gather(pool.render(GOOD), pool.render(GOOD))
    lags: list[float] = []

    async def watch() -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.01)
            lags.append(time.monotonic() - before - 0.01)

    watching = asyncio.create_task(watch())
    await asyncio.gather(*[pool.render(asking(rows=120, text=f"text {number}")) for number in range(4)])
    watching.cancel()
    lags.sort()
    # One core may be taken from us by the machine's other work, so the very worst says little about us.
    assert lags[int(len(lags) * 0.98)] < 0.1
    assert len(lags) > 10


PARENT = """
import asyncio
from tests.rendering.builders import asking
from worker.adapters.pdf import PdfPool

async def main():
    pool = PdfPool("tests.rendering.builders:build", processes=2)
    await asyncio.gather(pool.render(asking(rows=1)), pool.render(asking(rows=1)))
    busy = asyncio.create_task(pool.render(asking(do="loop")))
    await asyncio.sleep(0.5)
    print(*pool.pids, flush=True)
    await busy

asyncio.run(main())
"""


async def test_when_the_worker_is_killed_its_processes_end_too() -> None:
    words = [sys.executable, "-c", PARENT]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) as worker:  # noqa: ASYNC220 - a test's
        assert worker.stdout is not None
        pids = [int(pid) for pid in (await asyncio.to_thread(worker.stdout.readline)).split()]
        assert len(pids) == 2  # one idle, one that will never be done
        worker.kill()
    await ended(pids)
