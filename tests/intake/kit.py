"""What the door's tests share: a running server, a client of a few lines, and Stripe's pen."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

from intake import server
from intake.app import Door, build_app
from intake.signature import sign
from worker.settings import Settings

SECRET = b"whsec_test"


class SpyBell:
    """A doorbell that notes who was called."""

    def __init__(self) -> None:
        self.rings: list[str] = []

    def ring(self, queue: str) -> None:
        self.rings.append(queue)


@dataclass
class Response:
    """An answer of the door."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


async def _read_response(reader: asyncio.StreamReader) -> Response:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
    body = await reader.readexactly(int(headers["content-length"]))
    return Response(int(head[0].split(" ")[1]), headers, body)


@dataclass
class Client:
    """Talks to one server; each request has a connection of its own."""

    port: int

    async def send(self, *pieces: bytes) -> Response:
        """Send raw bytes and read one answer."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            for piece in pieces:
                writer.write(piece)
            return await asyncio.wait_for(_read_response(reader), 20)
        finally:
            writer.close()

    async def request(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, bytes] | None = None
    ) -> Response:
        lines = [f"{method} {path} HTTP/1.1".encode(), b"host: localhost", b"content-length: %d" % len(body)]
        lines += [name.encode() + b": " + value for name, value in (headers or {}).items()]
        return await self.send(b"\r\n".join([*lines, b"", body]))

    async def get(self, path: str) -> Response:
        return await self.request("GET", path)

    async def post(self, body: bytes, signature: bytes | None) -> Response:
        headers = {} if signature is None else {"stripe-signature": signature}
        return await self.request("POST", "/payments/webhook", body, headers)

    async def deliver(self, body: bytes, *secrets: bytes, at: int | None = None) -> Response:
        """As Stripe does: signed, now."""
        at = now() if at is None else at
        return await self.post(body, sign(body, secrets or (SECRET,), at=at))


def now() -> int:
    """Seconds since 1970."""
    return time.time_ns() // 10**9


def event(id_: str = "evt_1", type_: str = "invoice.paid", **fields: Any) -> dict[str, Any]:
    """An event with the fields that every event has."""
    return {
        "id": id_,
        "object": "event",
        "type": type_,
        "api_version": "2026-10-28.endive",
        "created": 1772366400,
        "livemode": False,
        "data": {"object": {"id": "in_1", "object": "invoice", "customer": "cus_1"}},
        **fields,
    }


def body(**fields: Any) -> bytes:
    """An event as Stripe sends it: pretty-printed."""
    fields.setdefault("id_", "evt_1")
    return json.dumps(event(**fields), indent=2).encode()


@asynccontextmanager
async def serving(app: Any) -> AsyncGenerator[Client]:
    """The app behind a real server on a free port."""
    listening = server.bind("127.0.0.1", 0)
    made = server.make(app)
    task = asyncio.create_task(made.serve(sockets=[listening]))
    try:
        while not made.started and not task.done():  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.01)
        yield Client(cast("int", listening.getsockname()[1]))
    finally:
        made.should_exit = True
        await task


def door(settings: Settings, bell: SpyBell, **options: Any) -> Door:
    """The public door, with a doorbell that only notes."""
    return build_app(settings, bell=bell, **options)
