"""How many events a second one worker applies from a backlog, and how long an event waits until it is processed."""

import argparse
import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import httpx
import psutil
import uvloop
from sqlalchemy import text

from db import inbox
from db.engine import create_engine
from db.inbox import NewEvent
from db.migrate import migrate
from intake.signature import sign
from tests.lives.play import seeded
from tests.lives.shapes import Shape
from tests.worker.kit import NoStripe
from worker.clock import SystemClock
from worker.deps import Deps
from worker.embedded import EmbeddedPostgres, EmbeddedValkey
from worker.registry import discover
from worker.runner import Runner

ROOT = Path(__file__).parents[2]
SECRET = "whsec_bench"


def lives(customers: int, tag: str) -> list[NewEvent]:
    """Some thousand events of many customers' lives, in order of creation, half of them in Stripe's older shapes."""
    now = datetime.now(UTC)
    world = seeded(7, customers=customers, steps=customers * 6, tag=tag)
    events: list[NewEvent] = []
    for number, event in enumerate(world.events):
        stored = event.stored(Shape.NEW if number % 2 else Shape.OLD)
        found = json.loads(stored.payload)["data"]["object"]
        customer = found.get("customer") if found.get("object") != "customer" else found.get("id")
        events.append(
            NewEvent(
                stored.id, stored.type, "2026-10-28.endive", stored.livemode, stored.account, found.get("id"),
                customer if isinstance(customer, str) else None, stored.payload, stored.created_at, now,
            )
        )  # fmt: skip
    return events


def cpu(*processes: psutil.Process) -> float:
    """Seconds of CPU that these processes and their children, dead or alive, have used."""
    total = 0.0
    for process in processes:
        total += sum(process.cpu_times()[:4])
        total += sum(sum(child.cpu_times()[:2]) for child in process.children(recursive=True))
    return total


async def fill(url: str, events: Sequence[NewEvent]) -> None:
    """Put events into the inbox, as the door does."""
    connection = await inbox.connect(url, timeout=10, application_name="bench")
    for start in range(0, len(events), 64):
        await inbox.remember(connection, events[start : start + 64])
    await connection.close()


async def work(url: str) -> None:
    """Drain the backlog in this one process; print how long it took, and how much of its CPU."""
    engine = create_engine(url)
    deps = Deps(engine=engine, clock=SystemClock(), stripe=NoStripe())
    runner = Runner(deps, discover("jobs"), queues=["events"], worker="bench", lease=timedelta(seconds=30))
    async with engine.connect() as conn:
        await conn.execute(text("SELECT 1"))
    used, began = time.process_time(), time.monotonic()
    drain = runner.wake("events")
    assert drain is not None
    await drain
    seconds = time.monotonic() - began
    used = time.process_time() - used
    await runner.stop(timedelta(seconds=1))
    await engine.dispose()
    print(json.dumps({"seconds": seconds, "cpu": used}))


def backlog(server: EmbeddedPostgres, rounds: int, customers: int) -> dict[str, float]:
    """Events applied per second, the median of some rounds."""
    assert server.process is not None
    postgres = psutil.Process(server.process.pid)
    rates: list[float] = []
    for round_ in range(rounds):
        events = lives(customers, f"b{round_}")
        asyncio.run(fill(server.url(), events))
        before = cpu(postgres)
        out = subprocess.run(
            [sys.executable, __file__, "work", "--url", server.url()], check=True, capture_output=True, text=True
        ).stdout
        found = json.loads(out.splitlines()[-1])
        count = len(events)
        rates.append(count / found["seconds"])
        print(
            f"  {count} events in {found['seconds']:.2f} s: {rates[-1]:.0f}/s, CPU each: "
            f"worker {found['cpu'] / count * 1e6:.0f} µs, PostgreSQL {(cpu(postgres) - before) / count * 1e6:.0f} µs"
        )
    left = asyncio.run(one(server.url(), "SELECT count(*) FROM queue WHERE queue = 'events'"))
    if left:
        raise SystemExit(f"{left} events were not applied")
    return {"applied_per_second": round(statistics.median(rates))}


async def one(url: str, sql: str) -> int:
    """The one value of a query."""
    engine = create_engine(url)
    async with engine.connect() as conn:
        value = (await conn.execute(text(sql))).scalar_one()
    await engine.dispose()
    return int(value)


