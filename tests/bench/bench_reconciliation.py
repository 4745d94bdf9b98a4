"""A million balance transactions beside a million rows: how long it takes without Stripe's part, in what memory."""

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import msgspec
import psutil
import uvloop
from sqlalchemy import text

from db import balance_comparison, balance_kept, balance_lone
from db.engine import create_engine
from db.migrate import migrate
from jobs.reconciliation import money
from jobs.reconciliation.found import Stripe
from jobs.reconciliation.lists import Page
from jobs.reconciliation.money import BalanceTransactionRow, compare_money
from tests.bench.bench_events import cpu
from worker.clock import SystemClock
from worker.deps import Deps
from worker.embedded import EmbeddedPostgres

BEGIN = 1_772_323_200
"""2026-03-01, in seconds since 1970; a charge is made each second from then on."""

ROWS = 100

WIDTH = 490
"""Bytes of a row in the file; Stripe pads its JSON as well."""

ROW = (
    b'{"id":"txn_%(n)024d","object":"balance_transaction","amount":%(amount)d,"available_on":%(at)d,'
    b'"balance_type":"payments","created":%(at)d,"currency":"usd","description":"Subscription creation",'
    b'"exchange_rate":null,"fee":%(fee)d,"fee_details":[{"amount":%(fee)d,"application":null,"currency":"usd",'
    b'"description":"Stripe processing fees","type":"stripe_fee"}],"net":%(net)d,"reporting_category":"charge",'
    b'"source":"ch_%(n)024d","status":"available","type":"charge"}'
)


def row(number: int) -> bytes:
    """What Stripe prints of the money of charge `number`."""
    amount = 1000 + number % 9000
    fee = amount * 29 // 1000 + 30
    return ROW % {b"n": number, b"amount": amount, b"fee": fee, b"net": amount - fee, b"at": BEGIN + number}


def print_book(path: Path, count: int) -> None:
    """All that Stripe has, newest first, as one file: what answers then costs next to nothing."""
    with path.open("wb") as out:
        for number in range(count - 1, -1, -1):
            out.write(row(number).ljust(WIDTH - 1) + b",")


class Book:
    """A Stripe that answers at once, from a file. What that costs is counted as ours."""

    def __init__(self, path: Path) -> None:
        self.file = os.open(path, os.O_RDONLY)
        self.count = os.fstat(self.file).st_size // WIDTH
        self.pages = 0

    async def retrieve(self, path: str, **params: Any) -> dict[str, Any]:
        raise AssertionError(f"Stripe was asked for {path} {params}")

    async def read(self, path: str, **params: Any) -> bytes:
        assert path == "balance_transactions"
        self.pages += 1
        created = params["created"]
        low = max(created["gte"] - BEGIN, 0)
        last = min(created["lt"] - BEGIN, self.count) - 1
        if (after := params.get("starting_after")) is not None:
            last = min(last, int(after.removeprefix("txn_")) - 1)
        first = max(last - ROWS + 1, low)
        return self.page(first, last, more=first > low)

    def page(self, first: int, last: int, *, more: bool) -> bytes:
        """Charges `last` down to `first`, newest first, as one answer of Stripe's."""
        rows = os.pread(self.file, (last - first + 1) * WIDTH - 1, (self.count - 1 - last) * WIDTH)
        return b"".join((b'{"object":"list","data":[', rows, b'],"has_more":true}' if more else b'],"has_more":false}'))

    async def act(self, method: str, path: str, *, idempotency_key: str, **params: Any) -> dict[str, Any]:
        raise AssertionError(f"Stripe was told to {method} {path} {params} as {idempotency_key}")


