"""How many webhooks a second the door accepts durably, against itself without a database and against pgbench."""

import argparse
import asyncio
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import psutil
import uvloop
from pydantic import SecretStr

from db.engine import create_engine
from db.inbox import NewEvent
from db.migrate import migrate
from intake import server, webhook
from intake.app import Door, build_app
from intake.signature import sign
from intake.webhook import Webhook
from tests.bench.sending import Accepted, send
from worker.clock import SystemClock
from worker.embedded import POSTGRES_BIN, EmbeddedPostgres
from worker.settings import Settings

SECRET = "whsec_bench"
CONNECTIONS = 64
BODY = 7_800
CLIENTS = 16


def say(line: str) -> None:
    """Tell whoever started us."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


class Silent:
    """A bell that nobody hears: the workers' side is measured elsewhere."""

    def ring(self, queue: str) -> None:
        """Nothing."""


class Nowhere:
    """An inbox that says yes at once: what is left is the door's work alone."""

    async def remember(self, event: NewEvent) -> bool:
        """Never a duplicate."""
        return not event.id


def invoice(chance: random.Random) -> dict[str, Any]:
    """An `invoice.paid` event of BODY bytes: ids and amounts at random, as many lines as fit."""

    def id_(prefix: str) -> str:
        return (
            f"{prefix}_1{''.join(chance.choices('ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz0123456789', k=23))}"
        )

    def line() -> dict[str, Any]:
        amount = chance.randrange(500, 90_000)
        return {
            "id": id_("il"),
            "object": "line_item",
            "amount": amount,
            "currency": "eur",
            "description": f"{chance.randrange(1, 40)} x API plan, professional (at {amount / 100:.2f} EUR / month)",
            "discount_amounts": [],
            "discountable": True,
            "discounts": [],
            "livemode": False,
            "metadata": {},
            "parent": {
                "invoice_item_details": None,
                "subscription_item_details": {
                    "invoice_item": None,
                    "proration": False,
                    "proration_details": {"credited_items": None},
                    "subscription": id_("sub"),
                    "subscription_item": id_("si"),
                },
                "type": "subscription_item_details",
            },
            "period": {"end": chance.randrange(1_760_000_000, 1_790_000_000), "start": 1_762_000_000},
            "pricing": {
                "price_details": {"price": id_("price"), "product": id_("prod")},
                "type": "price_details",
                "unit_amount_decimal": str(amount),
            },
            "quantity": 1,
            "taxes": [],
        }

    item: dict[str, Any] = {
        "id": id_("in"),
        "object": "invoice",
        "account_country": "DE",
        "amount_due": 4900,
        "amount_paid": 4900,
        "attempt_count": 1,
        "attempted": True,
        "auto_advance": False,
        "billing_reason": "subscription_cycle",
        "collection_method": "charge_automatically",
        "currency": "eur",
        "customer": id_("cus"),
        "customer_email": "billing@example.com",
        "hosted_invoice_url": f"https://invoice.stripe.com/i/{id_('acct')}/{id_('live')}{id_('x')}{id_('y')}?s=ap",
        "lines": {"object": "list", "data": [], "has_more": False},
        "number": "A1B2C3D4-0042",
        "status": "paid",
        "total": 4900,
    }
    event = {
        "id": "evt_1ABCDEFGHIJKLMNOPQRSTUVWX",
        "object": "event",
        "api_version": "2026-10-28.endive",
        "created": 1_763_000_000,
        "data": {"object": item},
        "livemode": False,
        "pending_webhooks": 1,
        "request": {"id": None, "idempotency_key": id_("key")},
        "type": "invoice.paid",
    }
    while len(json.dumps(event, indent=2)) < BODY - 1200:
        item["lines"]["data"].append(line())
    item["footer"] = "".join(chance.choices("abcdefgh ", k=BODY - len(json.dumps(event, indent=2)) - 18))
    return event


def body() -> bytes:
    """The event that is sent again and again, each time with another id."""
    return json.dumps(invoice(random.Random(1)), indent=2).encode()  # noqa: S311 - a fixed body is wanted


