"""What a demo has left is opened at its own time, and nothing goes on in it."""

import json
import os
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from deploy.demo import site as sites
from deploy.demo.calendar import write
from tests.platform.machine import status, wait_for

LONG_AGO = 1_754_006_400
"""1 August 2025."""


def bare() -> dict[str, str]:
    return {name: os.environ[name] for name in ("PATH", "HOME", "PYTHONPATH") if name in os.environ}


@contextmanager
def looking(home: Path) -> Generator["subprocess.Popen[str]"]:
    """`billing demo --look`, where the environment points to something real."""
    real = {"DATABASE_URL": "postgresql://genuine/books", "MAIL_URL": "smtp://genuine", "BILLING_HOME": str(home)}
    process = subprocess.Popen(
        [sys.executable, "-m", "intake.cli", "demo", "--look"],
        env=bare() | real,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=60)


@pytest.fixture
def played(tmp_path: Path) -> Iterator[sites.Site]:
    """A home that a demo has left; its story was a short one."""
    site = sites.prepare(tmp_path / "home")
    write(site.clock, LONG_AGO)
    (site.home.path / "postgres").mkdir()
    (site.mailbox / "letter").write_text("Dear …")
    site.home.unlock()
    yield site
    site.home.unlock()


def test_it_shows_the_books_and_nothing_goes_on(tmp_path: Path, played: sites.Site) -> None:
    with looking(tmp_path / "home") as process:
        assert process.stdout is not None
        told: dict[str, str] = {}
        for line in process.stdout:
            name, _, what = line.strip().partition(" ")
            told[name] = what.strip()
            if name == "ready":
                break
        assert told["mailbox"] == str(played.mailbox)
        address, _, token = told["dashboard"].partition("  token ")
        assert token == played.token
        assert wait_for(lambda: status(f"{address}/health/ready") == 200, "the dashboard")
        *variables, _, _, _ = told["commands"].split()
        found = subprocess.run(
            [sys.executable, "-m", "intake.cli", "status", "--json"],
            env=bare() | dict(each.split("=", 1) for each in variables),
            capture_output=True,
            text=True,
            check=True,
        )
        assert json.loads(found.stdout)["workers"] == []
        roles = [child.cmdline()[3] for child in psutil.Process(process.pid).children() if "-m" in child.cmdline()]
        assert sorted(roles) == ["admin", "intake"]
        shown = subprocess.run(
            [
                sys.executable,
                "-c",
                "from worker.settings import load_settings; print(load_settings().billing_clock_file)",
            ],
            env=bare() | dict(each.split("=", 1) for each in variables),
            capture_output=True,
            text=True,
            check=True,
        )
        assert shown.stdout.strip() == str(played.clock)
        with looking(tmp_path / "home") as second:
            assert second.wait(60) == 2
    assert process.returncode == 0
    assert (played.mailbox / "letter").exists()
    assert played.clock.read_text() == f"{LONG_AGO}\n"


def test_where_none_was_played_it_says_so(tmp_path: Path) -> None:
    with looking(tmp_path / "home") as process:
        _, told = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "billing demo --once" in told
    assert not (tmp_path / "home" / "demo").exists()


def test_up_does_not_go_on_with_it(played: sites.Site) -> None:
    refused = subprocess.run(
        [sys.executable, "-m", "intake.cli", "up"],
        env=bare() | {"BILLING_HOME": str(played.home.path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert refused.returncode == 2
    assert "billing demo --look" in refused.stderr
