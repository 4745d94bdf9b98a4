"""Plugs to pull: work that dies at its n-th wait, a proxy that swallows the answer to COMMIT, worker processes."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Coroutine, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


class DiesAt:
    """Awaits `work`, and kills this process with SIGKILL at its n-th suspension."""

    def __init__(self, work: Coroutine[Any, Any, None], n: int) -> None:
        self._work = work
        self._left = n

    def __await__(self) -> Generator[Any, Any, None]:
        waiting = self._work.__await__()
        for step in waiting:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            yield step


class CommitEater:
    """Stands between a client and PostgreSQL; while `armed`, it passes one COMMIT on and hangs up before the answer."""

    def __init__(self, server: Path, folder: Path) -> None:
        self._server = server / ".s.PGSQL.5432"
        self._folder = folder
        self.armed = False
        self.eaten = 0
        self._serving: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def listening(self) -> AsyncGenerator[None]:
        listener = await asyncio.start_unix_server(self._serve, self._folder / ".s.PGSQL.5432")
        try:
            yield
        finally:
            listener.close()
            for task in self._serving:
                task.cancel()
            await asyncio.gather(*self._serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        up_reader, up_writer = await asyncio.open_unix_connection(self._server)
        answers = asyncio.create_task(self._pump(up_reader, writer))
        try:
            await self._pass_on(reader, up_reader, up_writer, answers)
        finally:
            answers.cancel()
            for one in (writer, up_writer):
                one.close()
                with contextlib.suppress(ConnectionError):
                    await one.wait_closed()

    async def _pass_on(
        self,
        reader: asyncio.StreamReader,
        up_reader: asyncio.StreamReader,
        up_writer: asyncio.StreamWriter,
        answers: asyncio.Task[None],
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                if self.armed and b"COMMIT" in data:
                    self.armed = False
                    self.eaten += 1
                    answers.cancel()
                    up_writer.write(data)
                    await up_writer.drain()
                    await up_reader.read(65536)  # the server says that it has committed; nobody hears it
                    return
                up_writer.write(data)
                await up_writer.drain()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()


@contextmanager
def worker_process(
    database_url: str, redis_url: str, name: str, *, lease: float = 2
) -> Generator[subprocess.Popen[bytes]]:
    """A real worker process whose events and jobs leave notes in `effects`."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": os.environ.get("HOME", "/tmp"),  # noqa: S108 - only to have one
        "PYTHONPATH": str(ROOT),
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "BILLING_WORKER_ID": name,
        "BILLING_LEASE_SECONDS": str(lease),
        "BILLING_GRACE_SECONDS": "0.2",
        "LOG_LEVEL": "WARNING",
    }
    process = subprocess.Popen([sys.executable, "-m", "tests.crash.worker_main"], env=environment, cwd=ROOT)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
