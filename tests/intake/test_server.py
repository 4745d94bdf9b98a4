"""No client holds a connection by dawdling, and the door's process holds nothing that is not its own."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from typing import TypeAlias

import asyncpg
import pytest

from intake import server
from tests.intake.kit import SECRET, Client, SpyBell, body, door, serving
from worker.settings import ConfigurationError, Settings

Rows: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

LOOK = """
import json, os, sys
from intake.app import build_app
from worker.settings import Settings
build_app(Settings())
print(json.dumps([name for name in sys.modules if name.split(".")[0] in {"stripe", "jobs", "weasyprint"}]))
"""

RUN = """
import sys
from intake.app import serve
from worker.settings import Settings
import os
def bound(host, port):
    print(port, "STRIPE_SECRET_KEY" in os.environ, flush=True)
sys.exit(serve(Settings(), "127.0.0.1", 0, bound))
"""


def environment(settings: Settings) -> dict[str, str]:
    return os.environ | {
        "DATABASE_URL": settings.database_url or "",
        "REDIS_URL": settings.redis_url or "",
        "STRIPE_WEBHOOK_SECRET": SECRET.decode(),
        "STRIPE_SECRET_KEY": "sk_test_never_needed_here",
    }


def test_the_process_holds_no_business_and_no_stripe(settings: Settings) -> None:
    found = subprocess.run(
        [sys.executable, "-c", LOOK], env=environment(settings), check=True, capture_output=True, text=True
    )
    assert json.loads(found.stdout) == []


@pytest.mark.slow
async def test_serve_drops_the_key_and_stops_cleanly(settings: Settings) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", RUN, env=environment(settings), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    port, holds_the_key = (await process.stdout.readline()).split()
    client = Client(int(port))
    assert holds_the_key == b"False"
    assert (await client.deliver(body())).status == 200
    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), 20) == 0


def test_a_taken_port_is_said_plainly() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"127.0.0.1:{port} cannot be listened on"):
            server.bind("127.0.0.1", port)


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"POST /payments/webhook HTTP/1.1\r\nhost:",
        b"GET /payments/webhook HTTP/1.1\r\nhost: x\r\n\r\nGET /",
        b"POST /payments/webhook HTTP/1.1\r\nhost: x\r\ncontent-length: 9999999\r\n\r\nabc",
    ],
)
async def test_who_dawdles_is_hung_up_on(
    settings: Settings, bell: SpyBell, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    """Silence, half a head, half a second head, and the rest of a body that was refused already."""
    monkeypatch.setattr(server, "HEAD_TIMEOUT", 0.2)
    async with serving(door(settings, bell)) as client:
        reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
        writer.write(sent)
        try:
            await asyncio.wait_for(reader.read(), 10)  # until it ends
        except ConnectionResetError:
            pass
        finally:
            writer.close()
        assert (await client.deliver(body())).status == 200


async def test_an_idle_connection_serves_again(settings: Settings, bell: SpyBell) -> None:
    async with serving(door(settings, bell)) as client:
        reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
        for _ in range(3):
            writer.write(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
            length = next(int(line[16:]) for line in head.split(b"\r\n") if line.startswith(b"content-length: "))
            assert b'"ok"' in await reader.readexactly(length)
        writer.close()


async def test_pipelined_requests_are_answered_in_order(settings: Settings, bell: SpyBell) -> None:
    async with serving(door(settings, bell)) as client:
        reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
        get = b"GET %s HTTP/1.1\r\nhost: x\r\n%s\r\n"
        writer.write(get % (b"/payments/webhook", b"") + get % (b"/health", b"connection: close\r\n"))
        answers = await asyncio.wait_for(reader.read(), 10)
        writer.close()
    assert answers.index(b"405") < answers.index(b"200 OK")


async def test_a_stop_lets_what_waits_be_committed(settings: Settings, bell: SpyBell, rows: Rows) -> None:
    listening = server.bind("127.0.0.1", 0)
    made = server.make(door(settings, bell))
    task = asyncio.create_task(made.serve(sockets=[listening]))
    client = Client(listening.getsockname()[1])
    assert (await client.deliver(body(id_="evt_first"))).status == 200
    await rows.execute("BEGIN; LOCK TABLE webhook_events")
    waiting = [asyncio.create_task(client.deliver(body(id_=f"evt_{number}"))) for number in range(10)]
    blocked = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    async with asyncio.timeout(10):
        while not await rows.fetchval(blocked):
            pass
    made.should_exit = True
    await asyncio.sleep(0.3)  # the stop is under way
    await rows.execute("COMMIT")
    assert [(await one).status for one in waiting] == [200] * 10
    await task
    assert await rows.fetchval("SELECT count(*) FROM webhook_events") == 11
