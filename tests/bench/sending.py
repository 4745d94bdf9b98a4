"""Requests go out over kept connections, each when the answer to the one before has come."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast


@dataclass(frozen=True, slots=True)
class Accepted:
    """How an answer begins and ends that is the wanted one."""

    begins: bytes
    ends: bytes


class Sender(asyncio.Protocol):
    """One connection: the next request goes out when the answer to the last has come."""

    def __init__(self, source: Iterator[bytes], accepted: Accepted, done: Callable[[], None]) -> None:
        self.source, self.accepted, self.done = source, accepted, done
        self.transport: asyncio.Transport | None = None
        self.answer = b""
        self.bad = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def go(self) -> None:
        assert self.transport is not None
        request = next(self.source, None)
        if request is None:
            self.done()
        else:
            self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.answer += data
        if self.answer.endswith(b"}"):
            self.bad += not (self.answer.startswith(self.accepted.begins) and self.answer.endswith(self.accepted.ends))
            self.answer = b""
            self.go()


async def send(port: int, source: Iterator[bytes], connections: int, accepted: Accepted) -> str:
    """Send all over so many connections; how long it took and how many answers were others, as JSON."""
    loop = asyncio.get_running_loop()
    finished = asyncio.Event()
    left = connections

    def done() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            finished.set()

    senders = [
        (await loop.create_connection(lambda: Sender(source, accepted, done), "127.0.0.1", port))[1]
        for _ in range(connections)
    ]
    start = time.perf_counter()
    for sender in senders:
        sender.go()
    await finished.wait()
    return json.dumps({"seconds": time.perf_counter() - start, "bad": sum(sender.bad for sender in senders)})
