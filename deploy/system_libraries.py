"""WeasyPrint needs libraries and fonts of the system to make PDFs: install what is missing where we may, else say how.

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
    """A library, by what `ctypes` calls it and by the packages of Debian, Fedora and Homebrew."""

    soname: str
    name: str
    package: str
    fedora: str = "pango"
    brew: str = "pango"

    def there(self) -> bool:
        """Whether it can be loaded."""
        return _library(self.soname, self.name) is not None


class Font(NamedTuple):
    """A font family, and the packages that it comes in."""

    family: str
    package: str
    fedora: str
    brew: str

    def there(self) -> bool:
        """Whether fontconfig knows it."""
        return _known(self.family)


LIBRARIES = (
    Library("libpango-1.0.so.0", "pango-1.0", "libpango-1.0-0"),
    Library("libpangoft2-1.0.so.0", "pangoft2-1.0", "libpangoft2-1.0-0"),
    # Without it, WeasyPrint subsets fonts in Python and takes three to five times as long.
    Library("libharfbuzz-subset.so.0", "harfbuzz-subset", "libharfbuzz-subset0", "harfbuzz"),
)

FONTS = (
    Font("Noto Sans", "fonts-noto-core", "google-noto-sans-fonts", "font-noto-sans"),
    Font("Noto Sans Hebrew", "fonts-noto-core", "google-noto-sans-hebrew-fonts", "font-noto-sans-hebrew"),
    Font("Noto Sans Arabic", "fonts-noto-core", "google-noto-sans-arabic-fonts", "font-noto-sans-arabic"),
    Font("Noto Sans Thai", "fonts-noto-core", "google-noto-sans-thai-fonts", "font-noto-sans-thai"),
    Font("Noto Sans CJK SC", "fonts-noto-cjk", "google-noto-sans-cjk-fonts", "font-noto-sans-cjk"),
    Font("Noto Sans CJK JP", "fonts-noto-cjk", "google-noto-sans-cjk-fonts", "font-noto-sans-cjk"),
    Font("Noto Sans CJK KR", "fonts-noto-cjk", "google-noto-sans-cjk-fonts", "font-noto-sans-cjk"),
)
"""The families of templates/invoice/document.css: what customers' names are written in."""

HOMEBREW = ("/opt/homebrew/lib", "/usr/local/lib")
"""Where Homebrew puts libraries; macOS's loader looks there only when it is told."""

APT_TIMEOUT = 600
"""Seconds."""


def _library(soname: str, name: str) -> "ctypes.CDLL | None":
    candidates = [soname, ctypes.util.find_library(name)]
    if sys.platform == "darwin":
        candidates += [f"{folder}/lib{name}.dylib" for folder in HOMEBREW]
    for candidate in candidates:
        if candidate:
            try:
                return ctypes.CDLL(candidate)
            except OSError:
                continue
    return None


def _known(family: str) -> bool:
    fontconfig = _library("libfontconfig.so.1", "fontconfig")  # comes with Pango
    if fontconfig is None:
        return False
    for function in ("FcInitLoadConfigAndFonts", "FcNameParse", "FcFontMatch"):
        getattr(fontconfig, function).restype = ctypes.c_void_p
    pattern = ctypes.c_void_p(fontconfig.FcNameParse(family.encode()))
    config = ctypes.c_void_p(fontconfig.FcInitLoadConfigAndFonts())
    fontconfig.FcConfigSubstitute(config, pattern, 0)
    fontconfig.FcDefaultSubstitute(pattern)
    found = ctypes.c_void_p(fontconfig.FcFontMatch(config, pattern, ctypes.byref(ctypes.c_int())))
    name = ctypes.c_char_p()
    index = 0
    while found and fontconfig.FcPatternGetString(found, b"family", index, ctypes.byref(name)) == 0:
        if (name.value or b"").decode().lower() == family.lower():
            return True
        index += 1
    return False


def missing() -> "list[Library | Font]":
    """The libraries that cannot be loaded here, and the fonts that are not known."""
    return [each for each in (*LIBRARIES, *FONTS) if not each.there()]


def command(wanted: "Sequence[Library | Font]") -> list[str]:
    """The command that installs them here; empty on a system that we do not know."""
    if sys.platform == "darwin":
        if any(isinstance(each, Library) for each in wanted):
            return ["brew", "install", *dict.fromkeys(each.brew for each in wanted if isinstance(each, Library))]
        return ["brew", "install", "--cask", *dict.fromkeys(each.brew for each in wanted)]
    if shutil.which("apt-get"):
        packages = dict.fromkeys(each.package for each in wanted)
        return ["apt-get", "install", "--yes", "--no-install-recommends", *packages]
    if shutil.which("dnf"):
        return ["dnf", "install", "--assumeyes", "--quiet", *dict.fromkeys(each.fedora for each in wanted)]
    return []


def _as_root() -> list[str] | None:
    """The words that make a command run as root; None where we may not, without asking for a password."""
    if os.geteuid() == 0:
        return []
    sudo = ["sudo", "-n"]
    if shutil.which("sudo") and subprocess.run([*sudo, "true"], check=False, capture_output=True).returncode == 0:
        return sudo
    return None


def _packages(prefix: Sequence[str], install: Sequence[str]) -> bool:
    environment = [*prefix, "env", "DEBIAN_FRONTEND=noninteractive"]
    # A bare machine has no package lists yet; dnf fetches them by itself.
    attempts = (install, ["apt-get", "update"], install) if install[0] == "apt-get" else (install,)
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
        if done.returncode != 0 and (number > 0 or len(attempts) == 1):
            say(done.stderr.strip()[-2000:])
    return False


def say(message: str) -> None:
    """Tell the person at the terminal."""
    sys.stderr.write(f"{message}\n")


def _install(wanted: "Sequence[Library | Font]") -> None:
    if sys.platform == "darwin":
        libraries = [each for each in wanted if isinstance(each, Library)]
        fonts = [each for each in wanted if isinstance(each, Font)]
        for some in (libraries, fonts):  # formulae and casks are two commands
            if some and shutil.which("brew"):
                subprocess.run(command(some), check=False)
    elif (prefix := _as_root()) is not None:
        _packages(prefix, command(wanted))


def main() -> int:
    """Returns 0 when everything is there in the end, else 1."""
    wanted = missing()
    if not wanted:
        return 0
    names = ", ".join(dict.fromkeys(each.package for each in wanted))
    if not command(wanted):
        say(
            f"PDFs need what is missing here ({names}): install Pango ≥ 1.44, HarfBuzz with its subset library, and the"
            f" fonts {', '.join(font.family for font in FONTS)}"
        )
        return 1
    say(f"installing what PDFs need: {names}")
    _install(wanted)
    if left := missing():
        words = " ".join(command(left) if sys.platform == "darwin" else ["sudo", *command(left)])
        say(f"it could not be installed from here. PDFs need it, all else works without; run:\n\n    {words}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
