"""A bare machine gets what it lacks, or is told which command would bring it."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


def script(name: str) -> ModuleType:
    """A script of `deploy/` as a module of this test's own."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "deploy" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the whole PATH; commands put into it say in `told` how they were called."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("env", "sh", "cat"):
        found = shutil.which(name)
        assert found is not None
        (folder / name).symlink_to(found)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(sys, "platform", "linux")
    return folder


def command(folder: Path, name: str, body: str) -> None:
    file = folder / name
    file.write_text(f'#!{shutil.which("sh")}\necho "{name} $*" >> {folder}/told\n{body}\n')
    file.chmod(0o755)


def told(folder: Path) -> list[str]:
    return (folder / "told").read_text().splitlines() if (folder / "told").exists() else []


def lacking(libraries: ModuleType, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All libraries are missing until the package manager has left a mark."""
    mark = folder / "installed"
    monkeypatch.setattr(libraries, "missing", lambda: [] if mark.exists() else list(libraries.LIBRARIES))


def test_apt_is_asked_again_after_its_lists_were_fetched(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    libraries = script("system_libraries")
    lacking(libraries, machine, monkeypatch)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    command(
        machine,
        "apt-get",
        f'[ "$1" = update ] && echo > {machine}/lists && exit 0\n'
        f"[ -e {machine}/lists ] || exit 100\n"
        f"echo > {machine}/installed",
    )
    assert libraries.main() == 0
    packages = "libpango-1.0-0 libpangoft2-1.0-0 libharfbuzz-subset0"
    install = f"apt-get install --yes --no-install-recommends {packages}"
    assert told(machine) == [install, "apt-get update", install]


def test_sudo_is_used_when_it_asks_no_password(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    libraries = script("system_libraries")
    lacking(libraries, machine, monkeypatch)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    command(machine, "sudo", f'case "$*" in *install*) echo > {machine}/installed;; esac')
    command(machine, "apt-get", "exit 1")
    (machine / "true").symlink_to("/bin/true")
    assert libraries.main() == 0
    assert told(machine)[0] == "sudo -n true"
    assert told(machine)[1].startswith("sudo -n env DEBIAN_FRONTEND=noninteractive apt-get install")


def test_who_may_not_install_is_told_the_command(
    machine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    libraries = script("system_libraries")
    lacking(libraries, machine, monkeypatch)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    command(machine, "sudo", "exit 1")
    command(machine, "apt-get", "exit 1")
    assert libraries.main() == 1
    assert "sudo apt-get install --yes" in capsys.readouterr().err
    assert told(machine) == ["sudo -n true"]


def test_an_unknown_system_is_told_what_is_needed(
    machine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    libraries = script("system_libraries")
    lacking(libraries, machine, monkeypatch)
    assert libraries.main() == 1
    assert "Pango" in capsys.readouterr().err


def test_homebrew_brings_pango_on_a_mac(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    libraries = script("system_libraries")
    lacking(libraries, machine, monkeypatch)
    monkeypatch.setattr(sys, "platform", "darwin")
    command(machine, "brew", f"echo > {machine}/installed")
    assert libraries.main() == 0
    assert told(machine) == ["brew install pango"]


def test_this_machine_lacks_nothing() -> None:
    """`make` has installed it before it ran this."""
    assert script("system_libraries").missing() == []


def test_a_python_that_is_too_old_says_so(
    machine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bootstrap = script("bootstrap")
    monkeypatch.setattr(bootstrap, "OLDEST", (9, 9))
    with pytest.raises(SystemExit) as left:
        bootstrap.insist_on_a_python()
    assert left.value.code == 2
    assert "Python 9.9 or newer is needed" in capsys.readouterr().err


def test_the_bootstrap_can_be_read_by_an_old_python() -> None:
    """Else a Python 3.9 stops at the first line that it does not know, and tells nothing."""
    for name in ("bootstrap", "system_libraries"):
        ast_of_old = "import ast, sys; ast.parse(open(sys.argv[1]).read(), feature_version=(3, 8))"
        subprocess.run([sys.executable, "-c", ast_of_old, ROOT / "deploy" / f"{name}.py"], check=True)


def test_make_without_a_target_helps() -> None:
    shown = subprocess.run(
        ["make", "--no-print-directory"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    assert all(f"make {target}" in shown for target in ("up", "test", "check", "bench", "install"))
