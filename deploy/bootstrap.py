"""From a bare checkout to an installed one: uv into .venv, then everything that uv.lock names.

It runs on whatever Python a machine has, and nothing else, so its syntax is old enough to say that one is too old.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import urllib.request
import zipfile
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from urllib.parse import urljoin

OLDEST = (3, 11)
NEWER = ("python3.14", "python3.13", "python3.12", "python3.11")
UV = "uv>=0.13,<1"

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
BIN = VENV / "bin"
INDEX = os.environ.get("UV_DEFAULT_INDEX") or os.environ.get("PIP_INDEX_URL") or "https://pypi.org/simple"


def say(message: str) -> None:
    """Tell the person at the terminal."""
    sys.stderr.write(f"{message}\n")


def run(*words: str | Path) -> bool:
    """Run a command quietly; False when it is not there or fails."""
    try:
        return subprocess.run(words, check=False, capture_output=True).returncode == 0
    except OSError:
        return False


def insist_on_a_python() -> None:
    """Go on in a newer Python of this machine when this one is too old; exit 2 when there is none."""
    if sys.version_info >= OLDEST:
        return
    for name in NEWER:
        found = shutil.which(name)
        if found:
            os.execv(found, [found, *sys.argv])  # noqa: S606 - no shell is wanted
    needed = ".".join(map(str, OLDEST))
    say(f"Python {needed} or newer is needed, and this is {platform.python_version()} ({sys.executable}).")
    say("Install one (Debian/Ubuntu: apt-get install python3; macOS: brew install python), or name it: make PYTHON=…")
    sys.exit(2)


def _tags() -> tuple[str, str]:
    """How a wheel for this machine is called: its system and its processor."""
    machine = {"amd64": "x86_64", "aarch64": "aarch64", "arm64": "aarch64"}.get(
        platform.machine().lower(), platform.machine().lower()
    )
    if sys.platform == "darwin":
        return "macosx", "arm64" if machine == "aarch64" else machine
    musl = bool(list(Path("/lib").glob("ld-musl-*")))
    return "musllinux" if musl else "manylinux", machine


def _fetch(url: str, accept: str = "*/*") -> bytes:
    if not url.startswith(("https://", "http://")):
        raise ValueError(f"not an address of a package index: {url}")
    request = urllib.request.Request(url, headers={"Accept": accept})  # noqa: S310 - its scheme was checked
    with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 - its scheme was checked
        return answer.read()


class _Links(HTMLParser):
    """The files of an index page: https://peps.python.org/pep-0503/."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep a link, unless its file was withdrawn."""
        given = dict(attrs)
        if tag == "a" and "data-yanked" not in given:
            self.found.append(given.get("href") or "")


def uv_from_the_index() -> None:
    """Unpack uv's wheel by hand: for a Python that has neither ensurepip nor pip (a bare Debian)."""
    system, machine = _tags()
    page = f"{INDEX.rstrip('/')}/uv/"
    links = _Links()
    links.feed(_fetch(page, "text/html").decode())
    pattern = re.compile(rf"/uv-(\d+)\.(\d+)\.(\d+)-py3-none-[^/]*{system}[^/]*_{machine}\.whl#sha256=(\w+)$")
    wheels = [(match, link) for link in links.found for match in [pattern.search(link)] if match]
    match, link = max(wheels, key=lambda wheel: tuple(map(int, wheel[0].groups()[:3])))
    body = _fetch(urljoin(page, link))
    if hashlib.sha256(body).hexdigest() != match.group(4):
        raise ValueError(f"{link} is not what the index says it is")
    with zipfile.ZipFile(BytesIO(body)) as wheel:
        name = next(name for name in wheel.namelist() if name.endswith("/scripts/uv"))
        (BIN / "uv").write_bytes(wheel.read(name))
    (BIN / "uv").chmod(0o755)


def bring_uv() -> None:
    """Put uv into .venv, by the first way that works here."""
    if run(BIN / "uv", "--version") and run(BIN / "python", "--version"):
        return
    say("installing uv into .venv")
    if run(sys.executable, "-m", "venv", "--clear", VENV) and run(
        BIN / "python", "-m", "pip", "install", "--quiet", UV
    ):
        return
    if not run(sys.executable, "-m", "venv", "--clear", "--without-pip", VENV):
        say(f"{sys.executable} has no venv module: install it (Debian/Ubuntu: apt-get install python3-venv)")
        sys.exit(2)
    prefix = VENV / "uv"
    if (
        run(sys.executable, "-m", "pip", "install", "--quiet", "--target", prefix, UV)
        and (prefix / "bin" / "uv").exists()
    ):
        shutil.move(prefix / "bin" / "uv", BIN / "uv")
        shutil.rmtree(prefix)
        return
    try:
        uv_from_the_index()
    except (OSError, ValueError, StopIteration) as error:
        say(f"uv could not be fetched from {INDEX}: {error}")
        sys.exit(1)


def main() -> None:
    """Install, and leave a stamp that tells make so."""
    insist_on_a_python()
    bring_uv()
    words = [BIN / "uv", "sync", "--frozen", "--compile-bytecode", "--quiet", "--project", ROOT]
    environment = {
        name: value for name, value in os.environ.items() if name not in {"VIRTUAL_ENV", "UV_PROJECT_ENVIRONMENT"}
    }
    if subprocess.run(words, check=False, env=environment).returncode != 0:
        sys.exit(1)
    subprocess.run([sys.executable, Path(__file__).with_name("system_libraries.py")], check=False)
    (VENV / ".installed").touch()


if __name__ == "__main__":
    main()
