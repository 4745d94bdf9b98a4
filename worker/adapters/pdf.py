"""Documents become PDFs in processes of their own: one that takes too much is ended, and the others go on."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Coroutine
from typing import Any

from worker.adapters import pdf_process as wire
from worker.deps import assert_outside_transaction
from worker.errors import Refused, TryLater

START_SECONDS = 60.0
"""A process is ready after about one second; a first run on a machine reads all its fonts."""

RECYCLE = 1_000
"""Documents that one process renders before another takes its place: WeasyPrint keeps a little of each."""

LARGEST = 256 * 1024 * 1024
"""Bytes of the largest document, and of the largest PDF."""

HANDED_DOWN = (
    "HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "TMPDIR", "FONTCONFIG_FILE", "FONTCONFIG_PATH",
    "LD_LIBRARY_PATH", "DYLD_FALLBACK_LIBRARY_PATH",
)  # fmt: skip
"""All that a rendering process is told of our environment: where fonts and libraries are."""


def environment() -> dict[str, str]:
    """A rendering process's whole environment: no secret of ours is in it, and nothing that makes PDFs differ."""
    return {name: os.environ[name] for name in HANDED_DOWN if name in os.environ} | {
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "PYTHONHASHSEED": "0",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


class Gone(Exception):  # noqa: N818 - what happened, told by `code`
    """A process ended before it answered."""

    def __init__(self, code: int) -> None:
        """`code` is the exit status; below zero: the signal."""
        super().__init__(code)
        self.code = code


class Renderer:
    """One process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        assert process.stdin is not None
        assert process.stdout is not None
        self._in, self._out = process.stdin, process.stdout
        self.served = 0
        self._killed = False
        self.successor: asyncio.Task[Renderer] | None = None

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """False when it is known to have ended."""
        return self._process.returncode is None

    async def ask(self, document: bytes) -> tuple[bytes, bytes]:
        """Send a document, wait for what it says. Raises Gone when it ends instead."""
        self.served += 1
        with contextlib.suppress(ConnectionError):  # then it has ended, as the reading tells
            self._in.write(wire.frame(wire.DOCUMENT, document))
            await self._in.drain()
        return await self.hear()

    async def hear(self) -> tuple[bytes, bytes]:
        """Its next message. Raises Gone."""
        try:
            header = await self._out.readexactly(wire.HEADER)
            size = int.from_bytes(header[1:], "big")
            if size > LARGEST:
                raise Refused(f"its PDF has {size} bytes: {LARGEST} are the most")
            return header[:1], await self._out.readexactly(size)
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise Gone(await self._process.wait()) from error

    def kill(self) -> None:
        """End it now, whatever it does."""
        if self._killed or not self.alive:
            return  # a second signal would look whether it is gone, and take its end from who waits for it
        self._killed = True
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def end(self) -> None:
        """End it, and wait until it is gone. It holds nothing that would be lost."""
        self.kill()
        self._in.close()
        await self._process.wait()


class PdfPool:
    """Renders documents, as many at once as it has processes; the others wait for their turn.

    Processes start when they are first needed, and are replaced after `recycle` documents.
    """

    def __init__(
        self,
        builder: str,
        *,
        processes: int | None = None,
        seconds: float = 60.0,
        megabytes: int = 1024,
        recycle: int = RECYCLE,
    ) -> None:
        """`builder` names what makes a page of a document, such as `jobs.invoices.page:build`.

        `processes`: one a core by default. `seconds` of time and `megabytes` of memory are what one document may take.
        """
        self._builder = builder
        self._seconds, self._megabytes, self._recycle = seconds, megabytes, recycle
        self._turns = asyncio.Semaphore(processes or os.cpu_count() or 1)
        self._idle: list[Renderer] = []
        self._all: set[Renderer] = set()
        self._closed = False
        self._endings: set[asyncio.Task[None]] = set()

    @property
    def pids(self) -> list[int]:
        """The processes that there are now."""
        return [renderer.pid for renderer in self._all if renderer.alive]

    async def render(self, document: bytes) -> bytes:
        """The PDF of a document; the same document gives the same bytes.

        Raises Refused when it cannot be built or shown, or takes more time or memory than it may, and TryLater when
        the process ended for no fault of the document, could not start, or the pool is closed.
        """
        assert_outside_transaction("rendering")
        if len(document) > LARGEST:
            raise Refused(f"the document has {len(document)} bytes: {LARGEST} are the most")
        async with self._turns:
            if self._closed:
                raise TryLater("the renderer is shutting down")
            renderer = await self._someone()
            try:
                async with asyncio.timeout(self._seconds):
                    kind, content = await renderer.ask(document)
            except TimeoutError:
                self._drop(renderer)
                raise Refused(self._too_long()) from None
            except Gone as gone:
                self._drop(renderer)
                raise self._told(gone.code) from None
            except BaseException:  # cancelled: its answer would be taken for another document's
                self._drop(renderer)
                raise
            if kind == wire.TOO_BIG:
                self._drop(renderer)
                raise Refused(self._too_much())
            self._give_back(renderer)
        if kind == wire.PDF:
            return content
        raise Refused(content.decode(errors="replace"))

    async def close(self) -> None:
        """End all processes; documents under way raise TryLater."""
        self._closed = True
        for renderer in [*self._all]:
            if renderer.successor is not None:
                renderer.successor.cancel()
            self._drop(renderer)
        while self._endings:
            await asyncio.gather(*self._endings, return_exceptions=True)

    def _too_long(self) -> str:
        return f"it took longer than {self._seconds:g} s (BILLING_PDF_SECONDS), and its process was ended"

    def _too_much(self) -> str:
        return f"it took more than {self._megabytes} MB (BILLING_PDF_MEGABYTES), and its process was ended"

    def _told(self, code: int) -> Exception:
        if self._closed:
            return TryLater("the renderer is shutting down")
        if code == -signal.SIGPROF:
            return Refused(self._too_long())
        if code in {-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT}:
            return TryLater("the process that rendered it was killed from outside, perhaps because memory ran short")
        name = signal.Signals(-code).name if code < 0 else f"exit status {code}"
        # Libraries in C abort when they get no memory; a Python that is out of it may fail anywhere.
        return Refused(f"its process ended by {name}: probably it took more than {self._megabytes} MB")

    async def _someone(self) -> Renderer:
        while self._idle:
            renderer = self._idle.pop()
            if renderer.alive:
                return renderer
            self._drop(renderer)
        return await self._start()

    async def _start(self) -> Renderer:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", wire.__name__,
            self._builder, str(self._megabytes), str(int(self._seconds) + 1), str(os.getpid()),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, env=environment(),
        )  # fmt: skip
        renderer = Renderer(process)
        self._all.add(renderer)
        try:
            async with asyncio.timeout(START_SECONDS):
                kind, content = await renderer.hear()
        except TimeoutError:
            self._drop(renderer)
            raise TryLater(f"a process that renders was not ready after {START_SECONDS:g} s") from None
        except Gone as gone:
            self._drop(renderer)
            raise TryLater(f"a process that renders could not start: exit status {gone.code}") from None
        except BaseException:
            self._drop(renderer)
            raise
        if kind != wire.READY:
            self._drop(renderer)
            raise TryLater(f"a process that renders could not start (`billing doctor` helps): {content.decode()}")
        if self._closed:
            self._drop(renderer)
            raise TryLater("the renderer is shutting down")
        return renderer

    def _give_back(self, renderer: Renderer) -> None:
        if self._closed or not renderer.alive:
            self._drop(renderer)
            return
        if renderer.served >= self._recycle:
            renderer = self._renewed(renderer)
        self._idle.append(renderer)

    def _renewed(self, renderer: Renderer) -> Renderer:
        """Who takes its place, once there is somebody: it goes on until then, so that nobody waits for a start."""
        following = renderer.successor
        if following is None:
            renderer.successor = self._background(self._start())
            return renderer
        if not following.done():
            return renderer
        if following.cancelled() or following.exception() is not None:
            renderer.successor = None  # tried again after the next document
            return renderer
        renderer.successor = None
        self._drop(renderer)
        return following.result()

    def _drop(self, renderer: Renderer) -> None:
        self._all.discard(renderer)
        renderer.kill()
        self._background(renderer.end())

    def _background(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(work)
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)
        return task
