"""What an invoice's PDF costs, against WeasyPrint's plain call, and how many are rendered and stored in a second."""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import psutil
import weasyprint

from jobs.invoices import samples
from jobs.invoices.page import request
from jobs.invoices.samples_parts import ASSETS
from tests.bench import documents_page
from tests.bench.documents_process import WAYS
from worker.adapters.pdf import PdfPool
from worker.adapters.storage import storage

ROOT = Path(__file__).parents[2]
BUILDER = "jobs.invoices.page:build"
PLAIN = "tests.bench.documents_page:build"

AIM_NAIVE = 0.098
"""Seconds that WeasyPrint's own call took for such a page on the machine by which 45 a second were asked for."""


def seconds_of_cpu(*pids: int) -> float:
    """User and system time so far."""
    return sum(sum(psutil.Process(pid).cpu_times()[:2]) for pid in pids)


def ratios(rounds: int, each: int) -> None:
    """CPU of one page by each way, in turns, so that the machine's other load falls on all of them."""
    taken: dict[str, list[float]] = {way: [] for way in WAYS}
    with ExitStack() as stack:
        words = [sys.executable, str(ROOT / "tests/bench/documents_process.py")]
        processes = {
            way: stack.enter_context(
                subprocess.Popen([*words, way], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
            for way in WAYS
        }

        def ask(way: str, what: str) -> str:
            pipes = processes[way]
            assert pipes.stdin is not None
            assert pipes.stdout is not None
            pipes.stdin.write(f"{what}\n")
            pipes.stdin.flush()
            return pipes.stdout.readline()

        for _ in range(rounds):
            for way, figures in taken.items():
                figures.append(float(ask(way, str(each))))
        where = json.loads(ask("ours", "where"))
    for way, figures in taken.items():
        against = statistics.median(one / other for one, other in zip(figures, taken["naive"], strict=True))
        print(f"{way:10} {statistics.median(figures) * 1000:6.1f} ms CPU a page, {against:.2f} of the naive call")
    for way in ("untagged", "pdf/ua-1", "pdf/a-3b"):
        against = statistics.median(one / other for one, other in zip(taken[way], taken["ours"], strict=True))
        print(f"{way:10} {against:.2f} of ours, which is tagged")
    print("where ours spends it: " + ", ".join(f"{part} {share:.0%}" for part, share in where.items()))


def naive_plain(rounds: int = 10) -> float:
    """Seconds of CPU that WeasyPrint's own call takes for the plain page of ten lines."""
    page = documents_page.build(documents_page.request(1))
    began = 0.0
    for number in range(rounds + 3):
        if number == 3:
            began = time.process_time()
        html: Any = weasyprint.HTML(string=page.html)
        html.write_pdf(stylesheets=[weasyprint.CSS(string=page.stylesheet)])
    return (time.process_time() - began) / rounds


async def plain(count: int, processes: int) -> None:
    """The plain page by which the aim was set, on whatever machine this is."""
    naive = naive_plain()
    rate = await stored(count, processes, builder=PLAIN, document=documents_page.request(1))
    print(
        f"that was a plain page; WeasyPrint's own call takes {naive * 1000:.0f} ms of CPU for it here; where it takes "
        f"{AIM_NAIVE * 1000:.0f} ms, it would be {rate * naive / AIM_NAIVE:.0f} a second (to reach: 45 on two cores)"
    )


async def stored(count: int, processes: int, *, builder: str = BUILDER, document: bytes | None = None) -> float:
    """Render and store invoices as fast as it goes, watching the event loop. Returns how many in a second."""
    pool = PdfPool(builder, processes=processes)
    document = document or request(samples.invoice(), ASSETS)
    lags: list[float] = []

    async def watch() -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.01)
            lags.append(time.monotonic() - before - 0.01)

    with tempfile.TemporaryDirectory() as folder:
        files = storage(f"file://{folder}", Path(folder))
        await asyncio.gather(*[pool.render(document) for _ in range(processes)])
        waiting = iter(range(count))

        async def one_after_the_other() -> None:
            for number in waiting:
                await files.create(f"{number}.pdf", await pool.render(document), media_type="application/pdf")

        watching = asyncio.create_task(watch())
        began, mine, theirs = time.monotonic(), time.process_time(), seconds_of_cpu(*pool.pids)
        await asyncio.gather(*[one_after_the_other() for _ in range(processes * 2)])
        took, mine = time.monotonic() - began, time.process_time() - mine
        recycled = "" if len(pool.pids) == processes else " (some processes are being recycled)"
        cpu = seconds_of_cpu(*pool.pids) - theirs
        watching.cancel()
        await files.close()
    lags.sort()
    told = f", CPU {cpu / count * 1000:.1f} ms each in the processes" if cpu > 0 and count < 1000 else ""
    print(
        f"{processes} processes: {count / took:.1f} rendered and stored a second over {count}{recycled}{told}, "
        f"{mine / count * 1000:.2f} ms each in the worker; event loop late by {lags[-1] * 1000:.0f} ms at worst, "
        f"{lags[int(len(lags) * 0.99)] * 1000:.0f} ms at p99"
    )
    await pool.close()
    return count / took


async def memory(count: int) -> None:
    """A process's memory over many invoices, never recycled."""
    pool = PdfPool(BUILDER, processes=1, recycle=count * 2)
    document = request(samples.invoice(), ASSETS)
    for number in range(count + 1):
        await pool.render(document)
        if number in {0, count // 5, count * 2 // 5, count * 3 // 5, count * 4 // 5, count}:
            megabytes = psutil.Process(pool.pids[0]).memory_info().rss / 1e6
            print(f"memory after {number or 1} invoices: {megabytes:.0f} MB")
    await pool.close()


async def long(lines: int) -> None:
    """One invoice of many lines."""
    pool = PdfPool(BUILDER, processes=1)
    await pool.render(request(samples.invoice(), ASSETS))
    began, before = time.monotonic(), seconds_of_cpu(*pool.pids)
    pdf = await pool.render(request(samples.long(lines), ASSETS))
    took, cpu = time.monotonic() - began, seconds_of_cpu(*pool.pids) - before
    print(f"{lines} lines: {took:.1f} s, {cpu:.1f} s CPU, {len(pdf) / 1000:.0f} kB")
    await pool.close()


def main() -> None:
    """Print everything."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--count", type=int, default=3000)
    words.add_argument("--renders", type=int, default=5000, help="how many for memory")
    words.add_argument("--rounds", type=int, default=7)
    words.add_argument("--only", choices=("ratios", "plain", "stored", "memory", "long"))
    given = words.parse_args()
    cores = os.cpu_count() or 1
    if given.only in {None, "ratios"}:
        ratios(given.rounds, 20)
    if given.only in {None, "plain"}:
        asyncio.run(plain(given.count // 10, cores))
    if given.only in {None, "stored"}:
        for processes in sorted({1, cores}):
            asyncio.run(stored(given.count if processes == cores else given.count // 4, processes))
    if given.only in {None, "memory"}:
        asyncio.run(memory(given.renders))
    if given.only in {None, "long"}:
        asyncio.run(long(1000))


if __name__ == "__main__":
    main()
