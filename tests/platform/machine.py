"""A real `billing up` in a process of its own, on a home of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import psutil
import pytest

T = TypeVar("T")

PATIENCE = 90.0
"""Seconds; generous, because the machine that tests may be busy."""


def wait_for(ask: Callable[[], T], what: str) -> T:
    """Ask again and again until the answer is true, or fail."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if answer := ask():
            return answer
        time.sleep(0.1)
    pytest.fail(f"waited {PATIENCE:g} s in vain for {what}")


def status(url: str) -> int:
    """What an address answers to GET; 0 when nobody answers."""
    parts = urlsplit(url)
    connection = HTTPConnection(parts.netloc, timeout=5)
    try:
        connection.request("GET", parts.path)
        return connection.getresponse().status
    except (OSError, HTTPException):
        return 0
    finally:
        connection.close()


@dataclass
class Up:
    """`billing up`; `environment` adds to a bare one."""

    home: Path
    environment: dict[str, str] = field(default_factory=dict[str, str])
    options: tuple[str, ...] = ("--port", "0")
    process: subprocess.Popen[str] | None = None
    url: str = ""
    told: str = ""
    """What it printed before it was ready."""

    @property
    def log(self) -> Path:
        return self.home.with_name(f"{self.home.name}.log")

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def bare(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "PYTHONDONTWRITEBYTECODE") if name in os.environ}
        return kept | {"BILLING_HOME": str(self.home)} | self.environment

    def spawn(self) -> None:
        """Start it, without waiting."""
        self.home.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "intake.cli", "up", *self.options],
                env=self.bare(),
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def start(self) -> "Up":
        """Start it, and wait for its one line."""
        self.spawn()
        assert self.process is not None
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("ready http://"):
                break
            assert line.startswith(("webhook signing secret: ", "admin token ")), f"{line!r}\n{self.log.read_text()}"
            self.told += line
        else:
            raise AssertionError(self.log.read_text())
        self.url = line.split()[1]
        return self

    def stop(self) -> tuple[int, str]:
        """SIGTERM. Returns the exit code, and what else it printed."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        rest, _ = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, rest

    def roles(self) -> dict[str, int]:
        """The PIDs of the living children, by role."""
        found: dict[str, int] = {}
        for pid, _ in json.loads((self.home / "run" / "children.json").read_text()):
            with suppress(psutil.Error):
                if len(words := psutil.Process(pid).cmdline()) > 3:  # one that died has none
                    found[words[3]] = pid
        return found

    def healthy(self) -> bool:
        return status(f"{self.url}/health/ready") == 200

    def billing(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run another command of ours on the same home."""
        return subprocess.run(
            [sys.executable, "-m", "intake.cli", *words],
            env=self.bare(),
            check=False,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )

    def end(self) -> None:
        """After a test, whatever happened in it."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.communicate(timeout=60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.communicate()
        if self.process is not None and self.process.stdout is not None:
            self.process.stdout.close()
