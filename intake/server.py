"""The doors stand open on a socket: no client can hold one open by dawdling, and a stop lets every request end."""

import asyncio
import resource
import signal
import socket
from collections.abc import Callable
from types import FrameType
from typing import Any, NoReturn, cast

import structlog
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from worker.settings import ConfigurationError

log = structlog.get_logger()

HEAD_TIMEOUT = 10.0
"""Seconds in which a request's head must have come, and in which what follows a refused body must end."""

KEEP_ALIVE = 75
"""Seconds that an idle connection is kept for the next request."""

MAX_HEAD = 64 * 1024
"""Bytes that a request's head may have, and so may what follows its body; up to two PIECEs more may pass."""

PIECE = 16 * 1024
"""Bytes that are parsed at once: each piece of a header is copied together with all before it."""

MAX_CONNECTIONS = 4000
"""Beyond these, requests are answered 503 at once."""

WHOLE_BODY = "billing.whole_body"
"""The ASGI extension of a request whose body had come before the application was called."""

_TOO_LONG = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"

_WHOLE: dict[str, dict[object, object]] = {WHOLE_BODY: {}}

STOP_TIMEOUT = 8
"""Seconds that requests may take to end when the server stops."""


class Corked:
    """A transport that sends what is written in one turn of the loop at once: uvicorn writes head and body apart.

    Two system calls and two packets for each answer would cost the door a tenth of its throughput.
    """

    __slots__ = ("_loop", "_parts", "_transport", "get_extra_info", "is_closing", "pause_reading", "resume_reading")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        """`transport` does the work."""
        self._transport = transport
        self._loop = loop
        self._parts: list[bytes] = []
        self.get_extra_info = transport.get_extra_info
        self.is_closing = transport.is_closing
        self.pause_reading = transport.pause_reading
        self.resume_reading = transport.resume_reading

    def write(self, data: bytes) -> None:
        """Send `data` with what else is written in this turn."""
        if not self._parts:
            self._loop.call_soon(self._flush)
        self._parts.append(data)

    def _flush(self) -> None:
        if self._parts:
            self._transport.write(b"".join(self._parts))
            self._parts.clear()

    def close(self) -> None:
        """Send all, then hang up."""
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        """Hang up."""
        self._parts.clear()
        self._transport.abort()


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol, which takes heads of any size and waits for ever for them, with an end to both."""

    _timer: asyncio.TimerHandle | None = None
    _idle_bytes = 0
    """What came since a head began or ended, or a part of a body came: the size of an unfinished head or trailer."""
    _in_head = False
    _in_body = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride] - uvicorn's own narrowing
        """A connection that says nothing is closed."""
        super().connection_made(cast("asyncio.Transport", Corked(transport, self.loop)))
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """A whole head in one piece, which is the usual case, costs no timer."""
        if len(data) <= PIECE:
            self._feed(data)
        else:
            for start in range(0, len(data), PIECE):
                if self.transport.is_closing():
                    return
                self._feed(data[start : start + PIECE])
        if self._in_head and self._timer is None:
            self._start_timer()

    def _feed(self, data: bytes) -> None:
        self._idle_bytes += len(data)
        if self._idle_bytes > MAX_HEAD + PIECE:
            self._refuse_head()
        else:
            super().data_received(data)

    def _refuse_head(self) -> None:
        log.warning("a request's head was too long", client=self.client)
        cycle: Any = self.cycle  # None before the first request, whatever uvicorn declares
        if cycle is None or cycle.response_complete:
            self.transport.write(_TOO_LONG)
            self.transport.close()
        else:  # an answer to an earlier request is under way, and must not be torn
            self.transport.abort()

    def on_message_begin(self) -> None:
        """A head begins."""
        self._idle_bytes = 0
        self._in_head = self._in_body = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head is there; the application bounds the time of the body that it reads."""
        self._in_head = False
        self._idle_bytes = 0
        self._stop_timer()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of the body came."""
        self._idle_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The body is there: whoever reads it needs no timer."""
        self._in_body = False
        self._idle_bytes = 0
        self.scope["extensions"] = _WHOLE
        self._stop_timer()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Nobody reads the rest of a body that was answered early: it is dropped, as long as that takes no time."""
        super().on_response_complete()
        if self._in_body and self._timer is None:
            self._start_timer()

    def _start_timer(self) -> None:
        self._timer = self.loop.call_later(HEAD_TIMEOUT, self._dawdled)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _dawdled(self) -> None:
        self._timer = None
        if not self.transport.is_closing():
            self.transport.abort()


def make(app: Any) -> uvicorn.Server:
    """A server for the ASGI application `app`; `serve(sockets=[…])` runs it."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            loop="uvloop",
            http=BoundedProtocol,
            ws="none",
            lifespan="on",
            access_log=False,  # it would cost 18 % of the throughput
            log_config=None,
            proxy_headers=False,
            server_header=False,
            backlog=2048,
            limit_concurrency=MAX_CONNECTIONS,
            timeout_keep_alive=KEEP_ALIVE,
            timeout_graceful_shutdown=STOP_TIMEOUT,
        )
    )


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises ConfigurationError when it cannot be had."""
    try:
        return socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=2048
        )
    except OSError as error:
        raise ConfigurationError(
            f"{host}:{port} cannot be listened on ({error.strerror}): stop what holds it, or choose another --port"
        ) from None


def _leave(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(0)


def run(app: Any, host: str, port: int, on_bound: Callable[[str, int], None] | None = None) -> int:
    """Serve `app` until SIGTERM or SIGINT, and return the exit code.

    `on_bound` is told the address as soon as connections are taken. Raises ConfigurationError if it cannot be had.
    """
    listening = bind(host, port)
    host, port = listening.getsockname()[:2]
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65_536), hard))
    except (ValueError, OSError):  # macOS names a hard limit that it does not grant
        log.debug("the limit of open files stays as it is")
    # uvicorn raises the signal again after a clean stop, to end as others do; for us that is an exit with 0.
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, _leave)
    if on_bound is not None:
        on_bound(host, port)
    log.info("serving", address=f"http://{host}:{port}")
    try:
        make(app).run(sockets=[listening])
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    return 0