@contextmanager
def role(
    name: str, *words: str, home: Path, server: EmbeddedPostgres, valkey: EmbeddedValkey
) -> Generator[psutil.Process]:
    """One of the real processes."""
    environment = os.environ | {
        "PYTHONPATH": str(ROOT), "DATABASE_URL": server.url(), "REDIS_URL": valkey.url, "BILLING_HOME": str(home),
        "STRIPE_WEBHOOK_SECRET": SECRET, "LOG_LEVEL": "WARNING",
    }  # fmt: skip
    with subprocess.Popen([sys.executable, "-m", "intake.cli", name, *words], env=environment, cwd=home) as process:
        try:
            yield psutil.Process(process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(30)


async def post_at(base: str, events: Sequence[NewEvent], rate: int) -> None:
    """Open loop: an event is sent when its time has come, whether or not the ones before it were answered."""
    async with httpx.AsyncClient(base_url=base, limits=httpx.Limits(max_connections=100), timeout=30) as client:
        for _ in range(200):
            try:
                if (await client.get("/health")).is_success:
                    break
            except httpx.TransportError:
                await asyncio.sleep(0.1)
        loop = asyncio.get_running_loop()

        async def post(event: NewEvent) -> None:
            header = sign(event.payload, [SECRET.encode()], at=int(datetime.now(UTC).timestamp()))
            answer = await client.post(
                "/payments/webhook", content=event.payload, headers={"Stripe-Signature": header.decode()}
            )
            answer.raise_for_status()

        began = loop.time()
        tasks: list[asyncio.Task[None]] = []
        for number, event in enumerate(events):
            await asyncio.sleep(max(0.0, began + number / rate - loop.time()))
            tasks.append(asyncio.create_task(post(event)))
        await asyncio.gather(*tasks)


async def lags(url: str, ids: Sequence[str]) -> list[float]:
    """Milliseconds from received to processed, when all are processed."""
    engine = create_engine(url)
    sql = text(
        "SELECT extract(epoch FROM processed_at - received_at) * 1000 FROM webhook_events"
        " WHERE id = ANY(:ids) AND status IN ('processed', 'ignored')"
    )
    found: list[float] = []
    for _ in range(600):
        async with engine.connect() as conn:
            found = [float(row[0]) for row in await conn.execute(sql, {"ids": list(ids)})]
        if len(found) == len(ids):
            await engine.dispose()
            return sorted(found)
        await asyncio.sleep(0.1)
    raise SystemExit(f"only {len(found)} of {len(ids)} events were processed")


def lag(server: EmbeddedPostgres, valkey: EmbeddedValkey, home: Path, seconds: int) -> dict[str, float]:
    """Received → processed through the real door and a real worker process, at two rates."""
    found: dict[str, float] = {}
    port = 18_473
    with (
        role("intake", "--port", str(port), home=home, server=server, valkey=valkey) as door,
        role("worker", home=home, server=server, valkey=valkey) as worker,
    ):
        warm = lives(20, "warm")[:200]
        asyncio.run(post_at(f"http://127.0.0.1:{port}", warm, 50))
        asyncio.run(lags(server.url(), [event.id for event in warm]))
        for rate in (100, 300):
            events = lives(rate * seconds // 8, f"l{rate}")[: rate * seconds]
            before = cpu(door), cpu(worker)
            uvloop.run(post_at(f"http://127.0.0.1:{port}", events, rate))
            times = asyncio.run(lags(server.url(), [event.id for event in events]))
            p50, p95, p99 = (times[int(len(times) * share)] for share in (0.5, 0.95, 0.99))
            each = [
                (now - then) / len(events) * 1e6 for now, then in zip((cpu(door), cpu(worker)), before, strict=True)
            ]
            print(
                f"  {rate}/s, {len(events)} events: lag p50 {p50:.0f} ms, p95 {p95:.0f} ms, p99 {p99:.0f} ms; "
                f"CPU each: door {each[0]:.0f} µs, worker {each[1]:.0f} µs"
            )
            found |= {f"lag_p50_ms_at_{rate}": round(p50, 1), f"lag_p95_ms_at_{rate}": round(p95, 1), f"lag_p99_ms_at_{rate}": round(p99, 1)}  # fmt: skip  # noqa: E501 - three of a kind
    return found


def main(rounds: int, customers: int, seconds: int) -> None:
    """Both measurements on one fresh database with fsync on."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        server, valkey = EmbeddedPostgres(home / "postgres"), EmbeddedValkey(home / "valkey")
        server.start()
        valkey.start()
        try:
            asyncio.run(prepared(server.url()))
            print("events applied from a backlog by one worker process (to reach: 1500/s)")
            found = backlog(server, rounds, customers)
            print("lag from received to processed (to reach: p95 under 50 ms at 100/s, under 100 ms at 300/s)")
            found |= lag(server, valkey, home, seconds)
            print(json.dumps({"bench": "events", **found}))
        finally:
            valkey.stop()
            server.stop()


async def prepared(url: str) -> None:
    """The schema."""
    engine = create_engine(url)
    await migrate(engine)
    await engine.dispose()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("role", nargs="?", default="main", choices=["main", "work"])
    parser.add_argument("--url", default="")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--customers", type=int, default=250)
    parser.add_argument("--seconds", type=int, default=15)
    given = parser.parse_args()
    if given.role == "work":
        uvloop.run(work(given.url))
    else:
        main(given.rounds, given.customers, given.seconds)