def requests(count: int, round_: int) -> list[bytes]:
    """Signed requests, each with an id of its own."""
    event = body()
    at = time.time_ns() // 10**9
    made: list[bytes] = []
    for number in range(count):
        own = event.replace(b"evt_1ABCDEFGHIJKLMNOPQRSTUVWX", b"evt_1Bench%05d%010dABCD" % (round_, number))
        head = (
            b"POST /payments/webhook HTTP/1.1\r\nhost: localhost\r\n"
            b"user-agent: Stripe/1.0 (+https://stripe.com/docs/webhooks)\r\n"
            b"accept: */*; q=0.5, application/xml\r\ncache-control: no-cache\r\n"
            b"content-type: application/json; charset=utf-8\r\n"
            b"content-length: %d\r\nstripe-signature: %s\r\n\r\n" % (len(own), sign(own, [SECRET.encode()], at=at))
        )
        made.append(head + own)
    return made


ACCEPTED = Accepted(b"HTTP/1.1 200", b'"duplicate":false}')


def serve(url: str, *, durable: bool, writers: int) -> int:
    """The door as it is, or with an inbox that remembers nothing."""
    settings = Settings(
        database_url=url,
        redis_url="redis://127.0.0.1:1",
        stripe_webhook_secret=SecretStr(SECRET),
        billing_webhook_writers=writers,
    )
    door = build_app(settings, bell=Silent())
    if not durable:
        door = Door({webhook.PATH: Webhook(Nowhere(), SystemClock(), settings.webhook_secrets)}, door.api)
    return server.run(door, "127.0.0.1", 0, lambda _host, port: say(str(port)))


def cpu(process: psutil.Process) -> float:
    """CPU seconds of a process, its children, and those that ended."""
    seconds = 0.0
    for one in [process, *process.children(recursive=True)]:
        try:
            times = one.cpu_times()
        except psutil.NoSuchProcess:
            continue
        seconds += times.user + times.system
        if one == process:
            seconds += times.children_user + times.children_system
    return seconds


