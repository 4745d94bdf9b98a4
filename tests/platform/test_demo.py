"""The demo is one command that ends with the books in agreement, whatever it did to itself, and minds its business."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from deploy.demo.stripe_client import StripeClient
from tests.platform.machine import PATIENCE, wait_for

pytestmark = pytest.mark.slow

ELSEWHERE = {
    "DATABASE_URL": "postgresql://u:geheim@127.0.0.1:1/real",
    "REDIS_URL": "redis://127.0.0.1:1",
    "STRIPE_SECRET_KEY": "sk_live_real",
    "STRIPE_API_BASE": "http://127.0.0.1:1",
    "STRIPE_WEBHOOK_SECRET": "whsec_real",
    "STRIPE_MODE": "live",
    "MAIL_URL": "smtp://127.0.0.1:1",
    "STORAGE_URL": "s3://real/bucket",
    "ADMIN_TOKEN": "token_real",
}
"""A deployment that a demo must not see."""

STUCK = 240.0
"""Seconds without a line printed or logged, after which a demo is broken off; by itself it gives up after 180."""

SHOWN = 60
"""Lines of the log that are shown of a demo that failed."""


@dataclass
class Demo:
    """`billing demo` in a process of its own, in a working folder of its own."""

    folder: Path
    options: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict[str, str])
    process: subprocess.Popen[str] | None = None

    @property
    def home(self) -> Path:
        return self.folder / "home" / "demo"

    def spawn(self) -> "Demo":
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "PYTHONDONTWRITEBYTECODE") if name in os.environ}
        with (self.folder / "stderr").open("a") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "intake.cli", "demo", *self.options],
                env=kept | {"BILLING_HOME": str(self.folder / "home")} | self.environment,
                cwd=self.folder,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        return self

    def until(self, beginning: str) -> list[str]:
        """Read lines up to one that begins so."""
        assert self.process is not None
        assert self.process.stdout is not None
        lines: list[str] = []
        for line in self.process.stdout:
            lines.append(line.rstrip("\n"))
            if line.startswith(beginning):
                return lines
        raise AssertionError("\n".join([*lines, self.errors()]))

    def run(self) -> tuple[int, list[str]]:
        """To its end: the exit code, and what it printed."""
        self.spawn()
        return self.rest()

    def rest(self) -> tuple[int, list[str]]:
        """What it still prints, however long that takes while it gets on. Raises AssertionError when it does not."""
        assert self.process is not None
        assert self.process.stdout is not None
        lines: list[str] = []
        reader = threading.Thread(target=lines.extend, args=(map(str.rstrip, self.process.stdout),))
        reader.start()
        seen, end = (-1, -1), 0.0
        while reader.is_alive():
            if seen != (seen := (len(lines), self.logged())):
                end = time.monotonic() + STUCK
            elif time.monotonic() > end:
                self.process.kill()
                reader.join()
                raise AssertionError(f"nothing happens any more:\n{self.told(lines)}")
            reader.join(0.25)
        return self.process.wait(PATIENCE), lines

    def logged(self) -> int:
        """Bytes that its processes have logged so far."""
        log = self.home / "demo.log"
        return log.stat().st_size if log.exists() else 0

    def told(self, lines: list[str]) -> str:
        """What it printed, its errors, and the end of its log."""
        log = self.home / "demo.log"
        logged = log.read_text(errors="replace").splitlines()[-SHOWN:] if log.exists() else []
        return "\n".join([*lines, "--- stderr", self.errors(), "--- demo.log", *logged])

    def stop(self, sign: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(sign)
        self.process.communicate(timeout=PATIENCE)
        return self.process.returncode

    def errors(self) -> str:
        return (self.folder / "stderr").read_text()

    def living(self) -> list[str]:
        """The processes that have to do with this home."""
        found: list[str] = []
        for process in psutil.process_iter():
            with suppress(psutil.Error, OSError):
                words = " ".join(process.cmdline())
                if str(self.home) in words or process.environ().get("BILLING_HOME") == str(self.home):
                    found.append(words)
        return found


Make = Callable[..., Demo]


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Make]:
    """Makes demos that are ended with the test."""
    made: list[Demo] = []

    def make(*options: str, **environment: str) -> Demo:
        made.append(Demo(tmp_path, options, environment))
        return made[-1]

    yield make
    for one in made:
        if one.process is not None and one.process.stdout is not None:
            one.process.kill()
            one.process.wait()
            one.process.stdout.close()


def number(lines: list[str], name: str) -> int:
    """A number of the summary."""
    found = next(line for line in lines if line.startswith(name))
    return int(found.removeprefix(name).strip().replace(",", ""))


@pytest.mark.parametrize("seed", ["11"])
def test_through_a_year_of_chaos_the_books_agree(demo: Make, seed: str) -> None:
    one = demo("--once", "--chaos", "--customers", "30", "--seed", seed)
    code, lines = one.run()
    assert (code, lines[-1]) == (0, "differences: 0"), one.told(lines)
    assert f"seed       {seed}" in lines
    for deed in ("killed with SIGKILL", "FLUSHALL", "webhooks come again", "API fails", "signing secret is rolled"):
        assert [line for line in lines if "chaos: " in line and deed in line], deed
    months = [line for line in lines if re.match(r"20\d\d-\d\d · ", line)]
    assert len(months) == 13
    assert all(line.endswith("difference 0") for line in months), "\n".join(lines)
    assert number(lines, "of these duplicates") > 100
    assert number(lines, "customers") > 30


def test_it_sees_nothing_of_a_real_deployment(demo: Make, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in ELSEWHERE.items()))
    one = demo("--once", "--months", "2", "--customers", "5", "--seed", "3", **ELSEWHERE)
    code, lines = one.run()
    assert (code, lines[-1]) == (0, "differences: 0"), one.errors()
    shown = "\n".join([*lines, one.errors(), (one.home / "demo.log").read_text()])
    assert [value for value in ELSEWHERE.values() if value != "live" and value in shown] == []
    assert one.living() == []
    assert sorted(file.name for file in tmp_path.iterdir()) == [".env", "home", "stderr"]


def test_it_runs_on_after_its_history_and_stops_when_it_is_told_to(demo: Make) -> None:
    one = demo("--months", "2", "--customers", "8", "--seed", "4", "--speed", "20").spawn()
    told = one.until("ready http://127.0.0.1:")
    assert all(any(line.startswith(word) for line in told) for word in ("dashboard", "Stripe", "mailbox", "seed"))
    second = demo("--customers", "8").spawn()
    assert second.rest()[0] == 2
    assert str(one.process.pid if one.process else "") in second.errors()
    live = one.until("Stripe's clock")
    address = next(line for line in told if line.startswith("Stripe")).split()[1]
    client = StripeClient(address, "sk_test_x", "test")
    clock = client.get("/_sim/clock")
    client.close()
    assert clock["start"] < clock["now"]
    assert one.stop() == 0
    assert one.living() == []
    assert len([line for line in told + live if re.match(r"20\d\d-\d\d · ", line)]) == 2


def test_who_breaks_off_a_played_demo_gets_no_yes(demo: Make) -> None:
    one = demo("--once", "--customers", "300").spawn()
    one.until("20")
    assert one.stop(signal.SIGINT) == 1
    assert one.living() == []


def test_without_its_stripe_it_says_so_and_ends(demo: Make) -> None:
    one = demo("--customers", "300").spawn()
    one.until("20")
    simulator = wait_for(lambda: [p for p in psutil.Process(one.process.pid if one.process else 0).children()
                                  if "deploy.demo.simulator" in p.cmdline()], "the simulator")  # fmt: skip
    simulator[0].kill()
    code, _ = one.rest()
    assert code == 1
    assert "the simulated Stripe ended" in one.errors()
    assert one.living() == []


def test_a_folder_that_is_not_a_demos_is_left_alone(demo: Make) -> None:
    one = demo("--once")
    one.home.mkdir(parents=True)
    (one.home / "thesis.txt").write_text("seven years")
    assert one.run()[0] == 2
    assert (one.home / "thesis.txt").read_text() == "seven years"
    assert "BILLING_HOME" in one.errors()


def test_a_killed_demo_leaves_nothing_that_the_next_one_minds(demo: Make) -> None:
    one = demo("--customers", "20", "--seed", "4").spawn()
    one.until("20")
    assert one.process is not None
    one.process.kill()
    one.process.communicate()
    wait_for(lambda: not [words for words in one.living() if "simulator" in words], "the simulator to go")
    code, lines = demo("--once", "--months", "2", "--customers", "3", "--seed", "5").run()
    assert (code, lines[-1]) == (0, "differences: 0")
