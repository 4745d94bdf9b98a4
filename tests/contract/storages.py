"""Storages for tests: one in memory, and S3's API on this machine (moto's server, a process of its own)."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection

from worker.errors import TryLater

BUCKET = "documents"


class MemoryFiles:
    """A storage in memory that keeps the port's promises; `away` makes it answer as one that is gone."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.writes: list[str] = []
        self.reads: list[str] = []
        self.away: str | None = None

    def _reach(self) -> None:
        if self.away is not None:
            raise TryLater(self.away)

    async def create(self, name: str, content: bytes, *, media_type: str) -> bool:
        assert media_type
        self._reach()
        self.writes.append(name)
        if name in self.files:
            return False
        self.files[name] = bytes(content)
        return True

    async def read(self, name: str) -> bytes:
        self._reach()
        self.reads.append(name)
        if name not in self.files:
            raise FileNotFoundError(name)
        return self.files[name]

    def url(self, name: str) -> str:
        return f"memory:///{name}"

    async def close(self) -> None:
        """Nothing is held open."""


@dataclass(frozen=True)
class S3:
    """A running S3."""

    port: int
    process: subprocess.Popen[bytes]

    @property
    def environment(self) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
        }

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes, dict[str, str]]:
        """A request, unsigned: moto trusts everybody."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, path, body, {"Host": f"127.0.0.1:{self.port}"})
            answer = connection.getresponse()
            return answer.status, answer.read(), {key.lower(): value for key, value in answer.getheaders()}
        finally:
            connection.close()

    @contextmanager
    def frozen(self) -> Generator[None]:
        """It takes connections, and says nothing."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)


@contextmanager
def s3_server() -> Generator[S3]:
    """S3 on a free port of 127.0.0.1, with an empty bucket."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", "PYTHONWARNINGS": "ignore"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    server = S3(port, process)
    try:
        until = time.monotonic() + 60
        while True:
            try:
                status, _, _ = server.ask("PUT", f"/{BUCKET}")
                break
            except OSError:
                assert process.poll() is None, "moto's server ended"
                assert time.monotonic() < until, "moto's server never came up"
                time.sleep(0.1)
        assert status == 200
        yield server
    finally:
        process.kill()
        process.wait()
