"""Processes that must not outlive their parent: told to go when it dies, and found again when they stayed."""

import contextlib
import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil

_PR_SET_PDEATHSIG = 1
"""https://man7.org/linux/man-pages/man2/PR_SET_PDEATHSIG.2const.html."""


def goes_with_parent(sign: signal.Signals) -> Callable[[], None] | None:
    """What a child does before its exec, so that Linux sends it `sign` when the thread that started it ends.

    Start such a child from the main thread. None elsewhere: there the next start ends what was left.
    """
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def before_exec() -> None:
        prctl(_PR_SET_PDEATHSIG, int(sign))
        if os.getppid() != parent:  # it died before we asked to be told
            os._exit(1)

    return before_exec


def stop_when_parent_goes() -> None:
    """Send ourselves SIGTERM when standard input, which our supervisor holds open, ends: it has died."""

    def wait() -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 512):
                pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="watch-parent", daemon=True).start()


def running(binary: Path, folder: Path) -> list[psutil.Process]:
    """The processes of `binary` that work in `folder`, children included: by what they are, never by a PID file."""
    binary, folder = binary.resolve(), folder.resolve()
    found: list[psutil.Process] = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if Path(process.exe()) == binary and Path(process.cwd()) == folder:
                found.append(process)
    return found


def end(processes: Sequence[psutil.Process], sign: signal.Signals, patience: float) -> None:
    """Send `sign`, wait up to `patience` seconds, then kill what is left. Frozen ones are thawed first."""
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGCONT)
            process.send_signal(sign)
    _, stubborn = psutil.wait_procs(processes, timeout=patience)
    for process in stubborn:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(stubborn, timeout=patience)
