"""WeasyPrint needs libraries of the system to make PDFs: install what is missing where we may, else say how.

Runs before anything is installed, so it uses nothing but Python itself.
"""

import ctypes
import ctypes.util
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from typing import NamedTuple


class Library(NamedTuple):
    """A library, by what `ctypes` calls it and by Debian's package."""

    soname: str
    name: str
    package: str


LIBRARIES = (
    Library("libpango-1.0.so.0", "pango-1.0", "libpango-1.0-0"),
    Library("libpangoft2-1.0.so.0", "pangoft2-1.0", "libpangoft2-1.0-0"),
    # Without it, WeasyPrint subsets fonts in Python and takes three to five times as long.
    Library("libharfbuzz-subset.so.0", "harfbuzz-subset", "libharfbuzz-subset0"),
)

HOMEBREW = ("/opt/homebrew/lib", "/usr/local/lib")
"""Where Homebrew puts libraries; macOS's loader looks there only when it is told."""

APT_TIMEOUT = 600
"""Seconds."""


def _loads(library: Library) -> bool:
    candidates = [library.soname, ctypes.util.find_library(library.name)]
    if sys.platform == "darwin":
        candidates += [f"{folder}/lib{library.name}.dylib" for folder in HOMEBREW]
    for candidate in candidates:
        if candidate:
            try:
                ctypes.CDLL(candidate)
            except OSError:
                continue
            return True
    return False


def missing() -> list[Library]:
    """The libraries that cannot be loaded here."""
    return [library for library in LIBRARIES if not _loads(library)]


def command(wanted: Sequence[Library]) -> list[str]:
    """The command that installs them here; empty on a system that we do not know."""
    if sys.platform == "darwin":
        return ["brew", "install", "pango"]
    if shutil.which("apt-get"):
        packages = [library.package for library in wanted]
        return ["apt-get", "install", "--yes", "--no-install-recommends", *packages]
    return []


def _as_root() -> list[str] | None:
    """The words that make a command run as root; None where we may not, without asking for a password."""
    if os.geteuid() == 0:
        return []
    sudo = ["sudo", "-n"]
    if shutil.which("sudo") and subprocess.run([*sudo, "true"], check=False, capture_output=True).returncode == 0:
        return sudo
    return None


def _apt(prefix: Sequence[str], install: Sequence[str]) -> bool:
    environment = [*prefix, "env", "DEBIAN_FRONTEND=noninteractive"]
    attempts = (install, ["apt-get", "update"], install)  # a bare machine has no package lists yet
    for number, words in enumerate(attempts):
        try:
            done = subprocess.run(
                [*environment, *words], check=False, timeout=APT_TIMEOUT, capture_output=True, text=True
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            say(f"{' '.join(words)}: {error}")
            return False
        if done.returncode == 0 and words is install:
            return True
        if done.returncode != 0 and number > 0:
            say(done.stderr.strip()[-2000:])
    return False


def say(message: str) -> None:
    """Tell the person at the terminal."""
    sys.stderr.write(f"{message}\n")


def main() -> int:
    """Returns 0 when all libraries are there in the end, else 1."""
    wanted = missing()
    if not wanted:
        return 0
    install = command(wanted)
    names = ", ".join(library.package for library in wanted)
    if not install:
        say(
            f"PDFs need libraries that are missing ({names}): install Pango ≥ 1.44 and HarfBuzz with its subset library"
        )
        return 1
    say(f"installing what PDFs need: {names}")
    if sys.platform == "darwin":
        if shutil.which("brew"):
            subprocess.run(install, check=False)
    elif (prefix := _as_root()) is not None:
        _apt(prefix, install)
    if missing():
        words = " ".join(install if sys.platform == "darwin" else ["sudo", *install])
        say(f"it could not be installed from here. PDFs need it, all else works without; run:\n\n    {words}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
