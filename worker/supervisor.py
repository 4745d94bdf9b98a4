"""One machine runs every role: each in a process of its own, started again when it dies, stopped in order."""

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from worker import processes

log = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds before a role that died is started again: doubled each time, up to the longest."""

STEADY = 60.0
"""Seconds that a role must live for its next death to count as a first one."""

LEFTOVER_PATIENCE = 5.0
"""Seconds that a process left by a killed `up` may take to go."""


@dataclass(slots=True)
class Role:
    """One process to keep alive. `environment` is asked before each start, `after_death` told after each death."""

    name: str
    command: Sequence[str]
    environment: Callable[[], Mapping[str, str]]
    after_death: Callable[[], None] = lambda: None
    folder: Path | None = None
    """Where it runs; None: where we run."""

    output: int | None = None
    """The file descriptor that it writes to; None: our standard error."""

    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    deaths: int = 0
    next_start: float = 0.0

    def start(self) -> None:
        """Start it. It holds a pipe from us on its standard input, and stops when that ends."""
        self.process = subprocess.Popen(
            self.command,
            env=dict(self.environment()),
            cwd=self.folder,
            stdin=subprocess.PIPE,
            stdout=sys.stderr.fileno() if self.output is None else self.output,
            stderr=self.output,
            start_new_session=True,
        )
        self.started = time.monotonic()

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self.process is not None and self.process.poll() is None


@dataclass(slots=True)
class Supervisor:
    """Keeps roles alive. `record` is where their PIDs are kept, so that a killed supervisor's next one ends them."""

    record: Path
    roles: list[Role] = field(default_factory=list[Role])

    def end_leftovers(self) -> None:
        """Stop what a killed supervisor left running."""
        with contextlib.suppress(FileNotFoundError, ValueError):
            left = [_same(pid, born) for pid, born in json.loads(self.record.read_text())]
            processes.end([process for process in left if process], signal.SIGTERM, LEFTOVER_PATIENCE)
        self.record.unlink(missing_ok=True)

    def start(self, roles: Sequence[Role]) -> None:
        """Start `roles`, and look after them from now on."""
        for role in roles:
            self.roles.append(role)
            role.start()
        self._write()

    def look_after(self) -> None:
        """Start again what has died, after a pause. Call it several times a second; it never blocks for long."""
        changed = False
        for role in self.roles:
            if role.alive:
                continue
            now = time.monotonic()
            if role.process is not None:
                self._bury(role, now)
            if now >= role.next_start:
                role.start()
                changed = True
        if changed:
            self._write()

    def _bury(self, role: Role, now: float) -> None:
        assert role.process is not None
        role.deaths = 1 if now - role.started > STEADY else role.deaths + 1
        pause = min(FIRST_PAUSE * 2 ** (role.deaths - 1), LONGEST_PAUSE)
        role.next_start = now + pause
        code = role.process.returncode
        ended = f"by {signal.Signals(-code).name}" if code < 0 else f"with code {code}"
        log.warning("%s (process %d) ended %s; starting it again in %g s", role.name, role.process.pid, ended, pause)
        role.process = None
        role.after_death()

    def stop(self, patience: float) -> None:
        """Stop all roles at once and wait; after `patience` seconds what is left is killed."""
        alive = [role for role in self.roles if role.alive]
        self.roles = []
        for role in alive:
            assert role.process is not None
            role.process.send_signal(signal.SIGCONT)
            role.process.terminate()
        end = time.monotonic() + patience
        for role in alive:
            assert role.process is not None
            try:
                role.process.wait(max(end - time.monotonic(), 0.01))
            except subprocess.TimeoutExpired:
                log.warning("%s did not stop within %g s and is killed", role.name, patience)
                role.process.kill()
                role.process.wait()
        self.record.unlink(missing_ok=True)

    def _write(self) -> None:
        known: list[tuple[int, float]] = []
        for role in self.roles:
            if role.process is not None:
                with contextlib.suppress(psutil.NoSuchProcess):
                    known.append((role.process.pid, psutil.Process(role.process.pid).create_time()))
        new = self.record.with_suffix(".new")
        new.write_text(json.dumps(known))
        new.replace(self.record)


def _same(pid: int, born: float) -> psutil.Process | None:
    """The process with this PID, if it is still the one that was born then."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        if abs(process.create_time() - born) < 1 and pid != os.getpid():
            return process
    return None
