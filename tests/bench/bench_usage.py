"""How many usage reports a second the door accepts durably, against webhooks in the same run, and rows by 1,000."""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import psutil
import uvloop
from pydantic import SecretStr

from db import tokens
from db.engine import create_engine
from db.migrate import migrate
from db.operators.actions import Actor
from intake import server
from intake.app import build_app
from tests.bench import bench_intake
from tests.bench.bench_intake import CONNECTIONS, SECRET, Silent, cpu, say
from tests.bench.sending import Accepted, send
from worker.clock import SystemClock
from worker.embedded import EmbeddedPostgres
from worker.settings import Settings

PARTNERS = 16
LARGE = 1000


def reports(count: int, round_: int, keys: list[str], rows: int) -> list[bytes]:
    """Requests of `rows` events each, of several partners in turn."""
    made: list[bytes] = []
    for number in range(count):
        events = [
            {
                "idempotency_key": f"req_{round_:03}_{rows}_{number:07}_{row:04}",
                "event_type": ("search", "deed.copy", "lookup")[row % 3],
                "resource_id": f"deed_{(number * 31 + row) % 9973}",
                "cost_units": "1",
                "metadata": {"region": "north", "trace": f"{number:016x}"},
            }
            for row in range(rows)
        ]
        body = json.dumps(events[0] if rows == 1 else events).encode()
        made.append(
            b"POST /usage/events HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
            b"authorization: Bearer %s\r\ncontent-length: %d\r\n\r\n"
            % (keys[number % len(keys)].encode(), len(body))
            + body
        )
    return made


ACCEPTED = Accepted(b"HTTP/1.1 202", b'"duplicates":0}')


def drive(postgres: psutil.Process, app: psutil.Process, words: list[str], count: int) -> bench_intake.Result:
    """Have a sender of ours send, and see what each request cost."""
    with subprocess.Popen([sys.executable, __file__, "send", *words], stdout=subprocess.PIPE, text=True) as sender:
        before_app, before_pg = cpu(app), cpu(postgres)
        out, _ = sender.communicate()
    found = json.loads(out)
    if found["bad"]:
        raise SystemExit(f"{found['bad']} requests were not accepted")
    return bench_intake.Result(
        count / found["seconds"], (cpu(app) - before_app) / count * 1e6, (cpu(postgres) - before_pg) / count * 1e6
    )


async def prepare(url: str) -> list[str]:
    """The schema, and a key for each partner."""
    engine = create_engine(url)
    await migrate(engine)
    now = SystemClock().now()
    async with engine.begin() as conn:
        await conn.exec_driver_sql("SELECT usage_partition(current_date)")
        keys = [
            (await tokens.create(conn, f"partner{number}", list(tokens.TokenScope), Actor("bench"), now=now))[1]
            for number in range(PARTNERS)
        ]
    await engine.dispose()
    return keys


def serve(url: str) -> int:
    """The door as it is."""
    settings = Settings(database_url=url, redis_url="redis://127.0.0.1:1", stripe_webhook_secret=SecretStr(SECRET))
    return server.run(build_app(settings, bell=Silent()), "127.0.0.1", 0, lambda _host, port: say(str(port)))


def main(rounds: int, count: int, large: int) -> None:
    """All legs, interleaved, and the medians."""
    with tempfile.TemporaryDirectory() as home:
        postgres_server = EmbeddedPostgres(Path(home) / "postgres")
        postgres_server.start()
        try:
            keys = asyncio.run(prepare(postgres_server.url()))
            assert postgres_server.process is not None
            postgres = psutil.Process(postgres_server.process.pid)
            command = [sys.executable, __file__, "serve", "--url", postgres_server.url()]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
                assert process.stdout is not None
                port = int(process.stdout.readline())
                app = psutil.Process(process.pid)
                shared = ["--port", str(port), "--keys", ",".join(keys)]
                webhooks: list[bench_intake.Result] = []
                singles: list[bench_intake.Result] = []
                thousands: list[bench_intake.Result] = []
                for round_ in range(rounds + 1):  # the first warms up
                    of = [*shared, "--round", str(round_)]
                    webhooks.append(bench_intake.drive(postgres, app, port, count, round_))
                    singles.append(drive(postgres, app, [*of, "--count", str(count), "--rows", "1"], count))
                    thousands.append(drive(postgres, app, [*of, "--count", str(large), "--rows", str(LARGE)], large))
                process.terminate()
            report(webhooks[1:], singles[1:], thousands[1:])
        finally:
            postgres_server.stop()


def report(
    webhooks: list[bench_intake.Result], singles: list[bench_intake.Result], thousands: list[bench_intake.Result]
) -> None:
    """For people, and as one line for machines."""

    def median(results: list[bench_intake.Result], what: str) -> float:
        return statistics.median(getattr(result, what) for result in results)

    ratio = statistics.median(a.rate / b.rate for a, b in zip(singles, webhooks, strict=True))
    legs = (("webhooks", webhooks, 1), ("reports of one", singles, 1), ("rows of 1,000", thousands, LARGE))
    for name, results, each in legs:
        say(
            f"{name:15} {median(results, 'rate') * each:8.0f}/s   app {median(results, 'app_us') / each:5.1f} µs,"
            f" PostgreSQL {median(results, 'pg_us') / each:5.1f} µs of CPU each"
        )
    say(f"reports / webhooks {ratio:.2f} (to reach: 0.80)")
    say(
        json.dumps(
            {
                "bench": "usage",
                "reports_per_second": round(median(singles, "rate")),
                "webhooks_per_second": round(median(webhooks, "rate")),
                "reports_by_webhooks": round(ratio, 3),
                "rows_per_second": round(median(thousands, "rate") * LARGE),
                "report_app_cpu_us": round(median(singles, "app_us"), 1),
                "report_postgres_cpu_us": round(median(singles, "pg_us"), 1),
                "row_app_cpu_us": round(median(thousands, "app_us") / LARGE, 2),
                "row_postgres_cpu_us": round(median(thousands, "pg_us") / LARGE, 2),
            }
        )
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("role", nargs="?", default="main", choices=["main", "serve", "send"])
    parser.add_argument("--url", default="")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--keys", default="")
    parser.add_argument("--rows", type=int, default=1)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--large", type=int, default=60)
    parser.add_argument("--round", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    if given.role == "serve":
        sys.exit(serve(given.url))
    elif given.role == "send":
        made = reports(given.count, given.round, given.keys.split(","), given.rows)
        say(uvloop.run(send(given.port, iter(made), CONNECTIONS if given.rows == 1 else 4, ACCEPTED)))
    else:
        main(given.rounds, given.count, given.large)