@contextmanager
def running(*words: str) -> Generator[tuple[psutil.Process, int]]:
    """One of the servers, in a process of its own."""
    command = [sys.executable, __file__, "serve", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield psutil.Process(process.pid), int(process.stdout.readline())
        finally:
            process.terminate()


@dataclass
class Result:
    """One leg of a round."""

    rate: float
    app_us: float
    pg_us: float


def drive(postgres: psutil.Process, app: psutil.Process, port: int, count: int, round_: int) -> Result:
    """Send `count` events to a server and see what it cost."""
    command = [sys.executable, __file__, "send", "--port", str(port), "--count", str(count), "--round", str(round_)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as sender:
        before_app, before_pg = cpu(app), cpu(postgres)
        out, _ = sender.communicate()
    found = json.loads(out)
    if found["bad"]:
        raise SystemExit(f"{found['bad']} requests were not accepted")
    return Result(
        count / found["seconds"], (cpu(app) - before_app) / count * 1e6, (cpu(postgres) - before_pg) / count * 1e6
    )


def pgbench(postgres: psutil.Process, server_: EmbeddedPostgres, script: Path, seconds: int) -> Result:
    """Single-row inserts of the same bytes."""
    before = cpu(postgres)
    found = subprocess.run(
        [
            POSTGRES_BIN / "pgbench", "-n", "-h", str(server_.sockets), "-U", "postgres", "-f", str(script),
            "-M", "prepared", "-c", str(CLIENTS), "-j", "2", "-T", str(seconds),
            "-D", f"payload=\\x{body().hex()}", "postgres",
        ],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    rate = next(float(line.split()[2]) for line in found.stdout.splitlines() if line.startswith("tps"))
    count = next(
        int(line.split()[-1].split("/")[0]) for line in found.stdout.splitlines() if "actually processed" in line
    )
    return Result(rate, 0, (cpu(postgres) - before) / count * 1e6)


async def prepare(url: str) -> None:
    """The schema, and a twin of the inbox for pgbench."""
    engine = create_engine(url)
    await migrate(engine)
    async with engine.begin() as conn:
        await conn.exec_driver_sql("CREATE TABLE bare (LIKE webhook_events INCLUDING ALL)")
        await conn.exec_driver_sql("CREATE SEQUENCE bare_ids CACHE 100")
    await engine.dispose()


def insert_script() -> str:
    """What pgbench runs: one row, with the bytes sent as a parameter, as the door sends them (but in hexadecimal).

    Written into the statement instead, the bytes would be a constant of its plan, and pgbench would never send them.
    """
    return (
        "INSERT INTO bare (id, type, api_version, livemode, object_id, customer_id, payload, created_at, received_at) "
        "VALUES ('evt_1Bench' || lpad(nextval('bare_ids')::text, 19, '0'), 'invoice.paid', '2026-10-28.endive', false, "
        "'in_1ABCDEFGHIJKLMNOPQRSTUVWX', 'cus_1ABCDEFGHIJKLMNOPQRS', :payload, now(), now());\n"
    )


def main(rounds: int, count: int, writers: int) -> None:
    """All legs, interleaved, and the medians of their ratios."""
    with tempfile.TemporaryDirectory() as home:
        server_ = EmbeddedPostgres(Path(home) / "postgres")
        server_.start()
        try:
            report(*measure(server_, Path(home), rounds, count, writers))
        finally:
            server_.stop()


def measure(
    server_: EmbeddedPostgres, home: Path, rounds: int, count: int, writers: int
) -> tuple[list[Result], list[Result], list[Result]]:
    """Each round has all three legs, so that a noisy neighbour harms all alike."""
    asyncio.run(prepare(server_.url()))
    script = home / "insert.sql"
    script.write_text(insert_script())
    assert server_.process is not None
    postgres = psutil.Process(server_.process.pid)
    durable: list[Result] = []
    verified: list[Result] = []
    bare: list[Result] = []
    with (
        running("--url", server_.url(), "--durable", "--writers", str(writers)) as (app, port),
        running("--url", server_.url()) as (twin, twin_port),
    ):
        for round_ in range(rounds + 1):  # the first warms up
            verified.append(drive(postgres, twin, twin_port, count, round_))
            durable.append(drive(postgres, app, port, count, round_))
            bare.append(pgbench(postgres, server_, script, 2))
    return durable[1:], verified[1:], bare[1:]


def report(durable: list[Result], verified: list[Result], bare: list[Result]) -> None:
    """For people, and as one line for machines."""

    def median(results: list[Result], what: str) -> float:
        return statistics.median(getattr(result, what) for result in results)

    by_verify = statistics.median(a.rate / b.rate for a, b in zip(durable, verified, strict=True))
    by_pgbench = statistics.median(a.rate / b.rate for a, b in zip(durable, bare, strict=True))
    costs = f"app {median(durable, 'app_us'):4.0f} µs, PostgreSQL {median(durable, 'pg_us'):4.0f} µs of CPU each"
    say(f"webhooks accepted durably   {median(durable, 'rate'):8.0f}/s   {costs}")
    say(f"answered after verification {median(verified, 'rate'):8.0f}/s   app {median(verified, 'app_us'):4.0f} µs")
    say(f"pgbench's bare inserts      {median(bare, 'rate'):8.0f}/s   PostgreSQL {median(bare, 'pg_us'):4.0f} µs")
    say(f"accepted / verified {by_verify:.2f} (to reach: 0.45)   accepted / pgbench {by_pgbench:.2f} (to reach: 0.60)")
    say(
        json.dumps(
            {
                "bench": "intake",
                "accepted_per_second": round(median(durable, "rate")),
                "verified_per_second": round(median(verified, "rate")),
                "pgbench_per_second": round(median(bare, "rate")),
                "accepted_by_verified": round(by_verify, 3),
                "accepted_by_pgbench": round(by_pgbench, 3),
                "app_cpu_us": round(median(durable, "app_us"), 1),
                "postgres_cpu_us": round(median(durable, "pg_us"), 1),
                "pgbench_cpu_us": round(median(bare, "pg_us"), 1),
            }
        )
    )


if __name__ == "__main__":
    os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("role", nargs="?", default="main", choices=["main", "serve", "send"])
    parser.add_argument("--url", default="")
    parser.add_argument("--durable", action="store_true")
    parser.add_argument("--writers", type=int, default=2)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--round", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    if given.role == "serve":
        sys.exit(serve(given.url, durable=given.durable, writers=given.writers))
    elif given.role == "send":
        say(uvloop.run(send(given.port, iter(requests(given.count, given.round)), CONNECTIONS, ACCEPTED)))
    else:
        main(given.rounds, given.count, given.writers)
