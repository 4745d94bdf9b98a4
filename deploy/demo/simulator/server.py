"""The simulated Stripe stands at an HTTP address: its API, the controls under `/_sim/`, and a page for people."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping
from contextlib import asynccontextmanager
from email.utils import formatdate
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from deploy.demo.simulator import control
from deploy.demo.simulator.api import Answer, Request
from deploy.demo.simulator.faults import ApiFault, Kind
from deploy.demo.simulator.simulation import Simulation

log = logging.getLogger(__name__)

Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

HANG_UP = "simulator.hang_up"
"""The ASGI extension that ends a connection without an answer, as a broken network does."""

BIGGEST = 8 * 1024 * 1024
"""Bytes of a request's body."""

PIECE = 1024 * 1024
"""Bytes of an answer that are sent at once."""

KEY = "Bearer sk_test_control"
"""What stands for a key where customers and banks act."""


class Protocol(HttpToolsProtocol):
    """uvicorn's own, which lets the application hang up."""

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self.scope["extensions"] = {HANG_UP: {"abort": self.transport.abort}}


class Server(uvicorn.Server):
    """uvicorn's own, which leaves signals to whoever runs the loop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Capture none."""
        yield


class App:
    """Answers HTTP requests to one simulation."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """ASGI."""
        body = await _body(receive)
        if body is None:
            await self._send(send, Answer(413, b"", {}))
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        path, query = scope["raw_path"].decode("latin-1").partition("?")[0], scope["query_string"].decode("latin-1")
        request = Request(scope["method"], path, query, headers, body.decode("utf-8", "replace"))
        if path.startswith("/v1/"):
            answer = await self._api(request, receive)
        else:
            answer = await control.answer(self._simulation, request)
        if answer is None:
            scope["extensions"][HANG_UP]["abort"]()
            await _gone(receive)
        elif answer.status:
            await self._send(send, answer)
        else:
            headers = {**request.headers, "authorization": request.headers.get("authorization", KEY)}
            acted = Request(request.method, path, query, headers, request.body)
            await self._send(send, self._simulation.api.answer(acted))

    async def _send(self, send: Send, answer: Answer) -> None:
        """Who asks Stripe learns its time, and here it is the simulation's own."""
        date = formatdate(self._simulation.api.account.now(), usegmt=True)
        await _send(send, Answer(answer.status, answer.body, answer.headers | {"date": date}))

    async def _api(self, request: Request, receive: Receive) -> Answer | None:
        """The API's answer, or what the faults make of it; None for none."""
        api, faults = self._simulation.api, self._simulation.faults
        fault: ApiFault | None = faults.on_request(request.method, request.path)
        match fault.kind if fault is not None else None:
            case Kind.RATE_LIMIT:
                assert fault is not None
                return faults.answer(fault, request)
            case Kind.ERROR if request.headers.get("idempotency-key") not in api.kept:
                assert fault is not None
                return api.keep(request, faults.answer(fault, request))
            case Kind.TIMEOUT:
                assert fault is not None
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(_gone(receive), fault.seconds)
                return None
            case Kind.DROP_BEFORE:
                return None
            case Kind.DROP_AFTER:
                api.answer(request)
                return None
            case _:
                return api.answer(request)


async def _body(receive: Receive) -> bytes | None:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > BIGGEST:
            return None
        if not message.get("more_body", False):
            return b"".join(parts)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send(send: Send, answer: Answer) -> None:
    headers = answer.headers | {"content-length": str(len(answer.body))}
    raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": raw})
    for start in range(0, len(answer.body), PIECE):
        piece = answer.body[start : start + PIECE]
        await send({"type": "http.response.body", "body": piece, "more_body": start + PIECE < len(answer.body)})
    if not answer.body:
        await send({"type": "http.response.body", "body": b""})


@asynccontextmanager
async def serving(simulation: Simulation, host: str = "127.0.0.1", port: int = 0) -> AsyncGenerator[str]:
    """Serve in this event loop; gives the address. Port 0 takes a free one. What is due is delivered by itself.

    Raises OSError when the port cannot be had.
    """
    listening = socket.create_server((host, port), backlog=512)
    # asyncio sets it only where the protocol is named; else an answer's body waits 40 ms for its head's receipt.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # Inherited by what it accepts. asyncio does it only for sockets that name TCP, and head and body go in two writes.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    config = uvicorn.Config(
        App(simulation),
        http=Protocol,
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        date_header=False,
        timeout_keep_alive=600,
        timeout_graceful_shutdown=2,
    )
    server = Server(config)
    task = asyncio.create_task(server.serve(sockets=[listening]))
    simulation.deliveries.start()
    try:
        while not server.started and not task.done():  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.001)
        host, port = listening.getsockname()[:2]
        yield f"http://{host}:{port}"
    finally:
        await simulation.close()
        server.should_exit = True
        await task
        listening.close()