FILL = """
    INSERT INTO charges (stripe_charge_id, livemode, version, stripe_created_at, stripe_payment_intent_id,
        stripe_customer_id, status, currency, amount_cents, amount_captured_cents, amount_refunded_cents, captured,
        refunded, disputed, payment_method, payment_method_id, card_brand, card_last4, balance_transaction_id,
        receipt_url, description, stripe_fee_cents, net_amount_cents, settlement_currency, metadata)
    SELECT 'ch_' || lpad(n::text, 24, '0'), true, ARRAY[0, {begin} + n, 1, 70, 1, 2, 3, 4, 5],
        to_timestamp({begin} + n), 'pi_' || lpad(n::text, 24, '0'), 'cus_' || lpad((n % 50000)::text, 14, '0'),
        'succeeded', 'usd', 1000 + n % 9000, 1000 + n % 9000, 0, true, false, false, 'card',
        'pm_' || lpad(n::text, 24, '0'), 'visa', '4242', 'txn_' || lpad(n::text, 24, '0'),
        'https://pay.stripe.com/receipts/payment/' || md5(n::text), 'Subscription creation',
        (1000 + n % 9000) * 29 / 1000 + 30, (1000 + n % 9000) - ((1000 + n % 9000) * 29 / 1000 + 30), 'usd',
        '{{"order": "1"}}'
    FROM generate_series({first}, {last} - 1) n;
    INSERT INTO payment_history (stripe_charge_id, stripe_payment_intent_id, stripe_customer_id, stripe_invoice_id,
        livemode, amount_cents, currency, status, captured, stripe_fee_cents, net_amount_cents, settlement_currency,
        payment_method, payment_method_id, card_brand, card_last4, created_at)
    SELECT stripe_charge_id, stripe_payment_intent_id, stripe_customer_id, 'in_' || right(stripe_charge_id, 24),
        livemode, amount_cents, currency, 'succeeded', true, stripe_fee_cents, net_amount_cents, settlement_currency,
        payment_method, payment_method_id, card_brand, card_last4, stripe_created_at
    FROM charges WHERE stripe_created_at >= to_timestamp({begin} + {first});
    ANALYZE charges; ANALYZE payment_history
"""


async def fill(url: str, first: int, last: int) -> None:
    """As many charges and payments as Stripe has, in step with it."""
    engine = create_engine(url)
    if first == 0:
        await migrate(engine)
    async with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as conn:
        raw: Any = (await conn.get_raw_connection()).driver_connection
        for statement in FILL.format(begin=BEGIN, first=first, last=last).split(";"):
            await raw.execute(statement, timeout=900)
    await engine.dispose()


async def forget(url: str) -> None:
    """None of Stripe's rows is kept yet; ours were read before, and vacuumed, as rows of days ago are."""
    engine = create_engine(url)
    async with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as conn:
        for statement in ("TRUNCATE balance_transactions", "VACUUM charges", "VACUUM payment_history"):
            await conn.execute(text(statement))
    await engine.dispose()


def decoding(book: Book) -> float:
    """Seconds that decoding alone takes."""
    decoder = msgspec.json.Decoder(Page[BalanceTransactionRow])
    spent = 0.0  # seconds of CPU: nothing is waited for, and other work on the machine is not ours
    for last in range(book.count - 1, -1, -ROWS):
        body = book.page(max(last - ROWS + 1, 0), last, more=True)
        began = time.process_time()
        found = decoder.decode(body)
        spent += time.process_time() - began
        assert len(found.data) <= ROWS
    return spent


class Parts:
    """Where the time goes: seconds by part, and seconds of CPU that it cost this process and PostgreSQL."""

    def __init__(self, postgres: psutil.Process) -> None:
        self.postgres = postgres
        self.seconds: dict[str, float] = {}
        self.cpu: dict[str, float] = {}

    @contextmanager
    def of(self, name: str) -> Generator[None]:
        """Count what is done now as `name`."""
        began, used = time.perf_counter(), time.process_time() + cpu(self.postgres)
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began
            self.cpu[name] = self.cpu.get(name, 0.0) + time.process_time() + cpu(self.postgres) - used

    def watch(self, module: Any, function: str, name: str) -> None:
        """Count each call of a function."""
        inner = getattr(module, function)

        async def timed(*given: Any, **more: Any) -> Any:
            with self.of(name):
                return await inner(*given, **more)

        setattr(module, function, timed)


