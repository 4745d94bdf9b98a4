"""A process that renders: one document after the other comes in by its standard input, and goes out as a PDF.

It is started by worker/adapters/pdf.py, with an environment that holds no secret. Messages are framed: one byte that
says what it is (`READY` …), four bytes of length (big-endian), and the content.
"""

import ctypes
import gc
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import import_module
from typing import BinaryIO

from worker.adapters.pdf_page import Page
from worker.errors import Refused

READY = b"R"
DOCUMENT = b"D"
PDF = b"P"
REFUSED = b"F"
TOO_BIG = b"M"
UNABLE = b"U"
"""It cannot start; the content says why."""
HEADER = 5

MEGABYTE = 1024 * 1024
OPEN_FILES = 64
GARBAGE = (20_000, 10, 20)
"""A page makes tens of thousands of objects, and drops them at once: to look for cycles more often costs 4 %."""
PR_SET_PDEATHSIG = 1
"""prctl(2)."""

WARM = """<html><body><p>Warming up: 0123456789 <b>bold</b></p></body></html>"""
WARM_STYLE = """html { font: 10pt "Noto Sans", sans-serif }"""

type_of_builder = Callable[[bytes], Page]


def frame(kind: bytes, content: bytes) -> bytes:
    """A message as it is sent."""
    return kind + len(content).to_bytes(4, "big") + content


def die_with_parent(parent: int) -> None:
    """Ask the kernel to end this process when the worker ends, however that happens (Linux).

    Elsewhere the end of standard input tells the same, once the document under way is done.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before we could ask
            os._exit(0)


def virtual_size() -> int:
    """Bytes of address space in use; 0 where it cannot be told."""
    try:
        with open("/proc/self/statm", "rb") as statm:  # noqa: PTH123 - as short as it can be, and no file of ours
            return int(statm.read().split()[0]) * os.sysconf("SC_PAGESIZE")
    except OSError:
        return 0


def _limit(what: int, value: int) -> None:
    _, hard = resource.getrlimit(what)
    resource.setrlimit(what, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


def limit(megabytes: int) -> None:
    """Bound what a document may take: memory above what the process needs itself, open files, and writing no file."""
    if size := virtual_size():
        _limit(resource.RLIMIT_AS, size + megabytes * MEGABYTE)
    _limit(resource.RLIMIT_NOFILE, OPEN_FILES)
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_CORE, 0)


def limit_cpu(seconds: int) -> None:
    """SIGPROF ends this process when it goes on for longer: where its parent cannot, because it is gone.

    A timer, begun anew for each document. RLIMIT_CPU would count from the start of the process, by ticks that run ahead
    of the time which the process is told (by 18 % on a virtual machine under load): it ended those who had served long.
    """
    signal.setitimer(signal.ITIMER_PROF, seconds + 2)


def load(builder: str) -> type_of_builder:
    """The function that a string such as `package.module:function` names."""
    module, _, name = builder.partition(":")
    return getattr(import_module(module), name)


def where(error: BaseException) -> str:
    """An exception in one line, with the place that it came from."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({os.path.basename(frames[-1].filename)}:{frames[-1].lineno})" if frames else ""  # noqa: PTH119 - a name
    return f"{type(error).__name__}: {str(error)[:500]}{place}"


class Server:
    """Renders what comes in, until nothing comes any more."""

    def __init__(self, builder: str, incoming: BinaryIO, outgoing: BinaryIO) -> None:
        from worker.adapters.pdf_render import Renderer  # noqa: PLC0415 - takes a second, and fails without libraries

        self._in, self._out = incoming, outgoing
        self._build = load(builder)
        self._renderer = Renderer()
        self._renderer.render(
            Page(html=WARM, stylesheet=WARM_STYLE, title="", language="en", created=datetime(2000, 1, 1, tzinfo=UTC))
        )

    def answer(self, document: bytes) -> tuple[bytes, bytes]:
        """What to send back for a document. A bug of the builder or of WeasyPrint parks this document, and no other."""
        doing = "built"
        try:
            page = self._build(document)
            doing = "rendered"
            return PDF, self._renderer.render(page)
        except Refused as error:
            reason = error.reason
        except MemoryError:
            return TOO_BIG, b""
        except RecursionError:
            reason = f"it cannot be {doing}: it is nested too deeply"
        except Exception as error:  # noqa: BLE001 - see above
            reason = f"it cannot be {doing}: {where(error)}"
        return REFUSED, reason.encode(errors="replace")

    def serve(self, seconds: int) -> None:
        """Returns when the parent closes our standard input, or when memory ran out, as nothing can be trusted then."""
        while header := self._in.read(HEADER):
            document = self._in.read(int.from_bytes(header[1:], "big"))
            limit_cpu(seconds)
            kind, content = self.answer(document)
            self._out.write(frame(kind, content))
            self._out.flush()
            if kind == TOO_BIG:
                return


def main(builder: str, megabytes: int, seconds: int, parent: int) -> None:
    """Run until the parent has no more documents."""
    die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is told to the worker, which tells us
    incoming = sys.stdin.buffer
    outgoing = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what a library prints is no PDF
    try:
        server = Server(builder, incoming, outgoing)
    except Exception as error:  # noqa: BLE001 - whatever it is, the parent tells it
        outgoing.write(frame(UNABLE, where(error).encode()))
        outgoing.flush()
        return
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GARBAGE)
    limit(megabytes)
    outgoing.write(frame(READY, b""))
    outgoing.flush()
    try:
        server.serve(seconds)
    except BrokenPipeError:
        return  # the parent is gone


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
