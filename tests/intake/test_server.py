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
from pydantic import SecretStr
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from intake import server
from intake.admin.app import build_app as build_admin
from intake.signature import sign
from tests.intake.kit import SECRET, Client, SpyBell, body, door, now, serving
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


START = b"POST /payments/webhook HTTP/1.1\r\nhost: x\r\n"
LONG = 8 * 1024 * 1024


async def told(port: int, sent: bytes) -> bytes:
    """What comes back until the connection ends; nothing, when it was reset meanwhile."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    try:
        return await asyncio.wait_for(reader.read(), 20)
    except OSError:
        return b""
    finally:
        writer.close()


@pytest.mark.parametrize(
    "sent",
    [
        START + b"stripe-signature: " + b"v1=0," * (LONG // 5),
        b"GET /" + b"x" * LONG,
        START + b"a: b\r\n" * (LONG // 6),
        START + b"a" * LONG,
        START + b"transfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\na: " + b"b" * LONG,
        b"GET /payments/webhook HTTP/1.1\r\nhost: x\r\n\r\n" + START + b"a: " + b"b" * LONG,
        START + b"content-length: 300000\r\n\r\n" + b"x" * 300_000 + START + b"a: " + b"b" * LONG,
    ],
    ids=["header", "address", "headers", "name", "trailer", "second", "after_a_body"],
)
async def test_a_huge_head_is_not_read(
    settings: Settings, bell: SpyBell, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    most = 0
    parse = HttpToolsProtocol.data_received

    def watched(self: HttpToolsProtocol, data: bytes) -> None:
        nonlocal most
        most += len(data)
        parse(self, data)

    monkeypatch.setattr(HttpToolsProtocol, "data_received", watched)
    async with serving(door(settings, bell)) as client:
        answer = await told(client.port, sent)
        assert most < 300_000 + server.MAX_HEAD + 3 * server.PIECE
        assert b"HTTP/1.1 200" not in answer
        assert (await client.get("/health")).status == 200


async def test_a_long_head_is_told_so(settings: Settings, bell: SpyBell) -> None:
    async with serving(door(settings, bell)) as client:
        sent = (START + b"a: ").ljust(server.MAX_HEAD + 2 * server.PIECE + 1, b"b")
        assert (await told(client.port, sent)).startswith(b"HTTP/1.1 431 ")


async def test_a_head_within_the_bound_is_read(settings: Settings, bell: SpyBell) -> None:
    """And so are large bodies, on one connection, however they fall into packets."""
    async with serving(door(settings, bell)) as client:
        padding = b"a: " + b"b" * (server.MAX_HEAD - 200) + b"\r\n"
        sent = b""
        for number in range(4):
            large = body(id_=f"evt_{number}", data={"object": {"x": "y" * 500_000}})
            head = START + b"stripe-signature: " + sign(large, (SECRET,), at=now())
            sent += head + b"\r\n" + padding + b"content-length: %d\r\n" % len(large)
            sent += (b"connection: close\r\n" if number == 3 else b"") + b"\r\n" + large
        answers = await told(client.port, sent)
    assert answers.count(b"HTTP/1.1 200 OK") == 4


async def test_a_slow_body_at_the_internal_door_is_cut(settings: Settings) -> None:
    inner = settings.model_copy(update={"admin_token": SecretStr("x")})
    sent = b"POST %s HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{"
    async with serving(build_admin(inner, schedules=(), body_timeout=0.2)) as client:
        for path in (b"/sign-in", b"/admin/events/retry"):
            answer = await told(client.port, sent % path)
            assert answer.startswith(b"HTTP/1.1 408 ")
            assert b"connection: close" in answer