async def compared(url: str, file: Path, postgres: int) -> None:
    """One comparison in this process; print how long each part took, and how much more memory it needed."""
    engine = create_engine(url)
    async with engine.connect() as conn:
        await conn.execute(text("SELECT 1"))
    stripe = Book(file)
    deps = Deps(engine=engine, clock=SystemClock(), stripe=stripe)
    parts = Parts(psutil.Process(postgres))
    parts.watch(money, "stage_transactions", "read, decode and COPY")
    parts.watch(balance_kept, "prepare", "beside those kept")
    parts.watch(balance_kept, "keep", "keep the new ones")
    parts.watch(balance_comparison, "compare", "beside charges and payments")
    parts.watch(balance_lone, "lone", "ours that Stripe lacks")
    parts.watch(balance_lone, "paid_twice", "invoices paid twice")
    since = datetime.fromtimestamp(BEGIN, UTC) + money.WAITS
    until = datetime.fromtimestamp(BEGIN + stripe.count, UTC)
    me = psutil.Process(os.getpid())
    before = me.memory_info().rss
    began, used = time.perf_counter(), time.process_time()
    found = await compare_money(deps, Stripe("", True, until + timedelta(hours=1)), since, until + money.WAITS)  # noqa: FBT003 - livemode
    seconds = time.perf_counter() - began
    used = time.process_time() - used
    assert not found.suspects, len(found.suspects)
    assert not found.duplicates, found.duplicates[:3]
    assert found.counted["charges"] == stripe.count, found.counted
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    await engine.dispose()
    told = {
        "seconds": seconds,
        "cpu": used,
        "grew_mb": (peak * 1024 - before) / 2**20,
        "kept": found.counted["kept"],
        "parts": parts.seconds,
        "parts_cpu": parts.cpu,
    }
    print(json.dumps(told))


def run(url: str, file: Path, postgres: psutil.Process) -> dict[str, Any]:
    """A comparison in a process of its own."""
    before = cpu(postgres)
    out = subprocess.run(
        [sys.executable, __file__, "compare", "--url", url, "--file", file, "--postgres", str(postgres.pid)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    ).stdout
    return json.loads(out.splitlines()[-1]) | {"postgres": cpu(postgres) - before}


def tell(name: str, count: int, found: dict[str, Any], alone: float) -> dict[str, float]:
    """Print one comparison; its figures by name."""
    both = found["cpu"] + found["postgres"]
    print(
        f"  {found['kept']} new: {found['seconds']:.2f} s, {found['seconds'] / alone:.1f} times decoding; "
        f"CPU {found['cpu']:.2f} s ours, {found['postgres']:.2f} s PostgreSQL's, "
        f"together {both / alone:.1f} times decoding; grew by {found['grew_mb']:.0f} MB"
    )
    for part, seconds in found["parts"].items():
        print(f"    {seconds:6.2f} s, CPU {found['parts_cpu'][part]:6.2f} s: {part}")
    return {
        f"{name}_{count}_seconds": round(found["seconds"], 2),
        f"{name}_{count}_by_decoding": round(found["seconds"] / alone, 1),
        f"{name}_{count}_cpu": round(both, 2),
        f"{name}_{count}_cpu_by_decoding": round(both / alone, 1),
        f"{name}_{count}_grew_mb": round(found["grew_mb"]),
    }


def main(counts: list[int]) -> None:
    """Growing numbers on one fresh database with fsync on: the first time, and when all is kept already."""
    summary: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedPostgres(Path(folder) / "postgres")
        server.start()
        assert server.process is not None
        postgres = psutil.Process(server.process.pid)
        try:
            had = 0
            for count in counts:
                asyncio.run(fill(server.url(), had, count))
                had = count
                file = Path(folder) / "book.json"
                print_book(file, count)
                alone = decoding(Book(file))
                print(f"{count} rows; decoding alone {alone:.2f} s ({count / alone:,.0f}/s)")
                asyncio.run(forget(server.url()))
                for name in ("new", "kept"):
                    summary |= tell(name, count, run(server.url(), file, postgres), alone)
            print(json.dumps({"bench": "reconciliation", **summary}))
        finally:
            server.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("role", nargs="?", default="main", choices=["main", "compare"])
    parser.add_argument("--url", default="")
    parser.add_argument("--count", type=int, nargs="*", default=[100_000, 500_000, 1_000_000])
    parser.add_argument("--file", type=Path)
    parser.add_argument("--postgres", type=int, default=0)
    given = parser.parse_args()
    if given.role == "compare":
        uvloop.run(compared(given.url, given.file, given.postgres))
    else:
        main(given.count)
