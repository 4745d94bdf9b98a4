"""The simulated Stripe runs beside the machine, in a process of its own that nothing in the demo may kill."""

import selectors
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

READY_TIMEOUT = 60.0
"""Seconds that it may take until it answers."""

STOP_TIMEOUT = 5.0
"""Seconds that it may take to stop."""

ADDRESS = "ready "
"""What its first line begins with, before its address."""


class StripeGoneError(Exception):
    """The simulated Stripe did not start, or ended by itself; its books are lost with it."""


@dataclass(slots=True)
class StripeProcess:
    """`python -m deploy.demo.simulator`. It ends when we do, however we do: it waits on a pipe that we hold open."""

    process: subprocess.Popen[str]
    address: str

    @classmethod
    def spawn(
        cls,
        *,
        port: int,
        seed: int,
        start: int,
        webhook: str | None,
        environment: Mapping[str, str],
        folder: Path,
        output: int,
    ) -> "StripeProcess":
        """Begin to start it; `start` is its clock's first time (seconds since 1970), `output` takes its log."""
        command = [sys.executable, "-m", "deploy.demo.simulator", "--port", str(port)]
        command += ["--seed", str(seed), "--start", str(start), "--with-parent"]
        command += ["--webhook", webhook] if webhook is not None else []
        return cls(
            subprocess.Popen(
                command,
                env=dict(environment),
                cwd=folder,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                text=True,
                start_new_session=True,
            ),
            f"http://127.0.0.1:{port}",
        )

    def wait(self) -> None:
        """Wait until it serves; then its port is known, too. Raises StripeGoneError when it does not."""
        assert self.process.stdout is not None
        end = time.monotonic() + READY_TIMEOUT
        with selectors.DefaultSelector() as ready:
            ready.register(self.process.stdout, selectors.EVENT_READ)
            if not ready.select(max(end - time.monotonic(), 0)):
                raise StripeGoneError(f"the simulated Stripe did not start within {READY_TIMEOUT:g} s")
        line = self.process.stdout.readline()
        if not line.startswith(ADDRESS):
            raise StripeGoneError("the simulated Stripe did not start")
        self.address = line.removeprefix(ADDRESS).strip()

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self.process.poll() is None

    def stop(self) -> None:
        """Stop it, and its books with it."""
        if self.alive:
            self.process.terminate()
            try:
                self.process.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()
