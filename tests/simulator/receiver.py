"""Receivers of webhooks for the simulator's tests: one inside the process, and one behind a real socket."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
import stripe

Json = dict[str, Any]


@dataclass
class Got:
    """One attempt at a delivery."""

    url: str
    body: bytes
    headers: dict[str, str]

    @property
    def event(self) -> Json:
        return msgspec.json.decode(self.body)

    @property
    def signatures(self) -> list[str]:
        """The `v1` signatures, newest secret first."""
        return [part[3:] for part in self.headers["Stripe-Signature"].split(",") if part.startswith("v1=")]

    def signed_by(self, secret: str) -> bool:
        """Whether Stripe's own library takes it for signed with `secret`."""
        try:
            stripe.WebhookSignature.verify_header(  # pyright: ignore[reportUnknownMemberType] - the SDK leaves a parameter untyped
                self.body.decode(), self.headers["Stripe-Signature"], secret
            )
        except stripe.SignatureVerificationError:
            return False
        return True


@dataclass
class Inbox:
    """Notes every attempt, and answers what `answers` says: 200 unless a test wants otherwise. None: no answer."""

    answers: Callable[[Got], int | None] = lambda _got: 200
    got: list[Got] = field(default_factory=list[Got])
    most_at_once: int = 0
    _now: int = 0

    async def __call__(self, url: str, body: bytes, headers: dict[str, str]) -> int:
        self._now += 1
        self.most_at_once = max(self.most_at_once, self._now)
        await asyncio.sleep(0)
        self._now -= 1
        got = Got(url, body, headers)
        self.got.append(got)
        if (status := self.answers(got)) is None:
            raise ConnectionRefusedError
        return status

    @property
    def types(self) -> list[str]:
        return [got.event["type"] for got in self.got]

    @property
    def ids(self) -> list[str]:
        return [got.event["id"] for got in self.got]


@dataclass
class Socket:
    """A real receiver that answers with raw bytes; None hangs up. `connections` counts how many were made."""

    answer: Callable[[int], bytes | None]
    port: int = 0
    connections: int = 0
    requests: list[bytes] = field(default_factory=list[bytes])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks?from=stripe"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                self.requests.append(head + await reader.readexactly(length))
                answer = self.answer(len(self.requests))
                if answer is None:
                    break
                writer.write(answer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def receiving(answer: Callable[[int], bytes | None]) -> AsyncGenerator[Socket]:
    """A receiver on a free port; `answer` is told the request's number, from 1."""
    made = Socket(answer)
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
